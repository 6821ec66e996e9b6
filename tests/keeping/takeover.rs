//! The channel that a killed run leaves behind, which the controller takes for alive, on the simulated controller. With a
//! real one, and a machine whose power fails: `power.rs`.

use std::time::Duration;

use agent_wrap_testbed::simulated::{Entry, Fault, Link, Moment, On, Operation, Options, Simulated, World};
use agent_wrap_testbed::stage::BuildState;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};

use crate::common::{Wrap, eventually};
use crate::scene::{Scene, build_state, count, expect_none, expect_success, expect_words};
use crate::trials::trial;
use crate::{jenkins, simulated};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("takeover::closes_a_dead_channel::jenkins", || closes_a_dead_channel(jenkins())),
        trial("takeover::closes_a_dead_channel::hudson", || closes_a_dead_channel(Options::hudson())),
        trial("takeover::closes_it_before_the_mark_is_lifted", before_the_mark_is_lifted),
        trial("takeover::closes_one_that_the_mark_hides_when_it_shows", hidden_by_the_mark),
        trial("takeover::never", never),
        trial("takeover::without_a_state_file_nothing_is_touched", without_a_state_file),
        trial("takeover::after_a_stop_nothing_is_touched", after_a_stop),
        trial("takeover::of_one_that_never_connected_there_is_nothing_to_close", never_connected),
        trial("takeover::one_that_is_back_at_once_is_anothers", back_at_once),
        trial("takeover::is_not_allowed", not_allowed),
        trial("takeover::only_at_the_first_start", only_at_the_first_start),
    ]
}

/// The controller does not notice by itself within the test.
pub fn unnoticed(options: Options) -> Simulated {
    simulated(Options { stale_channel: Duration::from_secs(3600), ..options })
}

/// A run that was connected and has been killed, with everything below it.
pub fn killed(stage: &Simulated, scene: &Scene, options: &[&str]) {
    let wrap = scene.online(stage, options);
    scene.wait_until_written_down();
    wrap.kill();
    wait_until_stale(stage);
}

fn wait_until_stale(stage: &Simulated) {
    stage.wait_for("a dead channel", |world| world.node("n").is_some_and(|node| matches!(node.link, Link::Stale(_))));
}

/// Waits until the node takes builds, on a channel with an agent behind it.
pub fn wait_until_up(stage: &Simulated) {
    stage.wait_for("a living channel", |world| {
        world.node("n").is_some_and(|node| node.mark.is_none() && matches!(node.link, Link::Up(_)))
    });
}

/// How often a channel was to be closed. What only lacks a crumb is not counted.
pub fn disconnects(stage: &Simulated) -> usize {
    let all = stage.requests_for(Operation::Disconnect);
    all.iter().filter(|request| request.carried_out || request.header("Jenkins-Crumb").is_some()).count()
}

/// The place of the last entry like this in the timeline.
#[track_caller]
fn last(stage: &Simulated, is: fn(&Entry) -> bool) -> usize {
    let timeline = stage.timeline();
    timeline.iter().rposition(is).unwrap_or_else(|| panic!("it never happened: {timeline:#?}"))
}

fn closed(entry: &Entry) -> bool {
    matches!(entry, Entry::AgentDisconnected { .. })
}

fn let_in(entry: &Entry) -> bool {
    matches!(entry, Entry::AgentAccepted { .. })
}

fn cleared(entry: &Entry) -> bool {
    matches!(entry, Entry::Cleared { .. })
}

fn closes_a_dead_channel(options: Options) {
    let stage = unnoticed(options);
    let scene = Scene::new(&stage, "n");
    killed(&stage, &scene, &[]);
    let wrap = scene.online(&stage, &[]);
    for event in ["taking_over", "taken_over"] {
        assert_eq!(count(&wrap, event), 1, "{}", wrap.log().join("\n"));
    }
    expect_none(&wrap, "channel_found");
    assert!(last(&stage, closed) < last(&stage, let_in));
    let (build, gate) = scene.running_build(&stage);
    expect_success(&stage, &build, &gate);
    wrap.stop().expect_code(0);
    assert_eq!(disconnects(&stage), 1);
}

/// A landed run is killed: the node bears our mark, and a build waits for it.
fn landed_and_killed(stage: &Simulated, scene: &Scene) {
    let wrap = scene.online(stage, &[]);
    wrap.signal(Signal::SIGUSR1);
    wrap.wait_for("landed");
    scene.wait_until_written_down();
    wrap.kill();
    wait_until_stale(stage);
}

fn before_the_mark_is_lifted() {
    let stage = unnoticed(jenkins());
    let scene = Scene::new(&stage, "n");
    landed_and_killed(&stage, &scene);
    let (build, gate) = scene.queue_build(&stage);
    let wrap = scene.online(&stage, &[]);
    assert!(last(&stage, closed) < last(&stage, cleared));
    assert!(last(&stage, cleared) < last(&stage, let_in));
    eventually("the build runs", || build_state(&stage, &build) == BuildState::Running);
    expect_success(&stage, &build, &gate);
    wrap.stop().expect_code(0);
}

fn hidden_by_the_mark() {
    let stage = unnoticed(Options::hudson());
    let scene = Scene::new(&stage, "n");
    landed_and_killed(&stage, &scene);
    let wrap = scene.online(&stage, &[]);
    wrap.wait_for("taken_over");
    assert!(last(&stage, closed) < last(&stage, let_in));
    wrap.stop().expect_code(0);
    assert_eq!(disconnects(&stage), 1);
}

/// The channel is left alone: the agent is turned away until the controller notices that it is dead.
#[track_caller]
fn expect_left_alone(stage: &Simulated, scene: &Scene, wrap: &Wrap) {
    expect_words(wrap, "channel_found", "it is left alone");
    wrap.wait_for_words("n is already connected to this controller", 1);
    stage.with(|world| world.lose_channel("n"));
    wrap.wait_for_nth("agent_connected", 1);
    scene.wait_until_online(stage);
    expect_none(wrap, "taking_over");
    assert_eq!(disconnects(stage), 0);
}

fn never() {
    let stage = unnoticed(jenkins());
    let scene = Scene::new(&stage, "n");
    killed(&stage, &scene, &[]);
    let wrap = Wrap::start(scene.command(&["--takeover", "never", "--restart-limit", "2"], &["-noReconnect"]));
    // Its ends do not count against it meanwhile.
    wrap.wait_for("old_channel_held");
    wrap.wait_for_nth("agent_started", 3);
    expect_left_alone(&stage, &scene, &wrap);
    wrap.stop().expect_code(0);
}

fn without_a_state_file() {
    let stage = unnoticed(jenkins());
    let scene = Scene::new(&stage, "n");
    killed(&stage, &scene, &[]);
    let fresh = Scene::of(&stage, "n");
    let wrap = fresh.start(&[]);
    expect_left_alone(&stage, &fresh, &wrap);
    wrap.stop().expect_code(0);
}

fn after_a_stop() {
    let stage = unnoticed(jenkins());
    let scene = Scene::new(&stage, "n");
    scene.online(&stage, &[]).stop().expect_code(0);
    let elsewhere = Scene::of(&stage, "n");
    killed(&stage, &elsewhere, &[]);
    let wrap = scene.start(&[]);
    expect_left_alone(&stage, &scene, &wrap);
    wrap.stop().expect_code(0);
}

fn never_connected() {
    let stage = unnoticed(jenkins());
    let scene = Scene::new(&stage, "n");
    let mut command = scene.command(&[], &[]);
    command.env("MISBEHAVE", "--hang");
    let first = Wrap::start(command);
    first.wait_for("agent_started");
    first.kill();
    let elsewhere = Scene::of(&stage, "n");
    killed(&stage, &elsewhere, &[]);
    let wrap = scene.start(&[]);
    expect_left_alone(&stage, &scene, &wrap);
    wrap.stop().expect_code(0);
}

fn back_at_once() {
    let stage = unnoticed(jenkins());
    let scene = Scene::new(&stage, "n");
    killed(&stage, &scene, &[]);
    stage.hook(|world: &mut World, request, moment| {
        if request.operation == Operation::Disconnect
            && moment == Moment::After
            && let Some(node) = world.node_mut("n")
        {
            node.link = Link::Up(u64::MAX);
        }
    });
    let wrap = scene.start(&[]);
    expect_words(&wrap, "channel_returned", "an agent elsewhere bears the node's name");
    wrap.wait_for_words("n is already connected to this controller", 1);
    expect_none(&wrap, "taken_over");
    assert_eq!(disconnects(&stage), 1, "it is not fought");
    wrap.stop().expect_code(0);
}

fn not_allowed() {
    let stage = unnoticed(jenkins());
    let scene = Scene::new(&stage, "n");
    killed(&stage, &scene, &[]);
    stage.fault(On::operation(Operation::Disconnect), Fault::Status(403));
    let wrap = scene.start(&[]);
    wrap.wait_for("takeover_failed");
    // It holds nothing up.
    wrap.wait_for_words("n is already connected to this controller", 1);
    assert!(disconnects(&stage) >= 3, "a controller that starts refuses for moments");
    stage.with(|world| world.lose_channel("n"));
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
}

/// Later on a channel that nobody is behind is that of an agent that we have seen ending: its end is no secret, and the
/// next one is tried again and again.
fn only_at_the_first_start() {
    let stage = unnoticed(jenkins());
    let scene = Scene::new(&stage, "n");
    let wrap = scene.online(&stage, &[]);
    kill(wrap.agent_pid(1), Signal::SIGKILL).expect("it is there");
    wrap.wait_for("old_channel_held");
    wrap.wait_for_words("n is already connected to this controller", 1);
    stage.with(|world| world.lose_channel("n"));
    wrap.wait_for_nth("agent_connected", 2);
    expect_none(&wrap, "taking_over");
    assert_eq!(disconnects(&stage), 0);
    wrap.stop().expect_code(0);
}
