//! A lost race heals: others change the mark at every point between our requests, answers are lost, and what was asked
//! for is carried out late. Each combination of a way to write, a point in time and an act is a test of its own.
//!
//! A point is a moment in which the controller is about to carry a request out, has just done so, or has an agent's
//! channel come up; between two of them nothing can be told apart from outside.

#[path = "../common/mod.rs"]
mod common;
mod life;
mod lost_answers;
mod races;
#[path = "../trials/mod.rs"]
mod trials;

use std::process::ExitCode;

fn main() -> ExitCode {
    trials::run(races::trials().into_iter().chain(lost_answers::trials()).collect(), trials::MANY)
}
