//! Another jar is offered while an agent runs: it is started anew when it is idle, and no build suffers by it.

use agent_wrap_supervisor::{FailureKind, Generation, Goal, OfflinePolicy, Owner, Phase, Policy, Request, Span};
use insta::assert_snapshot;

use super::{TERM, end, node, running};
use crate::world::controller::{Controller, mark_of};
use crate::world::{Happening, World};

const OFFER: Happening = Happening::OffersJar(Generation(1));

fn offered() -> World {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(OFFER);
    world
}

fn renewals(world: &World) -> usize {
    world.honest_story().matches("RenewingJar").count()
}

/// An idle agent that is being started anew, in this phase.
fn renewing(phase: Phase) -> World {
    let mut world = offered();
    world.run_until(|world| world.core.status().phase == phase);
    assert_eq!(world.core.status().goal, Some(Goal::Restart));
    world
}

#[test]
fn an_idle_agent_is_started_anew() {
    let mut world = offered();
    world.run(Span::seconds(5));
    assert_snapshot!(world.honest_story(), @r#"
    10.000 Running | another jar than that of agent 1 is offered: READ 7
    10.020 Marking | read 7 says free, connected: "RenewingJar"; READ 8
    10.040 Marking | read 8 says free, connected: "Marking { method: ChangeCause }"; MARK 9 by ChangeCause for Restarting; remember [marked connected]
    10.050 ... write 9 is carried out
    10.060 Marking | write 9 accepted: READ 10
    10.080 Draining | read 10 says marked by ThisRun "nonce 9", connected: "Marked"
    10.580 Draining | (NextLook): READ 11
    10.600 Terminating | read 11 says marked by ThisRun "nonce 9", connected: "Terminating { grace: Span(30000) }"; TERM to 1
    10.900 Enabling | agent 1 ended with code 143: "AgentExited, asked, was connected"; REAP 1; READ 12
    10.920 Enabling | read 12 says marked by ThisRun "nonce 9": "Lifting by Cli"; LIFT 13 by Cli; remember [marked]
    10.930 ... write 13 is carried out
    10.940 Enabling | write 13 accepted: READ 14
    10.960 Starting | read 14 says free: "Lifted"; remember []; "AgentStarting"; SPAWN 2
    10.970 Running | agent 2 spawned: "AgentStarted"
    11.470 Running | (NextLook): READ 15
    11.490 Running | read 15 says free
    11.990 Running | (NextLook): READ 16
    12.010 Running | read 16 says free
    12.510 Running | (NextLook): READ 17
    12.530 Running | read 17 says free
    13.530 Running | (NextLook): READ 18
    13.550 Running | read 18 says free, connected: "AgentConnected { marked: false, wished: false }"; remember [connected]
    "#);
}

#[test]
fn builds_are_waited_for_before_the_node_is_marked() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::BuildBegins);
    world.happens(OFFER);
    world.run(Span::seconds(3000));
    assert_eq!(renewals(&world), 0);
    assert!(!world.honest_story().contains("MARK"));
    world.happens(Happening::BuildEnds);
    world.run(Span::seconds(100));
    assert_eq!((renewals(&world), world.generations), (1, 2));
}

#[test]
fn a_build_that_begins_in_the_gap_is_not_cut_and_the_node_takes_more() {
    for drain in [Span::ZERO, Span::seconds(300)] {
        let mut world = running(Policy { drain, ..Policy::default() }, Controller::default());
        world.happens(OFFER);
        world.run_until(|world| world.core.status().phase == Phase::Marking);
        world.happens(Happening::BuildBegins);
        world.run(Span::seconds(3000));
        let story = world.honest_story();
        assert!(story.contains("RenewalPutOff { until_idle: true }") && story.contains("Lifted"), "{story}");
        assert!(!story.contains("TERM") && world.controller.mark.is_none(), "{story}");
        world.happens(Happening::BuildEnds);
        world.run(Span::seconds(100));
        assert_eq!((renewals(&world), world.generations), (2, 2));
    }
}

#[test]
fn a_node_that_cannot_be_marked_is_left_alone_for_good() {
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::RefusesWrites(Some(FailureKind::Forbidden)));
    world.happens(OFFER);
    world.run(Span::seconds(3000));
    let story = world.honest_story();
    assert!(story.contains("RenewalPutOff { until_idle: false }") && !story.contains("TERM"), "{story}");
    assert_eq!((renewals(&world), world.generations), (1, 1));
}

#[test]
fn it_waits_for_more_than_an_idle_node() {
    // Not where nothing is marked: a build could come at any moment.
    let mut world = running(node(|node| node.offline = OfflinePolicy::Never), Controller::default());
    world.happens(OFFER);
    world.run(Span::seconds(300));
    assert_eq!(renewals(&world), 0);
    // Not while somebody else keeps the node marked, who may be working there.
    let mut world = running(Policy::default(), Controller::default());
    world.happens(Happening::Interferes(Some(mark_of(Owner::Foreign, "broken disk"))));
    world.happens(OFFER);
    world.run(Span::seconds(300));
    assert_eq!(renewals(&world), 0);
    world.happens(Happening::Interferes(None));
    world.run(Span::seconds(300));
    assert_eq!((renewals(&world), world.generations), (1, 2));
    // Not while landed.
    let mut world = running(Policy::default(), Controller::default());
    world.ask(Request::Land);
    world.run(Span::seconds(5));
    world.happens(OFFER);
    world.run(Span::seconds(300));
    assert_eq!(renewals(&world), 0);
    world.ask(Request::TakeOff);
    world.run(Span::seconds(30));
    assert_eq!((renewals(&world), world.generations), (1, 2));
    // And what is said of an agent that is over is no news of the next one.
    world.happens(OFFER);
    world.run(Span::seconds(300));
    assert_eq!(renewals(&world), 1);
}

#[test]
fn an_offer_counts_once_for_an_agent() {
    let mut world = renewing(Phase::Draining);
    world.ask(Request::TakeOff);
    world.run(Span::seconds(100));
    world.happens(OFFER);
    world.run(Span::seconds(300));
    assert_eq!((renewals(&world), world.generations), (1, 1));
    assert!(world.controller.mark.is_none());
}

#[test]
fn whoever_asks_for_something_meanwhile_gets_it() {
    for phase in [Phase::Marking, Phase::Draining] {
        let mut world = renewing(phase);
        world.ask(Request::Land);
        world.run(Span::seconds(100));
        assert_eq!((world.core.status().phase, world.generations), (Phase::Landed, 1), "{phase:?}");

        // A restart that somebody wants does not shrink back from a build.
        let mut world = renewing(phase);
        world.ask(Request::Restart);
        world.run(Span::seconds(100));
        assert_eq!((world.core.status().phase, world.generations), (Phase::Running, 2), "{phase:?}");
        assert!(!world.honest_story().contains("RenewalPutOff"));

        if phase == Phase::Marking {
            let mut world = renewing(phase);
            world.ask(Request::Restart);
            world.happens(Happening::BuildBegins);
            world.run(Span::seconds(10));
            assert_eq!(world.core.status().phase, Phase::Draining, "{}", world.honest_story());
        }

        let mut world = renewing(phase);
        world.ask(TERM);
        let story = end(world);
        assert!(story.contains("FINISH Stopped { killed: false, confirmed: true }"), "{phase:?}: {story}");
    }
    let mut world = renewing(Phase::Terminating);
    world.ask(Request::Land);
    world.run(Span::seconds(100));
    assert_eq!((world.core.status().phase, world.generations), (Phase::Landed, 2));
}

#[test]
fn a_hold_file_that_appears_meanwhile_keeps_the_agent_and_the_mark() {
    for phase in [Phase::Marking, Phase::Draining] {
        let mut world = renewing(phase);
        world.happens(Happening::Hold(Some("new disk".into())));
        assert_eq!(world.core.status().goal, Some(Goal::Land), "{phase:?}");
        world.run(Span::seconds(30));
        world.honest_story();
        assert_eq!((world.core.status().phase, world.generations), (Phase::Landed, 1), "{phase:?}");
        assert!(world.controller.mark.is_some(), "{phase:?}");
    }
}
