//! The line at the bottom of a real terminal emulator that becomes narrower: nothing of it is left behind, and nothing else
//! is erased. tmux breaks lines into more rows then, as most terminals do; what has been switched to its alternate screen
//! it cuts, as xterm does.

mod common;

use std::path::PathBuf;
use std::process::{Command, Output};

use agent_wrap_testbed::skip;
use common::standalone::folder;
use common::{AGENT_WRAP, eventually, wrap};
use tempfile::TempDir;

/// A wrapper that waits, in a terminal of its own.
struct Emulator {
    folder: TempDir,
}

/// What the status line begins with, and no line of the log does.
const LINE: &str = "agent-wrap the agent exited with code 7";
const ROWS: usize = 24;

impl Emulator {
    /// One of 100 columns, whose wrapper shows its line.
    fn start(screen: &str) -> Self {
        let emulator = Self { folder: folder() };
        let socket = emulator.socket();
        let mut command = Command::new("tmux");
        command.env_clear().envs(wrap().get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm").env("SHELL", "/bin/sh");
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(socket);
        command.args(["new-session", "-d", "-x", "100", "-y", &ROWS.to_string()]);
        // It shows what is left until somebody reads it.
        command.arg(format!(
            "trap : INT; {screen}; {AGENT_WRAP} --standalone --restart-delay 1h --restart-delay-max 1h sh -c 'echo some words; exit 7'; echo over; exec cat"
        ));
        assert!(command.status().expect("tmux starts").success());
        eventually("the line is shown", || emulator.bottom().is_some_and(|bottom| bottom.starts_with(LINE)));
        emulator
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        Command::new("tmux").arg("-S").arg(self.socket()).arg("-u").args(arguments).output().expect("tmux is there")
    }

    fn shown(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.tmux(&[&["capture-pane", "-p"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        text.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// The rows that can be seen, without empty ones at the end.
    fn rows(&self) -> Vec<String> {
        self.shown(&[])
    }

    /// Whole lines, also those that have gone out at the top.
    fn lines(&self) -> Vec<String> {
        self.shown(&["-J", "-S", "-"])
    }

    fn bottom(&self) -> Option<String> {
        self.rows().last().cloned()
    }

    fn resize(&self, columns: usize) {
        let output = self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &ROWS.to_string()]);
        assert!(output.status.success(), "{output:?}");
    }

    fn wait_for_line_of(&self, columns: usize) {
        let fits = |row: String| row.starts_with("agent-wrap the agent") && row.chars().count() == columns - 1;
        eventually(&format!("it is drawn anew in {columns} columns: {:#?}", self.rows()), || {
            self.bottom().is_some_and(fits)
        });
    }

    fn type_in(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).status.success());
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// Lines of the log, and what is neither that nor the status line.
fn without_status(lines: &[String]) -> Vec<String> {
    lines.iter().filter(|line| !line.starts_with("agent-wrap the agent")).cloned().collect()
}

#[test]
fn a_terminal_that_breaks_lines() {
    let name = "a_terminal_that_breaks_lines";
    if skip::unmet(name, skip::need_program("tmux")) {
        return;
    }
    let emulator = Emulator::start(":");
    let before = without_status(&emulator.lines());
    assert!(before.iter().any(|line| line == "some words"), "{before:#?}");
    // At once, and after sizes that nobody has drawn at.
    for columns in [[30, 30, 30], [100, 100, 100], [60, 99, 25]] {
        columns.into_iter().for_each(|columns| emulator.resize(columns));
        let [.., columns] = columns;
        if columns < 80 {
            emulator.wait_for_line_of(columns);
        }
        eventually("it is whole again", || {
            emulator.lines().iter().filter(|line| line.starts_with("agent-wrap the agent")).count() == 1
        });
        assert_eq!(without_status(&emulator.lines()), before, "{columns}");
    }
    // Too narrow for a line: it is gone, before the log goes on and after.
    emulator.resize(19);
    eventually("it is gone", || without_status(&emulator.lines()).len() == emulator.lines().len());
    assert_eq!(emulator.lines(), before);
    emulator.type_in("C-c");
    eventually("it has ended", || emulator.lines().iter().any(|line| line == "over"));
    let lines = emulator.lines();
    assert_eq!(without_status(&lines), lines);
    assert_eq!(lines[..before.len()], before);
}

#[test]
fn a_terminal_that_cuts_them() {
    let name = "a_terminal_that_cuts_them";
    if skip::unmet(name, skip::need_program("tmux")) {
        return;
    }
    let emulator = Emulator::start("printf '\\033[?1049h'");
    let before = emulator.rows();
    for columns in [60, 30, 25] {
        emulator.resize(columns);
        emulator.wait_for_line_of(columns);
        let cut = |row: &String| String::from(row.chars().take(columns).collect::<String>().trim_end());
        let rows = emulator.rows();
        let above = before.len() - 1;
        assert_eq!(rows.len(), before.len());
        assert_eq!(rows[..above], before[..above].iter().map(cut).collect::<Vec<_>>());
    }
    emulator.type_in("C-c");
    eventually("it has ended", || emulator.rows().iter().any(|line| line == "over"));
    assert!(!emulator.rows().iter().any(|row| row.starts_with("agent-wrap the agent")), "{:#?}", emulator.rows());
}
