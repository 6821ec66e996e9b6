//! What people, signals and service managers ask for: admitted, taken as done already, or refused.

use super::{Phase, Supervisor};
use crate::errand::{Cause, Errand, Goal, INTERRUPT_GAP, Interrupts, Landing};
use crate::node::Knowledge;
use crate::{Action, AgentSignal, AgentState, Deadline, Effect, Note, Policy, Request, Span, StopSource};

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

    pub(super) fn taken(&mut self, request: Request, effect: Effect) {
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
                if !self.is_held() {
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
