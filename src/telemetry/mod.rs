//! What people read: log lines on stderr that tell the story of one life.

mod format;
mod story;
mod words;

pub use format::{Format, InstallError, Level, install};
pub use story::Story;
pub use words::{exit_words, offline_reason, span_words};
