//! Starts: when they are over, and what is said of those that fail.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use agent_wrap_testbed::simulated::{Account, Permission};
use agent_wrap_testbed::stage::Stage as _;

use crate::Test;
use crate::common::eventually;
use crate::machine::Machine;
use crate::service::Service;

pub const TESTS: &[(&str, Test)] = &[
    ("a_start_returns_when_the_agent_is_connected", a_start_returns_when_the_agent_is_connected),
    ("a_start_waits_for_the_controller_beyond_its_timeout", a_start_waits_for_the_controller_beyond_its_timeout),
    ("a_boot_need_not_wait_for_the_controller", a_boot_need_not_wait_for_the_controller),
    ("an_agent_that_keeps_failing_ends_the_start", an_agent_that_keeps_failing_ends_the_start),
    ("what_only_this_machine_can_mend_leaves_the_unit_failed", what_only_this_machine_can_mend_leaves_the_unit_failed),
    ("what_the_controller_can_mend_is_tried_again", what_the_controller_can_mend_is_tried_again),
    ("a_token_elsewhere_needs_no_credential", a_token_elsewhere_needs_no_credential),
    ("the_literal_unit_needs_but_a_settings_file", the_literal_unit_needs_but_a_settings_file),
];

fn a_start_returns_when_the_agent_is_connected(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "starts");
    service.controller.mark(&service.name, "a job has marked it").expect("it is marked");
    service.start();
    assert!(service.is_online(), "{:?}", service.controller.node(&service.name));
    assert_eq!((service.show("ActiveState"), service.show("SubState")), ("active".to_owned(), "running".to_owned()));
    service.await_value("StatusText", "online");
    assert!(service.status().contains("Status: \"online\""), "{}", service.status());
}

fn a_start_waits_for_the_controller_beyond_its_timeout(machine: &Arc<Machine>) {
    let mut service = Service::instance(machine, "waits");
    service.controller.take_down().expect("it goes down");
    service.drop_in("TimeoutStartSec=5s");
    let mut start = machine.to_execute(&["systemctl", "start", &service.unit]).spawn().expect("systemctl is there");
    service.await_that("StatusText", |words| words.starts_with("waiting for the controller: "));
    eventually("it is tried for longer than the unit allows", || {
        assert_eq!(service.show("ActiveState"), "activating", "{}", service.log());
        let started: u64 = service.show("ExecMainStartTimestampMonotonic").parse().expect("a number");
        monotonic() > started + 10_000_000
    });
    assert!(start.try_wait().expect("it can be waited for").is_none(), "it has returned");
    service.controller.bring_up().expect("it comes up");
    assert!(start.wait().expect("it can be waited for").success(), "{}", service.log());
    assert!(service.is_online());
}

/// The clock by which systemd says when something was.
fn monotonic() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").expect("/proc");
    let (seconds, rest) = uptime.split(' ').next().and_then(|words| words.split_once('.')).expect("a number");
    let number = |words: &str| words.parse::<u64>().expect("a number");
    number(seconds) * 1_000_000 + number(rest) * 10_000
}

fn a_boot_need_not_wait_for_the_controller(machine: &Arc<Machine>) {
    let mut service = Service::instance(machine, "boots");
    service.controller.take_down().expect("it goes down");
    service.drop_in("Environment=AGENT_WRAP_READY=started");
    service.start();
    assert_eq!(service.show("ActiveState"), "active");
    service.await_that("StatusText", |words| words.starts_with("waiting for the controller: "));
    service.controller.bring_up().expect("it comes up");
    eventually("it is online", || service.is_online());
}

fn an_agent_that_keeps_failing_ends_the_start(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "fails");
    service.drop_in("TimeoutStartSec=3s\nEnvironment=MISBEHAVE=--exit-at-once=7");
    assert!(!service.systemctl("start").status.success());
    service.await_that("Result", |result| result == "timeout");
    eventually("the cause is in the journal", || service.log().contains("the agent exited with code 7"));
    // It stops as on every TERM: the node is marked.
    assert!(service.controller.node(&service.name).expect("a node").marked, "{}", service.log());
}

/// What is wrong, as lines of the unit and of the settings; and how the start ends then, with which words.
type Fault = (&'static str, &'static str, &'static str, i32, &'static str);

fn what_only_this_machine_can_mend_leaves_the_unit_failed(machine: &Arc<Machine>) {
    const FAULTS: &[Fault] = &[
        ("usage", "ExecStart=\nExecStart=/usr/bin/agent-wrap --drian=5m java -jar agent.jar", "", 64, "--drian"),
        ("settings", "", "drian = \"5m\"", 78, "drian: there is no such setting; is drain meant?"),
        ("token", "", "", 78, "the user admin is given, but no token. Looked for in: "),
        ("user", "", "", 78, "nobody-of-that-name"),
        ("missing", "ExecStart=\nExecStart=/usr/bin/agent-wrap jawa -jar agent.jar", "", 127, "jawa"),
        ("script", "ExecStart=\nExecStart=/usr/bin/agent-wrap /etc/passwd", "", 126, "/etc/passwd"),
    ];
    for (name, unit, settings, code, words) in FAULTS {
        let service = Service::instance(machine, name);
        service.settings(settings);
        if *name == "user" {
            service.drop_in("Environment=AGENT_WRAP_AGENT_USER=nobody-of-that-name");
        } else if *name == "token" {
            std::fs::remove_file(machine.file("/etc/agent-wrap/token.token")).expect("it is there");
        } else {
            service.drop_in(unit);
        }
        let start = service.systemctl("start");
        assert!(!start.status.success(), "{name}");
        assert_eq!(service.show("ExecMainStatus"), code.to_string(), "{name}: {}", service.log());
        assert_eq!(service.show("SubState"), "failed", "{name}: it is not tried again");
        let status = service.status();
        let line = status.lines().find(|line| line.trim_start().starts_with("Status: \"")).unwrap_or_default();
        assert!(line.contains(words), "{name}: {status}");
        eventually("it is in the journal", || service.log().contains(words));
        assert_eq!(service.show("StatusErrno"), if *code == 127 { "2" } else { "0" }, "{name}");
        assert!(!service.controller.node(&service.name).expect("a node").marked);
    }
}

fn what_the_controller_can_mend_is_tried_again(machine: &Arc<Machine>) {
    let mut refused = Service::instance(machine, "refused");
    let unknown = Service::instance(machine, "unknown");
    let mut down = Service::instance(machine, "down");
    let account =
        |token: &str| Account { token: Some(token.to_owned()), ..Account::new("admin", &[Permission::Administer]) };
    refused.controller.with(|world| world.set_account(account("another")));
    unknown.controller.with(|world| world.remove_node("unknown"));
    down.settings("start-timeout = \"1s\"");
    down.controller.take_down().expect("it goes down");
    for service in [&refused, &unknown, &down] {
        service.drop_in("RestartSec=1s");
    }
    for service in [&refused, &unknown, &down] {
        service.begin("start");
    }
    for (service, code) in [(&refused, "77"), (&unknown, "68"), (&down, "69")] {
        service.await_that("NRestarts", |restarts| restarts != "0");
        // The journal may take its time.
        eventually("its end is in the journal", || service.log().contains(&format!("(exit code {code})")));
    }
    refused.controller.with(|world| world.set_account(account("admin-token")));
    unknown.controller.create_node("unknown", 1).expect("the node is created");
    down.controller.bring_up().expect("it comes up");
    for service in [&mut refused, &mut down] {
        service.await_value("ActiveState", "active");
        assert!(service.is_online());
    }
    unknown.await_value("ActiveState", "active");
    assert!(unknown.is_online());
}

fn a_token_elsewhere_needs_no_credential(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "elsewhere");
    let (given, other) = ("/etc/agent-wrap/elsewhere.token", "/var/ci/rotated");
    machine.said(&["mv", given, other]);
    // Whoever rotates it is another user, and the agent's home is closed.
    std::os::unix::fs::chown(machine.file(other), Some(12345), None).expect("it is given away");
    std::fs::set_permissions(machine.file("/var/ci"), std::fs::Permissions::from_mode(0o700)).expect("it is closed");
    service.settings(&format!("token-file = {other:?}"));
    service.start();
    assert!(service.is_online(), "{}", service.log());
}

fn the_literal_unit_needs_but_a_settings_file(machine: &Arc<Machine>) {
    let service = Service::single(machine);
    assert!(service.show("ExecStart").contains("argv[]=/usr/bin/agent-wrap java -jar agent.jar ;"));
    service.start();
    assert!(service.is_online());
    assert!(service.systemctl("stop").status.success());
    assert_eq!((service.show("ActiveState"), service.show("Result")), ("inactive".to_owned(), "success".to_owned()));
    assert!(service.controller.node(&service.name).expect("a node").marked, "{}", service.log());
}
