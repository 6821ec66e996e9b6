//! An agent that has outlived the wrapper that started it, or the process it was started as: most often not our child,
//! so it is found by its trail and watched by pidfds.

use std::collections::BTreeSet;

use agent_wrap_supervisor::{Event, Exit, Generation};
use tokio::sync::mpsc::UnboundedSender;

use super::identity::AgentIdentity;
use super::leftovers::{self, Key};
use super::pidfd::End;
use super::procfs::Stat;
use super::trail::{Trail, Whose};
use super::{pidfd, procfs};

/// So many processes are named; of the others it is said how many they are.
const NAMED: usize = 5;

/// The living processes of an agent, whoever started it.
#[derive(Clone, Debug)]
pub struct Survivor {
    trail: Trail,
    /// The process that was started, where it is known.
    leader: Option<AgentIdentity>,
    /// Whether all that is below us counts that is not known to be a build's, without these and what is below them.
    below_us_without: Option<BTreeSet<Key>>,
}

impl Survivor {
    /// The agent of these runs, if anything of it lives.
    #[must_use]
    pub fn find<'a>(runs: impl IntoIterator<Item = &'a str>, leader: Option<AgentIdentity>) -> Option<Self> {
        Self { trail: Trail::of(runs, std::env::vars_os()), leader, below_us_without: None }.if_any_lives()
    }

    /// What lives of our own agents.
    pub(super) fn of_ours(trail: Trail, below_us_without: Option<BTreeSet<Key>>) -> Option<Self> {
        Self { trail, leader: None, below_us_without }.if_any_lives()
    }

    fn if_any_lives(self) -> Option<Self> {
        (!self.living().is_empty()).then_some(self)
    }

    /// What of it lives now.
    pub(super) fn living(&self) -> Vec<Stat> {
        let all = procfs::all().unwrap_or_default();
        let boot_id = procfs::boot_id().unwrap_or_default();
        let me = nix::unistd::getpid().as_raw();
        let below_us: BTreeSet<Key> = self.below_us_without.as_ref().map_or_else(BTreeSet::new, |without| {
            leftovers::below(&all, me, |stat| without.contains(&leftovers::key(stat)))
                .iter()
                .map(leftovers::key)
                .collect()
        });
        let is_agent = |stat: &Stat| {
            if below_us.contains(&leftovers::key(stat)) {
                return self.trail.is_agent_of_ours(stat.pid);
            }
            match self.trail.whose(stat.pid) {
                Whose::Agent => true,
                // A build perhaps; but there may be no second agent.
                Whose::Hidden => self.leader.as_ref().is_some_and(|leader| leader.leads(stat, &all, &boot_id)),
                Whose::Build | Whose::Stranger | Whose::Nobody => false,
            }
        };
        let is_leader = |stat: &Stat| self.leader.as_ref().is_some_and(|leader| leader.is(stat, &boot_id));
        let belongs = |stat: &&Stat| stat.pid != me && stat.is_alive() && (is_leader(stat) || is_agent(stat));
        all.iter().filter(belongs).copied().collect()
    }

    pub(super) fn signal(&self, signals: &[i32]) {
        for stat in self.living() {
            leftovers::send(leftovers::key(&stat), signals);
        }
    }

    /// Tells when nothing of it lives any more, as the end of this generation. To be called inside the runtime.
    pub(super) fn watch(&self, generation: Generation, facts: &UnboundedSender<Event>) {
        let (survivor, facts) = (self.clone(), facts.clone());
        tokio::spawn(async move {
            survivor.end().await;
            // The driver may have finished.
            let _ = facts.send(Event::AgentExited { generation, exit: Exit::Unknown });
        });
    }

    /// Each is awaited, because no SIGCHLD tells of the end of somebody else's child.
    async fn end(&self) {
        loop {
            let living = self.living();
            if living.is_empty() {
                return;
            }
            for key in living.iter().map(leftovers::key) {
                end_of(key).await;
            }
        }
    }
}

async fn end_of((pid, start_time): Key) {
    let Ok(process) = pidfd::open(pid) else { return patience().await };
    if procfs::stat(pid).is_some_and(|stat| stat.start_time == start_time) {
        match End::of(process) {
            Ok(end) => end.come().await,
            Err(_) => patience().await,
        }
    }
}

/// Without a descriptor to be had one can only look again.
async fn patience() {
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}

/// "java (pid 7), tee (pid 8)", for people.
pub(super) fn names(processes: &[Stat]) -> String {
    let named = processes.iter().take(NAMED).map(|stat| format!("{} (pid {})", procfs::name(stat.pid), stat.pid));
    let mut names = named.collect::<Vec<_>>().join(", ");
    if processes.len() > NAMED {
        names.push_str(&format!(" and {} more", processes.len() - NAMED));
    }
    names
}
