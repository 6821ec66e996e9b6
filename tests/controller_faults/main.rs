//! Controllers that are starting, refuse, talk nonsense or say nothing, what stands between us and them, and what their
//! versions and settings do: what becomes of the agent and the mark, and what people are told.

#[path = "../common/mod.rs"]
mod common;
mod forward_proxies;
mod garbage;
mod marks_left;
mod names;
mod place;
mod preparing;
mod proxies;
mod refusals;
mod restarts;
mod rotation;
mod scarcity;
mod silence;
#[path = "../trials/mod.rs"]
mod trials;
mod ways;

use std::process::ExitCode;

fn main() -> ExitCode {
    let all = [
        forward_proxies::trials(),
        garbage::trials(),
        marks_left::trials(),
        names::trials(),
        preparing::trials(),
        proxies::trials(),
        refusals::trials(),
        restarts::trials(),
        rotation::trials(),
        scarcity::trials(),
        silence::trials(),
        ways::trials(),
    ];
    trials::run(all.into_iter().flatten().collect(), trials::MANY)
}
