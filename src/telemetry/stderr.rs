//! stderr, and the terminal where its reader is gone: Ctrl-C ends the `tee` of `agent-wrap ... 2>&1 | tee log` as well, and
//! who has typed it would wait for the end of a drain without a word.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use super::bottom;
use super::outlet::{Sink, is_writable, write};

/// Where text for people goes.
pub(super) struct Stderr {
    /// That the reader is gone, as a line.
    notice: Box<dyn Fn() -> String + Send + Sync>,
    noticed: AtomicBool,
}

impl Stderr {
    pub(super) fn new(notice: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { notice: Box::new(notice), noticed: AtomicBool::new(false) }
    }

    /// Writes to the terminal, if there is one and we are in its foreground.
    fn write_instead(&self, line: &[u8], patience: Option<Duration>) -> u64 {
        let Some(terminal) = terminal() else { return 0 };
        if !self.noticed.swap(true, Ordering::Relaxed) {
            write(terminal.as_fd(), (self.notice)().as_bytes(), patience);
        }
        write(terminal.as_fd(), line, patience)
    }
}

impl Sink for Stderr {
    fn take(&self, line: &mut [u8], patience: Option<Duration>) -> u64 {
        let stderr = io::stderr();
        let taken = write(stderr.as_fd(), line, patience);
        match line.get(usize::try_from(taken).unwrap_or(usize::MAX)..) {
            Some(rest @ [_, ..]) if has_no_reader(stderr.as_fd()) => taken + self.write_instead(rest, patience),
            Some(_) | None => taken,
        }
    }

    fn takes_more(&self, patience: Duration) -> bool {
        is_writable(io::stderr().as_fd(), patience)
    }

    fn room(&self) -> Option<usize> {
        bottom::room(io::stderr().as_fd())
    }
}

/// Whether it is a pipe whose other side nobody holds any more.
fn has_no_reader(stream: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::POLLOUT)];
    let [answer] = match poll(&mut asked, PollTimeout::ZERO) {
        Ok(_) => asked,
        Err(_) => return false,
    };
    answer.revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// The controlling terminal, while we are in its foreground and nobody has it to himself, as an editor or a stream of
/// bytes has: those have switched off that it edits lines.
fn terminal() -> Option<File> {
    let terminal = OpenOptions::new().write(true).custom_flags(libc::O_NOCTTY).open("/dev/tty").ok()?;
    let is_shared = tcgetattr(&terminal).ok()?.local_flags.contains(LocalFlags::ICANON);
    (is_shared && tcgetpgrp(&terminal) == Ok(getpgrp())).then_some(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_has_no_reader_once_that_is_closed() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!has_no_reader(writer.as_fd()));
        drop(reader);
        assert!(has_no_reader(writer.as_fd()));
    }
}
