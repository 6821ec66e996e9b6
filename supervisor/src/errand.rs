//! An errand: mark, drain, and what comes then. A stop is one, landing and a restart by request are others.

use alloc::string::String;
use alloc::vec::Vec;

use crate::agent::Agent;
use crate::{Build, Exit, OfflineReason, Span, SpawnFailure};

/// Two interrupts closer together than this are one press of a key, or one signal sent twice.
pub(crate) const INTERRUPT_GAP: Span = Span::millis(500);

/// What an errand ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Stay up: marked, the agent running.
    Land,
    /// Start the agent anew.
    Restart,
    /// Start anew an agent that lives and is not connected; the node is not marked for it.
    Replace,
    /// Exit. Nothing takes this back.
    Exit(Cause),
}

/// Why we exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Somebody asked for a stop.
    Stopped,
    /// The agent ended and is not started again.
    AgentEnded(Exit),
    /// The agent keeps failing.
    GaveUp,
    /// The agent could not be started.
    SpawnFailed(SpawnFailure),
    /// The controller has refused us for good; the node is left as it is.
    Refused,
}

/// Whether the node is to stay marked although the agent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Landing {
    /// It is not.
    #[default]
    No,
    /// Somebody has asked for it.
    Wished,
    /// People were told that it is done.
    Told,
}

impl Landing {
    pub(crate) fn holds(self) -> bool {
        self != Self::No
    }
}

/// How often a person at a terminal has pressed Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Interrupts {
    None,
    Once,
    Twice,
    Thrice,
}

impl Interrupts {
    pub(crate) fn next(self) -> Self {
        match self {
            Self::None => Self::Once,
            Self::Once => Self::Twice,
            Self::Twice | Self::Thrice => Self::Thrice,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Errand {
    pub(crate) goal: Goal,
    pub(crate) interrupts: Interrupts,
    /// What is left of the time in which another interrupt counts as the same.
    pub(crate) gap: Span,
    /// Nobody has asked for it: it is for a new jar, and no build is cut off for that.
    pub(crate) renews: bool,
    /// Do not wait for running builds.
    pub(crate) skip_drain: bool,
    /// Do not wait for anything any more.
    pub(crate) hurry: bool,
    /// Since the errand began a read has shown the mark.
    pub(crate) confirmed: bool,
    /// People were told of it.
    pub(crate) told_marked: bool,
    /// Reads in a row that called the node idle.
    pub(crate) idle_reads: u8,
    /// Looks made while draining, which slow down.
    pub(crate) looks: u8,
    /// What people were told to be waiting for.
    pub(crate) told: Option<Vec<Build>>,
    /// People are to be told what will be cut off, if anything runs once more.
    pub(crate) warning_due: bool,
    /// People were told that the mark keeps vanishing.
    pub(crate) told_lost: bool,
    /// What is left behind gets KILL from now on.
    pub(crate) sweep_kills: bool,
    /// How many were left behind, once counted.
    pub(crate) leftovers: Option<u32>,
}

impl Errand {
    pub(crate) fn new(goal: Goal) -> Self {
        Self {
            goal,
            interrupts: Interrupts::None,
            gap: Span::ZERO,
            renews: false,
            skip_drain: false,
            hurry: false,
            confirmed: false,
            told_marked: false,
            idle_reads: 0,
            looks: 0,
            told: None,
            warning_due: false,
            told_lost: false,
            sweep_kills: false,
            leftovers: None,
        }
    }

    pub(crate) fn exits(&self) -> bool {
        matches!(self.goal, Goal::Exit(_))
    }

    /// The reason that the node's page will show.
    pub(crate) fn reason(&self, agent: &Agent, hold: Option<&String>) -> OfflineReason {
        if let (Goal::Land | Goal::Restart | Goal::Exit(Cause::Stopped), Some(words)) = (self.goal, hold) {
            return OfflineReason::Held(words.clone());
        }
        match self.goal {
            Goal::Land => OfflineReason::Landed,
            Goal::Restart => OfflineReason::Restarting,
            // Who is refused, or replaces its agent, marks nothing.
            Goal::Exit(Cause::Stopped | Cause::Refused) | Goal::Replace => OfflineReason::Stopping,
            Goal::Exit(Cause::AgentEnded(exit)) => OfflineReason::AgentEnded(exit),
            Goal::Exit(Cause::GaveUp) => {
                OfflineReason::AgentFailing { failures: agent.failures, last: agent.last_end(), again: None }
            }
            Goal::Exit(Cause::SpawnFailed(failure)) => OfflineReason::AgentMissing(failure),
        }
    }
}
