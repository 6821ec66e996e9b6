//! What the driver drives, as it sees it: the shells of the program, or, in tests, partners that do as they are told.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use agent_wrap_supervisor::{
    AgentSignal, Failure, Generation, LeftoverSignal, LiftMethod, MarkMethod, NodeView, RequestNumber, WriteOutcome,
};

use super::launch::{Launch, Launched};
use crate::controller::{Controller, CredentialError};
use crate::process::{AgentIdentity, Processes};
use crate::signals::{Received, Signals, stop_self};
use crate::state::{Record, StateFile};

/// One of each kind.
pub trait Shells: 'static {
    /// The wrapper's own signals.
    type Signals: OwnSignals;
    /// The agent and whatever it leaves behind.
    type Agents: Agents<Self::Launched>;
    /// The controller.
    type Controller: NodeClient;
    /// How the agent is started.
    type Launch: Prepare<Self::Controller, Launched = Self::Launched>;
    /// One run's command, and what belongs to it.
    type Launched: Send + 'static;
    /// Where the record is kept.
    type State: Keep;
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

    /// Some child has ended.
    fn child_changed(&mut self);
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

    /// Reads the credentials again. True if they are others now.
    ///
    /// # Errors
    /// When they cannot be read; the old ones stay in use.
    fn reload_credentials(&self) -> Result<bool, CredentialError>;
}

/// Gets ready what one run of the agent needs.
pub trait Prepare<Controller>: Send + Sync + 'static {
    /// What is ready then.
    type Launched;

    /// Gets it ready; what it has made so far is gone when it is dropped. An error is a sentence for people.
    fn prepare(
        &self,
        controller: Option<Arc<Controller>>,
    ) -> impl Future<Output = Result<Self::Launched, String>> + Send;

    /// The agent that was started with it is connected.
    fn connected(launched: &mut Self::Launched);
}

/// Where the record for the next run is kept.
pub trait Keep {
    /// Replaces what is kept.
    ///
    /// # Errors
    /// Those of the file system; what was kept before is still there then.
    fn write(&self, record: &Record) -> io::Result<()>;
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
}

impl OwnSignals for Signals {
    fn next(&mut self) -> impl Future<Output = Received> {
        self.next()
    }

    fn stop_self(&mut self) -> io::Result<()> {
        stop_self()
    }
}

impl Agents<Launched> for Processes {
    fn spawn(&mut self, generation: Generation, launched: &Launched) {
        self.spawn(generation, &launched.command);
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

    fn reload_credentials(&self) -> Result<bool, CredentialError> {
        self.reload_credentials()
    }
}

impl Prepare<Controller> for Launch {
    type Launched = Launched;

    fn prepare(&self, controller: Option<Arc<Controller>>) -> impl Future<Output = Result<Launched, String>> + Send {
        self.prepare(controller)
    }

    fn connected(launched: &mut Launched) {
        launched.connected();
    }
}

impl Keep for StateFile {
    fn write(&self, record: &Record) -> io::Result<()> {
        self.write(record)
    }
}
