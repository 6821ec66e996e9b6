//! The line at the bottom of stderr.

use std::io::{self, IsTerminal as _};

use nix::libc;
use nix::sys::stat::{fstat, stat};
use nix::unistd::{getpgrp, tcgetpgrp};

use super::Access;
use crate::telemetry::{BottomLine, has_cursor};

/// A terminal that our log is written to.
pub struct Screen {
    line: BottomLine,
    /// The terminal's number, by which it is known among the streams of others.
    device: libc::dev_t,
}

impl Screen {
    /// stderr, if it is a terminal that can do more than print one character after the other.
    #[must_use]
    pub fn of_stderr(line: BottomLine) -> Option<Self> {
        let stderr = io::stderr();
        let can_erase = has_cursor(std::env::var_os("TERM").as_deref());
        let device = fstat(&stderr).ok()?.st_rdev;
        (stderr.is_terminal() && can_erase).then_some(Self { line, device })
    }

    /// Whether nobody else writes there: we are in the foreground, and neither what this process says on its stdout nor
    /// on its stderr comes to this terminal. What cannot be seen may.
    #[must_use]
    pub fn access(&self, agent: Option<u32>) -> Access {
        // Under its own name, and under the one that each process has for its controlling terminal.
        let here = [self.device, libc::makedev(5, 0)];
        let is_elsewhere = |pid: u32, stream: i32| {
            stat(format!("/proc/{pid}/fd/{stream}").as_str()).is_ok_and(|stat| !here.contains(&stat.st_rdev))
        };
        let outputs = [libc::STDOUT_FILENO, libc::STDERR_FILENO];
        let is_alone = || agent.is_none_or(|pid| outputs.into_iter().all(|stream| is_elsewhere(pid, stream)));
        match tcgetpgrp(io::stderr()) {
            Ok(_) if !is_alone() => Access::Shared,
            Ok(foreground) if foreground == getpgrp() => Access::Free,
            Ok(_) => Access::Background,
            // It is not our controlling terminal, or it is gone.
            Err(_) => Access::Shared,
        }
    }

    /// What an agent has left there does not stand before what is written next.
    pub fn begin_row(&self) {
        self.line.begin_row();
    }

    /// Shows these words, or nothing.
    pub fn show(&self, words: Option<&str>) {
        self.line.show(words);
    }

    /// Shows the same anew, because something else may have been written there.
    pub fn mend(&self) {
        self.line.mend();
    }

    /// Erases them and waits until that is done.
    pub fn erase(&self) {
        self.line.erase();
    }
}
