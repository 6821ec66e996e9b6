//! The terminal is left as it was, whatever ends the wrapper and whatever the agent has made of it.

mod common;

use std::process::Command;

use common::screen::{CTRL_C, CTRL_Z, Screen};
use common::standalone::{children, folder, name, stat, text};
use common::{AGENT_WRAP, PATIENCE, eventually, wait_within, wrap};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::LocalFlags;
use nix::unistd::Pid;

/// An agent in the background of its terminal changes the modes all the same when it ignores what would stop it.
const SPOILS: &str = "trap '' TTOU; stty -echo -icanon </dev/tty; echo it is spo''iled";

/// How a wrapper is started and made to end, and with which code it does.
struct Exit {
    code: i32,
    options: &'static [&'static str],
    /// What the agent does before it has spoiled the terminal.
    first: &'static str,
    agent: &'static str,
    signals: &'static [Signal],
}

const fn exit(code: i32, options: &'static [&'static str], agent: &'static str, signals: &'static [Signal]) -> Exit {
    Exit { code, options, first: ":", agent, signals }
}

const EXITS: &[Exit] = &[
    exit(0, &[], "exec sleep 1000", &[Signal::SIGTERM]),
    exit(0, &[], "exec sleep 1000", &[Signal::SIGINT]),
    exit(7, &["--restart", "no"], "exit 7", &[]),
    exit(71, &["--restart-limit", "1"], "exit 1", &[]),
    Exit {
        first: "trap '' TERM",
        ..exit(137, &["--grace", "100ms"], "while :; do sleep 0.1; done", &[Signal::SIGTERM])
    },
    exit(137, &["--restart", "no"], "kill -KILL $$", &[]),
];

#[test]
fn what_the_agent_has_changed_is_put_back_on_every_exit() {
    for Exit { code, options, first, agent, signals } in EXITS {
        let mut command = wrap();
        command.args(["--standalone"]).args(*options).args(["sh", "-c", &format!("{first}; {SPOILS}; {agent}")]);
        let screen = Screen::of(&mut command);
        let modes = screen.modes();
        let mut child = command.spawn().unwrap();
        screen.wait_for("it is spoiled", 1);
        if !signals.is_empty() {
            assert!(!screen.modes().local_flags.contains(LocalFlags::ECHO), "the agent has changed nothing");
        }
        for signal in *signals {
            kill(Pid::from_raw(child.id().try_into().unwrap()), *signal).unwrap();
        }
        let status = wait_within(&mut child, PATIENCE).unwrap();
        assert_eq!(status.code(), Some(*code), "{}", screen.written());
        assert_eq!(screen.modes(), modes, "{code} {options:?}");
    }
}

#[test]
fn an_exit_without_an_agent_changes_nothing() {
    let folder = folder();
    let absent = text(folder.path().join("absent"));
    let not_executable = text(folder.path());
    for (code, arguments) in [
        (0, &["--help"][..]),
        (64, &["--no-such-option"]),
        (69, &["--url", "http://127.0.0.1:9/", "--node", "n", "--start-timeout", "1s", "true"]),
        (78, &["--grace", "x", "true"]),
        (126, &["--standalone", &not_executable]),
        (127, &["--standalone", &absent]),
    ] {
        let mut command = wrap();
        command.env("STATE_DIRECTORY", folder.path()).args(arguments);
        let screen = Screen::of(&mut command);
        let modes = screen.modes();
        let mut child = command.spawn().unwrap();
        let status = wait_within(&mut child, PATIENCE).unwrap();
        assert_eq!(status.code(), Some(code), "{}", screen.written());
        assert_eq!(screen.modes(), modes, "{code}");
    }
}

/// Has a shell carry out a line that shows the modes at its end, and expects that nothing is echoed there.
#[track_caller]
fn expect_no_echo(shell: &str, line: &str) {
    let mut command = Command::new(shell);
    command.args(["-c", line]).env_clear().envs(wrap().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let screen = Screen::of(&mut command);
    let mut shell = command.spawn().expect("the shell is there");
    drop(command);
    let shown = screen.wait_for("it is over", 1);
    assert!(shown.contains(" -echo "), "{shown}");
    assert!(wait_within(&mut shell, PATIENCE).is_some());
}

#[test]
fn in_the_background_the_modes_are_the_shells_and_stay() {
    // The leader of the session has the foreground, sets the modes after the wrapper has come and is asked for them at
    // the end.
    let shell = "bash";
    let line = format!(
        "set -m; {AGENT_WRAP} --standalone sleep 1000 & until grep -q . /proc/$!/task/$!/children; do :; done; stty -echo; kill %1; wait; \
         stty -a; echo it is over"
    );
    expect_no_echo(shell, &line);
}

#[test]
fn a_pager_behind_a_pipe_has_the_modes_to_itself() {
    let folder = folder();
    let set = text(folder.path().join("set"));
    let shell = "sh";
    let agent = format!("until [ -e {set} ]; do sleep 0.01; done");
    let pager = format!("grep -m 1 started; stty -echo </dev/tty; : >{set}; cat; stty -a </dev/tty; echo it is over");
    let line = format!("{AGENT_WRAP} --standalone --restart no sh -c '{agent}' 2>&1 | sh -c '{pager}'");
    expect_no_echo(shell, &line);
}

#[test]
fn what_was_set_while_we_were_stopped_stays() {
    let folder = folder();
    // One that does not set the modes anew behind us, as bash does.
    let mut command = Command::new("sh");
    command.arg("-i").env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("PS1", "$ ").env("XDG_RUNTIME_DIR", folder.path());
    let screen = Screen::of(&mut command);
    let mut shell = command.spawn().unwrap();
    let pid = Pid::from_raw(shell.id().try_into().unwrap());
    screen.type_in(&format!("{AGENT_WRAP} --standalone sleep 1000\n"));
    screen.wait_for("the agent is started", 1);
    let wrapper = children(pid).into_iter().find(|child| name(*child) == "agent-wrap").unwrap();
    screen.type_in(CTRL_Z);
    eventually("it is stopped", || stat(wrapper).is_some_and(|stat| stat.state == 'T'));
    eventually("the shell is in the foreground", || screen.foreground() == pid);
    screen.type_in("stty erase '^H'; echo do''ne\n");
    screen.wait_for("done", 1);
    let modes = screen.modes();
    screen.type_in("fg\n");
    eventually("it is in the foreground", || screen.foreground() == wrapper);
    // Once it has taken note of the modes it goes on.
    eventually("it goes on", || stat(wrapper).is_some_and(|stat| stat.state == 'S'));
    screen.type_in(CTRL_C);
    screen.wait_for("exit code 0", 1);
    eventually("the shell is in the foreground", || screen.foreground() == pid);
    assert_eq!(screen.modes(), modes);
    screen.type_in("exit\n");
    assert!(wait_within(&mut shell, PATIENCE).is_some());
}
