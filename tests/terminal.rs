//! At a terminal: what is typed reaches the wrapper once, the agent through the wrapper, and the shell gets its terminal
//! back as it was.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use common::standalone::{Said, exists, lead_session, misbehave, standalone, standalone_with, stat, wait_for_end};
use common::{AGENT_WRAP, PATIENCE, Wrap, eventually, is_alive, pty, wait_within, wrap};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, tcgetpgrp};
use tempfile::TempDir;

/// A terminal, and what is shown on it.
struct Screen {
    terminal: OwnedFd,
    shown: Arc<(Mutex<String>, Condvar)>,
}

impl Screen {
    /// Makes this command the leader of a session at a new terminal, which is all its three streams unless they are set.
    fn of(command: &mut Command) -> Self {
        let (master, terminal) = pty();
        let stream = || Stdio::from(terminal.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        lead_session(command);
        let shown = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let (mut reader, writer) = (File::from(master.try_clone().unwrap()), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when the last holder of the other side is gone.
            while let Ok(count) = reader.read(&mut bytes) {
                writer.0.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
                writer.1.notify_all();
            }
        });
        Self { terminal: master, shown }
    }

    fn type_in(&self, keys: &str) {
        type_in(&self.terminal, keys);
    }

    /// Waits until these words have been shown `count` times.
    #[track_caller]
    fn wait_for(&self, words: &str, count: usize) -> String {
        let mut shown = self.shown.0.lock().unwrap();
        while shown.matches(words).count() < count {
            let (next, timeout) = self.shown.1.wait_timeout(shown, PATIENCE).unwrap();
            shown = next;
            assert!(!timeout.timed_out(), "{words:?} is not shown:\n{shown}");
        }
        shown.clone()
    }

    fn foreground(&self) -> Pid {
        tcgetpgrp(self.terminal.as_fd()).unwrap()
    }

    fn modes(&self) -> Termios {
        tcgetattr(self.terminal.as_fd()).unwrap()
    }
}

fn type_in(terminal: &OwnedFd, keys: &str) {
    File::from(terminal.try_clone().unwrap()).write_all(keys.as_bytes()).unwrap();
}

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

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
    // The key is not for the agent; the stop's TERM is, and the CONT with it.
    let signals = signals(&said);
    assert_eq!(signals.first().map(String::as_str), Some("signal TERM"), "{signals:?}");
    assert!(!signals.contains(&"signal INT".to_owned()), "{signals:?}");
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
    command.args(["--standalone", "--restart", "no", "sh", "-c", "exit 3"]).envs(variable);
    let screen = Screen::of(&mut command);
    let mut child = command.spawn().unwrap();
    drop(command);
    let status = wait_within(&mut child, PATIENCE).unwrap();
    assert_eq!(status.code(), Some(3));
    screen.wait_for("exit code 3", 1)
}

#[test]
fn colours_are_for_terminals_whose_owner_wants_them() {
    assert!(shown(None).contains("\x1b["));
    assert!(shown(Some(("NO_COLOR", ""))).contains("\x1b["), "an empty NO_COLOR says nothing");
    let plain = shown(Some(("NO_COLOR", "1")));
    assert!(!plain.contains('\x1b'), "{plain:?}");
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

/// A shell with job control at a terminal, and the wrapper it runs.
struct Shell {
    screen: Screen,
    child: Child,
    folder: TempDir,
    tried: std::cell::Cell<usize>,
}

impl Shell {
    fn start() -> Self {
        let folder = common::standalone::folder();
        let mut command = Command::new("bash");
        command.args(["--norc", "--noprofile", "--noediting", "-i"]).current_dir(folder.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("PS1", "$ ").env("TERM", "dumb");
        command.env("HISTFILE", "").env("XDG_RUNTIME_DIR", folder.path());
        let screen = Screen::of(&mut command);
        let child = command.spawn().unwrap();
        let shell = Self { screen, child, folder, tried: std::cell::Cell::new(0) };
        shell.prompt();
        shell
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Waits until the shell reads its next line.
    #[track_caller]
    fn prompt(&self) {
        eventually("the shell is in the foreground", || self.screen.foreground() == self.pid());
    }

    /// Has the shell do something and waits until it has.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        let number = self.tried.get() + 1;
        self.tried.set(number);
        // Not as it is typed, which is shown too.
        self.screen.type_in(&format!("{line}; echo did'' {number} $?,\n"));
        self.screen.wait_for(&format!("did {number} "), 1)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command line for a wrapper whose agent writes to `said`, the log to `log`.
    fn command_line(&self) -> String {
        format!(
            "{AGENT_WRAP} --standalone --log-format json --restart-delay 10ms {} --hang --print-signals >said 2>log",
            misbehave()
        )
    }

    fn said(&self) -> String {
        fs::read_to_string(self.file("said")).unwrap_or_default()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for_agent(&self) -> Pid {
        eventually("the agent is there", || self.said().contains("hanging"));
        eventually("its start is logged", || self.log().contains("\"agent_started\""));
        let log = self.log();
        let pid = log.split("started, pid ").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        Pid::from_raw(pid)
    }

    #[track_caller]
    fn exit(mut self) {
        self.screen.type_in("exit\n");
        assert!(wait_within(&mut self.child, PATIENCE).is_some());
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It hangs up on what is left of its jobs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn state(pid: Pid) -> Option<char> {
    stat(pid).map(|stat| stat.state)
}

#[test]
fn ctrl_z_stops_the_agent_too_and_fg_continues_both() {
    let shell = Shell::start();
    let modes = shell.screen.modes();
    shell.screen.type_in(&format!("{}\n", shell.command_line()));
    let agent = shell.wait_for_agent();
    let wrapper = stat(agent).unwrap().parent;
    assert_eq!(shell.screen.foreground(), wrapper);
    assert_ne!(stat(agent).unwrap().group, wrapper);

    for round in 1..=2 {
        shell.screen.type_in(CTRL_Z);
        eventually("both are stopped", || state(wrapper) == Some('T') && state(agent) == Some('T'));
        shell.prompt();
        let shown = shell.run("jobs");
        assert!(shown.contains("Stopped"), "{shown}");
        // Twice in the background and the foreground: the second stop is taken like the first.
        shell.screen.type_in("fg\n");
        eventually("both go on", || {
            state(wrapper).is_some_and(|state| state != 'T') && state(agent).is_some_and(|state| state != 'T')
        });
        eventually("the wrapper is in the foreground", || shell.screen.foreground() == wrapper);
        eventually("the agent was continued", || shell.said().matches("signal CONT").count() >= round);
    }

    shell.screen.type_in(CTRL_C);
    wait_for_end(wrapper);
    shell.prompt();
    assert!(!is_alive(agent));
    let shown = shell.run("true");
    assert!(shown.contains("did"), "{shown}");
    assert_eq!(shell.screen.modes(), modes);
    assert!(!shell.said().contains("signal INT"), "{}", shell.said());
    assert!(shell.log().contains("\"stopped\""), "{}", shell.log());
    shell.exit();
}

#[test]
fn the_shell_gets_the_exit_code_and_its_terminal_back() {
    let shell = Shell::start();
    let modes = shell.screen.modes();
    let number = shell.tried.get() + 1;
    let shown = shell.run(&format!("{AGENT_WRAP} --standalone --restart no sh -c 'exit 7' 2>log"));
    assert!(shown.contains(&format!("did {number} 7,")), "{shown}");
    shell.prompt();
    assert_eq!(shell.screen.modes(), modes);
    shell.exit();
}

#[test]
fn in_the_background_of_a_shell() {
    let shell = Shell::start();
    shell.screen.type_in(&format!("{} &\n", shell.command_line()));
    let agent = shell.wait_for_agent();
    let wrapper = stat(agent).unwrap().parent;
    // The terminal stays the shell's, and what is typed there is none of ours.
    assert_eq!(shell.screen.foreground(), shell.pid());
    shell.screen.type_in(CTRL_C);
    shell.run("true");
    assert_eq!(shell.screen.foreground(), shell.pid());
    assert!(is_alive(wrapper) && is_alive(agent));
    assert!(!shell.log().contains("\"stopping\""), "{}", shell.log());
    // Into the foreground, and now the key is for us.
    shell.screen.type_in("fg\n");
    eventually("the wrapper is in the foreground", || shell.screen.foreground() == wrapper);
    shell.screen.type_in(CTRL_C);
    wait_for_end(wrapper);
    shell.prompt();
    assert!(shell.log().contains("SIGINT from the terminal"), "{}", shell.log());
    shell.exit();
}

#[test]
fn a_job_that_is_told_to_go_on_in_the_background() {
    let shell = Shell::start();
    shell.screen.type_in(&format!("{}\n", shell.command_line()));
    let agent = shell.wait_for_agent();
    let wrapper = stat(agent).unwrap().parent;
    shell.screen.type_in(CTRL_Z);
    eventually("both are stopped", || state(wrapper) == Some('T') && state(agent) == Some('T'));
    shell.prompt();
    shell.run("bg");
    eventually("both go on", || {
        state(wrapper).is_some_and(|state| state != 'T') && state(agent).is_some_and(|state| state != 'T')
    });
    assert_eq!(shell.screen.foreground(), shell.pid());
    shell.run("kill %1");
    wait_for_end(wrapper);
    assert!(!is_alive(agent));
    shell.exit();
}

#[test]
fn a_stop_reaches_a_wrapper_that_was_stopped_by_the_key() {
    let shell = Shell::start();
    shell.screen.type_in(&format!("{}\n", shell.command_line()));
    let agent = shell.wait_for_agent();
    let wrapper = stat(agent).unwrap().parent;
    shell.screen.type_in(CTRL_Z);
    eventually("both are stopped", || state(wrapper) == Some('T') && state(agent) == Some('T'));
    shell.prompt();
    // As systemd and shells do it: a TERM waits until the process is continued.
    kill(wrapper, Signal::SIGTERM).unwrap();
    kill(wrapper, Signal::SIGCONT).unwrap();
    wait_for_end(wrapper);
    assert!(!is_alive(agent));
    assert!(shell.log().contains("\"stopped\""), "{}", shell.log());
    shell.exit();
}
