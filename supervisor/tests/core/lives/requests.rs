use agent_wrap_supervisor::{
    Backoff, Ending, Exit, Generation, Moment, OfflinePolicy, Owner, Phase, Policy, Request, Span,
};
use insta::assert_snapshot;

use super::{INT, TERM, end, node, running};
use crate::world::controller::{Controller, mark_of};
use crate::world::{Fate, Happening, World};

#[test]
fn landing_drains_and_taking_off_lifts_our_mark() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(Request::Land);
    world.plan(Span::seconds(1), Happening::BuildEnds);
    world.run(Span::seconds(5));
    world.ask(Request::Land);
    world.ask(Request::TakeOff);
    world.run(Span::seconds(1));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 ... a build begins
    10.000 Marking | asked for Land: "Done"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Landed; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    10.560 Draining | (NextLook): READ 10
    10.580 Draining | read 10 says marked by ThisRun "nonce 8", connected, 1 builds
    11.000 ... a build ends
    11.580 Draining | (NextLook): READ 11
    11.600 Draining | read 11 says marked by ThisRun "nonce 8", connected
    12.100 Draining | (NextLook): READ 12
    12.120 Landed | read 12 says marked by ThisRun "nonce 8", connected: "Drained"; "Landed"
    15.000 Landed | asked for Land: "Already"
    15.000 Running | asked for TakeOff: "Done"; READ 13
    15.020 Running | read 13 says marked by ThisRun "nonce 8", connected: "Lifting by Cli"; LIFT 14 by Cli
    15.030 ... write 14 is carried out
    15.040 Running | write 14 accepted: READ 15
    15.060 Running | read 15 says free, connected: "Lifted"; remember [connected]
    "#);
}

#[test]
fn a_mark_lifted_by_somebody_while_landed_takes_it_back() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(Request::Land);
    world.run(Span::seconds(3));
    world.happens(Happening::Interferes(None));
    world.run(Span::seconds(70));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 Marking | asked for Land: "Done"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Landed; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.560 Draining | (NextLook): READ 10
    10.580 Landed | read 10 says marked by ThisRun "nonce 8", connected: "Landed"
    13.000 ... somebody makes the node free
    58.406 Landed | (NextLook): READ 11
    58.426 Running | read 11 says free, connected: "TakenBack"; READ 12; remember [connected]
    58.446 Running | read 12 says free, connected
    "#);
}

#[test]
fn an_agent_that_dies_while_landed_comes_back_landed() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(Request::Land);
    world.run(Span::seconds(3));
    world.trace.clear();
    world.happens(Happening::Ends(Generation(1), Exit::Code(1)));
    world.run(Span::seconds(5));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    13.000 BackingOff | agent 1 ended with code 1: "AgentExited, was connected"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    13.791 Enabling | (RestartDelay): READ 11
    13.811 Starting | read 11 says marked by ThisRun "nonce 8": "Marked"; remember [marked]; "AgentStarting"; SPAWN 2
    13.821 Landed | agent 2 spawned: "AgentStarted"
    14.321 Landed | (NextLook): READ 12
    14.341 Landed | read 12 says marked by ThisRun "nonce 8"
    14.841 Landed | (NextLook): READ 13
    14.861 Landed | read 13 says marked by ThisRun "nonce 8"
    15.361 Landed | (NextLook): READ 14
    15.381 Landed | read 14 says marked by ThisRun "nonce 8"
    16.381 Landed | (NextLook): READ 15
    16.401 Landed | read 15 says marked by ThisRun "nonce 8", connected: "AgentConnected { marked: true, wished: true }"; remember [marked connected]
    18.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 16
    18.020 Marking | read 16 says marked by ThisRun "nonce 8", connected: "Marking { method: ChangeCause }"; MARK 17 by ChangeCause for Stopping
    18.030 ... write 17 is carried out
    18.040 Marking | write 17 accepted: READ 18
    18.060 Draining | read 18 says marked by ThisRun "nonce 17", connected: "Marked"
    18.560 Draining | (NextLook): READ 19
    18.580 Terminating | read 19 says marked by ThisRun "nonce 17", connected: "Terminating { grace: Span(30000) }"; TERM to 2
    18.880 Sweeping | agent 2 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    18.890 Closing | 0 left over: REAP 2; READ 20
    18.910 Finished | read 20 says marked by ThisRun "nonce 17": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn landing_before_the_agent_is_there_marks_first_and_is_told_once_it_is_connected() {
    let mut world = World::new(Policy::default());
    world.ask(Request::Land);
    world.run(Span::seconds(3));
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: READ 1
    0.000 Enabling | asked for Land: "Done"; CANCEL 1; READ 2
    0.020 Enabling | read 2 says free: "Marking { method: ChangeCause }"; MARK 3 by ChangeCause for Landed; remember [marked stopped]
    0.030 ... write 3 is carried out
    0.040 Enabling | write 3 accepted: READ 4
    0.060 Starting | read 4 says marked by ThisRun "nonce 3": "Marked"; remember [marked]; "AgentStarting"; SPAWN 1
    0.070 Landed | agent 1 spawned: "AgentStarted"
    0.570 Landed | (NextLook): READ 5
    0.590 Landed | read 5 says marked by ThisRun "nonce 3"
    1.090 Landed | (NextLook): READ 6
    1.110 Landed | read 6 says marked by ThisRun "nonce 3"
    1.610 Landed | (NextLook): READ 7
    1.630 Landed | read 7 says marked by ThisRun "nonce 3"
    2.630 Landed | (NextLook): READ 8
    2.650 Landed | read 8 says marked by ThisRun "nonce 3", connected: "AgentConnected { marked: true, wished: true }"; "Landed"; remember [marked connected]
    "#);
}

#[test]
fn a_restart_drains_first() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(Request::Restart);
    world.run(Span::seconds(5));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 Marking | asked for Restart: "Done"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Restarting; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.560 Draining | (NextLook): READ 10
    10.580 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    10.880 Enabling | agent 1 ended with code 143: "AgentExited, asked, was connected"; REAP 1; READ 11
    10.900 Enabling | read 11 says marked by ThisRun "nonce 8": "Lifting by Cli"; LIFT 12 by Cli; remember [marked]
    10.910 ... write 12 is carried out
    10.920 Enabling | write 12 accepted: READ 13
    10.940 Starting | read 13 says free: "Lifted"; remember []; "AgentStarting"; SPAWN 2
    10.950 Running | agent 2 spawned: "AgentStarted"
    11.450 Running | (NextLook): READ 14
    11.470 Running | read 14 says free
    11.970 Running | (NextLook): READ 15
    11.990 Running | read 15 says free
    12.490 Running | (NextLook): READ 16
    12.510 Running | read 16 says free
    13.510 Running | (NextLook): READ 17
    13.530 Running | read 17 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    "#);
}

#[test]
fn a_restart_asked_for_while_landing_comes_back_landed() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(Request::Land);
    world.run(Span(600));
    world.ask(Request::Restart);
    world.plan(Span::seconds(1), Happening::BuildEnds);
    world.run(Span::seconds(6));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 ... a build begins
    10.000 Marking | asked for Land: "Done"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Landed; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    10.560 Draining | (NextLook): READ 10
    10.580 Draining | read 10 says marked by ThisRun "nonce 8", connected, 1 builds
    10.600 Marking | asked for Restart: "Done"; READ 11
    10.620 Marking | read 11 says marked by ThisRun "nonce 8", connected, 1 builds: "Marking { method: ChangeCause }"; MARK 12 by ChangeCause for Restarting
    10.630 ... write 12 is carried out
    10.640 Marking | write 12 accepted: READ 13
    10.660 Draining | read 13 says marked by ThisRun "nonce 12", connected, 1 builds: "Marked"; "Draining 1"
    11.160 Draining | (NextLook): READ 14
    11.180 Draining | read 14 says marked by ThisRun "nonce 12", connected, 1 builds
    11.600 ... a build ends
    12.180 Draining | (NextLook): READ 15
    12.200 Draining | read 15 says marked by ThisRun "nonce 12", connected
    12.700 Draining | (NextLook): READ 16
    12.720 Terminating | read 16 says marked by ThisRun "nonce 12", connected: "Drained"; "Terminating { grace: Span(30000) }"; TERM to 1
    13.020 Enabling | agent 1 ended with code 143: "AgentExited, asked, was connected"; REAP 1; READ 17
    13.040 Enabling | read 17 says marked by ThisRun "nonce 12": "Marking { method: ChangeCause }"; MARK 18 by ChangeCause for Landed; remember [marked]
    13.050 ... write 18 is carried out
    13.060 Enabling | write 18 accepted: READ 19
    13.080 Starting | read 19 says marked by ThisRun "nonce 18": "Marked"; "AgentStarting"; SPAWN 2
    13.090 Landed | agent 2 spawned: "AgentStarted"
    13.590 Landed | (NextLook): READ 20
    13.610 Landed | read 20 says marked by ThisRun "nonce 18"
    14.110 Landed | (NextLook): READ 21
    14.130 Landed | read 21 says marked by ThisRun "nonce 18"
    14.630 Landed | (NextLook): READ 22
    14.650 Landed | read 22 says marked by ThisRun "nonce 18"
    15.650 Landed | (NextLook): READ 23
    15.670 Landed | read 23 says marked by ThisRun "nonce 18", connected: "AgentConnected { marked: true, wished: true }"; "Landed"; remember [marked connected]
    "#);
}

#[test]
fn a_drain_asked_for_by_request_is_taken_back() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(Request::Restart);
    world.run(Span::seconds(1));
    world.ask(Request::TakeOff);
    world.run(Span::seconds(1));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 ... a build begins
    10.000 Marking | asked for Restart: "Done"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Restarting; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    10.560 Draining | (NextLook): READ 10
    10.580 Draining | read 10 says marked by ThisRun "nonce 8", connected, 1 builds
    11.000 Running | asked for TakeOff: "TakenBack"; READ 11
    11.020 Running | read 11 says marked by ThisRun "nonce 8", connected, 1 builds: "Lifting by Cli"; LIFT 12 by Cli
    11.030 ... write 12 is carried out
    11.040 Running | write 12 accepted: READ 13
    11.060 Running | read 13 says free, connected, 1 builds: "Lifted"; remember [connected]
    "#);
}

#[test]
fn a_stop_during_a_restart_ends_it() {
    let mut world = running(Policy::default(), Controller::default());
    world.process.as_mut().unwrap().plan.term_takes = Some(Span::seconds(2));
    world.ask(Request::Restart);
    world.run(Span::seconds(1));
    world.ask(TERM);
    world.ask(Request::TakeOff);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Restart: "Done"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Restarting; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.560 Draining | (NextLook): READ 10
    10.580 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    11.000 Terminating | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"
    11.000 Terminating | asked for TakeOff: "TooLate"
    12.580 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    12.590 Closing | 0 left over: REAP 1; READ 11
    12.610 Finished | read 11 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

/// Found by seed 2999: the wait for an agent that cannot be killed ended in the start of a second one.
#[test]
fn a_restart_waits_for_an_agent_that_cannot_be_killed() {
    let mut world = running(Policy::default(), Controller::default());
    let plan = &mut world.process.as_mut().unwrap().plan;
    (plan.term_takes, plan.unkillable) = (None, true);
    world.ask(Request::Restart);
    world.run(Span::seconds(600));
    world.happens(Happening::Ends(Generation(1), Exit::Code(0)));
    world.run(Span::seconds(1));
    assert_snapshot!(world.honest_story(), @r#"
     10.000 Marking | asked for Restart: "Done"; READ 7
     10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Restarting; remember [marked connected]
     10.030 ... write 8 is carried out
     10.040 Marking | write 8 accepted: READ 9
     10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
     10.560 Draining | (NextLook): READ 10
     10.580 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
     40.580 Killing | (GraceTimeout): "Killing"; KILL to 1
     41.580 Killing | (KillTimeout): "Unkillable"
    610.000 Enabling | agent 1 ended with code 0: "AgentExited, asked, was connected"; REAP 1; READ 11
    610.020 Enabling | read 11 says marked by ThisRun "nonce 8": "Lifting by Cli"; LIFT 12 by Cli; remember [marked]
    610.030 ... write 12 is carried out
    610.040 Enabling | write 12 accepted: READ 13
    610.060 Starting | read 13 says free: "Lifted"; remember []; "AgentStarting"; SPAWN 2
    610.070 Running | agent 2 spawned: "AgentStarted"
    610.570 Running | (NextLook): READ 14
    610.590 Running | read 14 says free
    "#);
}

#[test]
fn a_stop_while_a_restart_waits_for_such_an_agent_ends() {
    let mut world = running(Policy::default(), Controller::default());
    let plan = &mut world.process.as_mut().unwrap().plan;
    (plan.term_takes, plan.unkillable) = (None, true);
    world.ask(Request::Restart);
    world.run(Span::seconds(600));
    world.trace.clear();
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    610.000 Sweeping | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; leftovers Count
    610.010 Closing | 0 left over: READ 11
    610.030 Finished | read 11 says marked by ThisRun "nonce 8", connected: remember [marked connected stopped]; FINISH Stopped { killed: true, confirmed: true }
    "#);
}

#[test]
fn landing_on_a_controller_that_is_gone_is_patient() {
    let mut world = running(Policy::default(), Controller::default());
    world.controller.down = true;
    world.ask(Request::Land);
    world.run(Span::seconds(60));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 Marking | asked for Land: "Done"; READ 7
    10.020 Marking | read 7 failed: Unavailable: "Waiting 963 ms: Unavailable"
    10.983 Marking | (RetryRequest): READ 8
    11.003 Marking | read 8 failed: Unavailable
    12.550 Marking | (RetryRequest): READ 9
    12.570 Marking | read 9 failed: Unavailable
    15.854 Marking | (RetryRequest): READ 10
    15.874 Marking | read 10 failed: Unavailable
    22.136 Marking | (RetryRequest): READ 11
    22.156 Marking | read 11 failed: Unavailable
    36.346 Marking | (RetryRequest): READ 12
    36.366 Marking | read 12 failed: Unavailable
    49.668 Marking | (RetryRequest): READ 13
    49.688 Marking | read 13 failed: Unavailable
    61.573 Marking | (RetryRequest): READ 14
    61.593 Marking | read 14 failed: Unavailable
    "#);
}

#[test]
fn landing_marks_also_where_a_stop_does_not() {
    let mut world = running(node(|node| node.offline = OfflinePolicy::Never), Controller::default());
    world.ask(Request::Land);
    world.run(Span::seconds(2));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Land: "Done"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Landed; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.560 Draining | (NextLook): READ 10
    10.580 Landed | read 10 says marked by ThisRun "nonce 8", connected: "Landed"
    12.000 Terminating | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; "Terminating { grace: Span(30000) }"; TERM to 1
    12.300 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    12.310 Finished | 0 left over: REAP 1; remember [marked connected stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn signals_for_the_agent_wait_for_its_start_one_of_a_kind() {
    let mut world = World::new(Policy::default());
    world.run(Span(22));
    for signal in [3, 10, 3] {
        world.ask(Request::Forward(signal));
    }
    world.run(Span(100));
    world.ask(Request::Forward(3));
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Starting | read 1 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    0.022 Starting | asked for Forward(3)
    0.022 Starting | asked for Forward(10)
    0.022 Starting | asked for Forward(3)
    0.030 Running | agent 1 spawned: "AgentStarted"; signal 3 to 1; signal 10 to 1
    0.122 Running | asked for Forward(3): signal 3 to 1
    "#);
}

/// Found by seed 705: the last word came after the end.
#[test]
fn stopping_at_once_what_has_nothing_to_stop_is_over_at_once() {
    let mut world = World::new(node(|node| node.offline = OfflinePolicy::Never));
    world.run(Span(10));
    world.ask(Request::StopNow);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.010 Finished | asked for StopNow: "Stopping { source: Control, agent: false }"; CANCEL 1; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_reload_asks_at_once_where_we_were_refused() {
    let mut world = running(Policy::default(), Controller::default());
    world.controller.refuses_reads = Some(agent_wrap_supervisor::FailureKind::Unauthenticated);
    world.run(Span::seconds(70));
    world.trace.clear();
    world.controller.refuses_reads = None;
    world.happens(Happening::Reload(Box::default()));
    world.run(Span::seconds(1));
    assert_snapshot!(world.honest_story(), @r#"
    80.000 Running | policy changed: "PolicyChanged"; READ 10
    80.020 Running | read 10 says free, connected: "Answering"
    "#);
}

#[test]
fn a_reload_holds_from_the_next_decision_on() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::Reload(Box::new(node(|node| node.offline = OfflinePolicy::Never))));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Running | policy changed: "PolicyChanged"; READ 7
    10.000 Terminating | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; CANCEL 7; "Terminating { grace: Span(30000) }"; TERM to 1
    10.300 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    10.310 Finished | 0 left over: REAP 1; remember [connected stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_reload_changes_nothing_of_a_stop_that_has_begun() {
    let mut world = running(Policy::default(), Controller::default());
    world.controller.builds = 1;
    world.ask(TERM);
    world.run(Span::seconds(1));
    let short = Policy { drain: Span::ZERO, grace: Span::ZERO, ..node(|node| node.offline = OfflinePolicy::Never) };
    world.happens(Happening::Reload(Box::new(short)));
    world.run(Span::seconds(60));
    assert_eq!(world.core.status().phase, Phase::Draining, "{}", world.honest_story());
    assert!(world.honest_story().contains("PolicyTooLate"), "{}", world.story());
    world.controller.builds = 0;
    let story = end(world);
    assert!(story.contains("Terminating { grace: Span(30000) }"), "{story}");
    assert!(story.contains("FINISH Stopped { killed: false, confirmed: true }"), "{story}");
}

/// Found by seed 86622: a stop waited for the grace of a restart, which had begun with other settings.
#[test]
fn a_stop_waits_no_longer_than_its_own_grace_for_an_agent_that_was_ending() {
    let mut world = running(Policy::default(), Controller::default());
    world.process.as_mut().unwrap().plan.term_takes = None;
    world.ask(Request::Restart);
    world.run_until(|world| world.core.status().phase == Phase::Terminating);
    world.happens(Happening::Reload(Box::new(Policy { grace: Span::seconds(2), ..Policy::default() })));
    world.ask(TERM);
    let begun = world.now;
    world.run_to_the_end();
    assert!(world.now.since(begun) < Span::seconds(5), "{}", world.honest_story());
}

/// Found by seed 957507: what was read back while job control had stopped us was forgotten when we went on.
#[test]
fn a_mark_that_is_read_back_while_we_are_stopped_by_job_control_counts() {
    let mut controller = Controller::default();
    controller.set(Some(mark_of(Owner::Foreign, "maintenance")));
    let mut world = World::with(node(|node| node.offline_timeout = Span::ZERO), controller);
    world.fates.push_back(Fate::Lost(None));
    world.run(Span(10));
    world.ask(TERM);
    world.run_until(|world| world.core.status().phase == Phase::Closing);
    world.ask(Request::Suspend);
    world.run(Span::seconds(1));
    world.controller.down = true;
    world.happens(Happening::Continue);
    let story = end(world);
    assert!(story.contains("FINISH Stopped { killed: false, confirmed: true }"), "{story}");
}

#[test]
fn landing_asked_for_while_the_agent_is_being_restarted_holds_for_the_next_one() {
    let mut world = running(Policy::default(), Controller::default());
    world.controller.builds = 1;
    world.ask(Request::Restart);
    world.run(Span::millis(100));
    world.ask(Request::Land);
    world.controller.builds = 0;
    world.run(Span::seconds(10));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 Marking | asked for Restart: "Done"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Restarting; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    10.100 Draining | asked for Land: "Done"
    10.560 Draining | (NextLook): READ 10
    10.580 Draining | read 10 says marked by ThisRun "nonce 8", connected
    11.080 Draining | (NextLook): READ 11
    11.100 Terminating | read 11 says marked by ThisRun "nonce 8", connected: "Drained"; "Terminating { grace: Span(30000) }"; TERM to 1
    11.400 Enabling | agent 1 ended with code 143: "AgentExited, asked, was connected"; REAP 1; READ 12
    11.420 Enabling | read 12 says marked by ThisRun "nonce 8": "Marking { method: ChangeCause }"; MARK 13 by ChangeCause for Landed; remember [marked]
    11.430 ... write 13 is carried out
    11.440 Enabling | write 13 accepted: READ 14
    11.460 Starting | read 14 says marked by ThisRun "nonce 13": "Marked"; "AgentStarting"; SPAWN 2
    11.470 Landed | agent 2 spawned: "AgentStarted"
    11.970 Landed | (NextLook): READ 15
    11.990 Landed | read 15 says marked by ThisRun "nonce 13"
    12.490 Landed | (NextLook): READ 16
    12.510 Landed | read 16 says marked by ThisRun "nonce 13"
    13.010 Landed | (NextLook): READ 17
    13.030 Landed | read 17 says marked by ThisRun "nonce 13"
    14.030 Landed | (NextLook): READ 18
    14.050 Landed | read 18 says marked by ThisRun "nonce 13", connected: "AgentConnected { marked: true, wished: true }"; "Landed"; remember [marked connected]
    "#);
}

#[test]
fn taking_off_while_the_agent_is_being_restarted_takes_the_landing_back() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(Request::Restart);
    world.run(Span::millis(100));
    world.ask(Request::Land);
    world.run_until(|world| world.core.status().phase == Phase::Terminating);
    world.ask(Request::TakeOff);
    world.run(Span::seconds(10));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 Marking | asked for Restart: "Done"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Restarting; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.100 Draining | asked for Land: "Done"
    10.560 Draining | (NextLook): READ 10
    10.580 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    10.580 Terminating | asked for TakeOff: "Done"
    10.880 Enabling | agent 1 ended with code 143: "AgentExited, asked, was connected"; REAP 1; READ 11
    10.900 Enabling | read 11 says marked by ThisRun "nonce 8": "Lifting by Cli"; LIFT 12 by Cli; remember [marked]
    10.910 ... write 12 is carried out
    10.920 Enabling | write 12 accepted: READ 13
    10.940 Starting | read 13 says free: "Lifted"; remember []; "AgentStarting"; SPAWN 2
    10.950 Running | agent 2 spawned: "AgentStarted"
    11.450 Running | (NextLook): READ 14
    11.470 Running | read 14 says free
    11.970 Running | (NextLook): READ 15
    11.990 Running | read 15 says free
    12.490 Running | (NextLook): READ 16
    12.510 Running | read 16 says free
    13.510 Running | (NextLook): READ 17
    13.530 Running | read 17 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    15.530 Running | (NextLook): READ 18
    15.550 Running | read 18 says free, connected
    "#);
}

#[test]
fn another_start_timeout_counts_from_the_start() {
    for (before, after, ends) in [(4, 12, 12), (12, 3, 3), (0, 8, 9), (8, 2, 2)] {
        let with = |seconds| node(|node| node.start_timeout = Span::seconds(seconds));
        let mut world = World::with(with(before), Controller { down: true, ..Controller::default() });
        world.run(Span::seconds(1));
        world.happens(Happening::Reload(Box::new(with(after))));
        world.run_to_the_end();
        let Some(Ending::Unreachable(_)) = world.ending else { panic!("{}", world.story()) };
        assert_eq!(world.now, Moment(ends * 1000), "{before} s, then {after} s\n{}", world.story());
    }
}

#[test]
fn taking_off_at_the_slow_pace_tries_again_at_once() {
    let policy = Policy { backoff: Backoff { slow_after: 1, ..Backoff::default() }, ..Policy::default() };
    let mut world = running(policy, Controller::default());
    world.happens(Happening::Ends(Generation(1), Exit::Code(1)));
    world.run(Span::seconds(2));
    world.ask(Request::TakeOff);
    world.run(Span::seconds(2));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 BackingOff | agent 1 ended with code 1: "AgentExited, was connected"; REAP 1; "RestartPlanned in 280378 ms, 1 failures"; "Slowing { failures: 1 }"; READ 7
    10.020 BackingOff | read 7 says free: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for AgentFailing { failures: 1, last: Exited { exit: Code(1), connected: true }, again: Some(Span(300000)) }; remember [marked]
    10.030 ... write 8 is carried out
    10.040 BackingOff | write 8 accepted: READ 9
    10.060 BackingOff | read 9 says marked by ThisRun "nonce 8": "Marked"
    12.000 Enabling | asked for TakeOff: "Done"; READ 10
    12.020 Enabling | read 10 says marked by ThisRun "nonce 8": "Lifting by Cli"; LIFT 11 by Cli
    12.030 ... write 11 is carried out
    12.040 Enabling | write 11 accepted: READ 12
    12.060 Starting | read 12 says free: "Lifted"; remember []; "AgentStarting"; SPAWN 2
    12.070 Running | agent 2 spawned: "AgentStarted"
    12.570 Running | (NextLook): READ 13
    12.590 Running | read 13 says free
    13.090 Running | (NextLook): READ 14
    13.110 Running | read 14 says free
    13.610 Running | (NextLook): READ 15
    13.630 Running | read 15 says free
    "#);
}

#[test]
fn taking_off_an_agent_that_is_ended_for_its_restart_is_too_late_unless_it_was_landed() {
    for landed in [false, true] {
        let mut world = running(Policy::default(), Controller::default());
        world.process.as_mut().unwrap().plan.term_takes = Some(Span::seconds(20));
        if landed {
            world.ask(Request::Land);
            world.run(Span::seconds(3));
        }
        world.ask(Request::Restart);
        world.run_until(|world| world.core.status().phase == Phase::Terminating);
        world.ask(Request::TakeOff);
        let effect = if landed { "\"Done\"" } else { "\"TooLate\"" };
        let last = world.trace.last().unwrap().clone();
        assert!(last.contains("asked for TakeOff") && last.contains(effect), "{}", world.story());
        world.run(Span::seconds(30));
        assert!(world.controller.mark.is_none() && world.core.status().connected, "{}", world.story());
    }
}

#[test]
fn taking_off_while_the_next_agent_is_being_started_lifts_the_mark() {
    for phase in [Phase::BackingOff, Phase::Enabling, Phase::Starting] {
        let mut world = running(Policy::default(), Controller::default());
        world.ask(Request::Land);
        world.run(Span::seconds(3));
        world.happens(Happening::Ends(Generation(1), Exit::Code(1)));
        world.run_until(|world| world.core.status().phase == phase);
        world.ask(Request::TakeOff);
        world.run(Span::seconds(20));
        assert!(world.controller.mark.is_none() && world.core.status().connected, "{phase:?}\n{}", world.story());
    }
}

#[test]
fn a_reload_keeps_what_was_found_at_the_start() {
    let found = || Policy { terminal: true, seed: 7, ..Policy::default() };
    let life = |changed: Policy| {
        let mut world = running(found(), Controller::default());
        world.happens(Happening::Reload(Box::new(changed)));
        world.happens(Happening::BuildBegins);
        world.ask(INT);
        world.run(Span::seconds(1));
        world.ask(INT);
        end(world)
    };
    let story = life(Policy::default());
    assert!(story.contains("\"DrainSkipped\""), "it is a terminal: {story}");
    let looks = |changed: Policy| {
        let mut world = running(found(), Controller::default());
        world.happens(Happening::Reload(Box::new(changed)));
        world.run(Span::seconds(300));
        world.honest_story()
    };
    assert_eq!(looks(Policy::default()), looks(found()), "the seed decides when it looks");
    assert_ne!(looks(found()), {
        let mut world = running(Policy { seed: 8, ..found() }, Controller::default());
        world.happens(Happening::Reload(Box::default()));
        world.run(Span::seconds(300));
        world.honest_story()
    });
}

#[test]
fn another_start_timeout_is_of_no_matter_once_the_agent_was_started() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::Reload(Box::new(node(|node| node.start_timeout = Span::seconds(20)))));
    world.happens(Happening::GoesDown);
    world.happens(Happening::Ends(Generation(1), Exit::Code(1)));
    world.run(Span::seconds(100));
    assert_eq!((world.ending.clone(), world.core.status().phase), (None, Phase::Enabling), "{}", world.story());
}

#[test]
fn an_agent_that_ends_while_the_node_is_marked_is_not_waited_for() {
    for (request, phase) in [(Request::Land, Phase::BackingOff), (Request::Restart, Phase::Enabling)] {
        let mut world = running(Policy::default(), Controller::default());
        world.ask(request);
        assert_eq!(world.core.status().phase, Phase::Marking);
        world.happens(Happening::Ends(Generation(1), Exit::Code(1)));
        assert_eq!(world.core.status().phase, phase, "{request:?}\n{}", world.story());
        world.run(Span::seconds(20));
        assert_eq!(world.controller.mark.is_some(), request == Request::Land, "{}", world.story());
        assert!(world.core.status().connected, "{}", world.story());
    }
}
