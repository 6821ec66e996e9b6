//! Everything that can happen, at every point of a life.
//!
//! A test run takes a part of the pairs; `DRIVER_ALL=1` takes all of them.

use agent_wrap_supervisor::{Exit, Owner, Span};

use super::controller::mark_of;
use super::glue::{full, prompt};
use super::life::SIGNALS;
use super::refusals::refused;
use super::world::Happening;

/// One pair in so many is taken, another one for each point.
const STRIDE: usize = 9;

#[test]
fn anything_may_happen_at_any_point() {
    let mut anything: Vec<Happening> = SIGNALS.map(Happening::Signal).to_vec();
    anything.extend([
        Happening::AgentEnds(Exit::Code(1)),
        Happening::Answers,
        Happening::LateAnswers,
        Happening::FactsAgain,
        Happening::Jump(Span(1)),
        Happening::Jump(Span::seconds(7)),
        Happening::Interferes(None),
        Happening::Interferes(Some(mark_of(Owner::Foreign, "somebody"))),
        Happening::GoesDown,
    ]);
    let stride = if std::env::var_os("DRIVER_ALL").is_some() { 1 } else { STRIDE };
    let mut lives = 0;
    for base in [full(), prompt(), refused()] {
        let points = base.clone().live().shared.lock().points;
        assert!(points > 100, "{points}");
        for point in 1..=points {
            let first = usize::try_from(point).unwrap() % stride;
            for happening in anything.iter().skip(first).step_by(stride) {
                let mut life = base.clone();
                life.at_points.insert(point, happening.clone());
                let lived = life.clone().live();
                lives += 1;
                if lived.shared.lock().violation.is_some() {
                    life.tracing = true;
                    life.live().well(&format!("{happening:?} at point {point}"));
                }
            }
        }
    }
    println!("{lives} lives");
}
