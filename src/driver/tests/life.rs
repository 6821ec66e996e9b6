//! One life of the driver among its partners.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_wrap_supervisor::{Ending, Memory, Moment, Policy, Span};
use nix::libc;
use tokio::sync::mpsc;

use super::agent::{AgentPlan, Process, ProcessState};
use super::controller::Controller;
use super::manager::{Heard, Manager};
use super::node::{Fate, Node};
use super::paper::{Paper, Sheet};
use super::partners::{HoldFile, Launch, Partners, Prepared, Signals, State};
use super::process::{Machine, identity};
use super::settings::{Aside, Reading, reloader, settings};
use super::world::{Chaos, Happening, Preparation, RELOAD, RESTART, STOP_NOW, Shared, World};
use crate::clock::Clock;
use crate::config::{Drain, JarUpdate, Until};
use crate::driver::{Announcer, Answers, Display, Driver, Reasons, Shells, Turn};
use crate::signals::{Setting, SignalTable, Terminal, Verb};
use crate::state::Record;
use crate::systemd::Notifier;
use crate::telemetry::Story;

/// What a life begins with, and what will happen in it.
#[derive(Clone, Default)]
pub struct Life {
    pub policy: Policy,
    pub controller: Controller,
    pub survivor: Option<AgentPlan>,
    pub fates: VecDeque<Fate>,
    pub plans: VecDeque<AgentPlan>,
    pub preparations: VecDeque<Preparation>,
    pub new_jars: VecDeque<bool>,
    pub offers: VecDeque<bool>,
    /// Agents take another jar when they are idle.
    pub jar_when_idle: bool,
    pub readings: VecDeque<Reading>,
    pub suspensions: VecDeque<Span>,
    /// `--drain until=`.
    pub until: Option<Until>,
    /// By how much the clock on the wall is ahead of the other.
    pub ahead: Span,
    pub chaos: Option<Chaos>,
    pub happenings: Vec<(Span, Happening)>,
    pub at_points: BTreeMap<u64, Happening>,
    pub tracing: bool,
    /// There is a service manager, and how long it waits for a sign of life, if it does.
    pub manager: Option<Option<Span>>,
    /// It has no room for so many datagrams at first.
    pub manager_full: u32,
    /// There is a terminal, and whether the agent writes to it.
    pub paper: Option<Sheet>,
}

/// What has come of it.
pub struct Lived {
    pub shared: Shared,
    pub ending: Option<Ending>,
    /// How long it was, in virtual time.
    pub took: Span,
}

/// Longer than any life is to be, in virtual time.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

impl Life {
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    pub fn at(mut self, at: Span, happening: Happening) -> Self {
        self.happenings.push((at, happening));
        self
    }

    /// Lives it.
    pub fn live(self) -> Lived {
        paused().block_on(async move {
            let (shared, mut turn, mut answered) = self.begin();
            let lived = tokio::time::timeout(FOR_EVER, turn.live(&mut answered)).await;
            let ending = lived.ok();
            {
                let mut world = shared.lock();
                match &ending {
                    Some(ending) => {
                        world.note(&format!("END {ending:?}"));
                        world.check_ending(ending);
                        world.check_watchdog();
                    }
                    None => world.violated("the life does not end"),
                }
            }
            drop((turn, answered));
            // What was given up goes when the runtime comes to it.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            let took = {
                let mut world = shared.lock();
                if (world.preparing, world.prepared, world.books.in_flight) != (0, 0, None) {
                    world.violated("something that was begun is not over");
                }
                world.now().since(agent_wrap_supervisor::Moment(0))
            };
            Lived { shared, ending, took }
        })
    }

    /// The driver and its partners, within the runtime.
    pub fn begin(self) -> (Shared, Turn<Partners>, Answers<Partners>) {
        self.begin_with(|shared| Node(shared.clone()))
    }

    /// The same with a controller of another kind.
    pub fn begin_with<S>(self, controller: impl FnOnce(&Shared) -> S::Controller) -> (Shared, Turn<S>, Answers<S>)
    where
        S: Shells<
                Signals = Signals,
                Agents = Machine,
                Launch = Launch,
                Launched = Prepared,
                State = State,
                Beside = Aside,
                Manager = Manager,
                Screen = Paper,
                Hold = HoldFile,
            >,
    {
        let clock = Clock::start();
        let (facts, told) = mpsc::unbounded_channel();
        let mut policy = self.policy;
        policy.survivor = self.survivor.is_some();
        let of = policy.clone();
        let shared = Shared(Arc::new_cyclic(|me| Mutex::new(World::new(me.clone(), clock, of, facts))));
        let survivor = self.survivor.map(|plan| {
            let state = ProcessState::Alive;
            Process { generation: agent_wrap_supervisor::Generation(0), state, plan, termed: false, killed: false }
        });
        let agent = survivor.as_ref().map(|process| identity(process.generation));
        let (node, of_node) = (policy.node.as_ref(), policy.node.clone());
        let memory = Memory {
            marked: node.is_some_and(|node| node.marked_before),
            connected: node.is_some_and(|node| node.connected_before),
            stopped: node.is_some_and(|node| !node.unclean),
        };
        let record = Record { run: "r".to_owned(), earlier: Vec::new(), agent, memory };
        {
            let mut world = shared.lock();
            world.controller = self.controller;
            world.process = survivor;
            world.fates = self.fates;
            world.plans = self.plans;
            world.preparations = self.preparations;
            world.new_jars = self.new_jars;
            world.offers = self.offers;
            world.readings = self.readings;
            world.suspensions = self.suspensions;
            world.ahead = self.ahead;
            world.chaos = self.chaos;
            world.at_points = self.at_points;
            world.tracing = self.tracing;
            world.books.hold_is_seen(Moment(0), of_node.as_ref().is_some_and(|node| node.hold.is_some()));
            world.hold = of_node.as_ref().and_then(|node| node.hold.clone());
            world.sheet = self.paper.clone().unwrap_or_default();
            world.books.begin(record.clone());
            for (at, happening) in self.happenings {
                world.after(at, move |world| world.happens(&happening));
            }
        }
        let announcer = self.manager.map(|watchdog| {
            shared.lock().manager = Heard::by(watchdog, self.manager_full);
            Announcer::new(Notifier::new(watchdog), Manager(shared.clone()))
        });
        let has_node = policy.node.is_some();
        let mut settings = settings(&policy);
        if let Some(until) = self.until {
            settings.drain = Drain::Until(until);
        }
        if self.jar_when_idle {
            settings.jar_update = JarUpdate::Idle;
        }
        let driver = Driver {
            clock,
            wall: {
                let shared = shared.clone();
                Box::new(move || shared.lock().wall())
            },
            story: Story::new("n", clock.now()).at_keyboard(policy.terminal),
            terminal: Terminal::pretended(true),
            signals: Signals(shared.clone()),
            table: table(),
            processes: Machine(shared.clone()),
            facts: told,
            controller: has_node.then(|| Arc::new(controller(&shared))),
            state: State(shared.clone()),
            record,
            launch: Arc::new(Launch { shared: shared.clone(), settings: 0 }),
            reasons: Reasons { template: settings.offline_reason.clone(), host: "h".into(), node: "n".into() },
            reload: reloader(shared.clone()),
            settings,
            beside: Arc::new(Aside(shared.clone())),
            announcer,
            hold: has_node.then(|| HoldFile(shared.clone())),
            display: self.paper.map(|_| Display::new(Paper(shared.clone()))),
        };
        let (turn, answered) = Turn::new(driver, policy);
        shared.lock().answers = Some(turn.answers.clone());
        (shared, turn, answered)
    }
}

impl Lived {
    /// The ending, if the promise was kept.
    pub fn well(&self, name: &str) -> Ending {
        let world = self.shared.lock();
        assert_eq!(world.violation, None, "{name}\n{}", world.story());
        self.ending.clone().unwrap()
    }
}

pub fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

pub fn table() -> SignalTable {
    SignalTable::new([
        Setting { signal: RELOAD, verb: Verb::Reload },
        Setting { signal: RESTART, verb: Verb::Restart },
        Setting { signal: STOP_NOW, verb: Verb::StopNow },
    ])
}

/// Signals that mean something, for tests that send them all.
pub const SIGNALS: [i32; 10] = [
    libc::SIGTERM,
    libc::SIGINT,
    STOP_NOW,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGQUIT,
    libc::SIGCHLD,
    RELOAD,
    RESTART,
];
