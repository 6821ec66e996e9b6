//! What an agent leaves behind: everything below us that is neither a living agent nor older than us.
//!
//! As the child subreaper we inherit every orphan of the agent's tree, whatever group or session it has put itself
//! into, and a process between us and an orphan is an orphan itself. So the tree below us holds the agent's group too.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use agent_wrap_supervisor::LeftoverSignal;
use nix::libc;

use super::procfs::Stat;
use super::{pidfd, procfs};

/// A pid and a start time: one process within one boot.
pub(super) type Key = (i32, u64);

pub(super) fn key(stat: &Stat) -> Key {
    (stat.pid, stat.start_time)
}

/// Every living process below `root`, without the children of `root` for which `spared` holds and what is below them.
pub(super) fn below(all: &[Stat], root: i32, spared: impl Fn(&Stat) -> bool) -> Vec<Stat> {
    let mut children: BTreeMap<i32, Vec<Stat>> = BTreeMap::new();
    for &stat in all {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut found = children.remove(&root).unwrap_or_default();
    found.retain(|stat| !spared(stat));
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|stat| stat.pid) {
        // Taken out, because a scan takes a while, and a pid that came back meanwhile could close a circle.
        found.append(&mut children.remove(&parent).unwrap_or_default());
        next += 1;
    }
    found.retain(Stat::is_alive);
    found
}

/// Sends what is asked for, if the process is still the one that was seen.
pub(super) fn signal(key: Key, signal: LeftoverSignal) {
    match signal {
        LeftoverSignal::Count => {}
        LeftoverSignal::Terminate => send(key, &[libc::SIGTERM, libc::SIGCONT]),
        LeftoverSignal::Kill => send(key, &[libc::SIGKILL]),
    }
}

/// Sends these signals, if the process is still the one that was seen.
pub(super) fn send((pid, start_time): Key, signals: &[i32]) {
    let Ok(process) = pidfd::open(pid) else { return };
    // Looked at after the descriptor was opened: from here on it means this process and no later one.
    if procfs::stat(pid).is_some_and(|stat| stat.start_time == start_time) {
        for &number in signals {
            // It may belong to another user by now, or be gone: the next count tells.
            let _ = pidfd::send(process.as_fd(), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, state: u8) -> Stat {
        Stat { pid, state, parent, group: pid, session: 1, threads: 1, start_time: 1 }
    }

    #[test]
    fn the_tree_below_without_the_spared_and_the_dead() {
        let all = [
            process(1, 0, b'S'),
            process(10, 1, b'S'),
            process(11, 10, b'S'), // spared
            process(12, 11, b'S'), // below the spared
            process(13, 10, b'S'),
            process(14, 13, b'Z'), // dead
            process(15, 14, b'T'), // below the dead, stopped
            process(20, 1, b'S'),  // not ours
        ];
        let found: Vec<i32> = below(&all, 10, |stat| stat.pid == 11).iter().map(|stat| stat.pid).collect();
        assert_eq!(found, [13, 15]);
    }

    #[test]
    fn a_torn_scan_ends_all_the_same() {
        let all = [process(10, 1, b'S'), process(11, 10, b'S'), process(12, 11, b'S'), process(11, 12, b'S')];
        assert_eq!(below(&all, 10, |_| false).len(), 3);
    }
}
