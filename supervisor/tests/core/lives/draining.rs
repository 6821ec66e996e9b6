//! Builds that are waited for: what is said before they are cut off, limits by a clock, and a controller that wants to be
//! left alone.

use agent_wrap_supervisor::{FailureKind, Phase, Policy, Request, Span};
use insta::assert_snapshot;

use super::{TERM, end, node, running};
use crate::world::controller::Controller;
use crate::world::{Fate, Happening, World};

fn warned(drain: u64, warn: u64) -> World {
    let policy = Policy { drain: Span::seconds(drain), drain_warn: Span::seconds(warn), ..Policy::default() };
    let mut world = running(policy, Controller::default());
    world.happens(Happening::BuildBegins);
    world
}

/// The lines in which builds are told of.
fn of_builds(world: &World) -> String {
    assert_eq!(world.violation, None, "{}", world.story());
    let lines = world.trace.iter().filter(|line| line.contains("\"Drain"));
    lines.map(String::as_str).collect::<Vec<_>>().join("\n")
}

fn ended(mut world: World) -> String {
    world.run_to_the_end();
    of_builds(&world)
}

#[test]
fn what_will_be_cut_off_is_said_before_it_is() {
    let mut world = warned(20, 5);
    world.ask(TERM);
    assert_snapshot!(ended(world), @r#"
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    25.060 Draining | (DrainWarning): "DrainEnding 1 in 5000 ms"
    30.060 Terminating | (DrainTimeout): "DrainCut 1, timeout"; "Terminating { grace: Span(30000) }"; TERM to 1
    "#);
    let mut world = warned(20, 5);
    world.ask(Request::Restart);
    world.run(Span::seconds(30));
    assert_snapshot!(of_builds(&world), @r#"
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    25.060 Draining | (DrainWarning): "DrainEnding 1 in 5000 ms, revocable"
    30.060 Terminating | (DrainTimeout): "DrainCut 1, timeout"; "Terminating { grace: Span(30000) }"; TERM to 1
    "#);
}

#[test]
fn a_short_drain_a_landing_and_no_builds_have_no_warning() {
    for (drain, warn) in [(5, 5), (4, 5), (20, 0)] {
        let mut world = warned(drain, warn);
        world.ask(TERM);
        let told = ended(world);
        assert!(!told.contains("DrainEnding") && told.contains("DrainCut"), "{told}");
    }
    let mut world = warned(20, 5);
    world.ask(Request::Land);
    world.run(Span::seconds(600));
    assert!(!of_builds(&world).contains("DrainEnding"), "{}", world.story());
    let mut world = warned(20, 5);
    world.plan(Span::seconds(14), Happening::BuildEnds);
    world.ask(TERM);
    let told = ended(world);
    assert!(!told.contains("DrainEnding") && told.contains("Drained"), "{told}");
}

/// The build that ended is followed by one that an executor had been given before the node was marked.
#[test]
fn a_build_that_starts_in_the_gap_is_waited_for_and_warned_of() {
    let mut world = warned(60, 5);
    world.plan(Span::seconds(4), Happening::BuildEnds);
    world.ask(TERM);
    world.run(Span::seconds(3));
    world.run_until(|world| world.core.status().believed.is_some_and(|view| view.idle));
    // The warning is due before the second of the two looks.
    world.happens(Happening::ClockSet(Span(5_100)));
    world.run(Span(400));
    world.controller.builds = 1;
    assert_snapshot!(ended(world), @r#"
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    15.660 Draining | read 14 says marked by ThisRun "nonce 8", connected, 1 builds: "DrainEnding 1 in 4580 ms"
    20.240 Terminating | (DrainTimeout): "DrainCut 1, timeout"; "Terminating { grace: Span(30000) }"; TERM to 1
    "#);
}

#[test]
fn a_limit_by_the_clock_is_that_of_the_moment_in_which_the_drain_begins() {
    let mut world = warned(90_000, 5);
    world.run(Span::seconds(1_000));
    world.happens(Happening::ClockSet(Span::seconds(20)));
    world.ask(TERM);
    assert_snapshot!(ended(world), @r#"
    1010.060 Draining | read 30 says marked by ThisRun "nonce 29", connected, 1 builds: "Marked"; "Draining 1"
    1025.060 Draining | (DrainWarning): "DrainEnding 1 in 5000 ms"
    1030.060 Terminating | (DrainTimeout): "DrainCut 1, timeout"; "Terminating { grace: Span(30000) }"; TERM to 1
    "#);
    // The moment is past.
    let mut world = warned(90_000, 5);
    world.happens(Happening::ClockSet(Span::ZERO));
    world.trace.clear();
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Terminating | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Terminating { grace: Span(30000) }"; TERM to 1
    10.360 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    10.370 Closing | 0 left over: REAP 1; READ 10
    10.390 Finished | read 10 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_drain_goes_by_a_clock_that_is_set_meanwhile() {
    for (left, told) in [(0, "DrainCut"), (3, "DrainEnding"), (100, "DrainEnding")] {
        let mut world = warned(90_000, 5);
        world.ask(TERM);
        world.run(Span::seconds(100));
        assert_eq!(world.core.status().phase, Phase::Draining);
        world.trace.clear();
        world.happens(Happening::ClockSet(Span::seconds(left)));
        let begin = world.now;
        world.run_until(|world| of_builds(world).contains("DrainCut"));
        assert_eq!(world.now.since(begin), Span::seconds(left), "{}", world.story());
        assert!(of_builds(&world).contains(told), "{}", world.story());
        assert_eq!(of_builds(&world).matches("DrainEnding").count(), usize::from(left > 0), "{}", world.story());
    }
}

/// Six failing reads, of a controller that wants to be left alone for so long in the second, else not at all.
fn throttled(policy: Policy, second: Span) -> World {
    let mut world = running(policy, Controller::default());
    world.run_until(|world| world.core.status().in_flight.is_some());
    world.run(Span::seconds(1));
    for _ in 0..2 {
        world.fates.push_back(Fate::Fails(FailureKind::Unavailable));
    }
    let before = world.withins.len();
    world.run_until(|world| world.withins.len() == before + 1);
    world.retry_after = Some(second);
    world.run_until(|world| world.withins.len() == before + 2);
    world.run(Span::seconds(1));
    world.retry_after = None;
    world
}

#[test]
fn who_wants_to_be_left_alone_is() {
    let pause = |policy: Policy, asked: Span| {
        let mut world = throttled(policy, asked);
        let (begin, before) = (world.now, world.withins.len());
        world.run_until(|world| world.withins.len() > before);
        let told = world.story().matches("\"Waiting").count();
        assert_eq!(told, 1, "the same is no news: {}", world.story());
        world.now.since(begin)
    };
    let usual = pause(Policy::default(), Span::ZERO);
    assert!(usual < Span::seconds(4), "{usual:?}");
    assert_eq!(pause(Policy::default(), Span(1)), usual, "it is never asked sooner");
    assert_eq!(pause(Policy::default(), Span::seconds(120)), Span::seconds(119).plus(Span(20)));
    // The time between two looks is promised.
    let brief = node(|node| node.disconnect_timeout = Span::seconds(30));
    assert_eq!(pause(brief, Span::seconds(120)), Span::seconds(29).plus(Span(20)));
}

#[test]
fn a_stop_waits_for_nobody_who_wants_to_be_left_alone() {
    let mut world = throttled(Policy::default(), Span::seconds(120));
    world.retry_after = Some(Span::seconds(120));
    world.fates.push_back(Fate::Fails(FailureKind::Unavailable));
    world.fates.push_back(Fate::Fails(FailureKind::Unavailable));
    world.trace.clear();
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    102.285 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 10
    102.305 Marking | read 10 failed: Unavailable: "Waiting 1000 ms: Unavailable"
    103.305 Marking | (RetryRequest): READ 11
    103.325 Marking | read 11 failed: Unavailable
    104.325 Marking | (RetryRequest): READ 12
    104.345 Marking | read 12 says free, connected: "Answering"; "Marking { method: ChangeCause }"; MARK 13 by ChangeCause for Stopping; remember [marked connected]
    104.355 ... write 13 is carried out
    104.365 Marking | write 13 accepted: READ 14
    104.385 Draining | read 14 says marked by ThisRun "nonce 13", connected: "Marked"
    104.885 Draining | (NextLook): READ 15
    104.905 Terminating | read 15 says marked by ThisRun "nonce 13", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    105.205 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    105.215 Closing | 0 left over: REAP 1; READ 16
    105.235 Finished | read 16 says marked by ThisRun "nonce 13": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}
