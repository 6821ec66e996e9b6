//! The controller's jar is kept current: fetched when it has changed and only then, and the one before is used again when
//! an agent dies at once with a new one.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_wrap_testbed::simulated::{Fault, On, Operation, Options, Simulated, agent_program};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::{BuildState, Stage};
use common::{Outcome, Wrap, eventually, wrap_with_state, write_script};
use nix::sys::signal::{Signal, kill};

/// Dates of jars, the later the greater.
fn date(day: u32) -> String {
    format!("Mon, {day:02} Nov 2026 02:49:43 GMT")
}

/// A controller with the node `n`, whose jar can be changed, and a wrapper's folder.
struct Scene {
    controller: Simulated,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(options: Options) -> Self {
        let controller = Simulated::start(options).expect("a controller");
        controller.create_node("n", 2).expect("the node is created");
        controller.create_node("m", 1).expect("the node is created");
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("work")).expect("a folder");
        let scene = Self { controller, dir };
        scene.offer("one", 1);
        scene
    }

    fn jenkins() -> Self {
        Self::new(Options::jenkins("2.578"))
    }

    /// From now on the controller hands out this jar.
    fn offer(&self, text: &str, day: u32) {
        self.controller.with(|world| {
            let options = world.options();
            options.agent_jar = jar(text);
            options.agent_jar_date = date(day);
        });
    }

    fn upgrade(&self, version: &str) {
        self.controller.with(|world| version.clone_into(&mut world.options().version));
    }

    /// A `java` that dies at once with a jar that has this word in it, and else is the stand-in agent.
    fn java(&self, deadly: &str, dies: &str) -> PathBuf {
        let java = self.dir.path().join("work/java");
        let script = format!(
            "#!/bin/sh\nfor word; do case $word in *.jar) jar=$word; esac; done\n\
             if grep -q {deadly} \"$jar\"; then {dies}; fi\nexec {} \"$@\"\n",
            agent_program().display()
        );
        write_script(&java, &script);
        java
    }

    fn start_node(&self, node: &str, java: &Path, options: &[&str]) -> Wrap {
        let mut command = wrapper(&self.controller, node, self.dir.path());
        command.args(["--restart-delay", "100ms"]).args(options).arg(java).args(["-jar", "agent.jar"]);
        Wrap::start(command)
    }

    fn start(&self, options: &[&str]) -> Wrap {
        self.start_node("n", &self.java("deadly", "exit 1"), options)
    }

    /// The folder of the controller's jar.
    fn folder(&self) -> PathBuf {
        let entries = fs::read_dir(self.dir.path()).expect("a directory").flatten().map(|entry| entry.path());
        let mut folders = entries.filter(|path| path.join("agent.jar.lock").exists());
        folders.next().expect("the jar has been fetched")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn uses(&self, text: &str) -> bool {
        fs::read(self.file("agent.jar")).expect("a jar") == jar(text)
    }

    /// What the controller has answered to those who asked for the jar.
    fn answers(&self) -> Vec<u16> {
        self.controller.requests_for(Operation::Jar).iter().filter_map(|request| request.status).collect()
    }
}

/// A small jar that is whole: a zip file with this text as its comment.
fn jar(text: &str) -> Vec<u8> {
    let mut jar = Options::jenkins("2.578").agent_jar;
    let comment = jar.len() - 2;
    jar[comment..].copy_from_slice(&u16::try_from(text.len()).expect("a short text").to_le_bytes());
    jar.extend_from_slice(text.as_bytes());
    jar
}

fn wrapper(stage: &dyn Stage, node: &str, dir: &Path) -> Command {
    let mut command = wrap_with_state(dir.as_os_str());
    command.current_dir(dir.join("work"));
    command.args(["--url", &stage.url(), "--node", node, "--poll", "1s", "--log-level", "debug"]);
    if let Some((user, secret)) = stage.credentials() {
        let token = dir.join("token");
        fs::write(&token, secret).expect("the token is written");
        command.args(["--user", &user, "--token-file"]).arg(token);
    }
    command
}

/// Ends the agent that is connected, so that the next one is started.
fn next_agent(wrap: &Wrap, generation: usize) {
    kill(wrap.agent_pid(generation), Signal::SIGKILL).expect("the agent is there");
    wrap.wait_for_nth("agent_started", generation + 1);
}

fn stopped(wrap: Wrap) -> Outcome {
    let outcome = wrap.stop();
    outcome.expect_code(0);
    outcome
}

#[test]
fn a_jar_that_has_not_changed_is_not_sent_again() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&[]);
    let fetched = wrap.wait_for("jar_fetched")["message"].to_string();
    let sum = Command::new("sha256sum").arg(scene.file("agent.jar")).output().expect("a checksum").stdout;
    let sum = String::from_utf8_lossy(&sum).split(' ').next().expect("a word").to_owned();
    for word in [sum.as_str(), "2.578", &format!("{} bytes", jar("one").len())] {
        assert!(fetched.contains(word), "{word}: {fetched}");
    }
    wrap.wait_for("agent_connected");
    next_agent(&wrap, 1);
    wrap.wait_for_nth("agent_connected", 2);
    let outcome = stopped(wrap);
    assert_eq!(outcome.events().iter().filter(|event| *event == "jar_fetched").count(), 1);
    // Nor by the next wrapper.
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    assert!(!stopped(wrap).has("jar_fetched"));
    assert_eq!(scene.answers(), [200, 304, 304]);
}

#[test]
fn another_jar_is_taken_at_the_next_start_and_an_older_version_s_too() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    scene.offer("two", 2);
    next_agent(&wrap, 1);
    wrap.wait_for_nth("agent_connected", 2);
    assert!(scene.uses("two"));
    assert_eq!(fs::read(scene.file("agent.jar.previous")).expect("the jar before"), jar("one"));
    // By its date the jar of the version before would not have changed.
    scene.upgrade("2.577");
    scene.offer("one", 1);
    next_agent(&wrap, 2);
    wrap.wait_for_nth("agent_connected", 3);
    assert!(scene.uses("one"));
    assert_eq!(scene.answers(), [200, 200, 200]);
    stopped(wrap);
}

#[test]
fn without_dates_it_is_told_apart_by_its_checksum() {
    let scene = Scene::new(Options { agent_jar_dated: false, ..Options::jenkins("2.578") });
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    next_agent(&wrap, 1);
    wrap.wait_for("jar_unchanged");
    wrap.wait_for_nth("agent_connected", 2);
    assert_eq!(scene.answers(), [200, 200]);
    stopped(wrap);
}

#[test]
fn a_304_does_not_lead_to_a_start_with_a_damaged_jar() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    // Damaged on the disk: it is fetched whole.
    fs::write(scene.file("agent.jar"), &jar("one")[..40]).expect("damaged");
    next_agent(&wrap, 1);
    wrap.wait_for_nth("agent_connected", 2);
    assert!(scene.uses("one"));
    assert_eq!(scene.answers(), [200, 200]);
    // And by a proxy that answers 304 to everybody it is not had at all.
    fs::write(scene.file("agent.jar"), &jar("one")[..40]).expect("damaged");
    scene.controller.fault(On::operation(Operation::Jar).times(1), Fault::Status(304));
    kill(wrap.agent_pid(2), Signal::SIGKILL).expect("the agent is there");
    let told = wrap.wait_for("not_prepared")["message"].to_string();
    assert!(told.contains("did not ask"), "{told}");
    wrap.wait_for_nth("agent_connected", 3);
    assert!(scene.uses("one"));
    stopped(wrap);
}

#[test]
fn a_new_jar_that_dies_at_once_is_put_back_and_not_taken_again() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    scene.offer("deadly", 2);
    next_agent(&wrap, 1);
    let told = wrap.wait_for("jar_rejected")["message"].to_string();
    assert!(told.contains(scene.file("agent.jar.rejected").to_str().expect("a path")), "{told}");
    wrap.wait_for_nth("agent_connected", 2);
    assert!(scene.uses("one"));
    stopped(wrap);
    // The next wrapper knows it.
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    assert!(scene.uses("one"));
    assert_eq!(scene.answers(), [200, 200, 304, 304]);
    // Another one is taken.
    scene.offer("three", 3);
    next_agent(&wrap, 1);
    wrap.wait_for_nth("agent_connected", 2);
    assert!(scene.uses("three") && !scene.file("agent.jar.rejected").exists());
    assert!(!stopped(wrap).has("jar_rejected"));
}

#[test]
fn who_removes_the_file_has_it_tried_once_more() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    scene.offer("deadly", 2);
    next_agent(&wrap, 1);
    wrap.wait_for("jar_rejected");
    wrap.wait_for_nth("agent_connected", 2);
    fs::remove_file(scene.file("agent.jar.rejected")).expect("it is there");
    next_agent(&wrap, 3);
    wrap.wait_for_nth("jar_rejected", 2);
    wrap.wait_for_nth("agent_connected", 3);
    assert!(scene.uses("one"));
    stopped(wrap);
}

#[test]
fn a_jar_with_which_an_agent_was_connected_once_is_never_put_back() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    scene.offer("two", 2);
    next_agent(&wrap, 1);
    wrap.wait_for_nth("agent_connected", 2);
    let proven = || fs::read_to_string(scene.file("agent.jar.json")).expect("it is there");
    let count = |ledger: String| ledger.split("\"proven\":[").nth(1).map_or(0, |rest| rest.matches(',').count());
    eventually("it is written down", || count(proven()) >= 2);
    stopped(wrap);
    // From now on it dies.
    let wrap = scene.start_node("n", &scene.java("two", "exit 1"), &["--restart-limit", "2"]);
    let outcome = wrap.outcome();
    outcome.expect_code(71);
    assert!(!outcome.has("jar_rejected"));
    assert!(scene.uses("two"));
}

#[test]
fn it_is_put_back_by_a_wrapper_that_ends_with_its_agent_too() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    stopped(wrap);
    scene.offer("deadly", 2);
    let outcome = scene.start(&["--restart", "no", "--offline", "never"]).outcome();
    assert!(outcome.has("jar_rejected"), "{}", outcome.text());
    assert!(scene.uses("one"));
}

#[test]
fn two_wrappers_of_one_controller_agree() {
    let scene = Scene::jenkins();
    let java = scene.java("deadly", "exit 1");
    let [first, second] = ["n", "m"].map(|node| scene.start_node(node, &java, &[]));
    for wrap in [&first, &second] {
        wrap.wait_for("agent_connected");
    }
    scene.offer("deadly", 2);
    for wrap in [&first, &second] {
        kill(wrap.agent_pid(1), Signal::SIGKILL).expect("the agent is there");
    }
    for wrap in [&first, &second] {
        wrap.wait_for_nth("agent_connected", 2);
    }
    assert!(scene.uses("one"));
    let rejections = [first, second].map(|wrap| usize::from(stopped(wrap).has("jar_rejected")));
    assert_eq!(rejections.iter().sum::<usize>(), 1, "it is put back once");
}

#[test]
fn a_real_java_with_a_really_broken_jar() {
    if skip::unmet("jars::a_real_java_with_a_really_broken_jar", skip::need_java()) {
        return;
    }
    let scene = Scene::jenkins();
    // Whole, but without the class that its manifest would have to name.
    let java = scene.java("deadly", "exec java \"$@\"");
    let wrap = scene.start_node("n", &java, &[]);
    wrap.wait_for("agent_connected");
    scene.offer("deadly", 2);
    next_agent(&wrap, 1);
    wrap.wait_for("jar_rejected");
    wrap.wait_for_nth("agent_connected", 2);
    assert!(scene.uses("one"));
    stopped(wrap);
}

#[test]
fn an_idle_agent_takes_the_jar_of_an_upgraded_controller_and_no_build_is_cut() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&["--jar-update", "idle"]);
    wrap.wait_for("agent_connected");
    let gate = scene.dir.path().join("gate");
    let build = scene.controller.start_build("n", &gate).expect("the build is queued");
    let state = || scene.controller.build(&build).expect("the controller answers");
    eventually("the build runs", || state() == BuildState::Running);
    scene.offer("two", 2);
    scene.upgrade("2.579");
    wrap.wait_for_nth("jar_fetched", 2);
    let reads = || scene.controller.requests_for(Operation::ReadNode).len();
    let before = reads();
    eventually("the node is looked at some more", || reads() > before + 3);
    assert_eq!((state(), scene.controller.node("n").expect("a node").marked), (BuildState::Running, false));
    fs::write(&gate, "").expect("the build may end");
    wrap.wait_for("renewing_jar");
    wrap.wait_for_nth("agent_connected", 2);
    assert_eq!(state(), BuildState::Finished("SUCCESS".to_owned()));
    scene.controller.wait_for("the node to be free", |world| !world.node_state("n").unwrap_or_default().marked);
    // A version with the same jar is no reason.
    scene.upgrade("2.580");
    eventually("it is looked for", || scene.answers().len() == 4);
    let before = reads();
    eventually("the node is looked at some more", || reads() > before + 3);
    let outcome = stopped(wrap);
    assert_eq!(outcome.events().iter().filter(|event| *event == "agent_started").count(), 2, "{}", outcome.text());
}

#[test]
fn a_jar_for_idle_agents_that_dies_at_once_is_put_back_too() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&["--jar-update", "idle"]);
    wrap.wait_for("agent_connected");
    scene.offer("deadly", 2);
    scene.upgrade("2.579");
    wrap.wait_for("jar_rejected");
    wrap.wait_for_nth("agent_connected", 2);
    assert!(scene.uses("one"));
    // And is not taken again, whatever version hands it out.
    scene.upgrade("2.580");
    wrap.wait_for("jar_passed_over");
    let reads = || scene.controller.requests_for(Operation::ReadNode).len();
    let before = reads();
    eventually("the node is looked at some more", || reads() > before + 3);
    let outcome = stopped(wrap);
    assert_eq!(outcome.events().iter().filter(|event| *event == "renewing_jar").count(), 1, "{}", outcome.text());
}

#[test]
fn a_broken_jar_for_idle_agents_is_told_once_and_not_fetched_at_every_look() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&["--jar-update", "idle"]);
    wrap.wait_for("agent_connected");
    scene.controller.with(|world| world.options().agent_jar = b"<html>not yet</html>".to_vec());
    scene.upgrade("2.579");
    wrap.wait_for("jar_not_found");
    let fetches = scene.answers().len();
    let reads = || scene.controller.requests_for(Operation::ReadNode).len();
    let before = reads();
    eventually("the node is looked at some more", || reads() > before + 3);
    assert_eq!(scene.answers().len(), fetches);
    // Another version is asked at once, and its fault is told anew.
    scene.upgrade("2.580");
    wrap.wait_for_nth("jar_not_found", 2);
    let outcome = stopped(wrap);
    assert_eq!(outcome.events().iter().filter(|event| *event == "jar_not_found").count(), 2, "{}", outcome.text());
}

#[test]
fn by_default_a_running_agent_is_left_alone() {
    let scene = Scene::jenkins();
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    scene.offer("two", 2);
    scene.upgrade("2.579");
    let reads = || scene.controller.requests_for(Operation::ReadNode).len();
    let before = reads();
    eventually("the node is looked at some more", || reads() > before + 3);
    assert_eq!(scene.answers(), [200]);
    stopped(wrap);
}
