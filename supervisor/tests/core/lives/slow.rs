//! Controllers that take their time, and what is still under way at a stop.

use agent_wrap_supervisor::{FailureKind, Generation, IfRefused, OnlinePolicy, Owner, Phase, Policy, Request, Span};
use insta::assert_snapshot;

use super::{TERM, end, hudson, marked, node, running};
use crate::world::controller::{Controller, mark_of};
use crate::world::{Fate, Happening, World};

/// So long a request takes altogether.
fn slow(world: &mut World, millis: u64) {
    let half = Span::millis(millis / 2);
    world.fates.extend(std::iter::repeat_n(Fate::Answered(half, half), 3));
}

#[test]
fn a_stop_waits_for_the_read_back_of_a_mark_as_long_as_it_may() {
    let mut world = running(Policy::default(), Controller::default());
    slow(&mut world, 3000);
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    13.000 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    14.500 ... write 8 is carried out
    16.000 Marking | write 8 accepted: READ 9
    19.000 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    19.500 Draining | (NextLook): READ 10
    19.520 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    19.820 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    19.830 Closing | 0 left over: REAP 1; READ 11
    19.850 Finished | read 11 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_toggle_that_is_only_slow_is_not_repeated_in_a_stop() {
    let mut controller = hudson(Controller::default());
    controller.mark = None;
    let mut world = running(Policy::default(), controller);
    // The read, the setter that there is none of, the read after it, and then the toggle.
    world.fates.extend(std::iter::repeat_n(Fate::Answered(Span(10), Span(10)), 3));
    world.fates.push_back(Fate::Answered(Span(6500), Span(10)));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 not supported: "WayChanged"; READ 9
    10.060 Marking | read 9 says free, connected: "Marking { method: Toggle }"; MARK 10 by Toggle for Stopping
    16.560 ... write 10 is carried out
    16.570 Marking | write 10 accepted: READ 11
    16.590 Draining | read 11 says marked by ThisRun "nonce 10", connected: "Marked"
    17.090 Draining | (NextLook): READ 12
    17.110 Terminating | read 12 says marked by ThisRun "nonce 10", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    17.410 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    17.420 Closing | 0 left over: REAP 1; READ 13
    17.440 Finished | read 13 says marked by ThisRun "nonce 10": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_lift_that_may_still_be_carried_out_is_no_confirmed_stop() {
    let mut world = World::with(Policy::default(), hudson(marked(Owner::Foreign, "theirs")));
    world.fates.extend([Fate::Answered(Span(10), Span(10)), Fate::Lost(None)]);
    world.run(Span(25));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says marked by Foreign "theirs": "Lifting by Toggle"; LIFT 2 by Toggle
    0.025 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: false }"
    7.525 Marking | (AbandonWrite): CANCEL 2; "OutcomeUnknown"; READ 3
    7.545 Closing | read 3 says marked by Foreign "theirs": "MarkedAlready marked by Foreign "theirs""; READ 4
    7.565 Finished | read 4 says marked by Foreign "theirs": "LastLookUnsettled"; FINISH Stopped { killed: false, confirmed: false }
    "#);
}

#[test]
fn a_lift_that_is_carried_out_late_in_a_stop_is_seen_and_the_node_marked() {
    let mut world = World::with(Policy::default(), hudson(marked(Owner::Foreign, "theirs")));
    world.fates.extend([Fate::Answered(Span(10), Span(10)), Fate::Answered(Span::seconds(7), Span(10))]);
    world.run(Span(25));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says marked by Foreign "theirs": "Lifting by Toggle"; LIFT 2 by Toggle
    0.025 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: false }"
    7.020 ... write 2 is carried out
    7.030 Marking | write 2 accepted: READ 3
    7.050 Marking | read 3 says free: "Marking { method: ChangeCause }"; MARK 4 by ChangeCause for Stopping; remember [marked stopped]
    7.060 ... write 4 is carried out
    7.070 Marking | write 4 not supported: "WayChanged"; READ 5
    7.090 Marking | read 5 says free: "Marking { method: Toggle }"; MARK 6 by Toggle for Stopping
    7.100 ... write 6 is carried out
    7.110 Marking | write 6 accepted: READ 7
    7.130 Closing | read 7 says marked by ThisRun "nonce 6": "Marked"; READ 8
    7.150 Finished | read 8 says marked by ThisRun "nonce 6": FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn what_is_marked_while_we_are_refused_is_left() {
    let mut world = World::new(node(|node| {
        node.if_refused = IfRefused::Start;
        node.online = OnlinePolicy::Always;
    }));
    world.controller.refuses_reads = Some(FailureKind::Forbidden);
    world.run(Span::seconds(120));
    world.happens(Happening::Interferes(Some(mark_of(Owner::Foreign, "disk is broken"))));
    world.controller.refuses_reads = None;
    world.run(Span::seconds(80));
    assert_snapshot!(world.honest_story(), @r#"
      0.000 Enabling | begin: READ 1
      0.020 Enabling | read 1 failed: Forbidden: "Waiting 2500 ms: Forbidden"
      2.520 Enabling | (RetryRequest): READ 2
      2.540 Enabling | read 2 failed: Forbidden
      5.040 Enabling | (RetryRequest): READ 3
      5.060 Starting | read 3 failed: Forbidden: "StartedUnmarked: Forbidden"; remember []; "AgentStarting"; SPAWN 1
      5.070 Running | agent 1 spawned: "AgentStarted"
     56.616 Running | (RetryRequest): READ 4
     56.636 Running | read 4 failed: Forbidden: "Settled"
    104.462 Running | (RetryRequest): READ 5
    104.482 Running | read 5 failed: Forbidden
    120.000 ... somebody makes the node marked by Foreign "disk is broken"
    152.308 Running | (RetryRequest): READ 6
    152.328 Running | read 6 says marked by Foreign "disk is broken", connected: "Answering"; "AgentConnected { marked: true, wished: false }"; "ForeignMark marked by Foreign "disk is broken""; remember [connected]
    154.328 Running | (NextLook): READ 7
    154.348 Running | read 7 says marked by Foreign "disk is broken", connected
    "#);
}

#[test]
fn a_connection_that_comes_back_is_told() {
    let mut world = running(Policy::default(), Controller::default());
    world.controller.channel = None;
    world.run(Span::seconds(45));
    world.controller.channel = Some(Generation(1));
    world.run(Span::seconds(2));
    assert_snapshot!(world.honest_story(), @r#"
    52.456 Running | (NextLook): READ 7
    52.476 Running | read 7 says free: "AgentDisconnected"; remember []
    52.976 Running | (NextLook): READ 8
    52.996 Running | read 8 says free
    53.496 Running | (NextLook): READ 9
    53.516 Running | read 9 says free
    54.516 Running | (NextLook): READ 10
    54.536 Running | read 10 says free
    55.536 Running | (NextLook): READ 11
    55.556 Running | read 11 says free, connected: "AgentReconnected"; remember [connected]
    "#);
}

#[test]
fn a_last_look_without_an_answer_is_told() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(TERM);
    world.run_until(|world| world.core.status().phase == Phase::Terminating);
    world.happens(Happening::GoesDown);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.560 Draining | (NextLook): READ 10
    10.580 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    10.580 ... the controller goes down
    10.680 Sweeping | agent 1 ended with code 0: "AgentExited, asked, was connected"; leftovers Count
    10.690 Closing | 0 left over: REAP 1; READ 11
    10.710 Closing | read 11 failed: Unavailable: "Waiting 250 ms: Unavailable"
    10.960 Closing | (RetryRequest): READ 12
    10.980 Closing | read 12 failed: Unavailable
    11.230 Closing | (RetryRequest): READ 13
    11.250 Closing | read 13 failed: Unavailable
    11.500 Closing | (RetryRequest): READ 14
    11.520 Closing | read 14 failed: Unavailable
    11.770 Closing | (RetryRequest): READ 15
    11.790 Closing | read 15 failed: Unavailable
    11.940 Finished | (LastLookTimeout): "LastLookUnanswered"; remember [marked connected stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

/// How long each request of a stop may take, from the first on.
fn withins(mut world: World) -> Vec<u64> {
    world.withins.clear();
    world.ask(TERM);
    world.run_to_the_end();
    world.withins.iter().map(|within| within.0).collect()
}

#[test]
fn a_request_of_a_stop_leaves_time_for_another_one_unless_it_is_the_last_or_a_toggle() {
    // A read, the setter, the read back; a look at the builds; the last look.
    let jenkins = withins(running(Policy::default(), Controller::default()));
    assert_eq!(jenkins, [5000, 4990, 9960, 5000, 1250]);
    // The same with a setter that there is none of, then the toggle.
    let hudson = withins(running(Policy::default(), hudson(Controller::default())));
    assert_eq!(hudson, [5000, 4990, 4980, 9940, 9920, 5000, 1250]);
}

#[test]
fn a_toggle_that_sets_the_mark_again_while_draining_may_take_as_long_as_any() {
    let mut world = running(Policy::default(), hudson(Controller::default()));
    world.happens(Happening::BuildBegins);
    world.ask(TERM);
    world.run(Span::seconds(2));
    world.withins.clear();
    world.happens(Happening::Interferes(None));
    world.run(Span::seconds(3));
    assert_eq!(world.withins.iter().map(|within| within.0).collect::<Vec<_>>(), [5000, 10_000, 5000]);
}

#[test]
fn a_reason_that_cannot_be_changed_in_time_does_not_hold_up_the_stop() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(Request::Land);
    world.run(Span::seconds(2));
    world.trace.clear();
    world.fates.extend([Fate::Answered(Span(10), Span(10)), Fate::Lost(None), Fate::Lost(None)]);
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    12.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 11
    12.020 Marking | read 11 says marked by ThisRun "nonce 8", connected: "Marking { method: ChangeCause }"; MARK 12 by ChangeCause for Stopping
    17.010 Marking | write 12 of unknown outcome: "OutcomeUnknown"; READ 13
    22.000 Draining | (OfflineTimeout)
    22.000 Draining | read 13 failed: Unavailable: "Waiting 1000 ms: Unavailable"
    22.500 Draining | (NextLook)
    23.000 Draining | (RetryRequest): READ 14
    23.020 Terminating | read 14 says marked by ThisRun "nonce 8", connected: "Answering"; "Marked"; "Terminating { grace: Span(30000) }"; TERM to 1
    23.320 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    23.330 Closing | 0 left over: REAP 1; READ 15
    23.350 Finished | read 15 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}
