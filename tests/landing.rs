//! Landing before there is an agent: our own mark is no surprise.

mod common;

use std::fs;

use agent_wrap_testbed::simulated::{Fault, On, Operation, Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use common::{Wrap, eventually, wrap_with_state};
use nix::sys::signal::Signal;

#[test]
fn landing_before_the_agent_starts_is_told_once_and_without_a_warning() {
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n", 1).expect("the node is created");
    controller.fault(On::operation(Operation::ReadNode).times(1), Fault::HeldOpen);
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("token"), "admin:admin-token").expect("the token is written");
    let mut command = wrap_with_state(dir.path().as_os_str());
    command.current_dir(dir.path()).args(["--url", &controller.url(), "--node", "n", "--token-file", "token"]);
    command.args(controller.agent_command("n"));
    let wrap = Wrap::start(command);
    eventually("the node is read", || !controller.requests_for(Operation::ReadNode).is_empty());
    wrap.signal(Signal::SIGUSR1);
    let connected = wrap.wait_for("agent_connected");
    assert_eq!(connected["level"], "INFO", "{connected}");
    wrap.wait_for("landed");
    assert!(controller.node("n").expect("it answers").marked);
    wrap.signal(Signal::SIGUSR2);
    wrap.wait_for("lifted");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert_eq!(outcome.events().iter().filter(|event| *event == "landed").count(), 1, "{}", outcome.text());
}
