//! What can go wrong with a controller, in words that name the cause and the cure.

use std::path::PathBuf;
use std::time::Duration;

use agent_wrap_supervisor::{Failure, FailureKind, Span};

use crate::quoted::quoted;
use crate::shortage::cause_of;

/// The settings do not make a client. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The root URL is none.
    #[error("the controller's URL {} cannot be used: {why}; it looks like https://ci.example.org/jenkins/", quoted(.url))]
    Url {
        /// As it was given, credentials masked.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The node's name is none.
    #[error("the node's name {} cannot be used: {why}; take it from the controller's list of nodes", quoted(.name))]
    NodeName {
        /// As it was given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file with the certificate authorities cannot be used.
    #[error("no certificate could be read from {}: {why}; it has to be a PEM file with the authority's certificate", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The source of the credentials cannot be used.
    #[error("the credentials cannot be used: {0}")]
    Credentials(#[from] CredentialError),
    /// A header or the TLS library refused what it was given.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
    /// The environment names a proxy that we cannot speak to.
    #[error(
        "the proxy {proxy} of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) speaks no HTTP; name one that does, or the controller's host in NO_PROXY"
    )]
    Proxy {
        /// The proxy, without its credentials.
        proxy: String,
    },
    /// The system had no thread to spare.
    #[error("no thread for names or files could be started: {0}; raise the limit on processes (ulimit -u, TasksMax)")]
    Thread(#[source] std::io::Error),
    /// The system had no descriptor or memory to spare.
    #[error("the HTTP client cannot be set up: {}{}", .0, cause_of(.0))]
    Shortage(#[source] std::io::Error),
}

impl SetupError {
    /// Whether the system lacks something, and the settings may well be right.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Thread(_) | Self::Shortage(_) | Self::Credentials(CredentialError::Shortage(_)))
    }
}

/// A secret that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The source gives none, or not in time.
    #[error("{0}")]
    Unreadable(String),
    /// The source may well be right, but the system lacked something to read it with.
    #[error("{0}")]
    Shortage(String),
    /// The user or the secret holds characters that HTTP cannot carry.
    #[error("the user's name has a colon or the secret a control character in it")]
    Malformed,
}

/// A request has not brought what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControllerError {
    /// No connection, or one that broke.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The page.
        url: String,
        /// What failed, and what to look at.
        why: String,
    },
    /// No answer in time.
    #[error("{url} has not answered within {}; the controller, a proxy or the network is overloaded or hangs", humantime::format_duration(*within))]
    Timeout {
        /// The page.
        url: String,
        /// How long was waited.
        within: Duration,
    },
    /// The TLS handshake failed.
    #[error("no secure connection to {url}: {why}")]
    Tls {
        /// The page.
        url: String,
        /// What is wrong with the certificate, and the cure.
        why: String,
    },
    /// An answer, but not of a controller.
    #[error(
        "{url} is no page of a Jenkins or Hudson ({why}); check the controller's URL, with its context path (.../jenkins/), and what a proxy in between answers"
    )]
    NotAController {
        /// The page.
        url: String,
        /// What came instead.
        why: String,
    },
    /// A redirect to another host or port.
    #[error(
        "{url} sends us on to {to}, which gets no credentials; if that is the controller, make its root the controller's URL, else look at the proxy in between"
    )]
    Elsewhere {
        /// The page.
        url: String,
        /// Where the redirect leads.
        to: String,
    },
    /// A redirect from https to http.
    #[error(
        "{url} sends us on to {to}, where the credentials would travel in the clear; correct the Jenkins URL in the controller's system settings, or have the proxy before it set X-Forwarded-Proto"
    )]
    Downgrade {
        /// The page.
        url: String,
        /// Where the redirect leads.
        to: String,
    },
    /// The controller is starting up.
    #[error("the controller at {url} is starting up; it answers soon")]
    Starting {
        /// The page.
        url: String,
        /// For how long it wants to be left alone.
        retry_after: Option<Span>,
    },
    /// A 5xx.
    #[error("{url} answered {status}; the controller or a proxy before it is in trouble, its log says why")]
    ServerError {
        /// The page.
        url: String,
        /// The status.
        status: u16,
        /// For how long it wants to be left alone.
        retry_after: Option<Span>,
    },
    /// 429.
    #[error("{url} answered 429: it has been asked too often; a proxy before the controller limits who asks how often")]
    TooOften {
        /// The page.
        url: String,
        /// For how long it wants to be left alone.
        retry_after: Option<Span>,
    },
    /// Any other answer that does not fit.
    #[error("{url} answered {status}, which is no answer to that; look at the proxies before the controller")]
    Unexpected {
        /// The page.
        url: String,
        /// The status.
        status: u16,
    },
    /// 401, or a redirect to a login page.
    #[error("{url} refused the credentials {who}: {why}")]
    Unauthenticated {
        /// The page.
        url: String,
        /// Whose credentials.
        who: String,
        /// What came back, and the cure.
        why: String,
    },
    /// 403.
    #[error("{url}: {} may not do that: {}", identity(who.as_deref()), wanted(permission.as_deref()))]
    Forbidden {
        /// The page.
        url: String,
        /// Who the controller says we are.
        who: Option<String>,
        /// The permission that it wants, by its identifier or in the CLI's words.
        permission: Option<String>,
    },
    /// A password was refused for its crumb, again and again.
    #[error(
        "{url} wants a crumb and refuses the one that its crumb issuer gave; a proxy drops the cookie or the header: use an API token, which needs no crumb"
    )]
    Crumb {
        /// The page.
        url: String,
    },
    /// The controller has no such node.
    #[error(
        "the controller at {root} has no node {}, or these credentials may not see it; create it there, or correct the name",
        quoted(.node)
    )]
    NoSuchNode {
        /// The root.
        root: String,
        /// The name.
        node: String,
    },
    /// The node exists but no agent can connect to it by itself.
    #[error(
        "the node {} has no inbound secret to hand out: it is not launched by connecting it to the controller; choose that launch method in its settings",
        quoted(.node)
    )]
    NotInbound {
        /// The name.
        node: String,
    },
    /// Something else where JSON was asked for.
    #[error("{url} answered something that is no description of a node: {why}; a proxy may have cut or replaced it")]
    Garbage {
        /// The page.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// More than anybody sends.
    #[error("{url} sent more than {limit} bytes; that is no answer of a controller")]
    TooLarge {
        /// The page.
        url: String,
        /// The bound, in bytes.
        limit: u64,
    },
    /// Something else where the agent's jar was asked for.
    #[error("{url} handed out something that is not the agent's jar: {why}; a proxy may have cut or replaced it")]
    NoJar {
        /// The page.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The jar could not be written.
    #[error("{} cannot be written: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        why: String,
    },
}

impl ControllerError {
    /// What decisions depend on.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Unauthenticated { .. } => FailureKind::Unauthenticated,
            Self::Forbidden { .. } | Self::Crumb { .. } => FailureKind::Forbidden,
            Self::NoSuchNode { .. } => FailureKind::NoSuchNode,
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::NotAController { .. }
            | Self::Elsewhere { .. }
            | Self::Downgrade { .. }
            | Self::Starting { .. }
            | Self::ServerError { .. }
            | Self::TooOften { .. }
            | Self::Unexpected { .. }
            | Self::NotInbound { .. }
            | Self::Garbage { .. }
            | Self::TooLarge { .. }
            | Self::NoJar { .. }
            | Self::File { .. } => FailureKind::Unavailable,
        }
    }
}

impl ControllerError {
    /// For how long whoever answered wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Span> {
        match self {
            Self::Starting { retry_after, .. }
            | Self::ServerError { retry_after, .. }
            | Self::TooOften { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<ControllerError> for Failure {
    fn from(error: ControllerError) -> Self {
        Self { kind: error.kind(), words: error.to_string(), retry_after: error.retry_after() }
    }
}

fn identity(who: Option<&str>) -> String {
    match who {
        Some("anonymous") => "anonymous (nobody is logged in)".to_owned(),
        Some(name) => format!("the user {}", quoted(name)),
        None => "this user".to_owned(),
    }
}

fn wanted(permission: Option<&str>) -> String {
    match permission {
        Some(permission) => format!(
            "{} is missing; grant it (Overall/Read, Agent/Connect and Agent/Disconnect are enough), or give the credentials of a user who has it",
            readable(permission)
        ),
        None => "the answer does not name the permission; Overall/Read, Agent/Connect and Agent/Disconnect are needed, and a proxy may forbid it too".to_owned(),
    }
}

/// The names of the permission in the controller's own pages, for the ones that matter here.
fn readable(permission: &str) -> String {
    let known = match permission {
        "hudson.model.Hudson.Read" => "Overall/Read",
        "hudson.model.Computer.Connect" => "Agent/Connect",
        "hudson.model.Computer.Disconnect" => "Agent/Disconnect",
        _ => return permission.to_owned(),
    };
    format!("{known} ({permission})")
}
