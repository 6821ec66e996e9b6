//! What people read: log lines that tell the story of one life, and how things stand in one line.

mod bottom;
mod builds;
mod explained;
mod format;
mod journal;
mod keys;
mod line;
mod outlet;
mod picture;
mod progress;
mod standing;
mod stderr;
mod story;
#[cfg(test)]
mod story_tests;
#[cfg(test)]
pub(crate) mod testing;
mod visible;
mod words;

pub(crate) use bottom::has_cursor;
pub(crate) use format::shown;
pub use format::{Format, InstallError, Level, Logging, fault_line, goes_to_the_journal, install};
pub use outlet::{BottomLine, say};
pub use picture::Picture;
pub use story::Story;
pub use visible::visible;
pub use words::{exit_words, offline_reason, span_words};
