//! Whose marks may be lifted, or given another reason.

use super::{Node, Scope};
use crate::{Mark, NodeView, OfflineReason, OnlinePolicy, Owner};

/// So often a mark that others set again right after the start is lifted.
const LIFTS_AFTER_START: u8 = 3;
/// So often the mark of another run that appears while the node is free is lifted: one may be a late request of a run
/// that is over, and whoever sets another is alive.
const STRAYS_LIFTED: u8 = 2;

impl Node {
    /// Whether our mark is to get another reason: what it says has been overtaken. A toggle would lift it.
    pub(super) fn may_reword(&self, mark: &Mark, reason: &OfflineReason) -> bool {
        // What a hold file says is wanted on a node that an earlier run has marked, too.
        let held = matches!(reason, OfflineReason::Held(_));
        let ours = mark.owner == Owner::ThisRun || held && mark.owner == Owner::EarlierRun;
        ours && !self.cause_missing && self.marked_for.as_ref() != Some(reason)
    }

    /// Whether the policy lets us lift this mark.
    pub(crate) fn may_lift(&self, mark: &Mark, scope: Scope) -> bool {
        match mark.owner {
            Owner::ThisRun => true,
            Owner::EarlierRun => self.policy.online != OnlinePolicy::Never && self.strays <= STRAYS_LIFTED,
            Owner::Monitor => false,
            Owner::Foreign => {
                scope == Scope::Start
                    && !self.policy.unclean
                    && self.lifts_after_start < LIFTS_AFTER_START
                    && match self.policy.online {
                        OnlinePolicy::Always => true,
                        OnlinePolicy::Match => mark.matches,
                        OnlinePolicy::Own | OnlinePolicy::Never => false,
                    }
            }
        }
    }

    /// Counts a mark of another run that has appeared on a node that was free, once each time.
    pub(super) fn count_stray(&mut self, view: &NodeView) {
        let is_anothers = view.mark.as_ref().is_some_and(|mark| mark.owner == Owner::EarlierRun);
        if is_anothers && self.was_free && !self.stray_counted {
            self.strays = (self.strays + 1).min(STRAYS_LIFTED + 1);
        }
        self.stray_counted = is_anothers && (self.stray_counted || self.was_free);
    }

    /// Somebody wants the node online whatever it was before. True if another's mark was left.
    pub(crate) fn forget_strays(&mut self) -> bool {
        core::mem::take(&mut self.strays) > STRAYS_LIFTED
    }

    /// Whether a lost race explains the mark that is about to be lifted: our own toggle has just set it.
    pub(crate) fn race_lost(&self, mark: &Mark) -> bool {
        mark.owner == Owner::ThisRun && self.lifting.as_ref().is_some_and(|lifted| *lifted != mark.reason)
    }
}
