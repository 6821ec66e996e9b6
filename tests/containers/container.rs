//! One container, with a node and a controller of its own in a network of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::stage::{NodeState, Stage as _};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::eventually;
use crate::machine::{BARE, Machine, Network};

/// A controller on the loopback of a network, with a node.
pub struct Site {
    pub machine: Arc<Machine>,
    // The controller before its network.
    pub controller: Simulated,
    pub network: Network,
    pub node: String,
}

impl Site {
    /// The network has the name of the node.
    pub fn new(machine: &Arc<Machine>, node: &str) -> Self {
        let network = Network::new(machine, node);
        let controller = network.within(|| Simulated::start(Options::jenkins("2.578")).expect("a controller"));
        controller.create_node(node, 1).expect("the node is created");
        Self { machine: Arc::clone(machine), controller, network, node: node.to_owned() }
    }

    /// The variables that docker-agent's images are given, those of the account, and what makes the tests quick.
    pub fn variables(&self) -> Vec<String> {
        let (user, token) = self.controller.credentials().expect("security is on");
        let variables = [
            ("JENKINS_URL", self.controller.url()),
            ("JENKINS_AGENT_NAME", self.node.clone()),
            ("JENKINS_SECRET", self.controller.secret(&self.node)),
            ("JENKINS_USER_ID", user),
            ("AGENT_WRAP_TOKEN", token),
            ("AGENT_WRAP_LOG_FORMAT", "json".to_owned()),
            ("AGENT_WRAP_POLL", "1s".to_owned()),
        ];
        variables.map(|(name, value)| format!("--env={name}={value}")).to_vec()
    }

    /// Starts the bare image with these options of `podman run`.
    #[track_caller]
    pub fn run(&self, options: &[&str]) -> Container {
        let network = format!("--network=ns:{}", self.network.path());
        let variables = self.variables();
        let mut words: Vec<&str> = vec![&network];
        words.extend(variables.iter().map(String::as_str));
        words.extend(options);
        Container::run(&self.machine, &self.node, &words, BARE, &[])
    }

    /// The same, once the agent is online.
    #[track_caller]
    pub fn run_online(&self, options: &[&str]) -> Container {
        let container = self.run(options);
        container.await_event("agent_connected");
        assert!(self.is_online(), "{:?}\n{}", self.state(), container.log());
        container
    }

    /// What the controller says of the node.
    pub fn state(&self) -> NodeState {
        self.controller.node(&self.node).expect("a node")
    }

    /// Whether the node's agent is connected and the node free.
    pub fn is_online(&self) -> bool {
        let state = self.state();
        state.connected == Some(true) && !state.marked
    }

    /// Fails unless the node bears a mark of ours and its agent has gone.
    #[track_caller]
    pub fn expect_marked(&self) {
        eventually("the agent's channel is down", || self.state().connected != Some(true));
        let state = self.state();
        assert!(state.marked && state.reason.contains("[agent-wrap "), "{state:?}");
    }
}

/// A container; it is removed when this is dropped.
pub struct Container {
    machine: Arc<Machine>,
    pub name: String,
    log: OnceLock<PathBuf>,
}

impl Container {
    /// Starts one of an image.
    #[track_caller]
    pub fn run(machine: &Arc<Machine>, name: &str, options: &[&str], image: &str, arguments: &[&str]) -> Self {
        // From here on it is removed, whatever comes.
        let container = Self::found(machine, name);
        let mut words = vec!["run", "--detach", "--name", name];
        words.extend(options);
        words.push(image);
        words.extend(arguments);
        machine.podman(&words);
        container
    }

    /// One that something else has started.
    pub fn found(machine: &Arc<Machine>, name: &str) -> Self {
        Self { machine: Arc::clone(machine), name: name.to_owned(), log: OnceLock::new() }
    }

    /// Has podman do something with it, and what that says.
    #[track_caller]
    pub fn podman(&self, words: &[&str]) -> String {
        self.machine.podman(&[words, &[&self.name]].concat())
    }

    /// What it has written, on both of its streams. Read where podman keeps it, because asking podman takes a while.
    pub fn log(&self) -> String {
        let path = self.log.get_or_init(|| self.machine.file(&self.inspect("{{.HostConfig.LogConfig.Path}}")));
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut words = String::new();
        // The time, the stream, and whether the line is whole.
        for line in text.lines() {
            let mut parts = line.splitn(4, ' ').skip(2);
            words.push_str(parts.next().map_or("", |_| parts.next().unwrap_or_default()));
            if !line.contains(" P ") {
                words.push('\n');
            }
        }
        words
    }

    /// The records of the wrapper's log.
    pub fn records(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The names of its events that are worth a warning or more, with their words.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let text = |record: &Value, field: &str| record[field].as_str().unwrap_or_default().to_owned();
        let mut records = self.records();
        records.retain(|record| matches!(text(record, "level").to_lowercase().as_str(), "warn" | "error"));
        records.iter().map(|record| (text(record, "event"), text(record, "message"))).collect()
    }

    /// How many events of this name there were.
    pub fn count(&self, event: &str) -> usize {
        self.records().iter().filter(|record| record["event"] == event).count()
    }

    /// Waits until there were so many events of this name.
    #[track_caller]
    pub fn await_events(&self, event: &str, count: usize) {
        self.await_that(&format!("{event} (no. {count})"), || self.count(event) >= count);
    }

    /// Waits until there was an event of this name.
    #[track_caller]
    pub fn await_event(&self, event: &str) {
        self.await_events(event, 1);
    }

    /// Waits until these words have been written so many times, by whomever.
    #[track_caller]
    pub fn await_words(&self, words: &str, count: usize) {
        self.await_that(words, || self.log().matches(words).count() >= count);
    }

    #[track_caller]
    fn await_that(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let (mut ended, mut looks) = (false, 0);
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || {
                // To ask podman takes a while. What was written before the end is there when it says so.
                ended = looks % 20 == 19 && !self.is_running();
                looks += 1;
                condition() || ended
            });
        }));
        assert!(seen.is_ok() && (!ended || condition()), "{what}: it never came (ended: {ended})\n{}", self.log());
    }

    /// What `podman inspect` says.
    #[track_caller]
    pub fn inspect(&self, format: &str) -> String {
        self.podman(&["container", "inspect", "--format", format])
    }

    /// Whether it runs, be it only until it has been stopped.
    #[track_caller]
    pub fn is_running(&self) -> bool {
        ["running", "stopping"].contains(&self.inspect("{{.State.Status}}").as_str())
    }

    /// Its first process, by our number.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn process(&self) -> Pid {
        let inside = self.inspect("{{.State.Pid}}").parse().expect("a number");
        self.machine.process(inside).unwrap_or_else(|| panic!("no process {inside}\n{}", self.log()))
    }

    /// Sends its first process a signal.
    #[track_caller]
    pub fn kill(&self, signal: &str) {
        self.podman(&["kill", "--signal", signal]);
    }

    /// Has it stopped, with so many seconds until it is killed.
    #[track_caller]
    pub fn stop(&self, seconds: u32) -> i32 {
        self.podman(&["stop", "--time", &seconds.to_string()]);
        self.wait()
    }

    /// Waits for its end, and gives its exit code.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        self.podman(&["wait"]).parse().expect("a number")
    }

    /// Fails unless this is its exit code.
    #[track_caller]
    pub fn expect_code(&self, code: i32) {
        assert_eq!(self.wait(), code, "{}", self.log());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.machine.try_podman(&["rm", "--force", "--time", "0", &self.name]);
    }
}
