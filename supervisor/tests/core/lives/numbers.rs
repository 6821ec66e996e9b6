//! The numbers that decisions hang on: how often, how long, and what starts the count anew.

use agent_wrap_supervisor::{Ending, Event, Exit, FailureKind, Owner, Policy, Span};

use super::{TERM, marked, node, running};
use crate::world::agent::AgentPlan;
use crate::world::controller::{Controller, mark_of};
use crate::world::{Fate, Happening, World};

/// When lines with these words came, in milliseconds.
fn moments(world: &World, words: &str) -> Vec<u64> {
    let story = world.honest_story();
    let lines = story.lines().filter(|line| line.contains(words));
    lines.map(|line| line.split_whitespace().next().unwrap().replace('.', "").parse().unwrap()).collect()
}

fn gaps(moments: &[u64]) -> Vec<u64> {
    moments.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn at_most_three_marks_of_others_are_lifted_after_the_start() {
    let mut world = World::new(Policy::default());
    world.plans.push_back(AgentPlan { connects_after: None, ..AgentPlan::default() });
    world.run(Span::seconds(1));
    for _ in 0..6 {
        world.happens(Happening::Interferes(Some(mark_of(Owner::Foreign, "disk"))));
        world.run(Span::seconds(6));
    }
    assert_eq!(moments(&world, "LIFT").len(), 3, "{}", world.story());
    assert_eq!(moments(&world, "ForeignMark").len(), 1, "{}", world.story());
}

#[test]
fn writes_without_effect_are_repeated_ever_more_seldom() {
    let mut world = running(node(|node| node.offline_timeout = Span::seconds(40)), Controller::default());
    world.controller.is_deaf = true;
    world.ask(TERM);
    world.run(Span::seconds(39));
    let gaps = gaps(&moments(&world, "MARK "));
    // Beyond the 40 ms that a write and the read after it take, and the 20 ms of the look after the pause.
    let pauses: Vec<u64> = gaps.iter().map(|gap| gap / 100 * 100).collect();
    assert_eq!(pauses[..7], [0, 500, 1000, 2000, 4000, 4000, 4000], "{}", world.story());
}

#[test]
fn an_accepted_write_starts_the_count_of_refusals_anew() {
    let mut world = World::with(Policy::default(), marked(Owner::EarlierRun, "stopped"));
    world.controller.refuses_writes = Some(FailureKind::Forbidden);
    world.run(Span::seconds(4));
    assert_eq!(moments(&world, "failed: Forbidden").len(), 2, "{}", world.story());
    world.controller.refuses_writes = None;
    world.controller.is_deaf = true;
    world.run_until(|world| world.story().contains("accepted"));
    world.controller.refuses_writes = Some(FailureKind::Forbidden);
    world.run_until(|world| world.story().matches("failed: Forbidden").count() == 3);
    world.run(Span::seconds(1));
    assert_eq!(world.ending, None, "{}", world.honest_story());
    world.run_to_the_end();
    assert!(matches!(world.ending, Some(Ending::Refused(_))), "{}", world.honest_story());
}

#[test]
fn a_reload_starts_the_count_of_refusals_anew() {
    let mut world = World::new(Policy::default());
    world.controller.refuses_reads = Some(FailureKind::Unauthenticated);
    world.run(Span(5050));
    world.happens(Happening::Reload(Box::default()));
    world.run(Span::seconds(1));
    let refused = moments(&world, "failed: Unauthenticated").len();
    assert!(refused >= 3 && world.ending.is_none(), "{}", world.honest_story());
    world.run_to_the_end();
    assert!(matches!(world.ending, Some(Ending::Refused(_))), "{}", world.honest_story());
}

#[test]
fn nothing_is_awaited_after_the_end() {
    let mut world = running(Policy::default(), Controller::default());
    world.ask(TERM);
    world.run_to_the_end();
    assert_eq!(world.core.next_deadline(), None, "{}", world.honest_story());
    world.core.handle(world.now, Event::Requested(TERM));
    assert_eq!(world.core.poll_action(), None);
}

#[test]
fn an_end_while_the_controller_is_known_to_be_down_is_no_failure() {
    let mut world = World::new(node(|node| node.poll = Span::seconds(5)));
    world.plans.push_back(AgentPlan { ends: Some((Span::seconds(30), Exit::Code(1))), ..AgentPlan::default() });
    world.run(Span::seconds(20));
    world.controller.down = true;
    world.run(Span::seconds(15));
    let story = world.honest_story();
    assert!(story.contains("0 failures"), "{story}");
}

#[test]
fn two_slow_refusals_are_not_final_however_far_apart_they_are() {
    let mut world = World::new(Policy::default());
    world.controller.refuses_reads = Some(FailureKind::Unauthenticated);
    world.fates.extend(std::iter::repeat_n(Fate::Answered(Span::seconds(6), Span(10)), 3));
    world.run_to_the_end();
    assert!(matches!(world.ending, Some(Ending::Refused(_))), "{}", world.honest_story());
    assert_eq!(moments(&world, "failed: Unauthenticated").len(), 3, "{}", world.story());
}

#[test]
fn an_outage_while_the_agent_runs_excuses_no_failure_from_before() {
    let mut world = World::new(node(|node| node.poll = Span::seconds(5)));
    let ends = |after| AgentPlan { ends: Some((Span::seconds(after), Exit::Code(1))), ..AgentPlan::default() };
    world.plans.extend([ends(5), ends(60)]);
    world.run(Span::seconds(20));
    world.controller.down = true;
    world.run(Span::seconds(10));
    world.controller.down = false;
    world.run(Span::seconds(50));
    let story = world.honest_story();
    assert!(story.contains("Answering") && story.contains("2 failures"), "{story}");
}
