//! How the wrapper ends: its exit codes, as agent-wrap(1) lists them, and what makes it end at all.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use agent_wrap_testbed::skip;

use common::standalone::{
    folder, misbehave, on_fork, standalone, standalone_script, standalone_with, start_and_listen, text,
};
use common::{AGENT_WRAP, Outcome, Wrap, eventually, is_alive, wrap};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};

fn run_script(options: &[&str], script: &str) -> Outcome {
    Wrap::start(standalone_script(options, script)).outcome()
}

fn run(options: &[&str], agent: &[&str]) -> Outcome {
    Wrap::start(standalone_with(options, agent)).outcome()
}

#[test]
fn the_agents_own_code() {
    run_script(&["--restart", "no"], "exit 7").expect_code(7);
    for code in (0..=255).step_by(17) {
        let outcome = run_script(&["--restart", "no"], &format!("exit {code}"));
        outcome.expect_code(code);
        assert!(outcome.has("agent_ended"), "{}", outcome.text());
    }
}

#[test]
fn the_signal_that_ended_the_agent() {
    for (name, code) in [("KILL", 137), ("TERM", 143), ("INT", 130), ("HUP", 129), ("SEGV", 139), ("USR1", 138)] {
        run_script(&["--restart", "no"], &format!("ulimit -c 0; kill -{name} $$")).expect_code(code);
    }
}

#[test]
fn an_agent_killed_by_somebody_else() {
    let wrap = Wrap::start(standalone_with(&["--restart", "no"], &["sleep", "1000"]));
    kill(wrap.agent_pid(1), Signal::SIGKILL).unwrap();
    let outcome = wrap.outcome();
    outcome.expect_code(137);
    assert!(outcome.text().contains("SIGKILL"), "{}", outcome.text());
}

#[test]
fn a_command_that_is_not_there() {
    let folder = folder();
    let absent = text(folder.path().join("absent"));
    for command in ["agent-wrap-no-such-command", &absent, "/dev/null/absent", ""] {
        let outcome = run(&[], &[command]);
        outcome.expect_code(127);
        assert_eq!(outcome.events().last().map(String::as_str), Some("not_started"), "{}", outcome.text());
    }
}

#[test]
fn a_file_that_is_no_program() {
    let folder = folder();
    let file = |name: &str, content: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        text(path)
    };
    let table = [
        file("no-x-bit", "#!/bin/sh\n", 0o644),
        text(folder.path()),
        file("no-interpreter", "#!/agent-wrap/no/such/interpreter\n", 0o755),
        file("no-format", "exit 0\n", 0o755),
        file("empty", "", 0o755),
    ];
    for program in &table {
        // --restart always: what cannot be executed at the first start is not tried again.
        run(&[], &[program]).expect_code(126);
    }
    let mut by_path = standalone_with(&[], &["no-x-bit"]);
    by_path.env("PATH", folder.path());
    Wrap::start(by_path).outcome().expect_code(126);
}

/// A wrapper that may have no more than so many of something.
fn limited(mut command: Command, resource: Resource, limit: u64) -> Outcome {
    on_fork(&mut command, move || {
        if resource == Resource::RLIMIT_NPROC {
            // Root may always have more. Nobody else is this user.
            nix::unistd::setgid(54321.into())?;
            nix::unistd::setuid(54321.into())?;
        }
        Ok(setrlimit(resource, limit, limit)?)
    });
    Wrap::start(command).outcome()
}

#[test]
fn a_system_without_descriptors_to_spare() {
    let folder = folder();
    fs::write(folder.path().join("token"), "me:hush").unwrap();
    let (state, token) = (text(folder.path()), text(folder.path().join("token")));
    // Looking a user up takes descriptors as well.
    let myself = nix::unistd::geteuid().to_string();
    let mut enough = false;
    for limit in 4..40 {
        let outcome = limited(
            standalone_with(&["--restart", "no", "--agent-user", &myself], &["true"]),
            Resource::RLIMIT_NOFILE,
            limit,
        );
        enough |= outcome.code() == 0;
        if !enough {
            outcome.expect_code(70);
            assert!(outcome.text().contains("ulimit -n") && !outcome.text().contains("5.4"), "{}", outcome.text());
        }
        // A port that nobody listens on.
        let mut command = wrap();
        command.args(["--url", "http://127.0.0.1:1/", "--node", "n", "--start-timeout", "1ms"]);
        command.args(["--state-dir", &state, "--token-file", &token, "--ca-file", "/dev/null", "true"]);
        let outcome = limited(command, Resource::RLIMIT_NOFILE, limit);
        let code = outcome.code();
        // With enough of them it gets as far as to see that there is no certificate in the file.
        let seen = outcome.text().contains("there is no certificate in it");
        assert_eq!(code, if seen { 78 } else { 70 }, "{}", outcome.text());
    }
    assert!(enough, "40 descriptors are enough for an agent");
}

#[test]
fn a_system_without_processes_to_spare() {
    if skip::unmet("exit_codes::a_system_without_processes_to_spare", skip::need_root()) {
        return;
    }
    let folder = folder();
    let program = folder.path().join("agent-wrap");
    common::copy_program(AGENT_WRAP, &program);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("XDG_RUNTIME_DIR", folder.path()).current_dir("/");
        command.stdout(Stdio::null()).args(arguments).args(["--restart", "no", "true"]);
        command
    };
    for arguments in [&["--standalone"][..], &["--url", "http://127.0.0.1:1/", "--node", "n"]] {
        let outcome = limited(command(arguments), Resource::RLIMIT_NPROC, 1);
        outcome.expect_code(70);
        assert!(outcome.text().contains("ulimit -u"), "{}", outcome.text());
    }
}

#[test]
fn wrong_use() {
    let table: [&[&str]; 10] = [
        &["--no-such-option", "true"],
        &[],
        &["--standalone"],
        &["--grace"],
        &["--standalone", "--grace", "x", "true"],
        &["--standalone", "--restart", "sometimes", "true"],
        &["--standalone", "--signal", "KILL=stop", "true"],
        &["--standalone", "--signal", "CHLD=stop", "true"],
        &["--standalone", "--signal", "USR3=stop", "true"],
        &["--standalone", "--signal", "SEGV=stop", "--print-config"],
    ];
    for arguments in table {
        let mut command = wrap();
        command.args(arguments);
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(64);
        // Before the log begins.
        assert!(
            !outcome.text().is_empty() && outcome.log.iter().all(|line| !line.contains("exit code")),
            "{}",
            outcome.text()
        );
    }
}

#[test]
fn wrong_settings() {
    let folder = folder();
    let bad = text(folder.path().join("bad.toml"));
    fs::write(&bad, "drain = [\n").unwrap();
    let table: [&[&str]; 3] = [
        &["true"],
        &["--standalone", "--config", &bad, "true"],
        &["--standalone", "--config", "/dev/null/absent", "true"],
    ];
    for arguments in table {
        let mut command = wrap();
        command.args(arguments);
        Wrap::start(command).outcome().expect_code(78);
    }
    for (name, value) in [("GRACE", "x"), ("RESTART", "sometimes"), ("SIGNAL", "KILL=stop"), ("SIGNAL", "CHLD=stop")] {
        let mut command = standalone_with(&[], &["true"]);
        command.env(format!("AGENT_WRAP_{name}"), value);
        Wrap::start(command).outcome().expect_code(78);
    }
}

#[test]
fn without_a_controller_every_place_that_was_looked_at_is_named() {
    let mut command = wrap();
    command.arg("true");
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(78);
    for place in ["--url", "AGENT_WRAP_URL", "JENKINS_URL", "agent-wrap.toml", "-jnlpUrl", "--node", "--standalone"] {
        assert!(outcome.text().contains(place), "{place} is not named: {}", outcome.text());
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for argument in ["--help", "--version", "--print-config"] {
        let mut command = standalone(&[]);
        command.arg(argument);
        Wrap::start(command).outcome().expect_code(0);
    }
}

#[test]
fn a_stop_is_0_whatever_the_agent_makes_of_its_term() {
    for (ending, code) in
        [("exit 0", 0), ("exit 143", 143), ("exit 130", 130), ("exit 3", 3), ("trap - TERM; kill $$", -1)]
    {
        let script = format!("trap 'kill $!; {ending}' TERM; sleep 1000 & echo ready; wait");
        let (wrap, said) = start_and_listen(standalone_script(&[], &script));
        said.wait_for("ready");
        let agent = wrap.agent_pid(1);
        let outcome = wrap.stop();
        outcome.expect_code(0);
        let how = if code < 0 { "was killed by SIGTERM".to_owned() } else { format!("exited with code {code},") };
        assert!(outcome.text().contains(&how), "{}", outcome.text());
        assert!(!is_alive(agent));
    }
}

#[test]
fn an_interrupt_stops_as_well() {
    let (wrap, said) = start_and_listen(standalone_with(&[], &[misbehave(), "--hang", "--print-signals"]));
    said.wait_for("hanging");
    wrap.signal(Signal::SIGINT);
    wrap.outcome().expect_code(0);
    let mut signals = said.rest();
    // The CONT that goes with the TERM may be handled first, or not at all.
    signals.retain(|line| line.starts_with("signal") && line != "signal CONT");
    assert_eq!(signals, ["signal TERM"]);
}

#[test]
fn an_agent_that_has_to_be_killed() {
    let (wrap, said) =
        start_and_listen(standalone_with(&["--grace", "200ms"], &[misbehave(), "--hang", "--ignore-term"]));
    said.wait_for("hanging");
    let agent = wrap.agent_pid(1);
    let outcome = wrap.stop();
    outcome.expect_code(137);
    assert!(outcome.has("killing"), "{}", outcome.text());
    assert!(!is_alive(agent));
}

#[test]
fn an_agent_is_started_again_whatever_its_code() {
    let wrap = Wrap::start(standalone_script(&["--restart-delay", "10ms", "--restart-delay-max", "20ms"], "exit 0"));
    let pids: Vec<_> = (1..=4).map(|count| wrap.agent_pid(count)).collect();
    let mut different = pids.clone();
    different.dedup();
    assert_eq!(different, pids);
    wrap.stop().expect_code(0);
}

#[test]
fn on_failure_ends_with_an_agent_that_has_ended_well() {
    let options = ["--restart", "on-failure", "--restart-delay", "10ms", "--restart-quick", "0"];
    let folder = folder();
    let once = text(folder.path().join("once"));
    // The first run fails, the second ends well.
    let outcome = run_script(&options, &format!("[ -e {once} ] && exit 0; : >{once}; exit 3"));
    outcome.expect_code(0);
    assert_eq!(outcome.events().iter().filter(|event| *event == "agent_started").count(), 2, "{}", outcome.text());
}

#[test]
fn on_failure_takes_an_end_within_seconds_for_a_failure() {
    let outcome = run_script(&["--restart", "on-failure", "--restart-delay", "10ms", "--restart-limit", "2"], "exit 0");
    outcome.expect_code(71);
}

#[test]
fn giving_up_at_the_limit() {
    let outcome = run_script(&["--restart-limit", "3", "--restart-delay", "10ms"], "exit 9");
    outcome.expect_code(71);
    let events = outcome.events();
    let count = |name: &str| events.iter().filter(|event| *event == name).count();
    assert_eq!((count("agent_started"), count("restart_planned"), count("gave_up")), (3, 2, 1), "{}", outcome.text());
}

/// The announced delays in milliseconds.
fn delays(outcome: &Outcome) -> Vec<u64> {
    let lines = outcome.log.iter().filter(|line| line.contains("\"restart_planned\""));
    let delay = |line: &String| {
        let words = line.split_once("again in ")?.1.split_once(" (attempt")?.0.to_owned();
        humantime::parse_duration(&words.replace(' ', "")).ok().map(|delay| delay.as_millis().try_into().unwrap())
    };
    lines.map(|line| delay(line).unwrap_or_else(|| panic!("no delay in {line}"))).collect()
}

#[test]
fn the_delay_doubles_to_its_maximum() {
    let options = ["--restart-limit", "6", "--restart-delay", "40ms", "--restart-delay-max", "150ms"];
    let outcome = run_script(&options, "exit 9");
    outcome.expect_code(71);
    let delays = delays(&outcome);
    // Less up to a quarter of jitter.
    let bounds = [30..=40, 60..=80, 112..=150, 112..=150, 112..=150];
    assert_eq!(delays.len(), bounds.len(), "{delays:?}");
    assert!(delays.iter().zip(&bounds).all(|(delay, bounds)| bounds.contains(delay)), "{delays:?}");
}

#[test]
fn a_long_run_wipes_out_earlier_failures() {
    let options = ["--restart-limit", "2", "--restart-delay", "10ms", "--restart-reset-after", "10ms"];
    // An earlier failure would make each of these ends the second one.
    let wrap = Wrap::start(standalone_script(&options, "sleep 0.2; exit 9"));
    wrap.wait_for_nth("agent_started", 4);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("giving_up"), "{}", outcome.text());
}

#[test]
fn a_stop_wins_over_a_pending_restart() {
    let wrap = Wrap::start(standalone_script(&["--restart-delay", "1h", "--restart-delay-max", "1h"], "exit 9"));
    wrap.wait_for("restart_planned");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert_eq!(outcome.events().iter().filter(|event| *event == "agent_started").count(), 1, "{}", outcome.text());
}

#[test]
fn slowing_down_without_a_controller_says_nothing_of_a_node() {
    let options = ["--restart-slow-after", "2", "--restart-delay", "10ms", "--restart-slow-delay", "1h"];
    let wrap = Wrap::start(standalone_script(&options, "exit 9"));
    let line = wrap.wait_for("slowing")["message"].as_str().unwrap().to_owned();
    assert!(line.contains("2 times") && !line.contains("node"), "{line}");
    wrap.stop().expect_code(0);
}

#[test]
fn an_agent_whose_file_vanishes_is_tried_again() {
    let folder = folder();
    let program = folder.path().join("agent");
    let install = || {
        let draft = folder.path().join("draft");
        fs::write(&draft, "#!/bin/sh\nexit 9\n").unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(draft, &program).unwrap();
    };
    install();
    let wrap = Wrap::start(standalone_with(
        &["--restart-delay", "100ms", "--restart-delay-max", "100ms"],
        &[program.to_str().unwrap()],
    ));
    wrap.wait_for("agent_started");
    fs::remove_file(&program).unwrap();
    wrap.wait_for("spawn_failed");
    let before = wrap.log().iter().filter(|line| line.contains("\"agent_started\"")).count();
    install();
    wrap.wait_for_nth("agent_started", before + 1);
    let agent = wrap.agent_pid(before + 1);
    wrap.stop().expect_code(0);
    eventually("the agent is gone", || !is_alive(agent));
}
