//! What people, signals and service managers ask for: admitted, taken as done already, or refused.

use alloc::string::String;

use super::{Phase, Supervisor};
use crate::agent::JarOffer;
use crate::errand::{Cause, Errand, Goal, INTERRUPT_GAP, Interrupts, Landing};
use crate::node::{Knowledge, Node};
use crate::{
    Action, AgentSignal, AgentState, Deadline, Desired, Effect, Note, Policy, Request, Scope, Span, StopSource,
};

impl Supervisor {
    pub(super) fn requested(&mut self, request: Request) {
        if matches!(request, Request::Stop(_) | Request::StopNow) {
            // Whoever can hear of a stop is not stopped by job control any more.
            self.resumed();
        }
        match request {
            Request::Stop(source) => self.stop(request, source),
            Request::StopNow => self.stop_now(request),
            Request::Land => self.land(request),
            Request::TakeOff => self.take_off(request),
            Request::Restart => self.restart(request),
            Request::Forward(signal) => self.forward(signal),
            Request::Suspend => self.suspend(),
        }
    }

    fn taken(&mut self, request: Request, effect: Effect) {
        self.tell(Note::RequestTaken { request, effect });
    }

    fn stopping(&mut self) -> Option<&mut Errand> {
        self.errand.as_mut().filter(|errand| errand.exits())
    }

    fn stop(&mut self, request: Request, source: StopSource) {
        if self.stopping().is_some() {
            if source == StopSource::Interrupt && self.policy.terminal {
                self.interrupt(request);
            } else {
                self.taken(request, Effect::Already);
            }
            return;
        }
        let agent = self.agent.exists();
        self.tell(Note::Stopping { source, agent });
        self.begin_stop();
        if source == StopSource::Interrupt {
            self.count_interrupt();
        }
    }

    fn begin_stop(&mut self) {
        let goal = Goal::Exit(Cause::Stopped);
        if let Some(errand) = &mut self.errand
            && errand.goal != Goal::Replace
            && matches!(self.phase, Phase::Terminating | Phase::Killing)
        {
            // The agent was being ended for its restart: only what comes then is another, and how long it may take if the
            // settings have changed since.
            errand.goal = goal;
            if self.timers.left(Deadline::GraceTimeout).is_some_and(|left| left > self.policy.grace) {
                self.timers.set(Deadline::GraceTimeout, self.policy.grace);
            }
            if self.phase == Phase::Killing && !self.timers.is_set(Deadline::KillTimeout) {
                self.after_agent();
            }
            return;
        }
        self.begin_errand(goal);
    }

    fn count_interrupt(&mut self) {
        if let Some(errand) = &mut self.errand {
            errand.interrupts = errand.interrupts.next();
            errand.gap = INTERRUPT_GAP;
        }
    }

    /// Another interrupt from a terminal: the second skips the rest of the drain, the third kills.
    fn interrupt(&mut self, request: Request) {
        let Some(errand) = self.stopping() else { return };
        if !errand.gap.is_zero() {
            self.taken(request, Effect::Repeated);
            return;
        }
        self.count_interrupt();
        match self.errand.as_ref().map(|errand| errand.interrupts) {
            Some(Interrupts::Twice) => self.skip_drain(request),
            Some(Interrupts::Thrice) => self.kill_now(request),
            Some(Interrupts::None | Interrupts::Once) | None => self.taken(request, Effect::Already),
        }
    }

    fn skip_drain(&mut self, request: Request) {
        let Some(errand) = self.stopping() else { return };
        let skipped = core::mem::replace(&mut errand.skip_drain, true);
        if skipped || !matches!(self.phase, Phase::Marking | Phase::Draining) {
            self.taken(request, Effect::Already);
            return;
        }
        self.taken(request, Effect::DrainSkipped);
        self.cut_drain(false);
    }

    /// No waiting any more: KILL after the TERM that the agent may not have had yet, and no last look.
    fn kill_now(&mut self, request: Request) {
        let Some(errand) = self.stopping() else { return };
        errand.skip_drain = true;
        errand.hurry = true;
        self.taken(request, Effect::Killed);
        match self.phase {
            Phase::Marking | Phase::Draining => {
                if self.agent.is_alive() {
                    self.ask_agent_to_end();
                }
                if self.agent.exists() {
                    self.kill_agent();
                } else {
                    self.after_agent();
                }
            }
            Phase::Terminating => self.kill_agent(),
            Phase::Closing => self.finish_errand(),
            Phase::Evicting
            | Phase::Enabling
            | Phase::Starting
            | Phase::Running
            | Phase::Landed
            | Phase::BackingOff
            | Phase::Killing
            | Phase::Sweeping
            | Phase::Finished => {}
        }
    }

    fn stop_now(&mut self, request: Request) {
        if self.stopping().is_none() {
            let agent = self.agent.exists();
            self.tell(Note::Stopping { source: StopSource::Control, agent });
            self.begin_stop();
        }
        if self.phase != Phase::Finished {
            self.skip_drain(request);
        }
    }

    fn land(&mut self, request: Request) {
        if self.node.is_none() {
            self.taken(request, Effect::Meaningless);
            return;
        }
        match self.errand.as_ref().map(|errand| errand.goal) {
            Some(Goal::Exit(_)) => return self.taken(request, Effect::TooLate),
            Some(Goal::Land) if self.hold.is_none() => return self.taken(request, Effect::Already),
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
        let first = self.hold.is_none();
        self.tell(Note::HoldSet { words: words.clone() });
        self.hold = Some(words);
        match self.errand.as_ref().map(|errand| errand.goal) {
            Some(Goal::Land) if first => self.landing = Landing::Wished,
            Some(_) => {}
            None if self.phase == Phase::Running => self.begin_errand(Goal::Land),
            None => self.wish_grounded(),
        }
    }

    fn released(&mut self) {
        self.hold = None;
        self.tell(Note::HoldLifted);
        match self.errand.as_ref().map(|errand| errand.goal) {
            Some(Goal::Land) if !self.landing.holds() => self.take_errand_back(),
            Some(Goal::Exit(_) | Goal::Restart | Goal::Replace) => {}
            Some(Goal::Land) => self.wish_grounded(),
            None if self.landing.holds() => self.wish_grounded(),
            None => self.come_back(),
        }
    }

    fn take_off(&mut self, request: Request) {
        if self.node.is_none() {
            return self.taken(request, Effect::Meaningless);
        }
        match self.errand.as_ref().map(|errand| errand.goal) {
            Some(Goal::Exit(_)) => return self.taken(request, Effect::TooLate),
            _ if self.hold.is_some() => {
                self.landing = Landing::No;
                return self.taken(request, Effect::Held);
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

    /// The node is to be online from now on.
    fn come_back(&mut self) {
        if self.phase == Phase::Landed {
            self.phase = Phase::Running;
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

    fn restart(&mut self, request: Request) {
        if self.stopping().is_some() {
            return self.taken(request, Effect::TooLate);
        }
        match self.phase {
            Phase::Running | Phase::Landed => {
                self.taken(request, Effect::Done);
                self.begin_errand(Goal::Restart);
            }
            // What was only for a new jar is somebody's wish now.
            Phase::Marking | Phase::Draining if self.renews() => {
                self.taken(request, Effect::Done);
                self.begin_errand(Goal::Restart);
            }
            Phase::Marking | Phase::Draining
                if self.errand.as_ref().is_some_and(|errand| errand.goal == Goal::Land) =>
            {
                self.taken(request, Effect::Done);
                if self.hold.is_none() {
                    self.landing = Landing::Wished;
                }
                self.begin_errand(Goal::Restart);
            }
            Phase::BackingOff => {
                self.taken(request, Effect::Done);
                self.enable();
            }
            Phase::Evicting
            | Phase::Enabling
            | Phase::Starting
            | Phase::Marking
            | Phase::Draining
            | Phase::Terminating
            | Phase::Killing
            | Phase::Sweeping
            | Phase::Closing
            | Phase::Finished => self.taken(request, Effect::Already),
        }
    }

    /// Passes a signal on; one that comes while the agent is being started waits for it.
    fn forward(&mut self, signal: i32) {
        let generation = self.agent.generation;
        match self.agent.state {
            AgentState::Alive => {
                self.act(Action::SignalAgent { generation, signal: AgentSignal::Forward(signal) });
            }
            // Like the system, which keeps one pending signal of a kind.
            AgentState::Spawning if self.agent.pending.contains(&signal) => {}
            AgentState::Spawning => self.agent.pending.push(signal),
            AgentState::Absent | AgentState::Exited(_) => {
                self.taken(Request::Forward(signal), Effect::Meaningless);
            }
        }
    }

    fn suspend(&mut self) {
        if self.suspended {
            return;
        }
        self.suspended = true;
        if self.agent_state() == AgentState::Alive {
            let generation = self.agent.generation;
            self.act(Action::SignalGroup { generation, resume: false });
        }
        self.act(Action::StopSelf);
    }

    pub(super) fn resumed(&mut self) {
        if !core::mem::take(&mut self.suspended) {
            return;
        }
        // Nobody knows for how long we were away: what was seen before is old, and the agent was away too.
        self.timers.clear(Deadline::NextLook);
        self.present();
        if let Some(node) = &mut self.node {
            node.knowledge = Knowledge::Stale;
        }
        if self.agent_state() == AgentState::Alive {
            let generation = self.agent.generation;
            self.act(Action::SignalGroup { generation, resume: true });
        }
    }

    /// Other settings: they hold from the next decision on. Which node it is, and what was found at the start and matters
    /// after it, stays.
    pub(super) fn policy_changed(&mut self, policy: Policy) {
        if self.stopping().is_some() {
            // Half of a stop by one policy and half by another would keep the promises of neither.
            self.tell(Note::PolicyTooLate);
            return;
        }
        if let (Some(node), Some(changed)) = (&mut self.node, &policy.node) {
            let unclean = node.policy.unclean;
            node.policy = crate::NodePolicy { unclean, ..changed.clone() };
            node.forget_refusals();
            let _ = node.forget_strays();
            if matches!(self.phase, Phase::Enabling | Phase::Running | Phase::Landed) {
                // Other credentials are tried at once, a shorter time between looks holds at once.
                self.timers.clear(Deadline::NextLook);
                self.timers.clear(Deadline::RetryRequest);
                node.knowledge = Knowledge::Stale;
            }
        }
        // Another time without a connection may be allowed: it is counted anew.
        self.present();
        self.start_timeout_changed(&policy);
        let (seed, terminal) = (self.policy.seed, self.policy.terminal);
        self.policy = Policy { seed, terminal, ..policy };
        self.tell(Note::PolicyChanged);
    }

    /// The time that has gone by since the start counts for the new limit too.
    fn start_timeout_changed(&mut self, policy: &Policy) {
        let (Some(node), Some(changed)) = (&self.policy.node, &policy.node) else { return };
        let (before, after) = (node.start_timeout, changed.start_timeout);
        if before == after || self.phase != Phase::Enabling || self.started_before {
            return;
        }
        // Without a limit nobody has counted.
        let gone = self.timers.left(Deadline::StartTimeout).map_or(Span::ZERO, |left| before.less(left));
        if after.is_zero() {
            self.timers.clear(Deadline::StartTimeout);
        } else {
            self.timers.set(Deadline::StartTimeout, after.less(gone));
        }
    }
}
