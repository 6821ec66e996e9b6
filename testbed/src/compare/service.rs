//! A service that runs a node's agent, seen from outside.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    spawner::{self, Process},
    wait,
};

/// How long anything may take before the comparison is given up: no statement about speed.
pub(super) const BOUND: Duration = Duration::from_secs(120);

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// The service runs, or is about to.
    Running,
    /// The start has failed: there is no agent, and whoever watches the service may start it again.
    Failed,
}

/// A service that runs a node's agent.
pub(super) trait Service {
    /// Starts it, and returns when nothing more is going to be done to the node before the agent connects.
    fn start(&mut self) -> Result<Started>;

    /// Whether an agent is connected, and the service itself has nothing left to do about the node.
    fn has_settled(&mut self) -> Result<bool>;

    /// The agent's process id.
    fn agent(&mut self) -> Result<u32>;

    /// Asks for a stop, and does what is done before the service's end is waited for.
    fn begin_stop(&mut self) -> Result<()>;

    /// Whether it holds the stop until no build runs any more.
    fn is_draining(&self) -> bool;

    /// Whether nothing of it runs any more.
    fn has_ended(&mut self) -> Result<bool>;

    /// Waits for its end, and does what is done afterwards.
    fn end_stop(&mut self) -> Result<()>;

    /// What it has said so far.
    fn log(&self) -> String;
}

/// A program whose standard error is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) process: Process,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    pub(super) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = spawner::spawn(command)?;
        let stderr = process.child().stderr.take().context("standard error is not ours")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                writer.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { process, lines })
    }

    /// The first line that contains all of these.
    pub(super) fn line_with(&self, words: &[&str]) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|line| words.iter().all(|word| line.contains(word))).cloned()
    }

    /// Whether the agent has said that it is connected. Its level word is localised, this one is not.
    pub(super) fn agent_is_connected(&self) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().any(|line| !line.starts_with('{') && line.trim_end().ends_with("Connected"))
    }

    /// Everything that it has said.
    pub(super) fn log(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits until it has ended, by itself.
    pub(super) fn await_end(&mut self) -> Result<()> {
        self.process.wait(BOUND).map(drop)
    }
}

/// Waits for a condition of the comparison.
pub(super) fn until(what: &str, mut met: impl FnMut() -> Result<bool>) -> Result<()> {
    wait::until(what, BOUND, || Ok(met()?.then_some(())))
}
