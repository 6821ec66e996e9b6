//! What is wrong with a use or with the settings: each line says who speaks, and how to do it right.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs::File;
use std::process::{Command, Stdio};

use common::standalone::{on_fork, standalone_script};
use common::{Outcome, Wrap, wrap};
use nix::libc;
use serde_json::Value;

fn run(arguments: &[&str]) -> Outcome {
    let mut command = wrap();
    command.args(arguments);
    Wrap::start(command).outcome()
}

#[test]
fn each_fault_says_who_speaks() {
    let table: [(&[&str], usize); 4] = [
        (&["--standalone", "--drain", "x", "--grace", "y", "true"], 2),
        (&["--no-such-option", "true"], 2),
        (&["true"], 2),
        (&["--standalone"], 2),
    ];
    for (arguments, lines) in table {
        let outcome = run(arguments);
        assert!(outcome.log.len() >= lines, "{}", outcome.text());
        assert!(outcome.log.iter().all(|line| line.starts_with("agent-wrap: ")), "{}", outcome.text());
    }
}

#[test]
fn a_fault_shows_what_was_written_and_does_not_do_it() {
    for arguments in [&["--\u{9b}2J", "true"][..], &["--standalone", "--grace", "\u{9b}2J", "true"]] {
        let outcome = run(arguments);
        assert!(outcome.text().contains("2J") && !outcome.text().contains(['\u{1b}', '\u{9b}']), "{:?}", outcome.log);
    }
}

#[test]
fn faults_are_json_where_that_is_asked_for() {
    for format in [&["--log-format", "json"][..], &["--log-format=json", "--node="]] {
        let outcome = run(&[format, &["--drain", "x", "--grace", "y", "--url", "http://ci/", "true"]].concat());
        assert!(outcome.log.len() >= 2, "{}", outcome.text());
        for line in &outcome.log {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!((line["level"].as_str(), line["event"].as_str()), (Some("ERROR"), Some("settings")), "{line}");
        }
    }
    let mut command = wrap();
    command.env("AGENT_WRAP_LOG_FORMAT", "json").arg("true");
    let outcome = Wrap::start(command).outcome();
    assert_eq!(outcome.events(), ["settings", "settings"], "{}", outcome.text());
}

#[test]
fn an_option_after_the_command_is_found_there() {
    let hint = |name: &str| format!("The --{name} that stands after the command is the agent's");
    let outcome = run(&["java", "-jar", "agent.jar", "--url=http://ci/", "--node", "n"]);
    outcome.expect_code(78);
    assert!(outcome.text().contains(&hint("url")) && outcome.text().contains(&hint("node")), "{}", outcome.text());
    let outcome = run(&["sh", "-c", "true", "--standalone"]);
    assert!(outcome.text().contains(&hint("standalone")), "{}", outcome.text());
    let controller = ["--url", "http://ci/", "--node", "n", "--user", "u"];
    let outcome = run(&[&controller[..], &["true", "--token-file", "t"]].concat());
    assert!(outcome.text().contains(&hint("token-file")), "{}", outcome.text());
    for others in [&["--url"][..], &["true", "-url", "x"], &["true", "url", "--urls", "--", "x"]] {
        let outcome = run(others);
        assert!(!outcome.text().contains("stands after the command is the agent's"), "{}", outcome.text());
    }
}

/// The exit code and what is said when this is asked for and written there.
fn ask(arguments: &[&str], stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let output =
        wrap().args(arguments).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    for asked in [&["--help"][..], &["--version"], &["--standalone", "--print-config"]] {
        let (code, said) = ask(asked, File::options().write(true).open("/dev/full").unwrap());
        assert_eq!(code, Some(70), "{asked:?}: {said}");
        assert!(said.starts_with("agent-wrap: cannot write to stdout: No space left"), "{said}");
        // A reader that has seen enough.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(ask(asked, writer), (Some(0), String::new()), "{asked:?}");
    }
}

#[test]
fn a_standard_output_that_is_closed_is_none_to_write_to() {
    let mut command = wrap();
    on_fork(&mut command, || {
        // SAFETY: it takes an integer, and nothing of ours is behind the descriptor any more.
        unsafe { libc::close(1) };
        Ok(())
    });
    let output = command.arg("--help").stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_wrong_use_is_told_in_the_form_that_was_asked_for() {
    let usage = |arguments: &[&str], variable: &str| {
        let (code, said) = {
            let mut command = wrap();
            command.args(arguments).env("AGENT_WRAP_LOG_FORMAT", variable).stderr(Stdio::piped());
            let output = command.output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        assert_eq!(code, Some(64), "{said}");
        said
    };
    for (arguments, variable) in [
        (&["--log-format", "json", "--nope", "true"][..], ""),
        (&["--nope", "--log-format=json", "true"], "text"),
        (&["--nope"], "json"),
        (&["--log-format", "json"], ""),
    ] {
        let said = usage(arguments, variable);
        let line: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!((&line["event"], &line["level"]), (&"usage".into(), &"ERROR".into()), "{said}");
        assert!(!line["message"].as_str().unwrap().contains("agent-wrap: "), "{said}");
    }
    for arguments in [&["--log-format", "text", "--nope"][..], &["--nope", "--log-format"]] {
        let variable = if arguments.len() == 3 { "json" } else { "" };
        assert!(usage(arguments, variable).starts_with("agent-wrap: "));
    }
}

fn ignoring(signal: i32, options: &[&str]) -> Command {
    let mut command = standalone_script(&[&["--restart", "no"], options].concat(), "exit 0");
    on_fork(&mut command, move || {
        // SAFETY: ignoring runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
        Ok(())
    });
    command
}

#[test]
fn a_meaning_for_a_signal_that_stays_ignored_is_in_vain() {
    for (signal, name) in [(libc::SIGHUP, "HUP"), (libc::SIGINT, "INT")] {
        let warned = |options: &[&str]| {
            let outcome = Wrap::start(ignoring(signal, options)).outcome();
            outcome.expect_code(0);
            outcome.text().contains(&format!("--signal gives to {name} is in vain"))
        };
        assert!(warned(&["--signal", &format!("{name}=stop")]));
        assert!(!warned(&["--signal", &format!("{name}=ignore")]));
        assert!(!warned(&["--signal", "USR1=stop"]));
    }
}
