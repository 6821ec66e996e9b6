//! Stops: while nothing runs, while a build does, and beyond what the unit allows.

use std::fs;
use std::sync::Arc;

use agent_wrap_testbed::simulated::Operation;
use agent_wrap_testbed::stage::{BuildHandle, BuildState, Stage as _};
use nix::sys::signal::{Signal, kill};

use crate::Test;
use crate::common::{eventually, is_alive};
use crate::machine::Machine;
use crate::service::Service;

pub const TESTS: &[(&str, Test)] = &[
    ("a_stop_while_nothing_runs", a_stop_while_nothing_runs),
    ("a_stop_waits_for_a_build_beyond_its_timeout", a_stop_waits_for_a_build_beyond_its_timeout),
    ("a_stop_that_nobody_asked_systemd_for", a_stop_that_nobody_asked_systemd_for),
    ("a_drain_that_is_frozen_ends", a_drain_that_is_frozen_ends),
    ("a_drain_survives_a_daemon_reload", a_drain_survives_a_daemon_reload),
    ("a_restart_drains_first", a_restart_drains_first),
    ("a_reboot_waits_for_a_build_and_the_node_comes_back", a_reboot_waits_for_a_build_and_the_node_comes_back),
    ("a_stop_without_the_controller_is_no_failure", a_stop_without_the_controller_is_no_failure),
];

/// A build that runs, and the file that ends it.
fn building(service: &Service, folder: &tempfile::TempDir) -> (BuildHandle, std::path::PathBuf) {
    let gate = folder.path().join("gate");
    let build = service.controller.start_build(&service.name, &gate).expect("a build");
    eventually("the build runs", || service.controller.build(&build).is_ok_and(|state| state == BuildState::Running));
    (build, gate)
}

fn a_stop_while_nothing_runs(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "idle");
    service.start();
    assert!(service.systemctl("stop").status.success());
    let node = service.controller.node(&service.name).expect("a node");
    assert!(node.marked && node.reason.contains("SIGTERM"), "{node:?}");
    assert_eq!((service.show("ActiveState"), service.show("Result")), ("inactive".to_owned(), "success".to_owned()));
    assert_eq!(service.show("ExecMainStatus"), "0");
    assert!(service.show("StatusText").starts_with("stopped after "), "{}", service.show("StatusText"));
}

fn a_stop_waits_for_a_build_beyond_its_timeout(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "drains");
    service.drop_in("TimeoutStopSec=5s");
    service.start();
    let folder = tempfile::tempdir().expect("a folder");
    let (build, gate) = building(&service, &folder);
    service.begin("stop");
    let words = service.await_that("StatusText", |words| words.starts_with("draining: 1 build: "));
    assert!(words.contains(&format!("{} #{}", build.job, build.number)) && words.contains("; cut off in "), "{words}");
    assert_eq!(service.show("SubState"), "stop-sigterm");
    drains_beyond_its_time(&service);
    fs::write(&gate, "").expect("written");
    service.await_value("ActiveState", "inactive");
    assert_eq!(service.show("Result"), "success", "{}", service.log());
    assert_eq!(service.controller.build(&build).expect("a build"), BuildState::Finished("SUCCESS".to_owned()));
}

/// The looks at a build slow down: eight more take far longer than the unit allows by itself.
fn drains_beyond_its_time(service: &Service) {
    let looks = || service.controller.requests_for(Operation::ReadNode).len();
    let before = looks();
    eventually("it goes on draining", || {
        assert_eq!(service.show("SubState"), "stop-sigterm", "{} looks\n{}", looks() - before, service.log());
        looks() > before + 8
    });
    assert_eq!(service.show("SubState"), "stop-sigterm", "{}", service.log());
}

/// TERM from somebody else: the stop is announced, and systemd waits for it as for one of its own.
fn a_stop_that_nobody_asked_systemd_for(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "termed");
    service.drop_in("TimeoutStopSec=5s");
    service.start();
    let folder = tempfile::tempdir().expect("a folder");
    let (build, gate) = building(&service, &folder);
    // A landing is no stop: it can be taken back.
    kill(service.main_process(), Signal::SIGUSR1).expect("it is there");
    service.await_that("StatusText", |words| words.starts_with("landing, draining: 1 build"));
    assert_eq!(service.show("SubState"), "running");
    kill(service.main_process(), Signal::SIGUSR2).expect("it is there");
    service.await_value("StatusText", "online");
    kill(service.main_process(), Signal::SIGTERM).expect("it is there");
    service.await_value("SubState", "stop-sigterm");
    drains_beyond_its_time(&service);
    fs::write(&gate, "").expect("written");
    service.await_value("ActiveState", "inactive");
    assert_eq!(service.controller.build(&build).expect("a build"), BuildState::Finished("SUCCESS".to_owned()));
}

fn a_drain_that_is_frozen_ends(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "frozen-drain");
    service.drop_in("TimeoutStopSec=5s\nRestart=no");
    service.start();
    let folder = tempfile::tempdir().expect("a folder");
    building(&service, &folder);
    service.begin("stop");
    service.await_that("StatusText", |words| words.starts_with("draining: 1 build: "));
    let main = service.main_process();
    kill(main, Signal::SIGSTOP).expect("it is there");
    service.await_value("ActiveState", "failed");
    assert_eq!(service.show("Result"), "timeout", "{}", service.log());
    assert!(!is_alive(main));
    eventually("the agent is gone", || {
        service.controller.node(&service.name).is_ok_and(|node| node.connected != Some(true))
    });
}

fn a_stop_without_the_controller_is_no_failure(machine: &Arc<Machine>) {
    let mut service = Service::instance(machine, "alone");
    service.settings("offline-timeout = \"1s\"");
    service.start();
    service.controller.take_down().expect("it goes down");
    assert!(service.systemctl("stop").status.success());
    assert_eq!(service.show("ExecMainStatus"), "74", "{}", service.log());
    assert_eq!((service.show("ActiveState"), service.show("Result")), ("inactive".to_owned(), "success".to_owned()));
}

/// systemd forgets then for how much time it was asked.
fn a_drain_survives_a_daemon_reload(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "reloaded");
    service.start();
    let folder = tempfile::tempdir().expect("a folder");
    let (build, gate) = building(&service, &folder);
    service.begin("stop");
    service.await_that("StatusText", |words| words.starts_with("draining: 1 build: "));
    machine.said(&["systemctl", "daemon-reload"]);
    let looks = || service.controller.requests_for(Operation::ReadNode).len();
    let before = looks();
    eventually("it goes on draining", || looks() > before + 2);
    assert_eq!(service.show("SubState"), "stop-sigterm", "{}", service.log());
    fs::write(&gate, "").expect("written");
    service.await_value("ActiveState", "inactive");
    assert_eq!(service.controller.build(&build).expect("a build"), BuildState::Finished("SUCCESS".to_owned()));
}

fn a_reboot_waits_for_a_build_and_the_node_comes_back(machine: &Arc<Machine>) {
    let mut service = Service::single(machine);
    service.start();
    let folder = tempfile::tempdir().expect("a folder");
    let (build, gate) = building(&service, &folder);
    machine.said(&["systemctl", "reboot"]);
    service.await_that("StatusText", |words| words.starts_with("draining: 1 build: "));
    let looks = || service.controller.requests_for(Operation::ReadNode).len();
    let before = looks();
    eventually("it goes on draining", || looks() > before + 2);
    assert!(machine.is_up() && service.controller.node(&service.name).expect("a node").marked);
    assert_eq!(service.controller.build(&build).expect("a build"), BuildState::Running);
    fs::write(&gate, "").expect("written");
    eventually("it is down", || !machine.is_up());
    assert_eq!(service.controller.build(&build).expect("a build"), BuildState::Finished("SUCCESS".to_owned()));
    assert!(service.controller.node(&service.name).expect("a node").marked);
    // Whatever the machine has kept of itself: the mark is known for ours by its reason.
    service.move_to(&Arc::new(Machine::boot().expect("it boots again")));
    service.start();
    assert!(service.is_online(), "{:?}\n{}", service.controller.node(&service.name), service.log());
}

fn a_restart_drains_first(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "restarts");
    service.start();
    let main = service.main_process();
    let folder = tempfile::tempdir().expect("a folder");
    let (build, gate) = building(&service, &folder);
    service.begin("restart");
    service.await_that("StatusText", |words| words.starts_with("draining: 1 build: "));
    assert_eq!(service.main_process(), main);
    fs::write(&gate, "").expect("written");
    eventually("the other one is connected", || {
        service.show("SubState") == "running" && service.main_process() != main && service.is_online()
    });
    assert_eq!(service.controller.build(&build).expect("a build"), BuildState::Finished("SUCCESS".to_owned()));
}
