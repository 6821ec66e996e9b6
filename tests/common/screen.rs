//! Terminals that tests type at and read from.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, tcgetpgrp};

use super::standalone::lead_session;
use super::{PATIENCE, pty};

/// A terminal, and what is shown on it.
pub struct Screen {
    terminal: OwnedFd,
    shown: Arc<(Mutex<String>, Condvar)>,
}

impl Screen {
    /// Makes this command the leader of a session at a new terminal, which is all its three streams unless they are set.
    pub fn of(command: &mut Command) -> Self {
        let (master, terminal) = pty();
        let stream = || Stdio::from(terminal.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        lead_session(command);
        let shown = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let (mut reader, writer) = (File::from(master.try_clone().unwrap()), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when the last holder of the other side is gone.
            while let Ok(count) = reader.read(&mut bytes) {
                writer.0.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
                writer.1.notify_all();
            }
        });
        Self { terminal: master, shown }
    }

    /// Types these keys.
    pub fn type_in(&self, keys: &str) {
        type_in(&self.terminal, keys);
    }

    /// Waits until these words have been shown `count` times.
    #[track_caller]
    pub fn wait_for(&self, words: &str, count: usize) -> String {
        let mut shown = self.shown.0.lock().unwrap();
        while shown.matches(words).count() < count {
            let (next, timeout) = self.shown.1.wait_timeout(shown, PATIENCE).unwrap();
            shown = next;
            assert!(!timeout.timed_out(), "{words:?} is not shown:\n{shown}");
        }
        shown.clone()
    }

    /// The process group in the foreground.
    pub fn foreground(&self) -> Pid {
        tcgetpgrp(self.terminal.as_fd()).unwrap()
    }

    /// How it is set.
    pub fn modes(&self) -> Termios {
        tcgetattr(self.terminal.as_fd()).unwrap()
    }
}

/// Types these keys at a terminal.
///
/// # Panics
/// When nobody holds its other side any more.
pub fn type_in(terminal: &OwnedFd, keys: &str) {
    File::from(terminal.try_clone().unwrap()).write_all(keys.as_bytes()).unwrap();
}

/// Interrupts.
pub const CTRL_C: &str = "\x03";
/// Stops.
pub const CTRL_Z: &str = "\x1a";
