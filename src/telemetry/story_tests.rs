//! What people read of a life.

use agent_wrap_supervisor::{
    Build, Effect, Ending, Exit, Generation, LiftMethod, Mark, MarkMethod, Moment, Note, OnlinePolicy, Owner, Request,
    Span, StopSource,
};

use super::format::Level;
use super::story::Story;
use super::words::quoted;

fn at(millis: u64) -> Moment {
    Moment::default() + Span(millis)
}

fn texts(story: &mut Story, notes: &[(u64, Note)]) -> Vec<String> {
    notes.iter().map(|(millis, note)| story.line(at(*millis), note).text).collect()
}

fn interrupted_drain() -> Vec<(u64, Note)> {
    let builds = vec![Build { name: Some("app #7".to_owned()), progress: Some(40), ..Build::default() }];
    vec![
        (1_000, Note::Stopping { source: StopSource::Interrupt, agent: true }),
        (1_040, Note::Marked),
        (1_040, Note::Draining { builds: builds.clone(), left: Some(Span(300_000)) }),
        (2_000, Note::DrainCut { builds, timeout: false }),
        (2_000, Note::Terminating { grace: Span(30_000) }),
        (2_100, Note::RequestTaken { request: Request::Stop(StopSource::Interrupt), effect: Effect::Already }),
        (3_000, Note::RequestTaken { request: Request::Stop(StopSource::Interrupt), effect: Effect::Killed }),
        (3_000, Note::Killing),
    ]
}

#[test]
fn at_a_terminal_it_says_what_another_interrupt_does() {
    let mut story = Story::new("n", at(0)).at_keyboard(true);
    let texts = texts(&mut story, &interrupted_drain());
    assert_eq!(
        texts,
        [
            "stopping: stop (Ctrl-C)",
            "the node is marked offline, confirmed after 40 ms",
            "draining: waiting up to 5m for 1 build: app #7 (40%) (Ctrl-C again to cut it off)",
            "not waiting any longer; cut off: 1 build: app #7 (40%)",
            "asking the agent to end (TERM); it has 30 s (Ctrl-C twice kills it)",
            "already stopping (the third Ctrl-C kills the agent)",
            "stop (Ctrl-C): ending at once",
            "killing the agent",
        ]
    );
}

#[test]
fn nobody_is_told_that_a_key_kills_an_agent_that_is_not_there() {
    let request = Request::Stop(StopSource::Interrupt);
    let generation = Generation(1);
    let taken = |effect| (2_000, Note::RequestTaken { request, effect });
    let stopping = |agent| (1_000, Note::Stopping { source: StopSource::Interrupt, agent });
    let exited = (1_500, Note::AgentExited { generation, exit: Exit::Code(143), asked: true, connected: true });
    for (notes, words) in [
        (
            vec![stopping(false), taken(Effect::DrainSkipped)],
            "stop (Ctrl-C): no agent runs, there is nothing to cut off (the third Ctrl-C ends at once)",
        ),
        (
            vec![(0, Note::AgentStarting { generation }), stopping(true), exited, taken(Effect::Already)],
            "already stopping (the third Ctrl-C ends at once)",
        ),
        (
            vec![(0, Note::AgentStarting { generation }), stopping(true), taken(Effect::DrainSkipped)],
            "stop (Ctrl-C): builds will not be waited for",
        ),
    ] {
        let mut story = Story::new("n", at(0)).at_keyboard(true);
        assert_eq!(texts(&mut story, &notes).last().map(String::as_str), Some(words));
    }
}

#[test]
fn a_person_who_has_cut_a_drain_is_told_of_the_next_key() {
    let mut story = Story::new("n", at(0)).at_keyboard(true);
    let mut notes = interrupted_drain();
    let request = Request::Stop(StopSource::Interrupt);
    notes.insert(3, (2_000, Note::RequestTaken { request, effect: Effect::DrainSkipped }));
    let texts = texts(&mut story, &notes[..6]);
    assert_eq!(texts[5], "asking the agent to end (TERM); it has 30 s (Ctrl-C once more kills it)");
    // Who lets an interrupt mean something else is not told of it.
    let mut story = Story::new("n", at(0)).at_keyboard(true);
    story.interrupt_stops(false);
    assert!(!self::texts(&mut story, &notes).iter().any(|text| text.contains("Ctrl-C again")));
}

#[test]
fn the_drain_of_a_stop_says_the_key_whatever_came_before() {
    let builds = || vec![Build { name: Some("app #7".to_owned()), ..Build::default() }];
    let draining = |at| (at, Note::Draining { builds: builds(), left: None });
    let stopping = |source| (1_000, Note::Stopping { source, agent: true });
    for (source, hint) in [
        (StopSource::Interrupt, " (Ctrl-C again to cut it off)"),
        (StopSource::Terminate, " (Ctrl-C twice to cut it off)"),
    ] {
        let mut story = Story::new("n", at(0)).at_keyboard(true);
        let texts = texts(&mut story, &[draining(0), stopping(source), draining(1_040)]);
        assert_eq!(texts[0], "draining: waiting for 1 build: app #7", "a landing");
        assert_eq!(texts[2], format!("draining: waiting for 1 build: app #7{hint}"));
        assert!(story.progress_line(at(61_040), &builds()).text.ends_with(hint));
    }
}

#[test]
fn an_agent_that_could_not_write_has_lost_its_reader_and_its_builds() {
    let generation = Generation(1);
    let exited = |exit| Note::AgentExited { generation, exit, asked: false, connected: false };
    let draining = Note::Draining { builds: vec![Build::default()], left: None };
    let stopping = Note::Stopping { source: StopSource::Interrupt, agent: true };
    let notes = [(0, exited(Exit::Code(141))), (0, stopping), (0, draining), (0, exited(Exit::Signal(13)))];
    let texts = texts(&mut Story::new("n", at(0)), &notes);
    let gone =
        ": whoever read its output has gone, as after Ctrl-C the tee of `2>&1 | tee log` has (`tee -i` would stay)";
    assert_eq!(texts[0], format!("the agent exited with code 141 after 0 s{gone}"));
    let cut = "; the builds that it ran are cut off with it";
    assert_eq!(texts[3], format!("the agent was killed by SIGPIPE after 0 s{gone}{cut}"));
}

#[test]
fn a_drain_goes_on_in_lines_of_its_own() {
    let mut story = Story::new("n", at(0)).at_keyboard(true);
    for (millis, note) in &interrupted_drain()[..3] {
        story.tell(at(*millis), note);
    }
    let builds = [Build { name: Some("app #7".to_owned()), progress: Some(60), ..Build::default() }];
    let line = story.progress_line(at(61_040), &builds);
    let words = "draining: waiting up to 4m more for 1 build: app #7 (60%) (Ctrl-C again to cut it off)";
    assert_eq!((line.event, line.text.as_str()), ("drain_progress", words));
}

#[test]
fn without_a_terminal_nobody_is_told_of_keys() {
    let mut story = Story::new("n", at(0));
    let texts = texts(&mut story, &interrupted_drain());
    assert!(!texts.iter().any(|text| text.contains("again to cut") || text.contains("third")), "{texts:#?}");
}

#[test]
fn a_reason_is_quoted_without_the_marker_and_on_one_line() {
    assert_eq!(quoted("agent stops on h: SIGTERM [agent-wrap h 00c0ffee.4]"), "\"agent stops on h: SIGTERM\"");
    assert_eq!(quoted("see [agent-wrap docs] first\nthen call"), "\"see [agent-wrap docs] first then call\"");
    assert_eq!(quoted(""), "no reason given");
    assert_eq!(quoted(&"x".repeat(300)).chars().count(), 203);
}

#[test]
fn a_mark_that_is_left_has_its_true_cause() {
    let mark = |owner| Mark { owner, reason: "r".to_owned(), matches: false };
    let left = |story: &mut Story, owner| {
        let text = story.line(at(0), &Note::MarkLeft { mark: mark(owner) }).text;
        let (_, words) = text.split_once("(\"r\"): ").unwrap();
        words.strip_suffix("; the agent is started and gets no builds").unwrap().to_owned()
    };
    let story = || Story::new("n", at(0));
    let with = |online| {
        let mut story = story();
        story.online(online);
        story
    };
    for policy in [OnlinePolicy::Always, OnlinePolicy::Own, OnlinePolicy::Match, OnlinePolicy::Never] {
        assert!(left(&mut with(policy), Owner::Monitor).starts_with("no --online lifts that"));
    }
    assert_eq!(left(&mut with(OnlinePolicy::Own), Owner::Foreign), "--online says so");
    assert_eq!(left(&mut with(OnlinePolicy::Never), Owner::EarlierRun), "--online says so");
    assert_eq!(left(&mut with(OnlinePolicy::Match), Owner::Foreign), "its reason does not match --online");
    let mut crashed = story().after_unclean_end(true);
    assert!(left(&mut crashed, Owner::Foreign).starts_with("the run before did not end by a stop"));
    texts(&mut crashed, &[(0, Note::AgentStarting { generation: Generation(1) })]);
    assert_eq!(left(&mut crashed, Owner::Foreign), "only our own marks are lifted when the agent is started again");
    let found = crashed.line(at(0), &Note::ForeignMark(mark(Owner::Monitor))).text;
    assert!(found.ends_with("it goes when the monitor finds the node well again"), "{found}");
}

#[test]
fn one_failure_is_no_row() {
    let mut story = Story::new("", at(0));
    let notes = [1, 2].map(|failures| (0, Note::GivingUp { failures }));
    assert_eq!(
        texts(&mut story, &notes),
        ["once", "2 times in a row"]
            .map(|times| format!("the agent failed {times}: giving up, as --restart-limit says"))
    );
}

#[test]
fn an_agent_that_never_connected_is_told_apart() {
    let mut story = Story::new("n", at(0));
    let exited =
        |connected| Note::AgentExited { generation: Generation(1), exit: Exit::Code(3), asked: false, connected };
    let texts = texts(
        &mut story,
        &[(0, Note::AgentStarting { generation: Generation(1) }), (6, exited(false)), (7, exited(true))],
    );
    assert_eq!(
        texts[1],
        "the agent exited with code 3 after 6 ms, never seen connected; its own output above may say why"
    );
    assert_eq!(texts[2], "the agent exited with code 3 after 7 ms");
}

#[test]
fn a_term_of_somebody_else_in_a_stop_is_told_apart() {
    let generation = Generation(1);
    let exited = |exit, asked| Note::AgentExited { generation, exit, asked, connected: true };
    let term = || exited(Exit::Code(143), false);
    let mut story = Story::new("n", at(0));
    let stopping = Note::Stopping { source: StopSource::Terminate, agent: true };
    let notes = [
        (0, Note::AgentStarting { generation }),
        (1, term()),
        (2, stopping),
        (3, term()),
        (4, exited(Exit::Signal(15), false)),
        (5, exited(Exit::Code(1), false)),
        (6, exited(Exit::Code(143), true)),
    ];
    let texts = texts(&mut story, &notes);
    let told: Vec<bool> = texts.iter().map(|text| text.contains("; somebody else has sent it a TERM: ")).collect();
    assert_eq!(told, [false, false, false, true, true, false, false], "{texts:?}");
}

#[test]
fn who_gives_up_says_how_the_agent_ended() {
    let mut story = Story::new("n", at(0));
    let exit = Exit::Code(7);
    story.tell(at(0), &Note::AgentExited { generation: Generation(1), exit, asked: false, connected: false });
    let words = story.end(at(1), &Ending::GaveUp, 71);
    assert_eq!(words, "gave up: the agent exited with code 7; exit code 71");
}

#[test]
fn a_mark_that_is_wished_is_no_surprise_when_the_agent_connects() {
    let connected = |marked, wished| {
        let mut story = Story::new("n", at(0));
        let line = story.line(at(7), &Note::AgentConnected { marked, wished });
        (line.level, line.text)
    };
    let after = |rest| format!("the agent is connected after 7 ms{rest}");
    assert_eq!(connected(false, false), (Level::Info, after(" and takes builds")));
    assert_eq!(connected(true, false), (Level::Warn, after(", but its node is marked offline")));
    assert_eq!(connected(true, true), (Level::Info, after("; its node stays marked offline")));
    assert_eq!(connected(false, true), (Level::Info, after("")), "it is about to be marked");
}

#[test]
fn a_lift_takes_as_long_as_since_it_began() {
    let mark = Mark { owner: Owner::ThisRun, reason: "r".to_owned(), matches: false };
    let lifting = || Note::Lifting { mark: mark.clone(), method: LiftMethod::Toggle };
    let notes = [
        (5_000, lifting()),
        (5_028, Note::Lifted),
        (9_000, Note::StrayMark(mark.clone())),
        // Tried again after a failure: the time goes on.
        (10_000, lifting()),
        (10_500, Note::Lifted),
        (20_000, lifting()),
        (21_000, Note::Marking { method: MarkMethod::Toggle }),
        (30_000, lifting()),
        (30_007, Note::Lifted),
        (40_000, Note::Lifted),
    ];
    let texts = texts(&mut Story::new("n", at(0)), &notes);
    let lifted: Vec<&String> = texts.iter().filter(|text| text.starts_with("the mark is lifted")).collect();
    let words = ["the mark is lifted after 28 ms", "the mark is lifted after 1.5 s", "the mark is lifted after 7 ms"];
    assert_eq!(lifted, [words.as_slice(), &["the mark is lifted"]].concat().iter().collect::<Vec<_>>());
}

#[test]
fn why_the_kernel_has_stopped_the_agent_is_explained_once() {
    let mut story = Story::new("n", at(0));
    let mut tell = |signal, why| {
        let line = story.suspended_line(signal, why, "do this");
        (line.level, line.text)
    };
    let offline = "; if it stays so, the controller will call it offline; do this";
    let reads = Some("because it reads");
    let read = format!("the agent has been stopped by SIGTTIN, because it reads{offline}");
    assert_eq!(tell(21, reads), (Level::Warn, read.clone()));
    let again = "the agent has been stopped by SIGTTIN again, for the same reason".to_owned();
    assert_eq!(tell(21, reads), (Level::Warn, again));
    for why in ["because it writes", "because it sets modes"] {
        let written = format!("the agent has been stopped by SIGTTOU, {why}{offline}");
        assert_eq!(tell(22, Some(why)), (Level::Warn, written));
    }
    assert_eq!(tell(21, reads), (Level::Warn, read));
    let stopped = format!("the agent has been stopped by SIGSTOP{offline}");
    assert_eq!(tell(19, None), (Level::Info, stopped));
    story.line(at(1), &Note::Stopping { source: StopSource::Interrupt, agent: true });
    let line = story.suspended_line(19, None, "do this");
    assert_eq!(line.text, "the agent has been stopped by SIGSTOP; do this");
}
