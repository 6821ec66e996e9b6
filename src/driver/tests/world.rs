//! What is there besides the driver, and what happens in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};

use agent_wrap_supervisor::{Event, Exit, FailureKind, Mark, Moment, Owner, Policy, RequestNumber, Span, WriteOutcome};
use nix::libc;
use tokio::sync::mpsc::UnboundedSender;

use super::agent::{AgentPlan, Process};
use super::books::Books;
use super::controller::{Controller, mark_of};
use super::manager::Heard;
use super::node::{Fate, Open, unavailable};
use super::paper::Sheet;
use super::partners::{Lack, Launch, Prepared};
use super::random::Random;
use super::settings::Reading;
use crate::clock::{Clock, duration};
use crate::driver::Answer;

/// Signals that the table of these tests gives another meaning than the usual one.
pub const RELOAD: i32 = libc::SIGHUP;
pub const RESTART: i32 = libc::SIGPWR;
pub const STOP_NOW: i32 = libc::SIGXFSZ;

/// Of one signal so many are kept, as by the real shell.
const KEPT: usize = 5;
/// So many polls without time going by are a driver that spins.
const SPINNING: u32 = 100_000;

/// What happens without the driver's doing.
#[derive(Clone, Debug)]
pub enum Happening {
    Signal(i32),
    AgentEnds(Exit),
    /// The open request is carried out and answered, now.
    Answers,
    /// Answers come to requests that are over.
    LateAnswers,
    /// Facts come a second time.
    FactsAgain,
    /// The machine was busy with something else.
    Jump(Span),
    /// The clock on the wall is set so much ahead of the other.
    SetClock(Span),
    Interferes(Option<Mark>),
    GoesDown,
    ComesUp,
    RefusesReads(Option<FailureKind>),
    RefusesWrites(Option<FailureKind>),
    RefusesSecrets(Option<FailureKind>),
    /// The hold file says this, or is gone.
    Hold(Option<String>),
    /// The agent's channel is lost although it lives.
    LosesChannel,
    BuildBegins,
    BuildEnds,
    /// The controller has this version from now on.
    Upgraded(u32),
}

/// How long it takes to get ready what an agent needs: a pause at each await point.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    pub pauses: Vec<Span>,
    pub lacks: Option<Lack>,
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

pub struct World {
    pub me: Weak<Mutex<World>>,
    pub clock: Clock,
    /// By how much the clock on the wall is ahead of the other.
    pub ahead: Span,
    pub policy: Policy,
    pub facts: UnboundedSender<Event>,
    pub answers: Option<UnboundedSender<Answer<Launch, Prepared>>>,
    pub controller: Controller,
    pub process: Option<Process>,
    pub generations: u32,
    pub leftovers: u32,
    pub told: Vec<Event>,
    pub preparing: u32,
    pub prepared: u32,
    pub signals: BTreeMap<i32, VecDeque<Moment>>,
    pub waker: Option<Waker>,
    /// This signal is sent again as soon as it has been heard, so often; to hear it takes a millisecond.
    pub flood: Option<(i32, u32)>,
    pub open: BTreeMap<u64, Open>,
    pub requests: u64,
    /// Numbers of writes that are over.
    pub over: Vec<RequestNumber>,
    pub fates: VecDeque<Fate>,
    pub plans: VecDeque<AgentPlan>,
    pub preparations: VecDeque<Preparation>,
    /// Whether what is prepared next has a new jar.
    pub new_jars: VecDeque<bool>,
    /// The controller's version.
    pub version: Option<String>,
    /// Whether another jar is offered, each time that one is looked for; nothing can be told when there is no more.
    pub offers: VecDeque<bool>,
    pub refuses_secrets: Option<FailureKind>,
    pub readings: VecDeque<Reading>,
    pub reasons: Vec<String>,
    pub chaos: Option<Chaos>,
    pub suspensions: VecDeque<Span>,
    pub points: u64,
    pub at_points: BTreeMap<u64, Happening>,
    /// What the operator's hold file says.
    pub hold: Option<String>,
    pub hold_changed: bool,
    pub hold_waker: Option<Waker>,
    /// Somebody looks at it.
    pub looking: bool,
    pub books: Books,
    pub manager: Heard,
    pub sheet: Sheet,
    pub tracing: bool,
    pub trace: Vec<String>,
    pub violation: Option<String>,
    spins: (Moment, u32),
}

/// A way to the world.
#[derive(Clone)]
pub struct Shared(pub Arc<Mutex<World>>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    pub fn new(me: Weak<Mutex<Self>>, clock: Clock, policy: Policy, facts: UnboundedSender<Event>) -> Self {
        Self {
            me,
            clock,
            ahead: Span::ZERO,
            policy,
            facts,
            answers: None,
            controller: Controller::default(),
            process: None,
            generations: 0,
            leftovers: 0,
            told: Vec::new(),
            preparing: 0,
            prepared: 0,
            signals: BTreeMap::new(),
            waker: None,
            flood: None,
            open: BTreeMap::new(),
            requests: 0,
            over: Vec::new(),
            fates: VecDeque::new(),
            plans: VecDeque::new(),
            preparations: VecDeque::new(),
            new_jars: VecDeque::new(),
            version: None,
            offers: VecDeque::new(),
            refuses_secrets: None,
            readings: VecDeque::new(),
            reasons: Vec::new(),
            chaos: None,
            suspensions: VecDeque::new(),
            points: 0,
            at_points: BTreeMap::new(),
            hold: None,
            hold_changed: false,
            hold_waker: None,
            looking: false,
            books: Books::default(),
            manager: Heard::default(),
            sheet: Sheet::default(),
            tracing: false,
            trace: Vec::new(),
            violation: None,
            spins: (Moment(0), 0),
        }
    }

    /// The clock on the wall, in seconds.
    pub fn wall(&self) -> i64 {
        i64::try_from((self.now().0 + self.ahead.0) / 1000).unwrap()
    }

    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Does something after so long.
    pub fn after(&self, span: Span, then: impl FnOnce(&mut Self) + Send + 'static) {
        let me = self.me.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration(span)).await;
            if let Some(world) = me.upgrade() {
                then(&mut Shared(world).lock());
            }
        });
    }

    /// The same, at once if it takes no time.
    pub fn soon(&mut self, span: Span, then: impl FnOnce(&mut Self) + Send + 'static) {
        if span.is_zero() { then(self) } else { self.after(span, then) }
    }

    /// The driver has come to a partner.
    pub fn point(&mut self, what: std::fmt::Arguments<'_>) {
        self.points += 1;
        if self.tracing {
            let line = format!("{}", what);
            self.note(&line);
        }
        let now = self.now();
        self.spins = if self.spins.0 == now { (now, self.spins.1 + 1) } else { (now, 0) };
        assert!(self.spins.1 < SPINNING, "the driver spins at {} ms\n{}", now.0, self.story());
        if let Some(happening) = self.at_points.remove(&self.points) {
            self.happens(&happening);
        }
    }

    pub fn note(&mut self, line: &str) {
        if self.tracing {
            let (now, point) = (self.now().0, self.points);
            self.trace.push(format!("{:>6}.{:03} #{point:<5} {line}", now / 1000, now % 1000));
        }
    }

    pub fn violated(&mut self, what: &str) {
        self.note(&format!("!!! {what}"));
        self.violation.get_or_insert_with(|| what.to_owned());
    }

    pub fn story(&self) -> String {
        self.trace.join("\n")
    }

    pub fn happens(&mut self, happening: &Happening) {
        self.note(&format!("  ... {happening:?}"));
        match happening {
            Happening::Signal(number) => self.signal(*number),
            Happening::AgentEnds(exit) => self.agent_ends(*exit),
            Happening::Answers => {
                if let Some(id) = self.open.keys().next_back().copied() {
                    self.carry_out(id);
                    self.answer(id);
                }
            }
            Happening::LateAnswers => self.answer_late(),
            Happening::FactsAgain => {
                for fact in self.told.clone() {
                    self.send(fact);
                }
            }
            Happening::Jump(span) => self.jump(*span),
            Happening::SetClock(ahead) => self.ahead = *ahead,
            Happening::Interferes(mark) => {
                self.controller.set(mark.clone());
                self.books.touches += 1;
            }
            Happening::GoesDown => {
                let agent = self.controller.channel;
                self.controller.go_down();
                if agent.is_some() {
                    self.after(Span(100), |world| world.agent_ends(Exit::Code(0)));
                }
            }
            Happening::ComesUp => {
                self.controller.come_up();
                self.books.touches += 1;
            }
            Happening::RefusesReads(kind) => self.controller.refuses_reads = *kind,
            Happening::RefusesWrites(kind) => self.controller.refuses_writes = *kind,
            Happening::RefusesSecrets(kind) => self.refuses_secrets = *kind,
            Happening::Hold(words) => {
                self.hold.clone_from(words);
                self.hold_changed = true;
                let now = self.now();
                // Without a node nobody wants to know.
                if self.policy.node.is_some() {
                    self.books.hold_made(now);
                }
                if let Some(waker) = self.hold_waker.take() {
                    waker.wake();
                }
            }
            Happening::LosesChannel => {
                if let Some(process) = &self.process {
                    let generation = process.generation;
                    self.controller.disconnect(generation);
                }
            }
            Happening::BuildBegins => {
                if self.controller.channel.is_some() && self.controller.mark.is_none() {
                    self.controller.builds += 1;
                }
            }
            Happening::Upgraded(version) => self.version = Some(version.to_string()),
            Happening::BuildEnds => self.controller.builds = self.controller.builds.saturating_sub(1),
        }
    }

    /// How long a look at the hold file takes.
    pub fn begin_to_look(&mut self) -> Span {
        self.point(format_args!("LOOK for the hold file"));
        self.books.hold_looked_at();
        self.looking = true;
        let Some(chaos) = &mut self.chaos else { return Span::ZERO };
        if chaos.random.percent(50) { Span::ZERO } else { chaos.random.span(Span::seconds(5)) }
    }

    pub fn signal(&mut self, number: i32) {
        let now = self.now();
        let queue = self.signals.entry(number).or_default();
        if queue.len() < KEPT {
            queue.push_back(now);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Tells the driver a fact.
    pub fn send(&mut self, fact: Event) {
        self.books.facts.push(self.clock.now());
        let _ = self.facts.send(fact);
    }

    /// Time goes by although nobody waits for it.
    pub fn jump(&mut self, span: Span) {
        let before = self.now();
        let mut advance = std::pin::pin!(tokio::time::advance(duration(span)));
        // The first poll moves the clock, the rest of it waits for the others.
        let _ = advance.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(self.now().since(before) >= span, "the clock has not moved");
        self.books.jumped(self.clock.now(), span);
        self.manager.jumped(self.clock.now());
        for waiting in self.signals.values_mut().flatten() {
            *waiting = self.clock.now();
        }
    }

    /// Whatever they say, nobody waits for them any more.
    fn answer_late(&mut self) {
        let Some(answers) = &self.answers else { return };
        let view = Controller { mark: Some(mark_of(Owner::Foreign, "a lie")), ..Controller::default() }.view();
        for &request in &self.over {
            self.books.answers.push(self.clock.now());
            let lie = Event::NodeRead { request, outcome: Ok(view.clone()) };
            let _ = answers.send(Answer::Event(lie));
            let lie = Event::NodeWritten { request, outcome: WriteOutcome::Failed(unavailable("a lie")) };
            let _ = answers.send(Answer::Event(lie));
        }
    }
}
