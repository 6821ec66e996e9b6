//! A stderr that takes nothing must not keep the wrapper from stopping, and one that takes everything loses nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;

use common::screen::Screen;
use common::standalone::{Ends, children, exists, folder, standalone_script, standalone_with};
use common::{PATIENCE, Wrap, eventually, wait_within};
use nix::libc::O_NOCTTY;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whether the standard error of this process would take another line.
fn takes_more(process: Pid) -> bool {
    let stream = File::options().write(true).custom_flags(O_NOCTTY).open(format!("/proc/{process}/fd/2")).unwrap();
    poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO).unwrap() > 0
}

/// Stops a wrapper whose stderr is full, and expects it to end with this code and its agent with it.
#[track_caller]
fn stop_stalled(mut command: Command, signals: &[Signal], code: i32) {
    let mut child = command.spawn().unwrap();
    drop(command);
    let wrapper = Pid::from_raw(child.id().try_into().unwrap());
    let _end = Ends(wrapper);
    eventually("the agent is there", || !children(wrapper).is_empty());
    let agent = children(wrapper)[0];
    eventually("stderr takes nothing", || !takes_more(agent));
    for signal in signals {
        kill(wrapper, *signal).unwrap();
    }
    let status = wait_within(&mut child, PATIENCE).expect("it stops without anybody who reads its log");
    assert_eq!(status.code(), Some(code), "{status:?}");
    assert!(!exists(agent));
}

#[test]
fn a_pipe_that_nobody_reads_does_not_hold_up_a_stop() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = standalone_script(&["--grace", "1"], "exec yes >&2");
    command.stderr(writer);
    stop_stalled(command, &[Signal::SIGTERM], 0);
    drop(reader);
}

#[test]
fn a_pipe_that_nobody_reads_is_not_waited_for_anew_with_each_fault_of_the_settings() {
    let folder = folder();
    let settings = folder.path().join("bad.toml");
    // A pause for each would be more than a test waits for.
    let faults: String = (0..2000).map(|number| format!("unknown-{number} = 1\n")).collect();
    fs::write(&settings, faults).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = standalone_with(&["--config", settings.to_str().unwrap()], &["true"]);
    command.stderr(writer);
    let mut child = command.spawn().unwrap();
    let _end = Ends(Pid::from_raw(child.id().try_into().unwrap()));
    let status = wait_within(&mut child, PATIENCE).expect("it ends without anybody who reads what is wrong");
    assert_eq!(status.code(), Some(78), "{status:?}");
    drop(reader);
}

#[test]
fn a_pipe_that_nobody_reads_does_not_hold_up_a_kill() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command =
        standalone_script(&["--grace", "1", "--log-level", "trace"], "trap '' TERM; while :; do yes >&2; done");
    command.stderr(writer);
    stop_stalled(command, &[Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGHUP, Signal::SIGTERM], 137);
    drop(reader);
}

#[test]
fn a_terminal_that_is_held_does_not_hold_up_a_stop() {
    let mut command = standalone_script(&["--grace", "1"], "exec sleep 1000");
    let screen = Screen::of(&mut command);
    screen.type_in("\x13");
    stop_stalled(command, &[Signal::SIGTERM], 0);
}

#[test]
fn nothing_is_lost_at_the_end() {
    let options = ["--restart-delay", "1ms", "--restart-delay-max", "1ms", "--restart-limit", "9"];
    let outcome = Wrap::start(standalone_script(&options, "exit 1")).outcome();
    outcome.expect_code(71);
    let count = |name: &str| outcome.events().iter().filter(|event| *event == name).count();
    assert_eq!((count("agent_started"), count("agent_exited")), (9, 9), "{}", outcome.text());
    assert_eq!(outcome.events().last().map(String::as_str), Some("gave_up"), "{}", outcome.text());
}

#[test]
fn the_thread_that_writes_takes_no_signal() {
    let wrap = Wrap::start(standalone_script(&[], "exec sleep 1000"));
    wrap.wait_for("agent_started");
    let tasks = fs::read_dir(format!("/proc/{}/task", wrap.pid())).unwrap();
    let mut statuses = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    let status = statuses.find(|status| status.starts_with("Name:\tlog\n")).expect("there is one");
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    let blocked = u64::from_str_radix(blocked, 16).unwrap();
    for signal in Signal::iterator().filter(|signal| ![Signal::SIGKILL, Signal::SIGSTOP].contains(signal)) {
        assert!(blocked & (1 << (signal as i32 - 1)) != 0, "{signal}");
    }
    wrap.stop().expect_code(0);
}
