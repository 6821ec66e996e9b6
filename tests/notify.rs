//! A service manager that is none but a socket: what it is told, and that nobody waits for it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use common::standalone::{folder, marked, misbehave, standalone_with};
use common::{PATIENCE, Wrap, eventually, wrap, wrap_with_state};
use nix::sys::signal::Signal;

/// Somebody who listens.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// In the abstract namespace, for whatever this command starts.
    fn of(command: &mut Command, name: &str) -> Self {
        let name = format!("agent-wrap-{name}-{}", std::process::id());
        command.env("NOTIFY_SOCKET", format!("@{name}"));
        Self::at(&SocketAddr::from_abstract_name(name).unwrap())
    }

    /// The lines of the next datagram.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 8192];
        let count = self.0.recv(&mut bytes).expect("it is told something");
        std::str::from_utf8(&bytes[..count]).unwrap().lines().map(str::to_owned).collect()
    }

    /// All lines up to one that begins so.
    #[track_caller]
    fn until(&self, beginning: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.extend(self.next());
            if lines.iter().any(|line| line.starts_with(beginning)) {
                return lines;
            }
        }
    }
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|found| found == line)
}

#[test]
fn a_life_is_told_from_start_to_exit_status() {
    let controller = Simulated::start(Options::jenkins("2.578")).unwrap();
    controller.create_node("n", 1).unwrap();
    let dir = folder();
    let agent = controller.agent_command("n");
    std::fs::write(dir.path().join("token"), "admin:admin-token").unwrap();
    let mut command = wrap_with_state(dir.path().as_os_str());
    command.args(["--token-file", dir.path().join("token").to_str().unwrap(), "--signal", "USR2=reload"]);
    command.arg(misbehave()).args(&agent[1..]);
    let manager = Manager::of(&mut command, "life");
    let wrap = Wrap::start(command);
    let start = manager.until("READY=1");
    assert!(has(&start, "EXTEND_TIMEOUT_USEC=15000000") && has(&start, "STATUS=online"), "{start:?}");
    assert_eq!(controller.node("n").unwrap().connected, Some(true));
    assert!(!start.iter().any(|line| line.starts_with("WATCHDOG")), "nobody has asked for it: {start:?}");
    wrap.signal(Signal::SIGUSR2);
    let reload = manager.next();
    assert!(reload[0] == "RELOADING=1" && reload[1].starts_with("MONOTONIC_USEC="), "{reload:?}");
    assert_eq!(manager.next(), ["READY=1"]);
    wrap.signal(Signal::SIGTERM);
    let stop = manager.next();
    assert!(has(&stop, "STOPPING=1") && has(&stop, "EXTEND_TIMEOUT_USEC=15000000"), "{stop:?}");
    let end = manager.until("EXIT_STATUS=");
    assert!(has(&end, "EXIT_STATUS=0") && end[end.len() - 2].starts_with("STATUS=stopped after "), "{end:?}");
    wrap.outcome().expect_code(0);
}

#[test]
fn a_socket_may_have_a_path() {
    let dir = folder();
    let path = dir.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut command = standalone_with(&[], &[misbehave(), "--hang"]);
    command.env("NOTIFY_SOCKET", &path);
    let wrap = Wrap::start(command);
    assert!(has(&manager.until("READY=1"), "STATUS=the agent runs"));
    wrap.stop().expect_code(0);
}

#[test]
fn a_start_that_fails_says_why() {
    for (arguments, code, words) in [
        (&["--standalone", "no-such-program-here"][..], 127, "no-such-program-here"),
        (&["--drian=5m", "java"], 64, "--drian"),
        (&["--drain=5x", "java"], 78, "is not a length of time"),
    ] {
        let mut command = wrap();
        command.args(arguments);
        let manager = Manager::of(&mut command, &format!("fails-{code}"));
        Wrap::start(command).outcome().expect_code(code);
        let lines = manager.next();
        assert!(lines[0].starts_with("STATUS=") && lines[0].contains(words), "{lines:?}");
        assert!(has(&lines, &format!("EXIT_STATUS={code}")), "{lines:?}");
        assert_eq!(has(&lines, "ERRNO=2"), code == 127, "{lines:?}");
    }
}

#[test]
fn signs_of_life_are_for_who_wants_them_from_us() {
    let start = |process: Option<&str>| {
        let mut command = standalone_with(&[], &[misbehave(), "--hang"]);
        command.env("WATCHDOG_USEC", "200000");
        if let Some(process) = process {
            command.env("WATCHDOG_PID", process);
        }
        let manager = Manager::of(&mut command, &format!("alive-{}", process.is_some()));
        (manager, Wrap::start(command))
    };
    let (manager, wrap) = start(None);
    let mut lines = manager.until("READY=1");
    while lines.iter().filter(|line| *line == "WATCHDOG=1").count() < 5 {
        lines.extend(manager.next());
    }
    wrap.stop().expect_code(0);
    // Process 1 is somebody else.
    let (manager, wrap) = start(Some("1"));
    assert!(!has(&manager.until("READY=1"), "WATCHDOG=1"));
    wrap.signal(Signal::SIGTERM);
    assert!(!has(&manager.until("EXIT_STATUS="), "WATCHDOG=1"));
    wrap.outcome().expect_code(0);
}

#[test]
fn the_agent_knows_nothing_of_it() {
    let mut command = standalone_with(&[], &[misbehave(), "--hang"]);
    let marker = format!("NOTIFY_TEST={}", std::process::id());
    command.env("NOTIFY_TEST", std::process::id().to_string()).env("WATCHDOG_USEC", "60000000");
    let manager = Manager::of(&mut command, "unknown");
    let wrap = Wrap::start(command);
    manager.until("READY=1");
    let agent = wrap.agent_pid(1);
    eventually("the agent has its environment", || marked(&marker).contains(&agent));
    let environment = std::fs::read_to_string(format!("/proc/{agent}/environ")).unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG_"), "{environment:?}");
    wrap.stop().expect_code(0);
}

#[test]
fn a_manager_that_does_not_read_holds_nobody_up() {
    let mut command = standalone_with(&[], &[misbehave(), "--hang"]);
    let manager = Manager::of(&mut command, "deaf");
    let address = manager.0.local_addr().unwrap();
    // One sender alone may only have so much on the way.
    let fill = |_| {
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        let sent = std::iter::repeat_with(|| sender.send_to_addr(b"X=1\n", &address)).take_while(Result::is_ok).count();
        (sent, sender)
    };
    let senders: Vec<_> = (0..1000).map(fill).take_while(|(sent, _)| *sent > 0).collect();
    assert!(!senders.is_empty() && senders.len() < 1000);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_started");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("not_announced"), "{}", outcome.text());
}

#[test]
fn a_manager_that_is_not_there_is_said_and_no_more() {
    for (address, words) in [
        ("relative", "NOTIFY_SOCKET is \\\"relative\\\", which is neither"),
        ("/nowhere/notify", "cannot be told how things stand"),
    ] {
        let mut command = standalone_with(&[], &[misbehave(), "--hang"]);
        command.env("NOTIFY_SOCKET", address);
        let wrap = Wrap::start(command);
        wrap.wait_for("agent_started");
        let outcome = wrap.stop();
        outcome.expect_code(0);
        let said = outcome.log.iter().filter(|line| line.contains("\"not_announced\"")).collect::<Vec<_>>();
        assert!(said.len() == 1 && said[0].contains(words), "{said:?}");
    }
}
