//! The turn: wait for one thing to happen, let the supervisor decide, perform what it wants done.
//!
//! Nothing in here waits for an action: what takes time runs beside the turn and comes back as an event. Facts (ends of
//! processes, signals) are looked at before answers, so that a stop never waits behind a read.

mod asking;
mod launch;
mod reload;
mod requests;

use std::io;
use std::sync::Arc;

use agent_wrap_supervisor::{Action, Ending, Event, Generation, Note, Policy, RequestNumber, SpawnFailure, Supervisor};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::beside::Beside;
use crate::clock::Clock;
use crate::config::{ReasonTemplate, Settings};
use crate::controller::Controller;
use crate::process::Processes;
use crate::signals::{SignalTable, Signals, Terminal};
use crate::state::{Record, StateFile};
use crate::telemetry::Story;

use launch::Unprepared;
use reload::Reloading;

pub use launch::{Launch, Launched, NotReady};
pub use reload::{Reload, Reloaded};

/// Everything the driver drives.
pub struct Driver {
    /// The clock that the supervisor is told the time by.
    pub clock: Clock,
    /// The log lines.
    pub story: Story,
    /// The terminal that the wrapper was started at, if any.
    pub terminal: Terminal,
    /// The wrapper's own signals.
    pub signals: Signals,
    /// What each of them asks for.
    pub table: SignalTable,
    /// The agent and whatever it leaves behind.
    pub processes: Processes,
    /// Facts that the processes tell.
    pub facts: mpsc::UnboundedReceiver<Event>,
    /// The controller; `None` for `--standalone`.
    pub controller: Option<Arc<Controller>>,
    /// Where the record is kept.
    pub state: StateFile,
    /// What the next run has to know.
    pub record: Record,
    /// How the agent is started.
    pub launch: Arc<Launch>,
    /// Words for the mark's reason.
    pub reasons: Reasons,
    /// The settings in force.
    pub settings: Settings,
    /// Reads them again; for a reload.
    pub reload: Arc<Reload>,
    /// For what may hang.
    pub beside: Arc<Beside>,
}

/// What the reason of a mark says of us.
#[derive(Clone, Debug)]
pub struct Reasons {
    /// The user's text for a stop.
    pub template: ReasonTemplate,
    /// This machine.
    pub host: String,
    /// The node.
    pub node: String,
}

/// What came back from something that ran beside the turn.
enum Answer {
    Event(Event),
    Launched(Generation, Result<Box<Launched>, Unprepared>),
    Reloaded(reload::Outcome),
}

struct Turn {
    driver: Driver,
    supervisor: Supervisor,
    answers: mpsc::UnboundedSender<Answer>,
    in_flight: Option<(RequestNumber, AbortHandle)>,
    launching: Option<(Generation, AbortHandle)>,
    launched: Option<Box<Launched>>,
    reloading: Reloading,
    /// What the mark's reason will name as the cause of the stop.
    cause: String,
    ending: Option<Ending>,
}

/// Runs one life of the wrapper and says how it ended, with the story to tell that.
pub async fn run(driver: Driver, policy: Policy) -> (Ending, Story) {
    let (answers, mut answered) = mpsc::unbounded_channel();
    let supervisor = Supervisor::new(driver.clock.now(), policy);
    let mut turn = Turn {
        driver,
        supervisor,
        answers,
        in_flight: None,
        launching: None,
        launched: None,
        reloading: Reloading::No,
        cause: "end of the agent".to_owned(),
        ending: None,
    };
    loop {
        turn.perform();
        if let Some(ending) = turn.ending.take() {
            return (ending, turn.driver.story);
        }
        let deadline = turn.supervisor.next_deadline().map(|(moment, _)| turn.driver.clock.instant(moment));
        tokio::select! {
            biased;
            Some(fact) = turn.driver.facts.recv() => turn.fact(fact),
            received = turn.driver.signals.next() => turn.signal(received),
            Some(answer) = answered.recv() => turn.answer(answer),
            () = until(deadline) => turn.supervisor.handle_deadline(turn.driver.clock.now()),
        }
    }
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

impl Turn {
    fn handle(&mut self, event: Event) {
        let now = self.driver.clock.now();
        self.supervisor.handle(now, event);
    }

    fn fact(&mut self, fact: Event) {
        if let Event::AgentSpawned { generation, .. } = fact {
            self.driver.record.agent = self.driver.processes.identity(generation);
            self.write_state();
        }
        if let Event::SpawnFailed {
            failure: failure @ (SpawnFailure::NotFound | SpawnFailure::NotExecutable), ..
        } = fact
        {
            let words = self.driver.launch.why_not_executed(failure);
            tracing::error!(target: "agent_wrap", event = "not_executed", "{words}");
        }
        self.handle(fact);
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Event(event) => {
                if let Event::NodeRead { request, .. } | Event::NodeWritten { request, .. } = &event {
                    self.in_flight.take_if(|(number, _)| number == request);
                }
                self.handle(event);
            }
            Answer::Launched(generation, launched) => self.agent_prepared(generation, launched),
            Answer::Reloaded(outcome) => self.reloaded(outcome),
        }
    }

    /// Performs everything that has been decided.
    fn perform(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            self.perform_one(action);
        }
    }

    fn perform_one(&mut self, action: Action) {
        match action {
            Action::Spawn { generation } => self.prepare_agent(generation),
            Action::CancelSpawn { generation } => self.cancel_spawn(generation),
            Action::SignalAgent { generation, signal } => {
                let sent = self.driver.processes.signal_agent(generation, signal);
                complain("could not signal the agent", sent);
            }
            Action::SignalGroup { generation, resume } => {
                let sent = self.driver.processes.signal_group(generation, resume);
                complain("could not stop or continue the agent's group", sent);
            }
            Action::StopSelf => {
                complain("could not stop with the agent", crate::signals::stop_self());
                self.handle(Event::Resumed);
            }
            Action::Reap { generation } => {
                self.driver.processes.reap(generation);
                self.launched = None;
                self.driver.record.agent = None;
                self.driver.record.earlier.clear();
                self.write_state();
            }
            Action::SignalLeftovers { generation, signal } => {
                self.driver.processes.signal_leftovers(generation, signal);
            }
            Action::ReadNode { request, within } => self.read_node(request, within),
            Action::LiftMark { request, method, within } => self.lift_mark(request, method, within),
            Action::MarkOffline { request, method, reason, within } => {
                self.mark_offline(request, method, &reason, within);
            }
            Action::CancelRequest { request } => self.cancel(request),
            Action::Remember(memory) => {
                self.driver.record.memory = memory;
                self.write_state();
            }
            Action::Tell(note) => self.tell(&note),
            Action::Finish(ending) => self.ending = Some(ending),
        }
    }

    fn tell(&mut self, note: &Note) {
        let now = self.driver.clock.now();
        self.driver.story.tell(now, note);
        if let (Note::AgentConnected { .. }, Some(launched)) = (note, &mut self.launched) {
            launched.connected();
        }
    }

    fn write_state(&self) {
        complain("could not write the state file", self.driver.state.write(&self.driver.record));
    }
}

/// A failure that changes no decision, but that somebody may have to know about.
fn complain(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(target: "agent_wrap", event = "complaint", "{what}: {error}");
    }
}
