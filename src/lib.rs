//! The shells around the supervisor.

pub mod process;
pub mod signals;
pub mod state;
