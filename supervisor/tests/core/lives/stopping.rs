use agent_wrap_supervisor::{FailureKind, OfflinePolicy, Owner, Phase, Policy, Request, Span, SpawnFailure};
use insta::assert_snapshot;

use super::{INT, TERM, end, hudson, marked, node, running};
use crate::world::agent::AgentPlan;
use crate::world::controller::{Controller, mark_of};
use crate::world::{Fate, Happening, World};

fn terminal() -> Policy {
    Policy { terminal: true, ..Policy::default() }
}

#[test]
fn a_stop_on_hudson_marks_by_the_toggle() {
    let mut world = running(Policy::default(), hudson(Controller::default()));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 not supported: "WayChanged"; READ 9
    10.060 Marking | read 9 says free, connected: "Marking { method: Toggle }"; MARK 10 by Toggle for Stopping
    10.070 ... write 10 is carried out
    10.080 Marking | write 10 accepted: READ 11
    10.100 Draining | read 11 says marked by ThisRun "nonce 10", connected: "Marked"
    10.600 Draining | (NextLook): READ 12
    10.620 Terminating | read 12 says marked by ThisRun "nonce 10", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    10.920 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    10.930 Closing | 0 left over: REAP 1; READ 13
    10.950 Finished | read 13 says marked by ThisRun "nonce 10": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_stop_leaves_somebody_elses_mark_and_its_reason() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::Interferes(Some(mark_of(Owner::Foreign, "maintenance"))));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 ... somebody makes the node marked by Foreign "maintenance"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Draining | read 7 says marked by Foreign "maintenance", connected: "MarkedAlready marked by Foreign "maintenance""
    10.520 Draining | (NextLook): READ 8
    10.540 Terminating | read 8 says marked by Foreign "maintenance", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    10.840 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    10.850 Closing | 0 left over: REAP 1; READ 9
    10.870 Finished | read 9 says marked by Foreign "maintenance": remember [stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_stop_while_the_node_is_brought_online_marks_it_and_starts_nothing() {
    let mut world = World::with(Policy::default(), hudson(marked(Owner::EarlierRun, "stopped")));
    world.run(Span(25));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says marked by EarlierRun "stopped": "Lifting by Toggle"; LIFT 2 by Toggle; remember [marked stopped]
    0.025 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: false }"
    0.030 ... write 2 is carried out
    0.040 Marking | write 2 accepted: READ 3
    0.060 Marking | read 3 says free: "Marking { method: ChangeCause }"; MARK 4 by ChangeCause for Stopping
    0.070 ... write 4 is carried out
    0.080 Marking | write 4 not supported: "WayChanged"; READ 5
    0.100 Marking | read 5 says free: "Marking { method: Toggle }"; MARK 6 by Toggle for Stopping
    0.110 ... write 6 is carried out
    0.120 Marking | write 6 accepted: READ 7
    0.140 Closing | read 7 says marked by ThisRun "nonce 6": "Marked"; READ 8
    0.160 Finished | read 8 says marked by ThisRun "nonce 6": FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_stop_does_not_wait_long_for_a_write_under_way() {
    let mut world = World::with(Policy::default(), hudson(marked(Owner::EarlierRun, "stopped")));
    world.fates.extend([Fate::Answered(Span(10), Span(10)), Fate::Lost(Some(Span(100)))]);
    world.run(Span(25));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says marked by EarlierRun "stopped": "Lifting by Toggle"; LIFT 2 by Toggle; remember [marked stopped]
    0.025 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: false }"
    0.120 ... write 2 is carried out
    7.525 Marking | (AbandonWrite): CANCEL 2; "OutcomeUnknown"; READ 3
    7.545 Marking | read 3 says free: "Marking { method: ChangeCause }"; MARK 4 by ChangeCause for Stopping
    7.555 ... write 4 is carried out
    7.565 Marking | write 4 not supported: "WayChanged"; READ 5
    7.585 Marking | read 5 says free: remember [stopped]
    8.085 Marking | (NextLook): READ 6
    8.105 Marking | read 6 says free
    8.605 Marking | (NextLook): READ 7
    8.625 Marking | read 7 says free: "Marking { method: Toggle }"; MARK 8 by Toggle for Stopping; remember [marked stopped]
    8.635 ... write 8 is carried out
    8.645 Marking | write 8 accepted: READ 9
    8.665 Closing | read 9 says marked by ThisRun "nonce 8": "Marked"; READ 10
    8.685 Finished | read 10 says marked by ThisRun "nonce 8": FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn our_own_slow_mark_is_not_given_up_with_the_write_before_the_stop() {
    let mut world = World::with(Policy::default(), hudson(marked(Owner::EarlierRun, "stopped")));
    let at_once = Fate::Answered(Span(10), Span(10));
    world.fates.extend([
        at_once.clone(),
        Fate::Answered(Span(10), Span(1500)),
        at_once,
        Fate::Answered(Span(10), Span(3900)),
    ]);
    world.run(Span(25));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says marked by EarlierRun "stopped": "Lifting by Toggle"; LIFT 2 by Toggle; remember [marked stopped]
    0.025 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: false }"
    0.030 ... write 2 is carried out
    1.530 Marking | write 2 accepted: READ 3
    1.550 Marking | read 3 says free: "Marking { method: ChangeCause }"; MARK 4 by ChangeCause for Stopping
    1.560 ... write 4 is carried out
    5.460 Marking | write 4 not supported: "WayChanged"; READ 5
    5.480 Marking | read 5 says free: "Marking { method: Toggle }"; MARK 6 by Toggle for Stopping
    5.490 ... write 6 is carried out
    5.500 Marking | write 6 accepted: READ 7
    5.520 Closing | read 7 says marked by ThisRun "nonce 6": "Marked"; READ 8
    5.540 Finished | read 8 says marked by ThisRun "nonce 6": FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_stop_while_the_agent_is_forked_waits_for_it() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(AgentPlan { spawn_takes: Span(200), ..AgentPlan::default() });
    world.run(Span(25));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Starting | read 1 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    0.025 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; CANCEL SPAWN 1; READ 2
    0.045 Marking | read 2 says free: "Marking { method: ChangeCause }"; MARK 3 by ChangeCause for Stopping; remember [marked]
    0.055 ... write 3 is carried out
    0.065 Marking | write 3 accepted: READ 4
    0.085 Draining | read 4 says marked by ThisRun "nonce 3": "Marked"
    0.220 Draining | agent 1 spawned: "AgentStarted"
    0.585 Draining | (NextLook): READ 5
    0.605 Terminating | read 5 says marked by ThisRun "nonce 3": "Terminating { grace: Span(30000) }"; TERM to 1
    0.905 Sweeping | agent 1 ended with code 143: "AgentExited, asked"; leftovers Count
    0.915 Closing | 0 left over: REAP 1; READ 6
    0.935 Finished | read 6 says marked by ThisRun "nonce 3": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_stop_while_the_agent_backs_off_starts_nothing() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::Ends(agent_wrap_supervisor::Generation(1), agent_wrap_supervisor::Exit::Code(1)));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 BackingOff | agent 1 ended with code 1: "AgentExited, was connected"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: false }"; READ 7
    10.020 Marking | read 7 says free: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Sweeping | read 9 says marked by ThisRun "nonce 8": "Marked"; leftovers Count
    10.070 Closing | 0 left over: READ 10
    10.090 Finished | read 10 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_stop_without_a_controller_takes_the_offline_timeout() {
    let mut world = running(Policy::default(), Controller::default());
    world.controller.down = true;
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 failed: Unavailable: "Waiting 500 ms: Unavailable"
    10.520 Marking | (RetryRequest): READ 8
    10.540 Marking | read 8 failed: Unavailable
    11.540 Marking | (RetryRequest): READ 9
    11.560 Marking | read 9 failed: Unavailable
    12.560 Marking | (RetryRequest): READ 10
    12.580 Marking | read 10 failed: Unavailable
    13.580 Marking | (RetryRequest): READ 11
    13.600 Marking | read 11 failed: Unavailable
    14.600 Marking | (RetryRequest): READ 12
    14.620 Marking | read 12 failed: Unavailable
    15.620 Marking | (RetryRequest): READ 13
    15.640 Marking | read 13 failed: Unavailable
    16.640 Marking | (RetryRequest): READ 14
    16.660 Marking | read 14 failed: Unavailable
    17.660 Marking | (RetryRequest): READ 15
    17.680 Marking | read 15 failed: Unavailable
    18.680 Marking | (RetryRequest): READ 16
    18.700 Marking | read 16 failed: Unavailable
    19.700 Marking | (RetryRequest): READ 17
    19.720 Marking | read 17 failed: Unavailable
    20.000 Terminating | (OfflineTimeout): "MarkUnconfirmed: Some(Unavailable)"; "NotDrained"; "Terminating { grace: Span(30000) }"; TERM to 1
    20.300 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    20.310 Closing | 0 left over: REAP 1; READ 18
    20.330 Closing | read 18 failed: Unavailable
    20.580 Closing | (RetryRequest): READ 19
    20.600 Closing | read 19 failed: Unavailable
    20.850 Closing | (RetryRequest): READ 20
    20.870 Closing | read 20 failed: Unavailable
    21.120 Closing | (RetryRequest): READ 21
    21.140 Closing | read 21 failed: Unavailable
    21.390 Closing | (RetryRequest): READ 22
    21.410 Closing | read 22 failed: Unavailable
    21.560 Finished | (LastLookTimeout): "LastLookUnsettled"; remember [connected stopped]; FINISH Stopped { killed: false, confirmed: false }
    "#);
}

#[test]
fn an_agent_that_dies_by_itself_ends_the_drain() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(TERM);
    world
        .plan(Span(700), Happening::Ends(agent_wrap_supervisor::Generation(1), agent_wrap_supervisor::Exit::Signal(9)));
    assert_snapshot!(end(world), @r#"
    10.000 ... a build begins
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    10.560 Draining | (NextLook): READ 10
    10.580 Draining | read 10 says marked by ThisRun "nonce 8", connected, 1 builds
    10.700 Sweeping | agent 1 ended with signal 9: "AgentExited, was connected"; leftovers Count
    10.710 Closing | 0 left over: REAP 1; READ 11
    10.730 Finished | read 11 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_second_interrupt_at_a_terminal_skips_the_drain_and_a_third_kills() {
    let mut world = running(terminal(), Controller::default());
    world.plans.clear();
    world.process.as_mut().unwrap().plan.term_takes = None;
    world.happens(Happening::BuildBegins);
    world.ask(INT);
    world.run(Span(400));
    world.ask(INT);
    world.run(Span(400));
    world.ask(INT);
    world.run(Span(600));
    world.ask(INT);
    assert_snapshot!(end(world), @r#"
    10.000 ... a build begins
    10.000 Marking | asked for Stop(Interrupt): "Stopping { source: Interrupt, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    10.400 Draining | asked for Stop(Interrupt): "Repeated"
    10.560 Draining | (NextLook): READ 10
    10.580 Draining | read 10 says marked by ThisRun "nonce 8", connected, 1 builds
    10.800 Terminating | asked for Stop(Interrupt): "DrainSkipped"; "DrainCut 1"; "Terminating { grace: Span(30000) }"; TERM to 1
    11.400 Killing | asked for Stop(Interrupt): "Killed"; "Killing"; KILL to 1
    11.420 Sweeping | agent 1 ended with signal 9: "AgentExited, asked, was connected"; leftovers Count
    11.430 Finished | 0 left over: REAP 1; remember [marked connected stopped]; FINISH Stopped { killed: true, confirmed: true }
    "#);
}

#[test]
fn a_third_interrupt_while_marking_kills_at_once() {
    let mut world = running(terminal(), Controller::default());
    world.controller.down = true;
    for _ in 0..3 {
        world.ask(INT);
        world.run(Span(600));
    }
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Interrupt): "Stopping { source: Interrupt, agent: true }"; READ 7
    10.020 Marking | read 7 failed: Unavailable: "Waiting 500 ms: Unavailable"
    10.520 Marking | (RetryRequest): READ 8
    10.540 Marking | read 8 failed: Unavailable
    10.600 Marking | asked for Stop(Interrupt): "DrainSkipped"
    11.200 Killing | asked for Stop(Interrupt): "Killed"; TERM to 1; "Killing"; KILL to 1
    11.220 Sweeping | agent 1 ended with signal 9: "AgentExited, asked, was connected"; leftovers Count
    11.230 Finished | 0 left over: REAP 1; "LastLookUnsettled"; remember [connected stopped]; FINISH Stopped { killed: true, confirmed: false }
    "#);
}

#[test]
fn a_second_term_changes_nothing_and_stop_now_skips_the_drain() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(TERM);
    world.run(Span::seconds(1));
    world.ask(TERM);
    world.run(Span::seconds(1));
    world.ask(Request::StopNow);
    assert_snapshot!(end(world), @r#"
    10.000 ... a build begins
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    10.560 Draining | (NextLook): READ 10
    10.580 Draining | read 10 says marked by ThisRun "nonce 8", connected, 1 builds
    11.000 Draining | asked for Stop(Terminate): "Already"
    11.580 Draining | (NextLook): READ 11
    11.600 Draining | read 11 says marked by ThisRun "nonce 8", connected, 1 builds
    12.000 Terminating | asked for StopNow: "DrainSkipped"; "DrainCut 1"; "Terminating { grace: Span(30000) }"; TERM to 1
    12.300 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    12.310 Closing | 0 left over: REAP 1; READ 12
    12.330 Finished | read 12 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_drain_ends_with_its_time() {
    let mut world = running(Policy { drain: Span::seconds(4), ..Policy::default() }, Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 ... a build begins
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    10.560 Draining | (NextLook): READ 10
    10.580 Draining | read 10 says marked by ThisRun "nonce 8", connected, 1 builds
    11.580 Draining | (NextLook): READ 11
    11.600 Draining | read 11 says marked by ThisRun "nonce 8", connected, 1 builds
    13.100 Draining | (NextLook): READ 12
    13.120 Draining | read 12 says marked by ThisRun "nonce 8", connected, 1 builds
    14.060 Terminating | (DrainTimeout): "DrainCut 1, timeout"; "Terminating { grace: Span(30000) }"; TERM to 1
    14.360 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    14.370 Closing | 0 left over: REAP 1; READ 13
    14.390 Finished | read 13 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_mark_that_vanishes_during_the_drain_is_set_again_three_times() {
    let mut world = running(Policy { drain: Span::seconds(30), ..Policy::default() }, Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(TERM);
    for second in [2, 6, 12, 18] {
        world.plan(Span::seconds(second), Happening::Interferes(None));
    }
    assert_snapshot!(end(world), @r#"
    10.000 ... a build begins
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    10.560 Draining | (NextLook): READ 10
    10.580 Draining | read 10 says marked by ThisRun "nonce 8", connected, 1 builds
    11.580 Draining | (NextLook): READ 11
    11.600 Draining | read 11 says marked by ThisRun "nonce 8", connected, 1 builds
    12.000 ... somebody makes the node free
    13.100 Draining | (NextLook): READ 12
    13.120 Draining | read 12 says free, connected, 1 builds: "MarkVanished"; "Marking { method: ChangeCause }"; MARK 13 by ChangeCause for Stopping
    13.130 ... write 13 is carried out
    13.140 Draining | write 13 accepted: READ 14
    13.160 Draining | read 14 says marked by ThisRun "nonce 13", connected, 1 builds: "Marked"
    15.160 Draining | (NextLook): READ 15
    15.180 Draining | read 15 says marked by ThisRun "nonce 13", connected, 1 builds
    16.000 ... somebody makes the node free
    17.680 Draining | (NextLook): READ 16
    17.700 Draining | read 16 says free, connected, 1 builds: "MarkVanished"; "Marking { method: ChangeCause }"; MARK 17 by ChangeCause for Stopping
    17.710 ... write 17 is carried out
    17.720 Draining | write 17 accepted: READ 18
    17.740 Draining | read 18 says marked by ThisRun "nonce 17", connected, 1 builds: "Marked"
    20.740 Draining | (NextLook): READ 19
    20.760 Draining | read 19 says marked by ThisRun "nonce 17", connected, 1 builds
    22.000 ... somebody makes the node free
    24.260 Draining | (NextLook): READ 20
    24.280 Draining | read 20 says free, connected, 1 builds: "MarkVanished"; "Marking { method: ChangeCause }"; MARK 21 by ChangeCause for Stopping
    24.290 ... write 21 is carried out
    24.300 Draining | write 21 accepted: READ 22
    24.320 Draining | read 22 says marked by ThisRun "nonce 21", connected, 1 builds: "Marked"
    28.000 ... somebody makes the node free
    28.320 Draining | (NextLook): READ 23
    28.340 Draining | read 23 says free, connected, 1 builds: "MarkLost"; remember [connected]
    32.840 Draining | (NextLook): READ 24
    32.860 Draining | read 24 says free, connected, 1 builds
    37.860 Draining | (NextLook): READ 25
    37.880 Draining | read 25 says free, connected, 1 builds
    40.060 Terminating | (DrainTimeout): "DrainCut 1, timeout"; "Terminating { grace: Span(30000) }"; TERM to 1
    40.360 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    40.370 Closing | 0 left over: REAP 1; READ 26
    40.390 Finished | read 26 says free: "LastLookUnsettled"; remember [stopped]; FINISH Stopped { killed: false, confirmed: false }
    "#);
}

#[test]
fn an_agent_that_ignores_term_is_killed() {
    let mut world = running(Policy::default(), Controller::default());
    world.process.as_mut().unwrap().plan.term_takes = None;
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.560 Draining | (NextLook): READ 10
    10.580 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    40.580 Killing | (GraceTimeout): "Killing"; KILL to 1
    40.600 Sweeping | agent 1 ended with signal 9: "AgentExited, asked, was connected"; leftovers Count
    40.610 Closing | 0 left over: REAP 1; READ 11
    40.630 Finished | read 11 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: true, confirmed: true }
    "#);
}

#[test]
fn an_agent_that_cannot_be_killed_is_not_waited_for() {
    let mut world = running(Policy::default(), Controller::default());
    let plan = &mut world.process.as_mut().unwrap().plan;
    (plan.term_takes, plan.unkillable) = (None, true);
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.560 Draining | (NextLook): READ 10
    10.580 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    40.580 Killing | (GraceTimeout): "Killing"; KILL to 1
    41.580 Sweeping | (KillTimeout): "Unkillable"; leftovers Count
    41.590 Closing | 0 left over: READ 11
    41.610 Finished | read 11 says marked by ThisRun "nonce 8", connected: remember [marked connected stopped]; FINISH Stopped { killed: true, confirmed: true }
    "#);
}

#[test]
fn what_is_left_over_is_ended() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(AgentPlan { leaves: 2, leaves_stubborn: true, ..AgentPlan::default() });
    world.run(Span::seconds(10));
    world.trace.clear();
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.560 Draining | (NextLook): READ 10
    10.580 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    10.880 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    10.890 Sweeping | 2 left over: "LeftoversFound { alive: 2, ended: true }"; leftovers Terminate
    10.900 Sweeping | 2 left over
    11.890 Sweeping | (SweepTimeout): leftovers Kill
    11.900 Closing | 0 left over: REAP 1; READ 11
    11.920 Finished | read 11 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_last_look_that_finds_the_node_free_is_unsettled() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(TERM);
    world.run(Span(700));
    world.happens(Happening::Interferes(None));
    world.controller.refuses_writes = Some(agent_wrap_supervisor::FailureKind::Forbidden);
    assert_snapshot!(end(world), @r#"
    10.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Stopping; remember [marked connected]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.560 Draining | (NextLook): READ 10
    10.580 Terminating | read 10 says marked by ThisRun "nonce 8", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    10.700 ... somebody makes the node free
    10.880 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    10.890 Closing | 0 left over: REAP 1; READ 11
    10.910 Closing | read 11 says free: "MarkVanished"; "Marking { method: ChangeCause }"; MARK 12 by ChangeCause for Stopping; remember [marked]
    10.920 ... write 12 is carried out
    10.930 Closing | write 12 failed: Forbidden: "Waiting 2500 ms: Forbidden"; remember []
    12.140 Finished | (LastLookTimeout): "LastLookUnsettled"; remember [stopped]; FINISH Stopped { killed: false, confirmed: false }
    "#);
}

/// Killing, counting, ending twice what is left, and the last look were half a second longer than the promise.
#[test]
fn the_slowest_end_of_a_stop_keeps_to_its_five_seconds() {
    let policy = Policy { grace: Span::ZERO, drain: Span::ZERO, ..Policy::default() };
    let mut world = World::new(policy.clone());
    world.plans.push_back(AgentPlan {
        leaves: 1,
        leaves_stubborn: true,
        term_takes: None,
        unkillable: true,
        count_takes: Some(Span(490)),
        ..AgentPlan::default()
    });
    world.run(Span::seconds(10));
    world.controller.down = true;
    world.ask(TERM);
    world.run_to_the_end();
    world.honest_story();
    let took = world.now.since(agent_wrap_supervisor::Moment(10_000));
    // What is left of them is the program's, for its last files and lines.
    let exit = Span(650);
    assert!(took > Span(13_500) && took.plus(exit) <= policy.longest_stop(), "{took:?}\n{}", world.story());
}

/// An agent that ends after nobody waited for it any more was never reaped.
#[test]
fn an_agent_that_ends_during_the_last_look_is_reaped() {
    let mut world = running(Policy::default(), Controller::default());
    let plan = &mut world.process.as_mut().unwrap().plan;
    (plan.term_takes, plan.unkillable) = (Some(Span::seconds(32)), true);
    world.ask(TERM);
    world.run_until(|world| world.core.status().phase == Phase::Sweeping);
    world.controller.down = true;
    world.run_to_the_end();
    world.honest_story();
    assert!(world.process.is_none(), "{}", world.story());
}

#[test]
fn a_fork_that_fails_during_the_drain_ends_it() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(AgentPlan {
        spawn_takes: Span(200),
        spawn_fails: Some(SpawnFailure::NotFound),
        ..AgentPlan::default()
    });
    world.run(Span(25));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Starting | read 1 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    0.025 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; CANCEL SPAWN 1; READ 2
    0.045 Marking | read 2 says free: "Marking { method: ChangeCause }"; MARK 3 by ChangeCause for Stopping; remember [marked]
    0.055 ... write 3 is carried out
    0.065 Marking | write 3 accepted: READ 4
    0.085 Draining | read 4 says marked by ThisRun "nonce 3": "Marked"
    0.220 Sweeping | spawn of agent 1 failed: NotFound: "SpawnFailed(NotFound)"; leftovers Count; remember [marked stopped]
    0.230 Closing | 0 left over: READ 5
    0.250 Finished | read 5 says marked by ThisRun "nonce 3": FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_fork_that_is_slower_than_the_grace_is_killed_at_once() {
    let mut world = World::new(Policy { drain: Span::ZERO, grace: Span::seconds(1), ..Policy::default() });
    world.plans.push_back(AgentPlan { spawn_takes: Span(2000), ..AgentPlan::default() });
    world.run(Span(25));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Starting | read 1 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    0.025 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; CANCEL SPAWN 1; READ 2
    0.045 Marking | read 2 says free: "Marking { method: ChangeCause }"; MARK 3 by ChangeCause for Stopping; remember [marked]
    0.055 ... write 3 is carried out
    0.065 Marking | write 3 accepted: READ 4
    0.085 Terminating | read 4 says marked by ThisRun "nonce 3": "Marked"
    1.085 Killing | (GraceTimeout)
    2.020 Killing | agent 1 spawned: "AgentStarted"; TERM to 1; "Killing"; KILL to 1
    2.040 Sweeping | agent 1 ended with signal 9: "AgentExited, asked"; leftovers Count
    2.050 Closing | 0 left over: REAP 1; READ 5
    2.070 Finished | read 5 says marked by ThisRun "nonce 3": remember [marked stopped]; FINISH Stopped { killed: true, confirmed: true }
    "#);
}

#[test]
fn offline_never_leaves_the_node_as_it_is() {
    let mut world = running(node(|node| node.offline = OfflinePolicy::Never), Controller::default());
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    10.000 Terminating | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; "Terminating { grace: Span(30000) }"; TERM to 1
    10.300 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    10.310 Finished | 0 left over: REAP 1; remember [connected stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn timers_pause_while_we_are_suspended() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(Request::Suspend);
    world.run(Span::seconds(1000));
    world.happens(Happening::Continue);
    world.run(Span(100));
    world.ask(Request::Suspend);
    world.run(Span::seconds(10));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
      10.000 Running | asked for Suspend: STOP to group; STOP self
    1010.000 Running | resumed: CONT to group; READ 7
    1010.020 Running | read 7 says free, connected
    1010.100 Running | asked for Suspend: STOP to group; STOP self
    1020.100 Marking | asked for Stop(Terminate): CONT to group; "Stopping { source: Terminate, agent: true }"; READ 8
    1020.120 Marking | read 8 says free, connected: "Marking { method: ChangeCause }"; MARK 9 by ChangeCause for Stopping; remember [marked connected]
    1020.130 ... write 9 is carried out
    1020.140 Marking | write 9 accepted: READ 10
    1020.160 Draining | read 10 says marked by ThisRun "nonce 9", connected: "Marked"
    1020.660 Draining | (NextLook): READ 11
    1020.680 Terminating | read 11 says marked by ThisRun "nonce 9", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    1020.980 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    1020.990 Closing | 0 left over: REAP 1; READ 12
    1021.010 Finished | read 12 says marked by ThisRun "nonce 9": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn an_agent_that_comes_after_the_stop_is_said_to_be_asked_to_end() {
    let mut world = World::new(Policy { node: None, ..Policy::default() });
    let late = AgentPlan { spawn_takes: Span::seconds(5), cancellable: false, ..AgentPlan::default() };
    world.plans.push_back(late);
    world.run(Span::seconds(1));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Starting | begin: "AgentStarting"; SPAWN 1
    1.000 Terminating | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; CANCEL SPAWN 1
    5.000 Terminating | agent 1 spawned: "AgentStarted"; "Terminating { grace: Span(26000) }"; TERM to 1
    5.300 Sweeping | agent 1 ended with code 143: "AgentExited, asked"; leftovers Count
    5.310 Finished | 0 left over: REAP 1; remember [stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn what_survives_kill_is_told_and_not_waited_for() {
    let mut world = World::new(Policy { node: None, ..Policy::default() });
    let plan = AgentPlan { leaves: 2, leaves_stubborn: true, leaves_immortal: true, ..AgentPlan::default() };
    world.plans.push_back(plan);
    world.run(Span::seconds(1));
    world.ask(TERM);
    let story = end(world);
    assert!(story.contains("LeftoversRemain { alive: 2 }") && story.contains("FINISH Stopped"), "{story}");
}

/// Seldom enough for whoever is restarting the controller, often enough to see the build's end.
#[test]
fn a_drain_asks_a_controller_that_is_away_at_a_pace_that_slows_to_five_seconds() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(TERM);
    world.run(Span::seconds(5));
    world.controller.refuses_reads = Some(FailureKind::Unavailable);
    world.trace.clear();
    world.run(Span::seconds(40));
    let story = world.honest_story();
    let tried = story.lines().filter(|line| line.contains("(RetryRequest): READ"));
    let seconds = tried.map(|line| line.trim_start().split('.').next().unwrap().parse().unwrap());
    let seconds: Vec<u64> = seconds.collect();
    let pauses: Vec<u64> = seconds.windows(2).map(|pair| pair[1] - pair[0]).take(5).collect();
    assert_eq!(pauses, [2, 4, 5, 5, 5], "{story}");
}

/// A scheduler sends two signals, of either kind and at a terminal too.
#[test]
fn only_an_interrupt_from_a_terminal_counts() {
    for (terminal, again) in [(true, TERM), (false, INT)] {
        let mut world = running(Policy { terminal, ..Policy::default() }, Controller::default());
        world.happens(Happening::BuildBegins);
        world.ask(INT);
        for _ in 0..3 {
            world.run(Span::seconds(1));
            world.ask(again);
            assert!(world.story().lines().last().unwrap().ends_with(": \"Already\""), "{}", world.story());
        }
        assert_eq!(world.core.status().phase, Phase::Draining, "{}", world.story());
    }
}
