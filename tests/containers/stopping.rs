//! Stops within and beyond the grace period of the engine.

use std::sync::Arc;

use agent_wrap_testbed::stage::{BuildState, Stage as _};

use crate::Test;
use crate::common::eventually;
use crate::common::standalone::every_process;
use crate::container::{Container, Site};
use crate::machine::Machine;

pub const TESTS: &[(&str, Test)] = &[
    ("a_stop_within_the_grace_period", a_stop_within_the_grace_period),
    ("a_stop_waits_for_a_build", a_stop_waits_for_a_build),
    ("a_stop_beyond_the_grace_period", a_stop_beyond_the_grace_period),
];

/// Fails unless everything that was in a container has gone.
#[track_caller]
fn expect_nothing_left(container: &Container, inside: &str) {
    assert!(!container.is_running());
    eventually("nothing of it is left", || !every_process().any(|pid| namespace(pid) == inside));
}

/// The pid namespace that a process is in; empty when it has gone.
fn namespace(pid: nix::unistd::Pid) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap_or_default();
    link.to_string_lossy().into_owned()
}

fn a_stop_within_the_grace_period(machine: &Arc<Machine>) {
    let site = Site::new(machine, "within");
    let container = site.run_online(&["--env=MISBEHAVE=--setsid-child"]);
    let inside = namespace(container.process());
    assert_eq!(container.stop(60), 0, "{}", container.log());
    site.expect_marked();
    assert!(site.state().reason.contains("SIGTERM"), "{:?}", site.state());
    expect_nothing_left(&container, &inside);
    // It comes back free.
    container.podman(&["start"]);
    container.await_events("agent_connected", 2);
    assert!(site.is_online(), "{:?}\n{}", site.state(), container.log());
}

fn a_stop_waits_for_a_build(machine: &Arc<Machine>) {
    let site = Site::new(machine, "building");
    let container = site.run_online(&["--stop-timeout=345"]);
    let folder = tempfile::tempdir().expect("a folder");
    let gate = folder.path().join("gate");
    let build = site.controller.start_build("building", &gate).expect("a build");
    eventually("the build runs", || site.controller.build(&build).is_ok_and(|state| state == BuildState::Running));
    std::thread::scope(|scope| {
        // Without a time of its own it goes by the container's.
        let stopping = scope.spawn(|| container.podman(&["stop"]));
        container.await_event("draining");
        assert!(site.state().marked && site.state().connected == Some(true), "{:?}", site.state());
        std::fs::write(&gate, "").expect("written");
        stopping.join().expect("it is stopped");
    });
    container.expect_code(0);
    assert_eq!(site.controller.build(&build).expect("a build"), BuildState::Finished("SUCCESS".to_owned()));
}

fn a_stop_beyond_the_grace_period(machine: &Arc<Machine>) {
    let site = Site::new(machine, "beyond");
    let container = site.run_online(&["--env=MISBEHAVE=--ignore-term --setsid-child --fork-child"]);
    let inside = namespace(container.process());
    assert_eq!(container.stop(1), 137, "{}", container.log());
    // It was set before anything else was done, so that it is there although we were killed.
    site.expect_marked();
    assert_eq!((container.count("marked"), container.count("stopped")), (1, 0), "{}", container.log());
    expect_nothing_left(&container, &inside);
    container.podman(&["start"]);
    container.await_events("agent_connected", 2);
    assert!(site.is_online(), "{:?}\n{}", site.state(), container.log());
}
