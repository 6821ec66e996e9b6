use agent_wrap_supervisor::{
    Backoff, Ending, Exit, FailureKind, Generation, IfRefused, OfflinePolicy, Phase, Policy, Request, RestartMode,
    Span, SpawnFailure,
};
use insta::assert_snapshot;

use super::{end, node, running};
use crate::world::agent::AgentPlan;
use crate::world::controller::Controller;
use crate::world::{Happening, World};

fn failing(after: Span, code: u8) -> AgentPlan {
    AgentPlan { ends: Some((after, Exit::Code(code))), connects_after: None, ..AgentPlan::default() }
}

fn limited(limit: u32) -> Policy {
    Policy { backoff: Backoff { limit: Some(limit), ..Backoff::default() }, ..Policy::default() }
}

#[test]
fn a_failing_agent_slows_down_is_marked_and_heals() {
    let backoff = Backoff { slow_after: 3, ..Backoff::default() };
    let mut world = World::new(Policy { backoff, ..Policy::default() });
    world.plans.extend(vec![failing(Span(100), 1); 4]);
    world.run(Span::seconds(600));
    assert_snapshot!(world.honest_story(), @r#"
      0.000 Enabling | begin: READ 1
      0.020 Starting | read 1 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
      0.030 Running | agent 1 spawned: "AgentStarted"
      0.130 BackingOff | agent 1 ended with code 1: "AgentExited"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
      0.921 Enabling | (RestartDelay): READ 2
      0.941 Starting | read 2 says free: "NodeFree"; "AgentStarting"; SPAWN 2
      0.951 Running | agent 2 spawned: "AgentStarted"
      1.051 BackingOff | agent 2 ended with code 1: "AgentExited"; REAP 2; "RestartPlanned in 1882 ms, 2 failures"
      2.933 Enabling | (RestartDelay): READ 3
      2.953 Starting | read 3 says free: "NodeFree"; "AgentStarting"; SPAWN 3
      2.963 Running | agent 3 spawned: "AgentStarted"
      3.063 BackingOff | agent 3 ended with code 1: "AgentExited"; REAP 3; "RestartPlanned in 276170 ms, 3 failures"; "Slowing { failures: 3 }"; READ 4
      3.083 BackingOff | read 4 says free: "Marking { method: ChangeCause }"; MARK 5 by ChangeCause for AgentFailing { failures: 3, last: Exited { exit: Code(1), connected: false }, again: Some(Span(300000)) }; remember [marked]
      3.093 ... write 5 is carried out
      3.103 BackingOff | write 5 accepted: READ 6
      3.123 BackingOff | read 6 says marked by ThisRun "nonce 5": "Marked"
    279.233 Enabling | (RestartDelay): READ 7
    279.253 Enabling | read 7 says marked by ThisRun "nonce 5": "Lifting by Cli"; LIFT 8 by Cli
    279.263 ... write 8 is carried out
    279.273 Enabling | write 8 accepted: READ 9
    279.293 Starting | read 9 says free: "Lifted"; remember []; "AgentStarting"; SPAWN 4
    279.303 Running | agent 4 spawned: "AgentStarted"
    279.403 BackingOff | agent 4 ended with code 1: "AgentExited"; REAP 4; "RestartPlanned in 244992 ms, 4 failures"; READ 10
    279.423 BackingOff | read 10 says free: "Marking { method: ChangeCause }"; MARK 11 by ChangeCause for AgentFailing { failures: 4, last: Exited { exit: Code(1), connected: false }, again: Some(Span(300000)) }; remember [marked]
    279.433 ... write 11 is carried out
    279.443 BackingOff | write 11 accepted: READ 12
    279.463 BackingOff | read 12 says marked by ThisRun "nonce 11": "Marked"
    524.395 Enabling | (RestartDelay): READ 13
    524.415 Enabling | read 13 says marked by ThisRun "nonce 11": "Lifting by Cli"; LIFT 14 by Cli
    524.425 ... write 14 is carried out
    524.435 Enabling | write 14 accepted: READ 15
    524.455 Starting | read 15 says free: "Lifted"; remember []; "AgentStarting"; SPAWN 5
    524.465 Running | agent 5 spawned: "AgentStarted"
    524.965 Running | (NextLook): READ 16
    524.985 Running | read 16 says free
    525.485 Running | (NextLook): READ 17
    525.505 Running | read 17 says free
    526.005 Running | (NextLook): READ 18
    526.025 Running | read 18 says free
    527.025 Running | (NextLook): READ 19
    527.045 Running | read 19 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    529.045 Running | (NextLook): READ 20
    529.065 Running | read 20 says free, connected
    574.125 Running | (NextLook): READ 21
    574.145 Running | read 21 says free, connected
    "#);
}

#[test]
fn the_restart_limit_gives_up_and_says_why() {
    let mut world = World::new(limited(2));
    world.plans.extend(vec![failing(Span(100), 0); 2]);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Starting | read 1 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    0.030 Running | agent 1 spawned: "AgentStarted"
    0.130 BackingOff | agent 1 ended with code 0: "AgentExited"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    0.921 Enabling | (RestartDelay): READ 2
    0.941 Starting | read 2 says free: "NodeFree"; "AgentStarting"; SPAWN 2
    0.951 Running | agent 2 spawned: "AgentStarted"
    1.051 BackingOff | agent 2 ended with code 0: "AgentExited"
    2.051 Enabling | (RestartDelay): READ 3
    2.071 Marking | read 3 says free: "GivingUp { failures: 2 }"; READ 4
    2.091 Marking | read 4 says free: "Marking { method: ChangeCause }"; MARK 5 by ChangeCause for AgentFailing { failures: 2, last: Exited { exit: Code(0), connected: false }, again: None }; remember [marked]
    2.101 ... write 5 is carried out
    2.111 Marking | write 5 accepted: READ 6
    2.131 Sweeping | read 6 says marked by ThisRun "nonce 5": "Marked"; leftovers Count
    2.141 Closing | 0 left over: REAP 2; READ 7
    2.161 Finished | read 7 says marked by ThisRun "nonce 5": remember [marked stopped]; FINISH GaveUp
    "#);
}

#[test]
fn standalone_gives_up_at_once() {
    let mut world = World::new(Policy { node: None, ..limited(2) });
    world.plans.extend(vec![failing(Span(100), 0); 2]);
    assert_snapshot!(end(world), @r#"
    0.000 Starting | begin: "AgentStarting"; SPAWN 1
    0.010 Running | agent 1 spawned: "AgentStarted"
    0.110 BackingOff | agent 1 ended with code 0: "AgentExited"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    0.901 Starting | (RestartDelay): "AgentStarting"; SPAWN 2
    0.911 Running | agent 2 spawned: "AgentStarted"
    1.011 Sweeping | agent 2 ended with code 0: "AgentExited"; "GivingUp { failures: 2 }"; leftovers Count
    1.021 Finished | 0 left over: REAP 2; remember [stopped]; FINISH GaveUp
    "#);
}

#[test]
fn a_controller_restart_is_not_held_against_the_agent() {
    let mut world = running(limited(1), Controller::default());
    world.happens(Happening::GoesDown);
    world.plan(Span::seconds(8), Happening::ComesUp);
    world.run(Span::seconds(20));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 ... the controller goes down
    10.100 BackingOff | agent 1 ended with code 0: "AgentExited, was connected"
    11.100 Enabling | (RestartDelay): READ 7
    11.120 Enabling | read 7 failed: Unavailable: "Waiting 963 ms: Unavailable"
    12.083 Enabling | (RetryRequest): READ 8
    12.103 Enabling | read 8 failed: Unavailable
    13.650 Enabling | (RetryRequest): READ 9
    13.670 Enabling | read 9 failed: Unavailable
    16.954 Enabling | (RetryRequest): READ 10
    16.974 Enabling | read 10 failed: Unavailable
    18.000 ... the controller comes up
    23.236 Enabling | (RetryRequest): READ 11
    23.256 Starting | read 11 says free: "Answering"; "NodeFree"; REAP 1; remember []; "AgentStarting"; SPAWN 2
    23.266 Running | agent 2 spawned: "AgentStarted"
    23.766 Running | (NextLook): READ 12
    23.786 Running | read 12 says free
    24.286 Running | (NextLook): READ 13
    24.306 Running | read 13 says free
    24.806 Running | (NextLook): READ 14
    24.826 Running | read 14 says free
    25.826 Running | (NextLook): READ 15
    25.846 Running | read 15 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    27.846 Running | (NextLook): READ 16
    27.866 Running | read 16 says free, connected
    "#);
}

#[test]
fn an_old_channel_that_is_held_is_not_held_against_the_agent_but_slows_it() {
    let mut world = running(limited(2), Controller::default());
    world.process.as_mut().unwrap().plan.channel_held = Span::seconds(40);
    world.happens(Happening::Ends(Generation(1), Exit::Signal(9)));
    world.run(Span::seconds(60));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 BackingOff | agent 1 ended with signal 9: "AgentExited, was connected"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    10.791 Enabling | (RestartDelay): READ 7
    10.811 Starting | read 7 says free, connected: "OldChannelHeld"; "NodeFree"; remember []; "AgentStarting"; SPAWN 2
    10.821 Running | agent 2 spawned: "AgentStarted"
    11.321 Running | (NextLook): READ 8
    11.341 Running | read 8 says free, connected
    11.841 Running | (NextLook): READ 9
    11.861 Running | read 9 says free, connected
    12.361 Running | (NextLook): READ 10
    12.381 Running | read 10 says free, connected
    12.821 BackingOff | agent 2 ended with code 1: "AgentExited"; REAP 2; "RestartPlanned in 1882 ms, 1 failures"
    14.703 Enabling | (RestartDelay): READ 11
    14.723 Starting | read 11 says free, connected: "NodeFree"; "AgentStarting"; SPAWN 3
    14.733 Running | agent 3 spawned: "AgentStarted"
    15.233 Running | (NextLook): READ 12
    15.253 Running | read 12 says free, connected
    15.753 Running | (NextLook): READ 13
    15.773 Running | read 13 says free, connected
    16.273 Running | (NextLook): READ 14
    16.293 Running | read 14 says free, connected
    16.733 BackingOff | agent 3 ended with code 1: "AgentExited"; REAP 3; "RestartPlanned in 3975 ms, 1 failures"
    20.708 Enabling | (RestartDelay): READ 15
    20.728 Starting | read 15 says free, connected: "NodeFree"; "AgentStarting"; SPAWN 4
    20.738 Running | agent 4 spawned: "AgentStarted"
    21.238 Running | (NextLook): READ 16
    21.258 Running | read 16 says free, connected
    21.758 Running | (NextLook): READ 17
    21.778 Running | read 17 says free, connected
    22.278 Running | (NextLook): READ 18
    22.298 Running | read 18 says free, connected
    22.738 BackingOff | agent 4 ended with code 1: "AgentExited"; REAP 4; "RestartPlanned in 7921 ms, 1 failures"
    30.659 Enabling | (RestartDelay): READ 19
    30.679 Starting | read 19 says free, connected: "NodeFree"; "AgentStarting"; SPAWN 5
    30.689 Running | agent 5 spawned: "AgentStarted"
    31.189 Running | (NextLook): READ 20
    31.209 Running | read 20 says free, connected
    31.709 Running | (NextLook): READ 21
    31.729 Running | read 21 says free, connected
    32.229 Running | (NextLook): READ 22
    32.249 Running | read 22 says free, connected
    32.689 BackingOff | agent 5 ended with code 1: "AgentExited"; REAP 5; "RestartPlanned in 14769 ms, 1 failures"
    47.458 Enabling | (RestartDelay): READ 23
    47.478 Starting | read 23 says free, connected: "NodeFree"; "AgentStarting"; SPAWN 6
    47.488 Running | agent 6 spawned: "AgentStarted"
    47.988 Running | (NextLook): READ 24
    48.008 Running | read 24 says free, connected
    48.508 Running | (NextLook): READ 25
    48.528 Running | read 25 says free, connected
    49.028 Running | (NextLook): READ 26
    49.048 Running | read 26 says free, connected
    49.488 BackingOff | agent 6 ended with code 1: "AgentExited"; REAP 6; "RestartPlanned in 30186 ms, 1 failures"
    "#);
}

#[test]
fn health_makes_earlier_failures_forgotten_also_while_landed() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(failing(Span(100), 1));
    world.run(Span::seconds(20));
    assert_eq!(world.core.status().failures, 1);
    world.ask(agent_wrap_supervisor::Request::Land);
    world.run(Span::seconds(700));
    assert_eq!(world.core.status().failures, 0, "{}", world.honest_story());
}

#[test]
fn an_agent_that_ends_well_is_not_started_again_on_failure_only() {
    let mut world = running(Policy { restart: RestartMode::OnFailure, ..Policy::default() }, Controller::default());
    world.happens(Happening::Ends(Generation(1), Exit::Code(0)));
    assert_snapshot!(end(world), @r#"
    10.000 Marking | agent 1 ended with code 0: "AgentExited, was connected"; READ 7
    10.020 Marking | read 7 says free: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for AgentEnded(Code(0)); remember [marked]
    10.030 ... write 8 is carried out
    10.040 Marking | write 8 accepted: READ 9
    10.060 Sweeping | read 9 says marked by ThisRun "nonce 8": "Marked"; leftovers Count
    10.070 Closing | 0 left over: REAP 1; READ 10
    10.090 Finished | read 10 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH AgentEnded { exit: Code(0), confirmed: true }
    "#);
}

#[test]
fn an_agent_that_is_never_started_again_ends_us_with_its_code() {
    let mut world = World::new(Policy { restart: RestartMode::No, node: None, ..Policy::default() });
    world.plans.push_back(failing(Span(100), 7));
    assert_snapshot!(end(world), @r#"
    0.000 Starting | begin: "AgentStarting"; SPAWN 1
    0.010 Running | agent 1 spawned: "AgentStarted"
    0.110 Sweeping | agent 1 ended with code 7: "AgentExited"; leftovers Count
    0.120 Finished | 0 left over: REAP 1; remember [stopped]; FINISH AgentEnded { exit: Code(7), confirmed: true }
    "#);
}

#[test]
fn a_start_that_the_controller_never_answered_leaves_the_verdict_on_the_run_before() {
    let mut world = World::with(
        node(|node| {
            node.start_timeout = Span::seconds(2);
            node.marked_before = true;
        }),
        super::marked(agent_wrap_supervisor::Owner::EarlierRun, "stopped"),
    );
    world.run(Span(35));
    world.controller.down = true;
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says marked by EarlierRun "stopped": "Lifting by Cli"; LIFT 2 by Cli
    0.030 ... write 2 is carried out
    0.040 Enabling | write 2 accepted: READ 3
    0.060 Enabling | read 3 failed: Unavailable: "Waiting 963 ms: Unavailable"
    1.023 Enabling | (RetryRequest): READ 4
    1.043 Enabling | read 4 failed: Unavailable
    2.000 Finished | (StartTimeout): FINISH Unreachable(Failure { kind: Unavailable, words: "no usable answer" })
    "#);
}

fn unprepared(kind: FailureKind) -> AgentPlan {
    AgentPlan { unprepared: Some(kind), ..AgentPlan::default() }
}

/// A node whose controller reports it connected: another machine's agent is there.
fn taken() -> Controller {
    let mut controller = Controller::default();
    assert!(controller.connect(Generation(99)));
    controller
}

#[test]
fn a_secret_that_is_refused_for_good_ends_us_and_no_agent_is_excused_that_never_ran() {
    let mut world = World::with(limited(1), taken());
    world.plans.extend(vec![unprepared(FailureKind::Forbidden); 3]);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Starting | read 1 says free, connected: "NodeFree"; "ChannelFound { ours: false }"; remember []; "AgentStarting"; SPAWN 1
    0.030 BackingOff | agent 1 unprepared: Forbidden: "SpawnFailed(Unprepared)"; "RestartPlanned in 2500 ms, 0 failures"; remember [stopped]
    2.530 Enabling | (RestartDelay): READ 2
    2.550 Starting | read 2 says free, connected: "NodeFree"; remember []; "AgentStarting"; SPAWN 2
    2.560 BackingOff | agent 2 unprepared: Forbidden: "SpawnFailed(Unprepared)"; "RestartPlanned in 2500 ms, 0 failures"; remember [stopped]
    5.060 Enabling | (RestartDelay): READ 3
    5.080 Starting | read 3 says free, connected: "NodeFree"; remember []; "AgentStarting"; SPAWN 3
    5.090 Sweeping | agent 3 unprepared: Forbidden: "SpawnFailed(Unprepared)"; leftovers Count; remember [stopped]
    5.100 Finished | 0 left over: FINISH Refused(Failure { kind: Forbidden, words: "nothing to start it with" })
    "#);
}

#[test]
fn a_secret_that_is_refused_for_good_is_a_failure_where_the_agent_is_to_be_started_all_the_same() {
    let mut policy = limited(2);
    policy.node.as_mut().unwrap().if_refused = IfRefused::Start;
    let mut world = World::with(policy, taken());
    world.plans.extend(vec![unprepared(FailureKind::Unauthenticated); 4]);
    assert_snapshot!(end(world), @r#"
     0.000 Enabling | begin: READ 1
     0.020 Starting | read 1 says free, connected: "NodeFree"; "ChannelFound { ours: false }"; remember []; "AgentStarting"; SPAWN 1
     0.030 BackingOff | agent 1 unprepared: Unauthenticated: "SpawnFailed(Unprepared)"; "RestartPlanned in 2500 ms, 0 failures"; remember [stopped]
     2.530 Enabling | (RestartDelay): READ 2
     2.550 Starting | read 2 says free, connected: "NodeFree"; remember []; "AgentStarting"; SPAWN 2
     2.560 BackingOff | agent 2 unprepared: Unauthenticated: "SpawnFailed(Unprepared)"; "RestartPlanned in 2500 ms, 0 failures"; remember [stopped]
     5.060 Enabling | (RestartDelay): READ 3
     5.080 Starting | read 3 says free, connected: "NodeFree"; remember []; "AgentStarting"; SPAWN 3
     5.090 BackingOff | agent 3 unprepared: Unauthenticated: "SpawnFailed(Unprepared)"; "RestartPlanned in 3975 ms, 1 failures"; remember [stopped]
     9.065 Enabling | (RestartDelay): READ 4
     9.085 Starting | read 4 says free, connected: "NodeFree"; remember []; "AgentStarting"; SPAWN 4
     9.095 BackingOff | agent 4 unprepared: Unauthenticated: "SpawnFailed(Unprepared)"; remember [stopped]
    10.095 Enabling | (RestartDelay): READ 5
    10.115 Marking | read 5 says free, connected: "GivingUp { failures: 2 }"; READ 6
    10.135 Marking | read 6 says free, connected: "Marking { method: ChangeCause }"; MARK 7 by ChangeCause for AgentFailing { failures: 2, last: NotStarted, again: None }; remember [marked stopped]
    10.145 ... write 7 is carried out
    10.155 Marking | write 7 accepted: READ 8
    10.175 Sweeping | read 8 says marked by ThisRun "nonce 7", connected: "Marked"; leftovers Count
    10.185 Closing | 0 left over: READ 9
    10.205 Finished | read 9 says marked by ThisRun "nonce 7", connected: FINISH GaveUp
    "#);
}

/// A start that the controller holds up is no start that failed; one that it refuses for good is.
#[test]
fn without_restarts_a_start_waits_for_the_controller_and_is_not_tried_again_after_it() {
    let mut policy = Policy { restart: RestartMode::No, ..Policy::default() };
    policy.node.as_mut().unwrap().if_refused = IfRefused::Start;
    let mut world = World::new(policy.clone());
    world.plans.extend([FailureKind::Unavailable, FailureKind::Forbidden].map(unprepared));
    world.run(Span::seconds(20));
    assert!(world.core.status().connected, "{}", world.honest_story());

    let mut world = World::new(policy);
    world.plans.extend(vec![unprepared(FailureKind::Forbidden); 3]);
    world.run_to_the_end();
    assert_eq!(world.ending, Some(Ending::SpawnFailed(SpawnFailure::Unprepared)), "{}", world.honest_story());
}

#[test]
fn a_refusal_of_a_secret_that_passes_is_none() {
    let mut world = World::new(limited(1));
    let kinds = [FailureKind::Forbidden, FailureKind::Forbidden, FailureKind::Unavailable, FailureKind::Forbidden];
    world.plans.extend(kinds.map(unprepared));
    world.run(Span::seconds(14));
    assert_snapshot!(world.honest_story(), @r#"
     0.000 Enabling | begin: READ 1
     0.020 Starting | read 1 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
     0.030 BackingOff | agent 1 unprepared: Forbidden: "SpawnFailed(Unprepared)"; "RestartPlanned in 2500 ms, 0 failures"; remember [stopped]
     2.530 Enabling | (RestartDelay): READ 2
     2.550 Starting | read 2 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 2
     2.560 BackingOff | agent 2 unprepared: Forbidden: "SpawnFailed(Unprepared)"; "RestartPlanned in 2500 ms, 0 failures"; remember [stopped]
     5.060 Enabling | (RestartDelay): READ 3
     5.080 Starting | read 3 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 3
     5.090 BackingOff | agent 3 unprepared: Unavailable: "SpawnFailed(Unprepared)"; "RestartPlanned in 3975 ms, 0 failures"; remember [stopped]
     9.065 Enabling | (RestartDelay): READ 4
     9.085 Starting | read 4 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 4
     9.095 BackingOff | agent 4 unprepared: Forbidden: "SpawnFailed(Unprepared)"; "RestartPlanned in 2500 ms, 0 failures"; remember [stopped]
    11.595 Enabling | (RestartDelay): READ 5
    11.615 Starting | read 5 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 5
    11.625 Running | agent 5 spawned: "AgentStarted"
    12.125 Running | (NextLook): READ 6
    12.145 Running | read 6 says free
    12.645 Running | (NextLook): READ 7
    12.665 Running | read 7 says free
    13.165 Running | (NextLook): READ 8
    13.185 Running | read 8 says free
    "#);
}

#[test]
fn an_old_channel_excuses_no_start_that_failed() {
    let mut world = running(limited(2), Controller::default());
    world.process.as_mut().unwrap().plan.channel_held = Span::seconds(400);
    world.plans.extend(vec![AgentPlan { spawn_fails: Some(SpawnFailure::Unprepared), ..AgentPlan::default() }; 2]);
    world.happens(Happening::Ends(Generation(1), Exit::Signal(9)));
    world.run_to_the_end();
    assert_eq!(world.ending, Some(Ending::GaveUp), "{}", world.honest_story());
}

#[test]
fn refusals_before_an_agent_that_ran_are_forgotten() {
    let mut world = World::new(Policy::default());
    world.plans.extend([FailureKind::Forbidden; 2].map(unprepared));
    world.plans.push_back(failing(Span::seconds(8), 1));
    world.plans.push_back(unprepared(FailureKind::Forbidden));
    world.run(Span::seconds(60));
    assert!(world.core.status().connected, "{}", world.honest_story());
}

#[test]
fn a_refusal_at_a_restart_ends_what_the_agent_has_left_behind() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(AgentPlan {
        leaves: 2,
        ends: Some((Span::seconds(20), Exit::Code(1))),
        ..AgentPlan::default()
    });
    world.run(Span::seconds(19));
    world.controller.refuses_reads = Some(FailureKind::Unauthenticated);
    world.run_to_the_end();
    let story = world.honest_story();
    assert!(matches!(world.ending, Some(Ending::Refused(_))), "{story}");
    assert!(story.contains("leftovers Terminate") && story.contains("0 left over"), "{story}");
    assert!(!story.contains("MARK"), "{story}");
}

#[test]
fn refusals_before_something_was_found_that_an_agent_has_left_are_forgotten() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(failing(Span::seconds(8), 1));
    world.plans.extend([FailureKind::Forbidden; 2].map(unprepared));
    world.plans.push_back(AgentPlan { remains: true, ..AgentPlan::default() });
    world.plans.push_back(unprepared(FailureKind::Forbidden));
    world.run(Span::seconds(60));
    assert!(world.core.status().connected, "{}", world.honest_story());
}

#[test]
fn an_agent_that_is_started_although_we_are_refused_is_given_up_like_any_other() {
    let mut policy = limited(2);
    policy.node.as_mut().unwrap().if_refused = IfRefused::Start;
    let mut world = World::new(policy);
    world.controller.refuses_reads = Some(FailureKind::Forbidden);
    world.plans.extend(vec![failing(Span(100), 1); 4]);
    world.run_to_the_end();
    assert_eq!((world.ending.clone(), world.generations), (Some(Ending::GaveUp), 2), "{}", world.honest_story());
}

#[test]
fn the_slow_pace_marks_nothing_where_a_stop_would_not() {
    let backoff = Backoff { slow_after: 1, ..Backoff::default() };
    let policy = Policy { backoff, ..node(|node| node.offline = OfflinePolicy::Never) };
    let mut world = World::new(policy);
    world.plans.push_back(failing(Span(100), 1));
    world.run(Span::seconds(100));
    assert_eq!(world.core.status().phase, Phase::BackingOff, "{}", world.story());
    assert!(world.controller.mark.is_none(), "{}", world.story());
}

#[test]
fn the_slow_pace_leaves_a_landing_its_reason() {
    let backoff = Backoff { slow_after: 1, ..Backoff::default() };
    let mut world = running(Policy { backoff, ..Policy::default() }, Controller::default());
    world.ask(Request::Land);
    world.run(Span::seconds(3));
    world.trace.clear();
    world.happens(Happening::Ends(Generation(1), Exit::Code(1)));
    world.run(Span::seconds(3));
    let story = world.honest_story();
    assert!(story.contains("Slowing") && !story.contains("MARK") && !story.contains("READ"), "{story}");
}

#[test]
fn a_command_that_was_there_once_may_be_missing_for_a_moment() {
    for failure in [SpawnFailure::NotFound, SpawnFailure::NotExecutable, SpawnFailure::Other(5)] {
        let mut world = World::new(Policy::default());
        let missing = AgentPlan { spawn_fails: Some(failure), ..AgentPlan::default() };
        world.plans.extend([failing(Span(100), 1), missing.clone()]);
        world.run(Span::seconds(30));
        assert!(world.core.status().connected, "{failure:?}\n{}", world.story());
        // The first time it is a wrong command.
        let mut world = World::new(Policy::default());
        world.plans.push_back(missing);
        world.run_to_the_end();
        assert_eq!(world.ending, Some(Ending::SpawnFailed(failure)), "{}", world.story());
    }
}
