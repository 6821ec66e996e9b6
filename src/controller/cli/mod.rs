//! The CLI over HTTP: the only setter that brings a node online without a race.

mod frames;
mod session;

#[cfg(test)]
mod session_tests;
