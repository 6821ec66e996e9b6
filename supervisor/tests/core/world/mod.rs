//! The supervisor in virtual time, with a controller, an agent, an operator and a third party who may all misbehave.

pub mod agent;
mod checks;
pub mod controller;
pub mod random;
mod render;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use agent_wrap_supervisor::{
    Action, AgentSignal, Ending, Event, Exit, Failure, FailureKind, Generation, LeftoverSignal, Mark, Moment, Policy,
    Request, RequestNumber, Span, Supervisor, WriteOutcome,
};

use agent::{AgentPlan, Process, ProcessState};
use checks::Checks;
use controller::{Controller, Reply, Wish};
use random::Random;
pub use render::{render_action, render_event};

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Carried out after the first span, answered after a further second.
    Answered(Span, Span),
    /// Carried out after this span (or never), and no answer comes.
    Lost(Option<Span>),
    /// Carried out after the first span (or never); the connection is reset after the second.
    Reset(Option<Span>, Span),
    /// Refused in this way, not carried out.
    Fails(FailureKind),
}

/// What will happen at a moment.
#[derive(Clone, Debug)]
pub enum Happening {
    Ask(Request),
    Reload(Box<Policy>),
    Continue,
    CarryOut {
        request: RequestNumber,
        wish: Wish,
        answer: Option<Span>,
    },
    Answer(RequestNumber, Event),
    TimeOut(RequestNumber, bool),
    Spawned(Generation),
    Connects(Generation),
    Ends(Generation, Exit),
    ChannelFreed(Generation),
    Counted(Generation, u32),
    /// A third party sets or clears the mark.
    Interferes(Option<Mark>),
    GoesDown,
    ComesUp,
    RefusesReads(Option<FailureKind>),
    RefusesWrites(Option<FailureKind>),
    BuildBegins,
    BuildEnds,
}

/// How partners that are not scripted misbehave.
#[derive(Clone, Debug)]
pub struct Chaos {
    pub random: Random,
    /// Of a hundred requests so many do not go well.
    pub bad_requests: u64,
    /// Of a hundred agents so many do not do well.
    pub bad_agents: u64,
}

#[derive(Clone)]
pub struct World {
    pub now: Moment,
    /// The time during which we were not suspended.
    pub active: Span,
    pub core: Supervisor,
    pub policy: Policy,
    pub controller: Controller,
    pub process: Option<Process>,
    pub generations: u32,
    pub ending: Option<Ending>,
    pub suspended: bool,
    pub fates: VecDeque<Fate>,
    pub plans: VecDeque<AgentPlan>,
    pub chaos: Option<Chaos>,
    /// Whether the trace is written.
    pub tracing: bool,
    pub trace: Vec<String>,
    pub violation: Option<String>,
    checks: Checks,
    open: BTreeSet<RequestNumber>,
    writes: BTreeSet<RequestNumber>,
    /// How often the mark had changed when a request was carried out.
    carried: BTreeMap<RequestNumber, u64>,
    leftovers: u32,
    queue: BTreeMap<(Moment, u64), Happening>,
    planned: u64,
    pub events: u64,
}

impl World {
    pub fn new(policy: Policy) -> Self {
        Self::with(policy, Controller::default())
    }

    pub fn with(policy: Policy, controller: Controller) -> Self {
        let core = Supervisor::new(Moment(0), policy.clone());
        Self {
            now: Moment(0),
            active: Span::ZERO,
            core,
            process: policy.survivor.then(|| Process {
                generation: Generation(0),
                state: ProcessState::Alive,
                plan: AgentPlan::default(),
                termed: false,
                killed: false,
            }),
            policy,
            controller,
            generations: 0,
            ending: None,
            suspended: false,
            fates: VecDeque::new(),
            plans: VecDeque::new(),
            chaos: None,
            tracing: true,
            trace: Vec::new(),
            violation: None,
            checks: Checks::default(),
            open: BTreeSet::new(),
            writes: BTreeSet::new(),
            carried: BTreeMap::new(),
            leftovers: 0,
            queue: BTreeMap::new(),
            planned: 0,
            events: 0,
        }
    }

    /// Something that will happen `after` so long.
    pub fn plan(&mut self, after: Span, happening: Happening) {
        self.planned += 1;
        self.queue.insert((self.now + after, self.planned), happening);
    }

    pub fn plan_at(&mut self, at: Moment, happening: Happening) {
        self.planned += 1;
        self.queue.insert((at, self.planned), happening);
    }

    /// Something that happens now.
    pub fn happens(&mut self, happening: Happening) {
        self.occur(happening);
    }

    pub fn ask(&mut self, request: Request) {
        self.occur(Happening::Ask(request));
    }

    /// Lets `span` go by.
    pub fn run(&mut self, span: Span) {
        self.run_to(self.now + span);
    }

    /// Lets time go by until the supervisor has finished; for an hour at the most.
    pub fn run_to_the_end(&mut self) {
        let end = self.now + Span::seconds(3600);
        while self.ending.is_none() && self.step(end) {}
        assert!(self.ending.is_some(), "no end within an hour\n{}", self.story());
    }

    /// Lets time go by until `condition` holds; for a day at the most.
    pub fn run_until(&mut self, condition: impl Fn(&Self) -> bool) {
        let end = self.now + Span::seconds(86_400);
        while !condition(self) {
            assert!(self.step(end), "it never comes to that\n{}", self.story());
        }
    }

    pub fn run_to(&mut self, end: Moment) {
        while self.step(end) {}
        self.pass_to(end);
    }

    /// Everything that has been handed out so far is performed; to be called once after `new`.
    pub fn begin(&mut self) {
        self.settle("begin");
    }

    /// The next thing that happens, if one does before `end`.
    fn step(&mut self, end: Moment) -> bool {
        if self.violation.is_some() || self.ending.is_some() {
            return false;
        }
        if self.events == 0 {
            self.begin();
        }
        let happening = self.queue.keys().next().map(|(at, _)| *at);
        let deadline = self.core.next_deadline();
        let at = match (happening, deadline) {
            (None, None) => return false,
            (Some(at), None) => at,
            (None, Some((at, _))) => at,
            (Some(happening), Some((deadline, _))) => happening.min(deadline),
        };
        if at > end {
            return false;
        }
        self.check_early_deadline(at);
        self.pass_to(at);
        if let Some((due, reason)) = deadline
            && due <= at
        {
            self.events += 1;
            self.core.handle_deadline(at);
            self.settle(&format!("({reason:?})"));
        } else if let Some((_, happening)) = self.queue.pop_first() {
            self.occur(happening);
        }
        true
    }

    /// A deadline handled too early changes nothing.
    fn check_early_deadline(&mut self, at: Moment) {
        if !self.events.is_multiple_of(7) {
            return;
        }
        let halfway = Moment(self.now.0.midpoint(at.0));
        if self.core.next_deadline().is_some_and(|(due, _)| due <= halfway) {
            return;
        }
        let mut early = self.core.clone();
        early.handle_deadline(halfway);
        early.handle_deadline(halfway);
        let mut late = self.core.clone();
        if early.poll_action().is_some() {
            self.violated("a deadline handled too early does something");
            return;
        }
        early.handle(at, Event::Resumed);
        late.handle(at, Event::Resumed);
        if early != late {
            self.violated("a deadline handled too early changes something");
        }
    }

    fn pass_to(&mut self, at: Moment) {
        if !self.suspended {
            self.active = self.active.plus(at.since(self.now));
        }
        self.now = at;
    }

    fn tell(&mut self, event: Event) {
        if self.ending.is_some() {
            return;
        }
        self.events += 1;
        let line = if self.tracing { render_event(&event) } else { String::new() };
        self.core.handle(self.now, event);
        self.settle(&line);
    }

    /// Performs what the supervisor wants done, then looks at how things stand.
    fn settle(&mut self, what: &str) {
        self.events += 1;
        let mut done = Vec::new();
        while let Some(action) = self.core.poll_action() {
            if self.tracing {
                done.push(render_action(&action));
            }
            self.check_action(&action);
            self.perform(action);
        }
        if self.tracing {
            let phase = self.core.status().phase;
            let at = format!("{}.{:03}", self.now.0 / 1000, self.now.0 % 1000);
            let done = if done.is_empty() { String::new() } else { format!(": {}", done.join("; ")) };
            self.trace.push(format!("{at:>8} {phase:?} | {what}{done}"));
        }
        self.check_state();
    }

    pub fn violated(&mut self, what: &str) {
        if self.tracing {
            self.trace.push(format!("!!! {what}"));
        }
        self.violation.get_or_insert_with(|| what.into());
    }

    /// Whether the request under way is a write.
    pub fn is_writing(&self) -> bool {
        self.core.status().in_flight.is_some_and(|request| self.writes.contains(&request))
    }

    /// The trace, for people.
    pub fn story(&self) -> String {
        self.trace.join("\n")
    }

    /// The story, if no invariant was violated.
    pub fn honest_story(&self) -> String {
        assert_eq!(self.violation, None, "\n{}", self.story());
        self.story()
    }

    fn occur(&mut self, happening: Happening) {
        if self.events == 0 {
            self.begin();
        }
        if self.tracing {
            self.trace_happening(&happening);
        }
        match happening {
            Happening::Ask(request) => {
                if matches!(request, Request::Stop(_) | Request::StopNow) {
                    self.suspended = false;
                }
                self.tell(Event::Requested(request));
            }
            Happening::Reload(policy) => {
                let survivor = self.policy.survivor;
                self.policy = Policy { survivor, ..(*policy).clone() };
                self.tell(Event::PolicyChanged(policy));
            }
            Happening::Continue => {
                if self.suspended {
                    self.suspended = false;
                    self.checks.disturbed = self.now;
                    self.tell(Event::Resumed);
                }
            }
            Happening::CarryOut { request, wish, answer } => self.carry_out(request, &wish, answer),
            Happening::Answer(request, event) => self.answer(request, event),
            Happening::TimeOut(request, read) => {
                if self.open.contains(&request) {
                    let failure = unavailable("no answer in time");
                    let event = if read {
                        Event::NodeRead { request, outcome: Err(failure) }
                    } else {
                        Event::NodeWritten { request, outcome: WriteOutcome::Unknown(failure) }
                    };
                    self.answer(request, event);
                }
            }
            Happening::Spawned(generation) => self.spawned(generation),
            Happening::Connects(generation) => self.connects(generation),
            Happening::Ends(generation, exit) => self.ends(generation, exit),
            Happening::ChannelFreed(generation) => self.controller.disconnect(generation),
            Happening::Counted(generation, alive) => self.tell(Event::LeftoversCounted { generation, alive }),
            Happening::Interferes(mark) => {
                self.controller.set(mark);
                self.checks.touches += 1;
                self.checks.disturbed = self.now;
            }
            Happening::GoesDown => {
                let agent = self.controller.channel;
                self.controller.go_down();
                self.checks.disturbed = self.now;
                if let Some(generation) = agent {
                    self.plan(Span(100), Happening::Ends(generation, Exit::Code(0)));
                }
            }
            Happening::ComesUp => {
                self.controller.come_up();
                self.checks.touches += 1;
                self.checks.disturbed = self.now;
            }
            Happening::RefusesReads(kind) => self.controller.refuses_reads = kind,
            Happening::RefusesWrites(kind) => {
                self.controller.refuses_writes = kind;
                self.checks.disturbed = self.now;
            }
            Happening::BuildBegins => {
                if self.controller.channel.is_some() && self.controller.mark.is_none() {
                    self.controller.builds += 1;
                }
            }
            Happening::BuildEnds => self.controller.builds = self.controller.builds.saturating_sub(1),
        }
        self.check_state();
    }

    fn carry_out(&mut self, request: RequestNumber, wish: &Wish, answer: Option<Span>) {
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

    fn answer(&mut self, request: RequestNumber, event: Event) {
        if self.ending.is_some() {
            return;
        }
        if !self.open.remove(&request) {
            self.stale(event);
            return;
        }
        self.checks.answered(request);
        match &event {
            Event::NodeRead { outcome: Ok(view), .. } => {
                self.checks.seen_touches = self.carried[&request];
                let first = self.generations <= 1 && self.process.is_some();
                self.checks.read(view.mark.clone(), view.connected == Some(true), &self.policy, first);
            }
            Event::NodeWritten { outcome: WriteOutcome::Accepted | WriteOutcome::Unsupported { .. }, .. } => {}
            _ => self.checks.disturbed = self.now,
        }
        self.tell(event);
    }

    /// A late answer to a request that is closed changes nothing.
    fn stale(&mut self, event: Event) {
        let mut with = self.core.clone();
        with.handle(self.now, event);
        let mut without = self.core.clone();
        without.handle(self.now, Event::LeftoversCounted { generation: Generation(u32::MAX), alive: 0 });
        if with != without {
            self.violated("a late answer to a closed request changes something");
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { generation } => {
                self.generations += 1;
                let plan = self.next_plan();
                self.plan(plan.spawn_takes, Happening::Spawned(generation));
                let state = ProcessState::Spawning;
                self.process = Some(Process { generation, state, plan, termed: false, killed: false });
            }
            Action::SignalAgent { generation, signal } => self.signal(generation, signal),
            Action::SignalGroup { .. } | Action::Remember(_) | Action::Tell(_) => {}
            Action::StopSelf => self.suspended = true,
            Action::Reap { .. } => self.process = None,
            Action::SignalLeftovers { generation, signal } => self.signal_leftovers(generation, signal),
            Action::ReadNode { request, within } => self.request(request, Wish::Read, within),
            Action::LiftMark { request, method, within } => self.request(request, Wish::Lift(method), within),
            Action::MarkOffline { request, method, within, .. } => {
                self.request(request, Wish::Mark(method), within);
            }
            Action::CancelRequest { request } => {
                self.open.remove(&request);
            }
            Action::Finish(ending) => self.ending = Some(ending),
        }
    }

    fn request(&mut self, request: RequestNumber, wish: Wish, within: Span) {
        self.open.insert(request);
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
                let failed = failure(kind, "refused");
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

    fn spawned(&mut self, generation: Generation) {
        let Some(process) = self.process.as_mut().filter(|process| process.generation == generation) else { return };
        let plan = process.plan.clone();
        if let Some(failure) = plan.spawn_fails {
            self.process = None;
            self.tell(Event::SpawnFailed { generation, failure });
            return;
        }
        process.state = ProcessState::Alive;
        let termed = process.termed;
        self.leftovers = plan.leaves;
        if let Some(after) = plan.connects_after {
            self.plan(after, Happening::Connects(generation));
        }
        if let Some((after, exit)) = plan.ends {
            self.plan(after, Happening::Ends(generation, exit));
        }
        if termed {
            self.signal(generation, AgentSignal::Terminate);
        }
        self.tell(Event::AgentSpawned { generation, pid: 100 + generation.0 });
    }

    fn connects(&mut self, generation: Generation) {
        let alive = |process: &Process| process.generation == generation && process.state == ProcessState::Alive;
        if !self.process.as_ref().is_some_and(alive) {
            return;
        }
        if self.controller.down {
            self.ends(generation, Exit::Code(1));
        } else if self.controller.connect(generation) {
            if self.controller.old_persistence {
                self.checks.touches += 1;
                self.checks.disturbed = self.now;
            }
        } else {
            self.ends(generation, Exit::Code(1));
        }
    }

    fn ends(&mut self, generation: Generation, exit: Exit) {
        let Some(process) = self.process.as_mut() else { return };
        if process.generation != generation || process.state != ProcessState::Alive {
            return;
        }
        if process.plan.unkillable && exit == Exit::Signal(9) {
            return;
        }
        process.state = ProcessState::Dead;
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
            LeftoverSignal::Terminate | LeftoverSignal::Kill => self.leftovers = 0,
        }
        if let Some(takes) = plan.count_takes {
            let alive = self.leftovers;
            self.plan(takes, Happening::Counted(generation, alive));
        }
    }
}

fn unavailable(words: &str) -> Failure {
    failure(FailureKind::Unavailable, words)
}

fn failure(kind: FailureKind, words: &str) -> Failure {
    Failure { kind, words: words.into() }
}
