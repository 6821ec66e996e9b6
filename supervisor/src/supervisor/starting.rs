//! From nothing to a running agent.

use alloc::string::String;

use super::{Phase, Supervisor};
use crate::node::{FINAL_AFTER, Verdict};
use crate::{
    Action, AgentSignal, AgentState, Cause, Deadline, Desired, Ending, Failure, FailureKind, Generation, Goal,
    IfRefused, Note, RestartMode, Scope, Span, SpawnFailure,
};

/// The first look after the agent's start.
const FIRST_LOOK: Span = Span::millis(500);

impl Supervisor {
    /// The first decision: end a survivor, else bring the node online.
    pub(super) fn begin(&mut self) {
        if let Some(words) = self.hold.clone() {
            self.tell(Note::HoldSet { words });
        }
        if self.agent.is_alive() {
            self.tell(Note::SurvivorFound);
            self.evict();
        } else {
            self.enable();
        }
    }

    /// Ends what lives of an agent, before another is started.
    fn evict(&mut self) {
        self.phase = Phase::Evicting;
        self.ask_agent_to_end();
        self.timers.set(Deadline::GraceTimeout, self.policy.grace);
    }

    /// Brings the node online, or sees that it is; the agent is started when that is settled.
    pub(super) fn enable(&mut self) {
        self.timers.clear(Deadline::RestartDelay);
        self.started_before = self.agent.generation > Generation(0);
        self.phase = Phase::Enabling;
        let Some(node) = &self.node else {
            self.start_agent();
            return;
        };
        let start_timeout = node.policy.start_timeout;
        if !self.started_before && !start_timeout.is_zero() {
            self.timers.set(Deadline::StartTimeout, start_timeout);
        }
        let desired = if let Some(reason) = self.grounded() {
            Desired::Offline(reason)
        } else if self.started_before {
            Desired::Online(Scope::Own)
        } else {
            Desired::Online(Scope::Start)
        };
        self.wish(desired);
    }

    pub(super) fn start_timeout(&mut self) {
        if self.phase != Phase::Enabling {
            return;
        }
        let Some(node) = &self.node else { return };
        let failure = node.last_failure().unwrap_or_else(|| {
            let words = if node.view.is_none() {
                "the controller has not answered the first request in time; it hangs, or the start timeout is shorter \
                 than one request may take"
            } else {
                "the node stays marked although the controller accepts that the mark is lifted; somebody or something \
                 sets it again and again"
            };
            Failure::new(FailureKind::Unavailable, words)
        });
        self.finish(Ending::Unreachable(failure));
    }

    pub(super) fn start_agent(&mut self) {
        self.timers.clear(Deadline::StartTimeout);
        self.timers.clear(Deadline::NextLook);
        self.timers.clear(Deadline::RetryRequest);
        self.reap();
        if let Some(node) = &mut self.node {
            node.forget_old_channel();
        }
        let channel_held = self.node.as_ref().is_some_and(|node| node.is_connected());
        let generation = self.agent.begin(channel_held);
        self.phase = Phase::Starting;
        self.stopped_before = self.memory.stopped;
        self.memory.stopped = false;
        self.memory.connected = false;
        self.remember();
        self.tell(Note::AgentStarting { generation });
        self.act(Action::Spawn { generation });
    }

    pub(super) fn agent_spawned(&mut self, generation: Generation, pid: u32, new_jar: bool) {
        if generation != self.agent.generation || self.agent.state != AgentState::Spawning {
            return;
        }
        self.agent.state = AgentState::Alive;
        self.agent.ran = true;
        if let Some(node) = &mut self.node {
            node.agent_prepared();
        }
        self.agent.pid = pid;
        self.agent.new_jar = new_jar;
        self.tell(Note::AgentStarted { generation, pid });
        for signal in core::mem::take(&mut self.agent.pending) {
            self.act(Action::SignalAgent { generation, signal: AgentSignal::Forward(signal) });
        }
        if self.phase == Phase::Starting {
            self.agent_runs();
        } else {
            self.agent_came_late();
        }
    }

    /// The agent before has ended, and yet something of it lives.
    pub(super) fn remains_found(&mut self, generation: Generation, processes: String) {
        if generation != self.agent.generation || self.agent.state != AgentState::Spawning {
            return;
        }
        self.agent.state = AgentState::Alive;
        self.agent.pending.clear();
        if let Some(node) = &mut self.node {
            node.agent_prepared();
        }
        self.tell(Note::RemainsFound { processes });
        if self.phase == Phase::Starting {
            self.evict();
        } else {
            self.agent_came_late();
        }
    }

    /// An agent that is there only now that it is to go.
    fn agent_came_late(&mut self) {
        let generation = self.agent.generation;
        match self.phase {
            Phase::Terminating => {
                let grace = self.timers.left(Deadline::GraceTimeout).unwrap_or(self.policy.grace);
                self.tell(Note::Terminating { grace });
                self.ask_agent_to_end();
            }
            Phase::Killing => {
                self.ask_agent_to_end();
                self.kill_agent();
            }
            // A stop that came during the spawn goes its way; the agent is not touched before its turn.
            Phase::Marking | Phase::Draining => {}
            // Nobody waits for this spawn any more: it must not outlive us.
            Phase::Sweeping | Phase::Closing => {
                self.ask_agent_to_end();
                self.act(Action::SignalAgent { generation, signal: AgentSignal::Kill });
            }
            Phase::Evicting
            | Phase::Enabling
            | Phase::Starting
            | Phase::Running
            | Phase::Landed
            | Phase::BackingOff
            | Phase::Finished => {}
        }
    }

    fn agent_runs(&mut self) {
        self.phase = if self.is_grounded() { Phase::Landed } else { Phase::Running };
        self.agent.young = self.policy.backoff.quick;
        if self.agent.ends > 0 {
            self.timers.set(Deadline::FailuresForgotten, self.policy.backoff.forget_after);
        }
        let landed = self.landing.holds() && !self.is_held();
        if let Some(node) = &mut self.node {
            node.knowledge = crate::node::Knowledge::Stale;
            if landed {
                node.reassertion_limit = 0;
            }
            if !self.timers.is_set(Deadline::RetryRequest) {
                self.timers.set(Deadline::NextLook, FIRST_LOOK);
            }
        }
    }

    pub(super) fn spawn_failed(&mut self, generation: Generation, failure: SpawnFailure) {
        if !self.start_failed(generation, failure) {
            return;
        }
        match failure {
            SpawnFailure::Cancelled => self.count_and_back_off(),
            SpawnFailure::Exhausted(_) | SpawnFailure::Unprepared => self.try_again(failure),
            // What was there at the first start may be missing for a moment while it is upgraded.
            _ if generation > Generation(1) => self.try_again(failure),
            SpawnFailure::NotFound | SpawnFailure::NotExecutable | SpawnFailure::Other(_) => {
                self.begin_errand(Goal::Exit(Cause::SpawnFailed(failure)));
            }
        }
    }

    /// Tries a start that failed again, unless nothing is to be tried again.
    fn try_again(&mut self, failure: SpawnFailure) {
        if self.policy.restart == RestartMode::No {
            self.begin_errand(Goal::Exit(Cause::SpawnFailed(failure)));
        } else {
            self.count_and_back_off();
        }
    }

    /// The controller did not give what the agent needs. Where it was not there, or has refused only once or twice, the
    /// start is tried again and does not count; a refusal that lasts is one like that of a read.
    pub(super) fn agent_unprepared(&mut self, generation: Generation, failure: Failure) {
        if !self.start_failed(generation, SpawnFailure::Unprepared) {
            return;
        }
        let Some(node) = &mut self.node else {
            self.try_again(SpawnFailure::Unprepared);
            return;
        };
        let if_refused = node.policy.if_refused;
        match node.agent_unprepared(failure.kind) {
            Verdict::Passing if failure.kind == FailureKind::Unavailable => {
                let asked = self.asked_wait(&failure);
                self.back_off(false, None, asked);
            }
            Verdict::Passing => self.back_off(false, Some(FINAL_AFTER.half()), Span::ZERO),
            Verdict::Final if if_refused == IfRefused::Exit => self.end_refused(failure),
            // Without its secret there is no agent to be started all the same.
            Verdict::Final => self.try_again(SpawnFailure::Unprepared),
        }
    }

    /// Takes note that the agent could not be started. True if it is to be decided what becomes of it, and not a stop
    /// that came meanwhile goes its way.
    fn start_failed(&mut self, generation: Generation, failure: SpawnFailure) -> bool {
        if generation != self.agent.generation || self.agent.state != AgentState::Spawning {
            return false;
        }
        self.agent.state = AgentState::Absent;
        self.agent.exit = None;
        // No agent has run, so the state file says again what it said before.
        self.memory.stopped = self.stopped_before;
        if failure != SpawnFailure::Cancelled {
            self.tell(Note::SpawnFailed(failure));
        }
        match self.phase {
            Phase::Starting => true,
            Phase::Draining | Phase::Terminating | Phase::Killing => {
                self.after_agent();
                false
            }
            Phase::Evicting
            | Phase::Enabling
            | Phase::Running
            | Phase::Landed
            | Phase::BackingOff
            | Phase::Marking
            | Phase::Sweeping
            | Phase::Closing
            | Phase::Finished => false,
        }
    }
}
