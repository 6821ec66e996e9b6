//! The modes of the controlling terminal: what an agent has changed there (`stty -echo`, and then it was killed) must not
//! be left to the shell.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use nix::libc;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

use super::is_ours;

/// The modes as they were when the terminal became ours. They are put back when the last of this is dropped.
#[derive(Clone, Debug, Default)]
pub struct Modes(Arc<Saved>);

#[derive(Debug, Default)]
struct Saved(Mutex<Option<Termios>>);

impl Modes {
    /// Takes note of the modes, if we are in the foreground and nobody else is likely to set them there: in the background
    /// they are those of a shell that reads its next line, and behind a pipe those of a pager.
    pub fn save(&self) {
        let is_alone = io::stdout().is_terminal() && io::stderr().is_terminal();
        let modes = is_alone.then(ours).flatten().and_then(|terminal| tcgetattr(terminal).ok());
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = modes;
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let saved = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some((saved, terminal)) = saved.zip(ours()) else { return };
        if tcgetattr(&terminal).is_ok_and(|modes| modes != saved) {
            // Without waiting for what was written, which a terminal that is held takes never. Whom could an error be told?
            let _ = tcsetattr(&terminal, SetArg::TCSANOW, &saved);
        }
    }
}

/// The controlling terminal, while we are in its foreground.
fn ours() -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    options.open("/dev/tty").ok().filter(|terminal| is_ours(terminal.as_fd()))
}
