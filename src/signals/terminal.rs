//! The controlling terminal: whether there is one, whether it has hung up, and job control.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc;
use nix::sys::signal::{Signal, raise};

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

    /// Whether somebody is there to continue us after a stop; nobody continues the first process of a container.
    pub(super) fn has_job_control(self) -> bool {
        self.present && !self.init
    }
}

fn open() -> io::Result<std::fs::File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open("/dev/tty")
}

/// Stops this process, as Ctrl-Z would have; comes back when somebody has continued it.
///
/// # Errors
/// Those of `raise`, which has none for STOP.
pub fn stop_self() -> io::Result<()> {
    Ok(raise(Signal::SIGSTOP)?)
}
