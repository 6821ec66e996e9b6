//! Builds that are waited for: by a landing, a restart and a stop, whatever becomes of the mark meanwhile.

use std::fs;

use agent_wrap_testbed::stage::{BuildState, Stage};
use nix::sys::signal::Signal;

use super::Scene;
use crate::common::{eventually, is_alive};

pub fn landing_waits_for_the_build(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "landing with a build");
    let wrap = scene.start(&["--drain", "1ms"]);
    wrap.wait_for("agent_connected");
    let (build, gate) = scene.wait_for_build(stage);
    wrap.signal(Signal::SIGUSR1);
    // Its limit is for stops and restarts.
    wrap.wait_for("draining");
    scene.expect_marked_by_us(stage);
    fs::write(gate, "").expect("the gate opens");
    wrap.wait_for("landed");
    assert_eq!(stage.build(&build).expect("the controller answers"), BuildState::Finished("SUCCESS".to_owned()));
    assert!(is_alive(wrap.agent_pid(1)));
    assert!(!wrap.log().iter().any(|line| line.contains("drain_cut")), "{:#?}", wrap.log());
    let outcome = wrap.stop();
    outcome.expect_code(0);
    scene.expect_left_marked_by_us(stage, &outcome);
}

pub fn restart_waits_for_the_build(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "restart with a build");
    let wrap = scene.start(&["--signal", "QUIT=restart"]);
    wrap.wait_for("agent_connected");
    let (build, gate) = scene.wait_for_build(stage);
    let first = wrap.agent_pid(1);
    wrap.signal(Signal::SIGQUIT);
    wrap.wait_for("draining");
    scene.expect_marked_by_us(stage);
    assert!(is_alive(first));
    fs::write(gate, "").expect("the gate opens");
    wrap.wait_for_nth("agent_connected", 2);
    assert_eq!(stage.build(&build).expect("the controller answers"), BuildState::Finished("SUCCESS".to_owned()));
    assert!(!is_alive(first));
    eventually("the node is free again", || !scene.state(stage).marked);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    scene.expect_left_marked_by_us(stage, &outcome);
}

pub fn drain_says_what_will_be_cut_off(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "drain warning");
    let wrap = scene.start(&["--drain", "1h", "--drain-warn", "59m 59s"]);
    wrap.wait_for("agent_connected");
    let (build, gate) = scene.wait_for_build(stage);
    wrap.signal(Signal::SIGTERM);
    let warning = wrap.wait_for("drain_ending");
    let words = warning["message"].as_str().expect("a message");
    assert!(words.contains(&format!("{} #{}", build.job, build.number)) && words.contains("--drain"), "{words}");
    assert!(words.starts_with("draining: cut off in 59m ") && words.contains(": 1 build: "), "{words}");
    assert_eq!(warning["level"], "WARN");
    fs::write(gate, "").expect("the gate opens");
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert_eq!(outcome.events().iter().filter(|event| *event == "drain_ending").count(), 1, "{}", outcome.text());
    assert_eq!(stage.build(&build).expect("the controller answers"), BuildState::Finished("SUCCESS".to_owned()));
}

pub fn drain_until_a_moment_that_is_past(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "drain until");
    let wrap = scene.start(&["--drain", "until=2020-02-29T12:00Z"]);
    wrap.wait_for("agent_connected");
    let (build, _gate) = scene.wait_for_build(stage);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(outcome.has("drain_past") && !outcome.has("draining"), "{}", outcome.text());
    // The start has said so already, and promised nothing.
    assert!(outcome.has("past_moment") && !outcome.text().contains("a stop may take until"), "{}", outcome.text());
    scene.expect_left_marked_by_us(stage, &outcome);
    eventually(
        "the build is over",
        || matches!(stage.build(&build).expect("the controller answers"), BuildState::Finished(result) if result != "SUCCESS"),
    );
}

pub fn form_saved_during_the_drain(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "form saved");
    let wrap = scene.start(&[]);
    wrap.wait_for("agent_connected");
    let (build, gate) = scene.wait_for_build(stage);
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("draining");
    stage.save_form(&scene.node).expect("the form is saved");
    eventually("the node is marked", || scene.state(stage).marked);
    fs::write(gate, "").expect("the gate opens");
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert_eq!(stage.build(&build).expect("the controller answers"), BuildState::Finished("SUCCESS".to_owned()));
    scene.expect_left_marked_by_us(stage, &outcome);
}

/// The build ends with the controller; whatever becomes of the mark and of the agent, the stop ends marked.
pub fn controller_restarted_during_the_drain(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "restarted while draining");
    let wrap = scene.start(&["--drain", "10m"]);
    wrap.wait_for("agent_connected");
    let (_, _gate) = scene.wait_for_build(stage);
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("draining");
    stage.take_down().expect("it goes down");
    wrap.wait_for("waiting");
    stage.bring_up().expect("it comes up");
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert!(!outcome.has("drain_cut"), "{}", outcome.text());
    scene.expect_left_marked_by_us(stage, &outcome);
}
