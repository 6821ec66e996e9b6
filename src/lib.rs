//! The shells around the supervisor.

pub mod controller;
