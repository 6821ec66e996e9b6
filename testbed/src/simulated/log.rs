//! What has happened, in order, for tests to assert on.

use super::request::Operation;

/// One request as it was received, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// Counted from 1 in the order of arrival, over restarts of the controller too.
    pub number: usize,
    /// The method.
    pub method: String,
    /// The path after the context path, decoded, without a slash at the begin: "computer/n1/api/json".
    pub path: String,
    /// What comes after the question mark, as it was sent.
    pub query: String,
    /// What it asks for.
    pub operation: Operation,
    /// The node it is about.
    pub node: Option<String>,
    /// The user named by the credentials, whether they are good or not.
    pub user: Option<String>,
    /// The headers as they were sent.
    pub headers: Vec<(String, String)>,
    /// The body as it was sent; empty for uploads and agents' connections.
    pub body: String,
    /// The command and its arguments, for the command line over HTTP.
    pub command: Vec<String>,
    /// The status of the answer; `None` when none was sent.
    pub status: Option<u16>,
    /// Whether it has done, or told, what it asked for.
    pub carried_out: bool,
}

impl RequestInfo {
    /// The first header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A field of the form body or of the query, decoded.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let fields = [super::text::form_fields(&self.body), super::text::form_fields(&self.query)].concat();
        fields.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The controller takes connections.
    ControllerUp,
    /// It no longer does; all connections are gone.
    ControllerDown,
    /// A request came in.
    Received {
        /// Its number.
        request: usize,
    },
    /// What it asks for was done.
    CarriedOut {
        /// Its number.
        request: usize,
    },
    /// Its answer begins to be sent.
    Answered {
        /// Its number.
        request: usize,
        /// The answer's status.
        status: u16,
    },
    /// A node was marked, or its mark's reason replaced.
    Marked {
        /// The node.
        node: String,
        /// The words.
        reason: String,
        /// Who: a user, a monitor, or "controller" for a mark that was put back.
        by: String,
    },
    /// A node's mark was cleared.
    Cleared {
        /// The node.
        node: String,
        /// Who.
        by: String,
    },
    /// An agent was let in: from here on it believes itself connected.
    AgentAccepted {
        /// The node.
        node: String,
    },
    /// An agent was turned away.
    AgentRefused {
        /// The node.
        node: String,
        /// The status: 403 a wrong secret, 404 no such node, 409 already connected.
        status: u16,
    },
    /// A node's channel is up.
    AgentConnected {
        /// The node.
        node: String,
    },
    /// An agent's process or connection is gone; `clean` when it said so.
    AgentLeft {
        /// The node.
        node: String,
        /// Whether it said goodbye.
        clean: bool,
    },
    /// A node's channel is gone.
    AgentDisconnected {
        /// The node.
        node: String,
    },
    /// A build occupies an executor.
    BuildStarted {
        /// The node.
        node: String,
        /// The job.
        job: String,
    },
    /// A build is over.
    BuildFinished {
        /// The job.
        job: String,
        /// SUCCESS, FAILURE or ABORTED.
        result: String,
    },
}
