//! The decisions of agent-wrap, pure: events in, actions out. No clock, no I/O, no dependency.
//!
//! The driver waits for one thing to happen, tells [`Supervisor::handle`], performs every [`Action`] that
//! [`Supervisor::poll_action`] returns, and never waits for one: its result is another [`Event`].
//!
//! ```text
//!  Evicting ──> Enabling ──> Starting ──> Running <──────────> Landed
//!   (survivor)   ^    ^         │           │  ^  take off        ^
//!                │    │ spawn   │           │  └────────┐         │ drained
//!                │    │ fails   v  agent     v           │         │
//!                │  BackingOff <── ends ── Running     Marking ─> Draining
//!                │                                        ^  │      │
//!                │        stop, in every phase above ─────┘  │      │ idle twice, time over, or skipped
//!                │                       offline-timeout over│      v
//!                └──────── restart ───────────────────────────> Terminating ─> Killing
//!                                                                   │ ended      │
//!                                             Finished <─ Closing <─ Sweeping <──┘
//! ```
//! * **Evicting**: an agent that a killed wrapper left behind gets TERM, then KILL; there is never a second one. So
//!   does what lives of one that went into the background, when another is about to be started.
//! * **Enabling**: the node is read, its mark lifted if the policy says so, and read again. Nothing is started yet. A dead
//!   channel that the run before has left is closed first. An agent that has failed as often as allowed is given up here, once a read has shown that the controller was not
//!   the cause.
//! * **Starting**: the agent is being forked.
//! * **Running**: looks at the node: often until it is connected, then seldom. A mark of ours is lifted again. An agent
//!   that lives and is not connected for `--disconnect-timeout` is ended (Terminating) and started anew (BackingOff).
//! * **Landed**: as Running, but marked, by request or because of an operator's hold file. An agent that comes after the
//!   mark comes here from Starting.
//! * **BackingOff**: the agent has ended and is started again after a delay.
//! * **Marking**: the node is read, marked, and read again. The agent is not touched until that is done or
//!   `--offline-timeout` is over.
//! * **Draining**: marked; builds finish. Two reads in a row that call the node idle end it, or `--drain`.
//! * **Terminating**, **Killing**: TERM and CONT, after `--grace` KILL, to the agent alone.
//! * **Sweeping**: what the agent left in its group, and what we have adopted, is ended.
//! * **Closing**: one last look at the mark.
//! * **Finished**: the driver exits with the code of the [`Ending`].
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod action;
mod agent;
mod aside;
mod errand;
mod event;
mod node;
mod note;
mod policy;
mod status;
mod supervisor;
mod time;
mod timers;
mod view;

pub use action::{Action, AgentSignal, LastEnd, LeftoverSignal, LiftMethod, MarkMethod, Memory, OfflineReason};
pub use agent::AgentState;
pub use errand::{Cause, Goal};
pub use event::{Event, Exit, Failure, FailureKind, Request, SpawnFailure, StopSource, WriteOutcome};
pub use node::{Desired, Scope};
pub use note::{Effect, Ending, Note};
pub use policy::{
    Backoff, IfRefused, Leftovers, NodePolicy, OfflinePolicy, OnlineMethod, OnlinePolicy, Policy, RestartMode, TakeOver,
};
pub use status::Status;
pub use supervisor::{Phase, Supervisor};
pub use time::{Moment, Span};
pub use timers::Deadline;
pub use view::{Build, Mark, NodeView, Owner, Rest};

/// One run of the agent, counted from 1; 0 is an agent that an earlier wrapper left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// The number of a request to the controller. A late answer to an earlier one is ignored by construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNumber(pub u32);
