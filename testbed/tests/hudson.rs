//! The real controller's driver, on the real controller.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use agent_wrap_testbed::{
    hudson::{Hudson, HudsonOptions},
    skip,
    spawner::{self, Process},
    stage::{BuildState, NodeState, Stage},
    wait,
};
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(120);

/// One controller for the tests that leave it up.
fn open() -> &'static Hudson {
    static HUDSON: OnceLock<Hudson> = OnceLock::new();
    HUDSON.get_or_init(|| Hudson::start(HudsonOptions::default()).unwrap())
}

/// One with accounts.
fn secured() -> &'static Hudson {
    static HUDSON: OnceLock<Hudson> = OnceLock::new();
    HUDSON.get_or_init(|| Hudson::start(HudsonOptions { security: true, ..HudsonOptions::default() }).unwrap())
}

fn start_agent(stage: &dyn Stage, name: &str) -> Process {
    let line = stage.agent_command(name);
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    spawner::spawn(command).unwrap()
}

fn await_node(stage: &dyn Stage, name: &str, what: &str, wanted: impl Fn(&NodeState) -> bool) -> NodeState {
    wait::until(what, BOUND, || Ok(Some(stage.node(name)?).filter(&wanted))).unwrap()
}

fn gate() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    (directory, gate)
}

/// The status that an account, or nobody, gets for a request.
fn status(request: ureq::http::request::Builder, account: Option<(String, String)>) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .into();
    let request = match account {
        Some((user, password)) => {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            request.header("Authorization", format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        }
        None => request,
    };
    agent.run(request.body(()).unwrap()).unwrap().status().as_u16()
}

#[test]
fn a_new_node_is_offline_and_not_marked() {
    if skip::unmet("a_new_node_is_offline_and_not_marked", skip::need_hudson()) {
        return;
    }
    let hudson = open();
    hudson.create_node("fresh", 2).unwrap();
    let expected =
        NodeState { offline: true, marked: false, reason: String::new(), idle: true, connected: Some(false) };
    assert_eq!(hudson.node("fresh").unwrap(), expected);
    assert!(hudson.create_node("fresh", 2).is_err(), "a second node of the same name");
    assert!(hudson.node("missing").is_err());
}

#[test]
fn a_mark_is_set_replaced_and_cleared() {
    if skip::unmet("a_mark_is_set_replaced_and_cleared", skip::need_hudson()) {
        return;
    }
    let hudson = open();
    hudson.create_node("to mark", 1).unwrap();
    hudson.mark("to mark", "a <b> & \"c\" : 'd'").unwrap();
    let node = hudson.node("to mark").unwrap();
    assert!(node.marked && node.offline, "{node:?}");
    assert_eq!(node.reason, "a <b> & \"c\" : 'd'");
    assert_eq!(node.connected, None);
    hudson.mark("to mark", "another").unwrap();
    assert_eq!(hudson.node("to mark").unwrap().reason, "another");
    hudson.clear("to mark").unwrap();
    hudson.clear("to mark").unwrap();
    let node = hudson.node("to mark").unwrap();
    assert!(!node.marked && node.reason.is_empty(), "{node:?}");
}

#[test]
fn a_build_runs_on_a_real_agent_until_its_gate_opens() {
    if skip::unmet("a_build_runs_on_a_real_agent_until_its_gate_opens", skip::need_hudson()) {
        return;
    }
    let hudson = open();
    let (_directory, gate) = gate();
    hudson.create_node("real one", 1).unwrap();
    let build = hudson.start_build("real one", &gate).unwrap();
    assert_eq!(hudson.build(&build).unwrap(), BuildState::Queued);

    let mut agent = start_agent(hudson, "real one");
    let node = await_node(hudson, "real one", "the agent to connect", |node| !node.offline);
    assert_eq!(node.connected, Some(true));
    let state = |wanted: &BuildState| {
        let what = format!("the build to be {wanted:?}");
        wait::until(&what, BOUND, || Ok((hudson.build(&build)? == *wanted).then_some(()))).unwrap();
    };
    state(&BuildState::Running);
    assert!(!hudson.node("real one").unwrap().idle);

    hudson.mark("real one", "drain").unwrap();
    assert_eq!(hudson.build(&build).unwrap(), BuildState::Running);
    std::fs::write(&gate, "").unwrap();
    state(&BuildState::Finished("SUCCESS".to_owned()));
    await_node(hudson, "real one", "the node to be idle", |node| node.idle);

    hudson.clear("real one").unwrap();
    await_node(hudson, "real one", "the node to be online", |node| !node.offline);
    agent.stop(BOUND).unwrap();
    await_node(hudson, "real one", "the agent to be gone", |node| node.connected == Some(false));
}

#[test]
fn it_is_taken_down_and_comes_back_with_its_nodes() {
    if skip::unmet("it_is_taken_down_and_comes_back_with_its_nodes", skip::need_hudson()) {
        return;
    }
    let mut hudson = Hudson::start(HudsonOptions::default()).unwrap();
    hudson.create_node("kept", 1).unwrap();
    let url = hudson.url();
    let _agent = start_agent(&hudson, "kept");
    await_node(&hudson, "kept", "the agent to connect", |node| !node.offline);

    hudson.take_down().unwrap();
    let refused = std::net::TcpStream::connect(("127.0.0.1", hudson.port())).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(hudson.node("kept").is_err());

    hudson.bring_up().unwrap();
    assert_eq!(hudson.url(), url);
    await_node(&hudson, "kept", "the agent to connect again", |node| !node.offline);
}

#[test]
fn with_security_only_the_administrator_may_mark() {
    if skip::unmet("with_security_only_the_administrator_may_mark", skip::need_hudson()) {
        return;
    }
    let hudson = secured();
    assert_eq!((open().credentials(), open().viewer()), (None, None));
    hudson.create_node("guarded", 1).unwrap();
    let (administrator, viewer) = (hudson.credentials(), hudson.viewer());
    let read = || ureq::http::Request::get(format!("{}computer/guarded/api/json", hudson.url()));
    let toggle = || ureq::http::Request::post(format!("{}computer/guarded/toggleOffline", hudson.url()));
    let create = || ureq::http::Request::post(format!("{}computer/doCreateItem?name=more", hudson.url()));

    assert_eq!(status(read(), administrator), 200);
    assert_eq!(status(read(), viewer.clone()), 200);
    assert_eq!(status(read(), None), 403);
    assert_eq!(status(read(), Some(("admin".to_owned(), "wrong".to_owned()))), 401);
    assert_eq!(status(create(), viewer.clone()), 403);
    assert_eq!(status(toggle(), viewer), 403);
    assert_eq!(status(toggle(), None), 403);
    assert!(!hudson.node("guarded").unwrap().marked);

    hudson.mark("guarded", "allowed").unwrap();
    assert_eq!(hudson.node("guarded").unwrap().reason, "allowed");
}

#[test]
fn with_security_an_agent_connects_and_is_disconnected() {
    if skip::unmet("with_security_an_agent_connects_and_is_disconnected", skip::need_hudson()) {
        return;
    }
    let hudson = secured();
    hudson.create_node("credentialed", 1).unwrap();
    let mut agent = start_agent(hudson, "credentialed");
    await_node(hudson, "credentialed", "the agent to connect", |node| !node.offline);
    hudson.disconnect("credentialed").unwrap();
    await_node(hudson, "credentialed", "the agent to be gone", |node| node.connected == Some(false));
    agent.stop(BOUND).unwrap();
}
