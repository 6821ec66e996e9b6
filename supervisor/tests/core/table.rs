//! What every kind of event does in every phase, as one file that a person can read
//! (`snapshots/core__table__transitions.snap`), and every pair of requests in every phase.

use std::fmt::Write as _;

use agent_wrap_supervisor::{
    Backoff, Build, Event, Exit, Failure, FailureKind, Generation, Mark, Moment, NodePolicy, NodeView, OfflinePolicy,
    Owner, Policy, Request, RequestNumber, RestartMode, Span, SpawnFailure, StopSource, Supervisor, WriteOutcome,
};

use crate::world::agent::AgentPlan;
use crate::world::controller::{Controller, mark_of};
use crate::world::{Happening, World, render_action, render_event};

const TERM: Request = Request::Stop(StopSource::Terminate);

const REQUESTS: [Request; 8] = [
    TERM,
    Request::Stop(StopSource::Interrupt),
    Request::StopNow,
    Request::Land,
    Request::TakeOff,
    Request::Restart,
    Request::Forward(3),
    Request::Suspend,
];

fn policy() -> Policy {
    Policy { terminal: true, ..Policy::default() }
}

fn fresh() -> World {
    World::new(policy())
}

fn marked() -> World {
    let mut controller = Controller::default();
    controller.set(Some(mark_of(Owner::EarlierRun, "stopped")));
    World::with(policy(), controller)
}

fn after(mut world: World, span: Span) -> World {
    world.run(span);
    world
}

fn asked(mut world: World, request: Request, wait: Span) -> World {
    world.ask(request);
    after(world, wait)
}

fn running() -> World {
    after(fresh(), Span::seconds(10))
}

/// A running agent that ignores TERM and has a build.
fn stubborn() -> World {
    let mut world = fresh();
    world.plans.push_back(AgentPlan { term_takes: None, leaves: 1, leaves_stubborn: true, ..AgentPlan::default() });
    world.run(Span::seconds(10));
    world.happens(Happening::BuildBegins);
    world
}

fn held() -> World {
    let mut world = running();
    world.happens(Happening::Hold(Some("a new room".into())));
    after(world, Span::seconds(2))
}

/// An agent that lives and is not connected any more, and ignores TERM.
fn hanging() -> World {
    let mut world = fresh();
    world.plans.push_back(AgentPlan { term_takes: None, ..AgentPlan::default() });
    world.run(Span::seconds(10));
    world.happens(Happening::LosesChannel(Generation(1)));
    after(world, Span::seconds(60))
}

/// The run before was killed, and the controller has not noticed.
fn dead_channel() -> World {
    let node = NodePolicy { connected_before: true, unclean: true, ..NodePolicy::default() };
    let mut world = World::new(Policy { node: Some(node), ..policy() });
    world.controller.channel = Some(Generation(0));
    world
}

fn failing(slow_after: u32) -> World {
    let mut world = World::new(Policy { backoff: Backoff { slow_after, ..Backoff::default() }, ..policy() });
    world.plans.push_back(AgentPlan { ends: Some((Span(100), Exit::Code(1))), ..AgentPlan::default() });
    world
}

fn states() -> Vec<(&'static str, World)> {
    let survivor = World::new(Policy { survivor: true, ..policy() });
    let standalone = World::new(Policy { node: None, ..policy() });
    let offline_never = World::new(Policy {
        node: Some(NodePolicy { offline: OfflinePolicy::Never, ..NodePolicy::default() }),
        ..policy()
    });
    let once = World::new(Policy { restart: RestartMode::No, ..policy() });
    let now = Span::ZERO;
    let draining = || asked(stubborn(), TERM, Span(200));
    let terminating = || asked(draining(), Request::StopNow, now);
    let killing = || after(terminating(), Span::seconds(30));
    vec![
        ("Evicting", after(survivor, now)),
        ("Enabling, reading", after(fresh(), now)),
        ("Enabling, lifting", after(marked(), Span(25))),
        ("Starting", after(fresh(), Span(25))),
        ("Starting, --restart no", after(once, Span(25))),
        ("Running, not connected yet", after(fresh(), Span(100))),
        ("Running", running()),
        ("Running, standalone", after(standalone, Span(100))),
        ("Running, --offline never", after(offline_never, Span::seconds(10))),
        ("Landed", asked(running(), Request::Land, Span::seconds(2))),
        ("Landed by a hold file", held()),
        ("Running, seen not connected", hanging()),
        ("Terminating to replace", after(hanging(), Span::seconds(301))),
        ("Enabling, a dead channel", after(dead_channel(), Span(25))),
        ("BackingOff", after(failing(10), Span(200))),
        ("BackingOff at the slow pace", after(failing(1), Span(200))),
        ("Marking, reading", asked(stubborn(), TERM, now)),
        ("Marking, writing", asked(stubborn(), TERM, Span(25))),
        ("Marking before the agent is there", asked(after(fresh(), now), TERM, now)),
        ("Marking while the agent is started", asked(after(fresh(), Span(25)), TERM, now)),
        ("Draining", draining()),
        ("Draining to land", asked(stubborn(), Request::Land, Span(200))),
        ("Draining to restart", asked(stubborn(), Request::Restart, Span(200))),
        ("Terminating", terminating()),
        ("Killing", killing()),
        ("Sweeping", after(killing(), Span(25))),
        ("Closing", after(killing(), Span(1055))),
    ]
}

fn view(mark: Option<Mark>, idle: bool) -> Event {
    let builds = if idle { Vec::new() } else { vec![Build::default()] };
    let view = NodeView { mark, connected: Some(true), idle, builds, has_cli: true };
    Event::NodeRead { request: RequestNumber(0), outcome: Ok(view) }
}

fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, "")
}

fn written(outcome: WriteOutcome) -> Event {
    Event::NodeWritten { request: RequestNumber(0), outcome }
}

fn events(generation: Generation) -> Vec<Event> {
    let mut events = vec![
        Event::AgentSpawned { generation, pid: 7, new_jar: false },
        Event::RemainsFound { generation, processes: "java".into() },
        Event::SpawnFailed { generation, failure: SpawnFailure::NotFound },
        Event::SpawnFailed { generation, failure: SpawnFailure::Exhausted(11) },
        Event::AgentUnprepared { generation, failure: failure(FailureKind::Unavailable) },
        Event::AgentUnprepared { generation, failure: failure(FailureKind::Forbidden) },
        Event::AgentExited { generation, exit: Exit::Code(1) },
        Event::AgentExited { generation: Generation(99), exit: Exit::Code(1) },
        Event::JarOffered { generation },
        Event::LeftoversCounted { generation, alive: 0 },
        Event::LeftoversCounted { generation, alive: 2 },
        view(None, true),
        view(Some(mark_of(Owner::ThisRun, "ours")), true),
        view(Some(mark_of(Owner::ThisRun, "ours")), false),
        view(Some(mark_of(Owner::Foreign, "theirs")), true),
        Event::NodeRead { request: RequestNumber(0), outcome: Err(failure(FailureKind::Unavailable)) },
        Event::NodeRead { request: RequestNumber(0), outcome: Err(failure(FailureKind::Forbidden)) },
        written(WriteOutcome::Accepted),
        written(WriteOutcome::Unsupported { words: String::new() }),
        written(WriteOutcome::Failed(failure(FailureKind::Forbidden))),
        written(WriteOutcome::Unknown(failure(FailureKind::Unavailable))),
        Event::HoldChanged(Some("a new disk".into())),
        Event::HoldChanged(None),
        Event::Resumed,
        Event::DrainBounded { left: Span::seconds(40) },
    ];
    events.extend(REQUESTS.map(Event::Requested));
    events
}

/// Where an answer meets no request, the next look is sent first.
fn in_flight(core: &mut Supervisor, now: &mut Moment) -> Option<RequestNumber> {
    for _ in 0..3 {
        if let Some(request) = core.status().in_flight {
            return Some(request);
        }
        let (due, _) = core.next_deadline()?;
        *now = due;
        core.handle_deadline(due);
    }
    None
}

fn drain(core: &mut Supervisor) -> Vec<String> {
    std::iter::from_fn(|| core.poll_action()).map(|action| render_action(&action)).collect()
}

fn transition(world: &World, event: &Event) -> Option<String> {
    let (mut core, mut now) = (world.core.clone(), world.now);
    let mut event = event.clone();
    let writing = world.is_writing();
    match &mut event {
        Event::NodeRead { request, .. } => {
            if writing {
                return None;
            }
            *request = in_flight(&mut core, &mut now)?;
            if core.status().phase != world.core.status().phase {
                return None;
            }
            drain(&mut core);
        }
        Event::NodeWritten { request, .. } => {
            if !writing {
                return None;
            }
            *request = core.status().in_flight?;
        }
        _ => {}
    }
    let mut before = core.clone();
    before.handle(now, Event::LeftoversCounted { generation: Generation(u32::MAX), alive: 0 });
    core.handle(now, event);
    let done = drain(&mut core);
    if done.is_empty() && core == before {
        return None;
    }
    Some(format!("{:?}: {}", core.status().phase, done.join("; ")))
}

#[test]
fn transitions() {
    let mut table = String::new();
    for (name, world) in states() {
        assert_eq!(world.violation, None, "{name}\n{}", world.story());
        writeln!(table, "== {name}").unwrap();
        let mut silent = Vec::new();
        for event in events(world.core.status().generation) {
            let line = render_event(&event).replace("read 0", "read").replace("write 0", "write");
            match transition(&world, &event) {
                Some(outcome) => writeln!(table, "{line:<48} -> {outcome}").unwrap(),
                None => silent.push(line),
            }
        }
        if let Some((due, reason)) = world.core.next_deadline() {
            let mut core = world.core.clone();
            core.handle_deadline(due);
            let done = drain(&mut core).join("; ");
            writeln!(table, "{:<48} -> {:?}: {done}", format!("({reason:?})"), core.status().phase).unwrap();
        }
        writeln!(table, "nothing: {}\n", silent.join(", ")).unwrap();
    }
    insta::assert_snapshot!(table);
}

/// The name says the phase in which the state is.
#[test]
fn every_phase_is_in_the_table() {
    for (name, world) in states() {
        let phase = format!("{:?}", world.core.status().phase);
        assert!(name.starts_with(&phase), "{name} is {phase}\n{}", world.story());
    }
}

#[test]
fn every_pair_of_requests_in_every_phase_keeps_the_promise() {
    for (name, world) in states() {
        for first in REQUESTS {
            for second in REQUESTS {
                for gap in [Span::ZERO, Span(25), Span(600), Span::seconds(3)] {
                    let mut world = world.clone();
                    world.ask(first);
                    world.run(gap);
                    world.ask(second);
                    world.run(Span::seconds(400));
                    world.happens(Happening::Continue);
                    world.ask(TERM);
                    world.run(Span::seconds(400));
                    let life = format!("{name}, {first:?}, {gap:?}, {second:?}");
                    assert_eq!(world.violation, None, "{life}\n{}", world.story());
                    assert!(world.ending.is_some(), "{life} does not end\n{}", world.story());
                }
            }
        }
    }
}
