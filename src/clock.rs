//! The one place that reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_wrap_supervisor::{Moment, Span};
use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::wall::Seconds;

/// The monotonic clock, counted from the program's start. It stands still while the machine sleeps, as timers do; it is
/// the timers' own, so that tests can pause both.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time since the start.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(Instant::now().duration_since(self.origin).as_millis()).unwrap_or(u64::MAX))
    }

    /// The instant at which the clock will show `moment`.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        // A millisecond's rest counts as a whole one, so that a timer never wakes before its deadline.
        self.origin + Duration::from_millis(moment.0.saturating_add(1))
    }
}

/// The machine's monotonic clock in microseconds, as other processes read it.
#[must_use]
pub fn monotonic_microseconds() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The clock on the wall.
#[must_use]
pub fn wall() -> Seconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Seconds::try_from(since.as_secs()).unwrap_or(Seconds::MAX)
}

/// A span as the standard library's duration.
#[must_use]
pub fn duration(span: Span) -> Duration {
    Duration::from_millis(span.0)
}
