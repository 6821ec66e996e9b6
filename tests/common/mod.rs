//! A wrapper under test: started, watched through its log, signalled, and never left behind.
#![expect(dead_code, reason = "each test file uses its part of it")]

pub mod emulator;
pub mod runtime;
pub mod screen;
pub mod standalone;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take before a test gives it up: no statement about speed.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The program under test.
pub const AGENT_WRAP: &str = env!("CARGO_BIN_EXE_agent-wrap");

/// A running wrapper.
pub struct Wrap {
    child: Option<Child>,
    pid: Pid,
    log: Arc<Log>,
    runtime: PathBuf,
    /// The other side of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}

/// How a wrapper ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its log and the agent's, line by line.
    pub log: Vec<String>,
}

impl Outcome {
    /// The exit code.
    ///
    /// # Panics
    /// When a signal has ended it.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{:?}\n{}", self.status.signal(), self.log.join("\n")))
    }

    /// Fails unless the wrapper ended with this code.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn expect_code(&self, code: i32) {
        assert_eq!(self.status.code(), Some(code), "{:?}\n{}", self.status, self.log.join("\n"));
    }

    /// The names of all events in order.
    pub fn events(&self) -> Vec<String> {
        self.log.iter().filter_map(|line| event_of(line)).collect()
    }

    /// Whether an event of this name was logged.
    pub fn has(&self, event: &str) -> bool {
        self.events().iter().any(|name| name == event)
    }

    /// The whole log, for messages.
    pub fn text(&self) -> String {
        self.log.join("\n")
    }
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

fn event_of(line: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    Some(value.get("event")?.as_str()?.to_owned())
}

/// A wrapper's command line in the making, with a clean environment and a runtime directory of its own.
pub fn wrap() -> Command {
    wrap_by(Path::new(AGENT_WRAP))
}

/// As [`wrap`], by another build of the program.
pub fn wrap_by(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    // The last is where a program that counts its lines writes them down: `cargo xtask coverage`.
    for name in ["PATH", "JAVA_HOME", "LANG", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("XDG_RUNTIME_DIR", runtime::directory());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A wrapper that logs JSON and keeps its state, and its secret file, in `state`.
pub fn wrap_with_state(state: &OsStr) -> Command {
    let mut command = wrap();
    command.env("STATE_DIRECTORY", state).env("RUNTIME_DIRECTORY", state).args(["--log-format", "json"]);
    command
}

impl Wrap {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("the wrapper starts");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        Self::watch(child, stderr, runtime::of(&command), None)
    }

    /// Starts it as the leader of a session with a controlling terminal of its own; its log still goes to a pipe.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_at_terminal(mut command: Command) -> Self {
        let (master, terminal) = pty();
        command.stderr(Stdio::piped()).stdin(terminal);
        standalone::lead_session(&mut command);
        let mut child = command.spawn().expect("the wrapper starts");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        Self::watch(child, stderr, runtime::of(&command), Some(master))
    }

    fn watch(child: Child, stderr: std::process::ChildStderr, runtime: PathBuf, terminal: Option<OwnedFd>) -> Self {
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { break };
                writer.lines.lock().unwrap_or_else(PoisonError::into_inner).0.push(line);
                writer.changed.notify_all();
            }
            writer.lines.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            writer.changed.notify_all();
        });
        Self { child: Some(child), pid, log, runtime, terminal }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until an event of this name has been logged `count` times in all, and returns the last line of it.
    ///
    /// # Panics
    /// When the log ends, or patience does.
    #[track_caller]
    pub fn wait_for_nth(&self, event: &str, count: usize) -> Value {
        // An agent that never stops talking must not prolong it.
        let until = now() + PATIENCE;
        let mut guard = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found: VecDeque<&String> =
                guard.0.iter().filter(|line| event_of(line).as_deref() == Some(event)).collect();
            if found.len() >= count {
                return serde_json::from_str(found[count - 1]).expect("an event is JSON");
            }
            assert!(!guard.1, "the wrapper ended before {event} (no. {count}):\n{}", guard.0.join("\n"));
            let (next, timeout) = self
                .log
                .changed
                .wait_timeout(guard, until.saturating_duration_since(now()))
                .expect("no thread has panicked with it");
            guard = next;
            assert!(!timeout.timed_out(), "no {event} (no. {count}) came:\n{}", guard.0.join("\n"));
        }
    }

    /// Waits until `count` lines, of the wrapper or of its agent, have had these words.
    ///
    /// # Panics
    /// When the log ends, or patience does.
    #[track_caller]
    pub fn wait_for_words(&self, words: &str, count: usize) {
        let until = now() + PATIENCE;
        let mut guard = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while guard.0.iter().filter(|line| line.contains(words)).count() < count {
            assert!(!guard.1, "the log ended before {words:?} (no. {count}):\n{}", guard.0.join("\n"));
            let (next, timeout) = self
                .log
                .changed
                .wait_timeout(guard, until.saturating_duration_since(now()))
                .expect("no thread has panicked with it");
            guard = next;
            assert!(!timeout.timed_out(), "no {words:?} (no. {count}) came:\n{}", guard.0.join("\n"));
        }
    }

    /// Waits until an event of this name has been logged.
    #[track_caller]
    pub fn wait_for(&self, event: &str) -> Value {
        self.wait_for_nth(event, 1)
    }

    /// The agent's process id, once it has been started for the `count`th time.
    #[track_caller]
    pub fn agent_pid(&self, count: usize) -> Pid {
        let line = self.wait_for_nth("agent_started", count);
        let message = line["message"].as_str().expect("a message");
        let pid = message.rsplit("pid ").next().expect("a pid").parse().expect("a number");
        Pid::from_raw(pid)
    }

    /// What has been logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("the wrapper is there");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When patience ends, or when it has ended by itself and left a secret file.
    #[track_caller]
    pub fn outcome(mut self) -> Outcome {
        let mut child = self.child.take().expect("not waited for yet");
        let status = wait_within(&mut child, PATIENCE).unwrap_or_else(|| {
            let log = self.log().join("\n");
            let _ = child.kill();
            let _ = child.wait();
            panic!("the wrapper has not ended:\n{log}");
        });
        let mut guard = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // A leftover may hold the pipe; what the wrapper itself has said is there by now or soon.
        for _ in 0..50 {
            if guard.1 {
                break;
            }
            guard = self
                .log
                .changed
                .wait_timeout(guard, Duration::from_millis(100))
                .expect("no thread has panicked with it")
                .0;
        }
        let outcome = Outcome { status, log: guard.0.clone() };
        if status.code().is_some() {
            assert_eq!(runtime::left_in(&self.runtime), Vec::<PathBuf>::new(), "{}", outcome.text());
        }
        outcome
    }

    /// Kills it and waits for its end, not for that of its log, which an agent may hold open.
    ///
    /// # Panics
    /// When patience ends.
    #[track_caller]
    pub fn kill(mut self) {
        let mut child = self.child.take().expect("not waited for yet");
        child.kill().expect("it can be killed");
        assert!(wait_within(&mut child, PATIENCE).is_some(), "the wrapper has not ended");
    }

    /// Asks for a graceful stop and waits for the end.
    #[track_caller]
    pub fn stop(self) -> Outcome {
        self.signal(Signal::SIGTERM);
        self.outcome()
    }
}

impl Drop for Wrap {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its agent dies with it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The time, for patience only.
#[expect(clippy::disallowed_methods, reason = "tests keep their own time, for their patience only")]
pub fn now() -> Instant {
    Instant::now()
}

/// The two sides of a new terminal, the screen's first. Nothing that another test starts meanwhile inherits them: it
/// would keep the terminal from hanging up.
///
/// # Panics
/// When there is none to be had.
pub fn pty() -> (OwnedFd, OwnedFd) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = nix::pty::posix_openpt(flags).expect("a pty");
    nix::pty::grantpt(&master).expect("a pty");
    nix::pty::unlockpt(&master).expect("a pty");
    let name = nix::pty::ptsname_r(&master).expect("a pty has a name");
    let terminal = nix::fcntl::open(name.as_str(), flags, nix::sys::stat::Mode::empty()).expect("a terminal");
    (OwnedFd::from(master), terminal)
}

/// Waits for the end of a child; `None` when patience ends first.
pub fn wait_within(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let pidfd = pidfd(Pid::from_raw(i32::try_from(child.id()).ok()?))?;
    let mut poll = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&pidfd), nix::poll::PollFlags::POLLIN)];
    let timeout = nix::poll::PollTimeout::try_from(patience).ok()?;
    if nix::poll::poll(&mut poll, timeout).ok()? == 0 {
        return None;
    }
    child.wait().ok()
}

/// A descriptor that becomes readable when the process has ended; `None` when there is no such process.
pub fn pidfd(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the descriptor is new and nobody else's.
    Some(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

/// Whether a process lives: there, and no zombie.
pub fn is_alive(pid: Pid) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// Waits until `condition` holds. Looks again and again, because what it looks at cannot be waited for.
///
/// # Panics
/// When patience ends.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let tries = PATIENCE.as_millis() / 50;
    for _ in 0..tries {
        if condition() {
            return;
        }
        pause();
    }
    panic!("never happened: {what}");
}

#[expect(clippy::disallowed_methods, reason = "between two looks at something that cannot be waited for")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Writes a script that everybody may execute. Another process makes the file that is executed, as for [`copy_program`].
pub fn write_script(path: impl AsRef<Path>, text: &str) {
    let draft = path.as_ref().with_extension("draft");
    std::fs::write(&draft, text).expect("a script");
    std::fs::set_permissions(&draft, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode is set");
    copy_program(draft, path);
}

/// A copy that everybody may execute. Made by another process: a child that this one forks meanwhile would hold the file
/// open for writing, and what is open for writing cannot be executed.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    assert!(Command::new("cp").args([from.as_ref(), to.as_ref()]).status().expect("cp is there").success());
}
