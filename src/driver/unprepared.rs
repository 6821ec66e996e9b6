//! What an agent lacks to be started, and whom that says something about.

use std::fmt;

use agent_wrap_supervisor::Failure;

use crate::controller::ControllerError;

/// Why an agent has not got what it needs.
pub enum Unprepared {
    /// The controller has not given it.
    Controller(Failure),
    /// The settings, this machine, or what the controller has to say of the node.
    Other(String),
}

impl Unprepared {
    /// Both are tried again, but only an outage or a refusal has nothing to do with the agent.
    pub(super) fn from_controller(error: &ControllerError, what: &str, cure: &str) -> Self {
        let words = format!("{what}: {error}{cure}");
        match error {
            ControllerError::NotInbound { .. }
            | ControllerError::Garbage { .. }
            | ControllerError::TooLarge { .. }
            | ControllerError::NoJar { .. }
            | ControllerError::File { .. } => Self::Other(words),
            _ => Self::Controller(Failure { kind: error.kind(), words, retry_after: error.retry_after() }),
        }
    }
}

impl fmt::Display for Unprepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller(failure) => formatter.write_str(&failure.words),
            Self::Other(words) => formatter.write_str(words),
        }
    }
}

impl From<String> for Unprepared {
    fn from(words: String) -> Self {
        Self::Other(words)
    }
}
