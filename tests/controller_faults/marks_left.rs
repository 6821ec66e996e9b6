//! Marks that are left where they are: whose they are, and why they are left, in the log.

use std::fs;

use agent_wrap_testbed::simulated::Options;
use agent_wrap_testbed::stage::Stage as _;
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::common::Wrap;
use crate::place::Place;
use crate::trials::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("marks_left::as_online_says", as_online_says),
        trial("marks_left::as_online_says_after_a_reload", as_online_says_after_a_reload),
        trial("marks_left::of_a_monitor", of_a_monitor),
        trial("marks_left::after_an_unclean_end", after_an_unclean_end),
    ]
}

fn expect_words(wrap: &Wrap, event: &str, words: &str) {
    let line = wrap.wait_for(event);
    assert!(line["message"].as_str().is_some_and(|message| message.contains(words)), "{line}");
}

fn as_online_says() {
    let place = Place::new(Options::jenkins("2.578"));
    place.mark("keep off");
    let wrap = place.start(&["--online", "own"]);
    expect_words(&wrap, "mark_left", "by somebody else (\"keep off\"): --online says so;");
}

fn as_online_says_after_a_reload() {
    let mut place = Place::new(Options::jenkins("2.578"));
    place.mark("keep off");
    place.controller.take_down().expect("it goes down");
    let settings = tempfile::NamedTempFile::new().expect("a file");
    let online = |policy: &str| fs::write(settings.path(), format!("online = {policy:?}\n")).expect("settings");
    online("always");
    let wrap = place.start(&["--config", settings.path().to_str().expect("a path of text")]);
    wrap.wait_for("waiting");
    online("own");
    wrap.signal(Signal::SIGHUP);
    wrap.wait_for("policy_changed");
    place.controller.bring_up().expect("it comes up");
    expect_words(&wrap, "mark_left", "(\"keep off\"): --online says so;");
}

fn of_a_monitor() {
    let place = Place::new(Options::jenkins("2.578"));
    place.controller.with(|world| world.mark_by_monitor("n", "DiskSpaceMonitor", "Disk space is too low"));
    let wrap = place.start(&[]);
    expect_words(&wrap, "mark_left", "no --online lifts that");
}

fn after_an_unclean_end() {
    let place = Place::new(Options::jenkins("2.578"));
    place.online(&[]).kill();
    place.mark("look at that crash");
    let wrap = place.start(&[]);
    expect_words(&wrap, "mark_left", "the run before did not end by a stop");
}
