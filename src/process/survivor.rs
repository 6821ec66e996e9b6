//! An agent that outlived its wrapper: not our child, so it is known by its identity and watched by a pidfd.

use std::io;
use std::os::fd::OwnedFd;

use agent_wrap_supervisor::{Event, Generation, LeftoverSignal};
use nix::errno::Errno;
use tokio::sync::mpsc::UnboundedSender;

use super::identity::AgentIdentity;
use super::leftovers::{self, Key};
use super::pidfd::End;
use super::procfs::Stat;
use super::{pidfd, procfs};

/// Opens the very process of this identity; `None` when it is over.
pub(super) fn open(identity: &AgentIdentity) -> io::Result<Option<OwnedFd>> {
    let Ok(pid) = i32::try_from(identity.pid) else { return Ok(None) };
    match pidfd::open(pid) {
        // Looked at after the descriptor was opened: from here on it means this process and no later one.
        Ok(pidfd) => Ok(identity.is_alive().then_some(pidfd)),
        Err(Errno::ESRCH | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Counts and signals the living members of the survivor's group, and tells when they are gone.
pub(super) fn sweep(identity: &AgentIdentity, signal: LeftoverSignal, facts: &UnboundedSender<Event>) {
    let members = members(identity);
    tell(facts, members.len());
    for &key in &members {
        leftovers::signal(key, signal);
    }
    if !members.is_empty() {
        tokio::spawn(until_gone(identity.clone(), members, facts.clone()));
    }
}

/// They are nobody's children here, so that no SIGCHLD tells of their end; each is awaited.
async fn until_gone(identity: AgentIdentity, mut awaited: Vec<Key>, facts: UnboundedSender<Event>) {
    while !awaited.is_empty() {
        for (pid, start_time) in awaited {
            let Ok(process) = pidfd::open(pid) else { continue };
            if procfs::stat(pid).is_some_and(|stat| stat.start_time == start_time) {
                let Ok(end) = End::of(process) else { return };
                end.come().await;
            }
        }
        awaited = members(&identity);
    }
    tell(&facts, 0);
}

/// A group keeps its number until its last member is gone. A process that has this pid now and is not the survivor
/// therefore means that the group is somebody else's.
fn members(identity: &AgentIdentity) -> Vec<Key> {
    let Ok(group) = i32::try_from(identity.pid) else { return Vec::new() };
    if procfs::stat(group).is_some() && identity.stat().is_none() {
        return Vec::new();
    }
    let all = procfs::all().unwrap_or_default();
    let member = |stat: &&Stat| stat.group == group && stat.pid != group && stat.is_alive();
    all.iter().filter(member).map(leftovers::key).collect()
}

fn tell(facts: &UnboundedSender<Event>, alive: usize) {
    let alive = u32::try_from(alive).unwrap_or(u32::MAX);
    let _ = facts.send(Event::LeftoversCounted { generation: Generation(0), alive });
}
