//! A stderr that takes nothing must not keep the wrapper from stopping, one that takes everything loses nothing, and it
//! takes the place of a journal that is not there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::Command;

use agent_wrap_testbed::skip;
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

const JOURNAL: &str = "/run/systemd/journal/socket";

/// What comes to stderr of a run on a machine without a journal.
fn logs_to(format: &str, stream: Option<&str>) -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let inode = writer.as_fd().try_clone_to_owned().map(File::from).unwrap().metadata().unwrap();
    let wrap = common::wrap();
    let mut command = Command::new("unshare");
    command.env_clear().envs(wrap.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if Path::new(JOURNAL).exists() {
        command.args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs /run/systemd/journal && exec \"$@\"", "sh"]);
        command.arg(wrap.get_program());
    } else {
        command = wrap;
    }
    command.args(["--standalone", "--restart", "no", "--log-format", format, "true"]);
    match stream {
        Some("its own") => command.env("JOURNAL_STREAM", format!("{}:{}", inode.dev(), inode.ino())),
        Some(other) => command.env("JOURNAL_STREAM", other),
        None => &mut command,
    };
    command.stderr(writer);
    assert!(command.status().unwrap().success());
    drop(command);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn where_there_is_no_journal_its_lines_go_to_stderr() {
    let test = "stalled_log::where_there_is_no_journal_its_lines_go_to_stderr";
    if Path::new(JOURNAL).exists() && skip::unmet(test, skip::need_root()) {
        return;
    }
    let text = logs_to("journal", None);
    assert!(text.contains("warning: there is no journal to log to") && text.contains("the agent is started"), "{text}");
    // Where stderr is the journal's stream it need not be said: the lines get there, which the journal stamps.
    for text in [logs_to("journal", Some("its own")), logs_to("auto", Some("its own"))] {
        assert!(!text.contains("no journal") && text.contains("agent-wrap the agent is started"), "{text}");
    }
    // Another's stream, as of a service that has started us with a pipe.
    let text = logs_to("auto", Some("8:15"));
    assert!(!text.contains("agent-wrap the agent is started") && text.contains(" the agent is started"), "{text}");
}
