//! What one read of the node has shown.

use alloc::string::String;
use alloc::vec::Vec;

use crate::Span;

/// The node as the controller described it in one answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeView {
    /// The mark, if the node is temporarily offline.
    pub mark: Option<Mark>,
    /// Whether the agent's channel is up; `None` where the answer does not tell (marked, and no permission or an old
    /// controller).
    pub connected: Option<bool>,
    /// Whether the controller calls the node idle.
    pub idle: bool,
    /// What runs on it, as far as these credentials may see.
    pub builds: Vec<Build>,
    /// Whether this controller has the CLI over HTTP, the way to lift a mark that cannot race.
    pub has_cli: bool,
}

/// The mark: `temporarilyOffline`, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Whose it is.
    pub owner: Owner,
    /// The reason as a person would read it, unescaped.
    pub reason: String,
    /// Whether the reason matches the regular expression of `--online match=REGEX`; false without one.
    pub matches: bool,
}

/// Whose mark it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Set by this run of the wrapper.
    ThisRun,
    /// Set by an earlier run of a wrapper (any host: names of pods change), or ours according to the state file.
    EarlierRun,
    /// Set by a monitor of the controller (disk, swap, response time): lifting it is pointless, it comes back.
    Monitor,
    /// Set by somebody else.
    Foreign,
}

impl Owner {
    /// Whether a wrapper set it.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, Self::ThisRun | Self::EarlierRun)
    }
}

/// A build that occupies an executor. Its times are by the controller's clock, as of the read that has shown them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Build {
    /// Its full display name, "job #12"; `None` when the job is not visible to these credentials.
    pub name: Option<String>,
    /// How far it is, in percent, where the controller can tell.
    pub progress: Option<u8>,
    /// For how long it has been running.
    pub running_for: Option<Span>,
    /// What is left of it, by how long the job took before.
    pub rest: Option<Rest>,
}

/// What is left of a build, as far as the controller can estimate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rest {
    /// It ought to have ended so long ago.
    Overdue(Span),
    /// It ought to end in so long.
    Left(Span),
}
