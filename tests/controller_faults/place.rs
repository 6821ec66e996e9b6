//! A simulated controller with a node, and the wrapper's command line for it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_wrap_testbed::simulated::{Entry, Operation, Options, RequestInfo, Simulated};
use agent_wrap_testbed::stage::{NodeState, Stage};
use tempfile::TempDir;

use crate::common::{Outcome, Wrap, wrap_with_state};

/// A controller with one node, a state directory, and somebody's credentials.
pub struct Place {
    /// The controller.
    pub controller: Simulated,
    /// The node.
    pub node: String,
    /// The URL that the wrapper is given.
    pub url: String,
    /// The user, if any, whose API token is the user's name and "-token".
    pub user: Option<&'static str>,
    dir: TempDir,
}

impl Place {
    /// The node `n`, and the user `op` with security on.
    pub fn new(options: Options) -> Self {
        Self::with_node(options, "n")
    }

    /// This node, and the user `op` with security on.
    pub fn with_node(options: Options, node: &str) -> Self {
        let user = options.security.then_some("op");
        let controller = Simulated::start(options).expect("the controller starts");
        controller.create_node(node, 1).expect("the node is created");
        let dir = tempfile::tempdir().expect("a directory");
        Self { url: controller.url(), controller, node: node.to_owned(), user, dir }
    }

    /// The same, but with these credentials.
    pub fn used_by(self, user: Option<&'static str>) -> Self {
        Self { user, ..self }
    }

    /// Marks the node, as somebody else.
    pub fn mark(&self, reason: &str) {
        self.controller.mark(&self.node, reason).expect("marked");
    }

    /// The node as it is now.
    pub fn state(&self) -> NodeState {
        self.controller.node(&self.node).expect("it answers")
    }

    /// The wrapper's directory, for its state and its secrets.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The file that the wrapper reads its token from.
    pub fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// Writes the token.
    pub fn write_token(&self, token: &str) {
        fs::write(self.token_file(), token).expect("the token is written");
        fs::set_permissions(self.token_file(), fs::Permissions::from_mode(0o600)).expect("its mode is set");
    }

    /// The wrapper's command line, with a plain agent.
    pub fn command(&self, options: &[&str]) -> Command {
        let mut command = self.command_without_agent(options);
        command.args(self.controller.agent_command(&self.node));
        command
    }

    /// The wrapper's command line up to the agent's.
    pub fn command_without_agent(&self, options: &[&str]) -> Command {
        let mut command = wrap_with_state(self.dir.path().as_os_str());
        command.args(["--url", &self.url, "--poll", "1s"]).arg(format!("--node={}", self.node));
        if let Some(user) = self.user {
            self.write_token(&format!("{user}-token"));
            command.args([OsStr::new("--user"), OsStr::new(user), OsStr::new("--token-file")]).arg(self.token_file());
        }
        command.args(options);
        command
    }

    /// The wrapper's command line with nothing said of the credentials but by `give`.
    pub fn command_of(&self, give: impl FnOnce(&mut Command)) -> Command {
        let mut command = wrap_with_state(self.dir.path().as_os_str());
        command.args(["--url", &self.url]).arg(format!("--node={}", self.node));
        give(&mut command);
        command.args(self.controller.agent_command(&self.node));
        command
    }

    /// Starts the wrapper.
    pub fn start(&self, options: &[&str]) -> Wrap {
        Wrap::start(self.command(options))
    }

    /// Starts the wrapper and waits until its agent takes builds.
    pub fn online(&self, options: &[&str]) -> Wrap {
        let wrap = self.start(options);
        wrap.wait_for("agent_connected");
        self.wait_until_free();
        wrap
    }

    /// Waits until the node carries no mark.
    pub fn wait_until_free(&self) {
        let node = self.node.clone();
        self.controller.wait_for("the node to be free", |world| !world.node_state(&node).unwrap_or_default().marked);
    }

    /// Stops the wrapper: 0, and the node is marked.
    #[track_caller]
    pub fn expect_good_stop(&self, wrap: Wrap) -> Outcome {
        let outcome = wrap.stop();
        outcome.expect_code(0);
        assert!(self.state().marked, "{}", outcome.text());
        outcome
    }

    /// Runs the wrapper to its end, which it comes to by itself before an agent is started.
    #[track_caller]
    pub fn expect_no_start(&self, options: &[&str], code: i32) -> Outcome {
        let outcome = self.start(options).outcome();
        outcome.expect_code(code);
        assert!(!outcome.has("agent_started"), "{}", outcome.text());
        outcome
    }

    /// What the wrapper asked for before its agent was let in.
    pub fn requests_before_the_agent(&self) -> Vec<RequestInfo> {
        self.controller.wait_for_entry("the agent", |entry| matches!(entry, Entry::AgentAccepted { .. }));
        let requests = self.controller.look(|world| world.requests().to_vec());
        requests.into_iter().take_while(|request| !is_the_agents(request)).collect()
    }
}

/// The agents of a Hudson read their jnlp file first.
fn is_the_agents(request: &RequestInfo) -> bool {
    matches!(request.operation, Operation::Connect | Operation::Jnlp)
}

/// Fails unless the log says all of this.
#[track_caller]
pub fn expect_words(outcome: &Outcome, words: &[&str]) {
    for word in words {
        assert!(outcome.text().contains(word), "{word:?} is not in\n{}", outcome.text());
    }
}
