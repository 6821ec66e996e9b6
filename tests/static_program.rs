//! The static program, whose C library begins the realtime signals later than those who send them.

mod common;

use std::process::{Command, Stdio};

use agent_wrap_testbed::{skip, statics};
use common::standalone::{start_and_listen, without_terminal};
use common::wrap_by;
use nix::libc;

/// What bash, podman and Java machines send as RTMIN.
const RTMIN: i32 = 34;

/// The static program without a controller.
fn standalone(options: &[&str], agent: &[&str]) -> Command {
    let mut command = wrap_by(&statics::program("agent-wrap"));
    command.args(["--standalone", "--log-format", "json"]).args(options).args(agent);
    without_terminal(&mut command);
    command
}

#[test]
fn a_realtime_signal_is_the_one_that_was_sent() {
    if skip::unmet("static_program::a_realtime_signal_is_the_one_that_was_sent", statics::need()) {
        return;
    }
    let script = "grep SigIgn: /proc/self/status; trap 'echo got 37' 37; echo ready; \
        while :; do sleep 1000 & wait $!; kill $!; done";
    let options = ["--signal", "RTMIN+1=drain", "--signal", "RTMAX=stop"];
    let (wrap, said) = start_and_listen(standalone(&options, &["bash", "-c", script]));
    let send = |signal: i32| {
        // SAFETY: kill takes two integers.
        assert_eq!(unsafe { libc::kill(wrap.pid().as_raw(), signal) }, 0, "{signal}");
    };
    let before = said.wait_for("ready");
    let ignored = before.iter().find_map(|line| line.strip_prefix("SigIgn:")).expect("what is ignored");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    assert_eq!(ignored & (1 << (RTMIN - 1)), 0, "the agent has its default again");
    send(RTMIN);
    send(RTMIN + 1);
    let line = wrap.wait_for("request");
    assert!(line["message"].as_str().is_some_and(|words| words.starts_with("land: ")), "{line}");
    send(RTMIN + 3);
    said.wait_for("got 37");
    send(64);
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert!(outcome.text().contains("SIGRTMIN+30 from process"), "{}", outcome.text());
}

#[test]
fn the_signal_that_its_c_library_keeps_means_nothing() {
    if skip::unmet("static_program::the_signal_that_its_c_library_keeps_means_nothing", statics::need()) {
        return;
    }
    for name in ["RTMIN", "34"] {
        let mut command = standalone(&["--signal", &format!("{name}=restart")], &["true"]);
        let output = command.stderr(Stdio::piped()).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        assert!(stderr.contains("SIGRTMIN is kept by") && stderr.contains("RTMIN+1"), "{stderr}");
    }
}
