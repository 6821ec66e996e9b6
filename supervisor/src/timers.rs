//! Deadlines, each with its reason, stored as what is left of them.

use alloc::vec::Vec;

use crate::Span;

/// What is awaited. The order is the order in which deadlines that fall together are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deadline {
    /// The time in which a write that was under way when the stop began may still be answered.
    AbandonWrite,
    /// `--offline-timeout`: the time for marking the node at a stop.
    OfflineTimeout,
    /// `--drain`: the time for running builds.
    DrainTimeout,
    /// `--drain-warn`: the last of that time, in which builds are still waited for.
    DrainWarning,
    /// `--grace`: from TERM to KILL.
    GraceTimeout,
    /// The time in which a killed agent must be gone.
    KillTimeout,
    /// The time for ending what the agent has left behind.
    SweepTimeout,
    /// The time for the last look before the exit.
    LastLookTimeout,
    /// `--start-timeout`: how long the controller may be unreachable at the first start.
    StartTimeout,
    /// The delay before the agent is started again.
    RestartDelay,
    /// The run of health after which earlier failures are forgotten.
    FailuresForgotten,
    /// `--disconnect-timeout`: how long an agent that lives may be seen not connected.
    DisconnectTimeout,
    /// The next attempt after a request that brought no usable answer.
    RetryRequest,
    /// The next look at the node.
    NextLook,
}

/// The deadlines that are set, soonest reason first, as what is left of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Timers {
    left: Vec<(Deadline, Span)>,
}

impl Timers {
    pub(crate) fn set(&mut self, deadline: Deadline, span: Span) {
        self.clear(deadline);
        let at = self.left.partition_point(|(other, _)| *other < deadline);
        self.left.insert(at, (deadline, span));
    }

    pub(crate) fn clear(&mut self, deadline: Deadline) {
        self.left.retain(|(other, _)| *other != deadline);
    }

    pub(crate) fn clear_all(&mut self) {
        self.left.clear();
    }

    pub(crate) fn left(&self, deadline: Deadline) -> Option<Span> {
        self.left.iter().find(|(other, _)| *other == deadline).map(|(_, span)| *span)
    }

    pub(crate) fn is_set(&self, deadline: Deadline) -> bool {
        self.left(deadline).is_some()
    }

    pub(crate) fn advance(&mut self, elapsed: Span) {
        for (_, span) in &mut self.left {
            *span = span.less(elapsed);
        }
    }

    /// Takes one deadline that is due.
    pub(crate) fn take_due(&mut self) -> Option<Deadline> {
        let at = self.left.iter().position(|(_, span)| span.is_zero())?;
        Some(self.left.remove(at).0)
    }

    /// The soonest deadline.
    pub(crate) fn next(&self) -> Option<(Span, Deadline)> {
        self.left.iter().map(|(deadline, span)| (*span, *deadline)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soonest_deadline_is_next_and_is_taken_once() {
        let mut timers = Timers::default();
        timers.set(Deadline::NextLook, Span(30));
        timers.set(Deadline::DrainTimeout, Span(20));
        assert_eq!(timers.next(), Some((Span(20), Deadline::DrainTimeout)));
        assert_eq!(timers.take_due(), None);
        timers.advance(Span(25));
        assert_eq!(timers.take_due(), Some(Deadline::DrainTimeout));
        assert_eq!(timers.take_due(), None);
        assert_eq!(timers.next(), Some((Span(5), Deadline::NextLook)));
    }

    #[test]
    fn deadlines_that_fall_together_are_taken_in_their_order() {
        let all = [Deadline::AbandonWrite, Deadline::GraceTimeout, Deadline::StartTimeout, Deadline::NextLook];
        for first in 0..all.len() {
            let mut timers = Timers::default();
            for at in 0..all.len() {
                timers.set(all[(first + at) % all.len()], Span(10));
            }
            timers.advance(Span(10));
            let taken: Vec<_> = core::iter::from_fn(|| timers.take_due()).collect();
            assert_eq!(taken, all);
        }
    }

    #[test]
    fn setting_a_deadline_again_replaces_it() {
        let mut timers = Timers::default();
        timers.set(Deadline::NextLook, Span(30));
        timers.set(Deadline::NextLook, Span(10));
        timers.advance(Span(10));
        assert_eq!(timers.take_due(), Some(Deadline::NextLook));
        assert_eq!(timers.next(), None);
    }
}
