//! Agents that stay without what they need, because the controller refuses it or is not there.

use std::collections::VecDeque;

use agent_wrap_supervisor::{Backoff, Ending, FailureKind, IfRefused, NodePolicy, Policy, Span};

use super::glue::{STOPPED, TERM, agents, points_of, policy, traced};
use super::life::Life;
use super::partners::{Lack, no_secret};
use super::settings::Reading;
use super::world::{Happening, Preparation, RELOAD};

fn lacking(lack: Lack, times: usize) -> VecDeque<Preparation> {
    (0..times).map(|_| Preparation { pauses: vec![Span(100)], lacks: Some(lack) }).collect()
}

fn life(lack: Lack, times: usize) -> Life {
    Life { preparations: lacking(lack, times), ..traced(policy()) }
}

/// A life in which an agent gets its secret after an outage, refusals and another outage, and the settings are read
/// for longer than they may.
pub fn refused() -> Life {
    let lacks = [FailureKind::Unavailable, FailureKind::Forbidden, FailureKind::Forbidden, FailureKind::Unavailable];
    let mut life = Life::new(policy());
    life.preparations = lacks.iter().flat_map(|kind| lacking(Lack::Secret(*kind), 1)).collect();
    life.readings = [Reading { takes: Span::seconds(11), ..Reading::default() }].into();
    life.at(Span::seconds(2), Happening::Signal(RELOAD)).at(Span::seconds(40), TERM)
}

#[test]
fn a_refusal_that_lasts_ends_it_and_is_named() {
    for kind in [FailureKind::Unauthenticated, FailureKind::Forbidden, FailureKind::NoSuchNode] {
        let lived = life(Lack::Secret(kind), 1000).live();
        assert_eq!(lived.well(&format!("{kind:?}")), Ending::Refused(no_secret(kind)));
        assert_eq!(points_of(&lived, &[" PREPARE"]).len(), 3, "{kind:?}");
        assert_eq!(agents(&lived), 0, "{kind:?}");
    }
}

#[test]
fn refusals_that_pass_or_are_to_be_sat_out_end_nothing() {
    let start = NodePolicy { if_refused: IfRefused::Start, ..policy().node.unwrap() };
    let sits_out = Policy { node: Some(start), ..policy() };
    let passing = life(Lack::Secret(FailureKind::Forbidden), 2);
    let sat_out = Life { policy: sits_out, ..life(Lack::Secret(FailureKind::Forbidden), 6) };
    for (life, lacking) in [(passing, 2), (sat_out, 6)] {
        let lived = life.at(Span::seconds(300), TERM).live();
        assert_eq!(lived.well("refusals"), STOPPED);
        assert_eq!(agents(&lived), lacking + 1, "the one that got everything");
    }
}

#[test]
fn an_outage_counts_as_nobodys_failure() {
    let backoff = Backoff { limit: Some(2), ..Backoff::default() };
    let policy = Policy { backoff, ..policy() };
    let outage = Life { policy: policy.clone(), ..life(Lack::Secret(FailureKind::Unavailable), 20) };
    let lived = outage.at(Span::seconds(3000), TERM).live();
    assert_eq!(lived.well("an outage"), STOPPED);
    assert_eq!(agents(&lived), 21, "the agent that got its secret at last");

    // What the wrapper itself lacks does count.
    let lived = Life { policy, ..life(Lack::Jar, 1000) }.at(Span::seconds(3000), TERM).live();
    assert_eq!(lived.well("no jar"), Ending::GaveUp);
    assert_eq!(agents(&lived), 0);
}

#[test]
fn a_stop_is_not_held_up_by_an_agent_that_stays_without_its_secret() {
    for kind in [FailureKind::Unavailable, FailureKind::Forbidden] {
        let mut base = life(Lack::Secret(kind), 1000);
        base.policy.node.as_mut().unwrap().if_refused = IfRefused::Start;
        let points = base.clone().at(Span::seconds(60), TERM).live().shared.lock().points;
        for point in 1..points {
            let mut life = base.clone();
            life.at_points.insert(point, TERM);
            let lived = life.live();
            assert_eq!(lived.well(&format!("{kind:?}, a stop at point {point}")), STOPPED);
            let asked = lived.shared.lock().books.stopping_since().unwrap();
            assert!(lived.took.0 - asked.0 < 1000, "{kind:?}: until {} ms after point {point}", lived.took.0);
        }
    }
}
