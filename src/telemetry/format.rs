//! How a line looks: text for people, JSON for programs. Always stderr; the agent's own output is not touched.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::SystemTime;

use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::story::Line;
use crate::mask;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For those who look for a fault.
    Debug,
    /// The story.
    Info,
    /// Something that somebody may want to know about.
    Warn,
    /// Something that somebody has to do something about.
    Error,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for people, with colours on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, Error)]
pub enum InstallError {
    /// `--log-level` is not understood.
    #[error("log level {level:?} is not understood: {cause}; use error, warn, info, debug or trace")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// Sets up logging for the whole process.
///
/// # Errors
/// When `level` is neither a level nor a list of `target=level`.
pub fn install(format: Format, level: &str) -> Result<(), InstallError> {
    let bad = |cause: String| InstallError::Level { level: level.to_owned(), cause };
    let targets = match level.parse::<LevelFilter>() {
        // The libraries below speak up only when they are asked by name.
        Ok(filter) => Targets::new().with_default(LevelFilter::WARN.min(filter)).with_target("agent_wrap", filter),
        Err(_) => level.parse::<Targets>().map_err(|error| bad(error.to_string()))?,
    };
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        Format::Text => {
            let stderr = std::io::stderr();
            let colours = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let stamp = if goes_to_the_journal() {
                Stamp::None
            } else if stderr.is_terminal() {
                Stamp::Clock
            } else {
                Stamp::Full
            };
            let layout = TextLayout { colours, stamp };
            let layer = tracing_subscriber::fmt::layer().event_format(layout).with_writer(Masked::stderr);
            registry.with(layer).try_init().ok();
        }
        Format::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_timer(UtcTime)
                .with_target(false)
                .with_writer(Masked::stderr);
            registry.with(layer).try_init().ok();
        }
    }
    Ok(())
}

/// The last look at each line, whoever wrote it: a password in a URL never gets through, be it quoted by a library's
/// error or by a controller's answer.
struct Masked<W>(W);

impl Masked<io::Stderr> {
    fn stderr() -> Self {
        Self(io::stderr())
    }
}

impl<W: io::Write> io::Write for Masked<W> {
    /// Takes whole lines, as the layers above hand them over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(mask::text(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether stderr is the stream that systemd connects to its journal, which stamps each line by itself.
fn goes_to_the_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let Ok(stat) = nix::sys::stat::fstat(std::io::stderr()) else { return false };
    stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino))
}

impl Line {
    /// Logs the line.
    pub fn log(&self, node: &str) {
        let (event, text) = (self.event, self.text.as_str());
        match self.level {
            Level::Debug => tracing::debug!(target: "agent_wrap", event, node, "{text}"),
            Level::Info => tracing::info!(target: "agent_wrap", event, node, "{text}"),
            Level::Warn => tracing::warn!(target: "agent_wrap", event, node, "{text}"),
            Level::Error => tracing::error!(target: "agent_wrap", event, node, "{text}"),
        }
    }
}

struct UtcTime;

impl tracing_subscriber::fmt::time::FormatTime for UtcTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", humantime::format_rfc3339_millis(SystemTime::now()))
    }
}

/// How a line says when; always in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    /// Not at all: whoever gets the line stamps it.
    None,
    /// `12:00:00`, for somebody who sits there.
    Clock,
    /// `2026-01-31T12:00:00Z`, for a file.
    Full,
}

impl Stamp {
    /// With a blank at its end.
    fn words(self, time: SystemTime) -> String {
        let full = humantime::format_rfc3339_seconds(time).to_string();
        match self {
            Self::None => String::new(),
            Self::Clock => format!("{} ", full.split(['T', 'Z']).nth(1).unwrap_or(&full)),
            Self::Full => format!("{full} "),
        }
    }
}

/// `agent-wrap 2026-01-31T12:00:00Z warning: the words`. The name comes first because the agent's own lines stand
/// between ours.
struct TextLayout {
    colours: bool,
    stamp: Stamp,
}

impl<S, N> FormatEvent<S, N> for TextLayout
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut words = Words::default();
        event.record(&mut words);
        let (label, colour) = match *event.metadata().level() {
            tracing::Level::ERROR => ("error: ", "\x1b[1;31m"),
            tracing::Level::WARN => ("warning: ", "\x1b[33m"),
            tracing::Level::INFO => ("", ""),
            tracing::Level::DEBUG => ("debug: ", "\x1b[2m"),
            tracing::Level::TRACE => ("trace: ", "\x1b[2m"),
        };
        if self.colours {
            write!(writer, "\x1b[36magent-wrap\x1b[0m ")?;
        } else {
            write!(writer, "agent-wrap ")?;
        }
        write!(writer, "{}", self.stamp.words(SystemTime::now()))?;
        if self.colours && !colour.is_empty() {
            writeln!(writer, "{colour}{label}{}\x1b[0m", words.message)
        } else {
            writeln!(writer, "{label}{}", words.message)
        }
    }
}

#[derive(Default)]
struct Words {
    message: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_line_shows_the_password_of_a_url() {
        let mut masked = Masked(Vec::new());
        masked.write_all(b"{\"message\":\"moved to http://me:hush@ci/\",\"node\":\"a@b\"}\n").unwrap();
        masked.write_all(b"error for url (https://me:hush@ci/api)\n").unwrap();
        assert_eq!(
            String::from_utf8(masked.0).unwrap(),
            "{\"message\":\"moved to http://********@ci/\",\"node\":\"a@b\"}\n\
             error for url (https://********@ci/api)\n"
        );
    }

    #[test]
    fn a_stamp_is_as_long_as_its_reader_needs() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 + 3_661);
        assert_eq!(Stamp::None.words(time), "");
        assert_eq!(Stamp::Clock.words(time), "01:01:01 ");
        assert_eq!(Stamp::Full.words(time), "1970-01-02T01:01:01Z ");
    }
}
