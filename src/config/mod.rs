//! Settings: from defaults, file, environment, flags and the agent's own command line to one typed value.
//!
//! Each source is read into a layer of words with their origins; the layers are laid over each other; what is still
//! missing is inferred; and only then words become values, so that a fault is reported in the same way and with its
//! place wherever it was made.

mod agent_command;
#[cfg(test)]
mod agent_command_tests;
mod agent_options;
mod completion;
#[cfg(test)]
mod completion_tests;
mod conceal;
#[cfg(test)]
mod connection_tests;
mod credentials;
mod docker_agent;
mod drain;
mod environment;
mod error;
mod file;
mod flags;
mod load;
mod missing;
mod nearest;
mod parse;
mod print;
mod quote;
mod reason;
mod refused;
mod reload;
mod runtime_directory;
mod script;
mod secret_file;
mod table;
#[cfg(test)]
mod tests;
mod transparent;
mod two_secrets;
mod undone;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use agent_wrap_supervisor::{
    Backoff, IfRefused, Leftovers, NodePolicy, OfflinePolicy, OnlineMethod, OnlinePolicy, Policy, RestartMode, Span,
    TakeOver,
};

use crate::clock;

pub use completion::{Completion, CompletionFacts, ControllerKind, Jar, NeededSecret, local_jnlp, plan};
pub use credentials::{Credentials, SecretError, SecretSource};
pub use docker_agent::{instead_of_an_agent, is_docker_agent, translate_docker_agent};
pub use drain::{Drain, Until};
pub use environment::{Surroundings, child_environment};
pub use error::SettingsError;
pub use file::{DEFAULT_PATH, DEFAULTS};
pub use flags::{Flags, early_log_format};
pub(crate) use flags::{OWN_HEADING, flag_arguments};
pub use load::{Loaded, load};
pub use quote::shell_quote;
pub use reason::{ReasonFacts, ReasonTemplate};
pub use reload::reload;
pub use runtime_directory::RuntimeDirectory;
pub use secret_file::{SecretFile, SecretFileError};

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The controller and the node on it; `None` for `--standalone`.
    pub controller: Option<ControllerSettings>,
    /// Where the agent connects to when no controller is asked, as far as the settings say it.
    pub unasked: Option<Connection>,
    /// Which marks are lifted before the agent's first start.
    pub online: OnlinePolicy,
    /// The regular expression of `--online match=REGEX`, which has been seen to compile.
    pub online_match: Option<String>,
    /// How a mark is lifted.
    pub online_method: OnlineMethod,
    /// How long the controller may be out of reach at the first start; zero for ever.
    pub start_timeout: Span,
    /// What happens when the controller refuses us at the start.
    pub if_refused: IfRefused,
    /// Whether the connection that a killed run has left on the controller is closed.
    pub takeover: TakeOver,
    /// The file that holds the node while it is there; `None` for the usual ones.
    pub hold_file: Option<PathBuf>,
    /// Whether the node is marked at a stop.
    pub offline: OfflinePolicy,
    /// The reason for it.
    pub offline_reason: ReasonTemplate,
    /// How long marking may take.
    pub offline_timeout: Span,
    /// How long running builds may take at a stop.
    pub drain: Drain,
    /// So long before they are cut off that is said; zero does not say it.
    pub drain_warn: Span,
    /// From TERM to KILL.
    pub grace: Span,
    /// What becomes of what the agent leaves behind.
    pub leftovers: Leftovers,
    /// Whether an ended agent is started again.
    pub restart: RestartMode,
    /// The pauses between starts.
    pub backoff: Backoff,
    /// When another jar of the controller's is taken.
    pub jar_update: JarUpdate,
    /// The node's own secret, for a completed command; `None`: the controller is asked for it.
    pub secret: Option<SecretSource>,
    /// The user, and after a colon the group, to run the agent as; names or numbers.
    pub agent_user: Option<String>,
    /// The agent's `oom_score_adj`; `None`: that of the wrapper.
    pub agent_oom_score_adj: Option<i16>,
    /// The agent speaks over stdin and stdout: its command is not completed.
    pub stdio: bool,
    /// How often the node is looked at.
    pub poll: Span,
    /// How long an agent may be without a connection, and the longest time between two looks.
    pub disconnect_timeout: Span,
    /// Form of the log.
    pub log_format: LogFormat,
    /// How much is logged.
    pub log_level: LogLevel,
    /// Whether what is awaited is shown at the bottom of a terminal.
    pub status_line: StatusLine,
    /// Where the state file and the lock are; `None` when no place for them is known (no home directory).
    pub state_dir: Option<PathBuf>,
    /// When a service manager is told that the start is over.
    pub ready: Ready,
    /// Signals that mean something else than by default, each once.
    pub signals: Vec<crate::signals::Setting>,
    /// The agent's command, byte for byte as it was given. It may hold a secret: log it with [`shell_quote`] only.
    pub command: Vec<OsString>,
    /// Called as `jenkins-agent`: how many of the words at the command's end were arguments, and not variables.
    pub entry_point: Option<usize>,
}

/// What `--standalone` leaves of the settings about the controller: it is only told to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The controller's root, with a slash at the end.
    pub url: String,
    /// The name of the node, not encoded.
    pub node: String,
}

/// The controller, and the node on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    /// Its root, with a slash at the end.
    pub url: String,
    /// The name of the node, not encoded.
    pub node: String,
    /// Who we are there; `None` for anonymous.
    pub credentials: Option<Credentials>,
    /// Certificates to trust besides the system's own.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take; never zero.
    pub request_timeout: Span,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// Chosen by where stderr goes.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
    /// Records for systemd's journal.
    Journal,
}

/// `--jar-update`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JarUpdate {
    /// At each start of the agent.
    Restart,
    /// When the controller's version changes too, and the agent is idle.
    Idle,
}

/// `--status-line`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusLine {
    /// Where nobody else writes.
    Auto,
    /// Nowhere.
    Never,
}

/// `--ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ready {
    /// Once the controller reports the agent connected.
    Connected,
    /// Once the wrapper has begun, whether the controller is there or not.
    Started,
}

/// `--log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Only what has failed.
    Error,
    /// And what may fail.
    Warn,
    /// And what happens.
    Info,
    /// And why.
    Debug,
    /// And every exchange.
    Trace,
}

impl Settings {
    /// The part that decisions depend on. A drain until a moment is as long as it may be; the driver tells the supervisor
    /// how long that is when one begins. What is a fact of this run and no setting (terminal, survivor, seed, unclean, hold)
    /// has its default; the driver fills it in.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let node = self.controller.as_ref().map(|controller| NodePolicy {
            online: self.online,
            offline: self.offline,
            online_method: self.online_method,
            if_refused: self.if_refused,
            start_timeout: self.start_timeout,
            offline_timeout: self.offline_timeout,
            request_timeout: controller.request_timeout,
            poll: self.poll,
            disconnect_timeout: self.disconnect_timeout,
            patient_after: NodePolicy::default().patient_after,
            takeover: self.takeover,
            unclean: false,
            marked_before: false,
            connected_before: false,
            hold: None,
        });
        Policy {
            node,
            restart: self.restart,
            backoff: self.backoff,
            drain: self.drain.longest(clock::wall()),
            drain_warn: self.drain_warn,
            grace: self.grace,
            leftovers: self.leftovers,
            terminal: false,
            survivor: false,
            seed: 0,
        }
    }
}
