//! What a person sees, phase by phase.

use agent_wrap_supervisor::{
    AgentState, Build, Cause, Exit, Failure, FailureKind, Generation, Note, RequestNumber, Rest, StopSource,
};

use super::*;
use crate::telemetry::testing::status;

const STOP: Goal = Goal::Exit(Cause::Stopped);

fn view(connected: bool, builds: &[Build]) -> NodeView {
    let idle = builds.is_empty();
    NodeView { mark: None, connected: Some(connected), idle, builds: builds.to_vec(), has_cli: true }
}

fn words(standing: &Standing, second: u64, status: &Status<'_>) -> Option<(String, bool)> {
    let picture = standing.picture(Moment(second * 1000), status, None)?;
    Some((picture.words, picture.counts))
}

fn failing() -> Note {
    let failure = Failure::new(FailureKind::Unavailable, "http://me:hush@ci/ hangs\n");
    Note::Waiting { failure, retry: Span(1) }
}

#[test]
fn while_all_is_well_there_is_nothing_to_see() {
    let (standing, seen) = (Standing::default(), view(true, &[]));
    let running = Status { believed: Some(&seen), connected: true, ..status(Phase::Running) };
    assert_eq!(words(&standing, 9, &running), None);
    let standalone = Status { desired: None, ..status(Phase::Running) };
    for status in [standalone, status(Phase::Landed), status(Phase::Finished)] {
        assert_eq!(words(&standing, 9, &status), None, "{:?}", status.phase);
    }
}

#[test]
fn a_controller_is_waited_for_since_and_until() {
    let mut standing = Standing::default();
    standing.hear(Moment(10_000), &failing());
    standing.hear(Moment(15_000), &failing());
    let enabling = status(Phase::Enabling);
    for (awaiting, next) in [
        (Some((Moment(75_200), Deadline::RetryRequest)), ", asking again in 6 s"),
        (Some((Moment(71_000), Deadline::StartTimeout)), ", giving up in 1 s"),
        (Some((Moment(75_000), Deadline::NextLook)), ""),
        (None, ""),
    ] {
        let (text, counts) = words(&standing, 70, &Status { awaiting, ..enabling }).unwrap();
        let expected = format!("waiting for the controller for 60 s{next}: http://********@ci/ hangs\\n");
        assert_eq!((text, counts), (expected, true));
    }
    let asking = Status { in_flight: Some(RequestNumber(3)), ..enabling };
    let (text, _) = words(&standing, 70, &asking).unwrap();
    assert!(text.starts_with("waiting for the controller for 60 s, asking now: "), "{text}");
    let (text, _) = words(&standing, 70, &status(Phase::Running)).unwrap();
    assert!(text.starts_with("the agent runs, waiting for the controller for 60 s: "), "{text}");
    let marking = Status { goal: Some(STOP), ..status(Phase::Marking) };
    let (text, _) =
        words(&standing, 70, &Status { awaiting: Some((Moment(74_000), Deadline::OfflineTimeout)), ..marking })
            .unwrap();
    assert!(text.starts_with("stopping, not marked yet, going on without in 4 s: "), "{text}");
    standing.hear(Moment(80_000), &Note::Answering);
    assert_eq!(words(&standing, 80, &enabling), Some(("asking the controller for the node".to_owned(), false)));
}

#[test]
fn what_does_not_pass_by_waiting_stands_where_it_is_not_cut_off() {
    let mut standing = Standing::default();
    let failure = Failure::new(FailureKind::Unauthenticated, "http://ci/ says 401");
    standing.hear(Moment(0), &Note::Waiting { failure, retry: Span(1) });
    let (text, _) = words(&standing, 2, &status(Phase::Enabling)).unwrap();
    assert_eq!(text, "the controller refuses the credentials (401) for 2 s: http://ci/ says 401");
}

#[test]
fn an_agent_that_does_not_connect_is_counted() {
    let (mut standing, seen) = (Standing::default(), view(false, &[]));
    standing.hear(Moment(1_000), &Note::AgentStarted { generation: Generation(1), pid: 7 });
    let running = Status { believed: Some(&seen), ..status(Phase::Running) };
    assert_eq!(words(&standing, 8, &running), Some(("the agent is not connected yet, after 7 s".to_owned(), true)));
}

#[test]
fn what_ends_by_itself_counts_down_and_stands_still_while_we_are_away() {
    let mut standing = Standing::default();
    let exit = Exit::Code(7);
    standing.hear(Moment(0), &Note::AgentExited { generation: Generation(1), exit, asked: false, connected: false });
    standing.hear(Moment(1_000), &Note::RestartPlanned { delay: Span::seconds(8), failures: 3 });
    let pausing = Status { failures: 3, agent: AgentState::Exited(exit), ..status(Phase::BackingOff) };
    let left = |standing: &Standing, second| words(standing, second, &pausing).unwrap().0;
    let failed = "the agent exited with code 7, failed 3 times in a row; it is started again in";
    assert_eq!(left(&standing, 1), format!("{failed} 8 s"));
    assert_eq!(left(&standing, 20), format!("{failed} 0 s"));
    standing.away(Span::seconds(100));
    assert_eq!(left(&standing, 105), format!("{failed} 4 s"));

    standing.hear(Moment(1_000), &Note::Terminating { grace: Span::seconds(30) });
    let terminating = Status { goal: Some(STOP), ..status(Phase::Terminating) };
    let words = words(&standing, 11, &terminating);
    assert_eq!(words, Some(("stopping, the agent has 20 s to end".to_owned(), true)));
}

#[test]
fn a_drain_says_how_far_the_builds_are() {
    let builds = [
        Build { name: Some("app #7".to_owned()), progress: Some(43), ..Build::default() },
        Build { name: Some("漢 #1\u{1b}[2J".to_owned()), ..Build::default() },
    ];
    let (mut standing, seen) = (Standing::default(), view(true, &builds));
    standing.hear(Moment(0), &Note::Draining { builds: builds.to_vec(), left: Some(Span::seconds(200)) });
    let draining = Status { believed: Some(&seen), goal: Some(STOP), ..status(Phase::Draining) };
    let text = "draining 2 builds (43%), 2m 40s left: app #7, 漢 #1\\u001b[2J".to_owned();
    assert_eq!(words(&standing, 40, &draining), Some((text, true)));
    let lands = Status { goal: Some(Goal::Land), ..draining };
    assert!(words(&standing, 40, &lands).unwrap().0.starts_with("landing, draining 2 builds (43%), 2m 40s left: "));
    let many = view(true, &[12, 34, 56, 78, 90].map(|percent| Build { progress: Some(percent), ..Build::default() }));
    let text = words(&standing, 40, &Status { believed: Some(&many), ..draining }).unwrap().0;
    assert_eq!(text, "draining 5 builds (12%, 34%, 56%, 78%, …), 2m 40s left");
    let timed = |running_for, rest| Build {
        running_for: Some(Span::seconds(running_for)),
        rest: Some(rest),
        ..builds[0].clone()
    };
    let seen = view(true, &[timed(400, Rest::Overdue(Span::seconds(120))), timed(130, Rest::Left(Span::seconds(240)))]);
    let text = words(&standing, 40, &Status { believed: Some(&seen), ..draining }).unwrap().0;
    let names = "app #7 (running for 6m, overdue by 2m), app #7 (running for 2m, about 4m left)";
    assert_eq!(text, format!("draining 2 builds (43%, 43%), 2m 40s left: {names}"));
    let idle = view(true, &[]);
    let drained = Status { believed: Some(&idle), ..draining };
    assert_eq!(words(&standing, 40, &drained), Some(("draining: no build runs any more".to_owned(), false)));
}

#[test]
fn the_key_stands_where_it_is_not_cut_off() {
    let builds = [Build { name: Some("app #7".to_owned()), ..Build::default() }];
    let (mut standing, mut keys, seen) = (Standing::default(), Keys::default(), view(true, &builds));
    let stopping = Note::Stopping { source: StopSource::Interrupt, agent: true };
    keys.hear(&stopping);
    standing.hear(Moment(0), &Note::Draining { builds: builds.to_vec(), left: None });
    let draining = Status { believed: Some(&seen), goal: Some(STOP), ..status(Phase::Draining) };
    let picture = standing.picture(Moment(0), &draining, Some((keys, true))).unwrap();
    assert_eq!(picture.words, "draining 1 build (Ctrl-C again to stop now): app #7");
    assert!(!picture.counts, "without a limit nothing goes on");
    let marking = Status { goal: Some(STOP), ..status(Phase::Marking) };
    let picture = standing.picture(Moment(0), &marking, Some((keys, true))).unwrap();
    assert_eq!(picture.words, "stopping, marking the node offline (Ctrl-C again not to wait for builds)");
}
