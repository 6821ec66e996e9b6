//! What the settings decide. The shells read settings; the core reads this.

use alloc::string::String;

use crate::Span;

/// Everything the decisions depend on besides events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The node's part; `None` for `--standalone`.
    pub node: Option<NodePolicy>,
    /// Whether an ended agent is started again.
    pub restart: RestartMode,
    /// Delays between starts.
    pub backoff: Backoff,
    /// How long to wait for running builds at a stop; zero for not at all.
    pub drain: Span,
    /// So long before that is over people are told which builds will be cut off; zero for not at all.
    pub drain_warn: Span,
    /// From TERM to KILL.
    pub grace: Span,
    /// Whether what the agent leaves behind is ended at a stop.
    pub leftovers: Leftovers,
    /// Whether the wrapper was started at a terminal: a second interrupt then skips the drain, a third kills.
    pub terminal: bool,
    /// Whether an agent of an earlier run is still alive; it is generation zero and is ended first.
    pub survivor: bool,
    /// A number that differs between machines and runs; jitter is derived from it.
    pub seed: u64,
}

/// How the node's mark is treated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodePolicy {
    /// Which marks are lifted at the first start.
    pub online: OnlinePolicy,
    /// Whether the node is marked at a stop.
    pub offline: OfflinePolicy,
    /// How a mark is lifted.
    pub online_method: OnlineMethod,
    /// What happens when the controller refuses us at the start.
    pub if_refused: IfRefused,
    /// How long the controller may be unreachable at the first start; zero for ever.
    pub start_timeout: Span,
    /// How long marking the node may take at a stop.
    pub offline_timeout: Span,
    /// How long one request may take.
    pub request_timeout: Span,
    /// How often the node is looked at in quiet times; never more seldom than `disconnect_timeout`. Zero means as
    /// seldom as allowed.
    pub poll: Span,
    /// The longest time between two looks, and how long an agent may be alive and not connected before it is started
    /// anew.
    pub disconnect_timeout: Span,
    /// So many looks at a node whose agent does not connect are made soon after one another; an agent that comes later
    /// is no part of the start any more.
    pub patient_after: u8,
    /// The previous run on this machine ended without a stop: only our own marks are lifted, whatever `online` says.
    pub unclean: bool,
    /// A mark of ours was on the node when the previous run on this machine ended.
    pub marked_before: bool,
    /// The previous run on this machine ended without a stop while the node was connected: the controller may still hold
    /// the dead channel.
    pub connected_before: bool,
    /// Whether such a channel is closed.
    pub takeover: TakeOver,
    /// What an operator's hold file says when it begins, if there is one.
    pub hold: Option<String>,
}

/// `--online`: which marks are lifted at the first start. At an agent's restart it is only ever ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnlinePolicy {
    /// Whoever set it.
    Always,
    /// Only ours.
    Own,
    /// Ours, and those whose reason matches.
    Match,
    /// None.
    Never,
}

/// `--offline`: whether the node is marked at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OfflinePolicy {
    /// Marked and drained.
    Always,
    /// Left as it is.
    Never,
}

/// `--online-method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnlineMethod {
    /// The CLI where the controller has it and it works, else the toggle.
    Auto,
    /// Only the CLI.
    Cli,
    /// Only the toggle.
    Toggle,
}

/// `--takeover`: whether a dead channel of an earlier run is closed at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TakeOver {
    /// Where our own records say that it is ours.
    Auto,
    /// Never.
    Never,
}

/// `--if-refused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IfRefused {
    /// Exit 77 (68 for a missing node).
    Exit,
    /// Start the agent all the same, with a warning.
    Start,
}

/// `--restart`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartMode {
    /// Whatever the exit code.
    Always,
    /// Unless it ended with code 0 after having been connected or having run for a while.
    OnFailure,
    /// Never; the wrapper then ends with the agent's code.
    No,
}

/// The delays between starts of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// After the first failure.
    pub first: Span,
    /// The doubling ends here.
    pub max: Span,
    /// After so long a run, earlier failures are forgotten.
    pub forget_after: Span,
    /// A run shorter than this that never connected is a failure even with code 0.
    pub quick: Span,
    /// After so many failures in a row the node is marked and the pace slows down.
    pub slow_after: u32,
    /// The slow pace.
    pub slow: Span,
    /// After so many failures in a row we give up; `None` for never.
    pub limit: Option<u32>,
}

/// `--leftovers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leftovers {
    /// Reported and ended.
    Kill,
    /// Reported and left.
    Leave,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            node: Some(NodePolicy::default()),
            restart: RestartMode::Always,
            backoff: Backoff::default(),
            drain: Span::seconds(300),
            drain_warn: Span::seconds(60),
            grace: Span::seconds(30),
            leftovers: Leftovers::Kill,
            terminal: false,
            survivor: false,
            seed: 0,
        }
    }
}

impl Default for NodePolicy {
    fn default() -> Self {
        Self {
            online: OnlinePolicy::Always,
            offline: OfflinePolicy::Always,
            online_method: OnlineMethod::Auto,
            if_refused: IfRefused::Exit,
            start_timeout: Span::seconds(300),
            offline_timeout: Span::seconds(10),
            request_timeout: Span::seconds(10),
            poll: Span::seconds(60),
            disconnect_timeout: Span::seconds(300),
            // Some four minutes.
            patient_after: 60,
            unclean: false,
            marked_before: false,
            connected_before: false,
            takeover: TakeOver::Auto,
            hold: None,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Span::seconds(1),
            max: Span::seconds(60),
            forget_after: Span::seconds(600),
            quick: Span::seconds(10),
            slow_after: 10,
            slow: Span::seconds(300),
            limit: None,
        }
    }
}

impl Policy {
    /// How long a stop may take at the most: marking, draining, grace, and five seconds for what is left to do.
    #[must_use]
    pub fn longest_stop(&self) -> Span {
        let marking = match &self.node {
            Some(node) if node.offline == OfflinePolicy::Always => node.offline_timeout.plus(self.drain),
            Some(_) | None => Span::ZERO,
        };
        marking.plus(self.grace).plus(Span::seconds(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_stop_counts_what_a_stop_does() {
        let mut policy = Policy::default();
        assert_eq!(policy.longest_stop(), Span::seconds(10 + 300 + 30 + 5));
        if let Some(node) = &mut policy.node {
            node.offline = OfflinePolicy::Never;
        }
        assert_eq!(policy.longest_stop(), Span::seconds(30 + 5));
        policy.node = None;
        assert_eq!(policy.longest_stop(), Span::seconds(30 + 5));
    }
}
