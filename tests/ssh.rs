//! Over ssh: with a terminal on the other side a lost connection is a hangup, without one nobody is told of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agent_wrap_testbed::{ports, skip};
use common::screen::{CTRL_C, CTRL_Z, Screen};
use common::standalone::{Ends, children, folder, misbehave, name, stat, wait_for_end};
use common::{AGENT_WRAP, PATIENCE, eventually, is_alive, wait_within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tempfile::TempDir;

/// Where root's sshd wants a directory that only root may write.
const PRIVILEGES: &str = "/run/sshd";

/// A server on this machine, with keys of its own and without anything of the system's configuration.
struct Server {
    folder: TempDir,
    port: u16,
    child: Child,
}

/// Fails where there is no server or client to be had.
fn need_ssh() -> skip::Need {
    ["sshd", "ssh", "ssh-keygen", "unshare"].into_iter().try_for_each(skip::need_program)
}

impl Server {
    fn start() -> Self {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        for key in ["host", "mine"] {
            let mut generate = Command::new("ssh-keygen");
            generate.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(key));
            assert!(generate.status().unwrap().success());
        }
        fs::copy(path("mine.pub"), path("authorized")).unwrap();
        let settings = format!(
            "ListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {keys}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             SetEnv XDG_RUNTIME_DIR={here} STATE_DIRECTORY={here}\n",
            host = path("host").display(),
            keys = path("authorized").display(),
            here = folder.path().display(),
        );
        fs::write(path("settings"), settings).unwrap();
        let port = ports::listen().unwrap().local_addr().unwrap().port();
        let log = fs::File::create(path("log")).unwrap();
        let mut command = if Uid::effective().is_root() && !Path::new(PRIVILEGES).is_dir() {
            // The system's /run stays as it is.
            let mut command = Command::new("unshare");
            let line = format!("mount -t tmpfs tmpfs /run && mkdir {PRIVILEGES} && exec /usr/sbin/sshd \"$@\"");
            command.args(["--mount", "sh", "-c", &line, "sh"]);
            command
        } else {
            Command::new("/usr/sbin/sshd")
        };
        command.args(["-D", "-e", "-p", &port.to_string(), "-f"]).arg(path("settings"));
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let server = Self { folder, port, child };
        eventually("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client that has the server do this.
    fn client(&self, options: &[&str], line: &str) -> Command {
        let user = User::from_uid(Uid::effective()).unwrap().unwrap().name;
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes", "-o"]);
        command.arg(format!("UserKnownHostsFile={}", self.path("known").display()));
        command.args(["-o", "LogLevel=ERROR", "-i"]).arg(self.path("mine")).args(["-p", &self.port.to_string()]);
        command.args(options).arg(format!("{user}@127.0.0.1")).arg(line);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm");
        command
    }

    /// A wrapper's command line, whose agent writes its signals to a file.
    fn wrapper(&self, options: &str) -> String {
        let said = self.path("said");
        let agent = format!("exec {} --hang --print-signals >{} 2>&1", misbehave(), said.display());
        format!("exec {AGENT_WRAP} --standalone {options} sh -c '{agent}'")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    /// Waits until the agent is there, and returns the wrapper.
    fn wait_for_wrapper(&self) -> Pid {
        eventually("the agent is there", || self.said().contains("hanging"));
        self.wrapper_below()
    }

    fn wrapper_below(&self) -> Pid {
        let mut all = vec![Pid::from_raw(self.child.id().try_into().unwrap())];
        let mut at = 0;
        while let Some(pid) = all.get(at).copied() {
            all.extend(children(pid));
            at += 1;
        }
        all.into_iter().find(|pid| name(*pid) == "agent-wrap").expect("the wrapper is below the server")
    }

    /// Waits until the server has taken note that nobody is connected any more.
    fn wait_for_disconnect(&self) {
        let server = Pid::from_raw(self.child.id().try_into().unwrap());
        eventually("the server has no connection", || {
            !children(server).into_iter().any(|child| name(child) == "sshd" && is_alive(child))
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn with_a_terminal_the_keys_are_for_us() {
    if skip::unmet("ssh::with_a_terminal_the_keys_are_for_us", need_ssh()) {
        return;
    }
    let server = Server::start();
    let mut command = server.client(&["-t"], &server.wrapper(""));
    let screen = Screen::of(&mut command);
    let mut client = command.spawn().unwrap();
    drop(command);
    let wrapper = server.wait_for_wrapper();
    let _end = Ends(wrapper);
    // Nobody could continue us there: it is no shell with job control that has started us.
    screen.type_in(CTRL_Z);
    eventually("the agent goes on", || server.said().contains("signal CONT"));
    assert_ne!(stat(wrapper).unwrap().state, 'T');
    screen.type_in(CTRL_C);
    let status = wait_within(&mut client, PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0), "{}", screen.written());
    let shown = screen.wait_for("exit code 0", 1);
    assert!(shown.contains("SIGINT from the terminal"), "{shown}");
    assert_eq!(shown.matches("stopping").count(), 1, "{shown}");
    assert!(server.said().contains("signal TERM") && !server.said().contains("signal INT"), "{}", server.said());
}

#[test]
fn with_a_terminal_a_lost_connection_is_a_hangup_and_stops_gracefully() {
    if skip::unmet("ssh::with_a_terminal_a_lost_connection_is_a_hangup_and_stops_gracefully", need_ssh()) {
        return;
    }
    let server = Server::start();
    let log = server.path("own log");
    let line = server.wrapper(&format!("--log-format json 2>'{}'", log.display()));
    let mut command = server.client(&["-t"], &line);
    let _screen = Screen::of(&mut command);
    let mut client = command.spawn().unwrap();
    let wrapper = server.wait_for_wrapper();
    let _end = Ends(wrapper);
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for_end(wrapper);
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("\"stopping\"") && log.contains("SIGHUP") && log.contains("exit code 0"), "{log}");
    assert!(server.said().contains("signal TERM"), "{}", server.said());
}

#[test]
fn without_a_terminal_nobody_is_told_of_a_lost_connection() {
    if skip::unmet("ssh::without_a_terminal_nobody_is_told_of_a_lost_connection", need_ssh()) {
        return;
    }
    let server = Server::start();
    let mut command = server.client(&["-T"], &server.wrapper(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().unwrap();
    let wrapper = server.wait_for_wrapper();
    let _end = Ends(wrapper);
    let agent = children(wrapper).into_iter().find(|child| name(*child) == "misbehave").unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    server.wait_for_disconnect();
    // Its log goes nowhere now, and it goes on: it does not know.
    kill(wrapper, Signal::SIGHUP).unwrap();
    kill(wrapper, Signal::SIGQUIT).unwrap();
    eventually("it is still there", || server.said().contains("signal QUIT"));
    assert!(is_alive(wrapper) && is_alive(agent));
    kill(wrapper, Signal::SIGTERM).unwrap();
    wait_for_end(wrapper);
    assert!(server.said().contains("signal TERM") && !is_alive(agent), "{}", server.said());
}

#[test]
fn an_agent_that_speaks_over_a_lost_connection_ends_and_is_not_started_again() {
    if skip::unmet("ssh::an_agent_that_speaks_over_a_lost_connection_ends_and_is_not_started_again", need_ssh()) {
        return;
    }
    let server = Server::start();
    let log = server.path("own log");
    let line = format!("exec {AGENT_WRAP} --standalone --stdio --log-format json cat 2>'{}'", log.display());
    let mut command = server.client(&["-T"], &line);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = command.spawn().unwrap();
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    eventually("the agent is there", || logged().contains("\"agent_started\""));
    let _end = Ends(server.wrapper_below());
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("it ends with its agent", || logged().contains("exit code 0"));
    assert_eq!(logged().matches("\"agent_started\"").count(), 1, "{}", logged());
}
