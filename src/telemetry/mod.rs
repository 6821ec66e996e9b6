//! What people read: log lines that tell the story of one life, and how things stand in one line.

mod explained;
mod format;
mod journal;
mod line;
mod outlet;
mod standing;
mod story;
#[cfg(test)]
mod story_tests;
mod visible;
mod words;

pub(crate) use format::shown;
pub use format::{Format, InstallError, Level, Logging, fault_line, goes_to_the_journal, install};
pub use outlet::say;
pub use story::Story;
pub use visible::visible;
pub use words::{exit_words, offline_reason, span_words};
