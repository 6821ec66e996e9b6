//! What is wrong with the settings: every fault that was found, not only the first.

use std::fmt;

use super::LogFormat;
use super::values::Origin;
use crate::exit::ExitCode;
use crate::files::FileError;
use crate::mask;

/// The faults, and with them the exit code: 64 when only flags are wrong, 70 when the system
/// has nothing left to read them with, else 78.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    problems: Vec<Problem>,
    known: String,
    log_format: LogFormat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    words: String,
    usage: bool,
    /// It is the system that lacks something, not the settings.
    shortage: bool,
}

impl Problem {
    /// A fault that no flag alone is to blame for.
    pub(crate) fn new(words: impl fmt::Display) -> Self {
        Self { words: mask::text(&words.to_string()).into_owned(), usage: false, shortage: false }
    }

    /// A file that cannot be read.
    pub(crate) fn unreadable(what: impl fmt::Display, error: &FileError) -> Self {
        Self { shortage: error.is_shortage(), ..Self::new(format_args!("cannot read {what}: {error}")) }
    }

    /// A fault of one value; a wrong flag is a wrong use.
    pub(crate) fn of(origin: &Origin, words: impl fmt::Display) -> Self {
        Self { usage: matches!(origin, Origin::Flag(_)), ..Self::new(format_args!("{origin}: {words}")) }
    }
}

impl SettingsError {
    pub(crate) fn new(problems: Vec<Problem>, known: String, log_format: LogFormat) -> Self {
        Self { problems, known, log_format }
    }

    /// The faults, one by one.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(|problem| problem.words.as_str())
    }

    /// `--log-format` as far as it is known.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// The settings as far as they are known, as [`Loaded::print`](super::Loaded::print) shows them: for
    /// `--print-config`, which is asked for most when something is missing.
    #[must_use]
    pub fn print(&self) -> &str {
        &self.known
    }

    /// The exit code that tells them apart from other failures.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.problems.iter().any(|problem| problem.shortage) {
            return ExitCode::Internal;
        }
        if self.problems.iter().all(|problem| problem.usage) { ExitCode::Usage } else { ExitCode::Configuration }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, words) in self.problems().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(words)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}
