//! Reading the settings again: what holds at once, what from the agent's next start on, what only after a restart.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use agent_wrap_testbed::simulated::{Entry, Options, Simulated, agent_program};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage as _;
use common::standalone::{folder, misbehave, on_fork, standalone_script, start_and_listen, text, without_terminal};
use common::{Wrap, wrap, wrap_with_state};
use nix::libc;
use nix::sys::signal::Signal;

fn reload(wrap: &Wrap, file: &Path, settings: &str, count: usize) {
    fs::write(file, settings).expect("the settings are written");
    wrap.signal(Signal::SIGHUP);
    wrap.wait_for_nth("policy_changed", count);
}

#[test]
fn what_holds_only_after_a_restart_is_named_each_time() {
    let folder = folder();
    let file = folder.path().join("agent-wrap.toml");
    fs::write(&file, "standalone = true\nlog-format = \"json\"\n").expect("written");
    let mut command = wrap();
    command.args(["--config", &text(&file), misbehave(), "--hang"]);
    without_terminal(&mut command);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_started");
    let changed =
        "log-format = \"text\"\nlog-level = \"trace\"\nstate-dir = \"/nowhere\"\nurl = \"https://ci/\"\nnode = \"n\"\n";
    for time in 1..=2 {
        reload(&wrap, &file, changed, time);
        let named = |line: &String| {
            let (_, rest) = line.split_once("the changed setting ")?;
            Some(rest.split_once(" holds only after a restart")?.0.to_owned())
        };
        let named: Vec<String> = wrap.log().iter().filter_map(named).collect();
        assert_eq!(named, ["standalone", "log-format", "log-level", "state-dir"].repeat(time));
    }
    wrap.stop().expect_code(0);
}

#[test]
fn the_agents_secret_and_its_channel_change_at_its_next_start_and_signals_at_once() {
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n", 1).expect("the node is created");
    let dir = folder();
    let [file, java] = ["agent-wrap.toml", "java"].map(|name| dir.path().join(name));
    std::os::unix::fs::symlink(agent_program(), &java).expect("a link");
    let (user, token) = controller.credentials().expect("security is on");
    fs::write(dir.path().join("token"), format!("{user}:{token}")).expect("written");
    fs::write(dir.path().join("wrong"), "00").expect("written");
    fs::write(dir.path().join("right"), controller.secret("n")).expect("written");
    let common = "token-file = \"token\"\nrestart = \"always\"\nrestart-delay = \"100ms\"\npoll = \"1s\"\n";
    fs::write(&file, format!("{common}stdio = true\nsecret-file = \"wrong\"\n")).expect("written");
    let mut command = wrap_with_state(dir.path().as_os_str());
    command.current_dir(dir.path()).args(["--url", &controller.url(), "--node", "n", "--config", &text(&file)]);
    command.args([text(&java).as_str(), "-jar", "agent.jar"]);
    without_terminal(&mut command);
    let wrap = Wrap::start(command);
    wrap.agent_pid(1);
    let refused = |entry: &Entry| matches!(entry, Entry::AgentRefused { .. });
    assert!(!controller.timeline().iter().any(refused), "with --stdio it does not connect by itself");

    // The agent that runs is left alone, until it is started anew by a signal that meant something else before.
    let restarts = "[signal]\nWINCH = \"restart\"\n";
    reload(&wrap, &file, &format!("{common}secret-file = \"wrong\"\n{restarts}"), 1);
    wrap.signal(Signal::SIGWINCH);
    wrap.wait_for("request");
    controller.wait_for_entry("the wrong secret", refused);
    reload(&wrap, &file, &format!("{common}secret-file = \"right\"\n{restarts}"), 2);
    wrap.signal(Signal::SIGWINCH);
    wrap.wait_for("agent_connected");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("reload_ignored"), "{}", outcome.text());
}

#[test]
fn a_meaning_for_a_signal_that_stays_ignored_is_in_vain() {
    let folder = folder();
    let file = folder.path().join("agent-wrap.toml");
    fs::write(&file, "").expect("written");
    let mut command = standalone_script(&["--config", &text(&file)], "exec sleep 1000");
    on_fork(&mut command, || {
        // SAFETY: ignoring runs no code.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        Ok(())
    });
    without_terminal(&mut command);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_started");
    let warned = || wrap.log().iter().filter(|line| line.contains("--signal gives to INT is in vain")).count();
    reload(&wrap, &file, "[signal]\nINT = \"ignore\"\nUSR1 = \"drain\"\n", 1);
    assert_eq!(warned(), 0);
    reload(&wrap, &file, "[signal]\nINT = \"drain\"\n", 2);
    assert_eq!(warned(), 1);
    wrap.stop().expect_code(0);
}

#[test]
fn a_secret_that_the_next_agent_could_not_have_is_found_out_and_that_of_the_agent_that_runs_stays() {
    let dir = folder();
    let [file, agent] = ["agent-wrap.toml", "agent"].map(|name| dir.path().join(name));
    fs::write(&file, "").expect("written");
    fs::write(&agent, "#!/bin/sh\necho ${6#@}\ntrap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n").expect("written");
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("its mode is set");
    let mut command = wrap();
    command.args(["--standalone", "--log-format", "json", "--config", &text(&file), &text(&agent)]);
    command.args(["-url", "http://ci/", "-name", "n", "-secret", "hush"]);
    without_terminal(&mut command);
    let (wrap, said) = start_and_listen(command);
    let secret = said.next().expect("the path of its secret");
    reload(&wrap, &file, "grace = \"10s\"\n", 1);
    assert_eq!(fs::read_to_string(&secret).expect("it is still there"), "hush");
    let runtime = Path::new(&secret).parent().expect("its folder");
    fs::set_permissions(runtime, fs::Permissions::from_mode(0o777)).expect("its mode is set");
    fs::write(&file, "grace = \"20s\"\n").expect("written");
    wrap.signal(Signal::SIGHUP);
    let failed = wrap.wait_for("reload_failed");
    assert!(failed["message"].as_str().expect("a message").contains("can be written by others"), "{failed}");
    fs::set_permissions(runtime, fs::Permissions::from_mode(0o700)).expect("its mode is set");
    wrap.stop().expect_code(0);
}

#[test]
fn the_agents_user_changes_at_its_next_start() {
    if skip::unmet("reload::the_agents_user_changes_at_its_next_start", skip::need_root()) {
        return;
    }
    let folder = folder();
    let file = folder.path().join("agent-wrap.toml");
    fs::write(&file, "").expect("written");
    let mut command = standalone_script(
        &["--config", &text(&file), "--signal", "USR1=restart"],
        "id -u; trap 'exit 0' TERM; while :; do sleep 0.1; done",
    );
    without_terminal(&mut command);
    let (wrap, said) = start_and_listen(command);
    assert_eq!(said.next().as_deref(), Some("0"));
    reload(&wrap, &file, "agent-user = \"65534:65534\"\n", 1);
    wrap.signal(Signal::SIGUSR1);
    assert_eq!(said.next().as_deref(), Some("65534"));
    wrap.wait_for_nth("agent_started", 2);
    // Settings that cannot be used are not used in part either.
    fs::write(&file, "agent-user = \"nobody-of-that-name\"\n[signal]\nUSR1 = \"stop\"\n").expect("written");
    wrap.signal(Signal::SIGHUP);
    let failed = wrap.wait_for("reload_failed");
    assert!(failed["message"].as_str().expect("a message").contains("nobody-of-that-name"), "{failed}");
    wrap.signal(Signal::SIGUSR1);
    assert_eq!(said.next().as_deref(), Some("65534"));
    wrap.stop().expect_code(0);
}
