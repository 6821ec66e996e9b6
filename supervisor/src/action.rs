//! What the supervisor wants done. Imperatives; the driver performs them and never waits for one.

use alloc::string::String;

use crate::{Ending, Exit, Generation, Note, RequestNumber, Span, SpawnFailure};

/// One thing to do. The result, where there is one, comes back as an [`Event`](crate::Event).
#[must_use = "an action that is not performed breaks the promise"]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Start the agent. Answered by `AgentSpawned` or `SpawnFailed`, then by `AgentExited`; or by `RemainsFound`.
    Spawn {
        /// The run of the agent that begins.
        generation: Generation,
    },
    /// Give up a spawn that was asked for, if the agent has not been forked yet. Answered by `SpawnFailed`, else the
    /// spawn goes its way.
    CancelSpawn {
        /// The run of the agent that is not wanted any more.
        generation: Generation,
    },
    /// Send the agent, and nobody else, a signal.
    SignalAgent {
        /// The run of the agent that is meant; a signal for an earlier one goes nowhere.
        generation: Generation,
        /// Which signal.
        signal: AgentSignal,
    },
    /// Stop or continue the agent's whole process group (job control).
    SignalGroup {
        /// The run of the agent whose group is meant.
        generation: Generation,
        /// True to continue, false to stop.
        resume: bool,
    },
    /// Stop ourselves (job control); answered by `Resumed` after somebody has continued us.
    StopSelf,
    /// Collect the exit status of the ended agent, which frees its process id and group.
    Reap {
        /// The run of the agent that is over.
        generation: Generation,
    },
    /// Put the jar before the new one in its place again, and do not take the new one again: its agent died at once.
    RejectJar {
        /// The run of the agent that was started with it, and is over.
        generation: Generation,
    },
    /// Signal what the agent has left in its group and what we have adopted. Answered by `LeftoversCounted`.
    SignalLeftovers {
        /// The run of the agent that left them.
        generation: Generation,
        /// What to send.
        signal: LeftoverSignal,
    },
    /// Ask the controller for the node. Answered by `NodeRead`.
    ReadNode {
        /// Its number, which the answer carries.
        request: RequestNumber,
        /// How long the answer may take.
        within: Span,
    },
    /// Lift the node's mark. Answered by `NodeWritten`.
    LiftMark {
        /// Its number, which the answer carries and which is part of the nonce.
        request: RequestNumber,
        /// How.
        method: LiftMethod,
        /// How long the answer may take.
        within: Span,
    },
    /// Mark the node offline. Answered by `NodeWritten`.
    MarkOffline {
        /// Its number, which the answer carries and which is part of the nonce.
        request: RequestNumber,
        /// How.
        method: MarkMethod,
        /// Why, for the person who sees it in the controller's pages.
        reason: OfflineReason,
        /// How long the answer may take.
        within: Span,
    },
    /// Close the channel that the controller holds for the node although its agent is dead. Answered by `NodeWritten`.
    Disconnect {
        /// Its number, which the answer carries.
        request: RequestNumber,
        /// How long the answer may take.
        within: Span,
    },
    /// Close this request's connection; its answer, should one come, is ignored.
    CancelRequest {
        /// Its number.
        request: RequestNumber,
    },
    /// Write down for the next run what this one has done.
    Remember(Memory),
    /// Tell people.
    Tell(Note),
    /// Everything is over: exit.
    Finish(Ending),
}

/// A signal for the agent alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentSignal {
    /// TERM, then CONT: a stopped agent would not see the TERM.
    Terminate,
    /// KILL.
    Kill,
    /// This signal, passed on.
    Forward(i32),
}

/// A signal for what the agent has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeftoverSignal {
    /// Nothing: only count them.
    Count,
    /// TERM and CONT.
    Terminate,
    /// KILL.
    Kill,
}

/// How to lift a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LiftMethod {
    /// `online-node` over the CLI: a setter, it cannot race.
    Cli,
    /// `toggleOffline` with a nonce: a flip whose lost race the next read shows.
    Toggle,
}

/// How to mark a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkMethod {
    /// `changeOfflineCause`: a setter.
    ChangeCause,
    /// `toggleOffline` with a nonce.
    Toggle,
}

/// Why we mark the node. The shell puts it into words, by the template for a stop, and adds the marker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OfflineReason {
    /// A graceful stop.
    Stopping,
    /// Landed by request.
    Landed,
    /// An operator's hold file keeps it offline; what the file says.
    Held(String),
    /// Drained for a restart of the agent.
    Restarting,
    /// The agent ended and is not started again.
    AgentEnded(Exit),
    /// The agent could not be started.
    AgentMissing(SpawnFailure),
    /// The agent keeps failing.
    AgentFailing {
        /// Failures in a row.
        failures: u32,
        /// What has become of it last.
        last: LastEnd,
        /// After how long a pause it is started again, about; `None` when we have given up.
        again: Option<Span>,
    },
}

/// What has become of the last run of an agent that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LastEnd {
    /// It could not be started.
    NotStarted,
    /// It ended by itself.
    Exited {
        /// How.
        exit: Exit,
        /// The controller had reported it connected.
        connected: bool,
    },
    /// It lived without being connected for the whole `--disconnect-timeout`.
    Hung,
}

/// What the state file keeps besides the agent's identity, which the shell that spawned it adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// We have set a mark and not lifted it.
    pub marked: bool,
    /// When it was seen last the node was connected, by our agent; until one is started, by that of the run before.
    pub connected: bool,
    /// The last run that started an agent ended in good order: by a stop, or with the agent.
    pub stopped: bool,
}
