//! The terminal that we were started at, as long as it is ours: its modes, and a line at its bottom that says what is
//! awaited.

mod modes;
mod pace;
mod screen;

pub use modes::Modes;
pub use pace::{Access, Pace, Step};
pub use screen::Screen;

use std::os::fd::BorrowedFd;

use nix::unistd::{getpgrp, tcgetpgrp};

/// Whether this is our controlling terminal and we are in its foreground.
fn is_ours(stream: BorrowedFd<'_>) -> bool {
    tcgetpgrp(stream) == Ok(getpgrp())
}
