//! One life each, played on whatever controller it is given: the real one and the simulated one run the same.
//!
//! After each: the mark, the reason's text, the agent, the exit code.

mod draining;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use agent_wrap_testbed::stage::{BuildState, NodeState, Stage};
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

use crate::common::{Outcome, Wrap, eventually, is_alive, pidfd, wrap_with_state};

/// One life on a controller.
pub type Scenario = fn(&mut dyn Stage);

/// All scenarios, by name.
pub const ALL: &[(&str, Scenario)] = &[
    ("unmarked_start_and_idle_stop", unmarked_start_and_idle_stop),
    ("marked_start_lifts_the_mark_first", marked_start_lifts_the_mark_first),
    ("mark_of_an_earlier_run_is_lifted_by_policy_own", mark_of_an_earlier_run_is_lifted_by_policy_own),
    ("mark_of_somebody_else_stays_by_policy_own", mark_of_somebody_else_stays_by_policy_own),
    ("mark_that_matches_is_lifted", mark_that_matches_is_lifted),
    ("marked_by_somebody_else_while_running", marked_by_somebody_else_while_running),
    ("stop_waits_for_the_build", stop_waits_for_the_build),
    ("second_interrupt_skips_the_drain", second_interrupt_skips_the_drain),
    ("second_term_changes_nothing", second_term_changes_nothing),
    ("drain_timeout_cuts_the_build", drain_timeout_cuts_the_build),
    ("landing_waits_for_the_build", draining::landing_waits_for_the_build),
    ("restart_waits_for_the_build", draining::restart_waits_for_the_build),
    ("drain_says_what_will_be_cut_off", draining::drain_says_what_will_be_cut_off),
    ("drain_until_a_moment_that_is_past", draining::drain_until_a_moment_that_is_past),
    ("form_saved_during_the_drain", draining::form_saved_during_the_drain),
    ("controller_restarted_during_the_drain", draining::controller_restarted_during_the_drain),
    ("killed_agent_is_started_again", killed_agent_is_started_again),
    ("agent_that_exits_0_at_once_is_a_failure", agent_that_exits_0_at_once_is_a_failure),
    ("landing_and_taking_off", landing_and_taking_off),
    ("unknown_node_is_68", unknown_node_is_68),
    ("wrong_password_is_77", wrong_password_is_77),
    ("missing_permission_at_the_stop_is_74", missing_permission_at_the_stop_is_74),
    ("command_not_found_leaves_the_node_alone", command_not_found_leaves_the_node_alone),
    ("controller_down_at_the_start", controller_down_at_the_start),
    ("controller_down_for_the_start_timeout_is_69", controller_down_for_the_start_timeout_is_69),
    ("controller_restarted_under_us", controller_restarted_under_us),
    ("controller_down_at_the_stop_is_74", controller_down_at_the_stop_is_74),
];

/// A node of its own on the stage, and a place for the wrapper's state.
struct Scene {
    node: String,
    dir: TempDir,
    url: String,
    credentials: Option<(String, String)>,
    agent: Vec<String>,
}

impl Scene {
    fn new(stage: &dyn Stage, node: &str) -> Self {
        stage.create_node(node, 1).expect("the node is created");
        Self {
            node: node.to_owned(),
            dir: tempfile::tempdir().expect("a directory"),
            url: stage.url(),
            credentials: stage.credentials(),
            agent: stage.agent_command(node),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn without_agent(&self, options: &[&str]) -> Command {
        let mut command = wrap_with_state(self.dir.path().as_os_str());
        command.args(["--url", &self.url, "--node", &self.node, "--poll", "1s"]);
        if let Some((user, secret)) = &self.credentials {
            let file = self.path("token");
            fs::write(&file, secret).expect("the token is written");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode is set");
            command.args(["--user", user, "--token-file"]).arg(file);
        }
        command.args(options);
        command
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = self.without_agent(options);
        command.args(&self.agent);
        command
    }

    fn start(&self, options: &[&str]) -> Wrap {
        Wrap::start(self.command(options))
    }

    fn state(&self, stage: &dyn Stage) -> NodeState {
        stage.node(&self.node).expect("the controller answers")
    }

    /// While an agent is connected, the reason is ours.
    #[track_caller]
    fn expect_marked_by_us(&self, stage: &dyn Stage) {
        let state = self.state(stage);
        assert!(state.marked, "{state:?}");
        assert!(state.reason.contains("[agent-wrap "), "{state:?}");
    }

    /// Marked by us, as the last thing that we have done. Controllers before 2.482 replace a mark's reason when the
    /// agent's connection ends; what was read back before that is in the log then.
    #[track_caller]
    fn expect_left_marked_by_us(&self, stage: &dyn Stage, outcome: &Outcome) {
        let state = self.state(stage);
        assert!(state.marked, "{state:?}\n{}", outcome.text());
        assert!(outcome.has("marked") && !outcome.has("marked_already"), "{state:?}\n{}", outcome.text());
        assert!(state.reason.contains("[agent-wrap ") || state.reason.is_empty(), "{state:?}\n{}", outcome.text());
    }

    #[track_caller]
    fn wait_for_build(&self, stage: &dyn Stage) -> (agent_wrap_testbed::stage::BuildHandle, PathBuf) {
        let gate = self.path("gate");
        let build = stage.start_build(&self.node, &gate).expect("the build is queued");
        eventually("the build runs", || stage.build(&build).expect("the controller answers") == BuildState::Running);
        (build, gate)
    }
}

/// Nothing was written: the mark was somebody else's, and it was there already at the stop.
#[track_caller]
fn expect_left_to_others(outcome: &Outcome, reason: &str) {
    for event in ["lifting", "stray_mark", "marked"] {
        assert!(!outcome.has(event), "{event}\n{}", outcome.text());
    }
    let already = outcome.log.iter().any(|line| line.contains("\"marked_already\"") && line.contains(reason));
    assert!(already, "{}", outcome.text());
}

fn unmarked_start_and_idle_stop(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "idle stop");
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    let state = scene.state(stage);
    assert!(!state.marked && !state.offline, "{state:?}");
    let agent = wrap.agent_pid(1);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(outcome.has("node_free") && !outcome.has("lifting"), "{}", outcome.text());
    assert!(!is_alive(agent));
    scene.expect_left_marked_by_us(stage, &outcome);
}

fn marked_start_lifts_the_mark_first(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "marked(start)");
    stage.mark(&scene.node, "disk replaced").expect("marked");
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    let state = scene.state(stage);
    assert!(!state.marked && !state.offline, "{state:?}");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    let events = outcome.events();
    let at = |name: &str| events.iter().position(|event| event == name).unwrap_or_else(|| panic!("{name}: {events:?}"));
    assert!(at("lifting") < at("lifted") && at("lifted") < at("agent_started"), "{events:?}");
    assert!(outcome.text().contains("disk replaced"), "{}", outcome.text());
    scene.expect_left_marked_by_us(stage, &outcome);
}

fn mark_of_an_earlier_run_is_lifted_by_policy_own(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "own+earlier");
    let first = scene.start(&[]);
    first.wait_for("agent_connected");
    let outcome = first.stop();
    outcome.expect_code(0);
    scene.expect_left_marked_by_us(stage, &outcome);
    let second = scene.start(&["--online", "own"]);
    second.wait_for("agent_connected");
    assert!(!scene.state(stage).marked);
    second.stop().expect_code(0);
}

fn mark_of_somebody_else_stays_by_policy_own(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "own-foreign");
    stage.mark(&scene.node, "kept for forensics").expect("marked");
    let wrap = scene.start(&["--online", "own"]);
    wrap.wait_for("mark_left");
    wrap.wait_for("agent_started");
    let state = scene.state(stage);
    assert!(state.marked && state.reason.contains("kept for forensics"), "{state:?}");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    expect_left_to_others(&outcome, "kept for forensics");
    assert!(scene.state(stage).marked);
}

fn mark_that_matches_is_lifted(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "match");
    stage.mark(&scene.node, "nightly maintenance 7").expect("marked");
    let wrap = scene.start(&["--online", "match=maintenance [0-9]+"]);
    wrap.wait_for("agent_connected");
    assert!(!scene.state(stage).marked);
    wrap.stop().expect_code(0);
}

fn marked_by_somebody_else_while_running(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "foreign while running");
    let wrap = scene.start(&["--log-level", "debug"]);
    wrap.wait_for("settled");
    stage.mark(&scene.node, "please keep off").expect("marked");
    wrap.wait_for("foreign_mark");
    let state = scene.state(stage);
    assert!(state.marked && state.reason.contains("please keep off"), "{state:?}");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    expect_left_to_others(&outcome, "please keep off");
    assert!(scene.state(stage).marked);
}

fn stop_waits_for_the_build(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "drain");
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    let (build, gate) = scene.wait_for_build(stage);
    let agent = wrap.agent_pid(1);
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("draining");
    scene.expect_marked_by_us(stage);
    assert!(scene.state(stage).reason.contains("SIGTERM"), "{:?}", scene.state(stage));
    assert!(is_alive(agent));
    assert_eq!(stage.build(&build).expect("the controller answers"), BuildState::Running);
    fs::write(gate, "").expect("the gate opens");
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert!(outcome.has("drained"), "{}", outcome.text());
    assert!(!is_alive(agent));
    assert_eq!(stage.build(&build).expect("the controller answers"), BuildState::Finished("SUCCESS".to_owned()));
    scene.expect_left_marked_by_us(stage, &outcome);
}

fn second_interrupt_skips_the_drain(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "interrupts");
    let wrap = Wrap::start_at_terminal(scene.command(&[]));
    wrap.wait_for("agent_connected");
    let (build, _gate) = scene.wait_for_build(stage);
    wrap.signal(Signal::SIGINT);
    wrap.wait_for("draining");
    // Interrupts less than half a second apart are one: press again until it counts.
    eventually("the second interrupt counts", || {
        wrap.signal(Signal::SIGINT);
        wrap.log().iter().any(|line| line.contains("\"drain_cut\""))
    });
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    scene.expect_left_marked_by_us(stage, &outcome);
    eventually(
        "the build is over",
        || matches!(stage.build(&build).expect("the controller answers"), BuildState::Finished(result) if result != "SUCCESS"),
    );
}

fn second_term_changes_nothing(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "two terms");
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    let (build, gate) = scene.wait_for_build(stage);
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("draining");
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("request");
    wrap.signal(Signal::SIGINT);
    wrap.wait_for_nth("request", 2);
    assert_eq!(stage.build(&build).expect("the controller answers"), BuildState::Running);
    fs::write(gate, "").expect("the gate opens");
    wrap.outcome().expect_code(0);
    assert_eq!(stage.build(&build).expect("the controller answers"), BuildState::Finished("SUCCESS".to_owned()));
}

fn drain_timeout_cuts_the_build(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "drain timeout");
    let wrap = scene.start(&["--drain", "2s"]);
    wrap.wait_for("agent_connected");
    let (build, _gate) = scene.wait_for_build(stage);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(outcome.has("drain_cut"), "{}", outcome.text());
    scene.expect_left_marked_by_us(stage, &outcome);
    eventually(
        "the build is over",
        || matches!(stage.build(&build).expect("the controller answers"), BuildState::Finished(result) if result != "SUCCESS"),
    );
}

fn killed_agent_is_started_again(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "agent killed");
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    kill(wrap.agent_pid(1), Signal::SIGKILL).expect("the agent is there");
    wrap.wait_for_nth("agent_connected", 2);
    assert_ne!(wrap.agent_pid(1), wrap.agent_pid(2));
    assert!(!scene.state(stage).marked);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(outcome.text().contains("SIGKILL"), "{}", outcome.text());
    scene.expect_left_marked_by_us(stage, &outcome);
}

fn agent_that_exits_0_at_once_is_a_failure(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "exits at once");
    let mut command =
        scene.without_agent(&["--restart", "on-failure", "--restart-limit", "2", "--restart-delay", "100ms"]);
    command.args(["sh", "-c", "exit 0"]);
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(71);
    let state = scene.state(stage);
    assert!(state.marked && state.reason.contains("keeps failing"), "{state:?}");
    scene.expect_left_marked_by_us(stage, &outcome);
}

fn landing_and_taking_off(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "landing");
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    wrap.signal(Signal::SIGUSR1);
    wrap.wait_for("landed");
    scene.expect_marked_by_us(stage);
    assert!(is_alive(wrap.agent_pid(1)));
    wrap.signal(Signal::SIGUSR2);
    eventually("the node is free again", || !scene.state(stage).marked);
    assert!(is_alive(wrap.agent_pid(1)));
    let outcome = wrap.stop();
    outcome.expect_code(0);
    scene.expect_left_marked_by_us(stage, &outcome);
}

fn unknown_node_is_68(stage: &mut dyn Stage) {
    let mut scene = Scene::new(stage, "known");
    "no-such-node".clone_into(&mut scene.node);
    let mut command = scene.without_agent(&[]);
    command.args(["sh", "-c", "exit 3"]);
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(68);
    assert!(!outcome.has("agent_started"), "{}", outcome.text());
    assert!(outcome.text().contains("no-such-node"), "{}", outcome.text());
}

fn wrong_password_is_77(stage: &mut dyn Stage) {
    let Some((user, _)) = stage.credentials() else { return };
    let mut scene = Scene::new(stage, "wrong password");
    stage.mark(&scene.node, "stays").expect("marked");
    scene.credentials = Some((user, "not the password".to_owned()));
    let outcome = scene.start(&[]).outcome();
    outcome.expect_code(77);
    assert!(!outcome.has("agent_started"), "{}", outcome.text());
    assert!(scene.state(stage).marked);
}

fn missing_permission_at_the_stop_is_74(stage: &mut dyn Stage) {
    let Some(viewer) = stage.viewer() else { return };
    let mut scene = Scene::new(stage, "missing permission");
    scene.credentials = Some(viewer);
    let wrap = scene.start(&["--offline-timeout", "2s"]);
    wrap.wait_for("agent_connected");
    let agent = wrap.agent_pid(1);
    let outcome = wrap.stop();
    outcome.expect_code(74);
    assert!(outcome.has("mark_unconfirmed"), "{}", outcome.text());
    assert!(!is_alive(agent));
    assert!(!scene.state(stage).marked);
}

fn command_not_found_leaves_the_node_alone(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "no command");
    stage.mark(&scene.node, "stays as it is").expect("marked");
    let mut command = scene.without_agent(&[]);
    command.args(["/no/such/java", "-jar", "agent.jar"]);
    Wrap::start(command).outcome().expect_code(127);
    let mut command = scene.without_agent(&[]);
    command.args(["/etc/passwd"]);
    Wrap::start(command).outcome().expect_code(126);
    let state = scene.state(stage);
    assert!(state.marked && state.reason.contains("stays as it is"), "{state:?}");
}

fn controller_down_at_the_start(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "down at start");
    stage.mark(&scene.node, "from before").expect("marked");
    stage.take_down().expect("it goes down");
    let wrap = scene.start(&[]);
    wrap.wait_for("waiting");
    assert!(!wrap.log().iter().any(|line| line.contains("\"agent_started\"")));
    stage.bring_up().expect("it comes up");
    wrap.wait_for("agent_connected");
    // Old controllers put the mark back on when the agent connects.
    eventually("the node is free", || !scene.state(stage).marked);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    scene.expect_left_marked_by_us(stage, &outcome);
}

fn controller_down_for_the_start_timeout_is_69(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "start timeout");
    stage.take_down().expect("it goes down");
    let outcome = scene.start(&["--start-timeout", "2s"]).outcome();
    stage.bring_up().expect("it comes up");
    outcome.expect_code(69);
    assert!(!outcome.has("agent_started"), "{}", outcome.text());
}

fn controller_restarted_under_us(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "restarted");
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    stage.take_down().expect("it goes down");
    wrap.wait_for("waiting");
    stage.bring_up().expect("it comes up");
    eventually("the agent is back", || {
        let state = scene.state(stage);
        !state.offline && !state.marked
    });
    let agents: Vec<_> = wrap.log().iter().filter(|line| line.contains("\"agent_started\"")).cloned().collect();
    let last = wrap.agent_pid(agents.len());
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!is_alive(last));
    scene.expect_left_marked_by_us(stage, &outcome);
}

fn controller_down_at_the_stop_is_74(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "down at stop");
    let wrap = scene.start(&["--offline-timeout", "2s"]);
    wrap.wait_for("agent_connected");
    let agent = wrap.agent_pid(1);
    stage.take_down().expect("it goes down");
    let gone = pidfd(agent);
    let outcome = wrap.stop();
    stage.bring_up().expect("it comes up");
    outcome.expect_code(74);
    assert!(outcome.has("mark_unconfirmed"), "{}", outcome.text());
    assert!(!is_alive(agent));
    drop(gone);
}
