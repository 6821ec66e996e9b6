//! The state of the simulated controller. Tests and third parties change it through these methods.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::builds::Build;
use super::faults::Faults;
use super::log::{Entry, RequestInfo};
use super::node::{Author, Cause, Link, Node, View};
use super::options::{Account, Flavour, Lasting, Options, Permission, Refusal};
use super::text::random_hex;
use crate::stage::NodeState;

/// Everything the controller knows.
pub struct World {
    pub(crate) options: Options,
    pub(crate) port: u16,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) built_in: Node,
    pub(crate) builds: Vec<Build>,
    pub(crate) timeline: Vec<Entry>,
    pub(crate) requests: Vec<RequestInfo>,
    pub(crate) faults: Faults,
    /// Crumbs by the session that they belong to.
    pub(crate) crumbs: BTreeMap<String, String>,
    /// `X-Jenkins-Session`, new with each start.
    pub(crate) session: String,
    startup: VecDeque<(Refusal, Lasting, Option<Instant>)>,
    channels: u64,
}

/// Why an agent is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    WrongSecret,
    NoSuchNode,
    AlreadyConnected,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            port: 0,
            nodes: BTreeMap::new(),
            built_in: Node::built_in(),
            builds: Vec::new(),
            timeline: Vec::new(),
            requests: Vec::new(),
            faults: Faults::default(),
            crumbs: BTreeMap::new(),
            session: String::new(),
            startup: VecDeque::new(),
            channels: 0,
        }
    }

    /// The root URL with a slash at the end.
    #[must_use]
    pub fn root_url(&self) -> String {
        let context = &self.options.context_path;
        let slash = if context.is_empty() { "" } else { "/" };
        format!("http://127.0.0.1:{}/{context}{slash}", self.port)
    }

    /// What the controller is like; may be changed while it runs.
    pub fn options(&mut self) -> &mut Options {
        &mut self.options
    }

    /// All requests in the order of their arrival, agents' connections included.
    #[must_use]
    pub fn requests(&self) -> &[RequestInfo] {
        &self.requests
    }

    /// Everything that has happened, in order.
    #[must_use]
    pub fn timeline(&self) -> &[Entry] {
        &self.timeline
    }

    /// Creates an inbound node, or changes how many executors it has.
    pub fn add_node(&mut self, name: &str, executors: u32) {
        self.nodes.entry(name.to_owned()).or_insert_with(|| Node::new(name, executors)).executors = executors;
    }

    /// Deletes a node; its agent's channel ends.
    pub fn remove_node(&mut self, name: &str) {
        self.lose_channel(name);
        self.nodes.remove(name);
    }

    /// A node by its name; the empty name and "(built-in)" are the built-in node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        match name {
            "" | "(built-in)" | "(master)" => Some(&self.built_in),
            name => self.nodes.get(name),
        }
    }

    /// A node to change at will, past all logs.
    pub fn node_mut(&mut self, name: &str) -> Option<&mut Node> {
        match name {
            "" | "(built-in)" | "(master)" => Some(&mut self.built_in),
            name => self.nodes.get_mut(name),
        }
    }

    /// How a node stands; `None` when there is no such node.
    #[must_use]
    pub fn node_state(&self, name: &str) -> Option<NodeState> {
        self.node(name).map(|node| node.state(self.idle(&node.name)))
    }

    /// Marks a node, as a person would over the pages.
    pub fn mark(&mut self, node: &str, user: &str, reason: &str) {
        self.set_mark(node, Cause::new(Author::User(user.to_owned()), reason), true);
    }

    /// Marks a node, as a monitor of the controller would ("DiskSpaceMonitor").
    pub fn mark_by_monitor(&mut self, node: &str, monitor: &str, words: &str) {
        self.set_mark(node, Cause::new(Author::Monitor(monitor.to_owned()), words), true);
    }

    /// Clears a node's mark, as this person.
    pub fn clear(&mut self, node: &str, user: &str) {
        self.clear_mark(node, user, true);
    }

    /// Flips a node's mark, as this person.
    pub fn toggle(&mut self, node: &str, user: &str, reason: &str) {
        if self.node(node).is_some_and(|node| node.mark.is_some()) {
            self.clear(node, user);
        } else {
            self.mark(node, user, reason);
        }
    }

    /// The controller's clock, in milliseconds since 1970.
    pub(crate) fn time(&self) -> u64 {
        let ahead = self.options.clock_ahead.saturating_mul(1000);
        Cause::new(Author::Channel, "").timestamp.saturating_add_signed(ahead)
    }

    /// Somebody saves the node's form without having changed anything. From 2.482 to 2.547 that made a new node, without
    /// the mark.
    pub fn save_form(&mut self, node: &str) {
        if self.options.jenkins_since((2, 482)) && !self.options.jenkins_since((2, 548)) {
            self.clear_mark(node, "the form", true);
        }
    }

    /// Somebody reloads the configuration as code: all nodes are made anew, without their marks.
    pub fn reload_configuration(&mut self) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            self.clear_mark(&name, "the configuration", true);
        }
    }

    /// Sets a mark; without `save` it is gone after the next restart.
    pub(crate) fn set_mark(&mut self, node: &str, cause: Cause, save: bool) {
        let by = match &cause.author {
            Author::User(user) | Author::Cli(user) => user.clone(),
            Author::Monitor(monitor) => monitor.clone(),
            Author::Channel => "controller".to_owned(),
        };
        let reason = cause.message.clone();
        let cause = Cause { timestamp: self.time(), ..cause };
        if let Some(node) = self.node_mut(node) {
            let name = node.name.clone();
            node.mark = Some(cause);
            if save {
                node.saved.clone_from(&node.mark);
            }
            self.timeline.push(Entry::Marked { node: name, reason, by });
        }
    }

    /// Clears a mark; without `save` it is back after the next restart.
    pub(crate) fn clear_mark(&mut self, node: &str, by: &str, save: bool) {
        if let Some(node) = self.node_mut(node) {
            let name = node.name.clone();
            let was_marked = node.mark.take().is_some();
            if save {
                node.saved = None;
            }
            if was_marked {
                self.timeline.push(Entry::Cleared { node: name, by: by.to_owned() });
            }
        }
    }

    /// Writes a node's mark to the controller's disk.
    pub(crate) fn save_mark(&mut self, node: &str) {
        if let Some(node) = self.node_mut(node) {
            node.saved.clone_from(&node.mark);
        }
    }

    /// An agent asks to be let in; the number of its channel.
    pub(crate) fn accept_agent(&mut self, name: &str, secret: Option<&str>) -> Result<u64, Rejection> {
        self.channels += 1;
        let id = self.channels;
        let verdict = match self.nodes.get_mut(name) {
            None => Err(Rejection::NoSuchNode),
            Some(node) if secret != Some(node.secret.as_str()) => Err(Rejection::WrongSecret),
            Some(node) if node.link != Link::Down => Err(Rejection::AlreadyConnected),
            Some(node) => {
                node.link = Link::Connecting(id);
                Ok(id)
            }
        };
        let node = name.to_owned();
        self.timeline.push(match verdict {
            Ok(_) => Entry::AgentAccepted { node },
            Err(rejection) => Entry::AgentRefused { node, status: rejection.status() },
        });
        verdict
    }

    /// Whether this channel is still the node's.
    pub(crate) fn holds(&self, name: &str, id: u64) -> bool {
        self.nodes.get(name).is_some_and(|node| node.link.id() == Some(id))
    }

    /// The controller is done with an agent's connection.
    pub(crate) fn agent_up(&mut self, name: &str, id: u64) {
        let persistence = self.options.persistence;
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.link.id() == Some(id)) else { return };
        let was_marked = node.mark.is_some();
        node.gain_link(id, persistence);
        let put_back = node.mark.clone().filter(|_| !was_marked);
        self.timeline.push(Entry::AgentConnected { node: name.to_owned() });
        if let Some(mark) = put_back {
            let (node, by) = (name.to_owned(), "controller".to_owned());
            self.timeline.push(Entry::Marked { node, reason: mark.message, by });
        }
    }

    /// An agent is gone; whether its channel is kept for a while, unnoticed.
    pub(crate) fn agent_left(&mut self, name: &str, id: u64, clean: bool) -> bool {
        if !self.holds(name, id) {
            return false;
        }
        self.timeline.push(Entry::AgentLeft { node: name.to_owned(), clean });
        if clean || self.options.stale_channel.is_zero() {
            self.lose_channel(name);
            return false;
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.link = Link::Stale(id);
        }
        true
    }

    /// Ends a node's channel, as `doDisconnect` does. What runs there fails.
    pub fn lose_channel(&mut self, name: &str) {
        let persistence = self.options.persistence;
        if let Some(node) = self.nodes.get_mut(name).filter(|node| node.link != Link::Down) {
            node.lose_link(persistence);
            self.timeline.push(Entry::AgentDisconnected { node: name.to_owned() });
            self.fail_builds(name, "FAILURE");
        }
    }

    /// The controller begins to take connections.
    pub(crate) fn come_up(&mut self, port: u16) {
        self.port = port;
        self.session = random_hex(4);
        self.crumbs.clear();
        let startup = self.options.startup.clone();
        self.set_startup(startup);
        self.timeline.push(Entry::ControllerUp);
    }

    /// It no longer does.
    pub(crate) fn go_down(&mut self) {
        self.timeline.push(Entry::ControllerDown);
        let persistence = self.options.persistence;
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            self.fail_builds(&name, "ABORTED");
            if let Some(node) = self.nodes.get_mut(&name) {
                if node.link != Link::Down {
                    self.timeline.push(Entry::AgentDisconnected { node: name.clone() });
                }
                node.restart(persistence);
            }
        }
        self.built_in.restart(persistence);
    }

    /// From now on, answers like a starting controller.
    pub fn set_startup(&mut self, startup: Vec<(Refusal, Lasting)>) {
        self.startup = startup.into_iter().map(|(refusal, lasting)| (refusal, lasting, None)).collect();
    }

    /// What a starting controller answers to the next request; `None` once it has started.
    #[expect(clippy::disallowed_methods, reason = "the simulated controller lives in real time")]
    pub(crate) fn startup_refusal(&mut self) -> Option<Refusal> {
        while let Some((refusal, lasting, since)) = self.startup.front_mut() {
            let refusal = *refusal;
            match lasting {
                Lasting::Forever => return Some(refusal),
                Lasting::Requests(0) => {}
                Lasting::Requests(left) => {
                    *left -= 1;
                    return Some(refusal);
                }
                Lasting::Time(time) => {
                    if since.get_or_insert_with(Instant::now).elapsed() < *time {
                        return Some(refusal);
                    }
                }
            }
            self.startup.pop_front();
        }
        None
    }

    /// Adds an account or replaces the one of the same name: rotates a token, takes a permission away.
    pub fn set_account(&mut self, account: Account) {
        self.options.accounts.retain(|other| other.name != account.name);
        self.options.accounts.push(account);
    }

    /// What the JSON interface can tell of a node to somebody with these permissions.
    pub(crate) fn node_json(&self, node: &Node, may: impl Fn(Permission) -> bool) -> Value {
        let jenkins = self.options.flavour == Flavour::Jenkins;
        let display_name = match (node.name.is_empty(), jenkins) {
            (true, true) => "Built-In Node",
            (true, false) => "master",
            (false, _) => &node.name,
        };
        node.json(View {
            executors: self.executors(&node.name, node.executors, may(Permission::ItemRead)),
            idle: self.idle(&node.name),
            classes: jenkins,
            has_reason: jenkins,
            has_remote_path: self.options.jenkins_since((2, 125)),
            may_connect: may(Permission::Connect),
            display_name,
        })
    }

    /// What the JSON interface can tell of the list of nodes.
    pub(crate) fn nodes_json(&self, may: impl Fn(Permission) -> bool) -> Value {
        let nodes: Vec<Value> =
            [&self.built_in].into_iter().chain(self.nodes.values()).map(|node| self.node_json(node, &may)).collect();
        let total: u32 = self.nodes.values().map(|node| node.executors).sum();
        let busy = self.builds.iter().filter(|build| build.is_running()).count();
        json!({"_class": "hudson.model.ComputerSet", "busyExecutors": busy, "computer": nodes, "displayName": "Nodes",
            "totalExecutors": total})
    }
}

impl Rejection {
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::WrongSecret => 403,
            Self::NoSuchNode => 404,
            Self::AlreadyConnected => 409,
        }
    }
}
