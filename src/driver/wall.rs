//! `--drain until=`: a limit by the clock on the wall, which the core does not have. It is told before a drain may begin
//! how long one may take, and anew when the clock has been set or the machine has slept.

use agent_wrap_supervisor::{Event, Goal, Moment, Phase, Request, Span};

use super::{Shells, Turn};
use crate::config::{Drain, Until};
use crate::telemetry::span_words;
use crate::wall::Seconds;

/// Differences up to this are those of two clocks that run.
const TOLERANCE: Span = Span::seconds(2);

/// The limit of the drain that is under way.
#[derive(Debug)]
pub(super) struct Limit {
    end: Seconds,
    /// What the core was told, and when.
    told: (Moment, Span),
}

impl Limit {
    /// Takes note of a time in which no deadline of the core came nearer, because we were stopped.
    pub(super) fn was_away(&mut self, time: Span) {
        self.told.0 = self.told.0 + time;
    }
}

impl<S: Shells> Turn<S> {
    /// Somebody asks for something: a drain that begins with it has its limit.
    pub(super) fn limit_drain(&mut self, request: Request) {
        let goal = self.supervisor.status().goal;
        let begins = match request {
            Request::Stop(_) | Request::StopNow => !matches!(goal, Some(Goal::Exit(_))),
            Request::Restart => !matches!(goal, Some(Goal::Exit(_) | Goal::Restart)),
            Request::Land | Request::TakeOff | Request::Forward(_) | Request::Suspend => false,
        };
        if begins && let Drain::Until(until) = self.driver.settings.drain {
            self.begin_limit(until);
        }
    }

    fn begin_limit(&mut self, until: Until) {
        let end = until.after((self.driver.wall)());
        let left = self.tell_limit(end);
        if left.is_zero() {
            tracing::warn!(
                target: "agent_wrap",
                event = "drain_past",
                node = self.driver.reasons.node,
                "{until}, until when builds would be waited for (--drain until=), is past: they are not waited for"
            );
        }
    }

    /// Other settings hold: a restart that is under way goes by them, a stop does not.
    pub(super) fn limit_changed(&mut self) {
        if self.supervisor.status().goal != Some(Goal::Restart) {
            return;
        }
        self.limit = None;
        if let Drain::Until(until) = self.driver.settings.drain {
            self.begin_limit(until);
        }
    }

    /// Looks whether the clock on the wall has gone another way than ours.
    pub(super) fn follow_wall_clock(&mut self) {
        let Some(Limit { end, told: (at, left) }) = self.limit else { return };
        let status = self.supervisor.status();
        match (status.phase, status.goal) {
            (Phase::Marking | Phase::Draining, Some(Goal::Exit(_) | Goal::Restart)) => {}
            (_, Some(Goal::Exit(_) | Goal::Restart)) => return,
            (_, Some(Goal::Land | Goal::Replace) | None) => {
                self.limit = None;
                return;
            }
        }
        let expected = left.less(self.driver.clock.now().since(at));
        let now = self.left_until(end);
        if now.less(expected).plus(expected.less(now)) > TOLERANCE {
            tracing::info!(
                target: "agent_wrap",
                event = "clock_set",
                node = self.driver.reasons.node,
                "the clock has been set, or the machine has slept: until the moment of --drain it is {}, not {}",
                span_words(now),
                span_words(expected)
            );
            self.tell_limit(end);
        }
    }

    fn left_until(&self, end: Seconds) -> Span {
        Span::seconds(u64::try_from(end - (self.driver.wall)()).unwrap_or_default())
    }

    fn tell_limit(&mut self, end: Seconds) -> Span {
        let left = self.left_until(end);
        self.limit = Some(Limit { end, told: (self.driver.clock.now(), left) });
        self.handle(Event::DrainBounded { left });
        left
    }
}
