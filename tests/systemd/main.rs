//! The shipped units under a real systemd, which is process 1 of namespaces of its own, with the simulated controller
//! outside of them and the agent that does what it is told in the place of java.

#[path = "../common/mod.rs"]
mod common;
mod dying;
mod machine;
mod running;
mod service;
mod starting;
mod stopping;
#[path = "../trials/mod.rs"]
mod trials;

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use agent_wrap_testbed::skip::{self, Need};
use machine::Machine;
use trials::trial;

/// What a test gets: a machine of its own. They could not share one, because to install a unit takes a daemon-reload, at
/// which systemd forgets that another one has asked for more time.
type Test = fn(&Arc<Machine>);

fn main() -> ExitCode {
    let tables = [starting::TESTS, running::TESTS, stopping::TESTS, dying::TESTS];
    static NEED: LazyLock<Need> = LazyLock::new(machine::need);
    let trials = tables.into_iter().flatten().map(|(name, test)| {
        trial(*name, move || {
            if !skip::unmet(&format!("systemd::{name}"), NEED.clone()) {
                test(&Arc::new(Machine::boot().expect("it boots")));
            }
        })
    });
    // systemd's timeouts go on while the processors are busy with others.
    trials::run(trials.collect(), trials::MANY / 16)
}
