//! An agent that has outlived its wrapper after all, and two wrappers for one node.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::process::Command;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use common::standalone::{Ends, Said, exists, guard, guard_on_duty, misbehave, name, stat, text, wait_for_end};
use common::{Wrap, eventually, is_alive, wrap_with_state};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const NODE: &str = "n1";

struct Scene {
    controller: Simulated,
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let controller = Simulated::start(Options::jenkins("2.578")).unwrap();
        controller.create_node(NODE, 1).unwrap();
        Self { controller, folder: common::standalone::folder() }
    }

    fn wrapper(&self, options: &[&str], agent: &[&str]) -> Command {
        let plain = self.controller.agent_command(NODE);
        let plain = plain[1..].iter().map(String::as_str);
        let agent: Vec<&str> = [misbehave()].into_iter().chain(plain).chain(agent.iter().copied()).collect();
        self.wrapper_for(options, &agent)
    }

    fn wrapper_for(&self, options: &[&str], command_line: &[&str]) -> Command {
        let mut command = wrap_with_state(self.folder.path().as_os_str());
        command.args(["--url", &self.controller.url(), "--node", NODE]).args(options);
        if let Some((user, token)) = self.controller.credentials() {
            let file = self.folder.path().join("token");
            fs::write(&file, token).unwrap();
            command.args(["--user", &user, "--token-file", &text(file)]);
        }
        command.args(command_line);
        command
    }

    /// Leaves an agent behind that lives: it has lost its parent-death signal by executing itself again, and its guard
    /// was killed before the wrapper.
    fn survivor(&self, agent: &[&str]) -> Pid {
        let wrap = Wrap::start(self.wrapper(&[], &[&["--re-exec"], agent].concat()));
        let survivor = wrap.agent_pid(1);
        wrap.wait_for_words("INFO: Connected", 2);
        kill(guard_on_duty(wrap.pid()), Signal::SIGKILL).unwrap();
        eventually("the guard is gone", || guard(wrap.pid()).is_none());
        wrap.kill();
        assert!(is_alive(survivor), "there is nothing to be found");
        survivor
    }

    /// Leaves behind what a start script has started: the script dies with its wrapper, whose guard was killed before.
    /// The pids of the agent, in a session of its own, and of a build of its.
    fn survivor_of_a_script(&self) -> (Pid, Pid) {
        self.survivor_of("setsid sleep 1000")
    }

    /// As above, with what the script does to start the agent.
    fn survivor_of(&self, start: &str) -> (Pid, Pid) {
        let script =
            &format!("{start} & echo agent $!; JENKINS_SERVER_COOKIE=durable-1 sleep 1000 & echo build $!; wait");
        let mut command = self.wrapper_for(&[], &["sh", "-c", script, "-noReconnect"]);
        let said = Said::by(&mut command);
        let wrap = Wrap::start(command);
        let (agent, build) = (said.wait_for_pid("agent "), said.wait_for_pid("build "));
        let leader = wrap.agent_pid(1);
        eventually("there is a state", || self.state()["agent"]["pid"] == leader.as_raw());
        kill(guard_on_duty(wrap.pid()), Signal::SIGKILL).unwrap();
        eventually("the guard is gone", || guard(wrap.pid()).is_none());
        wrap.kill();
        wait_for_end(leader);
        eventually("the agent is what it will be", || name(agent) == "sleep");
        assert!(is_alive(agent), "there is nothing to be found");
        (agent, build)
    }

    fn state(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.state_file()).unwrap()).unwrap()
    }

    fn state_file(&self) -> std::path::PathBuf {
        let mut entries = fs::read_dir(self.folder.path()).unwrap().flatten().map(|entry| entry.path());
        entries.find(|path| path.extension().is_some_and(|extension| extension == "json")).unwrap()
    }
}

#[test]
fn a_survivor_is_ended_before_another_is_started() {
    let scene = Scene::new();
    let survivor = scene.survivor(&[]);
    let _ends = Ends(survivor);
    let wrap = Wrap::start(scene.wrapper(&[], &[]));
    let agent = wrap.agent_pid(1);
    assert!(!is_alive(survivor));
    assert_ne!(agent, survivor);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    let events = outcome.events();
    let at = |name: &str| events.iter().position(|event| event == name).unwrap_or_else(|| panic!("{events:?}"));
    assert!(at("survivor_found") < at("survivor_ended"), "{events:?}");
    assert!(at("survivor_ended") < at("agent_started"), "{events:?}");
    // A stop leaves nothing to be found.
    let next = Wrap::start(scene.wrapper(&[], &[]));
    next.wait_for("agent_started");
    let outcome = next.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("survivor_found"), "{}", outcome.text());
}

#[test]
fn a_survivor_that_ignores_term_is_killed() {
    let scene = Scene::new();
    let survivor = scene.survivor(&["--ignore-term"]);
    let _ends = Ends(survivor);
    let wrap = Wrap::start(scene.wrapper(&["--grace", "200ms"], &[]));
    wrap.wait_for("agent_started");
    assert!(!is_alive(survivor));
    wrap.stop().expect_code(0);
}

#[test]
fn what_a_start_script_has_started_is_a_survivor_but_its_builds_are_not() {
    let scene = Scene::new();
    let (agent, build) = scene.survivor_of_a_script();
    let _ends = [agent, build].map(Ends);
    let wrap = Wrap::start(scene.wrapper(&[], &[]));
    wrap.wait_for("survivor_found");
    wrap.wait_for("agent_started");
    assert!(!is_alive(agent), "there are two agents");
    assert!(is_alive(build), "a build may be waited for by the controller");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(is_alive(build), "what is not below us is not ours:\n{}", outcome.text());
}

#[test]
fn a_survivor_that_has_lost_its_environment_is_found() {
    let scene = Scene::new();
    let (agent, build) = scene.survivor_of("setsid env -i sleep 1000");
    let _ends = [agent, build].map(Ends);
    let wrap = Wrap::start(scene.wrapper(&[], &[]));
    wrap.wait_for("survivor_found");
    wrap.wait_for("agent_started");
    assert!(!is_alive(agent), "there are two agents");
    assert!(is_alive(build), "a build may be waited for by the controller");
    wrap.stop().expect_code(0);
}

/// The wrapper that ends a survivor is killed itself, after it has written its own record.
#[test]
fn a_survivor_is_not_forgotten_by_the_wrapper_after_next() {
    let scene = Scene::new();
    let (survivor, build) = scene.survivor_of_a_script();
    let _ends = [survivor, build].map(Ends);
    kill(survivor, Signal::SIGSTOP).unwrap();
    let mut state = scene.state();
    state["earlier"] = serde_json::json!([state["run"]]);
    state["run"] = "the-wrapper-in-between".into();
    state["agent"] = serde_json::Value::Null;
    fs::write(scene.state_file(), state.to_string()).unwrap();
    let wrap = Wrap::start(scene.wrapper(&[], &[]));
    wrap.wait_for("agent_started");
    assert!(!is_alive(survivor));
    assert_eq!(scene.state()["earlier"], serde_json::json!([]), "it has ended");
    wrap.stop().expect_code(0);
}

/// Should this one be killed as well, the next has to find it.
#[test]
fn a_survivor_is_written_down_until_it_has_ended() {
    let scene = Scene::new();
    let survivor = scene.survivor(&["--ignore-term"]);
    let _ends = Ends(survivor);
    let run = scene.state()["run"].clone();
    let wrap = Wrap::start(scene.wrapper(&["--grace", "1h"], &[]));
    wrap.wait_for("survivor_found");
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("marked");
    eventually("it has written its own record", || scene.state()["run"] != run);
    assert_eq!(scene.state()["earlier"], serde_json::json!([run]));
    assert_eq!(scene.state()["agent"]["pid"], survivor.as_raw());
}

#[test]
fn a_stop_while_a_survivor_is_being_ended() {
    let scene = Scene::new();
    let survivor = scene.survivor(&["--ignore-term"]);
    let _ends = Ends(survivor);
    let wrap = Wrap::start(scene.wrapper(&["--grace", "300ms"], &[]));
    wrap.wait_for("survivor_found");
    let outcome = wrap.stop();
    assert!(!outcome.has("agent_started"), "{}", outcome.text());
    assert!(!is_alive(survivor), "an agent may not outlive a stop unnoticed:\n{}", outcome.text());
}

#[test]
fn a_process_that_only_has_the_number_of_the_agent_is_let_alone() {
    let scene = Scene::new();
    let first = Wrap::start(scene.wrapper(&[], &["-noReconnect"]));
    let agent = first.agent_pid(1);
    first.wait_for("agent_connected");
    first.kill();
    wait_for_end(agent);
    let mut somebody = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = Pid::from_raw(somebody.id().try_into().unwrap());
    let file = scene.state_file();
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(state["agent"]["pid"], agent.as_raw());
    // The same number, started at another time.
    state["agent"]["pid"] = pid.as_raw().into();
    assert_ne!(state["agent"]["start_time"], stat(pid).unwrap().start_time);
    fs::write(&file, state.to_string()).unwrap();
    let wrap = Wrap::start(scene.wrapper(&[], &[]));
    wrap.wait_for("agent_started");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("survivor_found"), "{}", outcome.text());
    assert!(is_alive(pid));
    somebody.kill().unwrap();
    somebody.wait().unwrap();
}

#[test]
fn a_second_wrapper_for_the_node_is_turned_away() {
    let scene = Scene::new();
    let first = Wrap::start(scene.wrapper(&[], &[]));
    first.wait_for("agent_connected");
    let agent = first.agent_pid(1);
    let requests = scene.controller.requests().len();
    let outcome = Wrap::start(scene.wrapper(&["--poll", "1h"], &[])).outcome();
    outcome.expect_code(75);
    assert!(outcome.text().contains(&format!("pid {}", first.pid())), "{}", outcome.text());
    assert!(!outcome.has("agent_started") && !outcome.has("survivor_found"), "{}", outcome.text());
    assert!(scene.controller.requests().len() <= requests + 1, "it has asked the controller");
    assert!(is_alive(agent));
    first.stop().expect_code(0);
    assert!(!exists(agent));
    // The lock goes with its holder.
    let third = Wrap::start(scene.wrapper(&[], &[]));
    third.wait_for("agent_started");
    third.stop().expect_code(0);
}
