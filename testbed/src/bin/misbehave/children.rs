//! Processes that are left behind, as those of builds are.

use std::env;
use std::io::{BufRead as _, BufReader, ErrorKind, Result};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, setsid};
use signal_hook::consts::{SIGHUP, SIGTERM};

use crate::arguments::Options;
use crate::{Exit, complain, say};

/// What a controller gives to each process of a build.
const OF_A_BUILD: &str = "JENKINS_SERVER_COOKIE";
/// How long a process that was left behind lives at most, should nobody end it.
const LIFETIME: Duration = Duration::from_secs(600);

/// Starts what the options ask for and says their process ids once they are as they should be.
pub(crate) fn leave(options: &Options) -> Result<()> {
    if options.fork_child {
        say(&format!("child {}", start(&["--role", "child", "--ignore-term"])?.0));
    }
    if options.setsid_child {
        say(&format!("child {}", start(&["--role", "child", "--own-session"])?.0));
    }
    for _ in 0..options.orphans {
        let (pid, mut maker) = start(&["--role", "orphan-maker"])?;
        maker.wait()?;
        say(&format!("orphan {pid}"));
    }
    Ok(())
}

/// Makes so many processes whose parent is gone, one after the other; each ends at once, and is somebody else's to reap.
pub(crate) fn storm(orphans: u32) -> Result<()> {
    for _ in 0..orphans {
        // SAFETY: what the child does is async-signal-safe: it forks and ends.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                if waitpid(child, None)? != WaitStatus::Exited(child, 0) {
                    return Err(ErrorKind::WouldBlock.into());
                }
            }
            ForkResult::Child => {
                // SAFETY: as above; the orphan ends at once as well.
                let orphan = unsafe { libc::fork() };
                // SAFETY: it does nothing but end the process.
                unsafe { libc::_exit(i32::from(orphan < 0)) }
            }
        }
    }
    Ok(())
}

/// Starts this program in a role and waits until it says the process id that matters.
fn start(arguments: &[&str]) -> Result<(String, Child)> {
    let mut child = Command::new(env::current_exe()?)
        .args(arguments)
        .env_remove("MISBEHAVE")
        .env(OF_A_BUILD, "durable-misbehaving")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pid = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut pid)?;
    }
    Ok((pid.trim().to_owned(), child))
}

/// A child that was left behind: waits to be ended.
pub(crate) fn be_child(options: &Options) -> Exit {
    if options.own_session && setsid().is_err() {
        return Exit(1);
    }
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP].into_iter().filter(|_| options.ignore_term) {
        // A handler that only takes a note makes the process survive.
        if signal_hook::flag::register(signal, Arc::clone(&seen)).is_err() {
            return Exit(1);
        }
    }
    say(&std::process::id().to_string());
    let (_sender, never) = std::sync::mpsc::channel::<()>();
    never.recv_timeout(LIFETIME).ok();
    Exit(0)
}

/// Starts a child and ends, which makes the child an orphan.
pub(crate) fn make_orphan() -> Exit {
    match start(&["--role", "child", "--own-session"]) {
        Ok((pid, _)) => {
            say(&pid);
            Exit(0)
        }
        Err(error) => {
            complain(&format!("SEVERE: cannot start an orphan: {error}"));
            Exit(1)
        }
    }
}
