//! What the driver drives, as it sees it: the shells of the program, or, in tests, partners that do as they are told.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use agent_wrap_supervisor::{
    AgentSignal, Failure, Generation, LeftoverSignal, LiftMethod, MarkMethod, NodeView, RequestNumber, SpawnFailure,
    WriteOutcome,
};

use super::launch::{Launch, Launched};
use super::unprepared::Unprepared;
use crate::beside::{Beside, Late};
use crate::controller::{Controller, CredentialError, CredentialSource};
use crate::hold::HoldWatch;
use crate::process::{AgentIdentity, Processes, Suspension};
use crate::signals::{Received, Signals};
use crate::state::{Record, StateFile};
use crate::systemd::ManagerSocket;
use crate::terminal::{Access, Screen};

/// How long looking at a hold file may take; it is on this machine.
const HOLD_PATIENCE: Duration = Duration::from_secs(10);

/// One of each kind.
pub trait Shells: 'static {
    /// The wrapper's own signals.
    type Signals: OwnSignals;
    /// The agent and whatever it leaves behind.
    type Agents: Agents<Self::Launched>;
    /// The controller.
    type Controller: NodeClient;
    /// How the agent is started.
    type Launch: Prepare<Self::Controller, Self::Beside, Launched = Self::Launched>;
    /// One run's command, and what belongs to it.
    type Launched: Send + 'static;
    /// Where the record is kept.
    type State: Keep;
    /// For what may hang.
    type Beside: RunBeside;
    /// The service manager, if one wants to know how things stand.
    type Manager: Hear;
    /// The terminal, where a person can be shown something.
    type Screen: Show;
    /// An operator's hold file.
    type Hold: Hold<Self::Beside>;
}

/// The signals that come to the wrapper.
pub trait OwnSignals {
    /// The next one. Nothing is lost when this is not awaited to its end.
    fn next(&mut self) -> impl Future<Output = Received>;

    /// Stops this process until somebody continues it.
    ///
    /// # Errors
    /// When it cannot be stopped.
    fn stop_self(&mut self) -> io::Result<()>;
}

/// The agent and whatever it leaves behind. What becomes of it is told as facts.
pub trait Agents<Launched> {
    /// Starts the agent.
    fn spawn(&mut self, generation: Generation, launched: &Launched);

    /// What the agents before have left that is not the agent itself, for people to read; `None` when there is nothing
    /// new.
    fn left_behind(&mut self) -> Option<String>;

    /// Who the agent is, for the state file.
    fn identity(&self, generation: Generation) -> Option<AgentIdentity>;

    /// Signals the agent and nobody else.
    ///
    /// # Errors
    /// When it may not be signalled, or there is no such signal.
    fn signal_agent(&mut self, generation: Generation, signal: AgentSignal) -> io::Result<()>;

    /// Stops or continues the agent's process group.
    ///
    /// # Errors
    /// When nobody in it may be signalled.
    fn signal_group(&mut self, generation: Generation, resume: bool) -> io::Result<()>;

    /// Takes the ended agent's zombie away.
    fn reap(&mut self, generation: Generation);

    /// Counts and signals what the agent has left behind.
    fn signal_leftovers(&mut self, generation: Generation, signal: LeftoverSignal);

    /// Some child has ended, was stopped or goes on.
    fn child_changed(&mut self);

    /// Whether the agent has been stopped, or goes on, since this was asked last.
    fn suspension(&mut self) -> Option<Suspension>;
}

/// One node on one controller. Each answer is a future that ends within the time given for it, and whatever it has
/// opened is closed when it is dropped.
pub trait NodeClient: Send + Sync + 'static {
    /// Asks for the node.
    fn read_node(&self, within: Duration) -> impl Future<Output = Result<NodeView, Failure>> + Send;

    /// Lifts its mark.
    fn lift_mark(
        &self,
        request: RequestNumber,
        method: LiftMethod,
        within: Duration,
    ) -> impl Future<Output = WriteOutcome> + Send;

    /// Marks it.
    fn mark_offline(
        &self,
        request: RequestNumber,
        method: MarkMethod,
        reason: &str,
        within: Duration,
    ) -> impl Future<Output = WriteOutcome> + Send;

    /// Closes the channel that is held for it.
    fn disconnect(&self, request: RequestNumber, within: Duration) -> impl Future<Output = WriteOutcome> + Send;

    /// Takes another source of the credentials, and reads it; `None` asks anonymously from now on.
    ///
    /// # Errors
    /// When it gives nothing, or not in time; the old ones stay in use.
    fn replace_credentials(
        &self,
        source: Option<CredentialSource>,
    ) -> impl Future<Output = Result<(), CredentialError>> + Send;

    /// Takes another pattern for the marks that are to be lifted.
    fn set_online_match(&self, pattern: Option<regex_lite::Regex>);

    /// The controller's version, as the last read that told has said it.
    fn version(&self) -> Option<String>;
}

/// Gets ready what one run of the agent needs.
pub trait Prepare<Controller, Beside>: Send + Sync + 'static {
    /// What is ready then.
    type Launched;

    /// Gets it ready; what it has made so far is gone when it is dropped.
    fn prepare(
        self: Arc<Self>,
        controller: Option<Arc<Controller>>,
        beside: Arc<Beside>,
    ) -> impl Future<Output = Result<Self::Launched, Unprepared>> + Send;

    /// Why the system has just refused to execute the command: a sentence for people.
    fn why_not_executed(&self, failure: SpawnFailure) -> String;

    /// The agent that was started with it is connected.
    fn connected(launched: &mut Self::Launched, beside: &Beside);

    /// Whether its jar has replaced another one, which is still there, and no agent has been seen connected with it.
    fn has_new_jar(launched: &Self::Launched) -> bool;

    /// Looks whether the controller offers another jar now; an error when that cannot be told. `None` where the jar is not
    /// the controller's.
    fn look_for_jar(
        launched: &Self::Launched,
        controller: Arc<Controller>,
        beside: Arc<Beside>,
    ) -> Option<impl Future<Output = Result<bool, Unprepared>> + Send + 'static>;

    /// What puts the jar before in its place again; `None` where that is not ours to do.
    fn rejecting_jar(launched: &Self::Launched) -> Option<RejectingJar>;
}

/// Puts the jar before a rejected one in its place again, and says so. It may hang.
pub type RejectingJar = Box<dyn FnOnce() + Send>;

/// Where the record for the next run is kept.
pub trait Keep {
    /// Replaces what is kept.
    ///
    /// # Errors
    /// Those of the file system; what was kept before is still there then.
    fn write(&self, record: &Record) -> io::Result<()>;
}

/// Hears how things stand.
pub trait Hear {
    /// Takes one datagram, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room for it now; anything else when nobody hears it.
    fn hear(&mut self, datagram: &str) -> io::Result<()>;
}

/// Shows one line, which is rewritten in place.
pub trait Show {
    /// Whether nobody else writes there. `agent` is the process of an agent that lives.
    fn access(&self, agent: Option<u32>) -> Access;

    /// An agent has ended: what it has left there does not stand before what is written next.
    fn begin_row(&self);

    /// Shows these words instead of those before, or nothing, without waiting.
    fn show(&self, words: Option<&str>);

    /// Shows the same anew, without waiting: a key was typed, which the terminal shows, or it has got another size.
    fn mend(&self);

    /// Leaves nothing behind, and waits until it is so, if that can be had soon.
    fn erase(&self);
}

/// Tells of an operator's hold file.
pub trait Hold<Beside> {
    /// Looks at it, and says what it says.
    ///
    /// # Errors
    /// It cannot be read in time.
    fn look(&self, beside: Arc<Beside>) -> impl Future<Output = Result<Option<String>, Late>> + Send + 'static;

    /// Comes back when it may have changed. Nothing is lost when this is not awaited to its end.
    fn changed(&mut self) -> impl Future<Output = ()>;
}

/// Does what may hang, so that the turn does not.
pub trait RunBeside: Send + Sync + 'static {
    /// Has something done and waits for it.
    ///
    /// # Errors
    /// It takes longer than `patience`.
    fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Late>> + Send;

    /// Has something done after all that was asked for before, and before all that will be.
    fn submit(&self, work: impl FnOnce() + Send + 'static);
}

/// The shells of the program itself.
pub enum Program {}

impl Shells for Program {
    type Signals = Signals;
    type Agents = Processes;
    type Controller = Controller;
    type Launch = Launch;
    type Launched = Launched;
    type State = StateFile;
    type Beside = Beside;
    type Manager = ManagerSocket;
    type Screen = Screen;
    type Hold = HoldWatch;
}

impl OwnSignals for Signals {
    fn next(&mut self) -> impl Future<Output = Received> {
        self.next()
    }

    fn stop_self(&mut self) -> io::Result<()> {
        self.stop_self()
    }
}

impl Agents<Launched> for Processes {
    fn spawn(&mut self, generation: Generation, launched: &Launched) {
        self.spawn(generation, &launched.command);
    }

    fn left_behind(&mut self) -> Option<String> {
        self.left_behind()
    }

    fn identity(&self, generation: Generation) -> Option<AgentIdentity> {
        self.identity(generation)
    }

    fn signal_agent(&mut self, generation: Generation, signal: AgentSignal) -> io::Result<()> {
        self.signal_agent(generation, signal)
    }

    fn signal_group(&mut self, generation: Generation, resume: bool) -> io::Result<()> {
        self.signal_group(generation, resume)
    }

    fn reap(&mut self, generation: Generation) {
        self.reap(generation);
    }

    fn signal_leftovers(&mut self, generation: Generation, signal: LeftoverSignal) {
        self.signal_leftovers(generation, signal);
    }

    fn child_changed(&mut self) {
        self.child_changed();
    }

    fn suspension(&mut self) -> Option<Suspension> {
        self.suspension()
    }
}

impl NodeClient for Controller {
    fn read_node(&self, within: Duration) -> impl Future<Output = Result<NodeView, Failure>> + Send {
        self.read_node(within)
    }

    fn lift_mark(
        &self,
        request: RequestNumber,
        method: LiftMethod,
        within: Duration,
    ) -> impl Future<Output = WriteOutcome> + Send {
        self.lift_mark(request, method, within)
    }

    fn mark_offline(
        &self,
        request: RequestNumber,
        method: MarkMethod,
        reason: &str,
        within: Duration,
    ) -> impl Future<Output = WriteOutcome> + Send {
        self.mark_offline(request, method, reason, within)
    }

    fn disconnect(&self, request: RequestNumber, within: Duration) -> impl Future<Output = WriteOutcome> + Send {
        self.disconnect(request, within)
    }

    fn replace_credentials(
        &self,
        source: Option<CredentialSource>,
    ) -> impl Future<Output = Result<(), CredentialError>> + Send {
        self.replace_credentials(source)
    }

    fn set_online_match(&self, pattern: Option<regex_lite::Regex>) {
        self.set_online_match(pattern);
    }

    fn version(&self) -> Option<String> {
        self.version()
    }
}

impl<B: RunBeside> Prepare<Controller, B> for Launch {
    type Launched = Launched;

    async fn prepare(
        self: Arc<Self>,
        controller: Option<Arc<Controller>>,
        beside: Arc<B>,
    ) -> Result<Launched, Unprepared> {
        self.prepare(controller, &*beside).await
    }

    fn why_not_executed(&self, failure: SpawnFailure) -> String {
        self.why_not_executed(failure)
    }

    fn connected(launched: &mut Launched, beside: &B) {
        launched.connected(beside);
    }

    fn has_new_jar(launched: &Launched) -> bool {
        launched.has_new_jar()
    }

    fn look_for_jar(
        launched: &Launched,
        controller: Arc<Controller>,
        beside: Arc<B>,
    ) -> Option<impl Future<Output = Result<bool, Unprepared>> + Send + 'static> {
        let jar = launched.jar()?;
        Some(async move { jar.is_outdated(&controller, &*beside).await })
    }

    fn rejecting_jar(launched: &Launched) -> Option<RejectingJar> {
        launched.rejecting_jar()
    }
}

impl Keep for StateFile {
    fn write(&self, record: &Record) -> io::Result<()> {
        self.write(record)
    }
}

impl Hear for ManagerSocket {
    fn hear(&mut self, datagram: &str) -> io::Result<()> {
        self.send(datagram)
    }
}

impl Show for Screen {
    fn access(&self, agent: Option<u32>) -> Access {
        self.access(agent)
    }

    fn begin_row(&self) {
        self.begin_row();
    }

    fn show(&self, words: Option<&str>) {
        self.show(words);
    }

    fn mend(&self) {
        self.mend();
    }

    fn erase(&self) {
        self.erase();
    }
}

impl RunBeside for Beside {
    fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Late>> + Send {
        self.run(patience, work)
    }

    fn submit(&self, work: impl FnOnce() + Send + 'static) {
        self.submit(work);
    }
}

impl<B: RunBeside> Hold<B> for HoldWatch {
    fn look(&self, beside: Arc<B>) -> impl Future<Output = Result<Option<String>, Late>> + Send + 'static {
        let look = self.looking();
        async move { beside.run(HOLD_PATIENCE, look).await }
    }

    fn changed(&mut self) -> impl Future<Output = ()> {
        self.changed()
    }
}
