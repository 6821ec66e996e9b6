//! A node of its own on some controller, and wrappers for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_wrap_testbed::simulated::{Entry, Operation, Simulated, World};
use agent_wrap_testbed::stage::{BuildHandle, BuildState, NodeState, Stage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::common::standalone::stat;
use crate::common::{Wrap, eventually, wrap_with_state};

/// A node, and a folder for one wrapper's state and whatever else the test needs.
pub struct Scene {
    /// The node's name.
    pub node: String,
    url: String,
    agent: Vec<String>,
    folder: TempDir,
}

impl Scene {
    /// A new node of this name.
    pub fn new(stage: &dyn Stage, node: &str) -> Self {
        stage.create_node(node, 1).expect("the node is created");
        Self::of(stage, node)
    }

    /// Another place for a wrapper of a node that is there: another machine.
    pub fn of(stage: &dyn Stage, node: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        Self { node: node.to_owned(), url: stage.url(), agent: stage.agent_command(node), folder }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The wrapper's command line with a plain agent, which has these arguments of its own besides.
    pub fn command(&self, options: &[&str], agent: &[&str]) -> Command {
        let mut command = wrap_with_state(self.folder.path().as_os_str());
        command.args(["--url", &self.url, "--node", &self.node]).args(options);
        if !options.contains(&"--poll") {
            command.args(["--poll", "1s"]);
        }
        command.args(&self.agent).args(agent);
        command
    }

    /// Starts the wrapper.
    pub fn start(&self, options: &[&str]) -> Wrap {
        Wrap::start(self.command(options, &[]))
    }

    /// Starts the wrapper and waits until its agent takes builds.
    pub fn online(&self, stage: &dyn Stage, options: &[&str]) -> Wrap {
        let wrap = self.start(options);
        wrap.wait_for("agent_connected");
        self.wait_until_online(stage);
        wrap
    }

    /// Waits until the wrapper's record says that its agent is connected.
    #[track_caller]
    pub fn wait_until_written_down(&self) {
        let says = |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains("\"connected\":true"));
        eventually("it is written down", || {
            let files = fs::read_dir(self.folder.path()).expect("the folder").flatten().map(|entry| entry.path());
            files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).any(says)
        });
    }

    /// The node as it is now.
    pub fn state(&self, stage: &dyn Stage) -> NodeState {
        stage.node(&self.node).expect("the controller answers")
    }

    /// Waits until the node takes builds.
    #[track_caller]
    pub fn wait_until_online(&self, stage: &dyn Stage) {
        eventually("the node is online", || !self.state(stage).offline);
    }

    /// Waits until the node is marked with these words.
    #[track_caller]
    pub fn wait_until_marked(&self, stage: &dyn Stage, words: &str) {
        eventually(&format!("the node is marked: {words}"), || self.state(stage).reason.contains(words));
    }

    /// A build in the queue of the node, and the file that lets it end.
    pub fn queue_build(&self, stage: &dyn Stage) -> (BuildHandle, PathBuf) {
        let gate = self.path("gate");
        (stage.start_build(&self.node, &gate).expect("the build is queued"), gate)
    }

    /// A build that runs.
    pub fn running_build(&self, stage: &dyn Stage) -> (BuildHandle, PathBuf) {
        let (build, gate) = self.queue_build(stage);
        eventually("the build runs", || build_state(stage, &build) == BuildState::Running);
        (build, gate)
    }
}

/// How a build stands.
pub fn build_state(stage: &dyn Stage, build: &BuildHandle) -> BuildState {
    stage.build(build).expect("the controller answers")
}

/// Lets a build end, and sees that it ends well.
#[track_caller]
pub fn expect_success(stage: &dyn Stage, build: &BuildHandle, gate: &Path) {
    fs::write(gate, "").expect("the gate opens");
    eventually("the build is over", || matches!(build_state(stage, build), BuildState::Finished(_)));
    assert_eq!(build_state(stage, build), BuildState::Finished("SUCCESS".to_owned()));
}

/// Stops a process as a hang does, and waits until it stands still.
pub fn freeze(pid: Pid) {
    kill(pid, Signal::SIGSTOP).expect("it is there");
    eventually("it stands still", || stat(pid).is_some_and(|stat| stat.state == 'T'));
}

/// Lets it go on.
pub fn thaw(pid: Pid) {
    kill(pid, Signal::SIGCONT).expect("it is there");
}

/// How often an event was told so far.
pub fn count(wrap: &Wrap, event: &str) -> usize {
    let event = format!("\"{event}\"");
    wrap.log().iter().filter(|line| line.contains(&event)).count()
}

/// Fails if an event has been told so far.
#[track_caller]
pub fn expect_none(wrap: &Wrap, event: &str) {
    assert_eq!(count(wrap, event), 0, "{event} in\n{}", wrap.log().join("\n"));
}

/// Waits for an event whose words have these in them.
#[track_caller]
pub fn expect_words(wrap: &Wrap, event: &str, words: &str) {
    let line = wrap.wait_for(event);
    assert!(line["message"].as_str().is_some_and(|message| message.contains(words)), "{words:?} is not in {line}");
}

/// How many reads of the node have been answered well.
pub fn reads(world: &World) -> usize {
    let is_read = |request: usize| world.requests()[request - 1].operation == Operation::ReadNode;
    world.timeline().iter().filter(|entry| matches!(entry, Entry::CarriedOut { request } if is_read(*request))).count()
}

/// Waits for so many more good reads. There is at most a second between two, and at least half of one.
pub fn wait_for_reads(stage: &Simulated, more: usize) {
    let wanted = stage.look(reads) + more;
    stage.wait_for("more reads", |world| reads(world) >= wanted);
}
