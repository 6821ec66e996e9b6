//! A wrapper that is frozen or killed: nothing of it is left, and the node comes back.

use std::sync::Arc;

use agent_wrap_testbed::stage::Stage as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Test;
use crate::common::standalone::{children, wait_for_end};
use crate::common::{eventually, is_alive};
use crate::machine::Machine;
use crate::service::Service;

pub const TESTS: &[(&str, Test)] = &[
    ("a_frozen_wrapper_is_ended_by_the_watchdog", a_frozen_wrapper_is_ended_by_the_watchdog),
    ("a_killed_wrapper_leaves_no_agent", a_killed_wrapper_leaves_no_agent),
    ("a_wrapper_that_lives_is_not_ended_by_the_watchdog", a_wrapper_that_lives_is_not_ended_by_the_watchdog),
];

/// The wrapper, and what it has started.
fn processes(service: &Service) -> (Pid, Vec<Pid>) {
    let main = service.main_process();
    let started = children(main);
    assert!(!started.is_empty(), "there is an agent");
    (main, started)
}

fn comes_back(service: &Service, (main, started): (Pid, Vec<Pid>)) {
    wait_for_end(main);
    for process in started {
        eventually("it is gone", || !is_alive(process));
    }
    service.await_value("NRestarts", "1");
    service.await_value("ActiveState", "active");
    assert!(service.is_online(), "{:?}\n{}", service.controller.node(&service.name), service.log());
    assert_ne!(service.main_process(), main);
}

fn a_frozen_wrapper_is_ended_by_the_watchdog(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "frozen");
    service.drop_in("WatchdogSec=5s\nRestartSec=1s");
    service.start();
    let all = processes(&service);
    kill(all.0, Signal::SIGSTOP).expect("it is there");
    service.await_value("Result", "watchdog");
    comes_back(&service, all);
}

fn a_killed_wrapper_leaves_no_agent(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "killed");
    service.drop_in("RestartSec=1s");
    service.start();
    let all = processes(&service);
    kill(all.0, Signal::SIGKILL).expect("it is there");
    comes_back(&service, all);
    assert!(service.systemctl("stop").status.success());
    assert!(service.controller.node(&service.name).expect("a node").marked);
}

fn a_wrapper_that_lives_is_not_ended_by_the_watchdog(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "alive");
    service.drop_in("WatchdogSec=5s");
    service.start();
    let stamp = || service.show("WatchdogTimestampMonotonic");
    for _ in 0..4 {
        let before = stamp();
        eventually("another sign of life", || stamp() != before);
    }
    assert_eq!((service.show("NRestarts"), service.show("ActiveState")), ("0".to_owned(), "active".to_owned()));
}
