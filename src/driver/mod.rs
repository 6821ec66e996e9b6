//! The turn: wait for one thing to happen, let the supervisor decide, perform what it wants done.
//!
//! Nothing in here waits for an action: what takes time runs beside the turn and comes back as an event. Facts (ends of
//! processes, signals) are looked at before answers, so that a stop never waits behind a read.

mod announcer;
mod asking;
mod display;
mod held;
mod jars;
mod launch;
mod reload;
mod requests;
mod shells;
#[cfg(test)]
mod tests;
mod unprepared;
mod wall;

use std::io;
use std::sync::Arc;

use agent_wrap_supervisor::{Action, Ending, Event, Generation, Note, Policy, RequestNumber, SpawnFailure, Supervisor};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::beside::Late;
use crate::clock::Clock;
use crate::config::{ReasonTemplate, Settings};
use crate::signals::{SignalTable, Terminal};
use crate::state::Record;
use crate::telemetry::Story;
use crate::wall::Seconds;

use held::{Looking, changed};
use jars::JarLook;
use reload::Reloading;

pub use announcer::Announcer;
pub use display::Display;
pub use launch::{Launch, Launched, NotReady};
pub use reload::{Reload, Reloaded};
pub use shells::{
    Agents, Hear, Hold, Keep, NodeClient, OwnSignals, Prepare, Program, RejectingJar, RunBeside, Shells, Show,
};
pub use unprepared::Unprepared;

/// After so many signals in a row everything else has a turn, so that nobody holds up a stop by sending more and more.
const CROWD: u32 = 100;

/// Everything the driver drives.
pub struct Driver<S: Shells> {
    /// The clock that the supervisor is told the time by.
    pub clock: Clock,
    /// The clock on the wall, which may be set.
    pub wall: Box<dyn Fn() -> Seconds>,
    /// The log lines.
    pub story: Story,
    /// The terminal that the wrapper was started at, if any.
    pub terminal: Terminal,
    /// The wrapper's own signals.
    pub signals: S::Signals,
    /// What each of them asks for.
    pub table: SignalTable,
    /// The agent and whatever it leaves behind.
    pub processes: S::Agents,
    /// Facts that the processes tell.
    pub facts: mpsc::UnboundedReceiver<Event>,
    /// The controller; `None` for `--standalone`.
    pub controller: Option<Arc<S::Controller>>,
    /// Where the record is kept.
    pub state: S::State,
    /// What the next run has to know.
    pub record: Record,
    /// How the agent is started.
    pub launch: Arc<S::Launch>,
    /// Words for the mark's reason.
    pub reasons: Reasons,
    /// The settings in force.
    pub settings: Settings,
    /// Reads them again; for a reload.
    pub reload: Arc<Reload<S::Launch>>,
    /// For what may hang.
    pub beside: Arc<S::Beside>,
    /// Who tells the service manager how things stand; `None` where nobody wants to know.
    pub announcer: Option<Announcer<S::Manager>>,
    /// An operator's hold file; `None` without a controller.
    pub hold: Option<S::Hold>,
    /// Who shows it to a person at the terminal; `None` where nobody can be shown anything.
    pub display: Option<Display<S::Screen>>,
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
enum Answer<Launch, Launched> {
    Event(Event),
    Launched(Generation, Result<Box<Launched>, Unprepared>),
    Reloaded(reload::Outcome<Launch>),
    Held(Result<Option<String>, Late>),
    /// Whether a controller of this version offers another jar than that of the agent.
    JarLooked {
        generation: Generation,
        version: String,
        found: Result<bool, Unprepared>,
    },
}

type AnswerOf<S> = Answer<<S as Shells>::Launch, <S as Shells>::Launched>;

/// Where the answers come out.
type Answers<S> = mpsc::UnboundedReceiver<AnswerOf<S>>;

struct Turn<S: Shells> {
    driver: Driver<S>,
    supervisor: Supervisor,
    answers: mpsc::UnboundedSender<AnswerOf<S>>,
    in_flight: Option<(RequestNumber, AbortHandle)>,
    launching: Option<(Generation, AbortHandle)>,
    /// What the agent that was forked last was started with.
    launched: Option<(Generation, Box<S::Launched>)>,
    /// What puts the jar before that agent's in its place again. It is judged when the rest of what the agent was started
    /// with is gone.
    jar: Option<(Generation, RejectingJar)>,
    jar_look: JarLook,
    reloading: Reloading,
    looking: Looking,
    /// Until when builds are waited for, where that goes by the clock on the wall.
    limit: Option<wall::Limit>,
    /// Readings of the settings that have begun.
    reloads: u32,
    /// Signals since anything else has had its turn.
    crowd: u32,
    /// What the mark's reason will name as the cause of the stop.
    cause: String,
    ending: Option<Ending>,
    /// Why the state could not be written last, as it was told.
    state_fault: Option<String>,
}

/// How one life has ended, and who tells it.
pub struct Ended<Manager> {
    /// How.
    pub ending: Ending,
    /// For the log.
    pub story: Story,
    /// For the service manager.
    pub announcer: Option<Announcer<Manager>>,
}

/// Runs one life of the wrapper.
pub async fn run<S: Shells>(driver: Driver<S>, policy: Policy) -> Ended<S::Manager> {
    let (mut turn, mut answered) = Turn::new(driver, policy);
    let ending = turn.live(&mut answered).await;
    Ended { ending, story: turn.driver.story, announcer: turn.driver.announcer }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl<S: Shells> Turn<S> {
    fn new(driver: Driver<S>, policy: Policy) -> (Self, Answers<S>) {
        let (answers, answered) = mpsc::unbounded_channel();
        let supervisor = Supervisor::new(driver.clock.now(), policy);
        let turn = Self {
            driver,
            supervisor,
            answers,
            in_flight: None,
            launching: None,
            launched: None,
            jar: None,
            jar_look: JarLook::default(),
            reloading: Reloading::No,
            looking: Looking::No,
            limit: None,
            reloads: 0,
            crowd: 0,
            cause: "end of the agent".to_owned(),
            ending: None,
            state_fault: None,
        };
        (turn, answered)
    }

    async fn live(&mut self, answered: &mut Answers<S>) -> Ending {
        loop {
            self.follow_wall_clock();
            self.perform();
            if let Some(ending) = self.ending.take() {
                self.leave_terminal();
                return ending;
            }
            self.announce();
            self.show();
            self.next(answered).await;
        }
    }

    /// Waits for one thing to happen and lets the supervisor decide.
    async fn next(&mut self, answered: &mut Answers<S>) {
        let deadline = self.supervisor.next_deadline().map(|(moment, _)| self.driver.clock.instant(moment));
        let announcement = self.driver.announcer.as_ref().and_then(Announcer::deadline);
        let shown_anew = self.driver.display.as_ref().and_then(Display::deadline);
        let telling = announcement.into_iter().chain(shown_anew).min().map(|moment| self.driver.clock.instant(moment));
        let crowd = std::mem::take(&mut self.crowd);
        tokio::select! {
            biased;
            Some(fact) = self.driver.facts.recv() => self.fact(fact),
            received = self.driver.signals.next(), if crowd < CROWD => {
                self.crowd = crowd + 1;
                self.signal(received);
            }
            Some(answer) = answered.recv() => self.answer(answer),
            () = changed(&mut self.driver.hold) => self.look_for_hold(),
            () = until(deadline) => self.supervisor.handle_deadline(self.driver.clock.now()),
            () = until(telling) => {}
            // What runs beside the turn gets on; and a deadline that is due moves on with each event, so it is asked for.
            () = tokio::task::yield_now(), if crowd >= CROWD => {
                self.supervisor.handle_deadline(self.driver.clock.now());
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.driver.clock.now();
        self.supervisor.handle(now, event);
    }

    fn fact(&mut self, mut fact: Event) {
        match &mut fact {
            Event::AgentSpawned { generation, new_jar, .. } => {
                let generation = *generation;
                let launched = self.launched.as_ref().filter(|(number, _)| *number == generation);
                *new_jar = launched.is_some_and(|(_, launched)| S::Launch::has_new_jar(launched));
                // Of one that is over there is nothing to be found.
                if let Some(identity) = self.driver.processes.identity(generation) {
                    self.driver.record.agent = Some(identity);
                    self.write_state();
                }
            }
            Event::SpawnFailed { generation, failure } => {
                let (generation, failure) = (*generation, *failure);
                self.forget_launched(generation);
                if let SpawnFailure::NotFound | SpawnFailure::NotExecutable = failure {
                    let words = self.driver.launch.why_not_executed(failure);
                    tracing::error!(target: "agent_wrap", event = "not_executed", "{words}");
                }
            }
            _ => {}
        }
        self.handle(fact);
    }

    fn answer(&mut self, answer: AnswerOf<S>) {
        match answer {
            Answer::Event(event) => {
                if let Event::NodeRead { request, .. } | Event::NodeWritten { request, .. } = &event {
                    self.in_flight.take_if(|(number, _)| number == request);
                }
                let read = matches!(&event, Event::NodeRead { outcome: Ok(_), .. });
                self.handle(event);
                if read {
                    self.look_for_jar();
                }
            }
            Answer::JarLooked { generation, version, found } => self.jar_looked(generation, version, found),
            Answer::Launched(generation, launched) => self.agent_prepared(generation, launched),
            Answer::Reloaded(outcome) => self.reloaded(outcome),
            Answer::Held(seen) => self.hold_seen(seen),
        }
    }

    /// Performs everything that has been decided.
    fn perform(&mut self) {
        self.driver.story.comes_to(&self.supervisor.status());
        while let Some(action) = self.supervisor.poll_action() {
            self.perform_one(action);
        }
        self.driver.story.told_all();
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
            Action::StopSelf => self.stop_self(),
            Action::Reap { generation } => {
                self.driver.processes.reap(generation);
                self.forget_launched(generation);
                self.driver.record.agent = None;
                self.driver.record.earlier.clear();
                self.write_state();
            }
            Action::RejectJar { generation } => self.reject_jar(generation),
            Action::SignalLeftovers { generation, signal } => {
                self.driver.processes.signal_leftovers(generation, signal);
            }
            Action::ReadNode { request, within } => self.read_node(request, within),
            Action::LiftMark { request, method, within } => self.lift_mark(request, method, within),
            Action::MarkOffline { request, method, reason, within } => {
                self.mark_offline(request, method, &reason, within);
            }
            Action::Disconnect { request, within } => self.disconnect(request, within),
            Action::CancelRequest { request } => self.cancel(request),
            Action::Remember(memory) => {
                self.driver.record.memory = memory;
                self.write_state();
            }
            Action::Tell(note) => self.tell(&note),
            Action::Finish(ending) => self.ending = Some(ending),
        }
    }

    /// Stops with the agent, and comes back when somebody has continued us. Meanwhile the terminal is the shell's.
    fn stop_self(&mut self) {
        self.leave_terminal();
        let before = self.driver.clock.now();
        complain("could not stop with the agent", self.driver.signals.stop_self());
        let away = self.driver.clock.now().since(before);
        self.driver.story.was_away(away);
        if let Some(limit) = &mut self.limit {
            limit.was_away(away);
        }
        self.handle(Event::Resumed);
    }

    fn tell(&mut self, note: &Note) {
        let now = self.driver.clock.now();
        if matches!(note, Note::AgentExited { .. }) {
            self.begin_row();
        }
        self.driver.story.tell(now, note);
        match (note, &mut self.launched) {
            (Note::AgentStarted { .. }, _) => self.look_for_suspension(),
            (Note::AgentConnected { .. }, Some((_, launched))) => S::Launch::connected(launched, &*self.driver.beside),
            _ => {}
        }
    }

    /// What this agent was started with goes before anything is made ready for another one: the secret's file has the
    /// same name.
    fn forget_launched(&mut self, generation: Generation) {
        self.launched.take_if(|(number, _)| *number == generation);
    }

    fn write_state(&mut self) {
        let written = self.driver.state.write(&self.driver.record);
        // It is written again and again, and the cause is told once.
        let fault = written.as_ref().err().map(io::Error::to_string);
        if fault != self.state_fault {
            complain("could not write the state file", written);
            self.state_fault = fault;
        }
    }
}

/// A failure that changes no decision, but that somebody may have to know about.
fn complain(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(target: "agent_wrap", event = "complaint", "{what}: {error}");
    }
}
