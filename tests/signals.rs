//! The signal shell with real signals and a real terminal. Handlers belong to the whole process, so these tests have a
//! program of their own, and what needs a terminal runs in a process with a session of its own.

use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agent_wrap::process::{Command, Processes};
use agent_wrap::signals::{Meaning, Received, SignalTable, Signals, install_early, stop_self};
use agent_wrap_supervisor::{Event, Generation, Request, StopSource};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::{Pid, getpgrp, getpid, tcgetpgrp};
use tokio::time::timeout;

/// A bound that is only met by a test that has failed.
const HANG: Duration = Duration::from_secs(60);

/// One test at a time: what one does to its children and handlers, the other would notice.
static ALONE: Mutex<()> = Mutex::new(());

async fn next(signals: &mut Signals) -> Received {
    timeout(HANG, signals.next()).await.expect("a signal in time")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Looks again and again, letting others run, until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(HANG, looking).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

#[test]
fn what_comes_before_the_runtime_is_kept() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT] {
        // SAFETY: ignoring runs no code.
        unsafe { sigaction(signal, &ignore) }.expect("a disposition");
    }
    let early = install_early().expect("handlers");
    assert_eq!(early.kept_ignored(), [libc::SIGHUP, libc::SIGINT]);
    let send = |signal: i32| {
        // SAFETY: kill takes two integers.
        let sent = unsafe { libc::kill(getpid().as_raw(), signal) };
        assert_eq!(sent, 0, "{signal}");
    };
    // INT stays ignored; the others are told. In which order is open: any thread of this program may be the one that takes
    // each of them.
    let realtime = 37;
    for signal in [realtime, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGTTIN, libc::SIGWINCH] {
        send(signal);
    }
    runtime().block_on(async {
        let mut signals = early.into_stream().expect("a stream");
        let mut told = Vec::new();
        for _ in 0..4 {
            let received = next(&mut signals).await;
            assert_eq!(received.sender.map(|sender| sender.pid), Some(getpid().as_raw()));
            told.push(received.signal);
        }
        told.sort_unstable();
        assert_eq!(told, [libc::SIGQUIT, libc::SIGTERM, libc::SIGWINCH, realtime]);
        // One by one while it waits: each wakes it, and none is told twice.
        for _ in 0..200 {
            for signal in [libc::SIGUSR1, libc::SIGUSR2] {
                send(signal);
                assert_eq!(next(&mut signals).await.signal, signal);
            }
        }
        let mut child = std::process::Command::new("/bin/true").spawn().expect("a child");
        let received = next(&mut signals).await;
        assert_eq!(received.signal, libc::SIGCHLD);
        assert_eq!(received.sender.map(|sender| sender.pid.unsigned_abs()), Some(child.id()));
        child.wait().expect("its end");
    });
}

/// Not a test by itself: the wrapper at a terminal of [`a_terminal_types_and_hangs_up`].
#[tokio::test]
#[ignore = "the part of another test that runs in a process of its own"]
async fn a_wrapper_at_a_terminal() {
    let Some(folder) = std::env::var_os("WRAPPER_FOLDER").map(PathBuf::from) else { return };
    let early = install_early().expect("handlers");
    let terminal = early.terminal();
    assert!(terminal.is_present());
    let mut signals = early.into_stream().expect("a stream");
    let (sender, mut facts) = tokio::sync::mpsc::unbounded_channel();
    let mut processes = Processes::new(sender, "a-run").expect("a kernel with pidfd");
    let agent = Command {
        program: "/bin/sh".into(),
        argv: ["sh", "-c", "readlink /proc/self/fd/0 > stdin; read line"].map(Into::into).into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        directory: Some(folder.clone()),
        user: None,
        oom_score_adj: None,
        guarded: false,
        scripted: false,
    };
    processes.spawn(Generation(1), &agent);
    while !matches!(facts.recv().await.expect("a fact"), Event::AgentExited { .. }) {}
    assert_eq!(tcgetpgrp(std::io::stdin().as_fd()), Ok(getpgrp()), "the foreground is still ours");
    fs::write(folder.join("ready"), "").expect("a file");
    let mut log = fs::File::create(folder.join("log")).expect("a log");
    loop {
        let received = signals.next().await;
        let meaning = SignalTable::default().classify(&received, terminal);
        match meaning {
            Meaning::ChildChanged | Meaning::Nothing => continue,
            Meaning::Request(Request::Suspend) => {
                stop_self().expect("a stop");
                writeln!(log, "resumed").expect("a log");
            }
            Meaning::Request(Request::Stop(StopSource::Hangup)) => break writeln!(log, "hangup").expect("a log"),
            Meaning::Request(Request::Stop(StopSource::Interrupt)) => writeln!(log, "{received}").expect("a log"),
            Meaning::Reload => writeln!(log, "reload").expect("a log"),
            Meaning::Request(_) => writeln!(log, "unexpected {meaning:?}").expect("a log"),
        }
    }
}

fn at_terminal(terminal: std::os::fd::OwnedFd, folder: &Path) -> std::process::Child {
    let mut wrapper = std::process::Command::new(std::env::current_exe().expect("this program"));
    wrapper
        .args(["--exact", "a_wrapper_at_a_terminal", "--ignored", "--quiet", "--nocapture"])
        .env("WRAPPER_FOLDER", folder)
        .stdin(terminal)
        .stdout(std::process::Stdio::null());
    let lead_session = || {
        nix::unistd::setsid()?;
        // SAFETY: the request takes an integer.
        let done = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        nix::errno::Errno::result(done)?;
        // The other test ignores them for the whole process.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        for signal in [Signal::SIGHUP, Signal::SIGINT] {
            // SAFETY: the default runs no code.
            unsafe { sigaction(signal, &default) }?;
        }
        Ok(())
    };
    // SAFETY: it makes plain system calls only.
    unsafe { wrapper.pre_exec(lead_session) };
    wrapper.spawn().expect("a wrapper")
}

/// A process that does not outlive the test, failed or not.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_terminal_types_and_hangs_up() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    runtime().block_on(at_the_terminal());
}

async fn at_the_terminal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pair = nix::pty::openpty(None, None).expect("a terminal");
    let mut keyboard = fs::File::from(pair.master);
    // Kept from the wrapper: a terminal hangs up when the last of this end is closed.
    nix::fcntl::fcntl(&keyboard, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).expect("a flag");
    let mut wrapper = Killed(at_terminal(pair.slave, folder.path()));
    let pid = Pid::from_raw(i32::try_from(wrapper.0.id()).expect("a pid"));
    let (ready, log) = (folder.path().join("ready"), folder.path().join("log"));
    let logged = |lines: &str| fs::read_to_string(&log).is_ok_and(|text| text == lines);
    until("the wrapper", || ready.exists()).await;
    assert_eq!(fs::read_to_string(folder.path().join("stdin")).expect("a file"), "/dev/null\n");
    keyboard.write_all(b"\x1a").expect("Ctrl-Z");
    // It leads its session, so nobody could continue it: the stop is over at once.
    until("going on", || logged("resumed\n")).await;
    keyboard.write_all(b"\x03").expect("Ctrl-C");
    until("the interrupt", || logged("resumed\nSIGINT from the terminal\n")).await;
    kill(pid, Signal::SIGHUP).expect("a signal");
    until("the reload", || logged("resumed\nSIGINT from the terminal\nreload\n")).await;
    drop(keyboard);
    until("the hangup", || logged("resumed\nSIGINT from the terminal\nreload\nhangup\n")).await;
    assert!(wrapper.0.wait().expect("its end").success());
}
