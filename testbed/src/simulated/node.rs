//! A node: its mark, its agent's channel, and how both look from outside.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::options::Persistence;
use super::text::{html_escape, random_hex};
use crate::stage::NodeState;

/// Who or what took a node offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// A person, over the pages or REST.
    User(String),
    /// A person, over the command line.
    Cli(String),
    /// A monitor of the controller, by the name of its class: "DiskSpaceMonitor".
    Monitor(String),
    /// Nobody: the agent's channel ended.
    Channel,
}

/// Why a node is offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Who did it.
    pub author: Author,
    /// The words that came with it; raw, as they were sent.
    pub message: String,
    /// When, in milliseconds since 1970.
    pub timestamp: u64,
}

impl Cause {
    /// A cause of this moment.
    #[must_use]
    pub fn new(author: Author, message: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Self { author, message: message.to_owned(), timestamp }
    }

    /// `offlineCause.description`.
    fn description(&self) -> Option<String> {
        match &self.author {
            Author::User(user) | Author::Cli(user) if self.message.is_empty() => {
                Some(format!("Disconnected by {user}"))
            }
            Author::User(user) | Author::Cli(user) => Some(format!("Disconnected by {user} : {}", self.message)),
            Author::Monitor(_) => Some(self.message.clone()),
            Author::Channel => None,
        }
    }

    /// `offlineCauseReason`: escaped, without the words before it. A real one cuts at the last " : ".
    fn reason(&self) -> String {
        match &self.author {
            Author::User(_) | Author::Cli(_) => html_escape(self.message.rsplit(" : ").next().unwrap_or_default()),
            Author::Monitor(_) => html_escape(&self.message),
            Author::Channel => "Connection was broken".to_owned(),
        }
    }

    fn json(&self, classes: bool) -> Value {
        let class = match &self.author {
            Author::User(_) => "hudson.slaves.OfflineCause$UserCause".to_owned(),
            Author::Cli(_) => "hudson.slaves.OfflineCause$ByCLI".to_owned(),
            Author::Monitor(monitor) => format!("hudson.node_monitors.{monitor}Descriptor"),
            Author::Channel => "hudson.slaves.OfflineCause$ChannelTermination".to_owned(),
        };
        let mut cause = json!({});
        if classes {
            cause["_class"] = class.into();
            cause["timestamp"] = self.timestamp.into();
        }
        if let Some(description) = self.description() {
            cause["description"] = description.into();
        }
        if let Author::Cli(_) = self.author {
            cause["message"] = self.message.clone().into();
        }
        cause
    }
}

/// An agent's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is none.
    Down,
    /// The agent believes itself connected, the controller is not done yet.
    Connecting(u64),
    /// It is up.
    Up(u64),
    /// The agent is gone without a word and the controller has not noticed: it looks like `Up`.
    Stale(u64),
}

impl Link {
    /// The number of the channel, which grows with each connection.
    pub(crate) fn id(self) -> Option<u64> {
        match self {
            Self::Down => None,
            Self::Connecting(id) | Self::Up(id) | Self::Stale(id) => Some(id),
        }
    }

    /// Whether the controller takes the agent for connected.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up(_) | Self::Stale(_))
    }
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name; empty for the built-in one.
    pub name: String,
    /// How many builds fit on it.
    pub executors: u32,
    /// What an inbound agent must know, 64 hexadecimal digits.
    pub secret: String,
    /// The agent's working directory.
    pub remote_path: String,
    /// The mark.
    pub mark: Option<Cause>,
    /// The mark as it is on the controller's disk.
    pub saved: Option<Cause>,
    /// Why it is offline without a mark.
    pub lost: Option<Cause>,
    /// Its agent's channel.
    pub link: Link,
}

/// What the JSON of a node depends on besides the node.
pub(crate) struct View<'a> {
    pub(crate) executors: Vec<Value>,
    pub(crate) idle: bool,
    /// `_class` fields and timestamps, which Hudson lacks.
    pub(crate) classes: bool,
    pub(crate) has_reason: bool,
    pub(crate) has_remote_path: bool,
    pub(crate) may_connect: bool,
    pub(crate) display_name: &'a str,
}

impl Node {
    pub(crate) fn new(name: &str, executors: u32) -> Self {
        Self {
            name: name.to_owned(),
            executors,
            secret: random_hex(32),
            remote_path: format!("/var/lib/agent/{name}"),
            mark: None,
            saved: None,
            lost: None,
            link: Link::Down,
        }
    }

    /// The built-in node, which is always there.
    pub(crate) fn built_in() -> Self {
        Self { link: Link::Up(0), ..Self::new("", 0) }
    }

    pub(crate) fn offline(&self) -> bool {
        self.mark.is_some() || !self.link.is_up()
    }

    pub(crate) fn state(&self, idle: bool) -> NodeState {
        NodeState {
            offline: self.offline(),
            marked: self.mark.is_some(),
            reason: self.mark.as_ref().map(|mark| mark.message.clone()).unwrap_or_default(),
            idle,
            connected: Some(self.link.is_up()),
        }
    }

    /// The channel is gone.
    pub(crate) fn lose_link(&mut self, persistence: Persistence) {
        self.link = Link::Down;
        let cause = Cause::new(Author::Channel, "");
        if persistence != Persistence::Node
            && let Some(mark) = &mut self.mark
        {
            *mark = cause.clone();
        }
        self.lost = Some(cause);
    }

    /// The channel is up.
    pub(crate) fn gain_link(&mut self, id: u64, persistence: Persistence) {
        self.link = Link::Up(id);
        self.lost = None;
        let overwritten = self.mark.as_ref().is_none_or(|mark| mark.author == Author::Channel);
        if persistence == Persistence::AtConnect && overwritten && self.saved.is_some() {
            self.mark.clone_from(&self.saved);
        }
    }

    /// The controller has been restarted.
    pub(crate) fn restart(&mut self, persistence: Persistence) {
        if persistence == Persistence::Lost {
            self.saved = None;
        }
        self.mark = if persistence == Persistence::Node { self.saved.clone() } else { None };
        self.lost = None;
        if !self.name.is_empty() {
            self.link = Link::Down;
        }
    }

    /// Everything the JSON interface can tell; the tree picks from it.
    pub(crate) fn json(&self, view: View<'_>) -> Value {
        let cause = self.mark.as_ref().or(if self.link.is_up() { None } else { self.lost.as_ref() });
        let built_in = self.name.is_empty();
        let icon = if self.offline() { "symbol-computer-offline" } else { "symbol-computer" };
        let icon = if self.mark.is_some() { "symbol-computer-disconnected" } else { icon };
        let mut node = json!({
            "actions": [],
            "assignedLabels": [{"name": view.display_name}],
            "description": null,
            "displayName": view.display_name,
            "executors": view.executors,
            "icon": icon,
            "iconClassName": icon,
            "idle": view.idle,
            "jnlpAgent": !built_in,
            "launchSupported": built_in,
            "loadStatistics": {"_class": "hudson.model.Label$1"},
            "manualLaunchAllowed": true,
            "monitorData": monitors(),
            "numExecutors": self.executors,
            "offline": self.offline(),
            "offlineCause": cause.map(|cause| cause.json(view.classes)),
            "offlineCauseReason": cause.map(Cause::reason).unwrap_or_default(),
            "oneOffExecutors": [],
            "temporarilyOffline": self.mark.is_some(),
        });
        let Some(fields) = node.as_object_mut() else { return node };
        if !view.has_reason {
            fields.remove("offlineCauseReason");
        }
        if view.has_remote_path && !built_in {
            let path = (view.may_connect && self.link.is_up()).then(|| self.remote_path.clone());
            fields.insert("absoluteRemotePath".to_owned(), json!(path));
        }
        if view.classes {
            let class = if built_in { "hudson.model.Hudson$MasterComputer" } else { "hudson.slaves.SlaveComputer" };
            fields.insert("_class".to_owned(), class.into());
        } else {
            fields.insert("loadStatistics".to_owned(), json!({}));
        }
        node
    }
}

fn monitors() -> Value {
    json!({
        "hudson.node_monitors.SwapSpaceMonitor": null,
        "hudson.node_monitors.TemporarySpaceMonitor": null,
        "hudson.node_monitors.DiskSpaceMonitor": null,
        "hudson.node_monitors.ArchitectureMonitor": null,
        "hudson.node_monitors.ResponseTimeMonitor": null,
        "hudson.node_monitors.ClockMonitor": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(persistence: Persistence) -> Node {
        let mut node = Node::new("n", 1);
        node.mark = Some(Cause::new(Author::User("op".to_owned()), "why"));
        node.saved.clone_from(&node.mark);
        node.gain_link(1, persistence);
        node
    }

    #[test]
    fn a_mark_belongs_to_the_node_in_new_versions() {
        let mut node = marked(Persistence::Node);
        node.lose_link(Persistence::Node);
        assert_eq!(node.state(true).reason, "why");
        node.restart(Persistence::Node);
        assert_eq!(node.state(true).reason, "why");
    }

    #[test]
    fn old_versions_put_it_back_when_the_agent_connects() {
        let mut node = marked(Persistence::AtConnect);
        node.lose_link(Persistence::AtConnect);
        assert_eq!((node.state(true).marked, node.state(true).reason), (true, String::new()));
        node.gain_link(2, Persistence::AtConnect);
        assert_eq!(node.state(true).reason, "why");
        node.restart(Persistence::AtConnect);
        assert!(!node.state(true).marked);
        node.gain_link(3, Persistence::AtConnect);
        assert_eq!(node.state(true).reason, "why");
    }

    #[test]
    fn the_oldest_forget_it() {
        let mut node = marked(Persistence::Lost);
        node.restart(Persistence::Lost);
        node.gain_link(2, Persistence::Lost);
        assert!(!node.state(true).marked);
    }

    #[test]
    fn the_reason_is_escaped_and_the_description_is_not() {
        let cause = Cause::new(Author::User("op".to_owned()), "a <b> & \"c\"");
        assert_eq!(cause.reason(), "a &lt;b&gt; &amp; &quot;c&quot;");
        assert_eq!(cause.description().as_deref(), Some("Disconnected by op : a <b> & \"c\""));
        assert_eq!(Cause::new(Author::User("op".to_owned()), "").description().as_deref(), Some("Disconnected by op"));
    }
}
