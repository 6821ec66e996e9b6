//! The service manager, where one wants to know how things stand.

use agent_wrap_supervisor::{Ending, SpawnFailure};
use nix::libc;

use super::StartError;
use crate::driver::Announcer;
use crate::exit::ExitCode;
use crate::systemd::{Farewell, ManagerSocket, NotASocket, Notifier, watchdog_interval};
use crate::telemetry;

/// Who tells it; `None` where nobody wants to know.
pub(super) type Manager = Option<Announcer<ManagerSocket>>;

/// The one that the environment names.
pub(super) fn find() -> Result<Manager, NotASocket> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let Some(address) = variable("NOTIFY_SOCKET") else { return Ok(None) };
    let socket = ManagerSocket::new(&address)?;
    let (microseconds, process) = (variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
    let watchdog = watchdog_interval(microseconds.as_deref(), process.as_deref(), std::process::id());
    Ok(Some(Announcer::new(Notifier::new(watchdog), socket)))
}

/// A start that has failed, for the manager: it has been said already to whoever reads the log.
pub(super) struct Failed {
    pub(super) code: ExitCode,
    words: String,
    errno: Option<i32>,
}

impl Failed {
    pub(super) fn new(code: ExitCode, words: impl Into<String>) -> Self {
        Self { code, words: telemetry::shown(&words.into()), errno: None }
    }

    pub(super) fn tell(&self, manager: &mut Manager) {
        farewell(manager, &self.words, self.errno, self.code);
    }
}

impl From<&StartError> for Failed {
    fn from(error: &StartError) -> Self {
        let errno = match error {
            StartError::System { error, .. } => error.raw_os_error(),
            StartError::Unresolved(unresolved) if unresolved.is_not_found() => Some(libc::ENOENT),
            StartError::Controller(_)
            | StartError::Held(_)
            | StartError::Unresolved(_)
            | StartError::NotReady(_)
            | StartError::Settings(_) => None,
        };
        Self { errno, ..Self::new(error.code(), error.to_string()) }
    }
}

/// Tells the manager how it has ended.
pub(super) fn farewell(manager: &mut Manager, words: &str, errno: Option<i32>, code: ExitCode) {
    if let Some(announcer) = manager {
        announcer.end(&Farewell { words, errno, code: code.code() });
    }
}

/// The errno behind an ending, where the system had one to say.
pub(super) fn errno_of(ending: &Ending) -> Option<i32> {
    match ending {
        Ending::SpawnFailed(SpawnFailure::Exhausted(errno) | SpawnFailure::Other(errno)) => Some(*errno),
        Ending::SpawnFailed(SpawnFailure::NotFound) => Some(libc::ENOENT),
        Ending::SpawnFailed(SpawnFailure::NotExecutable | SpawnFailure::Unprepared | SpawnFailure::Cancelled)
        | Ending::Stopped { .. }
        | Ending::AgentEnded { .. }
        | Ending::GaveUp
        | Ending::Unreachable(_)
        | Ending::Refused(_) => None,
    }
}
