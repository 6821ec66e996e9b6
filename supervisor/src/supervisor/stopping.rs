//! Errands: mark, drain, end the agent, and what comes then.

use super::renewing::RENEWAL_TIME;
use super::{Phase, Supervisor};
use crate::agent::Absence;
use crate::errand::{Cause, Errand, Goal, Landing};
use crate::node::{Knowledge, Node, RequestKind, Settlement};
use crate::{
    Action, AgentSignal, AgentState, Deadline, Desired, Ending, Exit, Failure, Generation, LeftoverSignal, Leftovers,
    Note, OfflinePolicy, Scope, Span,
};

/// SIGKILL's number, which a killed agent's exit shows.
const KILL: i32 = 9;
/// The parts of the five seconds that a stop may take beyond marking, draining and grace. The rest is the program's, for
/// its last lines and files.
const KILL_TIME: Span = Span::millis(1000);
const SWEEP_COUNT_TIME: Span = Span::millis(500);
const SWEEP_TERM_TIME: Span = Span::millis(1000);
const SWEEP_KILL_TIME: Span = Span::millis(500);
const LAST_LOOK_TIME: Span = Span::millis(1250);

impl Supervisor {
    /// Begins an errand, or replaces the one under way by a further one.
    pub(super) fn begin_errand(&mut self, goal: Goal) {
        let mut errand = Errand::new(goal);
        if let Some(earlier) = &self.errand {
            errand.interrupts = earlier.interrupts;
            errand.gap = earlier.gap;
        }
        let reason = errand.reason(&self.agent, self.hold.as_ref().filter(|_| self.is_held()));
        let exits = errand.exits();
        self.errand = Some(errand);
        for deadline in [
            Deadline::StartTimeout,
            Deadline::RestartDelay,
            Deadline::DrainTimeout,
            Deadline::DrainWarning,
            Deadline::GraceTimeout,
            Deadline::KillTimeout,
            Deadline::OfflineTimeout,
            Deadline::AbandonWrite,
            Deadline::DisconnectTimeout,
        ] {
            self.timers.clear(deadline);
        }
        self.agent.absence = Absence::No;
        if let Some(node) = &mut self.node {
            node.forget_old_channel();
        }
        if exits && self.agent.state == AgentState::Spawning {
            let generation = self.agent.generation;
            self.act(Action::CancelSpawn { generation });
        }
        let marks =
            self.node.as_ref().filter(|node| node.policy.offline == OfflinePolicy::Always || goal == Goal::Land);
        let Some(node) = marks else {
            self.wish(Desired::AsItIs);
            self.terminate();
            return;
        };
        let offline_timeout = node.policy.offline_timeout;
        let writing = node.in_flight.map(|(_, kind)| kind).filter(|kind| *kind != RequestKind::Read);
        self.phase = Phase::Marking;
        self.wish(Desired::Offline(reason));
        if goal != Goal::Land {
            self.timers.set(Deadline::OfflineTimeout, offline_timeout);
        }
        if let Some(kind) = writing
            && exits
        {
            // What a toggle has done cannot be known before it has; a setter can be given up and set right.
            let half = offline_timeout.half();
            let patience = if kind.is_toggle() { offline_timeout.less(half.half()) } else { half };
            self.timers.set(Deadline::AbandonWrite, patience);
        }
    }

    /// The node has settled while an errand is under way.
    pub(super) fn settled_in_errand(&mut self, settlement: Settlement) {
        let Some(errand) = &mut self.errand else { return };
        let marked = settlement == Settlement::Marked;
        let news = marked && !errand.told_marked;
        errand.confirmed = marked;
        errand.told_marked = marked;
        if settlement == Settlement::Lost && !errand.told_lost {
            errand.told_lost = true;
            self.tell(Note::MarkLost);
        } else if news {
            self.tell_marked();
        }
        match self.phase {
            Phase::Marking => self.marking_settled(),
            Phase::Draining => self.drain_look(),
            Phase::Closing => self.finish_errand(),
            Phase::Evicting
            | Phase::Enabling
            | Phase::Starting
            | Phase::Running
            | Phase::Landed
            | Phase::BackingOff
            | Phase::Terminating
            | Phase::Killing
            | Phase::Sweeping
            | Phase::Finished => {}
        }
    }

    fn marking_settled(&mut self) {
        self.timers.clear(Deadline::OfflineTimeout);
        self.timers.clear(Deadline::AbandonWrite);
        let Some(errand) = &self.errand else { return };
        let lands = errand.goal == Goal::Land;
        if self.renews() && !errand.confirmed {
            self.put_renewal_off(false);
            return;
        }
        if self.renews() {
            self.phase = Phase::Draining;
            self.timers.set(Deadline::DrainTimeout, RENEWAL_TIME);
            self.drain_look();
            return;
        }
        if !lands && (errand.skip_drain || self.policy.drain.is_zero() || !self.agent.exists()) {
            self.terminate();
            return;
        }
        self.phase = Phase::Draining;
        if !lands {
            self.limit_drain(self.policy.drain, false);
        }
        self.drain_look();
    }

    /// Marking took too long: the stop goes on without it.
    pub(super) fn offline_timeout(&mut self) {
        if self.phase != Phase::Marking {
            return;
        }
        if self.errand.as_ref().is_some_and(|errand| errand.confirmed) {
            // Only its reason was still to be changed.
            self.marking_settled();
            return;
        }
        if self.renews() {
            self.put_renewal_off(false);
            return;
        }
        let Some(node) = &self.node else { return };
        let (after, failure) = (node.policy.offline_timeout, node.last_failure());
        self.timers.clear(Deadline::AbandonWrite);
        self.tell(Note::MarkUnconfirmed { after, failure });
        if self.agent.exists() && !self.policy.drain.is_zero() {
            self.tell(Note::NotDrained);
        }
        self.terminate();
    }

    /// Wants the node marked for the reason for which it is to be now.
    pub(super) fn wish_grounded(&mut self) {
        let Some(reason) = self.grounded() else { return };
        self.wish(Desired::Offline(reason));
        if self.phase == Phase::Landed
            && !self.is_held()
            && let Some(node) = &mut self.node
        {
            node.reassertion_limit = 0;
        }
    }

    /// Asks the agent to end, or goes on if there is none.
    pub(super) fn terminate(&mut self) {
        self.timers.clear(Deadline::DrainWarning);
        for deadline in [Deadline::DrainTimeout, Deadline::OfflineTimeout, Deadline::AbandonWrite, Deadline::NextLook] {
            self.timers.clear(deadline);
        }
        match self.agent.state {
            AgentState::Absent | AgentState::Exited(_) => self.after_agent(),
            AgentState::Spawning => {
                self.phase = Phase::Terminating;
                self.timers.set(Deadline::GraceTimeout, self.policy.grace);
            }
            AgentState::Alive => {
                self.phase = Phase::Terminating;
                self.timers.set(Deadline::GraceTimeout, self.policy.grace);
                self.tell(Note::Terminating { grace: self.policy.grace });
                self.ask_agent_to_end();
            }
        }
    }

    pub(super) fn ask_agent_to_end(&mut self) {
        self.agent.asked = true;
        let generation = self.agent.generation;
        self.act(Action::SignalAgent { generation, signal: AgentSignal::Terminate });
    }

    /// KILL, for an agent that has had its TERM.
    pub(super) fn kill_agent(&mut self) {
        self.timers.clear(Deadline::GraceTimeout);
        if self.phase != Phase::Evicting {
            self.phase = Phase::Killing;
        }
        if !self.timers.is_set(Deadline::KillTimeout) {
            self.timers.set(Deadline::KillTimeout, KILL_TIME);
        }
        if self.agent.is_alive() {
            self.agent.killed = true;
            self.tell(Note::Killing);
            let generation = self.agent.generation;
            self.act(Action::SignalAgent { generation, signal: AgentSignal::Kill });
        }
    }

    pub(super) fn agent_unkillable(&mut self) {
        self.tell(Note::Unkillable);
        // Where another agent would come next it is waited for: there is never more than one.
        if self.phase == Phase::Killing && self.errand.as_ref().is_some_and(Errand::exits) {
            self.after_agent();
        }
    }

    /// The agent is gone, or there was none.
    pub(super) fn after_agent(&mut self) {
        self.timers.clear(Deadline::DrainWarning);
        for deadline in [Deadline::GraceTimeout, Deadline::KillTimeout, Deadline::DrainTimeout, Deadline::NextLook] {
            self.timers.clear(deadline);
        }
        match self.errand.as_ref().map(|errand| errand.goal) {
            Some(Goal::Exit(_)) if self.agent.generation > Generation(0) => {
                self.phase = Phase::Sweeping;
                self.sweep(LeftoverSignal::Count, SWEEP_COUNT_TIME);
            }
            Some(Goal::Exit(_)) => self.close(),
            Some(Goal::Replace) => {
                self.errand = None;
                self.count_and_back_off();
            }
            Some(Goal::Restart | Goal::Land) | None => {
                self.reap();
                self.errand = None;
                self.enable();
            }
        }
    }

    fn sweep(&mut self, signal: LeftoverSignal, time: Span) {
        let generation = self.agent.generation;
        self.timers.set(Deadline::SweepTimeout, time);
        self.act(Action::SignalLeftovers { generation, signal });
    }

    pub(super) fn leftovers_counted(&mut self, generation: Generation, alive: u32) {
        if self.phase != Phase::Sweeping || generation != self.agent.generation {
            return;
        }
        let Some(errand) = &mut self.errand else { return };
        let first = errand.leftovers.is_none();
        errand.leftovers = Some(alive);
        let ended = self.policy.leftovers == Leftovers::Kill;
        if alive == 0 {
            self.close();
        } else if first {
            self.tell(Note::LeftoversFound { alive, ended });
            if ended {
                self.sweep(LeftoverSignal::Terminate, SWEEP_TERM_TIME);
            } else {
                self.close();
            }
        }
    }

    pub(super) fn sweep_timeout(&mut self) {
        let Some(errand) = &mut self.errand else { return };
        match errand.leftovers {
            Some(_) if !errand.sweep_kills => {
                errand.sweep_kills = true;
                self.sweep(LeftoverSignal::Kill, SWEEP_KILL_TIME);
            }
            Some(alive) => {
                self.tell(Note::LeftoversRemain { alive });
                self.close();
            }
            None => self.close(),
        }
    }

    /// One last look at the node, then the end.
    fn close(&mut self) {
        self.timers.clear(Deadline::SweepTimeout);
        self.reap();
        let hurry = self.errand.as_ref().is_some_and(|errand| errand.hurry);
        let wanted = self.node.as_ref().is_some_and(|node| matches!(node.desired, Desired::Offline(_)));
        if hurry || !wanted {
            self.finish_errand();
            return;
        }
        self.phase = Phase::Closing;
        self.timers.clear(Deadline::NextLook);
        self.timers.clear(Deadline::RetryRequest);
        self.timers.set(Deadline::LastLookTimeout, LAST_LOOK_TIME);
        self.cancel_read();
        if let Some(node) = &mut self.node {
            node.knowledge = Knowledge::Stale;
        }
    }

    /// The controller has refused us for good: nothing is asked of it any more, but what an agent of ours has left behind
    /// is ended as in every other exit.
    pub(super) fn end_refused(&mut self, failure: Failure) {
        self.refusal = Some(failure);
        self.errand = Some(Errand::new(Goal::Exit(Cause::Refused)));
        self.wish(Desired::AsItIs);
        if let Some(node) = &mut self.node {
            node.forget_old_channel();
        }
        self.timers.clear_all();
        self.after_agent();
    }

    /// Everything that an exiting errand could do has been done.
    pub(super) fn finish_errand(&mut self) {
        let unanswered = self.node.as_ref().is_some_and(|node| node.knowledge == Knowledge::Stale);
        let Some(errand) = &self.errand else { return };
        let Goal::Exit(cause) = errand.goal else { return };
        let wanted = self.node.as_ref().is_some_and(|node| matches!(node.desired, Desired::Offline(_)));
        let writing =
            self.node.as_ref().is_some_and(|node| node.in_flight.is_some_and(|(_, kind)| kind != RequestKind::Read));
        let lift_at_large = self.node.as_ref().is_some_and(Node::has_lift_at_large);
        let confirmed = !wanted || (errand.confirmed && !writing && !lift_at_large);
        if !confirmed {
            self.tell(Note::LastLookUnsettled);
        } else if wanted && self.phase == Phase::Closing && unanswered {
            self.tell(Note::LastLookUnanswered);
        }
        let killed = self.agent.killed
            && !matches!(self.agent.exit, Some(Exit::Code(_)))
            && !matches!(self.agent.exit, Some(Exit::Signal(signal)) if signal != KILL);
        let ending = match cause {
            Cause::Stopped => Ending::Stopped { killed, confirmed },
            Cause::AgentEnded(exit) => Ending::AgentEnded { exit, confirmed },
            Cause::GaveUp => Ending::GaveUp,
            Cause::SpawnFailed(failure) => Ending::SpawnFailed(failure),
            Cause::Refused => {
                let Some(failure) = self.refusal.take() else { return };
                Ending::Refused(failure)
            }
        };
        self.finish(ending);
    }

    pub(super) fn finish(&mut self, ending: Ending) {
        if let Some(node) = &mut self.node
            && let Some((request, _)) = node.in_flight.take()
        {
            self.act(Action::CancelRequest { request: request.0 });
        }
        self.reap();
        self.timers.clear_all();
        self.phase = Phase::Finished;
        // A run that never came to start its agent leaves the verdict on the one before it as it was.
        let ran = self.agent.generation > Generation(0);
        self.memory.stopped |= ran && !matches!(ending, Ending::Unreachable(_) | Ending::Refused(_));
        self.remember();
        self.act(Action::Finish(ending));
    }

    /// Takes an errand back that does not end in an exit, if the agent has not got its TERM.
    pub(super) fn take_errand_back(&mut self) {
        self.timers.clear(Deadline::DrainTimeout);
        self.timers.clear(Deadline::DrainWarning);
        self.timers.clear(Deadline::OfflineTimeout);
        self.timers.clear(Deadline::AbandonWrite);
        self.errand = None;
        self.landing = Landing::No;
        self.phase = Phase::Running;
        self.wish(Desired::Online(Scope::Own));
    }
}
