//! Whole lives as traces: `seconds phase | what happened: what was done about it`.
//! Notes are in quotes, requests and process actions in capitals.

mod draining;
mod failing;
mod holding;
mod jars;
mod keeping;
mod numbers;
mod renewals;
mod requests;
mod slow;
mod starting;
mod stopping;

use agent_wrap_supervisor::{NodePolicy, Owner, Policy, Request, Span, StopSource};

use crate::world::World;
use crate::world::controller::{Controller, mark_of};

const TERM: Request = Request::Stop(StopSource::Terminate);
const INT: Request = Request::Stop(StopSource::Interrupt);

fn node(change: impl FnOnce(&mut NodePolicy)) -> Policy {
    let mut node = NodePolicy::default();
    change(&mut node);
    Policy { node: Some(node), ..Policy::default() }
}

fn marked(owner: Owner, reason: &str) -> Controller {
    let mut controller = Controller::default();
    controller.set(Some(mark_of(owner, reason)));
    controller
}

/// Hudson: no setter for the cause, no CLI.
fn hudson(mut controller: Controller) -> Controller {
    controller.has_cli = false;
    controller.has_change_cause = false;
    controller
}

/// A world whose agent runs and is connected, with its first looks behind it and an empty trace.
fn running(policy: Policy, controller: Controller) -> World {
    let mut world = World::with(policy, controller);
    world.run(Span::seconds(10));
    assert!(world.core.status().connected, "{}", world.story());
    world.trace.clear();
    world
}

/// What the life has come to, from here on.
fn end(mut world: World) -> String {
    world.run_to_the_end();
    world.honest_story()
}

/// Those lines of the story that have one of these words.
fn lines_with(world: &World, words: &[&str]) -> String {
    let story = world.clone().honest_story();
    story.lines().filter(|line| words.iter().any(|word| line.contains(word))).collect::<Vec<_>>().join("\n")
}
