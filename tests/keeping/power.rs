//! A machine whose power fails while a real agent is connected to a real controller, and that comes up again: the controller
//! has heard nothing of it.
//!
//! The machine is a namespace of processes and one of the network, joined by a cable to the network in which the controller
//! is. First the cable goes, then everything in there is killed; so not one last word gets out. How long it takes until the
//! node is online again, with and without the takeover, is printed; without it only where `KEEPING_WAITS` is set, because
//! that takes minutes.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agent_wrap_testbed::hudson::{self, Hudson, HudsonOptions};
use agent_wrap_testbed::skip::{self, Need};
use agent_wrap_testbed::spawner::{self, Process};
use agent_wrap_testbed::wait;
use libtest_mimic::Trial;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::standalone::{children, name};
use crate::common::{AGENT_WRAP, Wrap, eventually, is_alive, now};
use crate::scene::{Scene, expect_none, expect_success, expect_words};
use crate::trials::trial;

pub fn trials() -> Vec<Trial> {
    vec![trial("power::fails_and_comes_back::real_hudson", fails_and_comes_back)]
}

const CONTROLLER: Ipv4Addr = Ipv4Addr::new(10, 214, 0, 1);
/// The machine before its power fails, and when it is back.
const BEFORE: Ipv4Addr = Ipv4Addr::new(10, 214, 0, 2);
const AFTER: Ipv4Addr = Ipv4Addr::new(10, 214, 0, 3);

/// Longer than the controller holds a dead channel, which is more than a quarter of an hour.
const WINDOW: Duration = Duration::from_secs(3600);

fn need() -> Need {
    skip::need_root()?;
    for program in ["unshare", "nsenter", "ip"] {
        skip::need_program(program)?;
    }
    let tried = Command::new("unshare").args(["--mount", "--pid", "--net", "--fork", "--mount-proc", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => skip::need_hudson(),
        Ok(output) => Err(format!("no namespaces to be had: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// Namespaces, which are gone with their first process.
struct Space {
    unshare: Option<Process>,
    init: Pid,
}

impl Space {
    fn new(kinds: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(kinds).args(["--net", "--fork", "--kill-child=KILL", "sleep", "infinity"]).stdin(Stdio::null());
        let unshare = spawner::spawn(command).expect("unshare is there");
        let pid = Pid::from_raw(i32::try_from(unshare.id()).expect("a pid"));
        let mut init = None;
        eventually("its first process sleeps", || {
            init = children(pid).first().copied().filter(|child| name(*child) == "sleep");
            init.is_some()
        });
        Self { unshare: Some(unshare), init: init.unwrap_or(pid) }
    }

    fn network(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.init))
    }

    /// Has iproute2 do something in its network.
    #[track_caller]
    fn ip(&self, line: &str) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network().display())).arg("ip").args(line.split(' '));
        let output = command.output().expect("nsenter is there");
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Has something done in its network, by a thread of its own. What that thread starts is there as well.
    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.network()).expect("it is there");
        let there = move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("we may enter it");
            act()
        };
        std::thread::scope(|scope| scope.spawn(there).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Kills everything in it.
    fn kill(mut self) {
        drop(self.unshare.take());
        eventually("everything in it is gone", || !is_alive(self.init));
    }
}

/// The network of the controller: a switch that machines are plugged into.
fn switch() -> Space {
    let space = Space::new(&[]);
    for line in [
        "link set lo up",
        "link add switch type bridge",
        &format!("address add {CONTROLLER}/24 dev switch"),
        "link set switch up",
    ] {
        space.ip(line);
    }
    space
}

/// A machine that is switched on.
struct Machine<'a> {
    switch: &'a Space,
    space: Space,
}

impl<'a> Machine<'a> {
    /// With an address that it has not had before: from the old one its kernel would say that the connection is gone, as
    /// soon as the controller had anything to say.
    fn boot(switch: &'a Space, address: Ipv4Addr) -> Self {
        let space = Space::new(&["--pid", "--mount-proc"]);
        switch.ip(&format!("link add plug type veth peer name cable netns {}", space.init));
        switch.ip("link set plug master switch up");
        for line in ["link set lo up", &format!("address add {address}/24 dev cable"), "link set cable up"] {
            space.ip(line);
        }
        Self { switch, space }
    }

    fn start(&self, scene: &Scene, options: &[&str]) -> Wrap {
        let plain = scene.command(options, &[]);
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.space.init)).args(["--net", "--pid", "--mount", "--", AGENT_WRAP]);
        command.args(plain.get_args()).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        Wrap::start(command)
    }

    /// The power fails. Nothing of what its kernel still wants to say gets out.
    fn fail(self) {
        self.switch.ip("link delete plug");
        self.space.kill();
    }
}

fn fails_and_comes_back() {
    if skip::unmet("keeping::power::fails_and_comes_back::real_hudson", need()) {
        return;
    }
    let switch = switch();
    // Whoever asks the controller has to be where it is.
    switch.within(|| {
        let network = hudson::Network { file: switch.network(), address: CONTROLLER };
        let options = HudsonOptions { network: Some(network), ..HudsonOptions::default() };
        lives(&switch, &Hudson::start(options).expect("Hudson starts"));
    });
}

/// What an agent says when it is let in, and when it is not.
const LET_IN: &str = "INFO: Connected";
const TURNED_AWAY: &str = "already connected";

fn lives(switch: &Space, hudson: &Hudson) {
    let scenes = ["taken over", "landed", "left", "unknown"].map(|name| Scene::new(hudson, name));
    let [taken, landed, left, _] = &scenes;
    let machine = Machine::boot(switch, BEFORE);
    let first = scenes.each_ref().map(|scene| machine.start(scene, &[]));
    for (wrap, scene) in first.iter().zip(&scenes) {
        wrap.wait_for("agent_connected");
        scene.wait_until_written_down();
    }
    kill(children(first[1].pid())[0], Signal::SIGUSR1).expect("it is there");
    first[1].wait_for("landed");
    machine.fail();
    first.into_iter().for_each(Wrap::kill);

    let machine = Machine::boot(switch, AFTER);
    for scene in &scenes {
        let state = scene.state(hudson);
        assert!(!state.offline || state.marked, "the controller has noticed: {state:?}");
    }
    let start = now();
    let by_takeover = machine.start(taken, &[]);
    by_takeover.wait_for_words(LET_IN, 1);
    tell("with the takeover", start);
    by_takeover.wait_for("agent_connected");
    for event in ["taking_over", "taken_over"] {
        by_takeover.wait_for(event);
    }
    expect_none(&by_takeover, "channel_found");
    let (build, gate) = taken.running_build(hudson);
    expect_success(hudson, &build, &gate);

    let from_landed = machine.start(landed, &[]);
    from_landed.wait_for("taken_over");
    from_landed.wait_for("agent_connected");
    from_landed.wait_for_words(LET_IN, 1);
    let (build, gate) = landed.running_build(hudson);
    expect_success(hudson, &build, &gate);

    let start = now();
    let by_patience = machine.start(left, &["--takeover", "never"]);
    let fresh = Scene::of(hudson, "unknown");
    let without_a_record = machine.start(&fresh, &[]);
    for wrap in [&by_patience, &without_a_record] {
        expect_words(wrap, "channel_found", "it is left alone");
        wrap.wait_for_words(TURNED_AWAY, 1);
        expect_none(wrap, "taking_over");
    }
    if std::env::var_os("KEEPING_WAITS").is_some() {
        let is_in = || Ok(by_patience.log().iter().any(|line| line.contains(LET_IN)).then_some(()));
        wait::until("the controller to notice by itself", WINDOW, is_in).expect("it notices");
        tell("without the takeover", start);
    }
    machine.fail();
    [by_takeover, from_landed, by_patience, without_a_record].into_iter().for_each(Wrap::kill);
}

#[expect(clippy::print_stdout, reason = "a figure for the documentation, and no statement of the test")]
fn tell(how: &str, start: Instant) {
    println!("online {how} {:.1} s after the start of agent-wrap", start.elapsed().as_secs_f32());
}
