//! The controlling terminal: whether there is one, whether it has hung up, and job control.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::{Pid, getppid};

/// What was found when the program began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    present: bool,
    init: bool,
}

impl Terminal {
    /// Looks for a controlling terminal.
    pub(super) fn detect() -> Self {
        Self { present: open().is_ok(), init: std::process::id() == 1 }
    }

    /// A terminal that is there or not, without a look.
    #[cfg(test)]
    pub(crate) fn pretended(present: bool) -> Self {
        Self { present, init: false }
    }

    /// Whether the program was started with a controlling terminal.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Whether the terminal there was is gone. The sender of a HUP does not tell: the kernel's and an administrator's
    /// look alike.
    pub(super) fn has_hung_up(self) -> bool {
        let gone = |error: io::Error| matches!(error.raw_os_error(), Some(libc::EIO | libc::ENXIO));
        self.present && open().is_err_and(gone)
    }

    /// Whether somebody may be there to continue us after a stop. What the kernel knows of that, [`stop_self`] leaves
    /// to it: it never stops the first process of a container, but it takes every other parent for a shell.
    pub(super) fn has_job_control(self) -> bool {
        self.present && !self.init && may_continue_us(getppid(), || std::fs::read_to_string("/proc/1/status").ok())
    }
}

/// The init of a container that runs one program continues nobody. A shell in its place does, and is known by this:
/// the key must not stop it, so it ignores the signal.
fn may_continue_us(parent: Pid, init_status: impl FnOnce() -> Option<String>) -> bool {
    if parent != Pid::from_raw(1) {
        return true;
    }
    let status = init_status().unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    ignored & (1 << (libc::SIGTSTP - 1)) != 0
}

fn open() -> io::Result<std::fs::File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open("/dev/tty")
}

/// Stops this process as Ctrl-Z does, with TSTP: comes back when somebody has continued it, and at once where nobody
/// could. A process group without a parent in its session is not stopped by the kernel, which STOP would not spare.
///
/// # Errors
/// Those of `sigaction` and `raise`, which have none for TSTP.
pub fn stop_self() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    let ours = unsafe { sigaction(Signal::SIGTSTP, &default) }?;
    let stopped = raise(Signal::SIGTSTP);
    // SAFETY: it is the handler that was there before.
    unsafe { sigaction(Signal::SIGTSTP, &ours) }?;
    Ok(stopped?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_init_of_a_container_is_no_shell() {
        let continues = |status: Option<&str>| may_continue_us(Pid::from_raw(1), || status.map(str::to_owned));
        assert!(continues(Some("Name:\tbash\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000384004\n")));
        assert!(!continues(Some("Name:\ttini\nSigBlk:\tfffffffc7fbb8e2f\nSigIgn:\t0000000000300000\n")));
        assert!(!continues(None));
        assert!(may_continue_us(Pid::from_raw(2), || unreachable!("only the first process is looked at")));
    }
}
