//! What a request asks for.

use super::http::Head;
use super::text::{base64_decode, percent_decode};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The login page, 200 once the controller is up.
    Login,
    /// The root page.
    Root,
    /// The root's JSON.
    RootJson,
    /// Who the credentials are.
    WhoAmI,
    /// A crumb.
    Crumb,
    /// Where agents connect.
    Listener,
    /// A node's JSON.
    ReadNode,
    /// `toggleOffline`.
    Toggle,
    /// `changeOfflineCause`.
    ChangeCause,
    /// `doDisconnect`.
    Disconnect,
    /// The form that marks a node.
    MarkPage,
    /// A node's jnlp file.
    Jnlp,
    /// The agent's jar.
    Jar,
    /// The first request of a command over HTTP, whose answer is the command's output.
    CliDownload,
    /// The second one, whose body is the command.
    CliUpload,
    /// An agent of our own kind connects.
    Connect,
    /// Anything else.
    Other,
}

impl Operation {
    /// Whether it changes a node's mark or channel. A command line's download counts, its upload does not.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Toggle | Self::ChangeCause | Self::Disconnect | Self::CliDownload)
    }
}

/// A request's target taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Decoded segments after the context path; `None` when the path lies outside of it.
    pub(crate) segments: Option<Vec<String>>,
    /// The query, as it was sent.
    pub(crate) query: String,
}

impl Target {
    pub(crate) fn new(head: &Head, context_path: &str) -> Self {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let inside = path.trim_start_matches('/');
        let below = if context_path.is_empty() {
            Some(inside)
        } else {
            inside.strip_prefix(context_path).filter(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let segments =
            below.map(|below| below.split('/').filter(|segment| !segment.is_empty()).map(percent_decode).collect());
        Self { segments, query: query.to_owned() }
    }

    pub(crate) fn segments(&self) -> Vec<&str> {
        self.segments.iter().flatten().map(String::as_str).collect()
    }

    /// What is asked for, and of which node.
    pub(crate) fn operation(&self, head: &Head) -> (Operation, Option<String>) {
        let segments = self.segments();
        let node = |operation, name: &str| (operation, Some(name.to_owned()));
        match segments.as_slice() {
            ["login"] => (Operation::Login, None),
            [] => (Operation::Root, None),
            ["api", "json"] => (Operation::RootJson, None),
            ["whoAmI", "api", "json"] => (Operation::WhoAmI, None),
            ["crumbIssuer", "api", "json"] => (Operation::Crumb, None),
            ["tcpSlaveAgentListener"] => (Operation::Listener, None),
            ["cli"] if head.method == "POST" && head.header("side") == Some("download") => {
                (Operation::CliDownload, None)
            }
            ["cli"] if head.method == "POST" => (Operation::CliUpload, None),
            ["jnlpJars", _] => (Operation::Jar, None),
            ["testbed", "connect", name] => node(Operation::Connect, name),
            ["computer", "api", "json"] => (Operation::Other, None),
            ["computer", name, "api", "json"] => node(Operation::ReadNode, name),
            ["computer", name, "toggleOffline"] => node(Operation::Toggle, name),
            ["computer", name, "changeOfflineCause"] => node(Operation::ChangeCause, name),
            ["computer", name, "doDisconnect"] => node(Operation::Disconnect, name),
            ["computer", name, "markOffline"] => node(Operation::MarkPage, name),
            ["computer", name, "jenkins-agent.jnlp" | "slave-agent.jnlp"] => node(Operation::Jnlp, name),
            _ => (Operation::Other, None),
        }
    }
}

/// User and secret of a Basic `Authorization` header; `None` without one, or when it makes no sense.
pub(crate) fn basic_credentials(head: &Head) -> Option<(String, String)> {
    let encoded = head.header("authorization")?.strip_prefix("Basic ")?;
    let plain = String::from_utf8(base64_decode(encoded.trim())?).ok()?;
    plain.split_once(':').map(|(user, secret)| (user.to_owned(), secret.to_owned()))
}
