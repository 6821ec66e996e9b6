//! The weeks between a start and a stop: agents that hang, connections that flap, dead channels, two wrappers of one node.

use agent_wrap_supervisor::{
    Exit, FailureKind, Generation, NodePolicy, Owner, Policy, Request, RestartMode, Span, TakeOver,
};
use insta::assert_snapshot;

use super::{TERM, end, hudson, lines_with, marked, node, running};
use crate::world::agent::AgentPlan;
use crate::world::controller::{Controller, mark_of};
use crate::world::{ELSEWHERE, Fate, Happening, World};

/// The run before was killed, and the controller has not noticed.
fn dead_channel(policy: Policy) -> World {
    let mut world = World::new(policy);
    world.controller.channel = Some(Generation(0));
    world
}

fn after_kill(change: impl FnOnce(&mut NodePolicy)) -> Policy {
    node(|node| {
        (node.unclean, node.connected_before) = (true, true);
        change(node);
    })
}

#[test]
fn an_agent_that_lives_without_its_channel_is_started_anew() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::LosesChannel(Generation(1)));
    world.run_until(|world| world.generations == 2 && world.core.status().connected);
    assert_snapshot!(lines_with(&world, &["Disconnect", "TERM", "Exited", "Starting", "AgentConnected"]), @r#"
     52.476 Running | read 7 says free: "AgentDisconnected"; remember []
    352.476 Running | (DisconnectTimeout): READ 69
    352.496 Terminating | read 69 says free: "StaysDisconnected { after: Span(300000), restarted: true, connected: true }"; "Terminating { grace: Span(30000) }"; TERM to 1
    352.796 BackingOff | agent 1 ended with code 143: "AgentExited, asked, was connected"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    353.607 Starting | read 70 says free: "NodeFree"; "AgentStarting"; SPAWN 2
    356.197 Running | read 74 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    "#);
}

#[test]
fn an_agent_that_never_connects_is_started_anew() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(AgentPlan { connects_after: None, ..AgentPlan::default() });
    world.run_until(|world| world.generations == 2 && world.core.status().connected);
    assert_snapshot!(lines_with(&world, &["Disconnect", "TERM", "Exited", "Starting", "AgentConnected"]), @r#"
      0.020 Starting | read 1 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    300.550 Running | (DisconnectTimeout): READ 64
    300.570 Terminating | read 64 says free: "StaysDisconnected { after: Span(300000), restarted: true, connected: false }"; "Terminating { grace: Span(30000) }"; TERM to 1
    300.870 BackingOff | agent 1 ended with code 143: "AgentExited, asked"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    301.681 Starting | read 65 says free: "NodeFree"; "AgentStarting"; SPAWN 2
    304.271 Running | read 69 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    "#);
}

#[test]
fn an_agent_that_is_back_in_time_is_left_alone() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::LosesChannel(Generation(1)));
    world.plan(Span::seconds(250), Happening::Connects(Generation(1)));
    world.run(Span::seconds(1000));
    assert_snapshot!(lines_with(&world, &["onnected\"", "TERM"]), @r#"
     52.476 Running | read 7 says free: "AgentDisconnected"; remember []
    260.596 Running | read 63 says free, connected: "AgentReconnected"; remember [connected]
    "#);
}

#[test]
fn what_a_controller_that_is_down_does_not_say_counts_for_nothing() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::LosesChannel(Generation(1)));
    world.run(Span::seconds(200));
    // The agent hangs, so it does not notice.
    world.controller.down = true;
    world.run(Span::seconds(400));
    world.controller.down = false;
    world.run_until(|world| world.generations == 2);
    assert_snapshot!(lines_with(&world, &["DisconnectTimeout", "Disconnected", "Waiting", "Answering"]), @r#"
     52.476 Running | read 7 says free: "AgentDisconnected"; remember []
    212.356 Running | read 51 failed: Unavailable: "Waiting 963 ms: Unavailable"
    621.079 Running | read 88 says free: "Answering"
    921.079 Running | (DisconnectTimeout): READ 109
    921.099 Terminating | read 109 says free: "StaysDisconnected { after: Span(300000), restarted: true, connected: true }"; "Terminating { grace: Span(30000) }"; TERM to 1
    "#);
}

#[test]
fn an_agent_that_is_never_started_again_is_only_told_of() {
    let policy = Policy { restart: RestartMode::No, ..Policy::default() };
    let mut world = running(policy, Controller::default());
    world.happens(Happening::LosesChannel(Generation(1)));
    world.run(Span::seconds(2000));
    assert_snapshot!(lines_with(&world, &["Disconnect", "TERM"]), @r#"
     52.476 Running | read 7 says free: "AgentDisconnected"; remember []
    352.476 Running | (DisconnectTimeout): READ 69
    352.496 Running | read 69 says free: "StaysDisconnected { after: Span(300000), restarted: false, connected: true }"
    "#);
}

#[test]
fn a_landed_agent_without_its_channel_is_started_anew_and_stays_landed() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(Request::Land);
    world.run(Span::seconds(10));
    world.happens(Happening::LosesChannel(Generation(1)));
    world.run_until(|world| world.generations == 2 && world.core.status().connected);
    assert_snapshot!(lines_with(&world, &["Disconnect", "TERM", "Starting", "AgentConnected", "Lift"]), @r#"
     58.426 Landed | read 11 says marked by ThisRun "nonce 8": "AgentDisconnected"; remember [marked]
    358.426 Landed | (DisconnectTimeout): READ 73
    358.446 Terminating | read 73 says marked by ThisRun "nonce 8": "StaysDisconnected { after: Span(300000), restarted: true, connected: true }"; "Terminating { grace: Span(30000) }"; TERM to 1
    359.557 Starting | read 74 says marked by ThisRun "nonce 8": "Marked"; "AgentStarting"; SPAWN 2
    362.147 Landed | read 78 says marked by ThisRun "nonce 8", connected: "AgentConnected { marked: true, wished: true }"; remember [marked connected]
    "#);
}

#[test]
fn a_stop_while_an_agent_is_being_replaced_marks_the_node_first_and_waits_for_it() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(AgentPlan { term_takes: Some(Span::seconds(20)), ..AgentPlan::default() });
    world.run(Span::seconds(10));
    world.happens(Happening::LosesChannel(Generation(1)));
    world.run_until(|world| world.process.as_ref().is_some_and(|process| process.termed));
    world.trace.clear();
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    352.496 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 70
    352.516 Marking | read 70 says free: "Marking { method: ChangeCause }"; MARK 71 by ChangeCause for Stopping; remember [marked]
    352.526 ... write 71 is carried out
    352.536 Marking | write 71 accepted: READ 72
    352.556 Draining | read 72 says marked by ThisRun "nonce 71": "Marked"
    353.056 Draining | (NextLook): READ 73
    353.076 Terminating | read 73 says marked by ThisRun "nonce 71": "Terminating { grace: Span(30000) }"; TERM to 1
    372.496 Sweeping | agent 1 ended with code 143: "AgentExited, asked, was connected"; leftovers Count
    372.506 Closing | 0 left over: REAP 1; READ 74
    372.526 Finished | read 74 says marked by ThisRun "nonce 71": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn an_agent_that_keeps_hanging_slows_down_like_one_that_keeps_ending() {
    let mut policy = Policy::default();
    policy.backoff.slow_after = 2;
    let mut world = World::new(policy);
    world.plans.extend(vec![AgentPlan { connects_after: None, ..AgentPlan::default() }; 3]);
    world.run_until(|world| world.generations == 3);
    assert_snapshot!(lines_with(&world, &["Planned", "Slowing", "MARK", "LIFT"]), @r#"
    300.870 BackingOff | agent 1 ended with code 143: "AgentExited, asked"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    602.531 BackingOff | agent 2 ended with code 143: "AgentExited, asked"; REAP 2; "RestartPlanned in 277627 ms, 2 failures"; "Slowing { failures: 2 }"; READ 129
    602.551 BackingOff | read 129 says free: "Marking { method: ChangeCause }"; MARK 130 by ChangeCause for AgentFailing { failures: 2, last: Hung, again: Some(Span(300000)) }; remember [marked]
    880.178 Enabling | read 132 says marked by ThisRun "nonce 130": "Lifting by Cli"; LIFT 133 by Cli
    "#);
}

#[test]
fn a_connection_that_comes_and_goes_is_named_once_and_its_end_too() {
    let mut world = running(Policy::default(), Controller::default());
    for _ in 0..6 {
        world.happens(Happening::LosesChannel(Generation(1)));
        world.run_until(|world| world.core.status().believed.is_some_and(|view| view.connected == Some(false)));
        world.happens(Happening::Connects(Generation(1)));
        world.run_until(|world| world.core.status().believed.is_some_and(|view| view.connected == Some(true)));
    }
    assert!(world.core.status().flaps);
    world.run(Span::seconds(300));
    assert!(!world.core.status().flaps);
    assert_snapshot!(lines_with(&world, &[": \""]), @r#"
     52.476 Running | read 7 says free: "AgentDisconnected"; remember []
     52.996 Running | read 8 says free, connected: "AgentReconnected"; remember [connected]
    100.842 Running | read 9 says free: "AgentDisconnected"; remember []
    101.362 Running | read 10 says free, connected: "AgentReconnected"; remember [connected]
    149.208 Running | read 11 says free: "Flapping { losses: 3 }"; remember []
    390.518 Running | read 20 says free, connected: "FlappingOver"
    "#);
}

#[test]
fn a_dead_channel_of_our_last_run_is_closed_before_the_mark_is_lifted() {
    let mut world = dead_channel(after_kill(|_| ()));
    world.controller.set(Some(mark_of(Owner::EarlierRun, "stopped")));
    world.run(Span::seconds(10));
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says marked by EarlierRun "stopped", connected: "TakingOver"; DISCONNECT 2; remember [marked connected]
    0.030 ... write 2 is carried out
    0.040 Enabling | write 2 accepted: READ 3
    0.060 Enabling | read 3 says marked by EarlierRun "stopped": "TakenOver"; "Lifting by Cli"; LIFT 4 by Cli; remember [marked]
    0.070 ... write 4 is carried out
    0.080 Enabling | write 4 accepted: READ 5
    0.100 Starting | read 5 says free: "Lifted"; remember []; "AgentStarting"; SPAWN 1
    0.110 Running | agent 1 spawned: "AgentStarted"
    0.610 Running | (NextLook): READ 6
    0.630 Running | read 6 says free
    1.130 Running | (NextLook): READ 7
    1.150 Running | read 7 says free
    1.650 Running | (NextLook): READ 8
    1.670 Running | read 8 says free
    2.670 Running | (NextLook): READ 9
    2.690 Running | read 9 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    4.690 Running | (NextLook): READ 10
    4.710 Running | read 10 says free, connected: "Settled"
    "#);
}

#[test]
fn a_dead_channel_that_the_mark_hides_is_closed_when_it_shows() {
    let mut world = dead_channel(after_kill(|_| ()));
    world.controller = Controller {
        hides_channel: true,
        channel: Some(Generation(0)),
        ..hudson(marked(Owner::EarlierRun, "stopped"))
    };
    world.run(Span::seconds(3));
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says marked by EarlierRun "stopped", channel not told: "TakingOver"; DISCONNECT 2; remember [marked connected]
    0.030 ... write 2 is carried out
    0.040 Enabling | write 2 accepted: READ 3
    0.060 Enabling | read 3 says marked by EarlierRun "stopped", channel not told
    0.560 Enabling | (NextLook): READ 4
    0.580 Enabling | read 4 says marked by EarlierRun "stopped", channel not told: "Lifting by Toggle"; LIFT 5 by Toggle
    0.590 ... write 5 is carried out
    0.600 Enabling | write 5 accepted: READ 6
    0.620 Starting | read 6 says free: "TakenOver"; "Lifted"; remember []; "AgentStarting"; SPAWN 1
    0.630 Running | agent 1 spawned: "AgentStarted"
    1.130 Running | (NextLook): READ 7
    1.150 Running | read 7 says free
    1.650 Running | (NextLook): READ 8
    1.670 Running | read 8 says free
    2.170 Running | (NextLook): READ 9
    2.190 Running | read 9 says free
    "#);
}

#[test]
fn a_channel_is_not_touched_without_evidence_that_it_is_ours() {
    let never = after_kill(|node| node.takeover = TakeOver::Never);
    for (policy, ours) in [(Policy::default(), false), (never, true)] {
        let mut world = dead_channel(policy);
        world.run(Span(100));
        assert!(world.honest_story().contains(&format!("ChannelFound {{ ours: {ours} }}")), "{}", world.story());
    }
}

#[test]
fn a_channel_that_is_back_at_once_is_another_agents_and_not_closed_again() {
    let mut world = dead_channel(after_kill(|_| ()));
    world.run_until(|world| world.controller.channel.is_none());
    world.happens(Happening::ElsewhereConnects);
    world.run_until(|world| world.generations == 1);
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says free, connected: "TakingOver"; DISCONNECT 2
    0.030 ... write 2 is carried out
    0.030 ... an agent elsewhere connects
    0.040 Enabling | write 2 accepted: READ 3
    0.060 Enabling | read 3 says free, connected
    0.560 Enabling | (NextLook): READ 4
    0.580 Enabling | read 4 says free, connected
    1.080 Enabling | (NextLook): READ 5
    1.100 Enabling | read 5 says free, connected
    1.600 Enabling | (NextLook): READ 6
    1.620 Enabling | read 6 says free, connected
    2.120 Enabling | (NextLook): READ 7
    2.140 Enabling | read 7 says free, connected
    2.640 Enabling | (NextLook): READ 8
    2.660 Enabling | read 8 says free, connected
    3.160 Enabling | (NextLook): READ 9
    3.180 Starting | read 9 says free, connected: "ChannelReturned"; "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    "#);
}

#[test]
fn a_takeover_that_is_refused_for_good_is_given_up() {
    let mut world = dead_channel(after_kill(|_| ()));
    world.controller.refuses_writes = Some(FailureKind::Forbidden);
    world.run(Span::seconds(8));
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says free, connected: "TakingOver"; DISCONNECT 2
    0.030 ... write 2 is carried out
    0.040 Enabling | write 2 failed: Forbidden: "Waiting 2500 ms: Forbidden"
    2.540 Enabling | (RetryRequest): READ 3
    2.560 Enabling | read 3 says free, connected: "TakingOver"; DISCONNECT 4
    2.570 ... write 4 is carried out
    2.580 Enabling | write 4 failed: Forbidden
    5.080 Enabling | (RetryRequest): READ 5
    5.100 Enabling | read 5 says free, connected: "TakingOver"; DISCONNECT 6
    5.110 ... write 6 is carried out
    5.120 Enabling | write 6 failed: Forbidden: "TakeOverFailed"; READ 7
    5.140 Starting | read 7 says free, connected: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    5.150 Running | agent 1 spawned: "AgentStarted"
    5.650 Running | (NextLook): READ 8
    5.670 Running | read 8 says free, connected
    6.170 Running | (NextLook): READ 9
    6.190 Running | read 9 says free, connected
    6.690 Running | (NextLook): READ 10
    6.710 Running | read 10 says free, connected
    7.150 BackingOff | agent 1 ended with code 1: "AgentExited"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    7.941 Enabling | (RestartDelay): READ 11
    7.961 Starting | read 11 says free, connected: "OldChannelHeld"; "NodeFree"; "AgentStarting"; SPAWN 2
    7.971 Running | agent 2 spawned: "AgentStarted"
    "#);
}

#[test]
fn a_takeover_whose_answer_is_lost_is_looked_after_and_not_repeated() {
    let mut world = dead_channel(after_kill(|_| ()));
    world.fates.push_back(Fate::Answered(Span(10), Span(10)));
    world.fates.push_back(Fate::Lost(Some(Span(10))));
    world.run(Span::seconds(15));
    assert_snapshot!(world.honest_story(), @r#"
     0.000 Enabling | begin: READ 1
     0.020 Enabling | read 1 says free, connected: "TakingOver"; DISCONNECT 2
     0.030 ... write 2 is carried out
    10.020 Enabling | write 2 of unknown outcome: "OutcomeUnknown"; READ 3
    10.040 Starting | read 3 says free: "TakenOver"; "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    10.050 Running | agent 1 spawned: "AgentStarted"
    10.550 Running | (NextLook): READ 4
    10.570 Running | read 4 says free
    11.070 Running | (NextLook): READ 5
    11.090 Running | read 5 says free
    11.590 Running | (NextLook): READ 6
    11.610 Running | read 6 says free
    12.610 Running | (NextLook): READ 7
    12.630 Running | read 7 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    14.630 Running | (NextLook): READ 8
    14.650 Running | read 8 says free, connected: "Settled"
    "#);
}

#[test]
fn a_stop_does_not_wait_for_a_takeover() {
    let mut world = dead_channel(after_kill(|_| ()));
    world.fates.push_back(Fate::Answered(Span(10), Span(10)));
    world.fates.push_back(Fate::Lost(None));
    world.run(Span(100));
    world.ask(TERM);
    assert_snapshot!(end(world), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says free, connected: "TakingOver"; DISCONNECT 2
    0.100 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: false }"
    5.100 Marking | (AbandonWrite): CANCEL 2; "OutcomeUnknown"; READ 3
    5.120 Marking | read 3 says free, connected: "Marking { method: ChangeCause }"; MARK 4 by ChangeCause for Stopping; remember [marked connected]
    5.130 ... write 4 is carried out
    5.140 Marking | write 4 accepted: READ 5
    5.160 Closing | read 5 says marked by ThisRun "nonce 4", connected: "Marked"; READ 6
    5.180 Finished | read 6 says marked by ThisRun "nonce 4", connected: FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_channel_that_is_held_for_longer_than_a_dead_one_is_another_agents() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::Ends(Generation(1), Exit::Code(1)));
    world.happens(Happening::ElsewhereConnects);
    assert_eq!(world.controller.channel, Some(ELSEWHERE));
    world.run_until(|world| world.story().contains("NameTaken"));
    let told = world.now;
    assert!(told.0 > 16 * 60_000, "{told:?}");
    world.run(Span::seconds(3000));
    assert_eq!(world.honest_story().matches("NameTaken").count(), 1);
}

#[test]
fn the_mark_of_another_wrapper_that_comes_back_again_and_again_is_left_to_it() {
    let mut world = running(Policy::default(), Controller::default());
    for _ in 0..3 {
        world.happens(Happening::Interferes(Some(mark_of(Owner::EarlierRun, "stopping on another host"))));
        world.run(Span::seconds(90));
    }
    world.run(Span::seconds(300));
    assert_snapshot!(lines_with(&world, &["Stray", "Rival", "LIFT", "Interferes"]), @r#"
     52.476 Running | read 7 says marked by EarlierRun "stopping on another host", connected: "StrayMark marked by EarlierRun "stopping on another host""; LIFT 8 by Cli; remember [marked connected]
    100.362 Running | read 10 says marked by EarlierRun "stopping on another host", connected: "StrayMark marked by EarlierRun "stopping on another host""; LIFT 11 by Cli; remember [marked connected]
    196.094 Running | read 14 says marked by EarlierRun "stopping on another host", connected: "RivalMark marked by EarlierRun "stopping on another host""; remember [marked connected]
    "#);
    world.trace.clear();
    world.ask(Request::TakeOff);
    world.run(Span(100));
    assert_snapshot!(world.honest_story(), @r#"
    580.000 Running | asked for TakeOff: "Done"; READ 23
    580.020 Running | read 23 says marked by EarlierRun "stopping on another host", connected: "Lifting by Cli"; LIFT 24 by Cli
    580.030 ... write 24 is carried out
    580.040 Running | write 24 accepted: READ 25
    580.060 Running | read 25 says free, connected: "Lifted"; remember [connected]
    "#);
}

#[test]
fn who_takes_off_when_all_marks_were_lifted_changes_nothing() {
    let mut world = running(Policy::default(), Controller::default());
    for _ in 0..2 {
        world.happens(Happening::Interferes(Some(mark_of(Owner::EarlierRun, "stopping on another host"))));
        world.run(Span::seconds(90));
    }
    world.trace.clear();
    world.ask(Request::TakeOff);
    world.run(Span(100));
    assert!(world.honest_story().contains("\"Already\""), "{}", world.story());
}

#[test]
fn a_takeover_that_never_reached_the_controller_is_tried_again() {
    let mut world = dead_channel(after_kill(|_| ()));
    world.fates.push_back(Fate::Answered(Span(10), Span(10)));
    world.fates.push_back(Fate::Fails(FailureKind::Unavailable));
    world.run(Span::seconds(2));
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Enabling | read 1 says free, connected: "TakingOver"; DISCONNECT 2
    0.040 Enabling | write 2 failed: Unavailable: "Waiting 963 ms: Unavailable"
    1.003 Enabling | (RetryRequest): READ 3
    1.023 Enabling | read 3 says free, connected: "TakingOver"; DISCONNECT 4
    1.033 ... write 4 is carried out
    1.043 Enabling | write 4 accepted: READ 5
    1.063 Starting | read 5 says free: "TakenOver"; "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    1.073 Running | agent 1 spawned: "AgentStarted"
    1.573 Running | (NextLook): READ 6
    1.593 Running | read 6 says free
    "#);
}

#[test]
fn a_start_that_is_stopped_before_its_agent_keeps_what_is_known_of_the_run_before() {
    let mut world = dead_channel(after_kill(|_| ()));
    world.controller.down = true;
    world.run(Span::seconds(3));
    world.ask(TERM);
    let story = end(world);
    assert!(!story.contains("stopped]"), "{story}");
}
