//! Somebody who looks at the controller and at the processes all the time, and writes down what changes and when.
//!
//! It asks the controller itself and `/proc`: nothing here is taken from what the wrapper says about itself.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use agent_wrap_testbed::stage::{BuildHandle, BuildState, NodeState, Stage};
use anyhow::{Result, anyhow, bail};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What was seen in one look, in this order: first whether an agent runs, then the node, then the build. An agent
/// beside a mark in one look therefore ran while the mark was on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether a child of the wrapper's lives.
    pub(crate) agent: bool,
    /// The mark's reason; `None` without a mark.
    pub(crate) mark: Option<String>,
    /// Whether the agent's channel is up.
    pub(crate) connected: bool,
    /// How the build stands, once there is one.
    pub(crate) build: Option<BuildState>,
}

/// A look that showed something new, and when: the time since the story began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) at: Duration,
    pub(crate) look: Look,
}

/// The notes of one who looks.
pub(crate) struct Observer<'a> {
    begin: Instant,
    interrupted: &'a AtomicBool,
    reading: Duration,
    notes: Mutex<Notes>,
    changed: Condvar,
}

#[derive(Default)]
struct Notes {
    sights: Vec<Sight>,
    wrapper: Option<u32>,
    wrapper_may_end: bool,
    wrapper_ended: Option<Duration>,
    build: Option<BuildHandle>,
    failure: Option<anyhow::Error>,
    over: bool,
}

impl<'a> Observer<'a> {
    /// The story begins now; people get this much time to read a little.
    pub(crate) fn new(interrupted: &'a AtomicBool, reading: Duration) -> Self {
        Self { begin: now(), interrupted, reading, notes: Mutex::default(), changed: Condvar::new() }
    }

    /// The time since the story began.
    pub(crate) fn time(&self) -> Duration {
        now().saturating_duration_since(self.begin)
    }

    /// From now on this process is looked at, and every child that it ever has.
    pub(crate) fn watch_wrapper(&self, pid: u32) {
        self.notes().wrapper = Some(pid);
    }

    /// From now on the wrapper may end.
    pub(crate) fn let_wrapper_end(&self) {
        self.notes().wrapper_may_end = true;
    }

    /// Waits until a look shows that the wrapper has ended, and says when that was. It is the time of what else that
    /// look has shown, so that an agent which had ended by then does not seem to have ended later.
    pub(crate) fn wrapper_end(&self, bound: Duration) -> Result<Duration> {
        self.wait(bound, |notes| notes.wrapper_ended.is_some())?;
        self.notes().wrapper_ended.ok_or_else(|| anyhow!("waited {} s in vain for agent-wrap's end", bound.as_secs()))
    }

    /// From now on this build is looked at.
    pub(crate) fn watch_build(&self, build: BuildHandle) {
        self.notes().build = Some(build);
    }

    /// Looks until [`Observer::end`].
    pub(crate) fn observe(&self, stage: &dyn Stage, node: &str) {
        let mut agents = BTreeSet::new();
        loop {
            let (wrapper, build, over) = {
                let notes = self.notes();
                (notes.wrapper, notes.build.clone(), notes.over)
            };
            if over {
                return;
            }
            // The wrapper first: what lives after a wrapper that has ended has outlived it.
            let wrapper_ended = wrapper.is_some_and(|wrapper| !is_alive(wrapper));
            agents.extend(wrapper.map(children).unwrap_or_default());
            let agent = agents.iter().any(|agent| is_alive(*agent));
            let seen = stage.node(node).and_then(|node| {
                let build = build.map(|build| stage.build(&build)).transpose()?;
                Ok((node, build))
            });
            let at = self.time();
            let mut notes = self.notes();
            if wrapper_ended {
                notes.wrapper_ended.get_or_insert(at);
            }
            match seen {
                Ok((node, build)) => notes.write_down(at, agent, node, build),
                Err(error) => {
                    notes.failure = Some(error);
                    self.changed.notify_all();
                    return;
                }
            }
            self.changed.notify_all();
            let paused = self.changed.wait_timeout_while(notes, PAUSE, |notes| !notes.over);
            drop(paused.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Ends the observation.
    pub(crate) fn end(&self) {
        self.notes().over = true;
        self.changed.notify_all();
    }

    /// All that was seen so far.
    pub(crate) fn sights(&self) -> Vec<Sight> {
        self.notes().sights.clone()
    }

    /// Waits until a look shows what is waited for.
    pub(crate) fn until(&self, what: &str, bound: Duration, is: impl Fn(&Look) -> bool) -> Result<()> {
        self.wait(bound, |notes| notes.sights.last().is_some_and(|sight| is(&sight.look)))
            .and_then(|seen| if seen { Ok(()) } else { bail!("waited {} s in vain for {what}", bound.as_secs()) })
    }

    /// Gives people time to read as much, or more.
    pub(crate) fn linger(&self, much: u32) -> Result<()> {
        self.wait(much * self.reading, |_| false).map(drop)
    }

    /// Waits at most this long; whether it has come.
    fn wait(&self, bound: Duration, come: impl Fn(&Notes) -> bool) -> Result<bool> {
        let start = now();
        let mut notes = self.notes();
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if let Some(failure) = notes.failure.take() {
                return Err(failure);
            }
            if come(&notes) {
                return Ok(true);
            }
            if notes.wrapper_ended.is_some() && !notes.wrapper_may_end {
                bail!("agent-wrap has ended, which it should not have yet");
            }
            let left = bound.saturating_sub(now().saturating_duration_since(start));
            if left.is_zero() {
                return Ok(false);
            }
            // The observer's own looks wake us, all the time.
            notes = self.changed.wait_timeout(notes, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn write_down(&mut self, at: Duration, agent: bool, node: NodeState, build: Option<BuildState>) {
        let last = self.sights.last().map(|sight| &sight.look);
        // A controller that cannot tell while the node is marked: the channel stays up as long as the agent does.
        let connected = node.connected.unwrap_or(agent && last.is_some_and(|last| last.connected));
        let look = Look { agent, mark: node.marked.then_some(node.reason), connected, build };
        if last != Some(&look) {
            self.sights.push(Sight { at, look });
        }
    }
}

fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Whether a process is there and has not ended.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Fails where the kernel does not list a process's children.
pub(crate) fn need_children() -> Result<()> {
    let file = format!("/proc/self/task/{}/children", std::process::id());
    fs::metadata(&file).map(drop).map_err(|error| anyhow!("{file}: {error}; this kernel does not list children"))
}

#[expect(clippy::disallowed_methods, reason = "the picture shows real times")]
fn now() -> Instant {
    Instant::now()
}
