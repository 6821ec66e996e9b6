//! The supervisor in virtual time, with a controller, an agent, an operator and a third party who may all misbehave.

pub mod agent;
mod checks;
pub mod controller;
mod partners;
pub mod random;
mod render;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use agent_wrap_supervisor::{
    Ending, Event, Exit, FailureKind, Generation, Goal, Mark, Moment, Owner, Policy, Request, RequestNumber, Span,
    Supervisor, WriteOutcome,
};

use agent::{AgentPlan, Process, ProcessState};
use checks::Checks;
use controller::{Controller, Wish};
use partners::unavailable;
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
    /// The clock on the wall was set, or a drain by it is about to begin: builds may be waited for so much longer.
    ClockSet(Span),
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
    /// The agent's channel is lost although it lives.
    LosesChannel(Generation),
    /// An agent that lives elsewhere connects, if it can.
    ElsewhereConnects,
    /// The operator's hold file says something else.
    Hold(Option<String>),
    Counted(Generation, u32),
    /// A fact that was told already is told again.
    Again(Event),
    /// A third party sets or clears the mark.
    Interferes(Option<Mark>),
    GoesDown,
    ComesUp,
    RefusesReads(Option<FailureKind>),
    RefusesWrites(Option<FailureKind>),
    BuildBegins,
    BuildEnds,
    /// The controller offers another jar than that of this agent.
    OffersJar(Generation),
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

/// An agent of this node's name that is none of ours.
pub const ELSEWHERE: Generation = Generation(u32::MAX);

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
    /// For how long whoever has no answer wants to be left alone, where no chance decides it.
    pub retry_after: Option<Span>,
    /// Whether the trace is written.
    pub tracing: bool,
    pub trace: Vec<String>,
    pub violation: Option<String>,
    checks: Checks,
    open: BTreeSet<RequestNumber>,
    writes: BTreeSet<RequestNumber>,
    /// How long each request might take.
    pub withins: Vec<Span>,
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
            retry_after: None,
            tracing: true,
            trace: Vec::new(),
            violation: None,
            checks: Checks::default(),
            open: BTreeSet::new(),
            writes: BTreeSet::new(),
            withins: Vec::new(),
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
        let line = if self.tracing { render_event(&event) } else { String::new() };
        self.maybe_again(&event);
        self.core.handle(self.now, event);
        self.settle(&line);
    }

    /// Performs what the supervisor wants done, then looks at how things stand.
    fn settle(&mut self, what: &str) {
        self.events += 1;
        let mut done = Vec::new();
        self.check_errand();
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
                let mut changed = Policy { survivor: self.policy.survivor, ..(*policy).clone() };
                if let (Some(changed), Some(node)) = (&mut changed.node, &self.policy.node) {
                    (changed.unclean, changed.marked_before) = (node.unclean, node.marked_before);
                    changed.connected_before = node.connected_before;
                }
                // Other times between two looks hold from now on.
                self.checks.disturbed = self.now;
                if !matches!(self.core.status().goal, Some(Goal::Exit(_))) {
                    self.policy = changed;
                }
                self.tell(Event::PolicyChanged(policy));
            }
            Happening::ClockSet(left) => self.clock_set(left),
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
            Happening::LosesChannel(generation) => self.loses_channel(generation),
            Happening::ElsewhereConnects => {
                self.controller.connect(ELSEWHERE);
            }
            Happening::Hold(words) => self.tell(Event::HoldChanged(words)),
            Happening::Counted(generation, alive) => self.tell(Event::LeftoversCounted { generation, alive }),
            Happening::Again(event) => self.changes_nothing(event, "a fact told twice changes something"),
            Happening::Interferes(mark) => {
                if self.generations > 0 && mark.as_ref().is_some_and(|mark| mark.owner == Owner::EarlierRun) {
                    self.checks.rival += 1;
                }
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
            Happening::OffersJar(generation) => self.tell(Event::JarOffered { generation }),
            Happening::BuildEnds => self.controller.builds = self.controller.builds.saturating_sub(1),
        }
        self.check_state();
    }
}
