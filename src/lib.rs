//! The shells around the supervisor: thin, and strangers to each other. Only the driver knows them all.

pub mod app;
pub mod beside;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod driver;
pub mod exit;
pub mod files;
mod hash;
pub mod held;
pub mod hold;
pub mod jar;
mod mask;
pub mod process;
mod quoted;
mod shortage;
pub mod signals;
pub mod state;
pub mod systemd;
pub mod telemetry;
pub mod terminal;
pub mod wall;
