//! At a terminal: what is typed reaches the wrapper once, and the agent through the wrapper.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::Command;

use common::screen::{CTRL_C, Screen, type_in};
use common::standalone::{Said, exists, folder, misbehave, standalone, standalone_with};
use common::{AGENT_WRAP, PATIENCE, Wrap, eventually, wait_within, wrap};
use nix::sys::signal::Signal;

/// A wrapper that leads a session at a terminal; its log goes to a pipe.
fn at_terminal(options: &[&str], agent: &[&str]) -> (Wrap, Said) {
    let mut command = standalone_with(options, &[&[misbehave(), "--hang", "--print-signals"], agent].concat());
    let said = Said::by(&mut command);
    let wrap = Wrap::start_at_terminal(command);
    said.wait_for("hanging");
    (wrap, said)
}

fn signals(said: &Said) -> Vec<String> {
    let mut lines = said.rest();
    lines.retain(|line| line.starts_with("signal "));
    lines
}

#[test]
fn one_ctrl_c_is_one_graceful_stop() {
    let (wrap, said) = at_terminal(&[], &[]);
    type_in(wrap.terminal.as_ref().unwrap(), CTRL_C);
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    let stops = outcome.events().iter().filter(|event| *event == "stopping").count();
    assert_eq!(stops, 1, "{}", outcome.text());
    assert!(outcome.text().contains("SIGINT from the terminal") && !outcome.has("request"), "{}", outcome.text());
    // The key is not for the agent; the stop's TERM is, and the CONT with it, whichever of the two is handled first.
    let mut signals = signals(&said);
    signals.retain(|signal| signal != "signal CONT");
    assert_eq!(signals, ["signal TERM"]);
}

#[test]
fn the_third_ctrl_c_kills() {
    let (wrap, said) = at_terminal(&["--grace", "1h"], &["--ignore-term"]);
    let terminal = wrap.terminal.as_ref().unwrap();
    type_in(terminal, CTRL_C);
    wrap.wait_for("terminating");
    let killed = || wrap.log().iter().any(|line| line.contains("\"killing\""));
    // Keys that follow each other too fast are one.
    eventually("the agent is killed", || {
        if !killed() {
            type_in(terminal, CTRL_C);
        }
        killed()
    });
    let outcome = wrap.outcome();
    outcome.expect_code(137);
    let effects: Vec<&String> = outcome.log.iter().filter(|line| line.contains("\"event\":\"request\"")).collect();
    assert!(effects.len() >= 2, "the second has killed already: {}", outcome.text());
    assert!(effects.iter().any(|line| line.contains("ending at once")), "{}", outcome.text());
    assert!(!signals(&said).contains(&"signal INT".to_owned()));
}

#[test]
fn ctrl_backslash_asks_for_the_threads() {
    let (wrap, said) = at_terminal(&[], &[]);
    type_in(wrap.terminal.as_ref().unwrap(), "\x1c");
    said.wait_for("signal QUIT");
    wrap.stop().expect_code(0);
}

#[test]
fn a_hangup_stops_cleanly() {
    let (mut wrap, said) = at_terminal(&[], &[]);
    let agent = wrap.agent_pid(1);
    drop(wrap.terminal.take());
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert!(outcome.has("stopping") && !outcome.has("reload"), "{}", outcome.text());
    assert!(signals(&said).contains(&"signal TERM".to_owned()));
    assert!(!exists(agent));
}

#[test]
fn a_hup_from_somebody_is_no_hangup() {
    let (wrap, _said) = at_terminal(&[], &[]);
    wrap.signal(Signal::SIGHUP);
    wrap.wait_for("policy_changed");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(outcome.text().contains("SIGTERM"), "{}", outcome.text());
}

/// The whole output of a short life on a terminal.
fn shown(variable: Option<(&str, &str)>) -> String {
    let mut command = wrap();
    command.args(["--standalone", "--restart", "no", "sh", "-c", "exit 3"]).env("TERM", "xterm").envs(variable);
    let screen = Screen::of(&mut command);
    let mut child = command.spawn().unwrap();
    drop(command);
    let status = wait_within(&mut child, PATIENCE).unwrap();
    assert_eq!(status.code(), Some(3));
    screen.wait_for("exit code 3", 1)
}

#[test]
fn colours_are_for_terminals_whose_owner_wants_them() {
    assert!(shown(None).contains("\x1b[36m"));
    assert!(shown(Some(("NO_COLOR", ""))).contains("\x1b[36m"), "an empty NO_COLOR says nothing");
    let plain = shown(Some(("NO_COLOR", "1")));
    assert!(!plain.contains("\x1b[3"), "{plain:?}");
    for name in ["", "dumb"] {
        let plain = shown(Some(("TERM", name)));
        assert!(!plain.contains('\x1b'), "{name:?}: {plain:?}");
    }
    let mut command = wrap();
    command.args(["--standalone", "--restart", "no", "sh", "-c", "exit 3"]);
    let outcome = Wrap::start(command).outcome();
    assert!(!outcome.text().contains('\x1b'), "{:?}", outcome.text());
}

#[test]
fn an_agent_that_reads_its_input_is_not_stopped_for_it() {
    let mut command = standalone(&["--restart", "no"]);
    command.args(["sh", "-c", "cat; echo end of input; readlink /proc/self/fd/0"]);
    let said = Said::by(&mut command);
    let wrap = Wrap::start_at_terminal(command);
    said.wait_for("end of input");
    said.wait_for("/dev/null");
    wrap.outcome().expect_code(0);
}

/// Carries out a line of a shell in which the reader of the log goes away once the agent is started, and types this key
/// then; what the terminal shows.
#[track_caller]
fn without_reader(before: &str, after: &str, key: &str) -> String {
    let folder = folder();
    let gone = folder.path().join("gone");
    let line = format!(
        "gone={}; trap : INT; {before} {AGENT_WRAP} --standalone sleep 1000 2>&1 |
         (grep -m 1 started >/dev/null; exec <&-; : >$gone) {after}
         echo it is'' over",
        gone.display()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &line]).env_clear().envs(wrap().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let screen = Screen::of(&mut command);
    let mut shell = command.spawn().unwrap();
    drop(command);
    eventually("the reader is gone", || gone.exists());
    screen.type_in(key);
    let shown = screen.wait_for("it is over", 1);
    assert!(wait_within(&mut shell, PATIENCE).is_some());
    shown
}

#[test]
fn a_log_whose_reader_is_gone_goes_on_at_the_terminal() {
    let shown = without_reader("", "", CTRL_C);
    for words in ["whoever read this log is gone", "SIGINT from the terminal", "exit code 0"] {
        assert_eq!(shown.matches(words).count(), 1, "{words}: {shown}");
    }
}

#[test]
fn but_not_at_one_that_is_somebody_elses() {
    let in_background = ("set -m;", "& until [ -e $gone ]; do :; done; kill %1; wait", "");
    let beside_an_editor = ("stty -icanon;", "", CTRL_C);
    for (before, after, key) in [in_background, beside_an_editor] {
        let shown = without_reader(before, after, key);
        assert!(!shown.contains("goes on here") && !shown.contains("exit code"), "{shown}");
    }
}
