//! Job control: Ctrl-Z, fg and bg stop and continue the agent with the wrapper, where somebody is there to continue them,
//! and the shell gets its terminal back as it was.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use common::screen::{CTRL_C, CTRL_Z, Screen, type_in};
use common::standalone::{Said, misbehave, standalone_with, stat, wait_for_end};
use common::{AGENT_WRAP, PATIENCE, Wrap, eventually, is_alive, wait_within, wrap};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

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
    let log = shell.log();
    assert!(log.contains("\"stopped\"") && !log.contains("\"agent_suspended\""), "{log}");
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

#[test]
fn what_the_agent_has_to_end_does_not_run_out_while_both_are_stopped() {
    let shell = Shell::start();
    // It needs a second after it went on, in which a time that had run out would end it.
    let agent = "trap 'echo signal TERM' TERM; echo hanging; until [ -e go ]; do sleep 0.05; done; sleep 1";
    let line = format!("{AGENT_WRAP} --standalone --log-format json --grace 8s sh -c \"{agent}\" >said 2>log\n");
    shell.screen.type_in(&line);
    let agent = shell.wait_for_agent();
    let wrapper = stat(agent).unwrap().parent;
    shell.screen.type_in(CTRL_C);
    eventually("the agent is asked to end", || shell.said().contains("signal TERM"));
    shell.screen.type_in(CTRL_Z);
    eventually("both are stopped", || state(wrapper) == Some('T') && state(agent) == Some('T'));
    shell.prompt();
    // A clock that is not ours: when it is over, the time for the agent would be.
    shell.run("sleep 9; touch go");
    shell.screen.type_in("fg\n");
    wait_for_end(wrapper);
    let log = shell.log();
    assert!(log.contains("exit code 0") && !log.contains("\"killing\""), "{log}");
    shell.exit();
}

#[test]
fn in_the_background_of_a_script_the_keys_are_the_scripts() {
    let folder = common::standalone::folder();
    let mut command = Command::new("sh");
    let line = format!(
        "trap 'echo the script is'' interrupted' INT; {AGENT_WRAP} --standalone {} --hang --print-signals >said 2>log & \
         until wait; do :; done; echo it'' is over",
        misbehave()
    );
    command.args(["-c", &line]).current_dir(folder.path());
    command.env_clear().envs(wrap().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let screen = Screen::of(&mut command);
    let mut script = command.spawn().unwrap();
    drop(command);
    let said = || fs::read_to_string(folder.path().join("said")).unwrap_or_default();
    eventually("the agent is there", || said().contains("hanging"));
    let pid = Pid::from_raw(script.id().try_into().unwrap());
    let wrapper = common::standalone::children(pid)[0];
    assert_eq!(fs::read_link(format!("/proc/{wrapper}/fd/0")).unwrap(), PathBuf::from("/dev/null"));
    screen.type_in(CTRL_C);
    screen.wait_for("the script is interrupted", 1);
    // Another signal that comes after it shows that nothing has come of it.
    kill(wrapper, Signal::SIGQUIT).unwrap();
    eventually("the agent has got it", || said().contains("signal QUIT"));
    assert!(is_alive(wrapper) && !said().contains("signal TERM") && !said().contains("signal INT"), "{}", said());
    kill(wrapper, Signal::SIGTERM).unwrap();
    wait_for_end(wrapper);
    assert!(said().contains("signal TERM"));
    screen.wait_for("it is over", 1);
    assert!(wait_within(&mut script, PATIENCE).is_some());
}

#[test]
fn ctrl_z_does_not_stop_the_leader_of_a_session() {
    let mut command = standalone_with(&[], &[misbehave(), "--hang", "--print-signals"]);
    let said = Said::by(&mut command);
    let wrap = Wrap::start_at_terminal(command);
    said.wait_for("hanging");
    let agent = wrap.agent_pid(1);
    for _ in 1..=2 {
        type_in(wrap.terminal.as_ref().unwrap(), CTRL_Z);
        // Its group is continued at once.
        said.wait_for("signal CONT");
    }
    assert_ne!(state(wrap.pid()), Some('T'));
    assert_ne!(state(agent), Some('T'));
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("agent_suspended"), "{}", outcome.text());
}

#[test]
fn ctrl_z_does_not_stop_a_command_of_a_shell_without_job_control() {
    // As `ssh -t`, `script -c` and `docker run -it` start it.
    let mut command = Command::new("sh");
    let line =
        format!("trap : INT; {AGENT_WRAP} --standalone {} --hang --print-signals; echo ended with $?,", misbehave());
    command.args(["-c", &line]).env_clear().envs(wrap().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let screen = Screen::of(&mut command);
    let mut shell = command.spawn().unwrap();
    drop(command);
    screen.wait_for("hanging", 1);
    screen.wait_for("the agent is started", 1);
    screen.type_in(CTRL_Z);
    screen.wait_for("signal CONT", 1);
    screen.type_in(CTRL_C);
    screen.wait_for("ended with 0,", 1);
    assert!(wait_within(&mut shell, PATIENCE).is_some());
}

/// The files that the settings name are read before there is anything else to stop.
#[test]
fn ctrl_z_brings_the_prompt_back_while_a_file_is_waited_for() {
    let shell = Shell::start();
    shell.run("mkfifo gate");
    // The pipe stays open, and nothing comes.
    let line = format!(
        "{AGENT_WRAP} --state-dir . --url http://127.0.0.1:1/ --node a --user k --token-file <(cat gate) --log-format json true 2>log"
    );
    shell.screen.type_in(&format!("{line}\n"));
    eventually("the wait is told of", || shell.log().contains("\"slow_start\""));
    for _ in 0..2 {
        shell.screen.type_in(CTRL_Z);
        shell.prompt();
        shell.screen.type_in("fg\n");
        eventually("it is in the foreground", || shell.screen.foreground() != shell.pid());
    }
    shell.screen.type_in(CTRL_C);
    shell.prompt();
    shell.exit();
}
