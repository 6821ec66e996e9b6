//! Events, actions and happenings as a person would jot them down.

use agent_wrap_supervisor::{Action, AgentSignal, Event, Exit, Mark, NodeView, Note, WriteOutcome};

use super::{Happening, World};

fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Unknown => "an unknown end".into(),
    }
}

fn mark(mark: Option<&Mark>) -> String {
    mark.map_or_else(|| "free".into(), |mark| format!("marked by {:?} \"{}\"", mark.owner, mark.reason))
}

fn view(view: &NodeView) -> String {
    let connected = match view.connected {
        Some(true) => ", connected",
        Some(false) => "",
        None => ", channel not told",
    };
    let builds = if view.idle { String::new() } else { format!(", {} builds", view.builds.len()) };
    format!("{}{connected}{builds}", mark(view.mark.as_ref()))
}

pub fn render_event(event: &Event) -> String {
    match event {
        Event::AgentSpawned { generation, .. } => format!("agent {} spawned", generation.0),
        Event::SpawnFailed { generation, failure } => format!("spawn of agent {} failed: {failure:?}", generation.0),
        Event::AgentUnprepared { generation, failure } => {
            format!("agent {} unprepared: {:?}", generation.0, failure.kind)
        }
        Event::AgentExited { generation, exit: how } => format!("agent {} ended with {}", generation.0, exit(*how)),
        Event::RemainsFound { generation, processes } => {
            format!("instead of agent {} there is {processes}", generation.0)
        }
        Event::LeftoversCounted { alive, .. } => format!("{alive} left over"),
        Event::NodeRead { request, outcome: Ok(seen) } => format!("read {} says {}", request.0, view(seen)),
        Event::NodeRead { request, outcome: Err(failure) } => format!("read {} failed: {:?}", request.0, failure.kind),
        Event::NodeWritten { request, outcome } => {
            let outcome = match outcome {
                WriteOutcome::Accepted => "accepted".into(),
                WriteOutcome::Unsupported { .. } => "not supported".into(),
                WriteOutcome::Failed(failure) => format!("failed: {:?}", failure.kind),
                WriteOutcome::Unknown(_) => "of unknown outcome".into(),
            };
            format!("write {} {outcome}", request.0)
        }
        Event::Requested(request) => format!("asked for {request:?}"),
        Event::HoldChanged(Some(words)) => format!("held: {words}"),
        Event::HoldChanged(None) => "the hold file is gone".into(),
        Event::JarOffered { generation } => format!("another jar than that of agent {} is offered", generation.0),
        Event::Resumed => "resumed".into(),
        Event::DrainBounded { left } => format!("{} ms to drain by the clock", left.0),
        Event::PolicyChanged(_) => "policy changed".into(),
    }
}

pub fn render_action(action: &Action) -> String {
    match action {
        Action::Spawn { generation } => format!("SPAWN {}", generation.0),
        Action::CancelSpawn { generation } => format!("CANCEL SPAWN {}", generation.0),
        Action::SignalAgent { generation, signal } => {
            let signal = match signal {
                AgentSignal::Terminate => "TERM".into(),
                AgentSignal::Kill => "KILL".into(),
                AgentSignal::Forward(signal) => format!("signal {signal}"),
            };
            format!("{signal} to {}", generation.0)
        }
        Action::SignalGroup { resume, .. } => if *resume { "CONT to group" } else { "STOP to group" }.into(),
        Action::StopSelf => "STOP self".into(),
        Action::RejectJar { generation } => format!("REJECT the jar of {}", generation.0),
        Action::Reap { generation } => format!("REAP {}", generation.0),
        Action::SignalLeftovers { signal, .. } => format!("leftovers {signal:?}"),
        Action::ReadNode { request, .. } => format!("READ {}", request.0),
        Action::LiftMark { request, method, .. } => format!("LIFT {} by {method:?}", request.0),
        Action::MarkOffline { request, method, reason, .. } => {
            format!("MARK {} by {method:?} for {reason:?}", request.0)
        }
        Action::Disconnect { request, .. } => format!("DISCONNECT {}", request.0),
        Action::CancelRequest { request } => format!("CANCEL {}", request.0),
        Action::Remember(memory) => {
            let words = [(memory.marked, "marked"), (memory.connected, "connected"), (memory.stopped, "stopped")];
            let words: Vec<&str> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
            format!("remember [{}]", words.join(" "))
        }
        Action::Tell(note) => format!("\"{}\"", render_note(note)),
        Action::Finish(ending) => format!("FINISH {ending:?}").replace(", retry_after: None", ""),
    }
}

fn render_note(note: &Note) -> String {
    match note {
        Note::Lifting { method, .. } => format!("Lifting by {method:?}"),
        Note::Waiting { failure, retry } => format!("Waiting {} ms: {:?}", retry.0, failure.kind),
        Note::AgentStarted { .. } => "AgentStarted".into(),
        Note::AgentStarting { .. } => "AgentStarting".into(),
        Note::AgentExited { asked, connected, .. } => {
            let asked = if *asked { ", asked" } else { "" };
            let connected = if *connected { ", was connected" } else { "" };
            format!("AgentExited{asked}{connected}")
        }
        Note::RestartPlanned { delay, failures } => format!("RestartPlanned in {} ms, {failures} failures", delay.0),
        Note::RequestTaken { effect, .. } => format!("{effect:?}"),
        Note::Draining { builds, .. } => format!("Draining {}", builds.len()),
        Note::DrainEnding { builds, left, revocable } => {
            let revocable = if *revocable { ", revocable" } else { "" };
            format!("DrainEnding {} in {} ms{revocable}", builds.len(), left.0)
        }
        Note::DrainCut { builds, timeout } => {
            format!("DrainCut {}{}", builds.len(), if *timeout { ", timeout" } else { "" })
        }
        Note::MarkLeft { mark: left } => format!("MarkLeft {}", mark(Some(left))),
        Note::ForeignMark(left) => format!("ForeignMark {}", mark(Some(left))),
        Note::RivalMark(left) => format!("RivalMark {}", mark(Some(left))),
        Note::TakeOverFailed { .. } => "TakeOverFailed".into(),
        Note::StrayMark(left) => format!("StrayMark {}", mark(Some(left))),
        Note::MarkedAlready(left) => format!("MarkedAlready {}", mark(Some(left))),
        Note::OutcomeUnknown(_) => "OutcomeUnknown".into(),
        Note::WayChanged { .. } => "WayChanged".into(),
        Note::StartedUnmarked(failure) => format!("StartedUnmarked: {:?}", failure.kind),
        Note::MarkUnconfirmed { failure, .. } => {
            format!("MarkUnconfirmed: {:?}", failure.as_ref().map(|failure| failure.kind))
        }
        other => format!("{other:?}"),
    }
}

impl World {
    /// Notes what the partners do by themselves; what reaches the supervisor is noted there.
    pub(super) fn trace_happening(&mut self, happening: &Happening) {
        let line = match happening {
            Happening::CarryOut { request, wish, .. } if !matches!(wish, super::Wish::Read) => {
                format!("write {} is carried out", request.0)
            }
            Happening::Interferes(set) => format!("somebody makes the node {}", mark(set.as_ref())),
            Happening::GoesDown => "the controller goes down".into(),
            Happening::ComesUp => "the controller comes up".into(),
            Happening::RefusesReads(kind) => format!("the controller refuses reads: {kind:?}"),
            Happening::RefusesWrites(kind) => format!("the controller refuses writes: {kind:?}"),
            Happening::LosesChannel(generation) => format!("agent {} loses its channel", generation.0),
            Happening::ElsewhereConnects => "an agent elsewhere connects".into(),
            Happening::BuildBegins => "a build begins".into(),
            Happening::BuildEnds => "a build ends".into(),
            _ => return,
        };
        let at = format!("{}.{:03}", self.now.0 / 1000, self.now.0 % 1000);
        self.trace.push(format!("{at:>8} ... {line}"));
    }
}
