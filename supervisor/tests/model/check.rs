//! The explorations of the shipped core.

use std::time::Instant;

use agent_wrap_supervisor::Request;
use stateright::{Checker, HasDiscoveries, Model};

use super::lots::{self, Lot};
use super::properties::{self, Bounds, Exploration};
use super::trace;

fn bound(name: &str, default: u8) -> u8 {
    std::env::var(name).ok().and_then(|bound| bound.parse().ok()).unwrap_or(default)
}

/// The bounds, unless the environment sets others.
fn bounds(disturbances: u8, requests: u8) -> Bounds {
    Bounds {
        disturbances: bound("MODEL_DISTURBANCES", disturbances),
        requests: bound("MODEL_REQUESTS", requests),
        agents: bound("MODEL_AGENTS", 3),
    }
}

/// Two states that the checker takes for one must have the same future: else what it meets depends on the order in which
/// it goes, and part of what there is is never met.
#[test]
fn whichever_way_it_goes_it_meets_the_same_states() {
    let model = || Exploration::new(lots::named("--online own"), lots::stops(), bounds(1, 1), Lot::core);
    let broad = model().checker().threads(2).spawn_bfs().join().unique_state_count();
    let deep = model().checker().threads(1).spawn_dfs().join().unique_state_count();
    assert_eq!(broad, deep);
    assert!(broad > 100_000, "{broad}");
}

#[test]
fn what_was_never_met_is_named() {
    let nothing = Bounds { disturbances: 0, requests: 0, agents: 1 };
    let model = Exploration::new(lots::named("Jenkins, a free node"), Vec::new(), nothing, Lot::core).in_one();
    let unseen = model.checker().spawn_bfs().join().model().unseen();
    assert!(unseen.contains(&"seen: a stop with its mark confirmed"), "{unseen:?}");
    assert!(!unseen.contains(&"seen: connected, and the node free"), "{unseen:?}");
}

#[expect(clippy::disallowed_methods, reason = "how long it took is told, and nothing depends on it")]
fn now() -> Instant {
    Instant::now()
}

/// Explores every lot and panics with the shortest life that breaks a property.
#[expect(clippy::print_stdout, reason = "how much was looked at is what somebody who runs it wants to know")]
fn explore(name: &str, asks: &[Request], bounds: Bounds) {
    let mut lots = lots::lots();
    let only = std::env::var("MODEL_LOTS").ok();
    let is_part = only.as_deref().is_some_and(|only| only != "all");
    match only.as_deref() {
        None => lots.retain(|lot| lots::FEW.contains(&lot.name)),
        Some("all") => {}
        Some(only) => lots.retain(|lot| lot.name == only),
    }
    assert!(!lots.is_empty(), "MODEL_LOTS names none of the lots: {:?}", lots::lots().iter().map(|lot| lot.name));
    let (mut states, mut steps, mut depth) = (0, 0, 0);
    let mut failed = String::new();
    let mut unseen: Option<Vec<&str>> = None;
    let begun = now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for lot in lots {
        let since = now();
        let lot_name = lot.name;
        let is_named = std::env::var_os("MODEL_DISTURBANCES").is_some();
        let disturbances = if lot.channel && !is_named { 0 } else { bounds.disturbances };
        let bounds = Bounds { disturbances, ..bounds };
        let model = Exploration::new(lot, asks.to_vec(), bounds, Lot::core).in_one();
        let checker = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let (here, took) = (checker.unique_state_count(), since.elapsed());
        println!("  {lot_name}: {here} states, {} deep, {took:.1?}", checker.max_depth());
        states += here;
        steps += checker.state_count();
        depth = depth.max(checker.max_depth());
        if let Some(life) = checker.discovery(properties::WHOLE) {
            let names = checker.model().broken(life.last_state());
            failed.push_str(&format!("{names:?}\n{}", trace::tell(checker.model(), life)));
        }
        let missed = checker.model().unseen();
        unseen = Some(match unseen {
            Some(unseen) => unseen.into_iter().filter(|name| missed.contains(name)).collect(),
            None => missed,
        });
    }
    println!("{name}: {states} states, {steps} steps, {depth} deep, {bounds:?}, {:.0?}", begun.elapsed());
    assert!(failed.is_empty(), "{failed}");
    if !is_part {
        assert_eq!(unseen.unwrap_or_default(), [""; 0], "nobody met these, so nothing was shown");
    }
}

#[test]
fn the_promise_holds_whatever_happens_around_a_stop() {
    let bounds = bounds(1, 1);
    explore("stops", &lots::stops(), bounds);
}

#[test]
fn the_promise_holds_whatever_happens_around_landing_and_restarts() {
    let bounds = bounds(1, 1);
    explore("wishes", &lots::wishes(), bounds);
}
