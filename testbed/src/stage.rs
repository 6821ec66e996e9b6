//! A controller that a scenario can be played on. The real one and the simulated one both are, so that the same
//! scenario runs on either and shows where the simulation agrees.

use std::path::Path;

use anyhow::Result;

/// What the controller itself says of a node, asked by an administrator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// `offline` of the JSON interface: marked, or no channel.
    pub offline: bool,
    /// `temporarilyOffline`: the mark.
    pub marked: bool,
    /// The text of the mark's reason, unescaped and without "Disconnected by USER : "; empty without a mark.
    pub reason: String,
    /// Whether nothing runs on it.
    pub idle: bool,
    /// Whether an agent's channel is up; `None` where this controller cannot tell (Hudson, while the node is marked).
    pub connected: Option<bool>,
}

/// A build that was started by [`Stage::start_build`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildHandle {
    /// The job's name.
    pub job: String,
    /// The build's number.
    pub number: u32,
}

/// How a build stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildState {
    /// Not on an executor yet.
    Queued,
    /// On an executor.
    Running,
    /// Over, with the controller's word for the result: SUCCESS, FAILURE, ABORTED.
    Finished(String),
}

/// A controller to play scenarios on.
pub trait Stage: Send {
    /// The root URL with a slash at the end.
    fn url(&self) -> String;

    /// User and API token or password of an account that may do everything; `None` with security off.
    fn credentials(&self) -> Option<(String, String)>;

    /// User and secret of an account that may see a node, but neither connect, disconnect nor mark it; `None` where
    /// everybody may do everything.
    fn viewer(&self) -> Option<(String, String)> {
        None
    }

    /// Creates an inbound node with a label of its own name.
    ///
    /// # Errors
    /// When the controller does not do it.
    fn create_node(&self, name: &str, executors: u32) -> Result<()>;

    /// Asks for a node, as an administrator.
    ///
    /// # Errors
    /// When the controller does not answer.
    fn node(&self, name: &str) -> Result<NodeState>;

    /// Marks the node with this reason, whatever its state, as another person would.
    ///
    /// # Errors
    /// When the controller does not do it.
    fn mark(&self, name: &str, reason: &str) -> Result<()>;

    /// Clears the node's mark, whosever it is, as another person would.
    ///
    /// # Errors
    /// When the controller does not do it.
    fn clear(&self, name: &str) -> Result<()>;

    /// Saves the form of the node's settings as it is, as another person would.
    ///
    /// # Errors
    /// When the controller does not do it.
    fn save_form(&self, name: &str) -> Result<()>;
    /// Drops the channel of the node's agent, as the controller does with one that does not answer. An agent that can hear
    /// it is told to end.
    ///
    /// # Errors
    /// When the controller does not do it.
    fn disconnect(&self, name: &str) -> Result<()>;

    /// The whole command line of a plain agent for this node, connection arguments included.
    fn agent_command(&self, name: &str) -> Vec<String>;

    /// Starts a build on this node that runs until the file `gate` exists, and returns once it is queued.
    ///
    /// # Errors
    /// When the controller does not do it.
    fn start_build(&self, name: &str, gate: &Path) -> Result<BuildHandle>;

    /// How a build stands.
    ///
    /// # Errors
    /// When the controller does not answer.
    fn build(&self, build: &BuildHandle) -> Result<BuildState>;

    /// Takes the controller down: afterwards connections are refused. Its persistent state is kept.
    ///
    /// # Errors
    /// When it does not end.
    fn take_down(&mut self) -> Result<()>;

    /// Brings it up again on the same port and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    fn bring_up(&mut self) -> Result<()>;
}
