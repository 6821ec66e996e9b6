//! `cargo xtask demo` as a person runs it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
};

use agent_wrap_testbed::skip;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn demo(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    // Pipes and a locale without more than ASCII: no colours, no lines of Unicode.
    command.args(["demo", "--rehearse"]).args(options).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Fails unless the life went as promised and is drawn as it went.
#[track_caller]
fn expect_a_good_life(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let everything = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{everything}");
    assert!(!text.contains('\x1b'), "colours without a terminal:\n{everything}");
    let (story, picture) = text.split_once("\n\n").expect("a blank line before the picture");
    for speaker in ["demo       ", "agent-wrap ", "agent      "] {
        assert!(story.lines().any(|line| line.starts_with(speaker)), "{speaker:?} says nothing:\n{everything}");
    }

    let lines: Vec<_> = picture.lines().collect();
    let names: Vec<_> = lines.iter().take(4).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["mark", "agent", "build", "time"], "{everything}");
    assert!(picture.is_ascii() && lines.iter().all(|line| line.len() <= 80), "{everything}");
    let at = |words: &str| {
        lines.iter().position(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words:?}:\n{everything}"))
    };
    let events = [
        "an earlier job has marked the node",
        "the mark is lifted",
        "the agent is started",
        "the agent is connected",
        "the build runs",
        "Ctrl-C",
        "the node is marked again",
        "the build has ended: SUCCESS",
        "the agent has ended",
        "agent-wrap has ended with exit code 0",
    ];
    assert!(events.map(at).is_sorted(), "{everything}");
    assert_eq!(lines.iter().filter(|line| line.trim_start().starts_with("kept ")).count(), 7, "{everything}");
}

#[test]
fn one_life_on_the_simulated_controller() {
    let output = demo(&[]).output().expect("the demo runs");
    expect_a_good_life(&output);
}

#[test]
fn one_life_on_the_real_controller() {
    if skip::unmet("demo::one_life_on_the_real_controller", skip::need_hudson()) {
        return;
    }
    let output = demo(&["--real", "--no-install"]).output().expect("the demo runs");
    expect_a_good_life(&output);
}

#[test]
fn an_interrupt_ends_it_and_leaves_nothing_behind() {
    let mut demo = demo(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the demo runs");
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines().map(|line| line.expect("a line"));
    let started = lines.find(|line| line.contains("the agent is started")).expect("the agent is started");
    lines.find(|line| line.contains("is running on the node")).expect("the build runs");
    kill(Pid::from_raw(i32::try_from(demo.id()).expect("a pid")), Signal::SIGINT).expect("the demo is there");
    lines.for_each(drop);
    assert_eq!(demo.wait().expect("the demo ends").code(), Some(130));
    let agent = started.rsplit("pid ").next().expect("a pid");
    let command = std::fs::read_to_string(format!("/proc/{agent}/cmdline")).unwrap_or_default();
    assert!(!command.contains("agent.jar"), "the agent is still there: {command:?}");
}
