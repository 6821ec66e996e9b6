//! What a person at the terminal sees while something is awaited: how things stand, with seconds that count. What matters
//! most comes first, because the line is cut where the terminal ends.

use agent_wrap_supervisor::{Build, Deadline, Desired, Goal, Moment, NodeView, Phase, Span, Status};

use super::builds::{self, age_words, builds_words, rest_words, shortened};
use super::format::shown;
use super::keys::Keys;
use super::standing::{Standing, errand};
use super::words::span_words;

/// How things stand while something is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// One line. Nothing in it acts, and there is no password in it.
    pub words: String,
    /// There is a time in it that goes on.
    pub counts: bool,
}

/// A picture in the making.
struct Words {
    text: String,
    counts: bool,
}

impl Standing {
    /// The picture; `None` while all is well and nothing is awaited. `keys` are those of somebody at the keyboard, with
    /// whether builds would be waited for.
    pub(super) fn picture(&self, now: Moment, status: &Status<'_>, keys: Option<(Keys, bool)>) -> Option<Picture> {
        let hint = keys.and_then(|(keys, drains)| keys.words(status, drains));
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        let still = |text: String| Words { text, counts: false };
        let words = match status.phase {
            Phase::Landed | Phase::Finished => return None,
            Phase::Running => self.not_well(now, status)?,
            Phase::Enabling if self.failure.is_some() => self.waiting(now, status, ""),
            Phase::BackingOff => {
                Words { text: self.pausing(status, &format!("in {}", countdown(now, self.pause_end))), counts: true }
            }
            Phase::Marking => match &self.failure {
                Some(failure) => Words {
                    text: format!("{}, not marked yet{}{hint}: {failure}", errand(status), next_words(now, status)),
                    counts: true,
                },
                None => still(format!("{}, marking the node offline{hint}", errand(status))),
            },
            Phase::Draining => self.pending_builds(now, status, &hint),
            Phase::Terminating => Words {
                text: format!("{}, the agent has {} to end{hint}", errand(status), countdown(now, self.grace_end)),
                counts: true,
            },
            Phase::Evicting | Phase::Enabling | Phase::Starting | Phase::Killing | Phase::Sweeping | Phase::Closing => {
                still(format!("{}{hint}", self.words(now, status)))
            }
        };
        Some(Picture { words: shown(&words.text), counts: words.counts })
    }

    /// An agent that runs, and is not what it is to be.
    fn not_well(&self, now: Moment, status: &Status<'_>) -> Option<Words> {
        if let Some(text) = self.suspension_words() {
            return Some(Words { text, counts: false });
        }
        status.desired.filter(|desired| **desired != Desired::AsItIs)?;
        if self.failure.is_some() {
            return Some(self.waiting(now, status, "the agent runs, "));
        }
        match status.believed {
            Some(NodeView { connected: Some(false), .. }) if !status.connected => {
                let ran = countup(self.started, now);
                Some(Words { text: format!("the agent is not connected yet, after {ran}"), counts: true })
            }
            _ => None,
        }
    }

    fn waiting(&self, now: Moment, status: &Status<'_>, what: &str) -> Words {
        let since = self.failing.map(|since| format!(" for {}", countup(since, now))).unwrap_or_default();
        let next = next_words(now, status);
        let failure = self.failure.as_deref().unwrap_or_default();
        let cause = self.cause.unwrap_or("waiting for the controller");
        Words { text: format!("{what}{cause}{since}{next}: {failure}"), counts: true }
    }

    fn pending_builds(&self, now: Moment, status: &Status<'_>, hint: &str) -> Words {
        let verb = match status.goal {
            Some(Goal::Exit(_)) | None => "draining".to_owned(),
            Some(Goal::Land | Goal::Restart | Goal::Replace) => format!("{}, draining", errand(status)),
        };
        let (builds, idle) = builds_of(status);
        if builds.is_empty() && idle {
            return Words { text: format!("{verb}: no build runs any more"), counts: false };
        }
        let left = self.drain_end.map(|end| format!(", {} left", countdown(now, end))).unwrap_or_default();
        let text = format!("{verb} {}{left}{hint}{}", count_words(builds), name_words(builds));
        Words { text, counts: self.drain_end.is_some() }
    }

    /// What runs and for how long it is waited for, for a line of its own.
    pub(super) fn progress_words(&self, now: Moment, builds: &[Build]) -> String {
        let left = self.drain_end.map(|end| format!("up to {} more ", countdown(now, end))).unwrap_or_default();
        format!("draining: waiting {left}for {}", builds_words(builds))
    }
}

/// How many builds there are, and how far they are.
fn count_words(builds: &[Build]) -> String {
    const NAMED: usize = 4;
    let all: Vec<String> = builds.iter().filter_map(|build| Some(format!("{}%", build.progress?))).collect();
    let more = if all.len() > NAMED { ", …" } else { "" };
    let progress = match &all[..all.len().min(NAMED)] {
        [] => String::new(),
        first => format!(" ({}{more})", first.join(", ")),
    };
    format!("{}{progress}", builds::count_words(builds.len().max(1)))
}

/// Which builds they are, as far as their names may be seen.
fn name_words(builds: &[Build]) -> String {
    let names: Vec<String> = builds.iter().filter_map(name_and_times).collect();
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}

fn name_and_times(build: &Build) -> Option<String> {
    let name = shortened(build.name.as_deref()?);
    let times = build.running_for.map(age_words).into_iter().chain(build.rest.map(rest_words));
    let times = times.collect::<Vec<_>>().join(", ");
    Some(if times.is_empty() { name } else { format!("{name} ({times})") })
}

/// What comes next when the controller gives no usable answer.
fn next_words(now: Moment, status: &Status<'_>) -> String {
    match status.awaiting {
        _ if status.in_flight.is_some() => ", asking now".to_owned(),
        Some((moment, Deadline::RetryRequest)) => format!(", asking again in {}", countdown(now, moment)),
        Some((moment, Deadline::StartTimeout)) => format!(", giving up in {}", countdown(now, moment)),
        Some((moment, Deadline::OfflineTimeout)) => format!(", going on without in {}", countdown(now, moment)),
        _ => String::new(),
    }
}

/// The builds that run, as far as they can be seen, and whether the controller calls the node idle.
pub(super) fn builds_of<'a>(status: &Status<'a>) -> (&'a [Build], bool) {
    status.believed.map_or((&[][..], true), |view| (&view.builds[..], view.idle))
}

/// What is left until `end`, in whole seconds, the last one to its end.
fn countdown(now: Moment, end: Moment) -> String {
    span_words(Span::seconds(end.since(now).0.div_ceil(1000)))
}

/// What has gone by since `begin`, in whole seconds.
fn countup(begin: Moment, now: Moment) -> String {
    span_words(Span::seconds(now.since(begin).0 / 1000))
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
