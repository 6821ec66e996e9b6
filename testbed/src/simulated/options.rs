//! What kind of controller is simulated, and who may do what on it.

use std::path::PathBuf;
use std::time::Duration;

/// Which of the two twins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Jenkins.
    Jenkins,
    /// Hudson: no setter, no command line over HTTP, no `offlineCauseReason`, JSON as `application/javascript`.
    Hudson,
}

/// What becomes of a mark when the controller restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It belongs to the node and survives (Jenkins since 2.482).
    Node,
    /// It is put back on, with its reason, when the agent connects; until then the node looks unmarked. A disconnect
    /// overwrites the user's reason (Jenkins before 2.482; seen on Hudson 3.0.0).
    AtConnect,
    /// It is gone. A disconnect overwrites the user's reason.
    Lost,
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Overall/Read: see anything at all.
    Read,
    /// Agent/Connect: lift a mark, read a node's secret and remote path.
    Connect,
    /// Agent/Disconnect: mark, disconnect.
    Disconnect,
    /// Item/Read: see jobs and what runs on an executor.
    ItemRead,
    /// Overall/Administer: everything.
    Administer,
}

impl Permission {
    /// As in `X-Required-Permission`.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Read => "hudson.model.Hudson.Read",
            Self::Connect => "hudson.model.Computer.Connect",
            Self::Disconnect => "hudson.model.Computer.Disconnect",
            Self::ItemRead => "hudson.model.Item.Read",
            Self::Administer => "hudson.model.Hudson.Administer",
        }
    }

    /// As people read it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Read => "Overall/Read",
            Self::Connect => "Agent/Connect",
            Self::Disconnect => "Agent/Disconnect",
            Self::ItemRead => "Item/Read",
            Self::Administer => "Overall/Administer",
        }
    }
}

/// A user of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub name: String,
    /// The password, for which a crumb is needed to write.
    pub password: Option<String>,
    /// The API token, for which none is needed.
    pub token: Option<String>,
    /// What the user may do.
    pub permissions: Vec<Permission>,
}

impl Account {
    /// An account with the password `NAME-password`, the API token `NAME-token` and these permissions.
    #[must_use]
    pub fn new(name: &str, permissions: &[Permission]) -> Self {
        Self {
            name: name.to_owned(),
            password: Some(format!("{name}-password")),
            token: Some(format!("{name}-token")),
            permissions: permissions.to_vec(),
        }
    }

    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission) || self.permissions.contains(&Permission::Administer)
    }
}

/// How a starting controller answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 500.
    ServerError,
    /// 503 with the page "getting ready".
    GettingReady,
    /// 403, however good the credentials.
    Forbidden,
    /// 401, however good the credentials.
    Unauthorized,
}

/// How long a starting controller keeps answering that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// For this many requests.
    Requests(u32),
    /// For this long, from its first such answer on.
    Time(Duration),
    /// Until the test says otherwise.
    Forever,
}

/// The refusals in the order in which they were seen on a starting Jenkins: 500, 503, 403, 401, 503. Each of them
/// lasts as long as `lasting` says.
#[must_use]
pub fn startup_as_seen(lasting: Lasting) -> Vec<(Refusal, Lasting)> {
    [Refusal::ServerError, Refusal::GettingReady, Refusal::Forbidden, Refusal::Unauthorized, Refusal::GettingReady]
        .map(|refusal| (refusal, lasting))
        .to_vec()
}

/// What a simulated controller is like. Start from [`Options::jenkins`] or [`Options::hudson`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Jenkins or Hudson.
    pub flavour: Flavour,
    /// Its version, "2.578". What a version lacks is lacking here.
    pub version: String,
    /// The port on 127.0.0.1; 0 for any free one.
    pub port: u16,
    /// The context path without slashes around it; empty for none.
    pub context_path: String,
    /// Whether anybody has to log in at all; without it everybody may do everything.
    pub security: bool,
    /// Whether requests that write need a crumb unless they carry an API token.
    pub crumbs: bool,
    /// Who there is. Ignored without security.
    pub accounts: Vec<Account>,
    /// What somebody without credentials may do.
    pub anonymous: Vec<Permission>,
    /// Whether there is the command line over HTTP, should flavour and version have it.
    pub cli: bool,
    /// How long the command line's first request waits for the second; 15 s on a real one.
    pub cli_upload_window: Duration,
    /// How long the upload of a running command may be silent; 30 s on a real one.
    pub cli_silence: Duration,
    /// How long a command takes from the change to the moment it is saved and the exit code is sent.
    pub cli_command_time: Duration,
    /// How long the command's stream stays open after the exit code.
    pub cli_linger: Duration,
    /// What becomes of marks at a restart.
    pub persistence: Persistence,
    /// How many seconds the controller's clock is ahead of ours.
    pub clock_ahead: i64,
    /// Whether its answers tell the time. Recorded ones do not, and those of a real Hudson do not.
    pub tells_time: bool,
    /// How the controller answers at first, each time it comes up.
    pub startup: Vec<(Refusal, Lasting)>,
    /// Whether agents can connect over TCP; without it `tcpSlaveAgentListener` is 404.
    pub agent_port: bool,
    /// From the moment the agent believes itself connected to the moment the controller does; zero for none, then the
    /// controller is first.
    pub connect_time: Duration,
    /// How long the channel of an agent that died uncleanly is still taken for alive.
    pub stale_channel: Duration,
    /// How long a build sits on an executor before the executor counts as busy.
    pub assign_time: Duration,
    /// The bytes of `jnlpJars/agent.jar`.
    pub agent_jar: Vec<u8>,
    /// When it was made, as in `Last-Modified`; a real one has no `ETag`.
    pub agent_jar_date: String,
    /// Whether that is told at all.
    pub agent_jar_dated: bool,
    /// The program that stands in for `java -jar agent.jar`; `None` for `misbehave` beside the running test.
    pub agent: Option<PathBuf>,
}

impl Options {
    /// Jenkins of this version, with security on and the accounts `admin` (everything), `op` (Overall/Read,
    /// Agent/Connect, Agent/Disconnect, Item/Read), `viewer` (Overall/Read) and `nobody` (nothing); see
    /// [`Account::new`] for their secrets.
    #[must_use]
    pub fn jenkins(version: &str) -> Self {
        let persistence = if at_least(version, (2, 482)) { Persistence::Node } else { Persistence::AtConnect };
        Self {
            flavour: Flavour::Jenkins,
            version: version.to_owned(),
            port: 0,
            context_path: String::new(),
            security: true,
            crumbs: true,
            accounts: vec![
                Account::new("admin", &[Permission::Administer]),
                Account::new(
                    "op",
                    &[Permission::Read, Permission::Connect, Permission::Disconnect, Permission::ItemRead],
                ),
                Account::new("viewer", &[Permission::Read]),
                Account::new("nobody", &[]),
            ],
            anonymous: Vec::new(),
            cli: true,
            cli_upload_window: Duration::from_secs(15),
            cli_silence: Duration::from_secs(30),
            cli_command_time: Duration::from_millis(20),
            cli_linger: Duration::from_secs(1),
            persistence,
            clock_ahead: 0,
            tells_time: false,
            startup: Vec::new(),
            agent_port: true,
            connect_time: Duration::ZERO,
            stale_channel: Duration::ZERO,
            assign_time: Duration::ZERO,
            agent_jar: EMPTY_JAR.to_vec(),
            agent_jar_date: "Mon, 23 Nov 2026 02:49:43 GMT".to_owned(),
            agent_jar_dated: true,
            agent: None,
        }
    }

    /// Hudson 3.0.0 with security off, as it comes.
    #[must_use]
    pub fn hudson() -> Self {
        Self {
            flavour: Flavour::Hudson,
            security: false,
            crumbs: false,
            persistence: Persistence::AtConnect,
            ..Self::jenkins("3.0.0")
        }
    }

    /// Whether this is a Jenkins of at least this version.
    pub(crate) fn jenkins_since(&self, version: (u32, u32)) -> bool {
        self.flavour == Flavour::Jenkins && at_least(&self.version, version)
    }

    pub(crate) fn has_cli(&self) -> bool {
        self.cli && self.jenkins_since((2, 54))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::jenkins("2.578")
    }
}

/// A jar with nothing but a manifest.
const EMPTY_JAR: &[u8] = include_bytes!("agent.jar");

/// Whether a version such as "2.482.1" or "2.578" is at least this one.
fn at_least(version: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(at_least("2.578", (2, 54)));
        assert!(at_least("2.482.1", (2, 482)));
        assert!(!at_least("1.642", (2, 54)));
        assert!(!Options::hudson().jenkins_since((1, 481)));
    }
}
