//! A system that has nothing left to give: no fault of the settings, and it may pass.

use std::io;

use nix::errno::Errno;

/// What is lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    Descriptors,
    Processes,
    Space,
}

impl Shortage {
    /// What this errno says is lacking, if that is what it says.
    pub(crate) fn of(errno: Errno) -> Option<Self> {
        match errno {
            Errno::EMFILE | Errno::ENFILE => Some(Self::Descriptors),
            Errno::EAGAIN | Errno::ENOMEM | Errno::ENOBUFS => Some(Self::Processes),
            Errno::ENOSPC => Some(Self::Space),
            _ => None,
        }
    }

    /// The same of an error of the standard library.
    pub(crate) fn of_error(error: &io::Error) -> Option<Self> {
        Self::of(Errno::from_raw(error.raw_os_error()?))
    }

    /// What there is not enough of.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptor",
            Self::Processes => "process or memory",
            Self::Space => "space",
        }
    }

    /// The likely cause, as a question, and with it the cure.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Descriptors => "is the limit on descriptors (LimitNOFILE=, ulimit -n) too low?",
            Self::Processes => "is a build using them up, or is a limit (TasksMax=, MemoryMax=, ulimit -u) too low?",
            Self::Space => "is a disk or a tmpfs full?",
        }
    }
}

/// `; ` and the likely cause of an error that is a shortage, else nothing.
pub(crate) fn cause_of(error: &io::Error) -> String {
    Shortage::of_error(error).map(|shortage| format!("; {}", shortage.cause())).unwrap_or_default()
}
