//! One task beside the driver for each agent: it reports the exec, then the end.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_wrap_supervisor::{Event, Exit, Generation};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::UnboundedSender;

use super::oom;
use super::pidfd::{self, End, Halt, Whose, Zombie};
use super::spawn::Report;

/// A process whose end is awaited, and whether its pid and group are still its own.
pub(super) struct Watched {
    pub(super) pidfd: OwnedFd,
    held: AtomicBool,
}

impl Watched {
    /// A child of ours, so that its pid stays its own until it is reaped.
    pub(super) fn new(pidfd: OwnedFd) -> Arc<Self> {
        Arc::new(Self { pidfd, held: AtomicBool::new(true) })
    }

    /// Whether it is an unreaped child of ours.
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// How it ended, if it has; its zombie stays.
    pub(super) fn ended(&self) -> Option<Exit> {
        self.wait(Zombie::Kept)
    }

    /// Takes the zombie away, if it is one; from then on its pid means nothing.
    pub(super) fn reap(&self) {
        if self.wait(Zombie::Reaped).is_some() {
            self.held.store(false, Ordering::Relaxed);
        }
    }

    /// Whether it has been stopped or continued since this was asked last.
    pub(super) fn halt(&self) -> Option<Halt> {
        self.is_held().then(|| pidfd::halt(self.pidfd.as_fd())).flatten()
    }

    fn wait(&self, zombie: Zombie) -> Option<Exit> {
        pidfd::wait(Whose::Pidfd(self.pidfd.as_fd()), zombie).map(|(_, exit)| exit)
    }
}

/// The part of an agent's life that is awaited. Made in the runtime's thread, before the agent is known to anybody, so
/// that a lack of descriptors is a failed spawn and not an agent nobody watches.
pub(super) struct Watch {
    generation: Generation,
    watched: Arc<Watched>,
    end: End,
    facts: UnboundedSender<Event>,
}

impl Watch {
    pub(super) fn new(
        generation: Generation,
        watched: &Arc<Watched>,
        facts: &UnboundedSender<Event>,
    ) -> io::Result<Self> {
        let end = End::of(watched.pidfd.try_clone()?)?;
        Ok(Self { generation, watched: Arc::clone(watched), end, facts: facts.clone() })
    }

    /// A child of ours: its exec first, then its end. What could not be set before the exec is tried again after it.
    pub(super) async fn follow_child(
        self,
        mut report: pipe::Receiver,
        program: PathBuf,
        pid: u32,
        oom_score_adj: Option<i16>,
    ) {
        let mut bytes = Vec::with_capacity(Report::SIZE);
        let read = report.read_to_end(&mut bytes).await;
        let generation = self.generation;
        if let (Ok(_), Some(report)) = (read, Report::decode(&bytes)) {
            // A failed exec is not an exit: nothing of it is left when the failure is told.
            self.end.come().await;
            self.watched.reap();
            self.tell(Event::SpawnFailed { generation, failure: report.failure(program.exists()) });
            return;
        }
        if let Some(wanted) = oom_score_adj {
            oom::adjust_or_warn(pid, wanted);
        }
        // Which jar it has is nothing that a process shows.
        self.tell(Event::AgentSpawned { generation, pid, new_jar: false });
        self.end.come().await;
        let exit = self.watched.ended().unwrap_or(Exit::Unknown);
        self.tell(Event::AgentExited { generation, exit });
    }

    fn tell(&self, event: Event) {
        // The driver may have finished.
        let _ = self.facts.send(event);
    }
}
