//! An operator's hold file: before the start, while it runs, and beside everything else that may be asked for.

use agent_wrap_supervisor::{Exit, Generation, Owner, Phase, Policy, Request, Span};
use insta::assert_snapshot;

use super::{TERM, lines_with, marked, node, running};
use crate::world::agent::AgentPlan;
use crate::world::controller::{Controller, mark_of};
use crate::world::{Happening, World};

fn hold(words: &str) -> Happening {
    Happening::Hold(Some(words.into()))
}

#[test]
fn a_hold_file_keeps_the_node_offline_from_the_start() {
    let mut world = World::new(node(|node| node.hold = Some("new disk".into())));
    world.run(Span::seconds(10));
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: "HoldSet { words: "new disk" }"; READ 1
    0.020 Enabling | read 1 says free: "Marking { method: ChangeCause }"; MARK 2 by ChangeCause for Held("new disk"); remember [marked stopped]
    0.030 ... write 2 is carried out
    0.040 Enabling | write 2 accepted: READ 3
    0.060 Starting | read 3 says marked by ThisRun "nonce 2": "Marked"; remember [marked]; "AgentStarting"; SPAWN 1
    0.070 Landed | agent 1 spawned: "AgentStarted"
    0.570 Landed | (NextLook): READ 4
    0.590 Landed | read 4 says marked by ThisRun "nonce 2"
    1.090 Landed | (NextLook): READ 5
    1.110 Landed | read 5 says marked by ThisRun "nonce 2"
    1.610 Landed | (NextLook): READ 6
    1.630 Landed | read 6 says marked by ThisRun "nonce 2"
    2.630 Landed | (NextLook): READ 7
    2.650 Landed | read 7 says marked by ThisRun "nonce 2", connected: "AgentConnected { marked: true, wished: true }"; remember [marked connected]
    "#);
    world.trace.clear();
    world.ask(Request::TakeOff);
    world.happens(Happening::Hold(None));
    world.run(Span::seconds(1));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 Landed | asked for TakeOff: "Held"
    10.000 Running | the hold file is gone: "HoldLifted"; READ 8
    10.020 Running | read 8 says marked by ThisRun "nonce 2", connected: "Lifting by Cli"; LIFT 9 by Cli
    10.030 ... write 9 is carried out
    10.040 Running | write 9 accepted: READ 10
    10.060 Running | read 10 says free, connected: "Lifted"; remember [connected]
    "#);
}

#[test]
fn a_hold_file_that_appears_waits_for_what_runs() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.happens(hold("new disk"));
    world.run(Span::seconds(400));
    world.happens(hold("new disk, from Monday"));
    world.happens(Happening::BuildEnds);
    world.run(Span::seconds(20));
    assert_snapshot!(lines_with(&world, &[": \"", "MARK"]), @r#"
     10.000 Marking | held: new disk: "HoldSet { words: "new disk" }"; READ 7
     10.020 Marking | read 7 says free, connected, 1 builds: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Held("new disk"); remember [marked connected]
     10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected, 1 builds: "Marked"; "Draining 1"
    410.000 Draining | held: new disk, from Monday: "HoldSet { words: "new disk, from Monday" }"; READ 94
    410.020 Draining | read 94 says marked by ThisRun "nonce 8", connected: "Marking { method: ChangeCause }"; MARK 95 by ChangeCause for Held("new disk, from Monday")
    410.580 Landed | read 97 says marked by ThisRun "nonce 95", connected: "Drained"; "Landed"; READ 98
    "#);
}

#[test]
fn a_hold_file_that_goes_while_builds_are_waited_for_takes_the_drain_back() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.happens(hold("new disk"));
    world.run(Span::seconds(5));
    world.trace.clear();
    world.happens(Happening::Hold(None));
    world.run(Span::seconds(1));
    assert_snapshot!(world.honest_story(), @r#"
    15.000 Running | the hold file is gone: "HoldLifted"; READ 13
    15.020 Running | read 13 says marked by ThisRun "nonce 8", connected, 1 builds: "Lifting by Cli"; LIFT 14 by Cli
    15.030 ... write 14 is carried out
    15.040 Running | write 14 accepted: READ 15
    15.060 Running | read 15 says free, connected, 1 builds: "Lifted"; remember [connected]
    "#);
}

#[test]
fn what_was_landed_by_request_stays_so_when_the_hold_file_goes() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(hold("new disk"));
    world.run(Span::seconds(5));
    world.ask(Request::Land);
    world.happens(Happening::Hold(None));
    world.run(Span::seconds(1));
    assert_snapshot!(lines_with(&world, &[": \"", "MARK", "LIFT"]), @r#"
    10.000 Marking | held: new disk: "HoldSet { words: "new disk" }"; READ 7
    10.020 Marking | read 7 says free, connected: "Marking { method: ChangeCause }"; MARK 8 by ChangeCause for Held("new disk"); remember [marked connected]
    10.060 Draining | read 9 says marked by ThisRun "nonce 8", connected: "Marked"
    10.580 Landed | read 10 says marked by ThisRun "nonce 8", connected: "Landed"; READ 11
    15.000 Landed | asked for Land: "Done"
    15.000 Landed | the hold file is gone: "HoldLifted"; READ 12
    15.020 Landed | read 12 says marked by ThisRun "nonce 8", connected: "Marking { method: ChangeCause }"; MARK 13 by ChangeCause for Landed
    "#);
}

#[test]
fn a_held_nodes_mark_that_vanishes_is_set_again_and_then_left_to_whoever_lifts_it() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(hold("new disk"));
    world.run(Span::seconds(5));
    world.trace.clear();
    for _ in 0..4 {
        world.happens(Happening::Interferes(None));
        world.run(Span::seconds(70));
    }
    assert_snapshot!(lines_with(&world, &[": \"", "MARK", "LIFT"]), @r#"
     58.446 Landed | read 12 says free, connected: "MarkVanished"; "Marking { method: ChangeCause }"; MARK 13 by ChangeCause for Held("new disk")
    106.332 Landed | read 15 says free, connected: "MarkVanished"; "Marking { method: ChangeCause }"; MARK 16 by ChangeCause for Held("new disk")
    202.064 Landed | read 19 says free, connected: "MarkVanished"; "Marking { method: ChangeCause }"; MARK 20 by ChangeCause for Held("new disk")
    249.950 Running | read 22 says free, connected: "TakenBack"; READ 23; remember [connected]
    "#);
    world.trace.clear();
    world.happens(hold("new disk and new room"));
    world.run(Span::seconds(5));
    assert_snapshot!(lines_with(&world, &[": \"", "MARK", "LIFT"]), @r#"
    295.000 Marking | held: new disk and new room: "HoldSet { words: "new disk and new room" }"; READ 24
    295.020 Marking | read 24 says free, connected: "Marking { method: ChangeCause }"; MARK 25 by ChangeCause for Held("new disk and new room"); remember [marked connected]
    295.060 Draining | read 26 says marked by ThisRun "nonce 25", connected: "Marked"
    295.580 Landed | read 27 says marked by ThisRun "nonce 25", connected: "Landed"; READ 28
    "#);
}

#[test]
fn an_agent_of_a_held_node_is_started_again_and_stays_marked() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(hold("new disk"));
    world.run(Span::seconds(5));
    world.trace.clear();
    world.happens(Happening::Ends(Generation(1), Exit::Code(1)));
    world.run(Span::seconds(5));
    assert_snapshot!(lines_with(&world, &[": \"", "MARK", "LIFT"]), @r#"
    15.000 BackingOff | agent 1 ended with code 1: "AgentExited, was connected"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    15.811 Starting | read 12 says marked by ThisRun "nonce 8": "Marked"; remember [marked]; "AgentStarting"; SPAWN 2
    15.821 Landed | agent 2 spawned: "AgentStarted"
    18.401 Landed | read 16 says marked by ThisRun "nonce 8", connected: "AgentConnected { marked: true, wished: true }"; remember [marked connected]
    "#);
}

#[test]
fn a_stop_of_a_held_node_leaves_what_the_file_says_as_the_reason() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(hold("new disk"));
    world.run(Span::seconds(5));
    world.trace.clear();
    world.ask(TERM);
    world.run_to_the_end();
    assert_snapshot!(lines_with(&world, &["MARK", "Stopping", "FINISH"]), @r#"
    15.000 Marking | asked for Stop(Terminate): "Stopping { source: Terminate, agent: true }"; READ 12
    15.870 Finished | read 14 says marked by ThisRun "nonce 8": remember [marked stopped]; FINISH Stopped { killed: false, confirmed: true }
    "#);
}

#[test]
fn a_hold_file_that_appears_while_an_agent_is_replaced_marks_the_node_at_once() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(AgentPlan { term_takes: Some(Span::seconds(20)), ..AgentPlan::default() });
    world.run(Span::seconds(10));
    world.happens(Happening::LosesChannel(Generation(1)));
    world.run_until(|world| world.process.as_ref().is_some_and(|process| process.termed));
    world.trace.clear();
    world.happens(hold("new disk"));
    world.run(Span::seconds(25));
    assert_snapshot!(world.honest_story(), @r#"
    352.496 Terminating | held: new disk: "HoldSet { words: "new disk" }"; READ 70
    352.516 Terminating | read 70 says free: "Marking { method: ChangeCause }"; MARK 71 by ChangeCause for Held("new disk"); remember [marked]
    352.526 ... write 71 is carried out
    352.536 Terminating | write 71 accepted: READ 72
    352.556 Terminating | read 72 says marked by ThisRun "nonce 71": "Marked"
    372.496 BackingOff | agent 1 ended with code 143: "AgentExited, asked, was connected"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    373.287 Enabling | (RestartDelay): READ 73
    373.307 Starting | read 73 says marked by ThisRun "nonce 71": "Marked"; "AgentStarting"; SPAWN 2
    373.317 Landed | agent 2 spawned: "AgentStarted"
    373.817 Landed | (NextLook): READ 74
    373.837 Landed | read 74 says marked by ThisRun "nonce 71"
    374.337 Landed | (NextLook): READ 75
    374.357 Landed | read 75 says marked by ThisRun "nonce 71"
    374.857 Landed | (NextLook): READ 76
    374.877 Landed | read 76 says marked by ThisRun "nonce 71"
    375.877 Landed | (NextLook): READ 77
    375.897 Landed | read 77 says marked by ThisRun "nonce 71", connected: "AgentConnected { marked: true, wished: true }"; remember [marked connected]
    "#);
}

#[test]
fn a_hold_file_that_is_gone_before_the_replaced_agent_leaves_nothing_behind() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(AgentPlan { term_takes: Some(Span::seconds(20)), ..AgentPlan::default() });
    world.run(Span::seconds(10));
    world.happens(Happening::LosesChannel(Generation(1)));
    world.run_until(|world| world.process.as_ref().is_some_and(|process| process.termed));
    world.happens(hold("new disk"));
    world.run(Span::seconds(5));
    world.trace.clear();
    world.happens(Happening::Hold(None));
    world.run(Span::seconds(20));
    assert_snapshot!(world.honest_story(), @r#"
    357.496 Terminating | the hold file is gone: "HoldLifted"
    372.496 BackingOff | agent 1 ended with code 143: "AgentExited, asked, was connected"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    373.287 Enabling | (RestartDelay): READ 73
    373.307 Enabling | read 73 says marked by ThisRun "nonce 71": "Lifting by Cli"; LIFT 74 by Cli
    373.317 ... write 74 is carried out
    373.327 Enabling | write 74 accepted: READ 75
    373.347 Starting | read 75 says free: "Lifted"; remember []; "AgentStarting"; SPAWN 2
    373.357 Running | agent 2 spawned: "AgentStarted"
    373.857 Running | (NextLook): READ 76
    373.877 Running | read 76 says free
    374.377 Running | (NextLook): READ 77
    374.397 Running | read 77 says free
    374.897 Running | (NextLook): READ 78
    374.917 Running | read 78 says free
    375.917 Running | (NextLook): READ 79
    375.937 Running | read 79 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    "#);
}

/// A drain for a hold file, with a build that goes on.
fn draining_for_a_hold() -> World {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.happens(hold("new disk"));
    world.run(Span::seconds(5));
    world.trace.clear();
    world
}

#[test]
fn who_lands_while_a_hold_file_drains_stays_landed_after_it() {
    let mut world = draining_for_a_hold();
    world.ask(Request::Land);
    world.happens(Happening::Hold(None));
    world.happens(Happening::BuildEnds);
    world.run(Span::seconds(10));
    assert_snapshot!(lines_with(&world, &[": \"", "MARK", "LIFT"]), @r#"
    15.000 Draining | asked for Land: "Done"
    15.000 Draining | the hold file is gone: "HoldLifted"; READ 13
    15.020 Draining | read 13 says marked by ThisRun "nonce 8", connected: "Marking { method: ChangeCause }"; MARK 14 by ChangeCause for Landed
    15.580 Landed | read 16 says marked by ThisRun "nonce 14", connected: "Drained"; "Landed"
    "#);
}

#[test]
fn a_hold_file_that_appears_while_it_lands_by_request_changes_nothing_of_that() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(Request::Land);
    world.run(Span::seconds(5));
    world.trace.clear();
    world.happens(hold("new disk"));
    world.happens(Happening::Hold(None));
    world.happens(Happening::BuildEnds);
    world.run(Span::seconds(10));
    assert_snapshot!(lines_with(&world, &[": \"", "MARK", "LIFT"]), @r#"
    15.000 Draining | held: new disk: "HoldSet { words: "new disk" }"; READ 13
    15.000 Draining | the hold file is gone: "HoldLifted"; CANCEL 13; READ 14
    15.540 Landed | read 15 says marked by ThisRun "nonce 8", connected: "Drained"; "Landed"
    "#);
}

#[test]
fn a_hold_file_that_says_something_else_while_it_drains_is_no_request_to_land() {
    let mut world = draining_for_a_hold();
    world.happens(hold("new disk and new room"));
    world.happens(Happening::Hold(None));
    world.run(Span::seconds(1));
    assert_snapshot!(lines_with(&world, &[": \"", "MARK", "LIFT"]), @r#"
    15.000 Draining | held: new disk and new room: "HoldSet { words: "new disk and new room" }"; READ 13
    15.000 Running | the hold file is gone: "HoldLifted"; CANCEL 13; READ 14
    15.020 Running | read 14 says marked by ThisRun "nonce 8", connected, 1 builds: "Lifting by Cli"; LIFT 15 by Cli
    15.060 Running | read 16 says free, connected, 1 builds: "Lifted"; remember [connected]
    "#);
}

#[test]
fn a_restart_that_a_hold_file_meets_can_be_taken_back_and_the_agent_stays() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.ask(Request::Restart);
    world.run(Span::seconds(3));
    world.happens(hold("new disk"));
    world.ask(Request::TakeOff);
    world.happens(Happening::BuildEnds);
    world.run(Span::seconds(400));
    world.honest_story();
    assert_eq!((world.core.status().phase, world.generations), (Phase::Landed, 1));
}

#[test]
fn what_a_hold_file_says_is_put_on_the_mark_of_an_earlier_run_too() {
    let mut world = World::with(node(|node| node.hold = Some("new disk".into())), marked(Owner::EarlierRun, "stopped"));
    world.run(Span(200));
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: "HoldSet { words: "new disk" }"; READ 1
    0.020 Enabling | read 1 says marked by EarlierRun "stopped": "Marking { method: ChangeCause }"; MARK 2 by ChangeCause for Held("new disk"); remember [marked stopped]
    0.030 ... write 2 is carried out
    0.040 Enabling | write 2 accepted: READ 3
    0.060 Starting | read 3 says marked by ThisRun "nonce 2": "Marked"; remember [marked]; "AgentStarting"; SPAWN 1
    0.070 Landed | agent 1 spawned: "AgentStarted"
    "#);
}

#[test]
fn the_same_words_after_somebody_has_lifted_the_mark_mean_nothing_new() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(hold("new disk"));
    for _ in 0..4 {
        world.run(Span::seconds(90));
        world.happens(Happening::Interferes(None));
    }
    world.run(Span::seconds(90));
    assert_eq!(world.core.status().hold, None);
    world.trace.clear();
    world.happens(hold("new disk"));
    world.happens(Happening::Hold(None));
    world.run(Span::seconds(1));
    assert_snapshot!(world.honest_story(), @r#"
    460.000 Running | held: new disk
    460.000 Running | the hold file is gone: "HoldLifted"
    "#);
}

#[test]
fn a_hold_file_that_goes_while_an_agent_keeps_failing_leaves_its_failing_as_the_reason() {
    let mut policy = Policy::default();
    policy.backoff.slow_after = 1;
    let mut world = World::new(policy);
    world.plans.push_back(AgentPlan { ends: Some((Span(100), Exit::Code(1))), ..AgentPlan::default() });
    world.run(Span::seconds(1));
    world.happens(hold("new disk"));
    world.run(Span::seconds(1));
    world.trace.clear();
    world.happens(Happening::Hold(None));
    world.run(Span::seconds(1));
    assert_snapshot!(lines_with(&world, &[": \"", "MARK"]), @r#"
    2.000 BackingOff | the hold file is gone: "HoldLifted"; READ 8
    2.020 BackingOff | read 8 says marked by ThisRun "nonce 6": "Marking { method: ChangeCause }"; MARK 9 by ChangeCause for AgentFailing { failures: 1, last: Exited { exit: Code(1), connected: false }, again: Some(Span(300000)) }
    2.060 BackingOff | read 10 says marked by ThisRun "nonce 9": "Marked"
    "#);
    world.happens(hold("new room"));
    world.ask(Request::TakeOff);
    world.run(Span::seconds(1));
    assert_eq!(world.generations, 2);
}

#[test]
fn marks_of_others_on_a_held_node_are_told_of() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(hold("new disk"));
    world.run(Span::seconds(5));
    world.trace.clear();
    world.happens(Happening::Interferes(Some(mark_of(Owner::Foreign, "bob took over"))));
    world.run(Span::seconds(180));
    world.happens(Happening::Interferes(None));
    world.run(Span::seconds(60));
    assert_snapshot!(lines_with(&world, &[": \"", "MARK"]), @r#"
     58.446 Landed | read 12 says marked by Foreign "bob took over", connected: "MarkedAlready marked by Foreign "bob took over""
    201.984 Landed | read 15 says free, connected: "ForeignMarkGone"; "Marking { method: ChangeCause }"; MARK 16 by ChangeCause for Held("new disk")
    "#);
}
