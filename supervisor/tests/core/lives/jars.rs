//! A new jar whose agent dies at once.

use agent_wrap_supervisor::{Backoff, Exit, FailureKind, IfRefused, OfflinePolicy, Phase, Policy, RestartMode, Span};
use insta::assert_snapshot;

use super::{TERM, end, node};
use crate::world::agent::AgentPlan;
use crate::world::{Fate, Happening, World};

/// An agent with a new jar that ends by itself after a tenth of a second.
fn dying() -> AgentPlan {
    AgentPlan { new_jar: true, ends: Some((Span(100), Exit::Code(1))), connects_after: None, ..AgentPlan::default() }
}

fn world(policy: Policy, plan: AgentPlan) -> World {
    let mut world = World::new(policy);
    world.plans.push_back(plan);
    world
}

/// How often the jar of the first agent is rejected within a minute.
fn rejections(mut world: World) -> usize {
    world.run(Span::seconds(60));
    world.honest_story().matches("REJECT the jar of 1").count()
}

#[test]
fn it_is_rejected_once_a_read_has_shown_that_the_controller_is_not_to_blame() {
    let mut world = world(Policy::default(), dying());
    world.run(Span::seconds(3));
    assert_snapshot!(world.honest_story(), @r#"
    0.000 Enabling | begin: READ 1
    0.020 Starting | read 1 says free: "NodeFree"; remember []; "AgentStarting"; SPAWN 1
    0.030 Running | agent 1 spawned: "AgentStarted"
    0.130 BackingOff | agent 1 ended with code 1: "AgentExited"; REAP 1; "RestartPlanned in 791 ms, 1 failures"
    0.921 Enabling | (RestartDelay): READ 2
    0.941 Starting | read 2 says free: "NodeFree"; REJECT the jar of 1; "AgentStarting"; SPAWN 2
    0.951 Running | agent 2 spawned: "AgentStarted"
    1.451 Running | (NextLook): READ 3
    1.471 Running | read 3 says free
    1.971 Running | (NextLook): READ 4
    1.991 Running | read 4 says free
    2.491 Running | (NextLook): READ 5
    2.511 Running | read 5 says free
    "#);
}

#[test]
fn it_is_rejected_with_whatever_code_it_ends() {
    for code in [0, 1, 255] {
        let plan = AgentPlan { ends: Some((Span(100), Exit::Code(code))), ..dying() };
        assert_eq!(rejections(world(Policy::default(), plan)), 1, "{code}");
    }
}

#[test]
fn only_a_new_jar_that_was_never_seen_connected_is_rejected() {
    let old = AgentPlan { new_jar: false, ..dying() };
    let killed = AgentPlan { ends: Some((Span(100), Exit::Signal(9))), ..dying() };
    let connected =
        AgentPlan { connects_after: Some(Span(100)), ends: Some((Span::seconds(5), Exit::Code(1))), ..dying() };
    let later = AgentPlan { ends: Some((Span::seconds(11), Exit::Code(1))), ..dying() };
    for (name, plan) in [("old", old), ("killed", killed), ("connected", connected), ("later", later)] {
        assert_eq!(rejections(world(Policy::default(), plan)), 0, "{name}");
    }
}

#[test]
fn who_dies_in_a_stop_is_not_judged() {
    let mut world = world(Policy::default(), AgentPlan { ends: Some((Span(600), Exit::Code(1))), ..dying() });
    world.plan(Span(550), Happening::Ask(TERM));
    let story = end(world);
    assert!(!story.contains("REJECT"), "{story}");
}

#[test]
fn a_controller_that_is_down_is_to_blame() {
    // Before the agent's end, and noticed after it.
    let mut down = world(Policy::default(), dying());
    down.plan(Span(50), Happening::GoesDown);
    down.plan(Span::seconds(20), Happening::ComesUp);
    assert_eq!(rejections(down), 0);
    // Before it, and not after it any more.
    let mut blinking = world(Policy::default(), AgentPlan { ends: Some((Span(600), Exit::Code(1))), ..dying() });
    blinking.fates.extend([Fate::Answered(Span(10), Span(10)), Fate::Fails(FailureKind::Unavailable)]);
    assert_eq!(rejections(blinking), 0);
    // One that is just coming up refuses good credentials for moments.
    let mut refusing = world(Policy::default(), dying());
    refusing.plan(Span(50), Happening::RefusesReads(Some(FailureKind::Unauthenticated)));
    refusing.plan(Span::seconds(2), Happening::RefusesReads(None));
    assert_eq!(rejections(refusing), 0);
    // The jar is new for the next agent too, and then nothing else is to blame.
    let mut twice = world(Policy::default(), dying());
    twice.plans.push_back(dying());
    twice.plan(Span(50), Happening::GoesDown);
    twice.plan(Span::seconds(20), Happening::ComesUp);
    twice.run(Span::seconds(60));
    let story = twice.honest_story();
    assert!(!story.contains("REJECT the jar of 1") && story.contains("REJECT the jar of 2"), "{story}");
}

#[test]
fn a_channel_that_is_still_held_is_to_blame() {
    let mut world = World::new(Policy::default());
    let first = AgentPlan {
        ends: Some((Span::seconds(10), Exit::Code(1))),
        channel_held: Span::seconds(60),
        ..AgentPlan::default()
    };
    let shut_out = AgentPlan { new_jar: true, ends: Some((Span(300), Exit::Code(1))), ..AgentPlan::default() };
    world.plans.extend([first, shut_out]);
    world.run(Span::seconds(60));
    let story = world.honest_story();
    assert!(story.contains("OldChannelHeld") && !story.contains("REJECT"), "{story}");
}

#[test]
fn an_agent_that_was_connected_for_a_moment_is_seen_by_its_channel() {
    let plan = AgentPlan {
        connects_after: Some(Span(100)),
        ends: Some((Span(200), Exit::Code(1))),
        channel_held: Span::seconds(60),
        ..dying()
    };
    assert_eq!(rejections(world(Policy::default(), plan)), 0);
}

#[test]
fn it_is_rejected_before_an_exit_too() {
    let limited = Backoff { limit: Some(1), ..Backoff::default() };
    let no_mark = node(|node| node.offline = OfflinePolicy::Never);
    for (name, policy) in [
        ("--restart no", Policy { restart: RestartMode::No, ..Policy::default() }),
        ("the same with --offline never", Policy { restart: RestartMode::No, ..no_mark }),
        ("--restart-limit 1", Policy { backoff: limited, ..Policy::default() }),
    ] {
        let story = end(world(policy, dying()));
        assert_eq!(story.matches("REJECT the jar of 1").count(), 1, "{name}: {story}");
    }
}

#[test]
fn it_is_not_rejected_where_nobody_can_see_whether_an_agent_connects() {
    let refusing = node(|node| node.if_refused = IfRefused::Start);
    let mut world = world(refusing, dying());
    world.plan(Span::ZERO, Happening::RefusesReads(Some(FailureKind::Forbidden)));
    world.run_until(|world| world.generations > 1);
    assert!(!world.honest_story().contains("REJECT"), "{}", world.story());
    assert_eq!(rejections(self::world(Policy { node: None, ..Policy::default() }, dying())), 0);
}

#[test]
fn landed_it_is_rejected_as_well() {
    let mut world = world(Policy::default(), dying());
    world.ask(agent_wrap_supervisor::Request::Land);
    world.run_until(|world| world.core.status().phase == Phase::Landed);
    assert_eq!(rejections(world), 1);
}
