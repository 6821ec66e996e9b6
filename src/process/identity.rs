//! Who an agent is, beyond the life of the wrapper that started it.

use std::io;

use serde::{Deserialize, Serialize};

use super::procfs;

/// A process, told apart from every other one that had or will have its pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentIdentity {
    /// The process id, in the pid namespace of the wrapper.
    pub pid: u32,
    /// When it was started, in clock ticks since the boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// The boot in which that was (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

impl AgentIdentity {
    /// The identity of the process that has this pid now.
    ///
    /// # Errors
    /// When there is no such process, or `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = i32::try_from(pid).ok().and_then(procfs::stat).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { pid, start_time: stat.start_time, boot_id: procfs::boot_id()? })
    }

    /// Whether this very process still runs: not ended, not a zombie, and not another one that got its pid.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.stat().is_some_and(|stat| stat.is_alive())
    }

    /// What `/proc` says about it, as long as it exists.
    pub(super) fn stat(&self) -> Option<procfs::Stat> {
        let stat = procfs::stat(i32::try_from(self.pid).ok()?)?;
        let same = stat.start_time == self.start_time && procfs::boot_id().is_ok_and(|id| id == self.boot_id);
        same.then_some(stat)
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
}
