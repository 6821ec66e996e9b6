//! A third party clears or sets the mark between our requests.

use agent_wrap_testbed::simulated::World;
use libtest_mimic::Trial;

use crate::life::{HUDSON, JENKINS, JENKINS_TOGGLE, NODE, THEIRS, Way, at_point, is_ours, wait_until_acted};
use crate::trials::trial;

/// Points of a start, up to the first quiet look after the agent's.
const POINTS_OF_A_START: usize = 16;

/// Points of a stop: reads, writes, the drain's look and the last one.
const POINTS_OF_A_STOP: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Sets,
    Clears,
}

impl Act {
    fn perform(self, world: &mut World) {
        match self {
            Self::Sets => world.mark(NODE, "somebody", THEIRS),
            Self::Clears => world.clear(NODE, "somebody"),
        }
    }
}

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (marked, how) in [(false, "unmarked"), (true, "marked")] {
        for act in [Act::Sets, Act::Clears] {
            for way in [JENKINS, JENKINS_TOGGLE, HUDSON] {
                for point in 1..=POINTS_OF_A_START {
                    let name = format!("start::{how}::{}::somebody_{act:?}_at_{point}", way.name).to_lowercase();
                    trials.push(trial(name, move || start(way, marked, act, point)));
                }
            }
            for way in [JENKINS, HUDSON] {
                for point in 1..=POINTS_OF_A_STOP {
                    let name = format!("stop::{how}::{}::somebody_{act:?}_at_{point}", way.name).to_lowercase();
                    trials.push(trial(name, move || stop(way, marked, act, point)));
                }
            }
        }
    }
    trials
}

fn start(way: Way, marked: bool, act: Act, point: usize) {
    let controller = way.controller(marked);
    let acted = at_point(&controller, point, move |world| act.perform(world));
    let life = way.live(controller, &[]);
    life.wrap.wait_for("settled");
    wait_until_acted(&life.controller, &acted);
    let state = life.node();
    if state.marked {
        // They came after we had seen the node free for good: it is their wish.
        assert!(!is_ours(&state.reason), "{state:?}");
        life.wrap.wait_for("foreign_mark");
        let (outcome, _) = life.stop();
        outcome.expect_code(0);
        assert!(outcome.has("marked_already"), "{}", outcome.text());
    } else {
        life.stop().0.expect_code(0);
    }
}

fn stop(way: Way, marked: bool, act: Act, point: usize) {
    // With `own` the mark of somebody else stays, and the stop finds it.
    let life = way.live(way.controller(marked), &["--online", "own"]);
    life.wait_for_agent();
    life.wrap.wait_for("agent_started");
    at_point(&life.controller, point, move |world| act.perform(world));
    life.stop().0.expect_code(0);
}
