//! How a line looks: text for people, JSON for programs, fields for the journal. The first two always go to stderr; the
//! agent's own output is not touched.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::bottom::has_cursor;
use super::journal::{self, Journal, Position};
use super::line::Line;
use super::outlet::{BottomLine, Courtesy, LostWords, Outlet};
use super::stderr::Stderr;
use super::visible::visible;
use crate::mask;
use crate::quoted::quoted;

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
    /// Records with fields, to systemd's journal and not to stderr.
    Journal,
}

const READER_GONE: &str = "whoever read this log is gone, as after Ctrl-C the tee of `2>&1 | tee log` is (`tee -i` would \
                           stay); it goes on here";

/// Logging could not be set up.
#[derive(Debug, Error)]
pub enum InstallError {
    /// `--log-level` is not understood.
    #[error("log level {} is not understood: {cause}; use error, warn, info, debug or trace", quoted(.level))]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// Logging that is set up; dropped, it takes care of the last lines.
#[must_use]
pub struct Logging {
    outlet: Arc<Outlet>,
    position: Position,
    /// What lines begin with, where they are for people.
    name: Option<&'static str>,
}

impl Logging {
    /// For whoever lets its lines be read before he goes on.
    pub(super) fn courtesy(&self) -> Courtesy {
        Courtesy::to(&self.outlet)
    }

    /// For whoever knows where the wrapper stands.
    pub(super) fn position(&self) -> Position {
        self.position.clone()
    }

    /// Whether it is text on stderr.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        self.name.is_some()
    }

    /// The line at the bottom of stderr, where stderr has the log, for people.
    #[must_use]
    pub fn bottom_line(&self) -> Option<BottomLine> {
        BottomLine::of(&self.outlet, self.name?.to_owned())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(line) = self.bottom_line() {
            line.show(None);
        }
        self.outlet.flush();
    }
}

/// Sets up logging for the whole process, which cares for this node ("" for none). Where there is no journal it is text.
///
/// # Errors
/// When `level` is neither a level nor a list of `target=level`.
pub fn install(format: Format, level: &str, node: &str) -> Result<Logging, InstallError> {
    let bad = |cause: String| InstallError::Level { level: level.to_owned(), cause };
    let targets = match level.parse::<LevelFilter>() {
        // The libraries below speak up only when they are asked by name.
        Ok(filter) => Targets::new().with_default(LevelFilter::WARN.min(filter)).with_target("agent_wrap", filter),
        Err(_) => level.parse::<Targets>().map_err(|error| bad(error.to_string()))?,
    };
    let journal = (format == Format::Journal).then(|| Journal::connect(Path::new(journal::SOCKET)));
    let (format, journal, missing) = match journal {
        Some(Err(error)) => (Format::Text, None, Some(error)),
        Some(Ok(journal)) => (format, Some(journal), None),
        None => (format, None, None),
    };
    let look = Look { format, layout: TextLayout::of_stderr(), node: node.to_owned(), position: Position::default() };
    let (lost_words, position) = (look.lost_words(), look.position.clone());
    let name = (format == Format::Text).then(|| look.layout.name());
    let layout = look.layout;
    let notice = move || layout.line(SystemTime::now(), tracing::Level::WARN, READER_GONE);
    let outlet = Arc::new(match journal {
        Some(journal) => Outlet::new(journal, lost_words),
        None if format == Format::Text => Outlet::new(Stderr::new(notice), lost_words),
        None => Outlet::new(io::stderr(), lost_words),
    });
    look.subscriber(targets, Arc::clone(&outlet)).try_init().ok();
    if let Some(error) = missing.filter(|_| !goes_to_the_journal()) {
        let socket = journal::SOCKET;
        tracing::warn!(
            target: "agent_wrap",
            event = "no_journal",
            "there is no journal to log to ({socket}: {error}); logging text to stderr"
        );
    }
    Ok(Logging { outlet, position, name })
}

/// How all lines of a process look.
struct Look {
    format: Format,
    layout: TextLayout,
    node: String,
    position: Position,
}

impl Look {
    fn subscriber<W>(self, targets: Targets, writer: W) -> Box<dyn Subscriber + Send + Sync>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let registry = tracing_subscriber::registry().with(targets);
        let layer = tracing_subscriber::fmt::layer().with_writer(writer);
        match self.format {
            Format::Text => Box::new(registry.with(layer.event_format(self.layout))),
            Format::Json => {
                let layer = layer
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_timer(UtcTime)
                    .with_target(false);
                let node = node_field(&self.node);
                Box::new(registry.with(layer.map_event_format(|format| Visible { format, node })))
            }
            Format::Journal => Box::new(registry.with(layer.event_format(Records(self)))),
        }
    }

    /// The line that says how many are missing before it.
    fn lost_words(&self) -> LostWords {
        let (format, layout, node, position) = (self.format, self.layout, self.node.clone(), self.position.clone());
        Box::new(move |lost| {
            let (lines, were) = if lost == 1 { ("line", "was") } else { ("lines", "were") };
            let message = format!("{lost} {lines} of this log {were} lost: its reader took nothing, is it stuck?");
            let now = SystemTime::now();
            match format {
                Format::Text => layout.line(now, tracing::Level::WARN, &message),
                Format::Json => json_line(now, "WARN", "lines_lost", &message, &node_field(&node)),
                Format::Journal => journal::record(tracing::Level::WARN, &node, "lines_lost", &position, &message),
            }
        })
    }
}

/// Something that is wrong before there is a log, as a line of stderr that looks like one.
#[must_use]
pub fn fault_line(format: Format, event: &str, words: &str) -> String {
    match format {
        // Its priority, as the journal reads it from a stream.
        Format::Journal if goes_to_the_journal() => format!("<3>{}\n", shown(words)),
        Format::Journal => format!("agent-wrap: {}\n", shown(words)),
        Format::Text => format!("agent-wrap: {}\n", shown(words)),
        Format::Json => json_line(SystemTime::now(), "ERROR", event, words, ""),
    }
}

/// The node as the last field of a JSON object that has others.
fn node_field(node: &str) -> String {
    format!(",\"node\":{}", serde_json::Value::from(node))
}

/// An object with one field more, which is written as it stands after others.
fn with_field(object: &str, field: &str) -> String {
    match object.trim_end().strip_suffix('}') {
        Some(fields) => format!("{fields}{field}}}"),
        None => object.to_owned(),
    }
}

fn json_line(time: SystemTime, level: &str, event: &str, message: &str, more: &str) -> String {
    let timestamp = humantime::format_rfc3339_millis(time).to_string();
    let fields = serde_json::json!({"timestamp": timestamp, "level": level, "message": message, "event": event});
    format!("{}\n", shown(&with_field(&fields.to_string(), more)))
}

/// The last look at each line, whoever wrote it: a password in a URL never gets through, be it quoted by a library's
/// error or by a controller's answer, nor does a character that acts. What is escaped could no longer be read as a URL.
pub(crate) fn shown(text: &str) -> String {
    visible(&mask::text(text)).into_owned()
}

/// Whether stderr is the stream that systemd connects to its journal, which stamps each line by itself.
#[must_use]
pub fn goes_to_the_journal() -> bool {
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
#[derive(Clone, Copy, Debug)]
struct TextLayout {
    colours: bool,
    stamp: Stamp,
}

impl TextLayout {
    fn of_stderr() -> Self {
        let terminal = io::stderr().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colours = terminal && wanted && has_cursor(std::env::var_os("TERM").as_deref());
        let stamp = if goes_to_the_journal() {
            Stamp::None
        } else if terminal {
            Stamp::Clock
        } else {
            Stamp::Full
        };
        Self { colours, stamp }
    }

    /// Who speaks.
    fn name(self) -> &'static str {
        if self.colours { "\x1b[36magent-wrap\x1b[0m" } else { "agent-wrap" }
    }

    fn line(self, time: SystemTime, level: tracing::Level, message: &str) -> String {
        let (label, colour) = match level {
            tracing::Level::ERROR => ("error: ", "\x1b[1;31m"),
            tracing::Level::WARN => ("warning: ", "\x1b[33m"),
            tracing::Level::INFO => ("", ""),
            tracing::Level::DEBUG => ("debug: ", "\x1b[2m"),
            tracing::Level::TRACE => ("trace: ", "\x1b[2m"),
        };
        let (name, stamp, message) = (self.name(), self.stamp.words(time), shown(message));
        match colour {
            "" => format!("{name} {stamp}{label}{message}\n"),
            _ if !self.colours => format!("{name} {stamp}{label}{message}\n"),
            _ => format!("{name} {stamp}{colour}{label}{message}\x1b[0m\n"),
        }
    }
}

impl<S, N> FormatEvent<S, N> for TextLayout
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut words = Words::default();
        event.record(&mut words);
        writer.write_str(&self.line(SystemTime::now(), *event.metadata().level(), &words.message))
    }
}

/// JSON without what JSON itself would let through: only its strings can hold such characters, and there they may be
/// escaped. And with the node in every line, whoever wrote it: a program that reads several logs sorts by it.
struct Visible<F> {
    format: F,
    node: String,
}

impl<S, N, F> FormatEvent<S, N> for Visible<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let has_node = event.metadata().fields().field("node").is_some();
        let line = with_field(&line, if has_node { "" } else { &self.node });
        writeln!(writer, "{}", shown(&line))
    }
}

/// Fields for the journal.
struct Records(Look);

impl<S, N> FormatEvent<S, N> for Records
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut words = Words::default();
        event.record(&mut words);
        let level = *event.metadata().level();
        let Look { node, position, .. } = &self.0;
        writer.write_str(&journal::record(level, node, &words.event, position, &words.message))
    }
}

#[derive(Default)]
struct Words {
    message: String,
    event: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "event" => value.clone_into(&mut self.event),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
