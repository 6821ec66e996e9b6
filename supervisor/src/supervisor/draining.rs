//! The drain: marked, and running builds are waited for.

use alloc::vec::Vec;

use super::{Phase, Supervisor};
use crate::errand::{Goal, Landing};
use crate::{Build, Deadline, Note, Span};

/// Between the two reads that have to call the node idle.
const IDLE_GAP: Span = Span::millis(500);
/// The looks at running builds slow down to one in ten times half a second.
const SLOWEST_LOOK: u8 = 10;

impl Supervisor {
    /// Builds are waited for so much longer. A warning that has come too late for its time is `overdue` where the limit
    /// has moved, and needless where it is short from the beginning.
    pub(super) fn limit_drain(&mut self, left: Span, overdue: bool) {
        self.timers.set(Deadline::DrainTimeout, left);
        let warn = self.policy.drain_warn;
        if left > warn && !warn.is_zero() {
            self.timers.set(Deadline::DrainWarning, left.less(warn));
        } else if overdue {
            self.timers.set(Deadline::DrainWarning, Span::ZERO);
        } else {
            self.timers.clear(Deadline::DrainWarning);
        }
    }

    /// How long builds may be waited for from now on, by a clock that the core does not have: it holds for the drain that
    /// is under way as for one that begins later.
    pub(super) fn drain_bounded(&mut self, left: Span) {
        self.policy.drain = left;
        if self.timers.is_set(Deadline::DrainTimeout) {
            let overdue = self.timers.is_set(Deadline::DrainWarning);
            self.limit_drain(left, overdue);
            let builds = self.running_builds();
            if !builds.is_empty() {
                self.tell(Note::Draining { builds, left: Some(left) });
            }
        }
    }

    /// The time for running builds is running out.
    pub(super) fn drain_warning(&mut self) {
        if self.phase != Phase::Draining {
            return;
        }
        let idle = self.node.as_ref().and_then(|node| node.view.as_ref()).is_none_or(|view| view.idle);
        let builds = self.running_builds();
        let Some(errand) = &mut self.errand else { return };
        errand.warning_due = idle;
        let revocable = !errand.exits();
        if let Some(left) = self.timers.left(Deadline::DrainTimeout).filter(|_| !idle) {
            self.tell(Note::DrainEnding { builds, left, revocable });
        }
    }

    /// A read during the drain: twice idle in a row is drained.
    pub(super) fn drain_look(&mut self) {
        let Some(errand) = &mut self.errand else { return };
        let Some(view) = self.node.as_ref().and_then(|node| node.view.as_ref()) else { return };
        if errand.renews && !(view.idle && errand.confirmed) {
            let until_idle = !view.idle;
            self.put_renewal_off(until_idle);
            return;
        }
        if view.idle {
            errand.idle_reads += 1;
            if errand.idle_reads >= 2 {
                self.drained();
            } else {
                self.timers.set(Deadline::NextLook, IDLE_GAP);
            }
            return;
        }
        errand.idle_reads = 0;
        errand.looks = (errand.looks + 1).min(SLOWEST_LOOK);
        let builds = view.builds.clone();
        let news = errand.told.as_deref().map(names) != Some(names(&builds));
        let delay = Span(500 * u64::from(errand.looks));
        let warning_due = core::mem::take(&mut errand.warning_due);
        if news {
            errand.told = Some(builds.clone());
            let left = self.timers.left(Deadline::DrainTimeout);
            self.tell(Note::Draining { builds, left });
        }
        if warning_due {
            self.drain_warning();
        }
        self.timers.set(Deadline::NextLook, delay);
    }

    fn drained(&mut self) {
        let Some(errand) = &self.errand else { return };
        let lands = errand.goal == Goal::Land;
        if errand.told.is_some() {
            self.tell(Note::Drained);
        }
        if !lands {
            self.terminate();
            return;
        }
        self.errand = None;
        self.phase = Phase::Landed;
        if !self.is_held() || self.landing.holds() {
            self.landing = Landing::Told;
        }
        self.tell(Note::Landed);
        if self.is_held() {
            // What it says may have changed meanwhile.
            self.wish_grounded();
            return;
        }
        if let Some(node) = &mut self.node {
            node.reassertion_limit = 0;
        }
        let interval = self.look_interval();
        self.timers.set(Deadline::NextLook, interval);
    }

    /// Waits for builds no longer: time is over, or somebody asked.
    pub(super) fn cut_drain(&mut self, timeout: bool) {
        if self.phase != Phase::Draining {
            return;
        }
        if self.renews() {
            self.put_renewal_off(false);
            return;
        }
        let builds = self.running_builds();
        self.tell(Note::DrainCut { builds, timeout });
        self.terminate();
    }

    /// What the last look has shown to run.
    fn running_builds(&self) -> Vec<Build> {
        let view = self.node.as_ref().and_then(|node| node.view.as_ref());
        view.filter(|view| !view.idle).map(|view| view.builds.clone()).unwrap_or_default()
    }
}

/// What people want to know of the builds: which; their progress is no news.
fn names(builds: &[Build]) -> Vec<Option<&str>> {
    builds.iter().map(|build| build.name.as_deref()).collect()
}
