//! Exit codes. agent-wrap(1) lists them, and units and schedulers decide by them.

use agent_wrap_supervisor::{Ending, FailureKind, SpawnFailure};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitCode {
    /// 0: stopped as asked; the mark, where one was to be set, was read back.
    Stopped,
    /// The agent's own code, or 128 + signal: it ended and is not started again.
    Agent(u8),
    /// 64: the command line is wrong.
    Usage,
    /// 68: the controller has no such node.
    NoSuchNode,
    /// 69: the controller was out of reach for the whole start timeout.
    Unreachable,
    /// 70: our own fault, or the system's: no process, no memory, no descriptor.
    Internal,
    /// 71: the agent keeps failing and the limit is reached.
    GaveUp,
    /// 74: stopped, but the mark is not confirmed.
    Unconfirmed,
    /// 75: another wrapper holds this node.
    Held,
    /// 77: the credentials are refused or lack a permission.
    Refused,
    /// 78: the settings are wrong or incomplete.
    Configuration,
    /// 126: the command exists but cannot be executed.
    NotExecutable,
    /// 127: the command was not found.
    NotFound,
    /// 137: the agent had to be killed.
    Killed,
}

impl ExitCode {
    /// Every code but the agent's own.
    pub const ALL: [Self; 13] = [
        Self::Stopped,
        Self::Usage,
        Self::NoSuchNode,
        Self::Unreachable,
        Self::Internal,
        Self::GaveUp,
        Self::Unconfirmed,
        Self::Held,
        Self::Refused,
        Self::Configuration,
        Self::NotExecutable,
        Self::NotFound,
        Self::Killed,
    ];

    /// The number for `exit(2)`.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Agent(code) => code,
            Self::Usage => 64,
            Self::NoSuchNode => 68,
            Self::Unreachable => 69,
            Self::Internal => 70,
            Self::GaveUp => 71,
            Self::Unconfirmed => 74,
            Self::Held => 75,
            Self::Refused => 77,
            Self::Configuration => 78,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Killed => 137,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

impl From<&Ending> for ExitCode {
    fn from(ending: &Ending) -> Self {
        match ending {
            Ending::Stopped { confirmed: false, .. } => Self::Unconfirmed,
            Ending::Stopped { killed: true, confirmed: true } => Self::Killed,
            Ending::Stopped { killed: false, confirmed: true } => Self::Stopped,
            Ending::AgentEnded { exit, confirmed } => match (exit.shell_code(), confirmed) {
                (0, false) => Self::Unconfirmed,
                (code, _) => Self::Agent(code),
            },
            Ending::GaveUp => Self::GaveUp,
            Ending::SpawnFailed(SpawnFailure::NotFound) => Self::NotFound,
            Ending::SpawnFailed(SpawnFailure::NotExecutable) => Self::NotExecutable,
            Ending::SpawnFailed(
                SpawnFailure::Exhausted(_)
                | SpawnFailure::Unprepared
                | SpawnFailure::Cancelled
                | SpawnFailure::Other(_),
            ) => Self::Internal,
            Ending::Unreachable(_) => Self::Unreachable,
            Ending::Refused(failure) if failure.kind == FailureKind::NoSuchNode => Self::NoSuchNode,
            Ending::Refused(_) => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_wrap_supervisor::{Exit, Failure};

    use super::*;

    fn failure(kind: FailureKind) -> Failure {
        Failure::new(kind, "")
    }

    #[test]
    fn each_ending_has_its_code() {
        let table = [
            (Ending::Stopped { killed: false, confirmed: true }, 0),
            (Ending::Stopped { killed: true, confirmed: true }, 137),
            (Ending::Stopped { killed: false, confirmed: false }, 74),
            (Ending::Stopped { killed: true, confirmed: false }, 74),
            (Ending::AgentEnded { exit: Exit::Code(0), confirmed: true }, 0),
            (Ending::AgentEnded { exit: Exit::Code(0), confirmed: false }, 74),
            (Ending::AgentEnded { exit: Exit::Code(3), confirmed: false }, 3),
            (Ending::AgentEnded { exit: Exit::Signal(9), confirmed: true }, 137),
            (Ending::AgentEnded { exit: Exit::Unknown, confirmed: true }, 1),
            (Ending::GaveUp, 71),
            (Ending::SpawnFailed(SpawnFailure::NotFound), 127),
            (Ending::SpawnFailed(SpawnFailure::NotExecutable), 126),
            (Ending::SpawnFailed(SpawnFailure::Exhausted(11)), 70),
            (Ending::SpawnFailed(SpawnFailure::Other(5)), 70),
            (Ending::Unreachable(failure(FailureKind::Unavailable)), 69),
            (Ending::Refused(failure(FailureKind::Unauthenticated)), 77),
            (Ending::Refused(failure(FailureKind::Forbidden)), 77),
            (Ending::Refused(failure(FailureKind::NoSuchNode)), 68),
        ];
        for (ending, code) in table {
            assert_eq!(ExitCode::from(&ending).code(), code, "{ending:?}");
        }
    }

    #[test]
    fn no_two_codes_are_the_same() {
        let mut codes = ExitCode::ALL.map(ExitCode::code);
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
    }
}
