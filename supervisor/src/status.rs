//! How things stand, for people and for tests.

use crate::{AgentState, Deadline, Desired, Generation, Goal, Moment, NodeView, Phase, RequestNumber};

/// A view into the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// Where the wrapper stands.
    pub phase: Phase,
    /// The current or last run of the agent.
    pub generation: Generation,
    /// Whether there is an agent.
    pub agent: AgentState,
    /// The controller has reported this run of the agent connected.
    pub connected: bool,
    /// It connects and is lost over and over.
    pub flaps: bool,
    /// Ends of the agent in a row without a healthy run between them.
    pub failures: u32,
    /// What we want of the node; `None` without one.
    pub desired: Option<&'a Desired>,
    /// What the last read has shown.
    pub believed: Option<&'a NodeView>,
    /// The request under way.
    pub in_flight: Option<RequestNumber>,
    /// What the errand under way ends in.
    pub goal: Option<Goal>,
    /// What an operator's hold file says, while it keeps the node offline.
    pub hold: Option<&'a str>,
    /// What is awaited next, and until when.
    pub awaiting: Option<(Moment, Deadline)>,
}
