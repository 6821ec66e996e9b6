//! Each signal once with a controlling terminal and once without one, and each key that sends one: what becomes of the
//! wrapper, of the agent and of the node.

mod common;
mod trials;

use std::fs;
use std::process::ExitCode;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use common::screen::type_in;
use common::standalone::{Said, folder, misbehave, without_terminal};
use common::{Wrap, eventually, is_alive, wrap_with_state};
use nix::libc;
use trials::trial;

/// How it is sent.
#[derive(Clone, Copy)]
enum Sent {
    /// By another process.
    Kill(i32),
    /// By a key.
    Key(&'static str),
    /// By the terminal, which hangs up.
    Hangup,
}

/// What becomes of it.
#[derive(Clone, Copy)]
enum Becomes {
    /// The wrapper ends with 0 and leaves the node marked; the agent gets a TERM and nothing else.
    Stop,
    /// Everything goes on, and this is logged.
    Told(&'static str, &'static str),
    /// Everything goes on, and the agent gets these.
    Agent(&'static [&'static str]),
    /// The agent gets it, dies of it, and another is started.
    Death(&'static str),
    /// The node is marked, and the agent runs on.
    Landed,
}

/// With a terminal, and without one.
type Case = (&'static str, Sent, Option<Becomes>, Option<Becomes>);

const NOTHING: Becomes = Becomes::Agent(&[]);
const RELOAD: Becomes = Becomes::Told("policy_changed", "read again");

const fn same(name: &'static str, signal: i32, becomes: Becomes) -> Case {
    (name, Sent::Kill(signal), Some(becomes), Some(becomes))
}

const fn typed(name: &'static str, keys: &'static str, becomes: Becomes) -> Case {
    (name, Sent::Key(keys), Some(becomes), None)
}

const CASES: &[Case] = &[
    same("term", libc::SIGTERM, Becomes::Stop),
    same("int", libc::SIGINT, Becomes::Stop),
    typed("ctrl_c", "\x03", Becomes::Stop),
    // The sender does not count, but whether there still is a terminal.
    same("hup", libc::SIGHUP, RELOAD),
    ("hangup", Sent::Hangup, Some(Becomes::Stop), None),
    same("quit", libc::SIGQUIT, Becomes::Agent(&["signal QUIT"])),
    typed("ctrl_backslash", "\x1c", Becomes::Agent(&["signal QUIT"])),
    same("usr1", libc::SIGUSR1, Becomes::Landed),
    same("usr2", libc::SIGUSR2, Becomes::Told("request", "take off: is being done already")),
    // Nobody could continue the leader of a session: the agent is stopped with it, and both go on at once.
    ("tstp", Sent::Kill(libc::SIGTSTP), Some(Becomes::Agent(&["signal CONT"])), Some(NOTHING)),
    typed("ctrl_z", "\x1a", Becomes::Agent(&["signal CONT"])),
    same("cont", libc::SIGCONT, NOTHING),
    same("winch", libc::SIGWINCH, NOTHING),
    same("urg", libc::SIGURG, NOTHING),
    same("io", libc::SIGIO, NOTHING),
    same("chld", libc::SIGCHLD, NOTHING),
    same("ttin", libc::SIGTTIN, NOTHING),
    same("ttou", libc::SIGTTOU, NOTHING),
    same("pipe", libc::SIGPIPE, NOTHING),
    same("pwr", libc::SIGPWR, Becomes::Death("SIGPWR")),
    same("alrm", libc::SIGALRM, Becomes::Death("SIGALRM")),
    same("xcpu", libc::SIGXCPU, Becomes::Death("SIGXCPU")),
    same("realtime", 42, Becomes::Death("signal 42")),
];

fn play(sent: Sent, becomes: Becomes, at_terminal: bool) {
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n", 1).expect("the node is created");
    let folder = folder();
    let token = folder.path().join("token");
    fs::write(&token, "admin:admin-token").expect("the token is written");
    let mut command = wrap_with_state(folder.path().as_os_str());
    command.args(["--restart-delay", "10ms", "--token-file"]).arg(token);
    let agent = controller.agent_command("n");
    command.arg(misbehave()).args(&agent[1..]).arg("--print-signals");
    let said = Said::by(&mut command);
    let mut wrap = if at_terminal {
        Wrap::start_at_terminal(command)
    } else {
        without_terminal(&mut command);
        Wrap::start(command)
    };
    wrap.wait_for("agent_connected");
    let agent = wrap.agent_pid(1);
    match sent {
        // SAFETY: kill takes two integers.
        Sent::Kill(signal) => assert_eq!(unsafe { libc::kill(wrap.pid().as_raw(), signal) }, 0),
        Sent::Key(keys) => type_in(wrap.terminal.as_ref().expect("it has a terminal"), keys),
        Sent::Hangup => drop(wrap.terminal.take()),
    }
    let is_marked = || controller.node("n").expect("it answers").marked;
    match becomes {
        Becomes::Stop => {
            let outcome = wrap.outcome();
            outcome.expect_code(0);
            assert!(is_marked() && !is_alive(agent), "{}", outcome.text());
            let mut signals = said.rest();
            // The stop's CONT comes with its TERM, and may be handled first.
            signals.retain(|line| line.starts_with("signal ") && line != "signal CONT");
            assert_eq!(signals, ["signal TERM"], "{}", outcome.text());
            return;
        }
        Becomes::Told(event, words) => {
            let line = wrap.wait_for(event);
            assert!(line["message"].as_str().is_some_and(|message| message.contains(words)), "{line}");
            assert!(!is_marked());
        }
        Becomes::Agent(signals) => {
            for signal in signals {
                said.wait_for(signal);
            }
            assert_eq!(until_next_quit(&wrap, &said), [""; 0]);
            assert!(!is_marked());
        }
        Becomes::Death(name) => {
            let line = wrap.wait_for("agent_exited");
            assert!(line["message"].as_str().is_some_and(|message| message.contains(name)), "{line}");
            wrap.wait_for_nth("agent_connected", 2);
            assert!(!is_marked());
        }
        Becomes::Landed => {
            wrap.wait_for("landed");
            assert!(is_marked());
        }
    }
    if !matches!(becomes, Becomes::Death(_)) {
        assert!(is_alive(agent) && is_alive(wrap.pid()));
    }
    eventually("it is not stopped", || common::standalone::stat(wrap.pid()).is_some_and(|stat| stat.state != 'T'));
    wrap.stop().expect_code(0);
}

/// What else the agent gets before a QUIT that is sent now. What comes together is taken in the order of numbers: only
/// the second one is sure to be behind everything.
fn until_next_quit(wrap: &Wrap, said: &Said) -> Vec<String> {
    let mut signals = Vec::new();
    for _ in 0..2 {
        wrap.signal(nix::sys::signal::Signal::SIGQUIT);
        signals.extend(said.wait_for("signal QUIT"));
    }
    signals.retain(|line| line.starts_with("signal "));
    signals
}

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for (name, sent, with, without) in CASES {
        for (becomes, place) in [(with, "at_a_terminal"), (without, "without_a_terminal")] {
            if let Some(becomes) = becomes {
                let at_terminal = place == "at_a_terminal";
                trials.push(trial(format!("{place}::{name}"), move || play(*sent, *becomes, at_terminal)));
            }
        }
    }
    trials::run(trials, trials::MANY)
}
