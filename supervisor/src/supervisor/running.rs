//! The end of an agent that nobody asked to end, and its restart.

use super::{Phase, Supervisor};
use crate::agent::{Absence, restart_delay};
use crate::errand::{Errand, Landing};
use crate::node::Knowledge;
use crate::{
    Action, AgentState, Cause, Deadline, Desired, Exit, Generation, Goal, Note, OfflinePolicy, OfflineReason,
    RestartMode, Span,
};

impl Supervisor {
    pub(super) fn agent_exited(&mut self, generation: Generation, exit: Exit) {
        if generation != self.agent.generation || self.agent.state != AgentState::Alive {
            return;
        }
        self.agent.state = AgentState::Exited(exit);
        self.agent.exit = Some(exit);
        self.timers.clear(Deadline::FailuresForgotten);
        self.timers.clear(Deadline::DisconnectTimeout);
        self.timers.clear(Deadline::GraceTimeout);
        self.timers.clear(Deadline::KillTimeout);
        if generation == Generation(0) || self.phase == Phase::Evicting {
            self.tell(Note::SurvivorEnded);
        } else {
            let (asked, connected) = (self.agent.asked, self.agent.connected);
            self.tell(Note::AgentExited { generation, exit, asked, connected });
        }
        let by_itself = matches!(self.phase, Phase::Running | Phase::Landed);
        let reachable = self.node.as_ref().is_some_and(|node| !node.is_unreachable());
        let suspected = by_itself && reachable && self.agent.suspects_jar(exit);
        match self.phase {
            Phase::Evicting => {
                self.reap();
                self.enable();
            }
            Phase::Running | Phase::Landed => self.agent_ended(exit),
            Phase::Marking => self.agent_ended_while_marking(exit),
            Phase::Draining | Phase::Terminating | Phase::Killing => self.agent_gone(exit),
            Phase::Enabling
            | Phase::Starting
            | Phase::BackingOff
            | Phase::Sweeping
            | Phase::Closing
            | Phase::Finished => {}
        }
        self.agent.jar_suspected = suspected;
        if self.errand.is_some() {
            // There is no next start, before which a read could tell whether the controller was the cause.
            self.judge_jar();
        }
    }

    /// Nothing has shown that the controller was to blame for the end of the agent: its new jar was, if it had one.
    pub(super) fn judge_jar(&mut self) {
        if core::mem::take(&mut self.agent.jar_suspected) {
            let generation = self.agent.generation;
            self.act(Action::RejectJar { generation });
        }
    }

    fn agent_ended_while_marking(&mut self, exit: Exit) {
        match self.errand.as_ref().map(|errand| errand.goal) {
            // The node is marked first: nothing else is left to be done for the stop.
            Some(Goal::Exit(_)) => {}
            Some(Goal::Restart) => self.after_agent(),
            Some(Goal::Land | Goal::Replace) | None => self.agent_gone(exit),
        }
    }

    /// The agent ended in the course of an errand.
    fn agent_gone(&mut self, exit: Exit) {
        if let Some(errand) = &self.errand
            && errand.goal == Goal::Land
        {
            self.errand = None;
            if !self.is_held() {
                self.landing = Landing::Wished;
            }
            self.agent_ended(exit);
        } else {
            self.after_agent();
        }
    }

    /// The agent ended by itself: restart it, or end with it.
    fn agent_ended(&mut self, exit: Exit) {
        let again = match self.policy.restart {
            RestartMode::Always => true,
            RestartMode::OnFailure => self.agent.failed(exit),
            RestartMode::No => false,
        };
        if again {
            self.count_and_back_off();
        } else {
            self.begin_errand(Goal::Exit(Cause::AgentEnded(exit)));
        }
    }

    pub(super) fn count_and_back_off(&mut self) {
        let excused = self.node.as_ref().is_some_and(|node| node.is_unreachable());
        self.back_off(!excused, None, Span::ZERO);
    }

    /// Plans the next start, after `pace` or after the delay that follows from the ends so far, and not before `at_least`
    /// is over. An end that does not count as a failure makes that delay longer all the same.
    pub(super) fn back_off(&mut self, counts: bool, pace: Option<Span>, at_least: Span) {
        self.agent.count_failure();
        if !counts {
            self.agent.excuse_failure();
        }
        let failures = self.agent.failures;
        let gives_up = self.gives_up();
        if gives_up && self.node.is_none() {
            self.give_up();
            return;
        }
        self.phase = Phase::BackingOff;
        self.timers.clear(Deadline::NextLook);
        self.timers.clear(Deadline::RetryRequest);
        self.cancel_read();
        if gives_up {
            // Only the next read tells whether the controller was the cause.
            self.timers.set(Deadline::RestartDelay, self.policy.backoff.first);
            return;
        }
        self.reap();
        let delay =
            pace.unwrap_or_else(|| restart_delay(&self.policy.backoff, failures, self.agent.ends, self.policy.seed));
        let delay = delay.max(at_least);
        self.timers.set(Deadline::RestartDelay, delay);
        self.tell(Note::RestartPlanned { delay, failures });
        if failures < self.policy.backoff.slow_after || !counts {
            return;
        }
        if failures == self.policy.backoff.slow_after {
            self.tell(Note::Slowing { failures });
        }
        if !self.is_grounded() {
            self.mark_failing();
        }
    }

    /// Wants the node of an agent that keeps failing marked with what is the matter; true if it is to be.
    pub(super) fn mark_failing(&mut self) -> bool {
        let failures = self.agent.failures;
        let marks = self.node.as_ref().is_some_and(|node| node.policy.offline == OfflinePolicy::Always);
        if !marks || failures < self.policy.backoff.slow_after || self.phase != Phase::BackingOff {
            return false;
        }
        let (last, again) = (self.agent.last_end(), Some(self.policy.backoff.slow));
        self.wish(Desired::Offline(OfflineReason::AgentFailing { failures, last, again }));
        true
    }

    /// The agent has been seen not connected for as long as it may be: another look decides.
    pub(super) fn disconnect_timeout(&mut self) {
        self.agent.absence = Absence::Over;
        self.timers.clear(Deadline::NextLook);
        if let Some(node) = &mut self.node {
            node.knowledge = Knowledge::Stale;
        }
    }

    /// Ends an agent that lives and is not connected, and starts another. The node is not marked for it: nothing runs
    /// there, and nothing can.
    pub(super) fn replace_agent(&mut self) {
        let Some(node) = &self.node else { return };
        let after = node.policy.disconnect_timeout;
        let restarted = self.policy.restart != RestartMode::No;
        self.agent.absence = Absence::Told;
        self.tell(Note::StaysDisconnected { after, restarted, connected: self.agent.connected });
        if restarted {
            let told_marked = self.is_grounded();
            self.errand = Some(Errand { told_marked, ..Errand::new(Goal::Replace) });
            self.timers.clear(Deadline::RetryRequest);
            self.terminate();
        }
    }

    /// The agent has failed as often in a row as `--restart-limit` allows.
    pub(super) fn gives_up(&self) -> bool {
        self.policy.backoff.limit.is_some_and(|limit| self.agent.failures >= limit)
    }

    pub(super) fn give_up(&mut self) {
        self.tell(Note::GivingUp { failures: self.agent.failures });
        self.begin_errand(Goal::Exit(Cause::GaveUp));
    }

    /// Frees the process id and group of the ended agent.
    pub(super) fn reap(&mut self) {
        if let AgentState::Exited(_) = self.agent.state {
            self.agent.state = AgentState::Absent;
            let generation = self.agent.generation;
            self.act(Action::Reap { generation });
        }
    }
}
