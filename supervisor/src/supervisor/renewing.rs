//! The restart of an idle agent into a new jar: an errand that nobody has asked for, so that no build may suffer by it.

use super::{Phase, Supervisor};
use crate::agent::JarOffer;
use crate::errand::Goal;
use crate::node::{Knowledge, Settlement};
use crate::{Deadline, Generation, Note, OfflinePolicy, Span};

/// So long the node may stay marked at the most for it.
pub(super) const RENEWAL_TIME: Span = Span::seconds(60);

impl Supervisor {
    pub(super) fn jar_offered(&mut self, generation: Generation) {
        if generation != self.agent.generation || !self.agent.is_alive() || self.agent.jar_offer != JarOffer::None {
            return;
        }
        self.agent.jar_offer = JarOffer::Open;
        if self.phase == Phase::Running
            && let Some(node) = &mut self.node
        {
            // Whether it is idle is seen at once.
            self.timers.clear(Deadline::NextLook);
            node.knowledge = Knowledge::Stale;
        }
    }

    /// A look has shown the node as it is to be: whether its agent is to be started anew with the jar that is offered.
    pub(super) fn may_renew(&self, settlement: Settlement) -> bool {
        let Some(node) = &self.node else { return false };
        let idle = node.view.as_ref().is_some_and(|view| view.idle && view.connected == Some(true));
        // Unmarked, a build could come at any moment.
        let marks = node.policy.offline == OfflinePolicy::Always;
        let offered = self.agent.jar_offer == JarOffer::Open;
        offered && self.agent.connected && idle && marks && settlement == Settlement::Free
    }

    pub(super) fn renew(&mut self) {
        self.tell(Note::RenewingJar);
        self.begin_errand(Goal::Restart);
        if let Some(errand) = &mut self.errand {
            errand.renews = true;
        }
    }

    pub(super) fn renews(&self) -> bool {
        self.errand.as_ref().is_some_and(|errand| errand.renews)
    }

    /// The agent is left alone; `until_idle` or, where the node could not be marked, for good.
    pub(super) fn put_renewal_off(&mut self, until_idle: bool) {
        if !until_idle {
            self.agent.jar_offer = JarOffer::Over;
        }
        self.tell(Note::RenewalPutOff { until_idle });
        self.take_errand_back();
    }
}
