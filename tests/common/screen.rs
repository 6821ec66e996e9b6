//! Terminals that tests type at and read from.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, tcgetpgrp};

use super::emulator::rows;
use super::standalone::lead_session;
use super::{PATIENCE, now, pty};

/// A terminal, and what is shown on it.
pub struct Screen {
    terminal: OwnedFd,
    shown: Arc<(Mutex<String>, Condvar)>,
    over: Receiver<()>,
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
        let (ends, over) = channel();
        std::thread::spawn(move || {
            let _ends: Sender<()> = ends;
            let mut bytes = [0; 4096];
            // It fails when the last holder of the other side is gone.
            while let Ok(count) = reader.read(&mut bytes) {
                writer.0.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
                writer.1.notify_all();
            }
        });
        Self { terminal: master, shown, over }
    }

    /// Types these keys.
    pub fn type_in(&self, keys: &str) {
        type_in(&self.terminal, keys);
    }

    /// Waits until these words have been shown `count` times.
    #[track_caller]
    pub fn wait_for(&self, words: &str, count: usize) -> String {
        // A line that changes all the time must not prolong it.
        let until = now() + PATIENCE;
        let mut shown = self.shown.0.lock().unwrap();
        while shown.matches(words).count() < count {
            let left = until.saturating_duration_since(now());
            assert!(!left.is_zero(), "{words:?} is not shown:\n{shown}");
            shown = self.shown.1.wait_timeout(shown, left).unwrap().0;
        }
        shown.clone()
    }

    /// All that has been written to it so far.
    pub fn written(&self) -> String {
        self.shown.0.lock().unwrap().clone()
    }

    /// Waits until nobody holds its other side any more. The command that it was made for holds it as well.
    #[track_caller]
    pub fn wait_for_end(&self) {
        assert_eq!(self.over.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "somebody still holds it");
    }

    /// Waits until what a person sees is so, and returns it: the last row is the one that the cursor is in.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let until = now() + PATIENCE;
        let mut shown = self.shown.0.lock().unwrap();
        loop {
            let rows = rows(&shown);
            if is_so(&rows) {
                return rows;
            }
            let left = until.saturating_duration_since(now());
            assert!(!left.is_zero(), "never seen: {what}\n{}", rows.join("\n"));
            shown = self.shown.1.wait_timeout(shown, left).unwrap().0;
        }
    }

    /// Waits until the last row has these words.
    #[track_caller]
    pub fn wait_for_bottom(&self, words: &str) -> String {
        let rows = self.wait_until(words, |rows| rows.last().is_some_and(|row| row.contains(words)));
        rows.last().unwrap().clone()
    }

    /// Gives it a size.
    pub fn resize(&self, columns: u16) {
        let size = nix::pty::Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the request reads a size.
        let done = unsafe { nix::libc::ioctl(self.terminal.as_raw_fd(), nix::libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0);
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
