//! From the controller's JSON to what the core knows of a node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_wrap_supervisor::{Build, Mark, NodeView, Owner, Rest, Span};
use regex_lite::Regex;
use serde::Deserialize;

use super::mark_clock::MarkClock;
use super::marker::Marker;

/// The fields of a node that are asked for; a version that lacks one leaves it out of its answer.
pub(crate) const TREE: &str = "displayName,offline,temporarilyOffline,offlineCauseReason,\
offlineCause[timestamp,description,message],idle,numExecutors,jnlpAgent,absoluteRemotePath,\
executors[idle,progress,currentExecutable[url,fullDisplayName,number,timestamp,estimatedDuration]],\
oneOffExecutors[idle,progress,currentExecutable[url,fullDisplayName,number,timestamp,estimatedDuration]]";

/// What a mark's owner and match are decided by.
pub(crate) struct Judge<'a> {
    /// Who we are.
    pub(crate) marker: &'a Marker,
    /// The pattern of `--online match=REGEX`.
    pub(crate) online_match: Option<&'a Regex>,
    /// The state file says that a mark of ours is on the node.
    pub(crate) claimed: bool,
    /// The controller's clock, where its answers tell no time.
    pub(crate) clock: &'a MarkClock,
    /// Whether the account is shown the paths of agents that are connected.
    pub(crate) sees_paths: &'a SeesPaths,
}

/// Whether answers have shown a path, which takes Agent/Connect. Without that it is null, connected or not.
#[derive(Debug, Default)]
pub(crate) struct SeesPaths(AtomicBool);

impl SeesPaths {
    /// Nothing is known of another account.
    pub(crate) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn learn(&self, computer: &Computer) {
        if computer.absolute_remote_path.is_some() {
            self.0.store(true, Ordering::Relaxed);
        } else if !computer.offline {
            self.forget();
        }
    }

    fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Computer {
    offline: bool,
    temporarily_offline: bool,
    idle: Option<bool>,
    offline_cause_reason: Option<String>,
    offline_cause: Option<Cause>,
    absolute_remote_path: Option<String>,
    #[serde(default)]
    executors: Vec<Executor>,
    #[serde(default)]
    one_off_executors: Vec<Executor>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(rename = "_class")]
    class: Option<String>,
    /// When it was given, in milliseconds since 1970 by the controller's clock.
    timestamp: Option<u64>,
    description: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Executor {
    idle: Option<bool>,
    progress: Option<i64>,
    current_executable: Option<Executable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Executable {
    full_display_name: Option<String>,
    /// When it began, in milliseconds since 1970 by the controller's clock.
    timestamp: Option<i64>,
    /// How long builds of this job have taken, in milliseconds; -1 where there is none to go by.
    estimated_duration: Option<i64>,
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head<'a> {
    /// `X-Jenkins`.
    pub(crate) version: Option<&'a str>,
    /// `Date`: the clock of the controller, or of a proxy before it.
    pub(crate) date: Option<SystemTime>,
}

/// Reads one answer.
pub(crate) fn node_view(body: &[u8], head: Head<'_>, judge: &Judge<'_>) -> Result<NodeView, serde_json::Error> {
    let computer: Computer = serde_json::from_slice(body)?;
    let executors = || computer.executors.iter().chain(&computer.one_off_executors);
    judge.sees_paths.learn(&computer);
    let connected = if !computer.offline || computer.absolute_remote_path.is_some() {
        Some(true)
    } else if computer.temporarily_offline && !judge.sees_paths.is_known() {
        // A null path says nothing here: it is also what those without Agent/Connect see.
        None
    } else {
        Some(false)
    };
    let mark = computer.temporarily_offline.then(|| mark(&computer, judge));
    let marked = computer.offline_cause.as_ref().and_then(|cause| cause.timestamp);
    let marked = marked.filter(|_| mark.as_ref().is_some_and(|mark| mark.owner == Owner::ThisRun));
    let date = head.date.or_else(|| judge.clock.time(marked?));
    Ok(NodeView {
        mark,
        connected,
        idle: computer.idle.unwrap_or_else(|| executors().all(|executor| executor.idle == Some(true))),
        builds: executors().filter_map(|executor| build(executor, date)).collect(),
        has_cli: head.version.is_some_and(has_cli),
    })
}

fn build(executor: &Executor, date: Option<SystemTime>) -> Option<Build> {
    let progress = executor.progress.and_then(|percent| u8::try_from(percent).ok()).filter(|percent| *percent <= 100);
    match &executor.current_executable {
        Some(executable) => {
            let running_for = executable.running_for(date).or_else(|| executable.gone(progress));
            Some(Build {
                name: executable.full_display_name.clone(),
                progress,
                running_for,
                rest: executable.rest(running_for),
            })
        }
        None if executor.idle == Some(false) => Some(Build { progress, ..Build::default() }),
        None => None,
    }
}

impl Executable {
    /// By the clock of the answer. Ours may be wrong, and which time it was at the build's begin is theirs to say.
    fn running_for(&self, date: Option<SystemTime>) -> Option<Span> {
        let begin = UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(self.timestamp?).ok()?))?;
        // The head's time is in whole seconds: a build that has just begun may seem to begin a moment later.
        let gone = date?.duration_since(begin).unwrap_or_default();
        Some(Span(u64::try_from(gone.as_millis()).ok()?))
    }

    /// By the percents that are done of the estimate, for an answer without a time. They stop at 99, however long it takes.
    fn gone(&self, progress: Option<u8>) -> Option<Span> {
        let percents = progress.filter(|percent| *percent < 99)?;
        Some(Span(self.estimate()?.checked_mul(u64::from(percents))? / 100))
    }

    fn estimate(&self) -> Option<u64> {
        self.estimated_duration.and_then(|millis| u64::try_from(millis).ok()).filter(|millis| *millis > 0)
    }

    fn rest(&self, running_for: Option<Span>) -> Option<Rest> {
        let (estimate, gone) = (Span(self.estimate()?), running_for?);
        Some(if gone > estimate { Rest::Overdue(gone.less(estimate)) } else { Rest::Left(estimate.less(gone)) })
    }
}

fn mark(computer: &Computer, judge: &Judge<'_>) -> Mark {
    let cause = computer.offline_cause.as_ref();
    let reason = reason(computer);
    let texts = [
        computer.offline_cause_reason.as_deref(),
        cause.and_then(|cause| cause.description.as_deref()),
        cause.and_then(|cause| cause.message.as_deref()),
    ];
    let marked_by = texts.into_iter().flatten().filter_map(|text| judge.marker.owner(text));
    let owner = marked_by.fold(None, |best, owner| if best == Some(Owner::ThisRun) { best } else { Some(owner) });
    let owner = match owner {
        Some(owner) => owner,
        None if cause.is_some_and(Cause::is_monitor) => Owner::Monitor,
        None if judge.claimed && !cause.is_some_and(Cause::is_of_a_person) => Owner::EarlierRun,
        None => Owner::Foreign,
    };
    let matches = judge.online_match.is_some_and(|pattern| pattern.is_match(&reason));
    Mark { owner, reason, matches }
}

impl Cause {
    fn is_monitor(&self) -> bool {
        self.class.as_deref().is_some_and(|class| class.starts_with("hudson.node_monitors."))
    }

    /// Whether a person has given it. Older controllers do not name the class, but they name the person.
    fn is_of_a_person(&self) -> bool {
        let names_one = |text: &str| text.contains(" : ") || text.starts_with("Disconnected by ");
        match &self.class {
            Some(class) => class.ends_with("UserCause") || class.ends_with("ByCLI"),
            None => self.description.as_deref().is_some_and(names_one),
        }
    }

    /// The description is localised and has the person before the text.
    fn text(&self) -> Option<&str> {
        let description = self.description.as_deref()?;
        if self.class.is_some() && !self.is_of_a_person() {
            return Some(description);
        }
        // "Disconnected by USER : TEXT" in the controller's language; a full name may have a colon, a text may too.
        match description.split_once(" : ") {
            Some((_, text)) => Some(text),
            None => Some(description.strip_suffix(" :").map_or(description, |_| "")),
        }
    }
}

/// The reason as a person would read it. The controller escapes only `offlineCauseReason`.
fn reason(computer: &Computer) -> String {
    let filled = |text: &&str| !text.trim().is_empty();
    let cause = computer.offline_cause.as_ref();
    if let Some(message) = cause.and_then(|cause| cause.message.as_deref()).filter(filled) {
        return message.trim().to_owned();
    }
    if let Some(escaped) = computer.offline_cause_reason.as_deref().filter(filled) {
        return unescape(escaped.trim());
    }
    cause.and_then(Cause::text).unwrap_or_default().trim().to_owned()
}

/// Takes back the HTML escapes that controllers use; anything else stays as it is.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = rest.find(';').filter(|end| *end <= 10).map(|end| &rest[1..end]);
        match entity.and_then(character) {
            Some(c) => {
                plain.push(c);
                rest = &rest[entity.map_or(0, str::len) + 2..];
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        number => {
            let number = number.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

/// The CLI over HTTP came with 2.54.
fn has_cli(version: &str) -> bool {
    let mut numbers = version.trim().split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let major = numbers.next();
    let minor = numbers.next().unwrap_or(0);
    major.is_some_and(|major| (major, minor) >= (2, 54))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
