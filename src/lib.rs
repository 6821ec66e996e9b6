//! The shells around the supervisor.
pub mod cli;
pub mod config;
pub mod exit;
