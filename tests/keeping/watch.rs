//! Agents that live without their channel: frozen while the controller drops it.

use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use agent_wrap_testbed::ports;
use agent_wrap_testbed::simulated::{Fault, On, Operation, Options};
use agent_wrap_testbed::stage::Stage;
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::common::{Wrap, eventually, is_alive};
use crate::scene::{Scene, count, expect_none, expect_success, expect_words, freeze, reads, thaw, wait_for_reads};
use crate::trials::trial;
use crate::{Scenario, jenkins, simulated};

pub const EVERYWHERE: &[Scenario] = &[
    ("watch::a_frozen_agent_is_replaced", frozen_agent_is_replaced),
    ("watch::one_that_is_back_in_time_is_left_alone", back_in_time),
    ("watch::one_that_is_never_started_again_is_only_told_of", never_started_again),
    ("watch::a_restart_of_the_controller_does_not_count", restart_does_not_count),
];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("watch::one_that_does_not_end_is_killed", one_that_does_not_end_is_killed),
        trial("watch::a_landed_one_is_replaced", landed_one_is_replaced),
        trial("watch::a_landed_one_of_an_old_controller_is_left_alone", landed_one_is_left_alone),
        trial("watch::a_stop_meanwhile_marks_the_node_first", stop_meanwhile),
        trial("watch::one_that_never_connects_is_replaced", one_that_never_connects_is_replaced),
        trial("watch::the_time_begins_anew_when_it_is_back", the_time_begins_anew),
        trial("watch::an_unreachable_controller_does_not_count", || unreachable(Outage::Closes)),
        trial("watch::a_controller_that_is_not_ready_does_not_count", || unreachable(Outage::NotReady)),
        trial("watch::one_that_is_connected_is_never_touched::jenkins", || never_touched(jenkins())),
        trial("watch::one_that_is_connected_is_never_touched::hudson", || never_touched(Options::hudson())),
        trial("watch::one_that_a_mark_hides_is_never_touched", hidden_by_the_mark),
    ]
}

fn frozen_agent_is_replaced(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "frozen");
    let wrap = scene.online(stage, &["--disconnect-timeout", "3s"]);
    let first = wrap.agent_pid(1);
    freeze(first);
    stage.disconnect(&scene.node).expect("disconnected");
    wrap.wait_for("agent_disconnected");
    expect_words(
        &wrap,
        "stays_disconnected",
        "has not seen it connected for 3 s (--disconnect-timeout): starting it anew",
    );
    wrap.wait_for_nth("agent_connected", 2);
    assert!(!is_alive(first) && is_alive(wrap.agent_pid(2)));
    // TERM has reached it although it stood still, because it was let go on.
    expect_none(&wrap, "killing");
    expect_words(&wrap, "agent_exited", "as asked");
    scene.wait_until_online(stage);
    // The node was not marked for it.
    expect_none(&wrap, "marked");
    wrap.stop().expect_code(0);
}

fn back_in_time(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "back in time");
    let wrap = scene.online(stage, &["--disconnect-timeout", "80s"]);
    let agent = wrap.agent_pid(1);
    freeze(agent);
    stage.disconnect(&scene.node).expect("disconnected");
    wrap.wait_for("agent_disconnected");
    thaw(agent);
    wrap.wait_for("agent_reconnected");
    scene.wait_until_online(stage);
    assert!(is_alive(agent));
    let outcome = wrap.stop();
    outcome.expect_code(0);
    for event in ["stays_disconnected", "restart_planned"] {
        assert!(!outcome.has(event), "{}", outcome.text());
    }
}

fn never_started_again(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "only told of");
    let wrap = scene.online(stage, &["--disconnect-timeout", "2s", "--restart", "no"]);
    let agent = wrap.agent_pid(1);
    freeze(agent);
    stage.disconnect(&scene.node).expect("disconnected");
    expect_words(&wrap, "stays_disconnected", "left alone, because --restart=no");
    thaw(agent);
    wrap.wait_for("agent_reconnected");
    assert!(is_alive(agent));
    expect_none(&wrap, "terminating");
    wrap.stop().expect_code(0);
}

/// It takes longer than the timeout, and while it starts it says all sorts of things.
fn restart_does_not_count(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "restart of the controller");
    let wrap = scene.online(stage, &["--disconnect-timeout", "4s"]);
    let agent = wrap.agent_pid(1);
    freeze(agent);
    stage.take_down().expect("it goes down");
    wrap.wait_for("waiting");
    stage.bring_up().expect("it comes up");
    wrap.wait_for("stays_disconnected");
    let at = |event| {
        let time = wrap.wait_for(event)["timestamp"].as_str().map(humantime::parse_rfc3339);
        time.expect("each line has one").expect("a time")
    };
    let counted = at("stays_disconnected").duration_since(at("answering")).expect("it answers again before");
    assert!(counted >= Duration::from_secs(4), "{counted:?}\n{}", wrap.log().join("\n"));
    wrap.wait_for_nth("agent_connected", 2);
    assert!(!is_alive(agent));
    scene.wait_until_online(stage);
    wrap.stop().expect_code(0);
}

fn one_that_does_not_end_is_killed() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let options = ["--disconnect-timeout", "2s", "--grace", "500ms"];
    let wrap = Wrap::start(scene.command(&options, &["--ignore-term"]));
    wrap.wait_for("agent_connected");
    let first = wrap.agent_pid(1);
    freeze(first);
    stage.disconnect("n").expect("disconnected");
    wrap.wait_for("stays_disconnected");
    wrap.wait_for("killing");
    wrap.wait_for_nth("agent_connected", 2);
    assert!(!is_alive(first));
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(137);
}

fn landed_one_is_replaced() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let wrap = scene.online(&stage, &["--disconnect-timeout", "2s"]);
    wrap.signal(Signal::SIGUSR1);
    wrap.wait_for("landed");
    let first = wrap.agent_pid(1);
    freeze(first);
    stage.disconnect("n").expect("disconnected");
    wrap.wait_for("stays_disconnected");
    wrap.wait_for_nth("agent_connected", 2);
    assert!(!is_alive(first) && scene.state(&stage).marked);
    wrap.signal(Signal::SIGUSR2);
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
}

/// Before 2.125 nothing shows that a marked node is not connected.
fn landed_one_is_left_alone() {
    let stage = simulated(Options { security: false, ..Options::jenkins("2.107") });
    let scene = Scene::new(&stage, "n");
    let wrap = scene.online(&stage, &["--disconnect-timeout", "2s"]);
    wrap.signal(Signal::SIGUSR1);
    wrap.wait_for("landed");
    let first = wrap.agent_pid(1);
    freeze(first);
    stage.disconnect("n").expect("disconnected");
    wait_for_reads(&stage, 6);
    expect_none(&wrap, "stays_disconnected");
    thaw(first);
    assert_eq!(count(&wrap, "agent_started"), 1);
    wrap.stop().expect_code(0);
}

fn stop_meanwhile() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let options = ["--disconnect-timeout", "2s", "--grace", "5s"];
    let wrap = Wrap::start(scene.command(&options, &["--ignore-term"]));
    wrap.wait_for("agent_connected");
    freeze(wrap.agent_pid(1));
    stage.disconnect("n").expect("disconnected");
    wrap.wait_for("terminating");
    let outcome = wrap.stop();
    outcome.expect_code(137);
    let events = outcome.events();
    let at = |event: &str| events.iter().position(|name| name == event).expect("it was told");
    assert!(at("marked") < at("agent_exited"), "{}", outcome.text());
    assert!(scene.state(&stage).marked && !outcome.has("restart_planned"), "{}", outcome.text());
}

fn one_that_never_connects_is_replaced() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let mut command = scene.command(&["--disconnect-timeout", "2s"], &[]);
    command.env("MISBEHAVE", "--hang");
    let wrap = Wrap::start(command);
    expect_words(&wrap, "stays_disconnected", "2 s and never was (--disconnect-timeout): starting it anew");
    wrap.wait_for_nth("agent_started", 2);
    assert!(!is_alive(wrap.agent_pid(1)));
    // It counts as a failure, so that the pause grows.
    wrap.wait_for_words("(attempt 2)", 1);
    wrap.stop().expect_code(0);
}

fn the_time_begins_anew() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let wrap = scene.online(&stage, &["--disconnect-timeout", "10s"]);
    let agent = wrap.agent_pid(1);
    freeze(agent);
    stage.disconnect("n").expect("disconnected");
    wrap.wait_for("agent_disconnected");
    thaw(agent);
    wrap.wait_for("agent_reconnected");
    // More than ten seconds.
    wait_for_reads(&stage, 22);
    freeze(agent);
    stage.disconnect("n").expect("disconnected");
    wrap.wait_for_nth("agent_disconnected", 2);
    wait_for_reads(&stage, 2);
    expect_none(&wrap, "stays_disconnected");
    thaw(agent);
    wrap.wait_for_nth("agent_reconnected", 2);
    assert!(is_alive(agent));
    wrap.stop().expect_code(0);
}

#[derive(Clone, Copy)]
enum Outage {
    /// Somebody takes its connections and closes them.
    Closes,
    /// It answers that it is not ready.
    NotReady,
}

/// The fifth try in a row comes more than ten seconds after the first.
const TRIES: usize = 5;

fn unreachable(outage: Outage) {
    let mut stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let wrap = scene.online(&stage, &["--disconnect-timeout", "6s"]);
    let agent = wrap.agent_pid(1);
    freeze(agent);
    stage.disconnect("n").expect("disconnected");
    wrap.wait_for("agent_disconnected");
    match outage {
        Outage::Closes => {
            stage.take_down().expect("it goes down");
            let closer = Closer::on(port_of(&stage));
            eventually("it was asked in vain", || closer.count() >= TRIES);
            drop(closer);
            expect_none(&wrap, "stays_disconnected");
            stage.bring_up().expect("it comes up");
        }
        Outage::NotReady => {
            stage.fault(On::operation(Operation::ReadNode), Fault::Status(503));
            let before = stage.requests_for(Operation::ReadNode).len();
            stage.wait_for("it was asked in vain", |world| {
                let all = world.requests().iter();
                all.filter(|request| request.operation == Operation::ReadNode).count() >= before + TRIES
            });
            expect_none(&wrap, "stays_disconnected");
            stage.clear_faults();
        }
    }
    let before = stage.look(reads);
    wrap.wait_for("stays_disconnected");
    let healthy = stage.look(reads) - before;
    assert!(healthy >= 4, "after {healthy} reads:\n{}", wrap.log().join("\n"));
    wrap.wait_for_nth("agent_connected", 2);
    assert!(!is_alive(agent));
    wrap.stop().expect_code(0);
}

fn port_of(stage: &dyn Stage) -> u16 {
    let url = stage.url();
    url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// Takes the connections of somebody who is gone, and closes them.
struct Closer {
    count: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Closer {
    fn on(port: u16) -> Self {
        let listener = ports::listen_again(port).expect("the port is free");
        let (count, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, seen) = (Arc::clone(&count), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while listener.accept().is_ok() && !seen.load(Ordering::SeqCst) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { count, over, port, thread: Some(thread) }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // It wakes up whoever waits there.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn never_touched(options: Options) {
    let stage = simulated(options);
    let scene = Scene::new(&stage, "n");
    let wrap = scene.online(&stage, &["--disconnect-timeout", "1s"]);
    let (build, gate) = scene.running_build(&stage);
    wait_for_reads(&stage, 8);
    expect_success(&stage, &build, &gate);
    wait_for_reads(&stage, 4);
    expect_none(&wrap, "stays_disconnected");
    assert_eq!(count(&wrap, "agent_started"), 1);
    wrap.stop().expect_code(0);
}

fn hidden_by_the_mark() {
    let stage = simulated(Options::hudson());
    let scene = Scene::new(&stage, "n");
    let wrap = scene.online(&stage, &["--disconnect-timeout", "1s"]);
    wrap.signal(Signal::SIGUSR1);
    wrap.wait_for("landed");
    wait_for_reads(&stage, 6);
    expect_none(&wrap, "stays_disconnected");
    assert_eq!(count(&wrap, "agent_started"), 1);
    wrap.stop().expect_code(0);
}
