//! Agents' channels and builds.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use agent_wrap_testbed::simulated::{Entry, Options, Simulated};
use agent_wrap_testbed::stage::{BuildHandle, BuildState, Stage as _};

use super::client::Agent;
use super::{NODE, OP, ask, controller, jenkins};

fn connect(controller: &Simulated) -> Agent {
    let agent = Agent::connect(&controller.url(), NODE, &controller.secret(NODE));
    controller.wait_for("the agent", |world| world.node(NODE).is_some_and(|node| node.link.is_up()));
    agent
}

fn wait_for_build(controller: &Simulated, build: &BuildHandle, state: BuildState) {
    controller.wait_for("the build", |world| world.build(build).as_ref() == Some(&state));
}

/// A gate that does not exist yet, in a folder of its own.
struct Gate(PathBuf);

impl Gate {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("agent-wrap-testbed-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("gate")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn only_one_agent_with_the_right_secret() {
    let controller = jenkins();
    let (url, secret) = (controller.url(), controller.secret(NODE));
    assert_eq!(Agent::try_connect(&url, "nope", &secret).err(), Some(404));
    assert_eq!(Agent::try_connect(&url, NODE, "wrong").err(), Some(403));
    let agent = connect(&controller);
    assert_eq!(Agent::try_connect(&url, NODE, &secret).err(), Some(409));
    agent.say_goodbye();
    controller.wait_for("the goodbye", |world| !world.node(NODE).unwrap().link.is_up());
    assert!(controller.timeline().contains(&Entry::AgentLeft { node: NODE.to_owned(), clean: true }));
}

#[test]
fn connected_is_said_before_it_is_true() {
    let controller = controller(Options { connect_time: Duration::from_secs(600), ..Options::default() });
    let _agent = Agent::connect(&controller.url(), NODE, &controller.secret(NODE));
    assert!(controller.node(NODE).unwrap().offline);
}

#[test]
fn the_channel_of_a_dead_agent_is_kept_until_somebody_disconnects_it() {
    let controller = controller(Options { stale_channel: Duration::from_secs(600), ..Options::default() });
    drop(connect(&controller));
    controller.wait_for_entry("the death", |entry| matches!(entry, Entry::AgentLeft { clean: false, .. }));
    assert!(!controller.node(NODE).unwrap().offline);
    assert_eq!(Agent::try_connect(&controller.url(), NODE, &controller.secret(NODE)).err(), Some(409));
    assert_eq!(ask(&controller, OP, "POST", "computer/n1/doDisconnect").status, 302);
    assert!(controller.node(NODE).unwrap().offline);
    connect(&controller);
}

#[test]
fn a_stale_channel_ends_by_itself() {
    let controller = controller(Options { stale_channel: Duration::from_millis(1), ..Options::default() });
    drop(connect(&controller));
    controller.wait_for("the end", |world| !world.node(NODE).unwrap().link.is_up());
}

#[test]
fn disconnecting_ends_the_agents_connection() {
    let controller = jenkins();
    let mut agent = connect(&controller);
    ask(&controller, OP, "POST", "computer/n1/doDisconnect");
    assert_eq!(agent.client.chunk().unwrap().as_deref(), Some(&b"terminated\n"[..]));
}

#[test]
fn a_build_runs_until_its_gate_is_there_marked_or_not() {
    let (controller, gate) = (jenkins(), Gate::new("runs"));
    let build = controller.start_build(NODE, &gate.path()).unwrap();
    assert_eq!(controller.build(&build).unwrap(), BuildState::Queued);
    let _agent = connect(&controller);
    wait_for_build(&controller, &build, BuildState::Running);
    let read = |user: &str| {
        let tree = "computer/n1/api/json?tree=idle,executors[idle,currentExecutable[fullDisplayName]]";
        ask(&controller, user, "GET", tree).json()
    };
    assert_eq!(read(OP)["executors"][0]["currentExecutable"]["fullDisplayName"], "build-1 #1");
    assert_eq!(read("viewer:viewer-token")["executors"][0]["currentExecutable"], serde_json::Value::Null);
    assert_eq!(read("viewer:viewer-token")["executors"][0]["idle"], false);
    assert_eq!(read(OP)["idle"], false);

    controller.mark(NODE, "drain").unwrap();
    let next = controller.start_build(NODE, &gate.path()).unwrap();
    fs::write(gate.path(), "").unwrap();
    wait_for_build(&controller, &build, BuildState::Finished("SUCCESS".to_owned()));
    assert_eq!(controller.build(&next).unwrap(), BuildState::Queued);
    assert_eq!(read(OP)["idle"], true);
    controller.clear(NODE).unwrap();
    wait_for_build(&controller, &next, BuildState::Finished("SUCCESS".to_owned()));
}

#[test]
fn a_build_fails_with_its_agents_channel() {
    let (controller, gate) = (jenkins(), Gate::new("fails"));
    let agent = connect(&controller);
    let build = controller.start_build(NODE, &gate.path()).unwrap();
    wait_for_build(&controller, &build, BuildState::Running);
    agent.say_goodbye();
    wait_for_build(&controller, &build, BuildState::Finished("FAILURE".to_owned()));
}

#[test]
fn an_assigned_build_does_not_show() {
    let gate = Gate::new("assigned");
    let controller = controller(Options { assign_time: Duration::from_secs(600), ..Options::default() });
    let _agent = connect(&controller);
    let build = controller.start_build(NODE, &gate.path()).unwrap();
    controller.wait_for("the build to be assigned", |world| world.assigned(NODE) == 1);
    assert!(controller.node(NODE).unwrap().idle);
    controller.mark(NODE, "drain").unwrap();
    controller.with(|world| world.options().assign_time = Duration::ZERO);
    wait_for_build(&controller, &build, BuildState::Running);
    assert!(!controller.node(NODE).unwrap().idle);
}
