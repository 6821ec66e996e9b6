use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use agent_wrap_supervisor::{Build, Failure, FailureKind, Mark, Moment, Note, Owner, Span};

use super::super::story::Story;
use super::*;

const NODE: &str = "n\u{9b}\"";
const PLAIN: TextLayout = TextLayout { colours: false, stamp: Stamp::None };

fn look(format: Format) -> Look {
    Look { format, layout: PLAIN, node: NODE.to_owned(), position: Position::default() }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged of these notes.
fn logged(format: Format, notes: &[Note]) -> String {
    let written = Written::default();
    let writer = written.clone();
    let targets = Targets::new().with_default(LevelFilter::TRACE);
    let tell = || {
        let mut story = Story::new(NODE, Moment::default());
        notes.iter().for_each(|note| story.tell(Moment::default(), note));
        tracing::warn!(target: "agent_wrap", event = "aside", "told beside the story");
    };
    tracing::subscriber::with_default(look(format).subscriber(targets, move || writer.clone()), || {
        // tracing remembers of each place in the code that nobody listens if another test's thread, which has no
        // subscriber, comes by it in the moment in which ours is made. So all of them are passed before it counts.
        tell();
        tracing::callsite::rebuild_interest_cache();
        written.0.lock().unwrap().clear();
        tell();
    });
    let bytes = written.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn hostile() -> Vec<Note> {
    let evil = "x\x1b[2J\u{9b}2J\u{202e}\u{2028}\nagent-wrap error: forged".to_owned();
    let build = Build { name: Some(evil.clone()), ..Build::default() };
    let failure = Failure::new(FailureKind::Unavailable, format!("the proxy says {evil}"));
    let mark = Mark { owner: Owner::Foreign, reason: evil, matches: false };
    vec![
        Note::Draining { builds: vec![build], left: None },
        Note::Waiting { failure, retry: Span::ZERO },
        Note::ForeignMark(mark),
    ]
}

#[test]
fn text_of_others_is_text_in_a_line_of_text() {
    let text = logged(Format::Text, &hostile());
    assert_eq!(text.lines().count(), 4, "{text:?}");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text:?}");
    assert!(text.lines().all(|line| line.starts_with("agent-wrap ")), "{text:?}");
    let build = r"x\u001b[2J\u009b2J\u202e\u2028\nagent-wrap error: forged";
    assert!(text.contains(&format!("waiting for 1 build: {build}\n")), "{text:?}");
}

#[test]
fn text_of_others_is_text_in_a_line_of_json() {
    let text = logged(Format::Json, &hostile());
    assert_eq!(text.lines().count(), 4, "{text:?}");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text:?}");
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    // For a program it is what it was.
    assert!(line["message"].as_str().unwrap().contains("x\x1b[2J\u{9b}2J\u{202e}\u{2028}\nagent"), "{line}");
    assert_eq!((line["node"].as_str(), line["event"].as_str()), (Some(NODE), Some("draining")));
}

#[test]
fn text_of_others_is_text_in_a_record() {
    let text = logged(Format::Journal, &hostile());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text:?}");
    let node = r#"NODE=n\u009b""#;
    for (line, (priority, event)) in
        lines.iter().zip([(6, "draining"), (4, "waiting"), (4, "foreign_mark"), (4, "aside")])
    {
        let fields: Vec<&str> = line.split('\0').collect();
        let start = [format!("PRIORITY={priority}"), "SYSLOG_IDENTIFIER=agent-wrap".to_owned(), node.to_owned()];
        assert_eq!(fields[..3], start);
        assert_eq!(fields[3], format!("EVENT={event}"));
        assert!(fields.len() == 5 && fields[4].starts_with("MESSAGE="), "{fields:?}");
        assert!(fields.iter().all(|field| !field.contains(char::is_control)), "{fields:?}");
    }
}

#[test]
fn every_line_of_json_names_the_node_once() {
    let lost = look(Format::Json).lost_words()(1);
    let text = logged(Format::Json, &hostile()) + &lost;
    let events: Vec<_> = text
        .lines()
        .map(|line| {
            let fields: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((fields["node"].as_str(), line.matches("\"node\":").count()), (Some(NODE), 1), "{line}");
            fields["event"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(events, ["draining", "waiting", "foreign_mark", "aside", "lines_lost"]);
}

#[test]
fn what_was_lost_is_said_as_everything_else() {
    let words = "of this log were lost: its reader took nothing, is it stuck?";
    assert_eq!(look(Format::Text).lost_words()(7), format!("agent-wrap warning: 7 lines {words}\n"));
    let journal = look(Format::Journal).lost_words()(7);
    assert!(journal.starts_with("PRIORITY=4\0") && journal.contains("\0EVENT=lines_lost\0"), "{journal:?}");
    let json = look(Format::Json).lost_words()(1);
    let line: serde_json::Value = serde_json::from_str(json.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!((line["event"].as_str(), line["level"].as_str()), (Some("lines_lost"), Some("WARN")));
    assert!(line["message"].as_str().unwrap().starts_with("1 line of this log was lost"));
}

#[test]
fn a_fault_before_there_is_a_log_is_one_line() {
    let words = "the user \u{1b}[2J\nforged";
    assert_eq!(fault_line(Format::Text, "x", words), "agent-wrap: the user \\u001b[2J\\nforged\n");
    let json = fault_line(Format::Json, "x", words);
    let line: serde_json::Value = serde_json::from_str(json.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!((line["event"].as_str(), line["level"].as_str()), (Some("x"), Some("ERROR")));
    assert_eq!((line["message"].as_str(), json.lines().count()), (Some(words), 1));
}

#[test]
fn no_line_shows_the_password_of_a_url() {
    // A character that is escaped ends no URL.
    for url in ["http://me:hush@ci/", "https://me:hu\u{202e}sh@ci/api"] {
        let shown = format!("{}://********@ci", url.split(':').next().unwrap());
        let failure = Failure::new(FailureKind::Unavailable, format!("moved to {url}"));
        let note = Note::Waiting { failure, retry: Span::ZERO };
        for format in [Format::Text, Format::Json, Format::Journal] {
            for line in [logged(format, std::slice::from_ref(&note)), fault_line(format, "x", &format!("({url})"))] {
                assert!(line.contains(&shown) && !line.contains("me:hu"), "{line:?}");
            }
        }
    }
}

#[test]
fn a_stamp_is_as_long_as_its_reader_needs() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 + 3_661);
    assert_eq!(Stamp::None.words(time), "");
    assert_eq!(Stamp::Clock.words(time), "01:01:01 ");
    assert_eq!(Stamp::Full.words(time), "1970-01-02T01:01:01Z ");
}
