//! Random lives: every partner misbehaves, everything happens at any point, and the promise is looked at throughout.
//!
//! `DRIVER_LIVES=n` sets their number, `DRIVER_SEED=n` replays one and prints its trace.

use agent_wrap_supervisor::{
    Backoff, Ending, Exit, FailureKind, IfRefused, Leftovers, Mark, NodePolicy, OfflinePolicy, OnlineMethod,
    OnlinePolicy, Owner, Policy, RestartMode, Span, TakeOver,
};
use nix::libc;

use super::agent::AgentPlan;
use super::controller::{Controller, mark_of};
use super::life::{Life, Lived, SIGNALS};
use super::paper::Sheet;
use super::partners::no_secret;
use super::random::Random;
use super::world::{Chaos, Happening, STOP_NOW};

const LIVES: u64 = 4000;

fn policy(random: &mut Random) -> Policy {
    let node = NodePolicy {
        online: random.pick(&[
            OnlinePolicy::Always,
            OnlinePolicy::Always,
            OnlinePolicy::Own,
            OnlinePolicy::Match,
            OnlinePolicy::Never,
        ]),
        offline: if random.percent(85) { OfflinePolicy::Always } else { OfflinePolicy::Never },
        online_method: random.pick(&[OnlineMethod::Auto, OnlineMethod::Auto, OnlineMethod::Cli, OnlineMethod::Toggle]),
        if_refused: random.pick(&[IfRefused::Exit, IfRefused::Start]),
        start_timeout: random.pick(&[Span::ZERO, Span::seconds(30), Span::seconds(300)]),
        offline_timeout: random.pick(&[Span::ZERO, Span::seconds(1), Span::seconds(10), Span::seconds(60)]),
        request_timeout: random.pick(&[Span::seconds(2), Span::seconds(10), Span::seconds(30)]),
        poll: random.pick(&[Span::seconds(10), Span::seconds(60)]),
        disconnect_timeout: random.pick(&[Span::seconds(20), Span::seconds(60), Span::seconds(300)]),
        patient_after: NodePolicy::default().patient_after,
        unclean: random.percent(10),
        marked_before: random.percent(20),
        connected_before: random.percent(30),
        takeover: random.pick(&[TakeOver::Auto, TakeOver::Auto, TakeOver::Never]),
        hold: random.percent(10).then(|| "a new disk".to_owned()),
    };
    Policy {
        node: random.percent(95).then_some(node),
        restart: random.pick(&[RestartMode::Always, RestartMode::Always, RestartMode::OnFailure, RestartMode::No]),
        backoff: Backoff {
            forget_after: random.pick(&[Span::seconds(60), Span::seconds(600)]),
            slow_after: random.pick(&[1, 3, 10]),
            limit: random.pick(&[None, None, Some(1), Some(4)]),
            ..Backoff::default()
        },
        drain: random.pick(&[Span::ZERO, Span::seconds(5), Span::seconds(60)]),
        drain_warn: random.pick(&[Span::ZERO, Span::seconds(3)]),
        grace: random.pick(&[Span::ZERO, Span::seconds(2), Span::seconds(30)]),
        leftovers: random.pick(&[Leftovers::Kill, Leftovers::Leave]),
        terminal: random.percent(50),
        survivor: false,
        seed: random.next(),
    }
}

fn any_mark(random: &mut Random) -> Option<Mark> {
    let owner = random.pick(&[None, None, Some(Owner::Foreign), Some(Owner::EarlierRun), Some(Owner::Monitor)]);
    owner.map(|owner| mark_of(owner, random.pick(&["nightly reboot", "broken disk"])))
}

fn controller(random: &mut Random) -> Controller {
    let mut controller = Controller {
        old_persistence: random.percent(30),
        hides_channel: random.percent(20),
        has_cli: random.percent(70),
        has_change_cause: random.percent(80),
        ..Controller::default()
    };
    controller.set(any_mark(random));
    controller
}

/// What may happen, and what takes it back.
fn disturbance(random: &mut Random) -> (Happening, Option<Happening>) {
    let harmless: Vec<i32> = SIGNALS[3..].to_vec();
    match random.below(17) {
        15 => (Happening::Hold(random.percent(60).then(|| "a new disk".to_owned())), Some(Happening::Hold(None))),
        16 => (Happening::LosesChannel, None),
        0..=3 => (Happening::Signal(random.pick(&harmless)), None),
        4 => (Happening::Interferes(any_mark(random)), None),
        5 => (Happening::GoesDown, Some(Happening::ComesUp)),
        6 => {
            let kind = random.pick(&[FailureKind::Unauthenticated, FailureKind::NoSuchNode, FailureKind::Unavailable]);
            (Happening::RefusesReads(Some(kind)), Some(Happening::RefusesReads(None)))
        }
        7 => (Happening::RefusesWrites(Some(FailureKind::Forbidden)), Some(Happening::RefusesWrites(None))),
        8 => (Happening::BuildBegins, Some(Happening::BuildEnds)),
        9 => (Happening::AgentEnds(random.pick(&[Exit::Code(0), Exit::Code(1), Exit::Signal(11)])), None),
        10 => (Happening::Jump(random.span(Span::seconds(100))), None),
        11 => (Happening::LateAnswers, None),
        12 => (Happening::FactsAgain, None),
        13 => {
            let kind = random.pick(&[FailureKind::Forbidden, FailureKind::Forbidden, FailureKind::Unavailable]);
            (Happening::RefusesSecrets(Some(kind)), Some(Happening::RefusesSecrets(None)))
        }
        _ => (Happening::Answers, None),
    }
}

fn stop(random: &mut Random) -> Happening {
    Happening::Signal(random.pick(&[libc::SIGTERM, libc::SIGINT, libc::SIGINT, STOP_NOW]))
}

/// A life, by its seed alone.
fn life(seed: u64, tracing: bool) -> Life {
    let mut random = Random::new(seed);
    let policy = policy(&mut random);
    let sheet = Sheet { agent_writes: seed.is_multiple_of(2), ..Sheet::default() };
    let paper = Some(sheet).filter(|_| !seed.is_multiple_of(3));
    let mut life = Life { controller: controller(&mut random), tracing, paper, ..Life::new(policy) };
    life.survivor = random.percent(10).then(|| AgentPlan::random(&mut random));
    let stop_at = random.span(Span::seconds(300));
    if random.percent(10) {
        life = life.at(Span::ZERO, Happening::RefusesSecrets(Some(FailureKind::Unauthenticated)));
    }
    for _ in 0..random.below(8) {
        let (happening, back) = disturbance(&mut random);
        let at = random.span(stop_at.plus(Span::seconds(30)));
        life = life.at(at, happening);
        if let Some(back) = back {
            life = life.at(at.plus(random.span(Span::seconds(60))), back);
        }
    }
    for _ in 0..random.below(6) {
        let (happening, _) = disturbance(&mut random);
        life.at_points.insert(random.below(400), happening);
    }
    if random.percent(30) {
        life.at_points.insert(random.below(200), stop(&mut random));
    }
    let mut at = stop_at;
    for _ in 0..=random.below(3) {
        life = life.at(at, stop(&mut random));
        at = at.plus(random.span(Span::seconds(20)));
    }
    life.manager = random.percent(50).then(|| random.percent(50).then_some(Span::seconds(20)));
    life.manager_full = random.pick(&[0, 0, 3, 30]);
    life.suspensions = (0..10).map(|_| random.span(Span::seconds(600))).collect();
    let (bad_requests, bad_agents) = (random.pick(&[0, 10, 40, 90]), random.pick(&[0, 20, 60]));
    life.chaos = Some(Chaos { random, bad_requests, bad_agents });
    life
}

fn violation(lived: &Lived) -> Option<String> {
    lived.shared.lock().violation.clone()
}

#[test]
fn random_lives_keep_the_promise() {
    if let Some(seed) = std::env::var("DRIVER_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let lived = life(seed, true).live();
        println!("{}", lived.shared.lock().story());
        lived.well(&format!("seed {seed}"));
        return;
    }
    let lives = std::env::var("DRIVER_LIVES").ok().and_then(|lives| lives.parse().ok()).unwrap_or(LIVES);
    let (mut points, mut readings, mut refused, mut bad) =
        (0, 0, 0, std::collections::BTreeMap::<String, Vec<u64>>::new());
    for seed in 0..lives {
        let lived = life(seed, false).live();
        points += lived.shared.lock().points;
        readings += lived.shared.lock().books.reloads.readings;
        refused +=
            u64::from(matches!(&lived.ending, Some(Ending::Refused(failure)) if *failure == no_secret(failure.kind)));
        if let Some(violation) = violation(&lived) {
            bad.entry(violation).or_default().push(seed);
        }
    }
    println!("{lives} lives, {points} points, {readings} readings of settings, {refused} ends for a secret");
    let Some((_, seeds)) = bad.first_key_value() else {
        assert!(lives < LIVES || (readings > 100 && refused > 0), "these lives are too quiet");
        return;
    };
    let first = life(seeds[0], true).live();
    let story = first.shared.lock().story();
    panic!("violated (DRIVER_SEED=n replays): {bad:#?}\nthe first, seed {}:\n{story}", seeds[0]);
}
