//! What people read: log lines on stderr that tell the story of one life.

mod explained;
mod format;
mod line;
mod outlet;
mod story;
#[cfg(test)]
mod story_tests;
mod visible;
mod words;

pub use format::{Format, InstallError, Level, Logging, fault_line, install};
pub use outlet::say;
pub use story::Story;
pub use visible::visible;
pub use words::{exit_words, offline_reason, span_words};
