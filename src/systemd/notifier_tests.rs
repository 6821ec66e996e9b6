use agent_wrap_supervisor::{
    AgentState, Cause, Desired, Goal, Mark, Moment, NodeView, OfflineReason, Owner, Phase, Span, Status,
};

use super::*;
use crate::telemetry::testing;

fn status(phase: Phase) -> Status<'static> {
    let agent = if phase == Phase::Running { AgentState::Alive } else { AgentState::Absent };
    Status { agent, ..testing::status(phase) }
}

fn scene(status: Status<'static>) -> Scene<'static> {
    Scene {
        status,
        words: "",
        started_suffices: false,
        start_timeout: Span::seconds(300),
        reloads: 0,
        reloading: false,
    }
}

fn view(marked: bool, connected: Option<bool>) -> &'static NodeView {
    let mark = marked.then(|| Mark { owner: Owner::Foreign, reason: "theirs".to_owned(), matches: false });
    Box::leak(Box::new(NodeView { mark, connected, idle: true, builds: Vec::new(), has_cli: true }))
}

fn connected() -> Scene<'static> {
    scene(Status { connected: true, believed: Some(view(false, Some(true))), ..status(Phase::Running) })
}

fn stopping() -> Scene<'static> {
    scene(Status { goal: Some(Goal::Exit(Cause::Stopped)), ..connected().status })
}

/// Everything that is told now, as datagrams with their lines in a row.
fn told(notifier: &mut Notifier, now: Moment, scene: &Scene<'_>) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(news) = notifier.news(now, scene) {
        all.push(news.datagram(|| now.0 * 1000).trim_end().replace('\n', " "));
        notifier.told(now, news);
        assert!(all.len() < 10, "it does not end: {all:?}");
    }
    all
}

fn ready() -> Notifier {
    let mut notifier = Notifier::new(None);
    assert_eq!(told(&mut notifier, Moment(0), &connected()), ["READY=1"]);
    notifier
}

const EXTEND: &str = "EXTEND_TIMEOUT_USEC=15000000";

#[test]
fn it_is_ready_once_the_controller_has_reported_the_agent_connected() {
    let seen = Some(view(false, Some(false)));
    let running = Status { believed: seen, ..status(Phase::Running) };
    let mut notifier = Notifier::new(None);
    for waiting in [status(Phase::Enabling), status(Phase::Starting), running] {
        assert!(!told(&mut notifier, Moment(0), &scene(waiting)).contains(&"READY=1".to_owned()), "{waiting:?}");
    }
    assert_eq!(told(&mut notifier, Moment(1), &connected()), ["READY=1"]);
    // Nor again, whatever becomes of it.
    for later in [running, status(Phase::BackingOff), status(Phase::Enabling), connected().status] {
        assert_eq!(told(&mut notifier, Moment(2), &scene(later)), [""; 0], "{later:?}");
    }
}

#[test]
fn a_marked_node_is_ready_when_its_channel_is_up_or_cannot_be_seen() {
    for (believed, ready) in [
        (Some(view(true, Some(false))), false),
        (Some(view(true, None)), true),
        // It has refused us and never shown the node: --if-refused=start.
        (None, true),
    ] {
        let scene = scene(Status { believed, ..status(Phase::Running) });
        assert_eq!(
            told(&mut Notifier::new(None), Moment(0), &scene).concat().contains("READY=1"),
            ready,
            "{believed:?}"
        );
    }
    let landed =
        Status { connected: true, phase: Phase::Landed, believed: Some(view(true, Some(true))), ..connected().status };
    assert_eq!(told(&mut Notifier::new(None), Moment(0), &scene(landed)), ["READY=1"]);
}

#[test]
fn without_a_controller_an_agent_that_runs_is_ready() {
    for started_suffices in [false, true] {
        let standalone = |phase| Scene { started_suffices, ..scene(Status { desired: None, ..status(phase) }) };
        let mut notifier = Notifier::new(None);
        assert_eq!(told(&mut notifier, Moment(0), &standalone(Phase::Starting)), [EXTEND]);
        assert_eq!(told(&mut notifier, Moment(0), &standalone(Phase::Running)), ["READY=1"]);
    }
}

#[test]
fn a_start_that_is_not_to_wait_for_the_controller_is_over_at_once() {
    let enabling = Scene { started_suffices: true, ..scene(status(Phase::Enabling)) };
    let mut notifier = Notifier::new(None);
    assert_eq!(over(&mut notifier, &enabling, Moment(0), Moment(60_000)), [(0, "READY=1".to_owned())]);
}

#[test]
fn an_agent_that_an_earlier_wrapper_has_left_is_not_what_is_waited_for() {
    let evicting = Status { phase: Phase::Evicting, agent: AgentState::Alive, ..status(Phase::Evicting) };
    for evicting in [evicting, Status { desired: None, ..evicting }] {
        assert_eq!(told(&mut Notifier::new(None), Moment(0), &scene(evicting)), [EXTEND]);
    }
}

#[test]
fn words_are_told_when_they_change() {
    let mut notifier = ready();
    let said = |words| Scene { words, ..connected() };
    assert_eq!(told(&mut notifier, Moment(0), &said("online")), ["STATUS=online"]);
    assert_eq!(told(&mut notifier, Moment(9), &said("online")), [""; 0]);
    assert_eq!(told(&mut notifier, Moment(9), &said("landed")), ["STATUS=landed"]);
    assert_eq!(notifier.deadline(), None, "nothing is to be done before something happens");
}

#[test]
fn a_stop_is_told_once_and_only_when_nothing_takes_it_back() {
    let mut notifier = ready();
    for goal in [Goal::Land, Goal::Restart] {
        let errand = scene(Status { phase: Phase::Draining, goal: Some(goal), ..connected().status });
        assert_eq!(told(&mut notifier, Moment(0), &errand), [""; 0], "{goal:?}");
    }
    assert_eq!(told(&mut notifier, Moment(0), &stopping()), [format!("STOPPING=1 {EXTEND}")]);
    assert_eq!(told(&mut notifier, Moment(0), &stopping()), [""; 0]);
    // A reload that is under way is no news any more.
    let reloading = Scene { reloads: 1, reloading: true, ..stopping() };
    assert_eq!(told(&mut notifier, Moment(0), &reloading), [""; 0]);
    assert_eq!(told(&mut notifier, Moment(0), &Scene { reloading: false, ..reloading }), [""; 0]);
}

#[test]
fn a_start_that_is_stopped_is_never_ready() {
    let mut notifier = Notifier::new(None);
    let stops = Status { connected: false, believed: None, ..stopping().status };
    assert_eq!(told(&mut notifier, Moment(0), &scene(stops)), [format!("STOPPING=1 {EXTEND}")]);
    assert_eq!(told(&mut notifier, Moment(1), &stopping()), [""; 0]);
}

#[test]
fn a_reload_is_told_with_the_time_of_its_begin_and_its_end() {
    let mut notifier = ready();
    let reloading = |reloads, reloading| Scene { reloads, reloading, ..connected() };
    let begin = told(&mut notifier, Moment(5), &reloading(1, true));
    assert_eq!(begin, ["RELOADING=1 MONOTONIC_USEC=5000"]);
    assert_eq!(told(&mut notifier, Moment(6), &reloading(1, true)), [""; 0]);
    // Another signal: what is read after it is another reading.
    let again = told(&mut notifier, Moment(7), &reloading(2, true));
    assert_eq!(again, ["RELOADING=1 MONOTONIC_USEC=7000"]);
    assert_eq!(told(&mut notifier, Moment(8), &reloading(2, false)), ["READY=1"]);
    assert_eq!(told(&mut notifier, Moment(9), &reloading(2, false)), [""; 0]);
}

/// Else the end of the reload would be the end of the start.
#[test]
fn a_reload_before_the_start_is_over_is_not_told() {
    let mut notifier = Notifier::new(None);
    let enabling = |reloading| Scene { reloads: 1, reloading, ..scene(status(Phase::Enabling)) };
    assert_eq!(told(&mut notifier, Moment(0), &enabling(true)), [EXTEND]);
    assert_eq!(told(&mut notifier, Moment(1), &enabling(false)), [""; 0]);
    let connected = |reloads, reloading| Scene { reloads, reloading, ..connected() };
    assert_eq!(told(&mut notifier, Moment(2), &connected(2, true)), ["READY=1"]);
    assert_eq!(told(&mut notifier, Moment(3), &connected(2, false)), [""; 0]);
    assert_eq!(told(&mut notifier, Moment(4), &connected(3, true)), ["RELOADING=1 MONOTONIC_USEC=4000"]);
}

#[test]
fn a_reload_that_could_not_be_told_while_it_lasted_is_told_afterwards() {
    let mut notifier = ready();
    let reloading = |reloading| Scene { reloads: 1, reloading, ..connected() };
    assert!(notifier.news(Moment(0), &reloading(true)).is_some());
    notifier.postponed(Moment(0));
    assert_eq!(notifier.deadline(), Some(Moment(250)));
    assert_eq!(told(&mut notifier, Moment(249), &reloading(false)), [""; 0]);
    let late = told(&mut notifier, Moment(250), &reloading(false));
    assert_eq!(late, ["RELOADING=1 MONOTONIC_USEC=250000", "READY=1"]);
    assert_eq!(notifier.deadline(), None);
}

#[test]
fn what_was_postponed_and_is_no_news_any_more_wakes_nobody() {
    let mut notifier = ready();
    assert!(notifier.news(Moment(0), &Scene { words: "online", ..connected() }).is_some());
    notifier.postponed(Moment(0));
    assert_eq!(told(&mut notifier, Moment(300), &connected()), [""; 0]);
    assert_eq!(notifier.deadline(), None);
}

#[test]
fn a_sign_of_life_comes_twice_in_the_time_for_it() {
    let mut notifier = Notifier::new(Some(Span::seconds(10)));
    let mut now = Moment(0);
    assert_eq!(told(&mut notifier, now, &connected()), ["READY=1 WATCHDOG=1"]);
    for _ in 0..5 {
        let next = notifier.deadline().unwrap();
        assert_eq!(next.since(now), Span::seconds(5));
        assert_eq!(told(&mut notifier, Moment(next.0 - 1), &connected()), [""; 0]);
        now = next;
        assert_eq!(told(&mut notifier, now, &connected()), ["WATCHDOG=1"]);
    }
    // Not only when something else is told, and in every phase.
    now = notifier.deadline().unwrap();
    assert_eq!(told(&mut notifier, now, &stopping()), [format!("STOPPING=1 {EXTEND} WATCHDOG=1")]);
}

/// What is told over so long when nobody but the notifier wakes up: when, and what.
fn over(notifier: &mut Notifier, scene: &Scene<'_>, from: Moment, until: Moment) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    let mut now = from;
    loop {
        all.extend(told(notifier, now, scene).into_iter().map(|line| (now.0 / 1000, line)));
        match notifier.deadline().filter(|next| *next <= until) {
            Some(next) => {
                assert!(next > now, "it spins: {all:?}");
                now = next;
            }
            None => return all,
        }
    }
}

#[test]
fn more_time_is_asked_for_while_the_controller_is_waited_for() {
    let mut notifier = Notifier::new(None);
    let all = over(&mut notifier, &scene(status(Phase::Enabling)), Moment(0), Moment(3_600_000));
    assert_eq!(all.len(), 721, "the supervisor itself ends this wait");
    assert!(all.iter().enumerate().all(|(at, (second, line))| *second == 5 * at as u64 && line == EXTEND), "{all:?}");
    assert_eq!(told(&mut notifier, Moment(3_600_001), &connected()), ["READY=1"]);
    assert_eq!(notifier.deadline(), None);
}

#[test]
fn an_agent_that_does_not_connect_is_waited_for_as_long_as_the_controller() {
    let running = || Status { believed: Some(view(false, Some(false))), ..status(Phase::Running) };
    let until = Moment(3_600_000);
    let last = |scene: Scene<'_>| over(&mut Notifier::new(None), &scene, Moment(0), until).last().cloned().unwrap();
    assert_eq!(last(scene(running())), (295, EXTEND.to_owned()));
    assert_eq!(last(Scene { start_timeout: Span::ZERO, ..scene(running()) }), (3600, EXTEND.to_owned()));
}

#[test]
fn an_agent_that_fails_is_not_waited_for() {
    let mut notifier = Notifier::new(None);
    assert_eq!(told(&mut notifier, Moment(0), &scene(status(Phase::Starting))), [EXTEND]);
    for phase in [Phase::BackingOff, Phase::Enabling, Phase::Starting] {
        let failing = scene(Status { failures: 1, ..status(phase) });
        assert_eq!(over(&mut notifier, &failing, Moment(1000), Moment(60_000)), [], "{phase:?}");
    }
    // What the controller is to blame for is no failure.
    let excused = over(&mut notifier, &scene(status(Phase::BackingOff)), Moment(60_000), Moment(69_000));
    assert_eq!(excused, [(60, EXTEND.to_owned()), (65, EXTEND.to_owned())]);
}

#[test]
fn more_time_is_asked_for_while_stopping_and_not_after_it() {
    for phase in [Phase::Marking, Phase::Draining, Phase::Terminating, Phase::Killing, Phase::Sweeping, Phase::Closing]
    {
        let mut notifier = ready();
        let goal = Some(Goal::Exit(Cause::Stopped));
        let reason = Box::leak(Box::new(Desired::Offline(OfflineReason::Stopping)));
        let stops = scene(Status { phase, goal, desired: Some(reason), ..connected().status });
        let all = over(&mut notifier, &stops, Moment(0), Moment(11_000));
        let first = format!("STOPPING=1 {EXTEND}");
        assert_eq!(all, [(0, first), (5, EXTEND.to_owned()), (10, EXTEND.to_owned())], "{phase:?}");
        let finished = scene(Status { phase: Phase::Finished, ..stops.status });
        assert_eq!(over(&mut notifier, &finished, Moment(15_000), Moment(60_000)), []);
    }
}

/// The last extension of the start may be some seconds old when a stop begins.
#[test]
fn a_stop_asks_for_its_own_time_at_once() {
    let mut notifier = Notifier::new(None);
    assert_eq!(told(&mut notifier, Moment(0), &scene(status(Phase::Enabling))), [EXTEND]);
    let stops = Status { goal: Some(Goal::Exit(Cause::Stopped)), ..status(Phase::Marking) };
    assert_eq!(told(&mut notifier, Moment(1), &scene(stops)), [format!("STOPPING=1 {EXTEND}")]);
}
