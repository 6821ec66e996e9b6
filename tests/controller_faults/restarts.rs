//! What a controller's restart makes of marks: new ones keep them, old ones put them back when the agent connects.

use agent_wrap_testbed::simulated::{Entry, Options};
use agent_wrap_testbed::stage::Stage as _;
use libtest_mimic::Trial;

use crate::common::eventually;
use crate::place::Place;
use crate::trials::trial;

type Version = (&'static str, fn() -> Options);

const VERSIONS: &[Version] = &[
    ("old_jenkins", || Options::jenkins("2.401")),
    ("new_jenkins", || Options::jenkins("2.578")),
    ("hudson", Options::hudson),
];

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (version, options) in VERSIONS {
        for online in ["always", "own"] {
            trials.push(trial(format!("restarts::{version}::our_mark_from_before_it::{online}"), move || {
                our_mark_from_before_it(options(), online);
            }));
        }
        trials.push(trial(format!("restarts::{version}::a_mark_of_others_from_before_it"), move || {
            mark_of_others_from_before_it(options());
        }));
        trials.push(trial(format!("restarts::{version}::a_mark_of_others_under_us"), move || {
            mark_of_others_under_us(options());
        }));
        trials.push(trial(format!("restarts::{version}::a_lifted_mark_stays_lifted"), move || {
            lifted_mark_stays_lifted(options());
        }));
    }
    trials
}

fn restart(place: &mut Place) {
    place.controller.take_down().expect("it goes down");
    place.controller.bring_up().expect("it comes up");
}

fn our_mark_from_before_it(options: Options, online: &str) {
    let mut place = Place::new(options);
    let first = place.online(&[]);
    place.expect_good_stop(first);
    restart(&mut place);
    let second = place.start(&["--online", online]);
    second.wait_for("agent_connected");
    place.wait_until_free();
    place.expect_good_stop(second);
}

fn mark_of_others_from_before_it(options: Options) {
    let mut place = Place::new(options);
    place.mark("from before");
    restart(&mut place);
    let wrap = place.start(&["--log-level", "debug"]);
    wrap.wait_for("settled");
    assert!(!place.state().marked);
    let outcome = place.expect_good_stop(wrap);
    assert!(outcome.has("lifting"), "{}", outcome.text());
}

fn mark_of_others_under_us(options: Options) {
    let mut place = Place::new(options);
    let wrap = place.start(&["--log-level", "debug"]);
    wrap.wait_for("settled");
    place.mark("please keep off");
    wrap.wait_for("foreign_mark");
    restart(&mut place);
    let connected = |entry: &&Entry| matches!(entry, Entry::AgentConnected { .. });
    place.controller.wait_for("the agent", |world| world.timeline().iter().filter(connected).count() == 2);
    eventually("the mark is back", || place.state().reason.contains("please keep off"));
    let outcome = place.expect_good_stop(wrap);
    assert!(!outcome.has("lifting") && !outcome.has("stray_mark"), "{}", outcome.text());
}

fn lifted_mark_stays_lifted(options: Options) {
    let mut place = Place::new(options);
    place.mark("from before");
    let wrap = place.online(&[]);
    restart(&mut place);
    eventually("the agent is back", || !place.state().offline);
    let outcome = place.expect_good_stop(wrap);
    assert!(!outcome.has("foreign_mark"), "{}", outcome.text());
}
