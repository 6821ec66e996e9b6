use proptest::prelude::*;
use serde_json::Value;

use super::*;

const RECORDING: &str = include_str!("../../testbed/recordings/jenkins-2.578.json");

fn view_as(body: &str, run: &str, claimed: bool) -> NodeView {
    let marker = Marker::new("h", run);
    let pattern = Regex::new("^second").unwrap();
    let clock = MarkClock::start();
    let judge = Judge {
        marker: &marker,
        online_match: Some(&pattern),
        claimed,
        clock: &clock,
        sees_paths: &SeesPaths::default(),
    };
    node_view(body.as_bytes(), Head { version: Some("2.578"), date: None }, &judge).unwrap()
}

fn recorded(what: &str) -> NodeView {
    let exchanges: Vec<Value> = serde_json::from_str(RECORDING).unwrap();
    let found = exchanges.iter().find(|exchange| exchange["what"] == what).unwrap();
    view_as(found["body"].as_str().unwrap(), "r", false)
}

fn mark(owner: Owner, reason: &str, matches: bool) -> Option<Mark> {
    Some(Mark { owner, reason: reason.to_owned(), matches })
}

#[test]
fn every_recorded_state_is_understood() {
    let nonce = mark(Owner::Foreign, "nonce 1", false);
    let stops = mark(Owner::EarlierRun, "agent stops: \"TERM\" <x> & [agent-wrap h r]", false);
    let stopping = mark(Owner::EarlierRun, "stopping [agent-wrap h r]", false);
    let by_cli = mark(Owner::Foreign, "by the CLI", false);
    for (what, mark, connected) in [
        ("never connected, unmarked", None, Some(false)),
        ("never connected, marked by our own toggle", nonce, None),
        ("after online-node", None, Some(false)),
        ("marked, not connected", stops, None),
        ("online", None, Some(true)),
        ("online, asked by a user without Agent/Connect", None, Some(true)),
        ("marked, connected", stopping.clone(), Some(true)),
        ("marked, connected, depth 0 without a tree", stopping, Some(true)),
        ("reason replaced", mark(Owner::Foreign, "second reason", true), Some(true)),
        ("marked again by CLI", by_cli.clone(), Some(true)),
        ("marked by CLI, then connection closed", by_cli, None),
        ("unmarked, connection lost", None, Some(false)),
        ("the same agent came back by itself", None, Some(true)),
    ] {
        // Recorded with the marker "[agent-wrap h r]", which has no request's number: another run than "r.N".
        let exchanges: Vec<Value> = serde_json::from_str(RECORDING).unwrap();
        let found = exchanges.iter().find(|exchange| exchange["what"] == what).unwrap();
        let view = view_as(found["body"].as_str().unwrap(), "other", false);
        assert_eq!(view, NodeView { mark, connected, idle: true, builds: vec![], has_cli: true }, "{what}");
    }
    assert_eq!(recorded("marked, connected").mark.unwrap().owner, Owner::ThisRun);
}

#[test]
fn every_recorded_body_is_read_or_refused_but_never_misread() {
    let exchanges: Vec<Value> = serde_json::from_str(RECORDING).unwrap();
    let marker = Marker::new("h", "r");
    let clock = MarkClock::start();
    let judge =
        Judge { marker: &marker, online_match: None, claimed: false, clock: &clock, sees_paths: &SeesPaths::default() };
    let mut nodes = 0;
    for exchange in &exchanges {
        let Some(body) = exchange["body"].as_str().or_else(|| exchange["body_html_begins"].as_str()) else {
            continue;
        };
        let is_node = body.contains("\"temporarilyOffline\":");
        let read = node_view(body.as_bytes(), Head::default(), &judge);
        assert_eq!(read.is_ok(), is_node, "{}", exchange["what"]);
        nodes += u32::from(is_node);
        if let Ok(view) = read {
            assert_eq!(view.mark.is_some(), body.contains("\"temporarilyOffline\":true"));
        }
    }
    assert_eq!(nodes, 16);
}

#[test]
fn builds_are_counted_even_when_their_job_is_not_visible() {
    let body = r#"{"offline":false,"temporarilyOffline":false,"idle":false,"executors":[
        {"idle":false,"progress":42,"currentExecutable":{"url":"u","fullDisplayName":"job #12"}},
        {"idle":false,"progress":-1,"currentExecutable":null},
        {"idle":true,"progress":-1,"currentExecutable":null},
        {"idle":false,"progress":250,"currentExecutable":{"url":"u"}},
        {}],"oneOffExecutors":[{"idle":false,"currentExecutable":{"fullDisplayName":"flow #3"}}]}"#;
    let view = view_as(body, "r", false);
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(
        view.builds,
        [
            Build { name: name("job #12"), progress: Some(42), ..Build::default() },
            Build::default(),
            Build::default(),
            Build { name: name("flow #3"), ..Build::default() },
        ]
    );
    assert!(!view.idle);
}

#[test]
fn the_times_of_a_build_are_the_controllers() {
    const BEGIN: u64 = 1_700_000_000_000;
    let marker = Marker::new("h", "r");
    let clock = MarkClock::start();
    let judge =
        Judge { marker: &marker, online_match: None, claimed: false, clock: &clock, sees_paths: &SeesPaths::default() };
    let times = |timestamp: i64, estimate: i64, progress: i64, seconds: Option<i64>| {
        let body = format!(
            r#"{{"offline":false,"temporarilyOffline":false,"executors":[{{"idle":false,"progress":{progress},
            "currentExecutable":{{"timestamp":{timestamp},"estimatedDuration":{estimate}}}}}]}}"#
        );
        let date =
            seconds.map(|seconds| UNIX_EPOCH + Duration::from_millis(BEGIN.saturating_add_signed(seconds * 1000)));
        let view = node_view(body.as_bytes(), Head { version: None, date }, &judge).unwrap();
        (view.builds[0].running_for, view.builds[0].rest)
    };
    let begin = i64::try_from(BEGIN).unwrap();
    let (span, left, overdue) =
        (Span::seconds, |s| Some(Rest::Left(Span::seconds(s))), |s| Some(Rest::Overdue(Span::seconds(s))));
    for (timestamp, estimate, progress, now, expected) in [
        (begin, 720_000, 41, Some(300), (Some(span(300)), left(420))),
        (begin, 720_000, 99, Some(720), (Some(span(720)), left(0))),
        (begin, 720_000, 99, Some(900), (Some(span(900)), overdue(180))),
        (begin, -1, -1, Some(300), (Some(span(300)), None)),
        (begin, 0, -1, Some(300), (Some(span(300)), None)),
        // The head's seconds are cut off.
        (begin + 900, 60_000, 0, Some(0), (Some(Span::ZERO), left(60))),
        // No clock in the answer.
        (begin, 600_000, 50, None, (Some(span(300)), left(300))),
        (begin, 600_000, 99, None, (None, None)),
        (begin, -1, -1, None, (None, None)),
        (-5, i64::MIN, 7, Some(300), (None, None)),
        (i64::MAX, i64::MAX, 98, Some(300), (Some(Span::ZERO), Some(Rest::Left(Span(i64::MAX.unsigned_abs()))))),
    ] {
        assert_eq!(times(timestamp, estimate, progress, now), expected, "{timestamp} {estimate} {progress} {now:?}");
    }
}

#[test]
fn a_mark_of_this_run_tells_the_time_where_the_answer_does_not() {
    let (marker, clock) = (Marker::new("h", "r"), MarkClock::start());
    let judge =
        Judge { marker: &marker, online_match: None, claimed: false, clock: &clock, sees_paths: &SeesPaths::default() };
    let running_for = |reason: &str, marked: u64| {
        let body = format!(
            r#"{{"offline":true,"temporarilyOffline":true,"offlineCauseReason":"{reason}",
            "offlineCause":{{"timestamp":{marked}}},"executors":[{{"idle":false,"progress":-1,
            "currentExecutable":{{"timestamp":1700000000000,"estimatedDuration":-1}}}}]}}"#
        );
        node_view(body.as_bytes(), Head::default(), &judge).unwrap().builds[0].running_for
    };
    let gone = running_for("x [agent-wrap h r.1]", 1_700_000_300_000).unwrap();
    assert!((Span::seconds(300)..Span::seconds(400)).contains(&gone), "{gone:?}");
    // Another time, another mark.
    let gone = running_for("x [agent-wrap h r.2]", 1_700_009_000_000).unwrap();
    assert!((Span::seconds(9000)..Span::seconds(9100)).contains(&gone), "{gone:?}");
    // Nobody knows how long ago these were set.
    assert_eq!(running_for("x [agent-wrap h q.1]", 1_700_000_300_000), None);
    assert_eq!(running_for("theirs", 1_700_000_300_000), None);
    // What cannot be is taken all the same.
    let _ = running_for("x [agent-wrap h r.3]", u64::MAX);
}

#[test]
fn idleness_is_worked_out_where_it_is_not_told() {
    let body = |idle| format!(r#"{{"offline":true,"temporarilyOffline":false,"executors":[{{"idle":{idle}}}]}}"#);
    assert!(view_as(&body("true"), "r", false).idle);
    assert!(!view_as(&body("false"), "r", false).idle);
    assert!(!view_as(&body("null"), "r", false).idle);
}

#[test]
fn a_path_that_is_missing_tells_something_to_whom_one_was_shown() {
    let (marker, clock, sees_paths) = (Marker::new("h", "r"), MarkClock::start(), SeesPaths::default());
    let judge = Judge { marker: &marker, online_match: None, claimed: false, clock: &clock, sees_paths: &sees_paths };
    let connected = |offline: bool, marked: bool, path: &str| {
        let body = format!(r#"{{"offline":{offline},"temporarilyOffline":{marked},"absoluteRemotePath":{path}}}"#);
        node_view(body.as_bytes(), Head::default(), &judge).unwrap().connected
    };
    let (path, none) = ("\"/work\"", "null");
    assert_eq!(connected(true, true, none), None);
    assert_eq!(connected(true, true, path), Some(true));
    assert_eq!(connected(true, true, none), Some(false));
    // One that is not connected tells nothing of the account.
    assert_eq!(connected(true, false, none), Some(false));
    assert_eq!(connected(true, true, none), Some(false));
    // The permission has been taken away.
    assert_eq!(connected(false, false, none), Some(true));
    assert_eq!(connected(true, true, none), None);
    assert_eq!(connected(false, false, path), Some(true));
    assert_eq!(connected(true, true, none), Some(false));
    sees_paths.forget();
    assert_eq!(connected(true, true, none), None);
}

fn marked(cause: &str, reason: &str, claimed: bool) -> Mark {
    let body =
        format!(r#"{{"offline":true,"temporarilyOffline":true,"offlineCause":{cause},"offlineCauseReason":{reason}}}"#);
    view_as(&body, "r", claimed).mark.unwrap()
}

#[test]
fn owners_are_told_apart() {
    let monitor = r#"{"_class":"hudson.node_monitors.DiskSpaceMonitorDescriptor$DiskSpace","description":"Disk space is too low : 0.5GB"}"#;
    let user = r#"{"_class":"hudson.slaves.OfflineCause$UserCause","description":"Disconnected by op : mine"}"#;
    let lost = r#"{"_class":"hudson.slaves.OfflineCause$ChannelTermination"}"#;
    for (cause, reason, claimed, owner) in [
        (monitor, "\"Disk space is too low\"", true, Owner::Monitor),
        (user, "\"mine\"", false, Owner::Foreign),
        (user, "\"mine\"", true, Owner::Foreign),
        (user, "\"mine [agent-wrap pod-3 r.7]\"", false, Owner::ThisRun),
        (user, "\"mine [agent-wrap pod-3 q.7]\"", false, Owner::EarlierRun),
        (lost, "\"Connection was broken\"", false, Owner::Foreign),
        (lost, "\"Connection was broken\"", true, Owner::EarlierRun),
        ("null", "\"\"", true, Owner::EarlierRun),
        ("null", "null", false, Owner::Foreign),
        (r#"{"description":"Disconnected by op : x"}"#, "null", true, Owner::Foreign),
        (r#"{"description":"Disconnected by op"}"#, "null", true, Owner::Foreign),
        (r#"{"description":"Connection was broken"}"#, "null", true, Owner::EarlierRun),
        (r#"{"description":"Disconnected by op : x [agent-wrap h r.1]"}"#, "null", false, Owner::ThisRun),
        (r#"{"description":"Getrennt durch op: x [agent-wrap h r.1]"}"#, "null", false, Owner::ThisRun),
    ] {
        assert_eq!(marked(cause, reason, claimed).owner, owner, "{cause} {reason} {claimed}");
    }
}

#[test]
fn reasons_are_what_a_person_wrote() {
    for (cause, reason, expected) in [
        (r#"{"description":"Disconnected by op : because : of it"}"#, "null", "because : of it"),
        (r#"{"description":"Disconnected by op : "}"#, "null", ""),
        (r#"{"description":"Verbindung verloren"}"#, "null", "Verbindung verloren"),
        (r#"{"_class":"hudson.node_monitors.X","description":"low : 1GB"}"#, "\"\"", "low : 1GB"),
        (r#"{"message":"a <b>"}"#, "\"a &lt;b&gt;\"", "a <b>"),
        ("null", "\"&lt;&#39;&#x41;&quot;&amp;lt; &unknown; & ; &#xffffff;\"", "<'A\"&lt; &unknown; & ; &#xffffff;"),
    ] {
        assert_eq!(marked(cause, reason, false).reason, expected, "{cause}");
    }
}

#[test]
fn versions_that_have_the_cli() {
    for version in ["2.54", "2.578", "2.426.3", "2.400-SNAPSHOT", "3", "2.500 (rc-1)", "10.1"] {
        assert!(has_cli(version), "{version}");
    }
    for version in ["2.53", "2.46.3", "1.651.3", "2", "", "?", "3.-", "v2.578"] {
        assert_eq!(has_cli(version), version == "3.-", "{version}");
    }
}

proptest! {
    #[test]
    fn unescaping_takes_back_what_controllers_escape(text in "[a-z<>&\"'; #é]*") {
        let escaped =
            text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#039;");
        prop_assert_eq!(unescape(&escaped), text);
    }

    #[test]
    fn unescaping_takes_anything(text in any::<String>()) {
        let _ = unescape(&text);
    }

    #[test]
    fn versions_take_anything(text in any::<String>()) {
        let _ = has_cli(&text);
    }
}
