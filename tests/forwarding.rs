//! What each signal does, and what an agent is started with: dispositions, descriptors, environment, its three streams.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use common::standalone::{
    Said, folder, misbehave, on_fork, standalone, standalone_script, standalone_with, start_and_listen, text,
    without_terminal,
};
use common::{PATIENCE, Wrap, wait_within};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use serde_json::Value;

/// A wrapper without a terminal whose agent says each signal it gets; returns once it is ready.
fn printing(options: &[&str]) -> (Wrap, Said) {
    let mut command = standalone_with(options, &[misbehave(), "--hang", "--print-signals"]);
    without_terminal(&mut command);
    let (wrap, said) = start_and_listen(command);
    said.wait_for("hanging");
    (wrap, said)
}

/// The signals the agent got, once it has got a QUIT that was sent after all others.
fn signals_so_far(wrap: &Wrap, said: &Said) -> Vec<String> {
    let mut signals = Vec::new();
    // What comes together is taken in the order of numbers: only the second QUIT is sure to be behind everything.
    for _ in 0..2 {
        wrap.signal(Signal::SIGQUIT);
        signals.extend(said.wait_for("signal QUIT"));
    }
    signals.retain(|line| line.starts_with("signal "));
    signals
}

#[test]
fn quit_is_forwarded_and_asks_for_the_threads() {
    let (wrap, said) = printing(&[]);
    wrap.signal(Signal::SIGQUIT);
    said.wait_for("signal QUIT");
    said.wait_for("Full thread dump of an agent that misbehaves");
    wrap.stop().expect_code(0);
}

#[test]
fn what_is_about_a_terminal_or_job_control_is_not_forwarded() {
    let (wrap, said) = printing(&[]);
    for signal in [Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGURG, Signal::SIGIO, Signal::SIGTSTP] {
        wrap.signal(signal);
    }
    assert_eq!(signals_so_far(&wrap, &said), [""; 0]);
    // And it has not stopped the wrapper.
    wrap.stop().expect_code(0);
}

#[test]
fn every_other_signal_is_forwarded() {
    let others = ["PWR", "ALRM", "VTALRM", "PROF", "XCPU", "XFSZ", "STKFLT"];
    let mut traps: String = others.iter().map(|name| format!("trap 'echo got {name}' {name}; ")).collect();
    let realtime = 37;
    traps.push_str(&format!("trap 'echo got {realtime}' {realtime}; "));
    let script = format!("{traps} sleep 1000 & echo ready; while :; do wait; done");
    let (wrap, said) = start_and_listen(standalone_with(&["--grace", "200ms"], &["bash", "-c", &script]));
    said.wait_for("ready");
    for name in others {
        // nix knows no STKFLT on every architecture.
        let number = Signal::iterator().find(|signal| signal.as_str() == format!("SIG{name}")).unwrap();
        wrap.signal(number);
        said.wait_for(&format!("got {name}"));
    }
    // SAFETY: kill takes two integers.
    assert_eq!(unsafe { libc::kill(wrap.pid().as_raw(), realtime) }, 0);
    said.wait_for(&format!("got {realtime}"));
    wrap.stop().expect_code(0);
}

#[test]
fn a_hangup_without_a_terminal_reads_the_settings_again() {
    let folder = folder();
    let file = folder.path().join("agent-wrap.toml");
    fs::write(&file, "grace = \"1h\"\n").unwrap();
    let mut command = standalone_with(&["--config", &text(&file)], &[misbehave(), "--hang", "--ignore-term"]);
    without_terminal(&mut command);
    let (wrap, said) = start_and_listen(command);
    said.wait_for("hanging");
    fs::write(&file, "grace = \"200ms\"\n").unwrap();
    wrap.signal(Signal::SIGHUP);
    wrap.wait_for("policy_changed");
    fs::write(&file, "grace = \n").unwrap();
    wrap.signal(Signal::SIGHUP);
    wrap.wait_for("reload_failed");
    // The settings before still hold: with those of the start the agent would have an hour.
    wrap.stop().expect_code(137);
    assert!(!said.rest().contains(&"signal HUP".to_owned()));
}

#[test]
fn landing_and_taking_off_mean_nothing_without_a_controller() {
    let (wrap, said) = printing(&[]);
    wrap.signal(Signal::SIGUSR1);
    let line = wrap.wait_for("request");
    assert!(line["message"].as_str().unwrap().starts_with("land: has no meaning"), "{line}");
    wrap.signal(Signal::SIGUSR2);
    let line = wrap.wait_for_nth("request", 2);
    assert!(line["message"].as_str().unwrap().starts_with("take off: has no meaning"), "{line}");
    assert_eq!(signals_so_far(&wrap, &said), [""; 0]);
    wrap.stop().expect_code(0);
}

#[test]
fn a_second_term_changes_nothing() {
    let (wrap, said) = start_and_listen(standalone_with(
        &["--grace", "1h"],
        &[misbehave(), "--hang", "--ignore-term", "--print-signals"],
    ));
    said.wait_for("hanging");
    wrap.signal(Signal::SIGTERM);
    said.wait_for("signal TERM");
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("request");
    let agent = wrap.agent_pid(1);
    assert!(common::is_alive(agent));
    kill(agent, Signal::SIGKILL).unwrap();
    let outcome = wrap.outcome();
    // Somebody else has killed it, but while we wanted its end.
    assert!([0, 137].contains(&outcome.code()), "{}", outcome.text());
    assert!(!said.rest().contains(&"signal TERM".to_owned()), "{}", outcome.text());
}

#[test]
fn a_stop_says_who_asked_for_it() {
    let (wrap, _said) = printing(&[]);
    let outcome = wrap.stop();
    let me = format!("SIGTERM from process {}", std::process::id());
    assert!(outcome.text().contains(&me), "{}", outcome.text());
}

#[test]
fn a_signal_means_what_it_is_set_to() {
    let set = |setting: &str| printing(&["--signal", setting]);

    for verb in ["stop", "stop-now"] {
        let (wrap, said) = set(&format!("USR1={verb}"));
        wrap.signal(Signal::SIGUSR1);
        let outcome = wrap.outcome();
        outcome.expect_code(0);
        assert!(outcome.has("stopping") && outcome.text().contains("SIGUSR1"), "{}", outcome.text());
        assert!(said.rest().contains(&"signal TERM".to_owned()));
    }

    for (verb, words) in [("drain", "land"), ("online", "take off")] {
        let (wrap, said) = set(&format!("WINCH={verb}"));
        wrap.signal(Signal::SIGWINCH);
        let line = wrap.wait_for("request");
        assert!(line["message"].as_str().unwrap().starts_with(words), "{line}");
        assert_eq!(signals_so_far(&wrap, &said), [""; 0]);
        wrap.stop().expect_code(0);
    }

    let (wrap, _said) = set("USR1=reload");
    wrap.signal(Signal::SIGUSR1);
    wrap.wait_for("policy_changed");
    wrap.stop().expect_code(0);

    let (wrap, said) = set("USR1=restart");
    let first = wrap.agent_pid(1);
    wrap.signal(Signal::SIGUSR1);
    said.wait_for("hanging");
    assert_ne!(wrap.agent_pid(2), first);
    assert!(!common::is_alive(first));
    wrap.stop().expect_code(0);

    let (wrap, said) = set("USR1=forward");
    wrap.signal(Signal::SIGUSR1);
    said.wait_for("signal USR1");
    wrap.stop().expect_code(0);

    let (wrap, said) = set("USR1=ignore");
    wrap.signal(Signal::SIGUSR1);
    assert_eq!(signals_so_far(&wrap, &said), [""; 0]);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("request"), "{}", outcome.text());

    let (wrap, said) = set("TERM=forward");
    wrap.signal(Signal::SIGTERM);
    said.wait_for("signal TERM");
    // The agent has ended by itself, as far as we know, and is started again.
    said.wait_for("hanging");
    wrap.signal(Signal::SIGINT);
    wrap.outcome().expect_code(0);
}

/// What the agent of this wrapper was started with.
fn status(mut command: Command) -> (Value, common::Outcome) {
    let folder = folder();
    let file = text(folder.path().join("status"));
    command.args(["--restart", "no", misbehave(), "--exit-at-once", "0", "--write-status", &file]);
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(0);
    (serde_json::from_slice(&fs::read(file).unwrap()).unwrap(), outcome)
}

/// The signals of a mask, without the two that the C library keeps to itself and lets nobody change.
fn numbers(mask: &Value) -> BTreeSet<i32> {
    let mask = mask.as_u64().unwrap();
    (1..=64).filter(|signal| mask >> (signal - 1) & 1 == 1 && ![32, 33].contains(signal)).collect()
}

/// Starts it as a careless parent would: with these signals ignored and everything blocked.
fn careless(command: &mut Command, ignored: &'static [Signal]) {
    on_fork(command, move || {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        for &signal in ignored {
            // SAFETY: ignoring runs no code.
            unsafe { sigaction(signal, &ignore) }?;
        }
        SigSet::all().thread_set_mask()?;
        Ok(())
    });
}

#[test]
fn the_agent_starts_with_nothing_blocked_or_ignored() {
    let (status, _) = status(standalone(&[]));
    assert_eq!(status["blocked"], 0);
    assert_eq!(numbers(&status["ignored"]), BTreeSet::new());
    assert_eq!(status["parent_death_signal"], 9);
    assert_eq!(status["group"], status["pid"]);
    assert_ne!(status["session"], status["pid"]);
}

#[test]
fn whatever_the_wrapper_was_started_with() {
    const IGNORED: &[Signal] = &[
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGPIPE,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGCHLD,
        Signal::SIGTSTP,
        Signal::SIGTTOU,
    ];
    let mut command = standalone(&[]);
    careless(&mut command, IGNORED);
    let (status, _) = status(command);
    assert_eq!(status["blocked"], 0);
    // As after nohup.
    assert_eq!(numbers(&status["ignored"]), BTreeSet::from([libc::SIGHUP]));
}

#[test]
fn a_term_works_where_the_parent_has_ignored_and_blocked_it() {
    let mut command = standalone_with(&[], &[misbehave(), "--hang"]);
    careless(&mut command, &[Signal::SIGTERM, Signal::SIGCHLD]);
    let (wrap, said) = start_and_listen(command);
    said.wait_for("hanging");
    wrap.stop().expect_code(0);
}

#[test]
fn an_ignored_interrupt_or_hangup_stays_ignored() {
    let mut command = standalone_with(&[], &[misbehave(), "--hang", "--print-signals"]);
    without_terminal(&mut command);
    careless(&mut command, &[Signal::SIGINT, Signal::SIGHUP]);
    let (wrap, said) = start_and_listen(command);
    said.wait_for("hanging");
    wrap.signal(Signal::SIGINT);
    wrap.signal(Signal::SIGHUP);
    assert_eq!(signals_so_far(&wrap, &said), [""; 0]);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("reload"), "{}", outcome.text());
    assert!(outcome.text().contains("SIGTERM") && !outcome.text().contains("SIGINT"), "{}", outcome.text());
}

#[test]
fn no_descriptor_but_the_three_is_inherited() {
    let folder = folder();
    let file = fs::File::create(folder.path().join("open")).unwrap();
    let open = file.as_raw_fd();
    let mut command = standalone(&[]);
    on_fork(&mut command, move || {
        for number in [40, 41, 300] {
            // SAFETY: dup2 takes two integers; the descriptor is open in the child.
            if unsafe { libc::dup2(open, number) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    });
    let (status, _) = status(command);
    let descriptors: Vec<&String> = status["fds"].as_object().unwrap().keys().collect();
    assert_eq!(descriptors, ["0", "1", "2"], "{}", status["fds"]);
}

#[test]
fn closed_standard_streams_do_no_harm() {
    let mut command = standalone(&[]);
    on_fork(&mut command, || {
        // The log's end is kept: what is wrong is to be seen.
        for number in [0, 1] {
            // SAFETY: it takes an integer, and nothing in the child uses the stream before the exec.
            unsafe { libc::close(number) };
        }
        Ok(())
    });
    let (status, _) = status(command);
    assert_eq!(status["fds"]["0"], "/dev/null");
    assert_eq!(status["fds"]["1"], "/dev/null");
}

#[test]
fn the_environment_is_scrubbed_and_no_more() {
    let withheld = [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "CREDENTIALS_DIRECTORY",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "AGENT_WRAP_TOKEN",
        "JENKINS_API_TOKEN",
    ];
    let kept = ["PATH", "HOME", "JENKINS_HOME", "LISTENER", "BUILD_ID", "LC_ALL"];
    let mut command = standalone(&[]);
    for name in withheld.iter().chain(&kept[1..]) {
        command.env(name, "/agent-wrap/test");
    }
    command.env("AGENT_WRAP_GRACE", "7s");
    let (status, outcome) = status(command);
    let names: BTreeSet<&str> = status["environ"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = BTreeSet::from(kept);
    expected.insert("XDG_RUNTIME_DIR");
    // By it the wrapper finds what belongs to the agent.
    expected.insert("AGENT_WRAP_RUN");
    // Those that every wrapper under test is given, where this machine has them.
    for name in ["JAVA_HOME", "LANG"].into_iter().filter(|name| std::env::var_os(name).is_some()) {
        expected.insert(name);
    }
    assert_eq!(names, expected);
    assert_eq!(status["environ"]["LISTENER"], "/agent-wrap/test");
    assert!(outcome.text().contains("12 s"), "AGENT_WRAP_GRACE has counted: {}", outcome.text());
}

#[test]
fn arguments_reach_the_agent_byte_for_byte() {
    let odd = ["", " ", "a b", "$HOME", "--restart", "'\"\\", "-", "ü", "line\nbreak"];
    let mut command = standalone(&["--restart", "no"]);
    command.args(["--", "sh", "-c", "for word; do printf '<%s>' \"$word\"; done; echo", "name"]).args(odd);
    let said = Said::by(&mut command);
    Wrap::start(command).outcome().expect_code(0);
    let expected: String = odd.iter().map(|word| format!("<{word}>")).collect();
    assert_eq!(said.rest().join("\n"), expected);
}

/// Passes 1 MiB of noise through an agent and compares what comes out of both its ends.
#[test]
fn the_three_streams_are_the_agents_own() {
    let mut noise = vec![0; 1 << 20];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    let mut command =
        standalone_script(&["--restart", "no", "--log-level", "error", "--leftovers", "leave"], "exec tee /dev/stderr");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let (mut out, mut log) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut written, mut logged) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            input.write_all(&noise).unwrap();
            drop(input);
        });
        scope.spawn(|| out.read_to_end(&mut written).unwrap());
        scope.spawn(|| log.read_to_end(&mut logged).unwrap());
    });
    let status = wait_within(&mut child, PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&logged));
    assert!(written == noise, "{} of {} bytes came out", written.len(), noise.len());
    assert!(logged == noise, "{} of {} bytes came out of stderr", logged.len(), noise.len());
}
