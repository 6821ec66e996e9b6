//! The core, tested from outside: whole lives as readable traces, a table of its transitions, and random lives in
//! virtual time with every fault on. One binary, because all of them live in the same world.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic like tests")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a new note or event is rendered like most, not a decision to make"
)]

mod lives;
mod simulation;
mod table;
mod world;
