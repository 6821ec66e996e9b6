//! Reloads that take time, fail, hang or come twice.

use std::collections::BTreeSet;

use agent_wrap_supervisor::Span;
use nix::libc;

use super::glue::{STOPPED, TERM, agents, points_of, traced};
use super::life::{Life, Lived};
use super::settings::Reading;
use super::world::{Happening, RELOAD, RESTART};

const ASKED: Happening = Happening::Signal(RELOAD);
const HANGS: Reading =
    Reading { takes: Span::seconds(60), fails: false, credentials_take: Span::ZERO, credentials_fail: false };

fn life(readings: impl IntoIterator<Item = Reading>) -> Life {
    Life { readings: readings.into_iter().collect(), ..traced(super::glue::policy()) }
}

fn slow() -> Reading {
    Reading { takes: Span::seconds(3), credentials_take: Span::seconds(1), ..Reading::default() }
}

/// How often the settings were read, and the number of those in force at the end.
fn settings(lived: &Lived) -> (u32, u32) {
    let world = lived.shared.lock();
    (world.books.reloads.readings, world.books.reloads.in_force.0)
}

fn last_reason(lived: &Lived) -> String {
    lived.shared.lock().reasons.last().cloned().unwrap()
}

#[test]
fn new_settings_hold_from_the_next_agent_on_and_failed_ones_never() {
    let fails = Reading { fails: true, ..slow() };
    let credentials = Reading { credentials_fail: true, ..slow() };
    for (reading, in_force, reason) in
        [(slow(), 1, "reloaded, SIGTERM"), (credentials, 1, "reloaded, SIGTERM"), (fails, 0, "n on h: SIGTERM")]
    {
        let life = life([reading]).at(Span::seconds(10), ASKED).at(Span::seconds(20), Happening::Signal(RESTART));
        let lived = life.at(Span::seconds(40), TERM).live();
        assert_eq!(lived.well("a reload"), STOPPED);
        assert_eq!(settings(&lived), (1, in_force));
        assert_eq!(agents(&lived), 2);
        assert_eq!(last_reason(&lived), reason);
    }
}

/// What was asked for while the settings were being read may be newer than what is read.
#[test]
fn reloads_during_one_are_done_after_it_and_once() {
    let mut life = life([slow(), slow()]).at(Span::seconds(60), TERM);
    for after in 0..4 {
        life = life.at(Span(10_000 + 900 * after), ASKED);
    }
    let lived = life.live();
    assert_eq!(lived.well("reloads"), STOPPED);
    assert_eq!(settings(&lived), (2, 2));
}

#[test]
fn one_that_hangs_is_given_up_on_and_the_next_one_is_read() {
    let life = life([HANGS, Reading::default(), slow()]);
    // The second waits behind the first, for as long as it may.
    let life = life.at(Span::seconds(10), ASKED).at(Span::seconds(12), ASKED).at(Span::seconds(80), ASKED);
    let lived = life.at(Span::seconds(100), TERM).live();
    assert_eq!(lived.well("hanging"), STOPPED);
    assert_eq!(settings(&lived), (1, 1));
    assert_eq!(points_of(&lived, &["READ the settings"]).len(), 3);
    assert_eq!(last_reason(&lived), "reloaded, SIGTERM");
}

/// Neither a reload that hangs nor one that succeeds changes how long a stop takes, wherever it comes.
#[test]
fn a_stop_is_not_held_up_by_a_reload_nor_the_other_way_round() {
    for reading in [HANGS, slow(), Reading::default(), Reading { fails: true, ..slow() }] {
        let base = life([reading.clone()]).at(Span::seconds(10), ASKED);
        let points = points_of(
            &base.clone().at(Span::seconds(40), TERM).live(),
            &[
                &format!("signal {RELOAD}"),
                "READ the settings",
                "READ the credentials",
                "the settings have been read",
                "settings 1 are in force",
            ],
        );
        assert!(points.len() >= 3, "{points:?}");
        let mut took = BTreeSet::new();
        for point in points {
            let mut life = base.clone();
            life.at_points.insert(point, TERM);
            let lived = life.live();
            assert_eq!(lived.well(&format!("{reading:?}, a stop at point {point}")), STOPPED);
            let asked = lived.shared.lock().books.stopping_since().unwrap();
            took.insert(lived.took.0 - asked.0);
        }
        assert!(took.iter().all(|took| *took < 1000), "{reading:?}: {took:?} ms");
    }
}

/// While an agent is being made ready the settings change: it is the next one that is started by the new ones.
#[test]
fn a_reload_while_an_agent_is_made_ready_and_while_a_stop_drains() {
    let mut life = life([Reading::default(), slow()]);
    life.preparations = [super::world::Preparation { pauses: vec![Span::seconds(20)], lacks: None }].into();
    let lived = life
        .at(Span::seconds(5), ASKED)
        .at(Span::seconds(30), Happening::BuildBegins)
        .at(Span::seconds(35), TERM)
        .at(Span::seconds(40), ASKED)
        .at(Span::seconds(45), Happening::Signal(libc::SIGCHLD))
        .at(Span::seconds(50), Happening::BuildEnds)
        .live();
    assert_eq!(lived.well("reloads at odd times"), STOPPED);
    assert_eq!(settings(&lived), (2, 2));
    assert_eq!(agents(&lived), 1);
}
