//! The program in real containers (podman with runc), as the entry point of images that have nothing else or a whole
//! Debian, with a controller in a network of their own.

#[path = "../common/mod.rs"]
mod common;
mod confined;
mod container;
mod entry;
mod kube;
mod machine;
mod orphans;
mod signals;
mod stopping;
#[path = "../trials/mod.rs"]
mod trials;
mod whole;

use std::process::ExitCode;
use std::sync::{Arc, LazyLock, OnceLock};

use agent_wrap_testbed::cache;
use agent_wrap_testbed::skip::{self, Need};
use machine::Machine;
use trials::trial;

/// What a test gets: the machine that all of them share. Their containers and networks have names of their own.
type Test = fn(&Arc<Machine>);

static NEED: LazyLock<Need> = LazyLock::new(machine::need);
static MACHINE: OnceLock<Arc<Machine>> = OnceLock::new();

fn machine() -> &'static Arc<Machine> {
    MACHINE.get_or_init(|| {
        let images = skip::need_debian_image().map(|()| cache::image_store());
        Machine::boot(images.ok()).expect("it starts")
    })
}

fn main() -> ExitCode {
    // What takes longest comes first.
    let tables =
        [whole::TESTS, orphans::TESTS, signals::TESTS, stopping::TESTS, confined::TESTS, entry::TESTS, kube::TESTS];
    let trials = tables.into_iter().flatten().map(|(name, test)| {
        trial(*name, move || {
            if !skip::unmet(&format!("containers::{name}"), NEED.clone()) {
                test(machine());
            }
        })
    });
    // Grace periods go on while the processors are busy with others.
    let code = trials::run(trials.collect(), trials::MANY / 24);
    if let Some(machine) = MACHINE.get() {
        machine.sweep();
    }
    code
}
