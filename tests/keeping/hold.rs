//! An operator's hold file: there at the start, set and lifted while the agent runs, changed, unreadable, gone with its
//! folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_wrap_testbed::skip::{self, Need};
use agent_wrap_testbed::stage::{BuildState, Stage};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::common::{AGENT_WRAP, Wrap, eventually, is_alive};
use crate::scene::{Scene, build_state, count, expect_none, expect_success, expect_words, freeze, wait_for_reads};
use crate::trials::trial;
use crate::{Scenario, jenkins, simulated};

pub const EVERYWHERE: &[Scenario] = &[
    ("hold::there_at_the_start", there_at_the_start),
    ("hold::set_while_a_build_runs", set_while_a_build_runs),
    ("hold::lifted_while_a_build_is_waited_for", lifted_while_draining),
    ("hold::a_restarted_agent_stays_held", restarted_agent_stays_held),
    ("hold::a_stop_while_held", stop_while_held),
];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("hold::what_it_says_is_the_reason", what_it_says_is_the_reason),
        trial("hold::one_that_cannot_be_read", one_that_cannot_be_read),
        trial("hold::a_key_of_a_config_map_comes_and_goes", key_comes_and_goes),
        trial("hold::its_folder_comes_and_goes", folder_comes_and_goes),
        trial("hold::usr2_does_not_lift_it", usr2_does_not_lift_it),
        trial("hold::what_was_landed_stays_so", what_was_landed_stays_so),
        trial("hold::a_mark_that_vanishes_is_set_again", vanished_mark),
        trial("hold::set_while_the_agent_is_replaced", set_while_replaced),
        trial("hold::the_usual_files", usual_files),
        trial("hold::a_reload_looks_where_nothing_is_told", reload_looks),
    ]
}

/// A hold file of the test's own.
struct HoldFile(PathBuf);

impl HoldFile {
    fn of(scene: &Scene) -> Self {
        Self(scene.path("hold"))
    }

    fn option(&self) -> String {
        format!("--hold-file={}", self.0.display())
    }

    fn set(&self, words: &str) {
        fs::write(&self.0, format!("{words}\n")).expect("written");
    }

    fn lift(&self) {
        fs::remove_file(&self.0).expect("removed");
    }
}

fn there_at_the_start(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "held from the start");
    let hold = HoldFile::of(&scene);
    hold.set("new disk,\n until Monday");
    let wrap = scene.start(&[&hold.option()]);
    wrap.wait_for("agent_started");
    let log = wrap.log();
    let at = |event: &str| log.iter().position(|line| line.contains(event)).expect("it was told");
    assert!(at("\"marked\"") < at("\"agent_started\""), "{log:#?}");
    scene.wait_until_marked(stage, "new disk, until Monday");
    let (build, gate) = scene.queue_build(stage);
    // By its own words, because Hudson does not tell of the connection of a marked node.
    wrap.wait_for_words("Connected", 1);
    assert_eq!(build_state(stage, &build), BuildState::Queued);
    hold.lift();
    wrap.wait_for("hold_lifted");
    eventually("the build runs", || build_state(stage, &build) == BuildState::Running);
    expect_success(stage, &build, &gate);
    assert_eq!(count(&wrap, "agent_started"), 1);
    wrap.stop().expect_code(0);
}

fn set_while_a_build_runs(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "held while it runs");
    let hold = HoldFile::of(&scene);
    let wrap = scene.online(stage, &[&hold.option()]);
    let (build, gate) = scene.running_build(stage);
    hold.set("new disk");
    expect_words(&wrap, "hold", "an operator holds the node offline (\"new disk\")");
    wrap.wait_for("draining");
    scene.wait_until_marked(stage, "new disk");
    assert_eq!(build_state(stage, &build), BuildState::Running);
    expect_success(stage, &build, &gate);
    wrap.wait_for("landed");
    fs::remove_file(&gate).expect("closed again");
    let (next, gate) = scene.queue_build(stage);
    assert!(is_alive(wrap.agent_pid(1)));
    assert_eq!(build_state(stage, &next), BuildState::Queued);
    hold.lift();
    eventually("the next build runs", || build_state(stage, &next) == BuildState::Running);
    assert!(!scene.state(stage).marked);
    expect_success(stage, &next, &gate);
    assert_eq!(count(&wrap, "agent_started"), 1);
    wrap.stop().expect_code(0);
}

fn lifted_while_draining(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "not held for long");
    let hold = HoldFile::of(&scene);
    let wrap = scene.online(stage, &[&hold.option()]);
    let (build, gate) = scene.running_build(stage);
    hold.set("new disk");
    wrap.wait_for("draining");
    hold.lift();
    wrap.wait_for("hold_lifted");
    scene.wait_until_online(stage);
    expect_success(stage, &build, &gate);
    expect_none(&wrap, "landed");
    assert_eq!(count(&wrap, "agent_started"), 1);
    wrap.stop().expect_code(0);
}

fn restarted_agent_stays_held(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "held and killed");
    let hold = HoldFile::of(&scene);
    let wrap = scene.online(stage, &[&hold.option()]);
    hold.set("new disk");
    wrap.wait_for("landed");
    nix::sys::signal::kill(wrap.agent_pid(1), Signal::SIGKILL).expect("it is there");
    wrap.wait_for_nth("agent_started", 2);
    assert!(scene.state(stage).marked);
    expect_none(&wrap, "lifted");
    hold.lift();
    scene.wait_until_online(stage);
    wrap.stop().expect_code(0);
}

fn stop_while_held(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "stopped while held");
    let hold = HoldFile::of(&scene);
    let wrap = scene.online(stage, &[&hold.option()]);
    hold.set("new disk");
    wrap.wait_for("landed");
    let held = scene.state(stage).reason;
    let outcome = wrap.stop();
    outcome.expect_code(0);
    let state = scene.state(stage);
    // Controllers before 2.482 replace a reason when the agent's connection ends.
    assert!(state.marked && (state.reason == held || state.reason.is_empty()), "{state:?}\n{}", outcome.text());
    // The next start finds the file, and then it does not.
    let wrap = scene.start(&[&hold.option()]);
    wrap.wait_for("agent_started");
    assert!(scene.state(stage).marked);
    hold.lift();
    scene.wait_until_online(stage);
    wrap.stop().expect_code(0);
}

fn what_it_says_is_the_reason() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let hold = HoldFile::of(&scene);
    let wrap = scene.online(&stage, &[&hold.option()]);
    hold.set("new disk");
    wrap.wait_for("landed");
    scene.wait_until_marked(&stage, "new disk [agent-wrap ");
    hold.set("new disk and new room");
    scene.wait_until_marked(&stage, "new disk and new room [agent-wrap ");
    // It was never free in between.
    expect_none(&wrap, "lifting");
    let beside = scene.path("beside");
    fs::write(&beside, "renamed into its place").expect("written");
    fs::rename(&beside, &hold.0).expect("renamed");
    scene.wait_until_marked(&stage, "renamed into its place [agent-wrap ");
    hold.set("");
    scene.wait_until_marked(&stage, &format!("held by an operator ({})", hold.0.display()));
    wrap.stop().expect_code(0);
    assert!(scene.state(&stage).reason.contains("held by an operator"), "{:?}", scene.state(&stage));
}

fn one_that_cannot_be_read() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let hold = HoldFile::of(&scene);
    let wrap = scene.online(&stage, &[&hold.option()]);
    // Not even root can read that.
    fs::create_dir(&hold.0).expect("made");
    expect_words(&wrap, "hold_unreadable", "is there but cannot be read");
    scene.wait_until_marked(&stage, &format!("held by an operator ({})", hold.0.display()));
    // It is looked at again, and said no more.
    fs::set_permissions(&hold.0, fs::Permissions::from_mode(0o700)).expect("changed");
    wrap.signal(Signal::SIGHUP);
    wrap.wait_for("reload");
    wait_for_reads(&stage, 2);
    assert_eq!(count(&wrap, "hold_unreadable"), 1);
    fs::remove_dir(&hold.0).expect("removed");
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
}

/// As a kubelet does it: the data is turned first, the link to a key that is gone is removed afterwards.
fn key_comes_and_goes() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let folder = scene.path("map");
    for data in ["..1", "..2", "..3"] {
        fs::create_dir_all(folder.join(data)).expect("made");
    }
    fs::write(folder.join("..2/hold"), "new disk").expect("written");
    let turn = |data: &str| {
        symlink(data, folder.join("..data_tmp")).expect("linked");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("turned");
    };
    turn("..1");
    let hold = HoldFile(folder.join("hold"));
    let wrap = scene.online(&stage, &[&hold.option()]);
    turn("..2");
    symlink("..data/hold", &hold.0).expect("linked");
    scene.wait_until_marked(&stage, "new disk [agent-wrap ");
    turn("..3");
    wrap.wait_for("hold_lifted");
    hold.lift();
    scene.wait_until_online(&stage);
    expect_none(&wrap, "hold_unreadable");
    assert_eq!(count(&wrap, "hold"), 1);
    wrap.stop().expect_code(0);
}

fn folder_comes_and_goes() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let above = scene.path("not/there");
    let hold = HoldFile(above.join("hold"));
    let wrap = scene.online(&stage, &[&hold.option()]);
    for turn in 1..=2 {
        fs::create_dir_all(&above).expect("made");
        hold.set("new disk");
        scene.wait_until_marked(&stage, "new disk");
        fs::remove_dir_all(scene.path("not")).expect("removed");
        wrap.wait_for_nth("hold_lifted", turn);
        scene.wait_until_online(&stage);
    }
    wrap.stop().expect_code(0);
}

fn usr2_does_not_lift_it() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let hold = HoldFile::of(&scene);
    let wrap = scene.online(&stage, &[&hold.option()]);
    hold.set("new disk");
    wrap.wait_for("landed");
    wrap.signal(Signal::SIGUSR2);
    expect_words(&wrap, "request", "a hold file keeps the node offline");
    expect_none(&wrap, "lifting");
    assert!(scene.state(&stage).marked);
    hold.lift();
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
}

fn what_was_landed_stays_so() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let hold = HoldFile::of(&scene);
    let wrap = scene.online(&stage, &[&hold.option()]);
    wrap.signal(Signal::SIGUSR1);
    wrap.wait_for("landed");
    let landed = scene.state(&stage).reason;
    hold.set("new disk");
    scene.wait_until_marked(&stage, "new disk");
    hold.lift();
    wrap.wait_for("hold_lifted");
    let words = landed.split(" [agent-wrap ").next().expect("it has words");
    scene.wait_until_marked(&stage, words);
    wrap.signal(Signal::SIGUSR2);
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
}

fn vanished_mark() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let hold = HoldFile::of(&scene);
    let wrap = scene.online(&stage, &[&hold.option()]);
    hold.set("new disk");
    wrap.wait_for("landed");
    for turn in 1..=3 {
        wait_for_reads(&stage, 2);
        stage.clear("n").expect("cleared");
        wrap.wait_for_nth("mark_vanished", turn);
        scene.wait_until_marked(&stage, "new disk");
    }
    wait_for_reads(&stage, 2);
    stage.clear("n").expect("cleared");
    wrap.wait_for("taken_back");
    assert!(!scene.state(&stage).marked);
    hold.set("new disk after all");
    scene.wait_until_marked(&stage, "new disk after all");
    wrap.stop().expect_code(0);
}

fn set_while_replaced() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let hold = HoldFile::of(&scene);
    let options = [&hold.option(), "--disconnect-timeout", "2s", "--grace", "5s"];
    let wrap = Wrap::start(scene.command(&options, &["--ignore-term"]));
    wrap.wait_for("agent_connected");
    freeze(wrap.agent_pid(1));
    stage.disconnect("n").expect("disconnected");
    wrap.wait_for("terminating");
    hold.set("new disk");
    scene.wait_until_marked(&stage, "new disk");
    expect_none(&wrap, "agent_exited");
    wrap.wait_for_nth("agent_connected", 2);
    scene.wait_until_marked(&stage, "new disk");
    expect_none(&wrap, "lifting");
    hold.lift();
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(137);
}

/// To be root, and to be allowed to mount.
fn need_mounts() -> Need {
    skip::need_root()?;
    for program in ["unshare", "nsenter"] {
        skip::need_program(program)?;
    }
    match Command::new("unshare").args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("no mounts to be had: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// Starts the wrapper with a folder of its own at this place, which is there already.
fn start_with_own(folder: &str, scene: &Scene, options: &[&str]) -> Wrap {
    let plain = scene.command(options, &[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", r#"mount -t tmpfs tmpfs "$0"; exec "$@""#, folder, AGENT_WRAP]);
    command.args(plain.get_args()).env_clear();
    for (name, value) in plain.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    Wrap::start(command)
}

/// A file as this wrapper sees it.
fn seen_by(wrap: &Wrap, path: &str) -> PathBuf {
    Path::new("/proc").join(wrap.pid().to_string()).join("root").join(path.trim_start_matches('/'))
}

fn usual_files() {
    if skip::unmet("keeping::hold::the_usual_files", need_mounts()) {
        return;
    }
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "lab 7");
    // Everything in /etc that an agent on 127.0.0.1 needs is nothing.
    let wrap = start_with_own("/etc", &scene, &[]);
    wrap.wait_for("agent_connected");
    let (all, one) = (seen_by(&wrap, "/etc/agent-wrap/hold"), seen_by(&wrap, "/etc/agent-wrap/hold.d/lab 7"));
    fs::create_dir_all(one.parent().expect("a folder")).expect("made");
    fs::write(one.with_file_name("lab 8"), "not this one").expect("written");
    fs::write(&one, "only this one").expect("written");
    scene.wait_until_marked(&stage, "only this one");
    fs::write(&all, "the whole machine").expect("written");
    scene.wait_until_marked(&stage, "the whole machine");
    fs::remove_file(&all).expect("removed");
    scene.wait_until_marked(&stage, "only this one");
    fs::remove_file(&one).expect("removed");
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
}

/// What is mounted over a folder that is watched no notice tells of.
fn reload_looks() {
    if skip::unmet("keeping::hold::a_reload_looks_where_nothing_is_told", need_mounts()) {
        return;
    }
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let wrap = start_with_own("/mnt", &scene, &["--hold-file", "/mnt/hold"]);
    wrap.wait_for("agent_connected");
    let target = format!("--target={}", wrap.pid());
    let mounted = Command::new("nsenter")
        .args([&target, "--mount", "sh", "-euc", "mount -t tmpfs tmpfs /mnt; echo mounted over > /mnt/hold"])
        .status();
    assert!(mounted.expect("nsenter is there").success());
    wait_for_reads(&stage, 2);
    expect_none(&wrap, "hold");
    wrap.signal(Signal::SIGHUP);
    scene.wait_until_marked(&stage, "mounted over");
    wrap.stop().expect_code(0);
}
