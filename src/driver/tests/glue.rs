//! The cases that have a name: what the driver must not lose, mix up or wait for.

use agent_wrap_supervisor::{
    Ending, Event, Exit, FailureKind, Generation, LeftoverSignal, NodePolicy, Owner, Policy, Span, SpawnFailure,
};
use nix::libc;

use super::agent::AgentPlan;
use super::controller::{Controller, mark_of};
use super::life::{Life, Lived, paused};
use super::node::Fate;
use super::partners::Lack;
use super::settings::Reading;
use super::world::{Happening, Preparation, RELOAD, RESTART};

pub const TERM: Happening = Happening::Signal(libc::SIGTERM);
pub const STOPPED: Ending = Ending::Stopped { killed: false, confirmed: true };

pub fn marked() -> Controller {
    let mut controller = Controller::default();
    controller.set(Some(mark_of(Owner::Foreign, "from before")));
    controller
}

pub fn policy() -> Policy {
    Policy {
        node: Some(NodePolicy { poll: Span::seconds(20), ..NodePolicy::default() }),
        drain: Span::seconds(60),
        ..Policy::default()
    }
}

pub fn traced(policy: Policy) -> Life {
    Life { tracing: true, ..Life::new(policy) }
}

/// How many agents there were.
pub fn agents(lived: &Lived) -> u32 {
    lived.shared.lock().generations
}

/// When each agent got its TERM, in milliseconds.
pub fn terms(lived: &Lived) -> Vec<u64> {
    lived.shared.lock().books.terms.clone()
}

/// The points at which these things were come to, by the ends of their lines.
pub fn points_of(lived: &Lived, ends: &[&str]) -> Vec<u64> {
    let world = lived.shared.lock();
    let lines = world.trace.iter().filter(|line| !line.contains("...") && ends.iter().any(|end| line.ends_with(end)));
    lines.map(|line| line.split('#').nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()).collect()
}

/// A life with everything in it: a mark to lift, a restart, landing and taking off, a reload, job control, a build to
/// wait for, and a stop.
pub fn full() -> Life {
    let mut life = Life { controller: marked(), ..Life::new(policy()) };
    life.suspensions = [Span::seconds(30)].into();
    life.plans = (0..2).map(|_| AgentPlan { leaves: 1, ..AgentPlan::default() }).collect();
    life.preparations = (0..3).map(|_| Preparation { pauses: vec![Span::ZERO, Span(100)], lacks: None }).collect();
    let reading = Reading { takes: Span(100), credentials_take: Span(50), ..Reading::default() };
    life.readings = [reading.clone(), Reading { fails: true, ..reading }].into();
    life.at(Span::seconds(10), Happening::Signal(RESTART))
        .at(Span::seconds(20), Happening::Signal(libc::SIGUSR1))
        .at(Span::seconds(25), Happening::Signal(RELOAD))
        .at(Span::seconds(30), Happening::Signal(libc::SIGUSR2))
        .at(Span::seconds(35), Happening::Signal(libc::SIGTSTP))
        .at(Span::seconds(80), Happening::BuildBegins)
        .at(Span::seconds(85), TERM)
        .at(Span::seconds(95), Happening::BuildEnds)
}

/// The same with partners who answer before they are left.
pub fn prompt() -> Life {
    let mut life = full();
    life.fates = (0..1000).map(|_| Fate::Answered(Span::ZERO, Span::ZERO)).collect();
    let plan = AgentPlan { spawn_takes: Span::ZERO, term_takes: Some(Span::ZERO), leaves: 1, ..AgentPlan::default() };
    life.plans = (0..100).map(|_| plan.clone()).collect();
    life.preparations = (0..100).map(|_| Preparation::default()).collect();
    life.readings = [Reading::default(), Reading { fails: true, ..Reading::default() }].into();
    life
}

#[test]
fn a_whole_life() {
    for mut life in [full(), prompt()] {
        life.tracing = true;
        let lived = life.live();
        assert_eq!(lived.well("a whole life"), STOPPED);
        assert_eq!(agents(&lived), 2);
        let terms = terms(&lived);
        assert!(terms.len() == 2 && terms[1] >= 95_000, "the build is waited for: {terms:?}");
        assert_eq!(points_of(&lived, &["its secret has been read"]).len(), 2);
        let world = lived.shared.lock();
        assert_eq!(world.reasons.last().map(String::as_str), Some("reloaded, SIGTERM"));
        assert!(world.controller.mark.is_some());
    }
}

#[test]
fn facts_overtake_signals_and_signals_overtake_answers() {
    const MANY: usize = 5000;
    paused().block_on(async {
        let life = traced(policy());
        let (shared, mut turn, mut answered) = life.begin();
        turn.perform();
        let foreign = Generation(7);
        for number in 0..MANY {
            let alive = u32::try_from(number).unwrap();
            turn.driver.processes.0.lock().send(Event::LeftoversCounted { generation: foreign, alive });
            let request = agent_wrap_supervisor::RequestNumber(1_000_000 + alive);
            let failure = super::node::unavailable("late");
            let answer = crate::driver::Answer::Event(Event::NodeRead { request, outcome: Err(failure) });
            turn.answers.send(answer).ok().unwrap();
            for number in (1..=libc::SIGSYS).filter(|number| *number != libc::SIGTERM) {
                // A stop of another kind is not what this is about.
                if ![libc::SIGINT, super::world::STOP_NOW, libc::SIGTSTP].contains(&number) {
                    shared.lock().signal(number);
                }
            }
        }
        shared.lock().signal(libc::SIGTERM);
        let signals: usize = shared.lock().signals.values().map(std::collections::VecDeque::len).sum();
        let mut turns = 0;
        while shared.lock().books.stopping_since().is_none() {
            turn.next(&mut answered).await;
            turn.perform();
            turns += 1;
            assert!(turns <= MANY + signals, "the stop is not handled");
            assert_eq!(answered.len(), MANY, "an answer has overtaken a stop");
        }
        assert_eq!(turn.driver.facts.len(), 0, "a signal has overtaken facts");
        let ending = turn.live(&mut answered).await;
        let mut world = shared.lock();
        world.check_ending(&ending);
        assert_eq!(world.violation, None, "{}", world.story());
        assert_eq!(ending, STOPPED);
    });
}

/// As long as somebody sends signal after signal, neither answers nor deadlines may be kept waiting.
#[test]
fn a_flood_of_signals_does_not_hold_up_a_stop() {
    paused().block_on(async {
        let policy = Policy { grace: Span::seconds(5), ..policy() };
        let longest = policy.longest_stop();
        let mut life = Life::new(policy).at(Span(5005), Happening::Signal(libc::SIGQUIT));
        life.plans = [AgentPlan { term_takes: None, ..AgentPlan::default() }].into();
        let (shared, mut turn, mut answered) = life.at(Span::seconds(5), TERM).begin();
        shared.lock().flood = Some((libc::SIGQUIT, 150_000));
        let ending = turn.live(&mut answered).await;
        let world = shared.lock();
        assert_eq!(ending, Ending::Stopped { killed: true, confirmed: true });
        let took = world.now().since(world.books.stopping_since().unwrap());
        assert!(took < longest, "the stop took {} ms", took.0);
        assert!(world.flood.is_some_and(|(_, left)| left > 0), "the flood is over");
    });
}

/// The read that would let the agent start is answered, and before anybody looks at the answer a stop comes.
#[test]
fn an_answer_that_a_stop_overtakes_is_not_acted_on() {
    let probe = traced(policy()).at(Span::seconds(1), TERM).live();
    let point = points_of(&probe, &["request 1 has its answer"])[0];
    let mut life = traced(policy());
    life.at_points.insert(point, TERM);
    let lived = life.live();
    assert_eq!(lived.well("overtaken"), STOPPED);
    assert_eq!(agents(&lived), 0);
    let world = lived.shared.lock();
    assert!(!world.story().contains("PREPARE"), "{}", world.story());
    assert!(world.controller.mark.is_some(), "it is asked anew, and then marked");
}

#[test]
fn a_stop_gives_up_what_is_being_prepared_at_each_of_its_await_points() {
    let pauses = [Span(100), Span::ZERO, Span::seconds(50), Span::ZERO, Span::ZERO, Span::seconds(90)];
    let base = Life { preparations: [Preparation { pauses: pauses.to_vec(), lacks: None }].into(), ..traced(policy()) };
    let probe = base.clone().at(Span::seconds(200), TERM).live();
    let points = points_of(&probe, &[" PREPARE", " preparing", " prepared"]);
    assert_eq!(points.len(), 2 + pauses.len());
    for point in points {
        let mut life = base.clone();
        life.at_points.insert(point, TERM);
        let lived = life.live();
        assert_eq!(lived.well(&format!("given up at point {point}")), STOPPED);
        assert_eq!(agents(&lived), 0, "at point {point}");
        let asked = lived.shared.lock().books.stopping_since().unwrap();
        assert!(lived.took.0 - asked.0 < 1000, "at point {point} the stop took until {} ms", lived.took.0);
    }
}

#[test]
fn a_spawn_that_fails_is_tried_again_or_ends_it() {
    let failing = |failure| AgentPlan { spawn_fails: Some(failure), ..AgentPlan::default() };
    let mut life = traced(policy());
    life.plans = [failing(SpawnFailure::NotFound)].into();
    let lived = life.live();
    assert_eq!(lived.well("not found"), Ending::SpawnFailed(SpawnFailure::NotFound));
    assert_eq!(points_of(&lived, &["why NotFound"]).len(), 1);

    let mut life = traced(policy()).at(Span::seconds(60), TERM);
    life.plans = [failing(SpawnFailure::Exhausted(libc::EAGAIN)), failing(SpawnFailure::NotFound)].into();
    life.preparations = [Preparation { pauses: vec![Span(5)], lacks: Some(Lack::Jar) }, Preparation::default()].into();
    let lived = life.live();
    assert_eq!(lived.well("no process to be had"), STOPPED);
    // The first of the four was never forked.
    assert_eq!(agents(&lived), 4);
    assert_eq!(points_of(&lived, &["why NotFound", "why Exhausted(11)"]).len(), 1);
}

/// The secret's file has one name: what belongs to an agent that could not be forked has to be gone before the next
/// one's is made.
#[test]
fn what_a_failed_agent_was_to_get_is_gone_before_the_next_one_gets_its_own() {
    let mut life = traced(policy()).at(Span::seconds(60), TERM);
    life.plans =
        [AgentPlan { spawn_fails: Some(SpawnFailure::Exhausted(libc::EAGAIN)), ..AgentPlan::default() }].into();
    let lived = life.live();
    assert_eq!(lived.well("exhausted"), STOPPED);
    let world = lived.shared.lock();
    let gone = world.trace.iter().position(|line| line.ends_with("what was prepared is gone")).unwrap();
    let again = world.trace.iter().rposition(|line| line.ends_with("PREPARE")).unwrap();
    assert!(gone < again, "{}", world.story());
}

#[test]
fn a_fact_that_is_told_twice_leaves_the_state_file_right() {
    // While the second agent runs, the start of the first is told again.
    let mut life = traced(policy());
    life.plans = [AgentPlan { ends: Some((Span::seconds(5), Exit::Code(1))), ..AgentPlan::default() }].into();
    let lived = life.at(Span::seconds(7), Happening::FactsAgain).at(Span::seconds(20), TERM).live();
    assert_eq!(lived.well("told twice"), STOPPED);
    assert_eq!(agents(&lived), 2);
}

#[test]
fn time_does_not_count_while_we_are_stopped_by_job_control() {
    let mut life = traced(policy());
    life.suspensions = [Span::seconds(1000)].into();
    let lived = life
        .at(Span::seconds(10), Happening::BuildBegins)
        .at(Span::seconds(20), TERM)
        .at(Span::seconds(30), Happening::Signal(libc::SIGTSTP))
        .at(Span::seconds(1060), Happening::BuildEnds)
        .live();
    assert_eq!(lived.well("suspended"), STOPPED);
    let terms = terms(&lived);
    assert!(terms.len() == 1 && terms[0] > 1_060_000, "the drain is not over when we come back: {terms:?}");
}

#[test]
fn a_late_refusal_of_a_closed_write_does_not_count() {
    // The mark's first write is lost; long after it was given up on, its answer comes three times.
    let mut life = traced(policy());
    life.fates = [
        Fate::Answered(Span(10), Span(10)),
        Fate::Answered(Span(10), Span(10)),
        Fate::Lost(None),
        Fate::Fails(FailureKind::Unavailable),
    ]
    .into();
    let late = (0..60).map(|at| (Span(20_000 + 200 * at), Happening::LateAnswers));
    life.happenings = late.collect();
    life.happenings.push((Span(1_000), TERM));
    let lived = life.live();
    assert_eq!(lived.well("late"), STOPPED);
}

#[test]
fn leftovers_are_counted_in_the_turn_that_asks() {
    let mut life = prompt();
    life.tracing = true;
    let lived = life.live();
    let world = lived.shared.lock();
    let counts: Vec<&String> = world.trace.iter().filter(|line| line.contains("leftovers of 2")).collect();
    let asked = |signal: LeftoverSignal| counts.iter().filter(|line| line.ends_with(&format!("{signal:?}"))).count();
    let all = [LeftoverSignal::Count, LeftoverSignal::Terminate, LeftoverSignal::Kill];
    assert_eq!(all.map(asked), [1, 1, 0], "{counts:#?}");
    let moments: std::collections::BTreeSet<&str> = counts.iter().map(|line| &line[..10]).collect();
    assert_eq!(moments.len(), 1, "{counts:#?}");
}
