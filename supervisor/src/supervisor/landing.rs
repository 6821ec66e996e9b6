//! Keeping the node marked while the agent runs: by request, or because of an operator's hold file; and back again.

use alloc::string::String;

use super::{Phase, Supervisor};
use crate::agent::JarOffer;
use crate::errand::{Goal, Landing};
use crate::node::Node;
use crate::{Desired, Effect, Note, Request, Scope};

impl Supervisor {
    pub(super) fn land(&mut self, request: Request) {
        if self.node.is_none() {
            self.taken(request, Effect::Meaningless);
            return;
        }
        match self.errand.as_ref().map(|errand| errand.goal) {
            Some(Goal::Exit(_)) => return self.taken(request, Effect::TooLate),
            Some(Goal::Land) if !self.is_held() => return self.taken(request, Effect::Already),
            Some(Goal::Land | Goal::Restart | Goal::Replace) | None => {}
        }
        if self.landing.holds() {
            return self.taken(request, Effect::Already);
        }
        self.taken(request, Effect::Done);
        if self.renews() && matches!(self.phase, Phase::Marking | Phase::Draining) {
            self.begin_errand(Goal::Land);
            return;
        }
        if self.errand.is_some() {
            // Another agent comes, or the hold file lands this one: the node stays marked after that.
            self.landing = Landing::Wished;
            if self.replaces() {
                self.wish_grounded();
            }
            return;
        }
        match self.phase {
            Phase::Running => self.begin_errand(Goal::Land),
            Phase::Landed => self.landing = Landing::Told,
            Phase::Evicting | Phase::Enabling | Phase::Starting | Phase::BackingOff => {
                self.landing = Landing::Wished;
                self.wish_grounded();
            }
            Phase::Marking
            | Phase::Draining
            | Phase::Terminating
            | Phase::Killing
            | Phase::Sweeping
            | Phase::Closing
            | Phase::Finished => {}
        }
    }

    /// An operator's hold file has appeared, says something else, or is gone.
    pub(super) fn hold_changed(&mut self, words: Option<String>) {
        if self.node.is_none() || self.hold == words {
            return;
        }
        match words {
            Some(words) => self.held(words),
            None => self.released(),
        }
    }

    fn held(&mut self, words: String) {
        let first = !self.is_held();
        self.tell(Note::HoldSet { words: words.clone() });
        (self.hold, self.overruled) = (Some(words), false);
        match self.errand.as_ref().map(|errand| errand.goal) {
            Some(Goal::Land) => {
                if first {
                    self.landing = Landing::Wished;
                }
                self.wish_grounded();
            }
            Some(Goal::Restart) if self.renews() && matches!(self.phase, Phase::Marking | Phase::Draining) => {
                self.begin_errand(Goal::Land);
            }
            Some(Goal::Replace) => self.wish_grounded(),
            Some(_) => {}
            None if self.phase == Phase::Running => self.begin_errand(Goal::Land),
            None => self.wish_grounded(),
        }
    }

    fn released(&mut self) {
        let held = self.is_held();
        (self.hold, self.overruled) = (None, false);
        self.tell(Note::HoldLifted);
        if !held {
            return;
        }
        match self.errand.as_ref().map(|errand| errand.goal) {
            Some(Goal::Land) if !self.landing.holds() => self.take_errand_back(),
            Some(Goal::Exit(_) | Goal::Restart) => {}
            Some(Goal::Land) => self.wish_grounded(),
            Some(Goal::Replace) | None if self.landing.holds() => self.wish_grounded(),
            Some(Goal::Replace) => self.wish(Desired::Online(Scope::Own)),
            None => self.come_back(),
        }
    }

    pub(super) fn take_off(&mut self, request: Request) {
        if self.node.is_none() {
            return self.taken(request, Effect::Meaningless);
        }
        match self.errand.as_ref().map(|errand| errand.goal) {
            Some(Goal::Exit(_)) => return self.taken(request, Effect::TooLate),
            Some(Goal::Restart) if self.is_held() && matches!(self.phase, Phase::Marking | Phase::Draining) => {
                self.landing = Landing::No;
                self.taken(request, Effect::TakenBack);
                // The agent stays, and the node marked.
                return self.begin_errand(Goal::Land);
            }
            _ if self.is_held() => {
                self.landing = Landing::No;
                self.taken(request, Effect::Held);
                if self.phase == Phase::BackingOff && self.agent.failures >= self.policy.backoff.slow_after {
                    self.enable();
                }
                return;
            }
            Some(Goal::Land | Goal::Restart) if matches!(self.phase, Phase::Marking | Phase::Draining) => {
                self.taken(request, Effect::TakenBack);
                if self.renews() {
                    self.agent.jar_offer = JarOffer::Over;
                }
                return self.take_errand_back();
            }
            Some(Goal::Restart | Goal::Replace) if self.landing.holds() => {
                self.landing = Landing::No;
                if self.replaces() {
                    self.wish(Desired::Online(Scope::Own));
                }
                return self.taken(request, Effect::Done);
            }
            // The node is not marked for it.
            Some(Goal::Replace) => return self.taken(request, Effect::Already),
            Some(Goal::Land | Goal::Restart) => return self.taken(request, Effect::TooLate),
            None => {}
        }
        let landed = core::mem::take(&mut self.landing).holds();
        let slowed = self.phase == Phase::BackingOff
            && self.node.as_ref().is_some_and(|node| matches!(node.desired, Desired::Offline(_)));
        // One that comes back again and again is lifted once more.
        let left = self.node.as_mut().is_some_and(Node::forget_strays);
        let effect = if landed || slowed || left { Effect::Done } else { Effect::Already };
        self.taken(request, effect);
        if let Some(node) = &mut self.node {
            // A mark that we leave is told of again.
            node.told_foreign = None;
        }
        if slowed && !landed {
            self.enable();
            return;
        }
        if self.phase == Phase::Running || effect == Effect::Done {
            self.come_back();
        }
    }

    /// An agent that lives and is not connected is being ended.
    fn replaces(&self) -> bool {
        self.errand.as_ref().is_some_and(|errand| errand.goal == Goal::Replace)
    }

    /// The node is to be online from now on.
    fn come_back(&mut self) {
        if self.phase == Phase::Landed {
            self.phase = Phase::Running;
        }
        if self.mark_failing() {
            return;
        }
        match self.phase {
            Phase::Running => self.wish(Desired::Online(Scope::Own)),
            Phase::Enabling | Phase::Starting | Phase::BackingOff | Phase::Evicting => {
                let scope = if self.started_before { Scope::Own } else { Scope::Start };
                self.wish(Desired::Online(scope));
            }
            Phase::Landed
            | Phase::Marking
            | Phase::Draining
            | Phase::Terminating
            | Phase::Killing
            | Phase::Sweeping
            | Phase::Closing
            | Phase::Finished => {}
        }
    }
}
