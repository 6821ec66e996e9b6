//! Who an agent is, beyond the life of the wrapper that started it.

use std::io;

use serde::{Deserialize, Serialize};

use super::procfs::{self, Stat};

/// A process, told apart from every other one that had or will have its pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentIdentity {
    /// The process id, in the pid namespace of the wrapper.
    pub pid: u32,
    /// When it was started, in clock ticks since the boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// The boot in which that was (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Its session; 0 where that is not known.
    #[serde(default)]
    pub session: i32,
}

impl AgentIdentity {
    /// The identity of the process that has this pid now.
    ///
    /// # Errors
    /// When there is no such process, or `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = i32::try_from(pid).ok().and_then(procfs::stat).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { pid, start_time: stat.start_time, boot_id: procfs::boot_id()?, session: stat.session })
    }

    /// Whether this very process still runs: not ended, not a zombie, and not another one that got its pid.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let (Ok(pid), Ok(boot_id)) = (i32::try_from(self.pid), procfs::boot_id()) else { return false };
        procfs::stat(pid).is_some_and(|stat| stat.is_alive() && self.is(&stat, &boot_id))
    }

    /// Whether this is the very process that is meant.
    pub(super) fn is(&self, stat: &Stat, boot_id: &str) -> bool {
        u32::try_from(stat.pid) == Ok(self.pid) && stat.start_time == self.start_time && boot_id == self.boot_id
    }

    /// Whether a process is in the group that this one leads or has led. A group keeps its number until its last member
    /// is gone: a later process with this pid, another boot or session, or an earlier start mean another group.
    pub(super) fn leads(&self, member: &Stat, all: &[Stat], boot_id: &str) -> bool {
        let same_pid = |stat: &&Stat| u32::try_from(stat.pid) == Ok(self.pid);
        u32::try_from(member.group) == Ok(self.pid)
            && boot_id == self.boot_id
            && member.session == self.session
            && member.start_time >= self.start_time
            && all.iter().find(same_pid).is_none_or(|stat| self.is(stat, boot_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_somebody_else() {
        let me = AgentIdentity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!AgentIdentity { start_time: me.start_time + 1, ..me.clone() }.is_alive());
        assert!(!AgentIdentity { boot_id: "another boot".to_owned(), ..me.clone() }.is_alive());
        assert!(!AgentIdentity { pid: u32::MAX, ..me }.is_alive());
    }

    #[test]
    fn a_group_is_its_leaders_until_its_number_is_reused() {
        let leader = AgentIdentity { pid: 40, start_time: 100, boot_id: "b".to_owned(), session: 7 };
        let process =
            |pid, start_time| Stat { pid, state: b'S', parent: 1, group: 40, session: 7, threads: 1, start_time };
        let member = process(41, 100);
        assert!(leader.leads(&member, &[member], "b"), "the leader is gone");
        assert!(leader.leads(&member, &[member, process(40, 100)], "b"));
        assert!(!leader.leads(&member, &[member, process(40, 101)], "b"), "another leader");
        assert!(!leader.leads(&member, &[member], "c"), "another boot");
        for stranger in [process(41, 99), Stat { session: 8, ..member }, Stat { group: 41, ..member }] {
            assert!(!leader.leads(&stranger, &[stranger], "b"), "{stranger:?}");
        }
    }
}
