//! What a running service shows, and what it hides.

use std::fs;
use std::sync::Arc;

use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage as _;
use nix::unistd::Pid;
use serde_json::Value;

use crate::Test;
use crate::common::eventually;
use crate::common::standalone::children;
use crate::machine::Machine;
use crate::service::Service;

pub const TESTS: &[(&str, Test)] = &[
    ("a_reload_takes_the_settings", a_reload_takes_the_settings),
    ("two_instances_are_two_nodes", two_instances_are_two_nodes),
    (
        "a_build_can_neither_read_the_credential_nor_speak_to_systemd",
        a_build_can_neither_read_the_credential_nor_speak_to_systemd,
    ),
    ("an_encrypted_credential_is_as_good", an_encrypted_credential_is_as_good),
    ("the_journal_has_the_fields", the_journal_has_the_fields),
    ("the_wrapper_is_protected_and_the_agent_is_not", the_wrapper_is_protected_and_the_agent_is_not),
    ("java_runs_within_the_bounds_of_the_unit", java_runs_within_the_bounds_of_the_unit),
];

fn a_reload_takes_the_settings(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "reloads");
    service.start();
    let main = service.show("MainPID");
    service.settings("offline-reason = \"reloaded\"");
    assert!(service.systemctl("reload").status.success(), "{}", service.log());
    service.await_value("ActiveState", "active");
    eventually("the settings are in force", || service.log().contains("the settings were read again and hold"));
    assert_eq!(service.show("MainPID"), main);
    // Those that cannot be used are not.
    service.settings("offline-reason = \"{nonsense}\"");
    service.systemctl("reload");
    eventually("they are refused", || service.log().contains("the settings cannot be used"));
    service.await_value("ActiveState", "active");
    assert!(service.systemctl("stop").status.success());
    let node = service.controller.node(&service.name).expect("a node");
    assert!(node.reason.starts_with("reloaded"), "{node:?}");
}

fn two_instances_are_two_nodes(machine: &Arc<Machine>) {
    let (one, two) = (Service::instance(machine, "one"), Service::instance(machine, "two"));
    one.start();
    two.start();
    assert!(one.is_online() && two.is_online());
    assert!(one.systemctl("stop").status.success());
    assert!(one.controller.node("one").expect("a node").marked);
    assert_eq!(two.show("ActiveState"), "active");
    assert!(two.is_online());
}

fn a_build_can_neither_read_the_credential_nor_speak_to_systemd(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "secret");
    service.start();
    let main = service.main_process();
    let agent =
        children(main).into_iter().find(|child| owner(child.as_raw()) == Some(9999)).expect("the agent is ci's");
    let environment = fs::read_to_string(format!("/proc/{agent}/environ")).expect("its environment");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_", "CREDENTIALS_DIRECTORY", "AGENT_WRAP_CONFIG"] {
        assert!(!environment.split('\0').any(|variable| variable.starts_with(name)), "{name}: {environment:?}");
    }
    // As the agent's user, where the agent is.
    let credential = format!("/run/credentials/{}/agent-wrap.token", service.unit);
    let inside = service.show("MainPID");
    let read = |user: &str, path: &str| {
        let target = format!("--target={inside}");
        let words =
            ["nsenter", &target, "--mount", "setpriv", "--reuid", user, "--regid", user, "--clear-groups", "cat", path];
        machine.command(&words)
    };
    let environ = format!("/proc/{inside}/environ");
    for path in [credential.as_str(), "/etc/agent-wrap/secret.token", &environ] {
        let output = read("9999", path);
        assert!(!output.status.success() && output.stdout.is_empty(), "{path}: {output:?}");
    }
    let output = read("0", &credential);
    let (_, secret) = service.controller.credentials().expect("security is on");
    assert_eq!(String::from_utf8_lossy(&output.stdout), secret, "{output:?}");
}

fn an_encrypted_credential_is_as_good(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "sealed");
    let (plain, sealed) = ("/etc/agent-wrap/sealed.token", "/etc/agent-wrap/sealed.cred");
    machine.said(&["systemd-creds", "encrypt", "--with-key=host", "--name=agent-wrap.token", plain, sealed]);
    fs::remove_file(machine.file(plain)).expect("it was there");
    let (_, secret) = service.controller.credentials().expect("security is on");
    let text = fs::read(machine.file(sealed)).expect("it is there");
    assert!(!text.windows(secret.len()).any(|window| window == secret.as_bytes()));
    service.drop_in(&format!("LoadCredential=\nLoadCredentialEncrypted=agent-wrap.token:{sealed}"));
    service.start();
    assert!(service.is_online(), "{}", service.log());
}

fn owner(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

fn the_journal_has_the_fields(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "journal");
    service.start();
    assert!(service.systemctl("stop").status.success());
    let mut records = Vec::new();
    eventually("the last line is in the journal", || {
        let text =
            machine.said(&["journalctl", "--no-pager", "--output=json", "--unit", &service.unit, "NODE=journal"]);
        records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect();
        records.iter().any(|record| record["EVENT"] == "stopped")
    });
    let of =
        |event: &str| records.iter().find(|record| record["EVENT"] == event).unwrap_or_else(|| panic!("no {event}"));
    let field = |event: &str, name: &str| of(event)[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(field("agent_connected", "PHASE"), "running");
    assert_eq!(field("agent_connected", "GENERATION"), "1");
    assert_eq!(field("agent_connected", "PRIORITY"), "6");
    assert_eq!(field("agent_connected", "SYSLOG_IDENTIFIER"), "agent-wrap");
    assert_eq!(field("agent_connected", "_TRANSPORT"), "journal");
    assert!(field("agent_connected", "MESSAGE").starts_with("the agent is connected after "));
    assert_eq!(field("terminating", "PHASE"), "terminating");
    // The agent speaks for itself.
    assert!(service.log().contains("INFO: Connected"), "{}", service.log());
}

fn the_wrapper_is_protected_and_the_agent_is_not(machine: &Arc<Machine>) {
    let service = Service::instance(machine, "memory");
    assert_eq!(service.show("OOMScoreAdjust"), "-500");
    // To lower it takes a capability that not every machine of ours has, and then systemd leaves it.
    service.drop_in("OOMScoreAdjust=200\nEnvironment=AGENT_WRAP_AGENT_OOM_SCORE_ADJ=700");
    service.start();
    let value = |pid| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it is there");
    let main = service.main_process();
    let is_agent = |child: &Pid| owner(child.as_raw()) == Some(9999);
    let agent = children(main).into_iter().find(is_agent).expect("the agent is ci's");
    assert_eq!((value(main), value(agent)), ("200\n".to_owned(), "700\n".to_owned()));
    assert!(!service.log().contains("oom-score-adj"), "{}", service.log());
}

fn java_runs_within_the_bounds_of_the_unit(machine: &Arc<Machine>) {
    if skip::unmet("systemd::java_runs_within_the_bounds_of_the_unit", skip::need_java()) {
        return;
    }
    let service = Service::instance(machine, "java");
    // The name in /usr/bin is that of its stand-in.
    let java = fs::canonicalize("/usr/bin/java").expect("java is there");
    service.drop_in(&format!(
        "ExecStart=\nExecStart=/usr/bin/agent-wrap --standalone --restart no {} -XshowSettings:system -version\nType=exec\nRestart=no",
        java.display()
    ));
    service.systemctl("start");
    service.await_value("ActiveState", "inactive");
    assert_eq!((service.show("Result"), service.show("ExecMainStatus")), ("success".to_owned(), "0".to_owned()));
    assert!(service.log().contains("Operating System Metrics:"), "{}", service.log());
}
