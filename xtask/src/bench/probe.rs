//! A program that was started to be measured, and the clock that both sides read.

use std::{
    fs,
    io::Read as _,
    os::{fd::BorrowedFd, unix::process::CommandExt as _},
    process::{ChildStdout, Command, Stdio},
    time::Duration,
};

use agent_wrap_testbed::{
    spawner::{self, Process},
    wait,
};
use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
    unistd::{self, Pid},
};

/// How long anything may take before the measurement is given up.
pub(super) const BOUND: Duration = Duration::from_secs(60);

/// A running program whose agent is `stamp`.
pub(super) struct Probe {
    process: Process,
    stamps: ChildStdout,
    /// When the program was executed, in nanoseconds of the monotonic clock.
    pub(super) executed: u64,
}

impl Probe {
    /// Starts it. Standard error is left as the command says.
    pub(super) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let stamp = || {
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
            let nanoseconds = now.tv_sec().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec());
            // SAFETY: standard output is the pipe by now.
            let output = unsafe { BorrowedFd::borrow_raw(1) };
            unistd::write(output, &nanoseconds.to_ne_bytes())?;
            Ok(())
        };
        // SAFETY: the closure runs between fork and exec; it makes two system calls and allocates nothing.
        unsafe { command.pre_exec(stamp) };
        let mut process = spawner::spawn(command)?;
        let stamps = process.child().stdout.take().context("standard output is not ours")?;
        let mut probe = Self { process, stamps, executed: 0 };
        probe.executed = probe.stamp()?;
        Ok(probe)
    }

    /// The next stamp, once it comes.
    pub(super) fn stamp(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.stamps.read_exact(&mut bytes).context("the program ended without another stamp; does it work by hand?")?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it TERM.
    pub(super) fn terminate(&self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.id())?), Signal::SIGTERM).context("cannot signal the program")
    }

    /// Waits for its end.
    pub(super) fn end(mut self) -> Result<()> {
        self.process.child().wait().context("cannot wait for the program").map(drop)
    }

    /// Waits until it does nothing any more: between two looks no thread of it has gone to sleep anew.
    pub(super) fn settle(&self) -> Result<()> {
        let mut before = None;
        wait::until("the program to be idle", BOUND, || {
            let now = Some(voluntary_switches(self.id())?);
            Ok((std::mem::replace(&mut before, now) == now).then_some(()))
        })
    }
}

/// The monotonic clock, in nanoseconds.
pub(super) fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("the system has no monotonic clock")?;
    Ok(u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?)
}

/// How often the threads of a process have gone to sleep by themselves.
pub(super) fn voluntary_switches(process: u32) -> Result<u64> {
    let tasks = format!("/proc/{process}/task");
    let mut sum = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        // A thread may end between the two reads.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
        sum += field(&status, "voluntary_ctxt_switches").context("the kernel does not count context switches")?;
    }
    Ok(sum)
}

/// The number of a line `NAME: NUMBER ...`.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}
