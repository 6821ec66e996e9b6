//! What can happen to the supervisor. Facts are past participles; a request is a wish that may be refused.

use alloc::string::String;

use crate::{Generation, NodeView, Policy, RequestNumber, Span};

/// One thing that happened. The driver hands them over one at a time, facts before wishes and answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The agent of this generation was forked and its exec succeeded.
    AgentSpawned {
        /// The run of the agent that this is about.
        generation: Generation,
        /// Its process id, for people to read.
        pid: u32,
        /// The jar that it was started with has replaced another one, which is still there, and no agent has been seen
        /// connected with it.
        new_jar: bool,
    },
    /// The agent of this generation could not be started; nothing of it is left.
    SpawnFailed {
        /// The run of the agent that this is about.
        generation: Generation,
        /// Why.
        failure: SpawnFailure,
    },
    /// What the agent of this generation needs (its secret, its jar) could not be had from the controller; nothing was
    /// forked.
    AgentUnprepared {
        /// The run of the agent that this is about.
        generation: Generation,
        /// What the controller said.
        failure: Failure,
    },
    /// The agent of this generation was not started, because something of the one before still lives: it is taken up
    /// under this generation. Its end is told as `AgentExited`.
    RemainsFound {
        /// The run of the agent that was to begin.
        generation: Generation,
        /// What lives, for people to read.
        processes: String,
    },
    /// The agent of this generation has ended. It stays unreaped until [`Action::Reap`](crate::Action::Reap).
    AgentExited {
        /// The run of the agent that this is about.
        generation: Generation,
        /// How it ended.
        exit: Exit,
    },
    /// After [`Action::SignalLeftovers`](crate::Action::SignalLeftovers): how many processes of the agent's group and
    /// adopted orphans are still alive. Sent again each time it falls to zero.
    LeftoversCounted {
        /// The run of the agent that left them.
        generation: Generation,
        /// How many are alive.
        alive: u32,
    },
    /// The answer to [`Action::ReadNode`](crate::Action::ReadNode).
    NodeRead {
        /// The request's number.
        request: RequestNumber,
        /// What the controller said.
        outcome: Result<NodeView, Failure>,
    },
    /// The answer to [`Action::LiftMark`](crate::Action::LiftMark), [`Action::MarkOffline`](crate::Action::MarkOffline) or
    /// [`Action::Disconnect`](crate::Action::Disconnect).
    NodeWritten {
        /// The request's number.
        request: RequestNumber,
        /// What became of it.
        outcome: WriteOutcome,
    },
    /// While the agent of this generation runs, the controller has begun to offer another jar than the one that it was
    /// started with.
    JarOffered {
        /// The run of the agent that this is about.
        generation: Generation,
    },
    /// Somebody wants something: a signal, or a request of the control program.
    Requested(Request),
    /// An operator's hold file has appeared or says something else (what it says), or is gone.
    HoldChanged(Option<String>),
    /// We were stopped together with the agent and have been continued; timers go on from here.
    Resumed,
    /// How long running builds may be waited for, counted from now, where that goes by the clock on the wall: by the
    /// drain that is under way, or the next one. [`Policy::drain`] is that from now on.
    DrainBounded {
        /// How long; zero for not at all.
        left: Span,
    },
    /// A reload has brought other settings.
    PolicyChanged(alloc::boxed::Box<Policy>),
}

/// What a person, a signal or a service manager may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Stop gracefully: mark, drain, end the agent, exit.
    Stop(StopSource),
    /// Stop without waiting for running builds.
    StopNow,
    /// Land: mark, drain, stay up with the agent running.
    Land,
    /// Take off: lift our mark again, take back a drain that was asked for by request.
    TakeOff,
    /// Mark, drain, then start the agent anew.
    Restart,
    /// Pass this signal on to the agent.
    Forward(i32),
    /// Stop the agent's process group and ourselves until a continue.
    Suspend,
}

/// Who asked for a stop. Only an interrupt from a terminal escalates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopSource {
    /// SIGTERM, or a signal that the settings map to a stop: a second one changes nothing, because schedulers send two.
    Terminate,
    /// SIGINT: at a terminal a second one skips the rest of the drain, a third kills.
    Interrupt,
    /// The terminal has hung up.
    Hangup,
    /// Asked by a program that can say what it means.
    Control,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// Killed by this signal.
    Signal(i32),
    /// Ended, but as it was no child of ours nobody can tell how.
    Unknown,
}

impl Exit {
    /// The exit code a shell would report: the code, or 128 + signal. A fate that nobody can tell counts as 1.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128)),
            Self::Unknown => 1,
        }
    }
}

/// Why an agent could not be started. A failed exec is not an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpawnFailure {
    /// The command does not exist.
    NotFound,
    /// The command exists but cannot be executed.
    NotExecutable,
    /// The system had no process, memory or descriptor to spare (an errno); it may have one later.
    Exhausted(i32),
    /// What its command line needs (its secret, its jar) could not be had; it may be later.
    Unprepared,
    /// A stop came before it was forked.
    Cancelled,
    /// Any other errno.
    Other(i32),
}

/// Why a request to the controller has brought no usable answer. All of them have been said in full by the shell that
/// met them; the core decides by the kind alone, and by `words` for what a person is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What failed, the likely cause and the cure, in one sentence.
    pub words: String,
    /// For how long whoever answered wants to be left alone.
    pub retry_after: Option<Span>,
}

impl Failure {
    /// A failure of this kind, in these words.
    #[must_use]
    pub fn new(kind: FailureKind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into(), retry_after: None }
    }

    /// What it is, whenever it happens: an answer that names another time to wait is no other failure.
    #[must_use]
    pub(crate) fn timeless(&self) -> Self {
        Self::new(self.kind, self.words.clone())
    }
}

/// The kinds of failure that decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// No connection, no name, no answer in time, a TLS failure, a 5xx, "getting ready", garbage instead of JSON, or an
    /// answer that shows no controller: it may pass, so it is tried again.
    Unavailable,
    /// 401: the credentials are refused.
    Unauthenticated,
    /// 403: the credentials are good but lack a permission.
    Forbidden,
    /// The controller answers, but it has no such node.
    NoSuchNode,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// The controller accepted it. Only a read shows what it did.
    Accepted,
    /// This controller has no such way (no such page, no such command, a proxy that breaks it): not carried out.
    Unsupported {
        /// What was tried and what came back.
        words: String,
    },
    /// It was refused, or never sent: certainly not carried out.
    Failed(Failure),
    /// Nobody can tell: it may have been carried out, or may still be.
    Unknown(Failure),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_reported_as_a_shell_would() {
        for (exit, code) in [
            (Exit::Code(0), 0),
            (Exit::Code(7), 7),
            (Exit::Signal(9), 137),
            (Exit::Signal(15), 143),
            (Exit::Signal(400), 255),
            (Exit::Unknown, 1),
        ] {
            assert_eq!(exit.shell_code(), code, "{exit:?}");
        }
    }
}
