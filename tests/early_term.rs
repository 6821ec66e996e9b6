//! A TERM that comes in the first moments, wherever it falls: before `main`, before the agent, during its start.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;

use common::standalone::{Said, children, marked, misbehave, name, standalone_with};
use common::{PATIENCE, wait_within};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

/// From 0 to 4 ms.
const DELAYS: u32 = 13;
const TIMES: usize = 40;

/// How one wrapper that got an early TERM ended.
struct End {
    status: ExitStatus,
    log: String,
    left: Vec<Pid>,
}

fn term_after(delay: Duration, agent: &[&str], marker: &str) -> End {
    let mut command = standalone_with(&[], agent);
    command.env("EARLY_TERM", marker).stderr(Stdio::piped());
    // Whoever holds it still when the wrapper has ended was left behind.
    let said = Said::by(&mut command);
    let mut child = command.spawn().unwrap();
    drop(command);
    pause(delay);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let Some(status) = wait_within(&mut child, PATIENCE) else {
        let left = marked(marker);
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the wrapper did not end, {delay:?}, {left:?}");
    };
    let left = marked(marker);
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    said.rest();
    End { status, log, left }
}

#[expect(clippy::disallowed_methods, reason = "the delay is what is tried out")]
fn pause(delay: Duration) {
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
}

/// Tries all delays, several at a time, and returns how often the wrapper had not come to `main` and how often no agent
/// was started.
fn try_all(agent: &[&str]) -> (usize, usize) {
    // What a wrapper leaves behind, zombies included, becomes a child of this process.
    prctl::set_child_subreaper(true).unwrap();
    let (next, before_main, without_agent) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let total = DELAYS as usize * TIMES;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        break;
                    }
                    let step = u32::try_from(number / TIMES).unwrap();
                    let delay = Duration::from_millis(4) * step / (DELAYS - 1);
                    let end = term_after(delay, agent, &format!("early-{}-{number};", agent.len()));
                    assert!(end.left.is_empty(), "after {delay:?}, {:?} is left:\n{}", end.left, end.log);
                    if end.status.signal().is_some() {
                        assert_eq!(end.status.signal(), Some(Signal::SIGTERM as i32));
                        // Nothing of the program has run.
                        assert_eq!(end.log, "", "after {delay:?}");
                        before_main.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(end.status.code(), Some(0), "after {delay:?}:\n{}", end.log);
                        assert!(end.log.contains("\"stopped\""), "after {delay:?}:\n{}", end.log);
                        if !end.log.contains("\"agent_started\"") {
                            without_agent.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let left: Vec<String> = children(getpid()).into_iter().map(|pid| format!("{pid} {}", name(pid))).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    (before_main.into_inner(), without_agent.into_inner())
}

#[test]
fn an_early_term_leaves_nobody_behind() {
    // One after the other: each looks at all children of this process.
    for agent in [&["sleep", "1000"][..], &[misbehave(), "--hang", "--print-signals"]] {
        let (before_main, without_agent) = try_all(agent);
        eprintln!("{agent:?}: {before_main} before main, {without_agent} without an agent");
        // Else the delays are too long to show anything.
        assert!(before_main + without_agent > 0);
    }
}
