//! A life in words: the trace of a counter-example.

use std::fmt::Write as _;

use agent_wrap_supervisor::{Action, AgentSignal, LiftMethod, MarkMethod, Owner};
use stateright::Path;

use super::agent::Life;
use super::controller::{Reply, Wish};
use super::network::{Message, Stage};
use super::properties::Exploration;
use super::state::{Keeper, World};
use super::steps::Step;

/// One line for each thing that happens: what it is, what the keeper does about it, and how things stand then.
pub fn tell<K: Keeper>(model: &Exploration<K>, life: Path<World<K>, Step>) -> String {
    let mut steps = life.into_vec().into_iter();
    let Some((mut world, mut step)) = steps.next() else { return String::new() };
    let mut keeper = (model.keeper)(&model.lot);
    let first: Vec<Action> = std::iter::from_fn(|| keeper.poll_action()).collect();
    let mut text = format!("{}\n", model.lot.name);
    line(&mut text, "it begins", &first, &world);
    while let Some(taken) = step {
        let happened = happening(&world, taken);
        let did = world.take(taken);
        line(&mut text, &happened, &did, &world);
        step = steps.next().and_then(|(_, step)| step);
    }
    text
}

fn line(text: &mut String, happened: &str, did: &[Action], world: &World<impl Keeper>) {
    let did: Vec<String> = did.iter().filter_map(deed).collect();
    let did = if did.is_empty() { "-".to_owned() } else { did.join(", ") };
    writeln!(text, "  {happened:<46} {did:<34} {}", standing(world)).unwrap();
}

fn happening(world: &World<impl Keeper>, step: Step) -> String {
    match step {
        Step::Elapse => format!("{} ms go by", world.until_due().map_or(0, |span| span.0)),
        Step::Fire => "what is due is handled".into(),
        Step::CarryOut(at) => format!("the controller carries out {}", request(&world.network[at])),
        Step::Answer => format!("the answer comes: {}", world.awaited().map_or("", |at| reply(&world.network[at]))),
        Step::TimeOut => "no answer comes in time".into(),
        Step::Reset => "the connection breaks".into(),
        Step::Stale => "an answer that nobody waits for comes".into(),
        Step::Fork => "the agent is there".into(),
        Step::Connect => "the agent connects".into(),
        Step::Ask(request) => format!("somebody asks: {request:?}"),
        Step::Hangs => "the agent loses its channel for good and lives".into(),
        Step::Drops => "the agent loses its channel".into(),
        Step::Hold => "an operator holds the node".into(),
        Step::Release => "the hold file is gone".into(),
        Step::SetMark => "somebody else marks the node".into(),
        Step::ClearMark => "somebody else lifts the mark".into(),
        other => format!("{other:?}"),
    }
}

fn request(message: &Message) -> &'static str {
    match message.wish {
        Wish::Read => "the read",
        Wish::Disconnect => "doDisconnect",
        Wish::Lift(LiftMethod::Cli) => "online-node",
        Wish::Mark(MarkMethod::ChangeCause) => "changeOfflineCause",
        Wish::Lift(LiftMethod::Toggle) | Wish::Mark(MarkMethod::Toggle) => "the toggle",
    }
}

fn reply(message: &Message) -> &'static str {
    match &message.stage {
        Stage::Sent => "not yet",
        Stage::CarriedOut(Reply::View(view)) => match (&view.mark, view.connected) {
            (Some(_), _) => "marked",
            (None, Some(true)) => "free, connected",
            (None, _) => "free, not connected",
        },
        Stage::CarriedOut(Reply::Done) => "done",
        Stage::CarriedOut(Reply::Unsupported) => "there is no such way",
        Stage::CarriedOut(Reply::Refused(_)) => "refused",
        Stage::CarriedOut(Reply::Throttled(_)) => "later",
    }
}

fn deed(action: &Action) -> Option<String> {
    Some(match action {
        Action::ReadNode { .. } => "reads the node".into(),
        Action::LiftMark { method: LiftMethod::Cli, .. } => "sends online-node".into(),
        Action::MarkOffline { method: MarkMethod::ChangeCause, .. } => "sends changeOfflineCause".into(),
        Action::Disconnect { .. } => "sends doDisconnect".into(),
        Action::LiftMark { .. } | Action::MarkOffline { .. } => "sends a toggle".into(),
        Action::Spawn { .. } => "starts the agent".into(),
        Action::SignalAgent { signal: AgentSignal::Terminate, .. } => "TERM to the agent".into(),
        Action::SignalAgent { signal: AgentSignal::Kill, .. } => "KILL to the agent".into(),
        Action::Finish(ending) => format!("exits: {ending:?}"),
        Action::Reap { .. } | Action::Remember(_) | Action::Tell(_) => return None,
        other => format!("{other:?}"),
    })
}

fn standing(world: &World<impl Keeper>) -> String {
    let mark = match world.controller.mark.as_ref().map(|mark| mark.owner) {
        None => "free",
        Some(Owner::ThisRun) => "MARKED BY US",
        Some(Owner::EarlierRun) => "marked by an earlier run",
        Some(Owner::Monitor) => "marked by a monitor",
        Some(Owner::Foreign) => "marked by somebody",
    };
    let agent = match &world.process {
        None => "no agent",
        Some(process) => match process.life {
            Life::Spawning { .. } => "agent starting",
            Life::Alive if process.connected => "agent connected",
            Life::Alive => "agent running",
            Life::Ended => "agent ended",
        },
    };
    format!("[{mark}; {agent}]")
}
