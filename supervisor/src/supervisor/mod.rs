//! The state machine: one event in, a decision, actions out.

mod asking;
mod draining;
mod landing;
mod looking;
mod renewing;
mod requests;
mod running;
mod starting;
mod stopping;

use alloc::collections::VecDeque;
use alloc::string::String;

use crate::agent::Agent;
use crate::aside::Aside;
use crate::errand::{Errand, Landing};
use crate::node::Node;
use crate::timers::Timers;
use crate::{Action, AgentState, Deadline, Event, Failure, Memory, Moment, Note, OfflineReason, Policy, Status};

/// Where the wrapper stands. The module documentation of the crate has the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// What lives of an agent that an earlier wrapper or an earlier run left behind is being ended.
    Evicting,
    /// The node is being brought online; the agent is not started before that is settled.
    Enabling,
    /// The agent is being started.
    Starting,
    /// The agent runs and the node is to be online.
    Running,
    /// The agent runs and the node is to be marked, until somebody takes it back.
    Landed,
    /// The agent ended; it is started again after a delay.
    BackingOff,
    /// The node is being marked; the agent is not touched.
    Marking,
    /// Marked, waiting for running builds.
    Draining,
    /// The agent was asked to end.
    Terminating,
    /// The agent was sent KILL.
    Killing,
    /// What the agent left behind is being ended.
    Sweeping,
    /// The last look at the node before the exit.
    Closing,
    /// Over: the driver exits.
    Finished,
}

/// The supervisor of one agent and the keeper of one node's mark.
///
/// Hand it events with [`handle`](Self::handle), call [`handle_deadline`](Self::handle_deadline) when the moment of
/// [`next_deadline`](Self::next_deadline) has come, and after each call perform all of
/// [`poll_action`](Self::poll_action). It reads no clock: a moment that goes backwards counts as no time at all, and
/// a deadline that is handled too early does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Supervisor {
    policy: Policy,
    /// The clock's last reading: what has gone by since is all that is asked of it.
    reading: Aside<Moment>,
    phase: Phase,
    timers: Timers,
    actions: VecDeque<Action>,
    node: Option<Node>,
    agent: Agent,
    errand: Option<Errand>,
    /// Why the controller has refused us for good, from then until the exit.
    refusal: Option<Failure>,
    /// The node is to stay marked although the agent runs.
    landing: Landing,
    /// What an operator's hold file says: the node stays marked.
    hold: Option<String>,
    /// Somebody has lifted its mark as often as it is set again: it counts as meant, until the file says something else.
    overruled: bool,
    /// People were told of the channel that was there before the first start.
    told_channel: bool,
    /// The agent has been started before: only our own marks are lifted now.
    started_before: bool,
    /// The verdict on the run before, as it was before the agent's start that is under way.
    stopped_before: bool,
    /// Stopped by job control: no time goes by.
    suspended: bool,
    memory: Memory,
    remembered: Memory,
}

impl Supervisor {
    /// A supervisor that has just begun; its first actions are waiting.
    #[must_use]
    pub fn new(now: Moment, policy: Policy) -> Self {
        let node = policy.node.clone().map(Node::new);
        // Until an agent is started the verdict on the run before this one stays as it was.
        let memory = Memory {
            marked: node.as_ref().is_some_and(|node| node.marked_by_us),
            connected: node.as_ref().is_some_and(|node| node.policy.connected_before),
            stopped: node.as_ref().is_some_and(|node| !node.policy.unclean),
        };
        let hold = node.as_ref().and_then(|node| node.policy.hold.clone());
        let agent = Agent::new(policy.survivor);
        let mut supervisor = Self {
            policy,
            reading: Aside(now),
            phase: Phase::Enabling,
            timers: Timers::default(),
            actions: VecDeque::new(),
            node,
            agent,
            errand: None,
            refusal: None,
            landing: Landing::No,
            hold,
            overruled: false,
            told_channel: false,
            started_before: false,
            stopped_before: memory.stopped,
            suspended: false,
            memory,
            remembered: memory,
        };
        supervisor.begin();
        supervisor.pump();
        supervisor
    }

    /// Takes note of one event and decides what follows from it.
    pub fn handle(&mut self, now: Moment, event: Event) {
        self.advance(now);
        if self.phase == Phase::Finished {
            return;
        }
        match event {
            Event::AgentSpawned { generation, pid, new_jar } => self.agent_spawned(generation, pid, new_jar),
            Event::RemainsFound { generation, processes } => self.remains_found(generation, processes),
            Event::SpawnFailed { generation, failure } => self.spawn_failed(generation, failure),
            Event::AgentUnprepared { generation, failure } => self.agent_unprepared(generation, failure),
            Event::AgentExited { generation, exit } => self.agent_exited(generation, exit),
            Event::LeftoversCounted { generation, alive } => self.leftovers_counted(generation, alive),
            Event::NodeRead { request, outcome } => self.node_read(request, outcome),
            Event::NodeWritten { request, outcome } => self.node_written(request, outcome),
            Event::JarOffered { generation } => self.jar_offered(generation),
            Event::Requested(request) => self.requested(request),
            Event::HoldChanged(words) => self.hold_changed(words),
            Event::Resumed => self.resumed(),
            Event::DrainBounded { left } => self.drain_bounded(left),
            Event::PolicyChanged(policy) => self.policy_changed(*policy),
        }
        self.pump();
    }

    /// Handles the deadlines that are due. Harmless when none is.
    pub fn handle_deadline(&mut self, now: Moment) {
        self.advance(now);
        if self.suspended {
            return;
        }
        while self.phase != Phase::Finished
            && let Some(deadline) = self.timers.take_due()
        {
            self.deadline_passed(deadline);
            self.pump();
        }
    }

    /// When [`handle_deadline`](Self::handle_deadline) is to be called, and what is awaited until then.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Moment, Deadline)> {
        if self.suspended {
            return None;
        }
        self.timers.next().map(|(left, deadline)| (self.reading.0 + left, deadline))
    }

    /// The next thing to do; `None` when everything has been handed out.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How things stand.
    #[must_use]
    pub fn status(&self) -> Status<'_> {
        Status {
            phase: self.phase,
            generation: self.agent.generation,
            agent: self.agent.state,
            connected: self.agent.connected,
            flaps: self.agent.flaps(),
            failures: self.agent.failures,
            desired: self.node.as_ref().map(|node| &node.desired),
            believed: self.node.as_ref().and_then(|node| node.view.as_ref()),
            in_flight: self.node.as_ref().and_then(|node| node.in_flight).map(|(number, _)| number.0),
            goal: self.errand.as_ref().map(|errand| errand.goal),
            hold: self.hold.as_deref().filter(|_| self.is_held()),
            awaiting: self.next_deadline(),
        }
    }

    fn advance(&mut self, now: Moment) {
        let elapsed = now.since(self.reading.0);
        self.reading = Aside(now.max(self.reading.0));
        if self.suspended {
            return;
        }
        self.timers.advance(elapsed);
        self.agent.young = self.agent.young.less(elapsed);
        if let Some(node) = &mut self.node {
            node.advance(elapsed);
        }
        if let Some(errand) = &mut self.errand {
            errand.gap = errand.gap.less(elapsed);
        }
    }

    fn deadline_passed(&mut self, deadline: Deadline) {
        match deadline {
            Deadline::AbandonWrite => self.abandon_write(),
            Deadline::OfflineTimeout => self.offline_timeout(),
            Deadline::DrainTimeout => self.cut_drain(true),
            Deadline::DrainWarning => self.drain_warning(),
            Deadline::GraceTimeout => self.kill_agent(),
            Deadline::KillTimeout => self.agent_unkillable(),
            Deadline::SweepTimeout => self.sweep_timeout(),
            Deadline::LastLookTimeout => self.finish_errand(),
            Deadline::StartTimeout => self.start_timeout(),
            Deadline::RestartDelay => self.enable(),
            Deadline::FailuresForgotten => self.agent.forget_failures(),
            Deadline::DisconnectTimeout => self.disconnect_timeout(),
            Deadline::RetryRequest | Deadline::NextLook => {
                if let Some(node) = &mut self.node {
                    node.knowledge = crate::node::Knowledge::Stale;
                }
            }
        }
    }

    /// Why the node is to stay marked while the agent runs, if it is: by request, or because of an operator's hold file.
    fn grounded(&self) -> Option<OfflineReason> {
        let landed = || self.landing.holds().then_some(OfflineReason::Landed);
        self.hold.clone().filter(|_| self.is_held()).map(OfflineReason::Held).or_else(landed)
    }

    fn is_grounded(&self) -> bool {
        self.is_held() || self.landing.holds()
    }

    /// An operator's hold file keeps the node marked.
    fn is_held(&self) -> bool {
        self.hold.is_some() && !self.overruled
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn tell(&mut self, note: Note) {
        self.act(Action::Tell(note));
    }

    /// Writes down what has changed since it was last written down.
    fn remember(&mut self) {
        self.memory.marked = self.node.as_ref().is_some_and(|node| node.marked_by_us);
        if self.memory != self.remembered {
            self.remembered = self.memory;
            self.act(Action::Remember(self.memory));
        }
    }

    fn agent_state(&self) -> AgentState {
        self.agent.state
    }
}
