//! An agent that lives and does not run, because the kernel or somebody has stopped it: it is told, with the cause and the
//! cure, and nothing else is done about it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::fd::OwnedFd;

use agent_wrap_testbed::skip;
use common::standalone::{misbehave, standalone_script, standalone_with, stat};
use common::{Wrap, eventually};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use serde_json::Value;

fn set_tostop(terminal: &OwnedFd, on: bool) {
    let mut modes = tcgetattr(terminal).unwrap();
    modes.local_flags.set(LocalFlags::TOSTOP, on);
    tcsetattr(terminal, SetArg::TCSANOW, &modes).unwrap();
}

fn text(line: &Value, field: &str) -> String {
    line[field].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn expect_words(line: &Value, level: &str, words: &[&str]) {
    let message = text(line, "message");
    assert_eq!(text(line, "level"), level, "{message}");
    for words in words {
        assert!(message.contains(words), "{words:?} is not in {message:?}");
    }
}

fn is_stopped(process: Pid) -> bool {
    stat(process).is_some_and(|stat| stat.state == 'T')
}

/// Starts an agent at a terminal, which is stopped for what it does there, and expects these words about it.
#[track_caller]
fn stopped_for(deed: &str, words: &[&str]) -> (Wrap, Pid) {
    let wrap = Wrap::start_at_terminal(standalone_script(&[], &format!("{deed}; exec sleep 1000")));
    let agent = wrap.agent_pid(1);
    let line = wrap.wait_for("agent_suspended");
    let continues = format!("`kill -CONT -- -{agent}`");
    expect_words(&line, "WARN", &[words, &[continues.as_str()]].concat());
    assert!(is_stopped(agent), "it is said of one that runs");
    (wrap, agent)
}

#[test]
fn one_that_reads_from_the_terminal_is_told_each_time_it_is_stopped() {
    let (wrap, agent) = stopped_for("read line </dev/tty", &["SIGTTIN", "read from the terminal", "BatchMode=yes"]);
    // It tries again, and is stopped again.
    killpg(agent, Signal::SIGCONT).unwrap();
    wrap.wait_for_nth("agent_suspended", 2);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    let events = outcome.events();
    let told = events.iter().filter(|event| ["agent_started", "agent_suspended"].contains(&event.as_str()));
    let expected = ["agent_started", "agent_suspended", "agent_suspended"];
    assert_eq!(told.collect::<Vec<_>>(), expected, "{}", outcome.text());
    assert!(outcome.text().contains("stopped by SIGTTIN again, for the same reason"), "{}", outcome.text());
}

#[test]
fn one_that_changes_the_terminals_modes() {
    let (wrap, _) = stopped_for("stty -echo </dev/tty", &["SIGTTOU", "change the terminal's modes", ">agent.log 2>&1"]);
    wrap.stop().expect_code(0);
}

#[test]
fn one_that_writes_where_tostop_is_set_goes_on_by_the_cure_that_is_told() {
    let wait = "until [ -e \"$FILE\" ]; do sleep 0.01; done";
    let folder = common::standalone::folder();
    let (go, wrote) = (folder.path().join("go"), folder.path().join("wrote"));
    let script = format!("{wait}; echo some words >/dev/tty; : >\"$WROTE\"; exec sleep 1000");
    let mut command = standalone_script(&[], &script);
    command.env("FILE", &go).env("WROTE", &wrote);
    let wrap = Wrap::start_at_terminal(command);
    let agent = wrap.agent_pid(1);
    set_tostop(wrap.terminal.as_ref().unwrap(), true);
    std::fs::write(&go, "").unwrap();
    let line = wrap.wait_for("agent_suspended");
    expect_words(&line, "WARN", &["SIGTTOU", "wrote to the terminal", "`stty -tostop`"]);
    set_tostop(wrap.terminal.as_ref().unwrap(), false);
    killpg(agent, Signal::SIGCONT).unwrap();
    expect_words(&wrap.wait_for("agent_resumed"), "INFO", &["the agent goes on, after "]);
    eventually("it has written", || wrote.exists());
    wrap.stop().expect_code(0);
}

#[test]
fn one_that_somebody_stops_and_continues_is_told_without_alarm() {
    let wrap = Wrap::start(standalone_with(&[], &[misbehave(), "--hang"]));
    let agent = wrap.agent_pid(1);
    for round in 1..=2 {
        kill(agent, Signal::SIGSTOP).unwrap();
        let line = wrap.wait_for_nth("agent_suspended", round);
        expect_words(&line, "INFO", &["stopped by SIGSTOP; ", &format!("`kill -CONT {agent}` continues it")]);
        kill(agent, Signal::SIGCONT).unwrap();
        wrap.wait_for_nth("agent_resumed", round);
    }
    // A stop continues it by itself.
    kill(agent, Signal::SIGSTOP).unwrap();
    wrap.wait_for_nth("agent_suspended", 3);
    let outcome = wrap.stop();
    outcome.expect_code(0);
}

#[test]
fn one_that_a_debugger_looks_at_is_not_told() {
    let wrap = Wrap::start(standalone_with(&[], &[misbehave(), "--hang"]));
    let agent = wrap.agent_pid(1);
    if let Err(errno) = debug(agent) {
        return skip::skip(
            "one_that_a_debugger_looks_at_is_not_told",
            &format!("processes cannot be traced here: {errno}"),
        );
    }
    // What comes after it is told, and so that would have been.
    kill(agent, Signal::SIGSTOP).unwrap();
    wrap.wait_for("agent_suspended");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert_eq!(outcome.events().iter().filter(|event| *event == "agent_suspended").count(), 1, "{}", outcome.text());
}

/// Stops a process as a debugger does, and lets it go again.
fn debug(process: Pid) -> Result<(), Errno> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: neither request reads or writes memory of ours.
    let request = |request| unsafe { libc::ptrace(request, process.as_raw(), nothing, nothing) };
    Errno::result(request(libc::PTRACE_ATTACH))?;
    // SAFETY: a null status is allowed.
    Errno::result(unsafe { libc::waitpid(process.as_raw(), std::ptr::null_mut(), libc::__WALL) })?;
    Errno::result(request(libc::PTRACE_DETACH)).map(drop)
}
