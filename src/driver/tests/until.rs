//! Drains whose limit is a moment by the clock on the wall, which may be set.

use agent_wrap_supervisor::{Policy, Span};
use nix::libc;

use super::glue::{STOPPED, TERM, policy, terms, traced};
use super::life::Life;
use super::world::{Happening, RESTART};
use crate::config::Until;
use crate::wall::Civil;

/// So many seconds after the beginning.
fn moment(seconds: u8) -> Until {
    Until::Utc(Civil { year: 1970, month: 1, day: 1, hour: 0, minute: seconds / 60, second: seconds % 60 })
}

/// A build that does not end by itself.
fn busy(until: u8) -> Life {
    let policy = Policy { drain: Span::seconds(90_000), ..policy() };
    let life = Life { until: Some(moment(until)), ..traced(policy) };
    life.at(Span::seconds(20), Happening::BuildBegins)
}

/// When the agent got its TERM, in whole seconds.
#[track_caller]
fn cut(life: Life) -> u64 {
    let lived = life.live();
    assert_eq!(lived.well("until"), STOPPED);
    terms(&lived)[0] / 1000
}

#[test]
fn builds_are_waited_for_until_the_moment() {
    assert_eq!(cut(busy(100).at(Span::seconds(30), TERM)), 100);
    // What is asked for on the way does not change it.
    let twice = busy(100).at(Span::seconds(30), Happening::Signal(RESTART)).at(Span::seconds(50), TERM);
    assert_eq!(cut(twice.at(Span::seconds(70), TERM)), 100);
}

#[test]
fn a_moment_that_is_past_is_no_wait() {
    let seconds = cut(busy(25).at(Span::seconds(30), TERM));
    assert!((30..32).contains(&seconds), "{seconds}");
}

#[test]
fn a_clock_that_is_set_meanwhile_moves_the_end() {
    // Put forward by half a minute, to beyond the moment, and put back by a minute.
    for (until, ahead, set, end) in [(100, 0, 30, 70), (100, 0, 90, 50), (160, 60, 0, 160)] {
        let life = Life { ahead: Span::seconds(ahead), ..busy(until) }.at(Span::seconds(30), TERM);
        let seconds = cut(life.at(Span::seconds(45), Happening::SetClock(Span::seconds(set))));
        // It is noticed when the builds are looked at.
        let noticed = if end < 60 { 45..51 } else { end..end + 2 };
        assert!(noticed.contains(&seconds), "{until} {ahead} {set}: {seconds}");
    }
}

/// The wrapper is stopped, and the clock on the wall is not.
#[test]
fn time_in_which_we_were_stopped_counts() {
    let mut life = busy(200);
    life.policy.terminal = true;
    life.suspensions = [Span::seconds(100)].into();
    let life = life
        .at(Span::seconds(30), Happening::Signal(libc::SIGINT))
        .at(Span::seconds(40), Happening::Signal(libc::SIGTSTP));
    assert_eq!(cut(life), 200);
}
