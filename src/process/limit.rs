//! A mark of the run that no change of the environment takes away: a resource limit.
//!
//! `su -`, `sudo` and `env -i` drop variables, a session of its own leaves the group, and who was whose child is
//! forgotten with the parent. Limits are inherited through all of that, everybody may read them, and nobody without
//! CAP_SYS_RESOURCE raises them. The one taken is that of uninterrupted real-time computing: years of it are as good as
//! none, and there is room for a number that no other run has.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::trail;
use crate::hash;

/// Its highest bit; the unit is a microsecond.
const HIGHEST: u64 = 1 << 62;
/// A wrapper below a wrapper cannot raise what it was given, so it takes half of its own number, or half of that.
const HALVES: u32 = 16;
/// The line's beginning in `/proc/PID/limits`, before the soft and the hard limit.
const LINE: &[u8] = b"Max realtime timeout";
/// A kernel shows some 1300 bytes.
const LONGEST: usize = 4096;

/// The number of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    pub(super) fn of(run: &str) -> Self {
        Self(HIGHEST | (hash::fnv(&[run.as_bytes()]) & (HIGHEST - 1)))
    }

    /// Gives it to this process and all that it will start. Where that cannot be, the environment has to do.
    pub(super) fn bear(self) {
        // Elsewhere the kernel's own number is too short.
        if cfg!(target_pointer_width = "64")
            && let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_RTTIME)
            && let Some(number) = self.numbers().map(|number| number as libc::rlim_t).find(|&number| number < hard)
        {
            let _ = setrlimit(Resource::RLIMIT_RTTIME, soft.min(number), number);
        }
    }

    fn numbers(self) -> impl Iterator<Item = u64> {
        (0..=HALVES).map(move |halves| self.0 >> halves)
    }

    fn is(self, number: u64) -> bool {
        self.numbers().any(|ours| ours == number)
    }
}

/// Whether the process with this pid bears one of these. Allocates nothing.
pub(super) fn bears(pid: i32, marks: &[Mark]) -> bool {
    trail::open_in_proc(pid, "limits")
        .and_then(|file| hard_limit(&file))
        .is_ok_and(|number| number.is_some_and(|number| marks.iter().any(|mark| mark.is(number))))
}

fn hard_limit(file: &OwnedFd) -> Result<Option<u64>, Errno> {
    let mut text = [0; LONGEST];
    let read = trail::read_all(file, &mut text)?;
    let mut lines = text.get(..read).unwrap_or_default().split(|&byte| byte == b'\n');
    Ok(lines.find_map(|line| {
        let values = std::str::from_utf8(line.strip_prefix(LINE)?).ok()?;
        values.split_ascii_whitespace().nth(1)?.parse().ok()
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command};

    use super::*;

    /// A process that bears these, one after the other.
    fn bearing(marks: &'static [&'static str]) -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").env_clear();
        let marks: Vec<Mark> = marks.iter().map(|run| Mark::of(run)).collect();
        // SAFETY: the child makes system calls and nothing else.
        unsafe {
            command.pre_exec(move || {
                marks.iter().for_each(|mark| mark.bear());
                Ok(())
            });
        }
        command.spawn().unwrap()
    }

    #[test]
    fn the_last_mark_is_borne_whatever_was_there_before() {
        for (runs, last) in [(&["r1"][..], "r1"), (&["r1", "r2"], "r2"), (&["r2", "r1"], "r1"), (&["r1", "r1"], "r1")] {
            let mut child = bearing(runs);
            let pid = child.id().try_into().unwrap();
            let [found, other] = [last, "another"].map(|run| bears(pid, &[Mark::of(run)]));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(found && !other, "{runs:?}");
        }
    }

    #[test]
    fn who_bears_none() {
        assert!(!bears(std::process::id().try_into().unwrap(), &[Mark::of("nobody's")]));
        assert!(!bears(i32::MAX, &[Mark::of("nobody's")]));
    }
}
