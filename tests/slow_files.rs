//! Files that may never be read: those that are none are refused by name, those that hang hold up no stop.

mod common;
#[path = "common/lease.rs"]
mod lease;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use agent_wrap_testbed::simulated::{Account, Options, Permission, Simulated, agent_program};
use agent_wrap_testbed::stage::Stage as _;
use common::standalone::{folder, misbehave, standalone_with, text, without_terminal};
use common::{Wrap, eventually, wrap, wrap_with_state};
use lease::Lease;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;

/// A controller with the node `n`.
fn controller() -> Simulated {
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n", 1).expect("the node is created");
    controller
}

/// The wrapper's command line for it, and a token file that is right.
fn wrapper(controller: &Simulated, dir: &Path, options: &[&str]) -> Command {
    fs::write(dir.join("token"), "admin:admin-token").expect("written");
    let mut command = wrap_with_state(dir.as_os_str());
    command.current_dir(dir).args(["--url", &controller.url(), "--node", "n"]).args(options);
    command.args(controller.agent_command("n"));
    command
}

#[test]
fn a_fifo_for_a_file_is_refused_by_name_whichever_file_it_is() {
    let controller = controller();
    for option in ["--token-file", "--ca-file", "--config", "--secret-file"] {
        let dir = folder();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
        let token = if option == "--token-file" { "" } else { "admin:admin-token" };
        let java = dir.path().join("java");
        std::os::unix::fs::symlink(agent_program(), &java).expect("a link");
        let mut command = wrap_with_state(dir.path().as_os_str());
        command.current_dir(dir.path()).args(["--url", &controller.url(), "--node", "n", option, "fifo"]);
        command.args([text(&java).as_str(), "-jar", "agent.jar"]);
        command.env("AGENT_WRAP_TOKEN", token);
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(78);
        assert!(outcome.text().contains("fifo: it is a FIFO"), "{option}: {}", outcome.text());
    }
    assert!(controller.requests().is_empty());
}

#[test]
fn a_secret_file_that_becomes_a_fifo_fails_the_agents_start_alone() {
    let controller = controller();
    let dir = folder();
    let [secret, java] = ["secret", "java"].map(|name| dir.path().join(name));
    fs::write(&secret, controller.secret("n")).expect("written");
    std::os::unix::fs::symlink(agent_program(), &java).expect("a link");
    let mut command = wrap_with_state(dir.path().as_os_str());
    fs::write(dir.path().join("token"), "admin:admin-token").expect("written");
    command.current_dir(dir.path()).args(["--url", &controller.url(), "--node", "n", "--token-file", "token"]);
    command.args(["--secret-file", "secret", "--restart-delay", "100ms", &text(&java), "-jar", "agent.jar"]);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    fs::remove_file(&secret).expect("it is there");
    nix::unistd::mkfifo(&secret, Mode::S_IRWXU).expect("a FIFO");
    kill(wrap.agent_pid(1), Signal::SIGKILL).expect("it is there");
    let failed = wrap.wait_for("not_prepared");
    assert!(failed["message"].as_str().expect("a message").contains("secret: it is a FIFO"), "{failed}");
    wrap.stop().expect_code(0);
    assert!(controller.node("n").expect("it answers").marked);
}

#[test]
fn a_token_that_becomes_a_fifo_leaves_the_old_one_in_use() {
    let controller = controller();
    let dir = folder();
    let wrap = Wrap::start(wrapper(&controller, dir.path(), &["--token-file", "token"]));
    wrap.wait_for("agent_connected");
    fs::remove_file(dir.path().join("token")).expect("it is there");
    nix::unistd::mkfifo(&dir.path().join("token"), Mode::S_IRWXU).expect("a FIFO");
    wrap.signal(Signal::SIGHUP);
    wrap.wait_for("policy_changed");
    let failed = wrap.wait_for("reload_failed");
    assert!(failed["message"].as_str().expect("a message").contains("it is a FIFO"), "{failed}");
    wrap.stop().expect_code(0);
    assert!(controller.node("n").expect("it answers").marked);
}

#[test]
fn settings_that_hang_at_the_start_do_not_hold_up_a_stop() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = wrap();
    command.args(["--config", "/dev/stdin", misbehave(), "--hang"]).stdin(reader);
    let wrap = Wrap::start(command);
    wrap.wait_for_words("the settings are still being read", 1);
    let outcome = wrap.stop();
    outcome.expect_code(74);
    assert!(outcome.text().contains("stopped before the settings were read"), "{}", outcome.text());
    drop(writer);
}

/// A wrapper whose token hangs at the start is stopped. `code`: what it exits with.
fn stopped_while_the_token_hangs(offline: &str, code: i32) {
    let controller = controller();
    let dir = folder();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = wrapper(&controller, dir.path(), &["--token-file", "/dev/stdin", "--offline", offline]);
    command.stdin(reader);
    let wrap = Wrap::start(command);
    wrap.wait_for("slow_start");
    // Neither is meant for us to stop.
    wrap.signal(Signal::SIGWINCH);
    wrap.signal(Signal::SIGHUP);
    let outcome = wrap.stop();
    outcome.expect_code(code);
    assert!(!outcome.has("agent_started") && outcome.has("stopped"), "{}", outcome.text());
    drop(writer);
    assert!(controller.requests().is_empty());
}

#[test]
fn a_token_that_hangs_at_the_start_does_not_hold_up_a_stop() {
    stopped_while_the_token_hangs("always", 74);
}

#[test]
fn a_token_that_hangs_at_the_start_leaves_nothing_to_confirm_where_nothing_is_marked() {
    stopped_while_the_token_hangs("never", 0);
}

#[test]
fn a_token_that_comes_late_is_waited_for_and_no_signal_is_lost() {
    let controller = controller();
    let dir = folder();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut command = wrapper(&controller, dir.path(), &["--token-file", "/dev/stdin"]);
    command.stdin(reader);
    let wrap = Wrap::start(command);
    wrap.wait_for("slow_start");
    wrap.signal(Signal::SIGHUP);
    writer.write_all(b"admin:admin-token\n").expect("there is room in it");
    drop(writer);
    wrap.wait_for("agent_connected");
    wrap.wait_for("policy_changed");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("reload_failed"), "{}", outcome.text());
    assert!(controller.node("n").expect("it answers").marked);
}

#[test]
fn settings_that_hang_at_a_reload_do_not_hold_up_a_stop() {
    let dir = folder();
    let file = dir.path().join("agent-wrap.toml");
    fs::write(&file, "").expect("written");
    let mut command = standalone_with(&["--config", &text(&file)], &[misbehave(), "--hang"]);
    without_terminal(&mut command);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_started");
    let name = "slow_files::settings_that_hang_at_a_reload_do_not_hold_up_a_stop";
    let Some(lease) = Lease::take(&file, name) else { return };
    wrap.signal(Signal::SIGHUP);
    eventually("the settings are being read", || lease.is_waited_for());
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("stopping");
    assert!(lease.is_waited_for(), "the stop waited for the settings: {:?}", wrap.log());
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert!(!outcome.has("policy_changed"), "{}", outcome.text());
}

#[test]
fn what_is_written_while_the_settings_are_being_read_is_read_too() {
    let dir = folder();
    let file = dir.path().join("agent-wrap.toml");
    fs::write(&file, "").expect("written");
    let mut command = standalone_with(&["--config", &text(&file)], &[misbehave(), "--hang"]);
    without_terminal(&mut command);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_started");
    let name = "slow_files::what_is_written_while_the_settings_are_being_read_is_read_too";
    let Some(lease) = Lease::take(&file, name) else { return };
    wrap.signal(Signal::SIGHUP);
    eventually("the settings are being read", || lease.is_waited_for());
    // The reader has the old file. It must not be opened here.
    fs::write(dir.path().join("new"), "log-level = \"debug\"\n").expect("written");
    fs::rename(dir.path().join("new"), &file).expect("replaced");
    wrap.signal(Signal::SIGHUP);
    // The second is taken before this one, which asks for nothing.
    wrap.signal(Signal::SIGUSR2);
    wrap.wait_for("request");
    drop(lease);
    wrap.wait_for_nth("policy_changed", 2);
    wrap.wait_for("reload_ignored");
    wrap.stop().expect_code(0);
}

#[test]
fn a_token_that_hangs_after_a_refusal_does_not_hold_up_a_stop() {
    let controller = controller();
    let dir = folder();
    let options = ["--token-file", "token", "--poll", "1s", "--offline-timeout", "60s"];
    let wrap = Wrap::start(wrapper(&controller, dir.path(), &options));
    wrap.wait_for("agent_connected");
    let token = dir.path().join("token");
    let name = "slow_files::a_token_that_hangs_after_a_refusal_does_not_hold_up_a_stop";
    let Some(lease) = Lease::take(&token, name) else { return };
    let another = Account { token: Some("another".to_owned()), ..Account::new("admin", &[Permission::Administer]) };
    controller.with(|world| world.set_account(another));
    eventually("the token is being read", || lease.is_waited_for());
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("stopping");
    assert!(lease.is_waited_for(), "the stop waited for the token: {:?}", wrap.log());
    // The mount answers again.
    drop(lease);
    fs::write(&token, "admin:another").expect("written");
    wrap.outcome().expect_code(0);
    assert!(controller.node("n").expect("it answers").marked);
}
