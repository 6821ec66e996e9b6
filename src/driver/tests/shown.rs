//! What a person at the terminal is shown of whole lives, whose the terminal is meanwhile, and that nobody wakes up for it
//! without need.

use std::collections::VecDeque;

use agent_wrap_supervisor::{Exit, Policy, Span};
use nix::libc;

use super::agent::AgentPlan;
use super::glue::{STOPPED, TERM, full, policy, traced};
use super::life::{Life, Lived};
use super::paper::Sheet;
use super::world::{Happening, Preparation};

const WRITES: Sheet = Sheet { agent_writes: true, line: None, all: Vec::new(), mended: 0 };
const ELSEWHERE: Sheet = Sheet { agent_writes: false, line: None, all: Vec::new(), mended: 0 };

fn shown(life: Life, sheet: &Sheet) -> Lived {
    let lived = Life { paper: Some(sheet.clone()), tracing: true, ..life }.live();
    assert_eq!(lived.well("shown"), STOPPED);
    let world = lived.shared.lock();
    assert_eq!(world.sheet.line, None, "it is left behind\n{}", world.story());
    drop(world);
    lived
}

fn lines(lived: &Lived) -> Vec<String> {
    lived.shared.lock().sheet.lines().into_iter().map(str::to_owned).collect()
}

#[track_caller]
fn expect(lines: &[String], words: &str) {
    assert!(lines.iter().any(|line| line.contains(words)), "{words:?} is not shown: {lines:#?}");
}

/// A life at a terminal, with a build that is waited for.
fn drained(policy: Policy) -> Life {
    let life = traced(Policy { terminal: true, ..policy });
    life.at(Span::seconds(20), Happening::BuildBegins).at(Span::seconds(30), Happening::Signal(libc::SIGINT))
}

#[test]
fn a_whole_life_leaves_the_terminal_to_whoever_writes_there() {
    for sheet in [WRITES, ELSEWHERE] {
        shown(full(), &sheet);
    }
}

#[test]
fn a_controller_that_is_down_is_counted_and_cleared_when_it_answers() {
    let life = traced(policy()).at(Span::ZERO, Happening::GoesDown).at(Span::seconds(30), Happening::ComesUp);
    let lived = shown(life.at(Span::seconds(100), TERM), &WRITES);
    let lines = lines(&lived);
    for words in ["waiting for the controller for 5 s", "asking again in 2 s", "asking again in 1 s"] {
        expect(&lines, words);
    }
    let world = lived.shared.lock();
    let cleared = world.sheet.all.iter().rev().find(|(moment, _)| moment.0 < 100_000).unwrap();
    assert!(cleared.1.is_none() && cleared.0.0 < 60_000, "{cleared:?}");
}

#[test]
fn a_drain_counts_down_and_names_the_key() {
    let lived = shown(drained(policy()).at(Span::seconds(50), Happening::BuildEnds), &ELSEWHERE);
    let lines = lines(&lived);
    for words in ["draining 1 build, 55 s left (Ctrl-C again to stop now): job #1", "draining 1 build, 45 s left"] {
        expect(&lines, words);
    }
}

#[test]
fn the_key_is_named_by_what_it_does() {
    let plan = AgentPlan { term_takes: Some(Span::seconds(10)), ..AgentPlan::default() };
    let life = Life { plans: VecDeque::from([plan]), ..drained(policy()) };
    let lived = shown(life.at(Span::seconds(40), Happening::Signal(libc::SIGINT)), &ELSEWHERE);
    let lines = lines(&lived);
    expect(&lines, "(Ctrl-C again to stop now)");
    expect(&lines, "stopping, the agent has 25 s to end (Ctrl-C once more to kill the agent)");
}

#[test]
fn a_drain_where_the_agent_writes_is_told_in_lines_of_the_log_alone() {
    let lived = shown(drained(policy()).at(Span::seconds(50), Happening::BuildEnds), &WRITES);
    assert!(!lines(&lived).iter().any(|line| line.contains("draining")), "{:#?}", lines(&lived));
}

#[test]
fn time_does_not_go_by_while_we_are_stopped() {
    let mut life = drained(policy());
    life.suspensions = [Span::seconds(1000)].into();
    let life = life.at(Span::seconds(40), Happening::Signal(libc::SIGTSTP));
    let lived = shown(life.at(Span::seconds(1050), Happening::BuildEnds), &ELSEWHERE);
    let world = lived.shared.lock();
    let after = |(moment, line): &(_, Option<String>)| {
        let agent_wrap_supervisor::Moment(millis) = moment;
        line.clone().filter(|_| *millis > 1_040_000)
    };
    let line = world.sheet.all.iter().find_map(after).unwrap();
    assert!(line.contains("build, 50 s left") || line.contains("build, 49 s left"), "{line}");
}

#[test]
fn a_pause_counts_down() {
    let mut life = traced(policy()).at(Span::seconds(20), Happening::AgentEnds(Exit::Code(7)));
    life.policy.backoff.first = Span::seconds(10);
    life.policy.backoff.max = Span::seconds(10);
    let lived = shown(life.at(Span::seconds(60), TERM), &WRITES);
    let lines = lines(&lived);
    expect(&lines, "the agent exited with code 7; it is started again in 5 s");
    expect(&lines, "started again in 4 s");
}

#[test]
fn what_is_got_ready_is_shown_until_there_is_an_agent() {
    let preparation = Preparation { pauses: vec![Span::seconds(3)], lacks: None };
    let life = Life { preparations: [preparation].into(), ..traced(policy()) };
    expect(&lines(&shown(life.at(Span::seconds(60), TERM), &WRITES)), "starting the agent");
}

#[test]
fn what_a_key_or_another_size_may_have_torn_is_drawn_anew() {
    let life = |at, signal| drained(policy()).at(Span::seconds(at), Happening::Signal(signal));
    let mended = |life: Life| {
        let lived = shown(life.at(Span::seconds(50), Happening::BuildEnds), &ELSEWHERE);
        let world = lived.shared.lock();
        world.sheet.mended
    };
    let without = mended(drained(policy()));
    assert_eq!(mended(life(40, libc::SIGWINCH)), without + 1);
    assert_eq!(mended(life(25, libc::SIGWINCH)), without, "nothing was shown then");
}

/// How often the driver has waited between these seconds.
fn waits(life: Life, from: u64, to: u64) -> usize {
    let lived = life.live();
    assert_eq!(lived.well("waits"), STOPPED);
    let world = lived.shared.lock();
    let second = |line: &String| line.trim_start().split('.').next()?.parse::<u64>().ok();
    let counts = |line: &&String| line.ends_with(" waiting") && second(line).is_some_and(|at| (from..to).contains(&at));
    world.trace.iter().filter(counts).count()
}

#[test]
fn nobody_wakes_up_while_all_is_well_and_once_a_second_while_something_is_shown() {
    let quiet = |paper| Life { paper, ..traced(policy()).at(Span::seconds(200), TERM) };
    let without = waits(quiet(None), 20, 190);
    assert_eq!(waits(quiet(Some(WRITES)), 20, 190), without);
    assert_eq!(waits(quiet(Some(ELSEWHERE)), 20, 190), without);
    let drain = |paper| Life { paper, ..drained(policy()).at(Span::seconds(80), Happening::BuildEnds) };
    let without = waits(drain(None), 40, 70);
    assert_eq!(waits(drain(Some(WRITES)), 40, 70), without, "nothing is shown there");
    let (with, seconds) = (waits(drain(Some(ELSEWHERE)), 40, 70), 30);
    // Each time the driver looks twice, before it waits and when it is woken, and then once more.
    assert!((without + 20..=without + 4 * (seconds + 1)).contains(&with), "{with} instead of {without}");
}
