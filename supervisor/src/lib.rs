//! The decisions of agent-wrap, pure: events in, actions out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod action;
mod event;
mod note;
mod policy;
mod time;
mod view;

pub use action::{Action, AgentSignal, LeftoverSignal, LiftMethod, MarkMethod, Memory, OfflineReason};
pub use event::{Event, Exit, Failure, FailureKind, Request, SpawnFailure, StopSource, WriteOutcome};
pub use note::{Effect, Ending, Note};
pub use policy::{
    Backoff, IfRefused, Leftovers, NodePolicy, OfflinePolicy, OnlineMethod, OnlinePolicy, Policy, RestartMode,
};
pub use time::{Moment, Span};
pub use view::{Build, Mark, NodeView, Owner};

/// One run of the agent, counted from 1; 0 is an agent that an earlier wrapper left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// The number of a request to the controller. A late answer to an earlier one is ignored by construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNumber(pub u32);
