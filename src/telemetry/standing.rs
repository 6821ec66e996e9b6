//! How things stand, in words: one line that changes when they do. What the supervisor's status does not say (why the
//! controller is waited for, how the agent has ended, until when builds are) the notes have said before.

use agent_wrap_supervisor::{
    Desired, FailureKind, Generation, Goal, Mark, Moment, NodeView, Note, Phase, Span, Status,
};

use super::builds::builds_words;
use super::format::shown;
use super::picture::builds_of;
use super::words::{exit_words, owner_words, quoted, signal_name, span_words, times_words};

/// What was told and still holds.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Why the controller gave no usable answer.
    pub(super) failure: Option<String>,
    /// The same in a few words, where there are some.
    pub(super) cause: Option<&'static str>,
    /// Since when it gives none.
    pub(super) failing: Option<Moment>,
    /// How the agent ended last.
    exit: Option<String>,
    /// What the agent lacked.
    lacks: Option<String>,
    /// The pause before the agent's next start, and its end.
    pause: Span,
    pub(super) pause_end: Moment,
    /// When the agent was started.
    pub(super) started: Moment,
    /// Since when the agent does not run, although it lives, by which signal, and how it is continued.
    suspension: Option<(Moment, i32, String)>,
    /// When running builds are not waited for any longer.
    pub(super) drain_end: Option<Moment>,
    /// How long the agent has to end, and until when.
    grace: Span,
    pub(super) grace_end: Moment,
}

impl Standing {
    /// Takes note of what is told.
    pub(super) fn hear(&mut self, now: Moment, note: &Note) {
        match note {
            Note::Waiting { failure, .. } | Note::StartedUnmarked(failure) => {
                self.failure = Some(failure.words.clone());
                self.cause = match failure.kind {
                    FailureKind::Unavailable => None,
                    FailureKind::Unauthenticated => Some("the controller refuses the credentials (401)"),
                    FailureKind::Forbidden => Some("the controller refuses the account (403)"),
                    FailureKind::NoSuchNode => Some("the controller has no such node"),
                };
                self.failing.get_or_insert(now);
            }
            Note::Answering
            | Note::NodeFree
            | Note::Lifted
            | Note::MarkLeft { .. }
            | Note::Marked
            | Note::MarkedAlready(_)
            | Note::AgentConnected { .. }
            | Note::ForeignMarkGone => {
                self.failure = None;
                self.failing = None;
            }
            Note::AgentStarted { .. } => {
                self.started = now;
                self.lacks = None;
                self.exit = None;
            }
            Note::AgentExited { exit, .. } => {
                self.exit = Some(exit_words(*exit));
                self.suspension = None;
            }
            Note::RestartPlanned { delay, .. } => {
                self.pause = *delay;
                self.pause_end = now + *delay;
            }
            Note::Draining { left, .. } => self.drain_end = left.map(|left| now + left),
            Note::DrainEnding { left, .. } => self.drain_end = Some(now + *left),
            Note::Terminating { grace } => {
                self.grace = *grace;
                self.grace_end = now + *grace;
            }
            _ => {}
        }
    }

    /// Takes note of a time in which no deadline came nearer, because we were stopped.
    pub(super) fn away(&mut self, time: Span) {
        for end in [&mut self.pause_end, &mut self.grace_end].into_iter().chain(&mut self.drain_end) {
            *end = *end + time;
        }
    }

    /// Takes note of an agent that was stopped without being asked to end.
    pub(super) fn suspended(&mut self, now: Moment, signal: i32, cure: &str) {
        let since = self.suspension.as_ref().map_or(now, |(since, ..)| *since);
        self.suspension = Some((since, signal, cure.to_owned()));
    }

    /// Takes note that it goes on; how long it was stopped, if that was told.
    pub(super) fn resumed(&mut self, now: Moment) -> Option<Span> {
        self.suspension.take().map(|(since, ..)| now.since(since))
    }

    /// That the agent is stopped, if it is.
    pub(super) fn suspension_words(&self) -> Option<String> {
        let (_, signal, cure) = self.suspension.as_ref()?;
        Some(format!("the agent is stopped by {}; {cure}", signal_name(*signal)))
    }

    /// Takes note of what the agent lacks that is about to fail.
    pub(super) fn lacks(&mut self, words: &str) {
        self.lacks = Some(words.to_owned());
    }

    /// The line. Nothing in it acts, and there is no password in it.
    pub(super) fn words(&self, now: Moment, status: &Status<'_>) -> String {
        let words = match status.phase {
            Phase::Evicting if status.generation == Generation(0) => {
                "ending an agent that an earlier wrapper has left behind".to_owned()
            }
            Phase::Evicting => "ending what is left of the agent before it is started again".to_owned(),
            Phase::Enabling => self.enabling(status),
            Phase::Starting => "starting the agent".to_owned(),
            Phase::Running => self.running(status),
            Phase::Landed => match status.hold {
                Some(words) => format!("held offline by an operator ({}), the agent stays up", quoted(words)),
                None => "landed: the node is marked offline, the agent stays up".to_owned(),
            },
            Phase::BackingOff => self.backing_off(status),
            Phase::Marking => match &self.failure {
                Some(failure) => format!("{}: the node cannot be marked offline yet: {failure}", errand(status)),
                None => format!("{}: marking the node offline", errand(status)),
            },
            Phase::Draining => self.draining(now, status),
            Phase::Terminating => format!("{}: the agent has {} to end", errand(status), span_words(self.grace)),
            Phase::Killing => format!("{}: the agent did not end and was killed", errand(status)),
            Phase::Sweeping => "stopping: ending what the agent has left behind".to_owned(),
            Phase::Closing => "stopping: a last look at the node".to_owned(),
            Phase::Finished => "stopped".to_owned(),
        };
        shown(&words)
    }

    fn enabling(&self, status: &Status<'_>) -> String {
        match (&self.failure, status.believed) {
            (Some(failure), _) => format!("waiting for the controller: {failure}"),
            (None, None) => "asking the controller for the node".to_owned(),
            (None, Some(_)) if matches!(status.desired, Some(Desired::Offline(_))) => {
                "marking the node offline before the agent is started".to_owned()
            }
            (None, Some(_)) => "bringing the node online".to_owned(),
        }
    }

    fn running(&self, status: &Status<'_>) -> String {
        if let Some(words) = self.suspension_words() {
            return words;
        }
        let Some(view) = status.believed.filter(|_| status.desired.is_some()) else {
            return match (&self.failure, status.desired) {
                (Some(failure), Some(_)) => {
                    format!("the agent runs, and nobody can tell whether it is connected: {failure}")
                }
                (_, _) => "the agent runs".to_owned(),
            };
        };
        let agent = match (view, status.connected) {
            _ if status.flaps => "the agent runs, but its connection comes and goes",
            (NodeView { connected: Some(false), .. }, true) => {
                "the agent runs, but the controller reports it disconnected"
            }
            (NodeView { connected: None, .. }, false) => "the agent runs",
            (_, true) if view.mark.is_some() => "connected",
            (_, true) => "online",
            (_, false) => "the agent runs and is not connected yet",
        };
        let mark = view.mark.as_ref().map(mark_words).unwrap_or_default();
        let failure = self.failure.as_ref().map(|words| format!(", but now: {words}")).unwrap_or_default();
        format!("{agent}{mark}{failure}")
    }

    fn backing_off(&self, status: &Status<'_>) -> String {
        self.pausing(status, &format!("after a pause of {}", span_words(self.pause)))
    }

    /// Why there is a pause before the agent's next start, and when that is.
    pub(super) fn pausing(&self, status: &Status<'_>, when: &str) -> String {
        let times =
            if status.failures > 1 { format!(", failed {}", times_words(status.failures)) } else { String::new() };
        match &self.lacks {
            // Last, because it may be several sentences.
            Some(lacks) => format!("the agent cannot be started{times}; tried again {when}: {lacks}"),
            None => format!("{}{times}; it is started again {when}", self.end_of_agent()),
        }
    }

    /// How the agent ended last, or that there was none.
    pub(super) fn end_of_agent(&self) -> String {
        match &self.exit {
            Some(exit) => format!("the agent {exit}"),
            None => "the agent could not be started".to_owned(),
        }
    }

    fn draining(&self, now: Moment, status: &Status<'_>) -> String {
        let verb = match status.goal {
            Some(Goal::Exit(_)) | None => "draining".to_owned(),
            Some(Goal::Land | Goal::Restart | Goal::Replace) => format!("{}, draining", errand(status)),
        };
        let (builds, idle) = builds_of(status);
        let left = self.drain_end.map(|end| left_words(end.since(now))).unwrap_or_default();
        match builds {
            [] if idle => format!("{verb}: no build runs any more"),
            _ => format!("{verb}: {}{left}", builds_words(builds)),
        }
    }
}

pub(super) fn errand(status: &Status<'_>) -> &'static str {
    match status.goal {
        Some(Goal::Land) => "landing",
        Some(Goal::Restart) => "restarting the agent",
        Some(Goal::Replace) => "restarting the agent, which is not connected",
        Some(Goal::Exit(_)) | None => "stopping",
    }
}

fn mark_words(mark: &Mark) -> String {
    format!("; the node is marked offline {} ({})", owner_words(mark.owner), quoted(&mark.reason))
}

/// In whole minutes, so that it is seldom another.
fn left_words(left: Span) -> String {
    let minutes = left.0.div_ceil(60_000);
    match (minutes / 60, minutes % 60) {
        (0, 0 | 1) => "; cut off in less than a minute".to_owned(),
        (0, minutes) => format!("; cut off in {minutes}m"),
        (hours, 0) => format!("; cut off in {hours}h"),
        (hours, minutes) => format!("; cut off in {hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use agent_wrap_supervisor::{Build, Cause, Exit, Failure, Owner};

    use super::*;
    use crate::telemetry::testing::status;

    fn view(mark: Option<&str>, connected: Option<bool>) -> NodeView {
        let mark = mark.map(|reason| Mark { owner: Owner::Foreign, reason: reason.to_owned(), matches: false });
        NodeView { mark, connected, idle: true, builds: Vec::new(), has_cli: true }
    }

    fn failing(words: &str) -> Note {
        let failure = Failure::new(FailureKind::Unavailable, words.to_owned());
        Note::Waiting { failure, retry: Span(1) }
    }

    #[test]
    fn why_the_controller_is_waited_for_is_said_until_it_answers() {
        let mut standing = Standing::default();
        let enabling = status(Phase::Enabling);
        assert_eq!(standing.words(Moment(0), &enabling), "asking the controller for the node");
        standing.hear(Moment(0), &failing("http://me:hush@ci/ does not answer\nforged"));
        let words = standing.words(Moment(0), &enabling);
        assert_eq!(words, "waiting for the controller: http://********@ci/ does not answer\\nforged");
        standing.hear(Moment(0), &Note::Answering);
        let seen = view(Some("a job"), None);
        let words = standing.words(Moment(0), &Status { believed: Some(&seen), ..enabling });
        assert_eq!(words, "bringing the node online");
    }

    #[test]
    fn an_agent_that_runs_is_online_or_says_why_not() {
        let standing = Standing::default();
        for (mark, channel, connected, words) in [
            (None, Some(true), true, "online"),
            (None, Some(false), false, "the agent runs and is not connected yet"),
            (None, Some(false), true, "the agent runs, but the controller reports it disconnected"),
            (Some("repair"), Some(true), true, "connected; the node is marked offline by somebody else (\"repair\")"),
            (Some("repair"), None, false, "the agent runs; the node is marked offline by somebody else (\"repair\")"),
        ] {
            let seen = view(mark, channel);
            let running = Status { believed: Some(&seen), connected, ..status(Phase::Running) };
            assert_eq!(standing.words(Moment(0), &running), words);
        }
        let standalone = Status { desired: None, ..status(Phase::Running) };
        assert_eq!(standing.words(Moment(0), &standalone), "the agent runs");
    }

    #[test]
    fn an_agent_that_is_stopped_is_said_until_it_goes_on_or_has_ended() {
        let mut standing = Standing::default();
        let running = Status { desired: None, ..status(Phase::Running) };
        let exit = Exit::Signal(9);
        let ended = Note::AgentExited { generation: Generation(1), exit, asked: false, connected: false };
        assert_eq!(standing.resumed(Moment(0)), None, "nothing was told");
        for _ in 0..2 {
            standing.suspended(Moment(1_000), 19, "`kill -CONT 7` continues it");
            standing.suspended(Moment(2_000), 21, "this helps");
            assert_eq!(standing.words(Moment(0), &running), "the agent is stopped by SIGTTIN; this helps");
            assert_eq!(standing.resumed(Moment(5_000)), Some(Span::seconds(4)));
            assert_eq!(standing.words(Moment(0), &running), "the agent runs");
        }
        standing.suspended(Moment(6_000), 19, "this helps");
        standing.hear(Moment(7_000), &ended);
        assert_eq!(standing.words(Moment(0), &running), "the agent runs");
    }

    #[test]
    fn an_outage_behind_a_running_agent_is_said() {
        let mut standing = Standing::default();
        standing.hear(Moment(0), &failing("it hangs"));
        let seen = view(None, Some(true));
        let running = Status { believed: Some(&seen), connected: true, ..status(Phase::Running) };
        assert_eq!(standing.words(Moment(0), &running), "online, but now: it hangs");
    }

    #[test]
    fn a_drain_says_what_it_waits_for_and_how_long_in_whole_minutes() {
        let mut standing = Standing::default();
        let builds = vec![
            Build { name: Some("job x #12".to_owned()), progress: Some(40), ..Build::default() },
            Build::default(),
        ];
        let left = Some(Span::seconds(240));
        standing.hear(Moment(0), &Note::Draining { builds: builds.clone(), left });
        let words = |now, builds: &[Build], idle, goal| {
            let seen = NodeView { builds: builds.to_vec(), idle, ..view(Some("ours"), Some(true)) };
            standing.words(now, &Status { goal: Some(goal), believed: Some(&seen), ..status(Phase::Draining) })
        };
        let exit = Goal::Exit(Cause::Stopped);
        for (second, left) in
            [(0, "4m"), (59, "4m"), (60, "3m"), (181, "less than a minute"), (300, "less than a minute")]
        {
            let text = words(Moment(second * 1000), &builds[..1], false, exit);
            assert_eq!(text, format!("draining: 1 build: job x #12 (40%); cut off in {left}"));
        }
        let text = words(Moment(0), &builds, false, Goal::Restart);
        assert_eq!(
            text,
            "restarting the agent, draining: 2 builds: job x #12 (40%), a job not visible to this account; cut off in 4m"
        );
        assert_eq!(words(Moment(0), &[], true, exit), "draining: no build runs any more");
        assert_eq!(
            words(Moment(0), &[], false, exit),
            "draining: a build that the controller does not name; cut off in 4m"
        );
        assert_eq!(left_words(Span::seconds(7200)), "; cut off in 2h");
        assert_eq!(left_words(Span::seconds(7201)), "; cut off in 2h 1m");
    }

    #[test]
    fn a_pause_says_what_went_wrong() {
        let mut standing = Standing::default();
        let backing_off = |failures| Status { failures, ..status(Phase::BackingOff) };
        let exit = Exit::Code(7);
        standing
            .hear(Moment(0), &Note::AgentExited { generation: Generation(1), exit, asked: false, connected: false });
        standing.hear(Moment(0), &Note::RestartPlanned { delay: Span::seconds(4), failures: 3 });
        assert_eq!(
            standing.words(Moment(0), &backing_off(3)),
            "the agent exited with code 7, failed 3 times in a row; it is started again after a pause of 4 s"
        );
        standing.lacks("there is no jar");
        let words = standing.words(Moment(0), &backing_off(0));
        assert_eq!(words, "the agent cannot be started; tried again after a pause of 4 s: there is no jar");
        let words = standing.words(Moment(0), &backing_off(2));
        assert!(words.starts_with("the agent cannot be started, failed 2 times in a row; tried"), "{words}");
    }
}
