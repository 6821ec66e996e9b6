//! A controller that goes away or talks nonsense in the middle of each of these.

use std::fs;
use std::time::Duration;

use agent_wrap_testbed::simulated::{Fault, Lasting, On, Operation, Options, Persistence, Simulated, startup_as_seen};
use agent_wrap_testbed::stage::Stage as _;
use libtest_mimic::Trial;

use crate::common::{Wrap, eventually, is_alive};
use crate::scene::{Scene, count, expect_none, freeze};
use crate::takeover::{disconnects, killed, unnoticed, wait_until_up};
use crate::trials::trial;
use crate::{jenkins, simulated};

/// Points at which a controller begins to answer like one that starts: before and after each request that it carries out.
const POINTS: usize = 10;

type Life = fn(&Simulated, &dyn Fn());

const LIVES: &[(&str, Life)] = &[
    ("takeover", takeover),
    ("held_from_the_start", held_from_the_start),
    ("held_while_it_runs", held_while_it_runs),
    ("released", released),
    ("replaced", replaced),
];

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (life, live) in LIVES {
        for point in 1..=POINTS {
            trials.push(trial(format!("outages::{life}::not_ready_at_{point:02}"), move || not_ready_at(point, *live)));
        }
    }
    for (name, fault, closed) in DISCONNECTS {
        trials.push(trial(format!("outages::takeover::{name}"), move || disconnect_fails(fault.clone(), *closed)));
    }
    trials.push(trial("outages::takeover::the_controller_goes_down", down_while_taking_over));
    trials.push(trial("outages::replaced::the_controller_goes_down", down_while_replacing));
    for (name, persistence) in
        [("kept", Persistence::Node), ("put_back", Persistence::AtConnect), ("lost", Persistence::Lost)]
    {
        trials.push(trial(format!("outages::held::the_mark_is_{name}_by_a_restart"), move || held_over(persistence)));
    }
    trials.push(trial("outages::held::set_while_it_is_down", set_while_down));
    trials.push(trial("outages::held::lifted_while_it_is_down", lifted_while_down));
    trials
}

/// When the dead channel is closed by what went wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// Before the agent is started.
    InTime,
    /// After that.
    Late,
    Never,
}

/// What goes wrong with the request that closes the dead channel. It is tried again only if it was refused: else it might
/// come late, and hit the channel of the next agent.
const DISCONNECTS: &[(&str, Fault, Closed)] = &[
    ("hangs_before", Fault::HangBefore, Closed::Never),
    ("hangs_after", Fault::HangAfter, Closed::InTime),
    ("is_reset_before", Fault::ResetBefore, Closed::Never),
    ("is_reset_after", Fault::ResetAfter, Closed::InTime),
    ("is_closed_before", Fault::CloseBefore, Closed::Never),
    ("is_closed_after", Fault::CloseAfter, Closed::InTime),
    ("is_slow", Fault::Slow(Duration::from_secs(1)), Closed::InTime),
    ("is_delayed", Fault::Delayed(Duration::from_millis(300)), Closed::InTime),
    ("comes_late", Fault::Delayed(Duration::from_secs(6)), Closed::Late),
    ("is_500", Fault::Status(500), Closed::Never),
    ("is_503", Fault::Status(503), Closed::Never),
    ("is_404", Fault::Status(404), Closed::InTime),
    ("is_a_page_of_others", Fault::Html, Closed::Never),
];

fn disconnect_fails(fault: Fault, closed: Closed) {
    // Without crumbs the first request is the one that counts.
    let stage = unnoticed(Options { crumbs: false, ..jenkins() });
    let scene = Scene::new(&stage, "n");
    killed(&stage, &scene, &[]);
    stage.fault(On::operation(Operation::Disconnect).nth(1), fault);
    let wrap = scene.start(&["--request-timeout", "2s"]);
    wrap.wait_for("agent_started");
    assert_eq!(count(&wrap, "taken_over") == 1, closed == Closed::InTime, "{}", wrap.log().join("\n"));
    if closed != Closed::InTime {
        // Nothing is held up by it.
        wrap.wait_for_words("n is already connected to this controller", 1);
    }
    if closed == Closed::Never {
        // The agent waits until the controller notices.
        stage.with(|world| world.lose_channel("n"));
    }
    wrap.wait_for("agent_connected");
    wait_until_up(&stage);
    wrap.stop().expect_code(0);
}

/// The controller begins to answer like one that starts, from the nth point on that comes after the call.
fn not_ready_at(point: usize, live: Life) {
    let stage = unnoticed(jenkins());
    live(&stage, &|| {
        let mut passed = 0;
        stage.hook(move |world, _, _| {
            passed += 1;
            if passed == point {
                world.set_startup(startup_as_seen(Lasting::Requests(1)));
            }
        });
    });
}

fn takeover(stage: &Simulated, arm: &dyn Fn()) {
    let scene = Scene::new(stage, "n");
    killed(stage, &scene, &[]);
    arm();
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_started");
    if count(&wrap, "taken_over") == 0 {
        // A refusal, or an answer that leaves open whether it was closed: the controller notices in the end.
        stage.with(|world| world.lose_channel("n"));
    }
    wait_until_up(stage);
    wrap.wait_for("agent_connected");
    wrap.stop().expect_code(0);
    assert!(disconnects(stage) <= 1);
}

/// A hold file in the scene's folder, and the option for it.
fn hold_file(scene: &Scene) -> (std::path::PathBuf, String) {
    let file = scene.path("hold");
    let option = format!("--hold-file={}", file.display());
    (file, option)
}

fn held_from_the_start(stage: &Simulated, arm: &dyn Fn()) {
    let scene = Scene::new(stage, "n");
    let (file, option) = hold_file(&scene);
    fs::write(&file, "new disk").expect("written");
    arm();
    let wrap = scene.start(&[&option]);
    wrap.wait_for("agent_started");
    let log = wrap.log();
    let at = |event: &str| log.iter().position(|line| line.contains(event));
    assert!(at("\"marked\"").is_some_and(|marked| Some(marked) < at("\"agent_started\"")), "{log:#?}");
    scene.wait_until_marked(stage, "new disk");
    fs::remove_file(&file).expect("removed");
    scene.wait_until_online(stage);
    wrap.stop().expect_code(0);
}

fn held_while_it_runs(stage: &Simulated, arm: &dyn Fn()) {
    let scene = Scene::new(stage, "n");
    let (file, option) = hold_file(&scene);
    let wrap = scene.online(stage, &[&option]);
    arm();
    fs::write(&file, "new disk").expect("written");
    wrap.wait_for("landed");
    scene.wait_until_marked(stage, "new disk");
    assert_eq!(count(&wrap, "agent_started"), 1);
    wrap.stop().expect_code(0);
}

fn released(stage: &Simulated, arm: &dyn Fn()) {
    let scene = Scene::new(stage, "n");
    let (file, option) = hold_file(&scene);
    let wrap = scene.online(stage, &[&option]);
    fs::write(&file, "new disk").expect("written");
    wrap.wait_for("landed");
    arm();
    fs::remove_file(&file).expect("removed");
    wrap.wait_for("hold_lifted");
    scene.wait_until_online(stage);
    assert_eq!(count(&wrap, "agent_started"), 1);
    wrap.stop().expect_code(0);
}

fn replaced(stage: &Simulated, arm: &dyn Fn()) {
    let scene = Scene::new(stage, "n");
    let wrap = scene.online(stage, &["--disconnect-timeout", "2s"]);
    let first = wrap.agent_pid(1);
    freeze(first);
    stage.disconnect("n").expect("disconnected");
    arm();
    wrap.wait_for_nth("agent_started", 2);
    assert!(!is_alive(first));
    scene.wait_until_online(stage);
    wrap.stop().expect_code(0);
}

/// The dead channel is gone with the controller.
fn down_while_taking_over() {
    let mut stage = unnoticed(jenkins());
    let scene = Scene::new(&stage, "n");
    killed(&stage, &scene, &[]);
    stage.fault(On::operation(Operation::Disconnect), Fault::HangBefore);
    let wrap = scene.start(&[]);
    wrap.wait_for("taking_over");
    stage.wait_for("the request", |world| {
        world.requests().iter().any(|request| request.operation == Operation::Disconnect)
    });
    stage.take_down().expect("it goes down");
    wrap.wait_for("waiting");
    expect_none(&wrap, "agent_started");
    stage.bring_up().expect("it comes up");
    wrap.wait_for("agent_connected");
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
    assert_eq!(stage.requests_for(Operation::Disconnect).len(), 1);
}

/// The agent is being ended, which takes no controller. The next one does.
fn down_while_replacing() {
    let mut stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let options = ["--disconnect-timeout", "2s", "--grace", "4s"];
    let wrap = Wrap::start(scene.command(&options, &["--ignore-term"]));
    wrap.wait_for("agent_connected");
    let first = wrap.agent_pid(1);
    freeze(first);
    stage.disconnect("n").expect("disconnected");
    wrap.wait_for("terminating");
    stage.take_down().expect("it goes down");
    wrap.wait_for("agent_exited");
    assert!(!is_alive(first));
    wrap.wait_for("waiting");
    assert_eq!(count(&wrap, "agent_started"), 1);
    stage.bring_up().expect("it comes up");
    wrap.wait_for_nth("agent_connected", 2);
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(137);
}

fn held_over(persistence: Persistence) {
    let mut stage = simulated(Options { persistence, ..jenkins() });
    let scene = Scene::new(&stage, "n");
    let (file, option) = hold_file(&scene);
    let wrap = scene.online(&stage, &[&option]);
    fs::write(&file, "new disk").expect("written");
    wrap.wait_for("landed");
    stage.take_down().expect("it goes down");
    wrap.wait_for("waiting");
    stage.bring_up().expect("it comes up");
    wrap.wait_for("answering");
    scene.wait_until_marked(&stage, "new disk");
    eventually("the agent is back", || scene.state(&stage).connected == Some(true));
    scene.wait_until_marked(&stage, "new disk");
    fs::remove_file(&file).expect("removed");
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
}

fn set_while_down() {
    let mut stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let (file, option) = hold_file(&scene);
    let wrap = scene.online(&stage, &[&option]);
    stage.take_down().expect("it goes down");
    wrap.wait_for("waiting");
    fs::write(&file, "new disk").expect("written");
    wrap.wait_for("hold");
    stage.bring_up().expect("it comes up");
    scene.wait_until_marked(&stage, "new disk");
    wrap.wait_for("landed");
    wrap.stop().expect_code(0);
}

fn lifted_while_down() {
    let mut stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let (file, option) = hold_file(&scene);
    let wrap = scene.online(&stage, &[&option]);
    fs::write(&file, "new disk").expect("written");
    wrap.wait_for("landed");
    stage.take_down().expect("it goes down");
    wrap.wait_for("waiting");
    fs::remove_file(&file).expect("removed");
    wrap.wait_for("hold_lifted");
    stage.bring_up().expect("it comes up");
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
}
