//! Words for times, exits and reasons.

use agent_wrap_supervisor::{
    Exit, LastEnd, LiftMethod, MarkMethod, OfflineReason, Owner, Phase, Span, SpawnFailure, StopSource,
};
use nix::errno::Errno;
use nix::libc;

use crate::shortage::Shortage;

/// A span as people write it: "340 ms", "4.2 s", "5m", "1h 30m".
#[must_use]
pub fn span_words(span: Span) -> String {
    let millis = span.0;
    match millis {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{millis} ms"),
        1_000..10_000 if !millis.is_multiple_of(1_000) => {
            let tenths = millis / 100;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        1_000..120_000 => format!("{} s", millis / 1_000),
        _ => {
            let minutes = millis / 60_000;
            let seconds = millis / 1_000 % 60;
            match (minutes / 60, minutes % 60, seconds) {
                (0, minutes, 0) => format!("{minutes}m"),
                (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
                (hours, 0, _) => format!("{hours}h"),
                (hours, minutes, _) => format!("{hours}h {minutes}m"),
            }
        }
    }
}

/// How a process ended, in words: "exited with code 7", "was killed by SIGKILL".
#[must_use]
pub fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(signal) => format!("was killed by {}", signal_name(signal)),
        Exit::Unknown => "ended".to_owned(),
    }
}

/// Who may have ended an agent that we have not asked to end yet in a stop, if it looks like that.
pub(super) fn term_of_others_words(exit: Exit) -> &'static str {
    // 143 is what a JVM makes of it.
    if matches!(exit, Exit::Code(143) | Exit::Signal(libc::SIGTERM)) {
        "; somebody else has sent it a TERM: systemd does that to all of a unit that is masked or removed before it is \
         stopped"
    } else {
        ""
    }
}

/// Whether it ended because nobody could read what it wrote.
pub(super) fn is_broken_pipe(exit: Exit) -> bool {
    // 141 is what a shell makes of it.
    matches!(exit, Exit::Code(141) | Exit::Signal(libc::SIGPIPE))
}

/// A phase in one word, for programs.
pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Evicting => "evicting",
        Phase::Enabling => "enabling",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Landed => "landed",
        Phase::BackingOff => "backing-off",
        Phase::Marking => "marking",
        Phase::Draining => "draining",
        Phase::Terminating => "terminating",
        Phase::Killing => "killing",
        Phase::Sweeping => "sweeping",
        Phase::Closing => "closing",
        Phase::Finished => "finished",
    }
}

/// SIGTERM for 15, "signal 42" for one without a name.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

pub(super) fn spawn_failure_words(failure: SpawnFailure) -> String {
    match failure {
        SpawnFailure::NotFound => "the command's file is not there any more; was it removed or unmounted?".to_owned(),
        SpawnFailure::NotExecutable => "the command's file is there but cannot be executed".to_owned(),
        SpawnFailure::Exhausted(errno) => {
            let shortage = Shortage::of(Errno::from_raw(errno)).unwrap_or(Shortage::Processes);
            format!("the system has no {} to spare ({}); {}", shortage.noun(), errno_words(errno), shortage.cause())
        }
        SpawnFailure::Unprepared => "what it needs (jar, secret) could not be got ready".to_owned(),
        SpawnFailure::Cancelled => "a stop came first".to_owned(),
        SpawnFailure::Other(errno) => format!("the system refused to start it ({})", errno_words(errno)),
    }
}

fn errno_words(errno: i32) -> &'static str {
    Errno::from_raw(errno).desc()
}

/// How often something failed: "once", "3 times in a row".
pub(super) fn times_words(failures: u32) -> String {
    if failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") }
}

pub(super) fn owner_words(owner: Owner) -> &'static str {
    match owner {
        Owner::ThisRun => "by this wrapper",
        Owner::EarlierRun => "by an earlier run of agent-wrap",
        Owner::Monitor => "by a monitor of the controller",
        Owner::Foreign => "by somebody else",
    }
}

/// The reason that the controller's page shows, without the marker; `stopping` gives the user's own text for a stop.
/// The characters that a controller escapes are replaced, so that the text reads the same everywhere.
#[must_use]
pub fn offline_reason(reason: &OfflineReason, host: &str, stopping: impl FnOnce() -> String) -> String {
    let text = match reason {
        OfflineReason::Stopping => stopping(),
        OfflineReason::Landed => format!("landed by request on {host}: no new builds until it takes off again"),
        OfflineReason::Held(words) => words.clone(),
        OfflineReason::Restarting => format!("the agent on {host} is about to be restarted"),
        OfflineReason::AgentEnded(exit) => {
            format!("the agent on {host} {} and is not to be started again", exit_words(*exit))
        }
        OfflineReason::AgentMissing(failure) => {
            let why = match failure {
                SpawnFailure::NotExecutable | SpawnFailure::Unprepared => "; agent-wrap's log says why",
                SpawnFailure::NotFound
                | SpawnFailure::Exhausted(_)
                | SpawnFailure::Cancelled
                | SpawnFailure::Other(_) => "",
            };
            format!("the agent on {host} could not be started: {}{why}", spawn_failure_words(*failure))
        }
        OfflineReason::AgentFailing { failures, last, again } => {
            let how = match last {
                LastEnd::NotStarted => "could not be started".to_owned(),
                LastEnd::Exited { exit, connected: true } => exit_words(*exit),
                LastEnd::Exited { exit, connected: false } => {
                    format!("{} without ever having been connected", exit_words(*exit))
                }
                LastEnd::Hung => "ran without being connected and had to be ended".to_owned(),
            };
            let what = if *failures == 1 {
                format!("the agent on {host} {how}")
            } else {
                format!("the agent on {host} keeps failing: {}, last it {how}", times_words(*failures))
            };
            let then = match again {
                Some(pause) => format!("agent-wrap starts it again every {}", span_words(*pause)),
                None => "agent-wrap has given up and is to be started again once that is mended".to_owned(),
            };
            format!("{what}; {then}; the log on {host} says why")
        }
    };
    text.chars()
        .map(|character| match character {
            '<' | '>' | '&' | '"' | '\'' => '-',
            control if control.is_control() => ' ',
            other => other,
        })
        .collect()
}

pub(super) fn source_words(source: StopSource) -> &'static str {
    match source {
        StopSource::Terminate => "stop",
        StopSource::Interrupt => "stop (Ctrl-C)",
        StopSource::Hangup => "the terminal has hung up",
        StopSource::Control => "stop by request",
    }
}

pub(super) fn lift_words(method: LiftMethod) -> &'static str {
    match method {
        LiftMethod::Cli => "the command online-node",
        LiftMethod::Toggle => "a toggle",
    }
}

pub(super) fn mark_words(method: MarkMethod) -> &'static str {
    match method {
        MarkMethod::ChangeCause => "changeOfflineCause",
        MarkMethod::Toggle => "a toggle",
    }
}

pub(super) fn processes_words(count: u32) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

/// A reason in quotes, on one line and of a bearable length: it is somebody else's text. Our marker is for programs,
/// and the words beside the reason say already whose mark it is.
pub(super) fn quoted(reason: &str) -> String {
    let reason = match reason.rsplit_once(" [agent-wrap ") {
        Some((words, marker)) if marker.ends_with(']') => words,
        _ => reason,
    };
    quoted_whole(reason)
}

/// The same with the marker, which says whose it is.
pub(super) fn quoted_whole(reason: &str) -> String {
    const LONGEST: usize = 200;
    let mut text: String =
        reason.chars().map(|character| if character.is_control() { ' ' } else { character }).take(LONGEST).collect();
    if reason.chars().count() > LONGEST {
        text.push('…');
    }
    if text.is_empty() { "no reason given".to_owned() } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_like_people_write_them() {
        for (millis, words) in [
            (0, "0 s"),
            (340, "340 ms"),
            (1_000, "1 s"),
            (4_260, "4.2 s"),
            (90_000, "90 s"),
            (300_000, "5m"),
            (340_000, "5m 40s"),
            (5_400_000, "1h 30m"),
            (7_200_000, "2h"),
        ] {
            assert_eq!(span_words(Span(millis)), words);
        }
    }

    #[test]
    fn a_failing_agent_is_counted_from_two_on() {
        let reason = |failures, last, again| {
            let reason = OfflineReason::AgentFailing { failures, last, again };
            offline_reason(&reason, "h", || unreachable!("it does not stop"))
        };
        let exited = |exit, connected| LastEnd::Exited { exit, connected };
        assert_eq!(
            reason(1, exited(Exit::Code(7), true), None),
            "the agent on h exited with code 7; agent-wrap has given up and is to be started again once that is mended; the \
             log on h says why"
        );
        assert_eq!(
            reason(10, exited(Exit::Signal(9), false), Some(Span::seconds(300))),
            "the agent on h keeps failing: 10 times in a row, last it was killed by SIGKILL without ever having been \
             connected; agent-wrap starts it again every 5m; the log on h says why"
        );
        let hung = reason(2, LastEnd::Hung, None);
        assert!(
            hung.contains("last it ran without being connected and had to be ended; agent-wrap has given up"),
            "{hung}"
        );
        assert!(reason(2, LastEnd::NotStarted, None).contains("last it could not be started"));
    }

    #[test]
    fn a_reason_names_the_log_where_that_says_more() {
        let reason = |failure| offline_reason(&OfflineReason::AgentMissing(failure), "h", || unreachable!("no stop"));
        for (failure, says_more) in [
            (SpawnFailure::Unprepared, true),
            (SpawnFailure::NotExecutable, true),
            (SpawnFailure::NotFound, false),
            (SpawnFailure::Other(1), false),
        ] {
            assert_eq!(reason(failure).ends_with("; agent-wrap-s log says why"), says_more, "{failure:?}");
            assert!(!spawn_failure_words(failure).contains("log"), "{failure:?}: the log does not name itself");
        }
    }

    #[test]
    fn what_is_lacking_is_named() {
        let words = |errno: Errno| spawn_failure_words(SpawnFailure::Exhausted(errno as i32));
        assert!(words(Errno::EMFILE).starts_with("the system has no descriptor to spare (Too many open files)"));
        assert!(words(Errno::EMFILE).contains("ulimit -n") && !words(Errno::EMFILE).contains("ulimit -u"));
        assert!(words(Errno::EAGAIN).contains("ulimit -u") && !words(Errno::EAGAIN).contains("ulimit -n"));
        assert!(!spawn_failure_words(SpawnFailure::Unprepared).contains("fetched"));
    }

    #[test]
    fn a_reason_has_no_character_that_a_controller_escapes() {
        let text = offline_reason(&OfflineReason::Stopping, "h", || "<n'1> \"stops\" & TERM\n".to_owned());
        assert_eq!(text, "-n-1- -stops- - TERM ");
    }
}
