//! What tests of supervision need besides a wrapper: agents that do what they are told, what they say, and a look at
//! processes.
#![expect(dead_code, reason = "each test file uses its part of it")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;

use super::{AGENT_WRAP, PATIENCE, Wrap, pidfd, wrap};

/// The agent that does what it is told, built if it is not there.
///
/// # Panics
/// When it cannot be built.
pub fn misbehave() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(AGENT_WRAP).with_file_name("misbehave");
        if !program.is_file() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--quiet", "-p", "agent-wrap-testbed", "--bins"]);
            if AGENT_WRAP.contains("/release/") {
                build.arg("--release");
            }
            assert!(build.status().expect("cargo runs").success(), "misbehave cannot be built");
        }
        program.to_str().expect("a path of text").to_owned()
    })
}

/// A wrapper without a controller that logs JSON, without its agent's command.
pub fn standalone(options: &[&str]) -> Command {
    let mut command = wrap();
    command.args(["--standalone", "--log-format", "json"]).args(options);
    // Whatever the tests were started with.
    on_fork(&mut command, || {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE, Signal::SIGQUIT] {
            // SAFETY: the default action runs no code of ours.
            unsafe { sigaction(signal, &default) }?;
        }
        SigSet::empty().thread_set_mask()?;
        Ok(())
    });
    command
}

/// As [`standalone`], with an agent.
pub fn standalone_with(options: &[&str], agent: &[&str]) -> Command {
    let mut command = standalone(options);
    command.args(agent);
    command
}

/// As [`standalone`], with a shell script for an agent.
pub fn standalone_script(options: &[&str], script: &str) -> Command {
    standalone_with(options, &["sh", "-c", script])
}

/// Has something done between fork and exec, where only what is safe in a signal handler may be.
pub fn on_fork(command: &mut Command, act: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) {
    // SAFETY: the callers make system calls and nothing else.
    unsafe { command.pre_exec(act) };
}

/// Lowers the limit that takes the mark of a run, as far as it goes. To be done between fork and exec.
///
/// # Errors
/// Those of `setrlimit`.
pub fn without_room_for_a_mark() -> std::io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_RTTIME, 1000, 1000)?)
}

/// Gives the wrapper a session of its own and so no controlling terminal.
pub fn without_terminal(command: &mut Command) {
    on_fork(command, || Ok(nix::unistd::setsid().map(drop)?));
}

/// Makes what is started the leader of a session whose controlling terminal is its standard input.
pub fn lead_session(command: &mut Command) {
    on_fork(command, || {
        nix::unistd::setsid()?;
        // SAFETY: it takes integers; standard input is the terminal by now.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    });
}

/// What an agent says on its standard output, line by line.
pub struct Said(Receiver<String>);

impl Said {
    /// Listens to the standard output of what this command starts.
    ///
    /// # Panics
    /// When there is no pipe to be had.
    pub fn by(command: &mut Command) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdout(writer);
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n') {
                let Ok(line) = line else { break };
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// The next line; `None` when everybody who could have said one is gone.
    ///
    /// # Panics
    /// When patience ends.
    #[track_caller]
    pub fn next(&self) -> Option<String> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the agent says nothing"),
        }
    }

    /// Waits for this line and returns those before it.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_for(&self, words: &str) -> Vec<String> {
        let mut before = Vec::new();
        while let Some(line) = self.next() {
            if line == words {
                return before;
            }
            before.push(line);
        }
        panic!("the agent ended before it said {words:?}; it said {before:?}");
    }

    /// Waits for a line that begins with this word and returns the process id after it.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_for_pid(&self, word: &str) -> Pid {
        while let Some(line) = self.next() {
            if let Some(pid) = line.strip_prefix(word) {
                return Pid::from_raw(pid.trim().parse().expect("a process id"));
            }
        }
        panic!("the agent ended before it said {word}");
    }

    /// All that is still said until nobody is left to say anything.
    #[track_caller]
    pub fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// Starts a wrapper and listens to its agent.
pub fn start_and_listen(mut command: Command) -> (Wrap, Said) {
    let said = Said::by(&mut command);
    (Wrap::start(command), said)
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Debug)]
pub struct Stat {
    /// R, S, D, T, Z and so on.
    pub state: char,
    /// Its parent.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// Its session.
    pub session: Pid,
    /// When it was started, in clock ticks since the boot.
    pub start_time: u64,
}

/// Looks at a process; `None` when there is none, not even a zombie.
pub fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: Pid::from_raw(number(1)?),
        group: Pid::from_raw(number(2)?),
        session: Pid::from_raw(number(3)?),
        start_time: fields.get(19)?.parse().ok()?,
    })
}

/// Whether there is such a process, or its zombie.
pub fn exists(pid: Pid) -> bool {
    stat(pid).is_some()
}

/// The children of a process, zombies included.
pub fn children(parent: Pid) -> Vec<Pid> {
    every_process().filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == parent)).collect()
}

/// The name of a process, as `ps` shows it.
pub fn name(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// The guard of a wrapper, if it has one.
pub fn guard(wrapper: Pid) -> Option<Pid> {
    children(wrapper).into_iter().find(|child| name(*child) == "agent-wrap-gd")
}

/// The guard of a wrapper, once it is on duty: it takes its name when it has closed what is not its.
///
/// # Panics
/// When patience ends.
#[track_caller]
pub fn guard_on_duty(wrapper: Pid) -> Pid {
    super::eventually("there is a guard", || guard(wrapper).is_some());
    guard(wrapper).expect("a guard")
}

/// Every process with this in its environment. A zombie has none.
pub fn marked(marker: &str) -> Vec<Pid> {
    let has = |pid: &Pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(marker.len()).any(|window| window == marker.as_bytes())
    };
    every_process().filter(has).collect()
}

/// All processes that there are.
///
/// # Panics
/// When `/proc` cannot be read.
pub fn every_process() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// Waits until a process has ended; its zombie may still be there.
///
/// # Panics
/// When patience ends.
#[track_caller]
pub fn wait_for_end(pid: Pid) {
    let Some(process) = pidfd(pid) else { return };
    let mut poll_for = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut poll_for, PollTimeout::try_from(PATIENCE).expect("a timeout")).expect("poll");
    assert!(ready > 0, "process {pid} ({}) still runs", name(pid));
}

/// Ends a process that a test has had left behind, should it fail or not.
pub struct Ends(pub Pid);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may be gone.
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

/// A directory of the test's own.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A path as a command's argument.
pub fn text(path: impl Into<PathBuf>) -> String {
    path.into().to_str().expect("a path of text").to_owned()
}
