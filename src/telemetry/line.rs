//! A line of the log, before it has a look.

use super::format::Level;

/// One line: how loud, a stable name for programs, and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How loud it is.
    pub level: Level,
    /// A stable name, for filters.
    pub event: &'static str,
    /// The words.
    pub text: String,
}

pub(super) fn debug(event: &'static str, text: impl Into<String>) -> Line {
    Line { level: Level::Debug, event, text: text.into() }
}

pub(super) fn info(event: &'static str, text: impl Into<String>) -> Line {
    Line { level: Level::Info, event, text: text.into() }
}

pub(super) fn warn(event: &'static str, text: impl Into<String>) -> Line {
    Line { level: Level::Warn, event, text: text.into() }
}

pub(super) fn error(event: &'static str, text: impl Into<String>) -> Line {
    Line { level: Level::Error, event, text: text.into() }
}
