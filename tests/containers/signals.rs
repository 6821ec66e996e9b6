//! `podman kill` with each signal, and what comes of it. The kernel spares process 1 what it has no handler for, so that
//! one that is merely forgotten would look like one that is ignored.

use std::sync::Arc;

use nix::libc;

use crate::Test;
use crate::common::eventually;
use crate::common::standalone::stat;
use crate::container::{Container, Site};
use crate::machine::Machine;

pub const TESTS: &[(&str, Test)] = &[
    ("what_each_signal_does_that_ends_it", what_each_signal_does_that_ends_it),
    ("what_each_signal_does_that_does_not_end_it", what_each_signal_does_that_does_not_end_it),
    ("every_signal_is_in_a_table", every_signal_is_in_a_table),
    ("a_frozen_container_goes_on", a_frozen_container_goes_on),
];

/// The signal, the exit code, and whether the node is marked then.
const ENDING: &[(i32, i32, bool)] = &[(libc::SIGTERM, 0, true), (libc::SIGINT, 0, true), (libc::SIGKILL, 137, false)];

/// What comes of a signal that does not end the wrapper.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The settings are read again.
    Reload,
    /// The node is marked, and we stay.
    Land,
    /// The mark is lifted again.
    TakeOff,
    /// The agent gets it and says this.
    Said(&'static str),
    /// The agent gets it, ends by it, and is started again.
    AgentEnds,
    /// Nothing at all.
    Nothing,
}

/// The signals that do not end it, in an order in which they can come.
const SURVIVED: &[(i32, Fate)] = &[
    (libc::SIGHUP, Fate::Reload),
    (libc::SIGUSR1, Fate::Land),
    (libc::SIGUSR2, Fate::TakeOff),
    (libc::SIGQUIT, Fate::Said("signal QUIT")),
    // What the kernel tells about our own descriptors, children and terminal.
    (libc::SIGCHLD, Fate::Nothing),
    (libc::SIGPIPE, Fate::Nothing),
    (libc::SIGURG, Fate::Nothing),
    (libc::SIGWINCH, Fate::Nothing),
    (libc::SIGIO, Fate::Nothing),
    (libc::SIGTTIN, Fate::Nothing),
    (libc::SIGTTOU, Fate::Nothing),
    // A container without a terminal has nobody who could have it go on.
    (libc::SIGTSTP, Fate::Nothing),
    (libc::SIGCONT, Fate::Nothing),
    // Faults of a program, which nobody can have on behalf of it: the kernel spares process 1.
    (libc::SIGILL, Fate::Nothing),
    (libc::SIGTRAP, Fate::Nothing),
    (libc::SIGABRT, Fate::Nothing),
    (libc::SIGBUS, Fate::Nothing),
    (libc::SIGFPE, Fate::Nothing),
    (libc::SIGSEGV, Fate::Nothing),
    (libc::SIGSYS, Fate::Nothing),
    (libc::SIGALRM, Fate::AgentEnds),
    (libc::SIGVTALRM, Fate::AgentEnds),
    (libc::SIGPROF, Fate::AgentEnds),
    (libc::SIGXCPU, Fate::AgentEnds),
    (libc::SIGXFSZ, Fate::AgentEnds),
    (libc::SIGSTKFLT, Fate::AgentEnds),
    (libc::SIGPWR, Fate::AgentEnds),
    (40, Fate::AgentEnds),
    (64, Fate::AgentEnds),
];

fn what_each_signal_does_that_ends_it(machine: &Arc<Machine>) {
    for &(signal, code, marked) in ENDING {
        let site = Site::new(machine, &format!("ending-{signal}"));
        let container = site.run_online(&[]);
        container.kill(&signal.to_string());
        container.expect_code(code);
        let state = site.state();
        assert_eq!(state.marked, marked, "signal {signal}: {state:?}\n{}", container.log());
    }
}

fn what_each_signal_does_that_does_not_end_it(machine: &Arc<Machine>) {
    let site = Site::new(machine, "surviving");
    let container = site.run_online(&[
        "--env=MISBEHAVE=--print-signals",
        "--env=AGENT_WRAP_RESTART_DELAY=1ms",
        "--env=AGENT_WRAP_RESTART_SLOW_AFTER=1000",
    ]);
    for (signal, fate) in SURVIVED {
        comes_of(&site, &container, *signal, *fate);
    }
    assert_eq!(container.stop(60), 0, "{}", container.log());
    site.expect_marked();
}

fn comes_of(site: &Site, container: &Container, signal: i32, fate: Fate) {
    let before = (container.count("agent_started"), container.count("agent_connected"));
    let records = container.records().len();
    let sent = || container.kill(&signal.to_string());
    match fate {
        Fate::Reload => {
            sent();
            container.await_event("policy_changed");
        }
        Fate::Land => {
            sent();
            container.await_event("landed");
            assert!(site.state().marked && site.state().connected == Some(true), "{:?}", site.state());
        }
        Fate::TakeOff => {
            sent();
            eventually("the mark is lifted", || site.is_online());
        }
        Fate::Said(words) => {
            let said = container.log().matches(words).count();
            sent();
            container.await_words(words, said + 1);
        }
        Fate::AgentEnds => {
            sent();
            container.await_events("agent_connected", before.1 + 1);
            return;
        }
        Fate::Nothing => {
            sent();
            // One after the other: what would have come of it has come once this has.
            let dumps = container.log().matches("signal QUIT").count();
            container.kill("QUIT");
            container.await_words("signal QUIT", dumps + 1);
            assert_eq!(container.records().len(), records, "signal {signal}: {}", container.log());
            let name = nix::sys::signal::Signal::try_from(signal).expect("it has a name").as_str();
            let said = format!("signal {}\n", name.trim_start_matches("SIG"));
            assert!(!container.log().contains(&said), "{signal}: {}", container.log());
        }
    }
    assert_eq!(container.count("agent_started"), before.0, "signal {signal}: {}", container.log());
}

fn every_signal_is_in_a_table(_: &Arc<Machine>) {
    let mut known: Vec<i32> = ENDING.iter().map(|(signal, ..)| *signal).collect();
    known.extend(SURVIVED.iter().map(|(signal, _)| *signal));
    // See `a_frozen_container_goes_on`.
    known.push(libc::SIGSTOP);
    known.sort_unstable();
    known.retain(|signal| *signal < 32);
    assert_eq!(known, (1..32).collect::<Vec<_>>());
}

fn a_frozen_container_goes_on(machine: &Arc<Machine>) {
    let site = Site::new(machine, "frozen");
    let container = site.run_online(&[]);
    let process = container.process();
    let state = || stat(process).map(|stat| stat.state);
    container.kill("STOP");
    eventually("it is frozen", || state() == Some('T'));
    container.kill("TERM");
    container.kill("CONT");
    container.expect_code(0);
    site.expect_marked();
}
