//! What the service manager hears of whole lives, and that nobody wakes up for its sake without need.

use agent_wrap_supervisor::{Policy, Span};
use nix::libc;

use super::glue::{STOPPED, TERM, full, points_of, traced};
use super::life::{Life, Lived};
use super::world::{Happening, RELOAD};

const WATCHDOG: Span = Span::seconds(10);

fn heard(life: Life) -> Lived {
    let lived = Life { manager: Some(Some(WATCHDOG)), tracing: true, ..life }.live();
    assert_eq!(lived.well("heard"), STOPPED);
    lived
}

fn words(lived: &Lived) -> Vec<String> {
    lived.shared.lock().manager.lines("STATUS=").into_iter().map(|(_, words)| words).collect()
}

#[test]
fn a_whole_life_is_told() {
    let lived = heard(full());
    let expected = ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"];
    assert_eq!(lived.shared.lock().manager.lives(), expected);
    let words = words(&lived);
    for expected in [
        "bringing the node online",
        "online",
        "restarting the agent: marking the node offline",
        "starting the agent",
        "landed: the node is marked offline, the agent stays up",
        "stopping: marking the node offline",
        "stopping: the agent has 30 s to end",
    ] {
        assert!(words.iter().any(|words| words == expected), "{expected}: {words:#?}");
    }
    assert!(words.iter().any(|words| words.starts_with("draining: 1 build")), "{words:#?}");
    assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{words:#?}");
}

#[test]
fn it_is_ready_in_the_turn_in_which_the_agent_is_seen_connected() {
    let lived = heard(traced(super::glue::policy()).at(Span::seconds(20), TERM));
    let world = lived.shared.lock();
    let ready = world.trace.iter().position(|line| line.contains("TELL READY=1")).unwrap();
    let connected = world.trace.iter().position(|line| line.ends_with("its secret has been read")).unwrap();
    assert!(connected < ready, "{}", world.story());
    assert!(world.trace[connected..ready].iter().all(|line| !line.ends_with(" waiting")), "{}", world.story());
}

#[test]
fn a_reload_is_over_when_its_settings_are_in_force_or_stay_as_they_were() {
    for fails in [false, true] {
        let reading = super::settings::Reading { takes: Span::seconds(3), fails, ..Default::default() };
        let life = Life { readings: [reading].into(), ..traced(super::glue::policy()) };
        let lived = heard(life.at(Span::seconds(20), Happening::Signal(RELOAD)).at(Span::seconds(40), TERM));
        let manager = &lived.shared.lock().manager;
        let begin = manager.lines("RELOADING=1")[0].0;
        let end = manager.lines("READY=1")[1].0;
        assert!((3_000..3_100).contains(&end.since(begin).0), "{fails}: {begin:?} to {end:?}");
    }
}

#[test]
fn a_stop_asks_for_time_until_it_is_over() {
    let policy = Policy { drain: Span::seconds(600), ..super::glue::policy() };
    let life = traced(policy).at(Span::seconds(20), Happening::BuildBegins).at(Span::seconds(30), TERM);
    let lived = heard(life);
    let manager = &lived.shared.lock().manager;
    let asked: Vec<u64> = manager.lines("EXTEND_TIMEOUT_USEC=15000000").iter().map(|(moment, _)| moment.0).collect();
    let stop = manager.lines("STOPPING=1")[0].0;
    let during: Vec<u64> = asked.iter().copied().filter(|moment| *moment >= stop.0).chain([lived.took.0]).collect();
    assert_eq!(during[0], stop.0);
    assert!(during.len() > 100 && during.windows(2).all(|pair| pair[1] - pair[0] < 6_000), "{during:?}");
    assert!(manager.all.iter().all(|(_, datagram)| !datagram.contains("EXTEND") || datagram.contains("=15000000\n")));
}

#[test]
fn a_manager_that_has_no_room_is_told_when_it_has() {
    let life = |full| Life { manager_full: full, ..traced(super::glue::policy()).at(Span::seconds(20), TERM) };
    let ready = |full| heard(life(full)).shared.lock().manager.lines("READY=1")[0].0;
    let late = ready(20).since(ready(0));
    assert!(late > Span::ZERO && late < Span::seconds(6), "{late:?}");
}

/// How often the driver has waited between these seconds.
fn waits(manager: Option<Option<Span>>) -> usize {
    let life = Life { manager, ..traced(super::glue::policy()) };
    let life = life.at(Span::seconds(70), Happening::Signal(libc::SIGQUIT)).at(Span::seconds(200), TERM);
    let lived = life.live();
    assert_eq!(lived.well("waits"), STOPPED);
    assert!(!points_of(&lived, &[" waiting"]).is_empty());
    let world = lived.shared.lock();
    let second = |line: &String| line.trim_start().split('.').next()?.parse::<u64>().ok();
    let counts = |line: &&String| line.ends_with(" waiting") && second(line).is_some_and(|at| (20..190).contains(&at));
    world.trace.iter().filter(counts).count()
}

#[test]
fn nobody_wakes_up_for_a_manager_that_wants_no_signs_of_life() {
    let (without, with, watched) = (waits(None), waits(Some(None)), waits(Some(Some(WATCHDOG))));
    assert_eq!(without, with);
    assert!(watched > with + 20, "{watched} instead of {with}");
}
