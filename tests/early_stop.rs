//! A TERM at any moment of the start: however early or late it comes, a node is never left online by a wrapper that was
//! asked to stop, and no agent is left behind.

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use agent_wrap_testbed::simulated::{Entry, Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use common::{Wrap, wrap_with_state};
use nix::libc;
use nix::sys::signal::{Signal, kill};

/// The start takes some tens of milliseconds; so the delays go from before `main` to after the agent's connection.
const DELAYS: std::ops::Range<u64> = 0..60;

#[test]
fn a_stop_at_any_moment_of_the_start_leaves_the_node_marked_and_no_agent() {
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    let (mut untouched, mut stopped) = (0, 0);
    for delay in DELAYS {
        let node = format!("n{delay}");
        controller.create_node(&node, 1).expect("the node is created");
        controller.mark(&node, "from before").expect("marked");
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("token"), "admin:admin-token").expect("the token is written");
        let mut command = wrap_with_state(dir.path().as_os_str());
        command.current_dir(dir.path()).args(["--url", &controller.url(), "--node", &node, "--token-file", "token"]);
        command.args(["--drain", "0"]).args(controller.agent_command(&node));
        let wrap = Wrap::start(command);
        wait(Duration::from_millis(delay));
        kill(wrap.pid(), Signal::SIGTERM).expect("the wrapper is not reaped yet");
        let outcome = wrap.outcome();
        if outcome.status.signal() == Some(libc::SIGTERM) {
            untouched += 1;
            assert!(outcome.events().is_empty(), "{}", outcome.text());
        } else {
            stopped += 1;
            outcome.expect_code(0);
        }
        assert!(controller.node(&node).expect("the controller answers").marked, "{delay} ms\n{}", outcome.text());
        let timeline = controller.timeline();
        let count = |wanted: fn(&Entry) -> Option<&String>| {
            timeline.iter().filter(|entry| wanted(entry) == Some(&node)).count()
        };
        let came = count(|entry| if let Entry::AgentConnected { node, .. } = entry { Some(node) } else { None });
        let left = count(|entry| if let Entry::AgentLeft { node, .. } = entry { Some(node) } else { None });
        assert_eq!(came, left, "{delay} ms: an agent is left\n{}", outcome.text());
    }
    assert!(stopped > 0, "{untouched} of the wrappers ended before they began");
}

#[expect(clippy::disallowed_methods, reason = "the moment of the signal is what is varied; nothing is awaited by it")]
fn wait(delay: Duration) {
    std::thread::sleep(delay);
}
