//! Controllers that are starting, refuse, talk nonsense or say nothing, what stands between us and them, and what their
//! versions and settings do: what becomes of the agent and the mark, and what people are told.

#[path = "../common/mod.rs"]
mod common;
mod garbage;
mod marks_left;
mod names;
mod place;
mod proxies;
mod refusals;
mod restarts;
mod silence;
#[path = "../trials/mod.rs"]
mod trials;
mod ways;

use std::process::ExitCode;

fn main() -> ExitCode {
    let all = [
        garbage::trials(),
        marks_left::trials(),
        names::trials(),
        proxies::trials(),
        refusals::trials(),
        restarts::trials(),
        silence::trials(),
        ways::trials(),
    ];
    trials::run(all.into_iter().flatten().collect())
}
