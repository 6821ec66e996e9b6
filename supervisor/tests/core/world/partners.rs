//! What the partners make of the supervisor's actions, and what reaches it of that.

use agent_wrap_supervisor::{
    Action, AgentSignal, Event, Exit, Failure, FailureKind, Generation, LeftoverSignal, RequestNumber, Span,
    SpawnFailure, WriteOutcome,
};

use super::agent::{AgentPlan, Process, ProcessState};
use super::controller::{Reply, Wish};
use super::{Fate, Happening, World};

impl World {
    pub(super) fn carry_out(&mut self, request: RequestNumber, wish: &Wish, answer: Option<Span>) {
        let read = matches!(wish, Wish::Read);
        if !read {
            self.checks.touches += 1;
            self.checks.disturbed = self.now;
        }
        let reply = self.controller.carry_out(request, wish);
        let Some(answer) = answer else { return };
        let words = "no usable answer";
        let event = match reply {
            Reply::View(view) => Event::NodeRead { request, outcome: Ok(view) },
            Reply::Refused(kind) if read => Event::NodeRead { request, outcome: Err(failure(kind, words)) },
            Reply::Refused(kind) => Event::NodeWritten { request, outcome: WriteOutcome::Failed(failure(kind, words)) },
            Reply::Done => Event::NodeWritten { request, outcome: WriteOutcome::Accepted },
            Reply::Unsupported => {
                Event::NodeWritten { request, outcome: WriteOutcome::Unsupported { words: "no such way".into() } }
            }
        };
        self.carried.insert(request, self.checks.touches);
        self.plan(answer, Happening::Answer(request, event));
    }

    pub(super) fn answer(&mut self, request: RequestNumber, event: Event) {
        if self.ending.is_some() {
            return;
        }
        if !self.open.remove(&request) {
            self.changes_nothing(event, "a late answer to a closed request changes something");
            return;
        }
        self.checks.answered(request);
        match &event {
            Event::NodeRead { outcome: Ok(view), .. } => {
                self.checks.seen_touches = self.carried[&request];
                let first = self.generations <= 1 && self.process.is_some();
                self.checks.read(view.mark.clone(), view.connected == Some(true), &self.policy, first, self.active);
                self.checks.channel_seen(view.connected, self.active);
            }
            Event::NodeWritten { outcome: WriteOutcome::Accepted | WriteOutcome::Unsupported { .. }, .. } => {}
            Event::NodeWritten { request, outcome: WriteOutcome::Unknown(_) } => {
                self.checks.lost(*request, self.active, &self.policy);
                self.checks.disturbed = self.now;
            }
            Event::NodeRead { .. } => {
                self.checks.channel_seen(None, self.active);
                self.checks.disturbed = self.now;
            }
            _ => self.checks.disturbed = self.now,
        }
        if let (true, Event::NodeWritten { outcome: WriteOutcome::Failed(_), .. }) =
            (self.checks.closing == Some(request), &event)
        {
            self.checks.not_closed();
        }
        self.tell(event);
    }

    /// Plans that a fact or an answer is told once more, at any later moment.
    pub(super) fn maybe_again(&mut self, event: &Event) {
        let Some(chaos) = &mut self.chaos else { return };
        let is_told_once = match event {
            Event::AgentSpawned { .. }
            | Event::SpawnFailed { .. }
            | Event::AgentUnprepared { .. }
            | Event::RemainsFound { .. }
            | Event::AgentExited { .. }
            | Event::JarOffered { .. }
            | Event::NodeRead { .. }
            | Event::NodeWritten { .. } => true,
            // Zero is told each time that it is reached, and whoever asks twice means it.
            Event::LeftoversCounted { .. }
            | Event::Requested(_)
            | Event::HoldChanged(_)
            | Event::Resumed
            | Event::DrainBounded { .. }
            | Event::PolicyChanged(_) => false,
        };
        if is_told_once && chaos.random.percent(4) {
            let after = chaos.random.span(Span::seconds(40));
            self.plan(after, Happening::Again(event.clone()));
        }
    }

    /// What is told too late, or for the second time, changes nothing.
    pub(super) fn changes_nothing(&mut self, event: Event, violation: &str) {
        let mut with = self.core.clone();
        with.handle(self.now, event);
        let mut without = self.core.clone();
        without.handle(self.now, Event::LeftoversCounted { generation: Generation(u32::MAX), alive: 0 });
        if with != without {
            self.violated(violation);
        }
    }

    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { generation } => {
                self.generations += 1;
                let plan = self.next_plan();
                self.plan(plan.spawn_takes, Happening::Spawned(generation));
                let state = ProcessState::Spawning;
                self.process = Some(Process { generation, state, plan, termed: false, killed: false });
            }
            Action::CancelSpawn { generation } => self.cancel_spawn(generation),
            Action::SignalAgent { generation, signal } => self.signal(generation, signal),
            Action::SignalGroup { .. } | Action::RejectJar { .. } | Action::Remember(_) | Action::Tell(_) => {}
            Action::StopSelf => self.suspended = true,
            Action::Reap { .. } => self.process = None,
            Action::SignalLeftovers { generation, signal } => self.signal_leftovers(generation, signal),
            Action::ReadNode { request, within } => self.request(request, Wish::Read, within),
            Action::LiftMark { request, method, within } => self.request(request, Wish::Lift(method), within),
            Action::MarkOffline { request, method, within, .. } => {
                self.request(request, Wish::Mark(method), within);
            }
            Action::Disconnect { request, within } => self.request(request, Wish::Disconnect, within),
            Action::CancelRequest { request } => {
                self.open.remove(&request);
            }
            Action::Finish(ending) => self.ending = Some(ending),
        }
    }

    /// Whoever has no answer now may ask us to wait.
    fn asked_wait(&mut self, kind: FailureKind) -> Option<Span> {
        if kind != FailureKind::Unavailable {
            return None;
        }
        let Some(chaos) = &mut self.chaos else { return self.retry_after };
        chaos.random.pick(&[None, Some(Span::ZERO), Some(Span::seconds(30)), Some(Span::seconds(100_000))])
    }

    fn request(&mut self, request: RequestNumber, wish: Wish, within: Span) {
        self.open.insert(request);
        self.withins.push(within);
        let read = matches!(wish, Wish::Read);
        if !read {
            self.writes.insert(request);
        }
        self.plan(within, Happening::TimeOut(request, read));
        match self.next_fate(within) {
            Fate::Answered(carried, answered) => {
                self.plan(carried, Happening::CarryOut { request, wish, answer: Some(answered) });
            }
            Fate::Lost(carried) => {
                if let Some(carried) = carried {
                    self.plan(carried, Happening::CarryOut { request, wish, answer: None });
                }
            }
            Fate::Reset(carried, answered) => {
                if let Some(carried) = carried {
                    self.plan(carried, Happening::CarryOut { request, wish, answer: None });
                }
                self.plan(answered, Happening::TimeOut(request, read));
            }
            Fate::Fails(kind) => {
                let failed = Failure { retry_after: self.asked_wait(kind), ..failure(kind, "refused") };
                let event = if read {
                    Event::NodeRead { request, outcome: Err(failed) }
                } else {
                    Event::NodeWritten { request, outcome: WriteOutcome::Failed(failed) }
                };
                self.plan(Span(20), Happening::Answer(request, event));
            }
        }
    }

    fn next_fate(&mut self, within: Span) -> Fate {
        if let Some(fate) = self.fates.pop_front() {
            return fate;
        }
        let well = Fate::Answered(Span(10), Span(10));
        let Some(chaos) = &mut self.chaos else { return well };
        if !chaos.random.percent(chaos.bad_requests) {
            return well;
        }
        let random = &mut chaos.random;
        let carried = random.span(within.plus(Span::seconds(5)));
        let maybe = random.percent(50).then_some(carried);
        match random.below(6) {
            0 | 1 => Fate::Answered(carried, random.span(within)),
            2 => Fate::Lost(maybe),
            3 | 4 => Fate::Reset(maybe, random.span(within)),
            _ => Fate::Fails(random.pick(&[
                FailureKind::Unavailable,
                FailureKind::Unauthenticated,
                FailureKind::Forbidden,
                FailureKind::NoSuchNode,
            ])),
        }
    }

    fn next_plan(&mut self) -> AgentPlan {
        if let Some(plan) = self.plans.pop_front() {
            return plan;
        }
        let Some(chaos) = &mut self.chaos else { return AgentPlan::default() };
        if chaos.random.percent(chaos.bad_agents) { AgentPlan::random(&mut chaos.random) } else { AgentPlan::default() }
    }

    fn cancel_spawn(&mut self, generation: Generation) {
        let spawning =
            |process: &&mut Process| process.generation == generation && process.state == ProcessState::Spawning;
        let Some(process) = self.process.as_mut().filter(spawning) else { return };
        if process.plan.cancellable {
            process.plan.spawn_fails = Some(SpawnFailure::Cancelled);
            self.plan(Span(1), Happening::Spawned(generation));
        }
    }

    pub(super) fn spawned(&mut self, generation: Generation) {
        let Some(process) = self.process.as_mut().filter(|process| process.generation == generation) else { return };
        let plan = process.plan.clone();
        if let Some(failure) = plan.spawn_fails {
            self.process = None;
            self.tell(Event::SpawnFailed { generation, failure });
            return;
        }
        if let Some(kind) = plan.unprepared {
            self.process = None;
            self.tell(Event::AgentUnprepared { generation, failure: failure(kind, "nothing to start it with") });
            return;
        }
        process.state = ProcessState::Alive;
        if plan.remains {
            self.tell(Event::RemainsFound { generation, processes: "java".into() });
            return;
        }
        let termed = process.termed;
        if let Some(until) = &mut self.checks.shadowed_until {
            *until = self.active.plus(self.policy.backoff.quick);
        }
        self.leftovers = plan.leaves;
        if let Some(after) = plan.connects_after {
            self.plan(after, Happening::Connects(generation));
        }
        if let Some((after, exit)) = plan.ends {
            self.plan(after, Happening::Ends(generation, exit));
        }
        if let Some(after) = plan.jar_offered {
            self.plan(after, Happening::OffersJar(generation));
        }
        if termed {
            self.signal(generation, AgentSignal::Terminate);
        }
        self.checks.jar = None;
        self.tell(Event::AgentSpawned { generation, pid: 100 + generation.0, new_jar: plan.new_jar });
    }

    pub(super) fn connects(&mut self, generation: Generation) {
        let alive = |process: &Process| process.generation == generation && process.state == ProcessState::Alive;
        if !self.process.as_ref().is_some_and(alive) {
            return;
        }
        if self.controller.down {
            self.ends(generation, Exit::Code(1));
        } else if self.controller.connect(generation) {
            let hangs = self.process.as_mut().and_then(|process| process.plan.hangs.take());
            if let Some(after) = hangs {
                self.plan(after, Happening::LosesChannel(generation));
            }
            if self.controller.old_persistence {
                self.checks.touches += 1;
                self.checks.disturbed = self.now;
            }
        } else {
            self.ends(generation, Exit::Code(1));
        }
    }

    pub(super) fn loses_channel(&mut self, generation: Generation) {
        let Some(process) = self.process.as_ref().filter(|process| process.generation == generation) else { return };
        if process.state != ProcessState::Alive {
            return;
        }
        let returns = process.plan.returns;
        self.controller.disconnect(generation);
        if let Some(after) = returns {
            self.plan(after, Happening::Connects(generation));
        }
    }

    pub(super) fn ends(&mut self, generation: Generation, exit: Exit) {
        let Some(process) = self.process.as_mut() else { return };
        if process.generation != generation || process.state != ProcessState::Alive {
            return;
        }
        if process.plan.unkillable && exit == Exit::Signal(9) {
            return;
        }
        process.state = ProcessState::Dead;
        let asked = process.termed || process.killed;
        self.checks.jar = (process.plan.new_jar && !asked && !self.core.status().connected).then_some(generation);
        let held = process.plan.channel_held;
        if held.is_zero() {
            self.controller.disconnect(generation);
        } else {
            self.plan(held, Happening::ChannelFreed(generation));
        }
        self.tell(Event::AgentExited { generation, exit });
    }

    fn signal(&mut self, generation: Generation, signal: AgentSignal) {
        let Some(process) = self.process.as_mut().filter(|process| process.generation == generation) else { return };
        let alive = process.state == ProcessState::Alive;
        match signal {
            AgentSignal::Terminate => {
                process.termed = true;
                if let (true, Some(takes)) = (alive, process.plan.term_takes) {
                    self.plan(takes, Happening::Ends(generation, Exit::Code(143)));
                }
            }
            AgentSignal::Kill => {
                process.killed = true;
                if alive {
                    self.plan(Span(20), Happening::Ends(generation, Exit::Signal(9)));
                }
            }
            AgentSignal::Forward(_) => {}
        }
    }

    fn signal_leftovers(&mut self, generation: Generation, signal: LeftoverSignal) {
        let plan = self.process.as_ref().map(|process| process.plan.clone()).unwrap_or_default();
        match signal {
            LeftoverSignal::Count => {}
            LeftoverSignal::Terminate if plan.leaves_stubborn => {}
            LeftoverSignal::Kill if plan.leaves_immortal => {}
            LeftoverSignal::Terminate | LeftoverSignal::Kill => self.leftovers = 0,
        }
        if let Some(takes) = plan.count_takes {
            let alive = self.leftovers;
            self.plan(takes, Happening::Counted(generation, alive));
        }
    }
}

pub(super) fn unavailable(words: &str) -> Failure {
    failure(FailureKind::Unavailable, words)
}

fn failure(kind: FailureKind, words: &str) -> Failure {
    Failure::new(kind, words)
}
