//! Two wrappers on two machines that keep one node. On one machine the second ends at once: `tests/survivors.rs`.

use agent_wrap_testbed::stage::Stage;
use nix::sys::signal::Signal;

use crate::Scenario;
use crate::common::{eventually, is_alive};
use crate::scene::{Scene, count, expect_none, expect_words};

pub const EVERYWHERE: &[Scenario] = &[
    ("rivals::the_second_reports_the_first", second_reports_the_first),
    ("rivals::the_others_mark_is_left_in_the_end", mark_is_left_in_the_end),
];

fn second_reports_the_first(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "two hosts");
    let first = scene.online(stage, &[]);
    let elsewhere = Scene::of(stage, &scene.node);
    let second = elsewhere.start(&["--offline", "never"]);
    expect_words(&second, "channel_found", "nothing here says that it is ours, so it is left alone");
    // Its agent is tried all the same: the connection may be a dead one.
    second.wait_for("agent_started");
    second.stop();
    assert!(is_alive(first.agent_pid(1)) && !scene.state(stage).offline, "{}", first.log().join("\n"));
    expect_none(&first, "agent_disconnected");
    first.stop().expect_code(0);
}

fn mark_is_left_in_the_end(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "rivals");
    let first = scene.online(stage, &["--log-level", "debug"]);
    first.wait_for("settled");
    let elsewhere = Scene::of(stage, &scene.node);
    let mut lives = 0;
    while count(&first, "rival_mark") == 0 {
        lives += 1;
        assert!(lives <= 3, "it is lifted again and again:\n{}", first.log().join("\n"));
        let second = elsewhere.start(&["--drain", "0", "--offline-reason", "stopping over there"]);
        second.wait_for("agent_started");
        let outcome = second.stop();
        // The first may have lifted it by the last look, which the second tells then.
        assert!([0, 74].contains(&outcome.code()), "{}", outcome.text());
        first.wait_for_words("stopping over there", lives);
        // A mark that is set before the last one was seen gone is no other one.
        eventually("the first has made up its mind", || {
            count(&first, "lifted") >= lives || count(&first, "rival_mark") > 0
        });
    }
    expect_words(&first, "rival_mark", "stopping over there");
    assert!(count(&first, "lifted") <= 2, "{}", first.log().join("\n"));
    let state = scene.state(stage);
    assert!(state.marked && state.reason.contains("stopping over there"), "{state:?}");
    first.signal(Signal::SIGUSR2);
    scene.wait_until_online(stage);
    assert_eq!(count(&first, "agent_started"), 1);
    first.stop().expect_code(0);
}
