//! Connections that come and go while the agent's process lives.

use std::fs;

use agent_wrap_testbed::simulated::Entry;
use agent_wrap_testbed::stage::Stage;
use libtest_mimic::Trial;

use crate::common::{Wrap, is_alive};
use crate::scene::{Scene, count, expect_none, expect_words};
use crate::trials::trial;
use crate::{Scenario, jenkins, simulated};

pub const EVERYWHERE: &[Scenario] = &[("flapping::a_controller_that_drops_it_again_and_again", dropped)];

pub fn trials() -> Vec<Trial> {
    vec![trial("flapping::an_agent_that_connects_and_drops", connects_and_drops)]
}

/// So often it has to be lost.
const LOSSES: usize = 3;

fn dropped(stage: &mut dyn Stage) {
    let scene = Scene::new(stage, "flapping");
    let mut command = scene.command(&["--disconnect-timeout", "80s"], &[]);
    // Java waits for longer than that.
    command.env("MISBEHAVE", "--reconnect-delay 2500");
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    let agent = wrap.agent_pid(1);
    for lost in 1..=LOSSES {
        stage.disconnect(&scene.node).expect("disconnected");
        if lost < LOSSES {
            wrap.wait_for_nth("agent_disconnected", lost);
            wrap.wait_for_nth("agent_reconnected", lost);
        }
    }
    expect_words(&wrap, "flapping", "has come and gone 3 times");
    assert_eq!(count(&wrap, "agent_disconnected"), LOSSES - 1, "single turns are not told any more");
    assert!(is_alive(agent));
    wrap.wait_for("flapping_over");
    assert_eq!((count(&wrap, "agent_reconnected"), count(&wrap, "agent_started")), (LOSSES - 1, 1));
    wrap.stop().expect_code(0);
}

/// As a JVM that is too old for its controller does.
fn connects_and_drops() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    let flaps = scene.path("flaps");
    fs::write(&flaps, "").expect("written");
    let mut command = scene.command(&["--disconnect-timeout", "40s"], &["--reconnect-delay", "1500"]);
    command.env("MISBEHAVE", format!("--drop-while {}", flaps.display()));
    let wrap = Wrap::start(command);
    wrap.wait_for("flapping");
    let turns =
        |entries: &[Entry]| entries.iter().filter(|entry| matches!(entry, Entry::AgentConnected { .. })).count();
    let before = stage.look(|world| turns(world.timeline()));
    stage.wait_for("it goes on", |world| turns(world.timeline()) >= before + 4);
    let told = (count(&wrap, "agent_disconnected"), count(&wrap, "agent_reconnected"));
    assert_eq!((count(&wrap, "flapping"), told), (1, (LOSSES - 1, LOSSES - 1)), "{}", wrap.log().join("\n"));
    // Another start would not help.
    assert_eq!(count(&wrap, "agent_started"), 1);
    expect_none(&wrap, "stays_disconnected");
    assert!(is_alive(wrap.agent_pid(1)));
    fs::remove_file(flaps).expect("removed");
    wrap.wait_for("flapping_over");
    scene.wait_until_online(&stage);
    wrap.stop().expect_code(0);
}
