//! The shipped core in every world that a few disturbances can make: a model check of the promise.
//!
//! The model holds the core itself, not a copy. In each state everything that could happen next is tried: a request is
//! carried out, answered, lost, or carried out late; the agent is forked, connects, ends, hangs; somebody sets or lifts
//! the mark; the controller restarts; an operator asks for something; time goes by until something is due, and what is
//! due is handled before or after the rest. What goes wrong costs one of a number of disturbances; all else is free.
//! Every pair of disturbances at every pair of moments is inside the smallest of the bounds here.
//!
//! `cargo test` looks at a few lots, `cargo xtask test` at all of them, `cargo xtask model` at all of them within larger
//! bounds. They set `MODEL_LOTS` (a lot's name, or `all`), `MODEL_DISTURBANCES`, `MODEL_REQUESTS` and `MODEL_AGENTS`.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic like tests")]

mod agent;
mod book;
mod calm;
mod check;
mod controller;
mod lots;
mod network;
mod planted;
mod properties;
mod state;
mod steps;
mod trace;
mod usual;
