//! The controller's clock by the mark that we have set: for answers without a time, which some controllers give.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_wrap_supervisor::Moment;

use crate::clock::Clock;

/// What the controller's clock has shown, and when. A mark of this run is seen for the first time right after it was set.
#[derive(Debug)]
pub(crate) struct MarkClock {
    ours: Clock,
    seen: Mutex<Option<(u64, Moment)>>,
}

impl MarkClock {
    pub(crate) fn start() -> Self {
        Self { ours: Clock::start(), seen: Mutex::new(None) }
    }

    /// The controller's time now, by a mark of this run with this time in it, in milliseconds since 1970.
    pub(crate) fn time(&self, marked: u64) -> Option<SystemTime> {
        let now = self.ours.now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none_or(|(before, _)| before != marked) {
            *seen = Some((marked, now));
        }
        let gone = seen.map_or(0, |(_, at)| now.since(at).0);
        UNIX_EPOCH.checked_add(Duration::from_millis(marked.checked_add(gone)?))
    }
}
