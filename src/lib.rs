//! The shells around the supervisor: thin, and strangers to each other. Only the driver knows them all.

pub mod clock;
pub mod process;
pub mod signals;
pub mod state;
pub mod telemetry;
//! The shells around the supervisor.
pub mod cli;
pub mod config;
pub mod exit;

pub mod controller;
