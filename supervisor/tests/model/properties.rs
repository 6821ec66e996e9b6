//! The model that is checked, and the properties it must have.

use std::sync::atomic::{AtomicU32, Ordering};

use agent_wrap_supervisor::{Ending, Goal, Request};
use stateright::{Model, Property};

use super::book::Broken;
use super::calm::Known;
use super::lots::Lot;
use super::state::{Keeper, World};
use super::steps::Step;

/// How much may go wrong, and how often an operator may ask for something, in one life.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub disturbances: u8,
    pub requests: u8,
    /// How often an agent is started: what comes after is not looked at.
    pub agents: u8,
}

/// Everything that can come of one lot.
pub struct Exploration<K: Keeper> {
    pub lot: Lot,
    pub asks: Vec<Request>,
    pub bounds: Bounds,
    pub keeper: fn(&Lot) -> K,
    /// What this keeper does on its way is known to be against the rules: only what comes of it counts.
    pub outcome_only: bool,
    /// States from which calm weather is known to lead where it should.
    pub ends_well: Known,
    pub heals: Known,
    whole: Option<Whole<K>>,
}

/// All properties as one: the checker looks each one up for each state, which costs more than to evaluate it.
struct Whole<K: Keeper> {
    kept: Vec<Property<Exploration<K>>>,
    sights: Vec<Property<Exploration<K>>>,
    /// A bit for each sight that was met.
    seen: AtomicU32,
}

impl<K: Keeper> Exploration<K> {
    pub fn new(lot: Lot, asks: Vec<Request>, bounds: Bounds, keeper: fn(&Lot) -> K) -> Self {
        let (ends_well, heals) = (Known::default(), Known::default());
        Self { lot, asks, bounds, keeper, outcome_only: false, ends_well, heals, whole: None }
    }

    /// With one property for all of them.
    pub fn in_one(mut self) -> Self {
        let (sights, kept) = self.properties().into_iter().partition(|property| is_sight(property.name));
        self.whole = Some(Whole { kept, sights, seen: AtomicU32::new(0) });
        self
    }

    /// Whether everything holds that must; takes note of sights.
    fn is_whole(&self, world: &World<K>) -> bool {
        let Some(whole) = &self.whole else { return true };
        let seen = whole.seen.load(Ordering::Relaxed);
        for (number, sight) in whole.sights.iter().enumerate() {
            if seen & 1 << number == 0 && (sight.condition)(self, world) {
                whole.seen.fetch_or(1 << number, Ordering::Relaxed);
            }
        }
        whole.kept.iter().all(|property| (property.condition)(self, world))
    }

    /// The properties that do not hold here.
    pub fn broken(&self, world: &World<K>) -> Vec<&'static str> {
        let kept = self.whole.iter().flat_map(|whole| &whole.kept);
        kept.filter(|property| !(property.condition)(self, world)).map(|property| property.name).collect()
    }

    /// The sights that were never met.
    pub fn unseen(&self) -> Vec<&'static str> {
        let Some(whole) = &self.whole else { return Vec::new() };
        let seen = whole.seen.load(Ordering::Relaxed);
        let missed = whole.sights.iter().enumerate().filter(|(number, _)| seen & 1 << number == 0);
        missed.map(|(_, sight)| sight.name).collect()
    }
}

/// So often the core sets a mark again that vanishes.
const REASSERTIONS: u8 = 3;

pub const STARTED_UNSEEN: &str =
    "1: the agent is never started before a read has shown the node free, or the policy leaves the mark";
pub const WRITTEN_UNSEEN: &str =
    "2: every write is decided on a read that came after the last write, and after the wish";
pub const STRAY_MARK: &str = "2: a mark of ours never stays behind a running agent once requests have settled";
pub const TOUCHED_EARLY: &str =
    "3: at a stop the agent is not touched until the mark is read back or --offline-timeout is over";
pub const EXITED_UNMARKED: &str = "3: after a stop that says so the mark is there";
pub const FALSE_ALARM: &str = "3: exit 74 only if something was in the way";
pub const SECOND_AGENT: &str = "4: there is never more than one agent, and none is started once stopping";
pub const OUTLIVED: &str = "4: no agent outlives us";
pub const KILLED_FIRST: &str = "4: KILL comes only after TERM";
pub const STOP_OVERDUE: &str = "4: a stop ends within its bound";
pub const STUCK: &str = "4: there is always something to wait for";
pub const ENDS_WELL: &str = "4: calm weather leads to a running agent or to the end";
pub const TWO_REQUESTS: &str = "no request is sent while one is in flight";
pub const ONLINE_WHILE_STOPPING: &str = "never online once stopping";
pub const LIFTED_BEYOND_POLICY: &str = "nobody else's mark is lifted beyond the policy";
pub const REJECTED_UNJUSTLY: &str =
    "a new jar is rejected only when its agent has ended by itself before it was seen connected, and once";
pub const CUT_FOR_A_JAR: &str = "no build is cut off for a new jar";
/// All of them.
pub const WHOLE: &str = "every property";
pub const REPLACED_EARLY: &str =
    "an agent is replaced only after healthy reads have called it not connected for --disconnect-timeout";
pub const HELD_ONLINE: &str = "a node that an operator holds is never to be online";
pub const DISCONNECTED: &str =
    "a channel is closed once at the most, before the first start, and only by our own records";
pub const MARKED_OVER: &str = "nobody's mark is written over";

macro_rules! promise {
    ($($name:ident => $broken:ident,)*) => {
        vec![$(Property::always($name, |_, world: &World<K>| !world.book.is_broken(Broken::$broken)),)*]
    };
}

impl<K: Keeper> Model for Exploration<K> {
    type State = World<K>;
    type Action = Step;

    fn init_states(&self) -> Vec<World<K>> {
        let Bounds { disturbances, requests, .. } = self.bounds;
        vec![self.lot.world((self.keeper)(&self.lot), disturbances, requests)]
    }

    fn actions(&self, world: &World<K>, steps: &mut Vec<Step>) {
        if self.outcome_only || world.book.is_whole() {
            world.steps(&self.asks, steps);
        }
    }

    fn next_state(&self, world: &World<K>, step: Step) -> Option<World<K>> {
        let mut world = world.clone();
        world.take(step);
        Some(world)
    }

    fn within_boundary(&self, world: &World<K>) -> bool {
        world.book.generations <= self.bounds.agents
    }

    fn properties(&self) -> Vec<Property<Self>> {
        if self.whole.is_some() {
            return vec![Property::always(WHOLE, Self::is_whole)];
        }
        let mut properties = outcomes();
        if !self.outcome_only {
            properties.extend(rules());
        }
        properties.extend(sights());
        properties
    }
}

/// What must come of every life.
fn outcomes<K: Keeper>() -> Vec<Property<Exploration<K>>> {
    let mut properties = promise! {
        EXITED_UNMARKED => ExitedUnmarked,
        OUTLIVED => Outlived,
    };
    properties.push(Property::always(STRAY_MARK, |model: &Exploration<K>, world: &World<K>| {
        !world.has_stray_mark() || world.calm_leads_to(&model.heals, |world| !world.has_stray_mark())
    }));
    properties
}

/// What must hold on the way.
fn rules<K: Keeper>() -> Vec<Property<Exploration<K>>> {
    let mut properties = promise! {
        STARTED_UNSEEN => StartedUnseen,
        WRITTEN_UNSEEN => WrittenUnseen,
        TOUCHED_EARLY => TouchedEarly,
        FALSE_ALARM => FalseAlarm,
        SECOND_AGENT => SecondAgent,
        KILLED_FIRST => KilledFirst,
        STOP_OVERDUE => StopOverdue,
        STUCK => Stuck,
        TWO_REQUESTS => TwoRequests,
        ONLINE_WHILE_STOPPING => OnlineWhileStopping,
        LIFTED_BEYOND_POLICY => LiftedBeyondPolicy,
        MARKED_OVER => MarkedOver,
        REPLACED_EARLY => ReplacedEarly,
        DISCONNECTED => Disconnected,
        REJECTED_UNJUSTLY => RejectedUnjustly,
        CUT_FOR_A_JAR => CutForAJar,
    };
    // Four lifts of the mark by others count as a wish of theirs.
    properties.push(Property::always(HELD_ONLINE, |model: &Exploration<K>, world: &World<K>| {
        !world.held || !world.keeper.wants_online() || model.bounds.disturbances > REASSERTIONS
    }));
    properties.push(Property::always(ENDS_WELL, |model: &Exploration<K>, world: &World<K>| {
        world.calm_leads_to(&model.ends_well, |world| world.ending.is_some() || world.is_home())
    }));
    properties
}

/// Whether this property is a sight: met somewhere, not kept everywhere.
fn is_sight(name: &str) -> bool {
    name.starts_with("seen")
}

/// What has to be met somewhere: a check that never sees these would see nothing.
fn sights<K: Keeper>() -> Vec<Property<Exploration<K>>> {
    vec![
        Property::sometimes("seen: connected, and the node free", |_, world: &World<K>| {
            world.is_home() && world.controller.mark.is_none()
        }),
        Property::sometimes("seen: a stop with its mark confirmed", |_, world: &World<K>| {
            matches!(world.ending, Some(Ending::Stopped { confirmed: true, .. }))
        }),
        Property::sometimes("seen: a stop without it", |_, world: &World<K>| {
            matches!(world.ending, Some(Ending::Stopped { confirmed: false, .. }))
        }),
        Property::sometimes("seen: a mark of ours behind a running agent, for a while", |_, world: &World<K>| {
            world.has_stray_mark()
        }),
        Property::sometimes("seen: a start given up because the controller refuses", |_, world: &World<K>| {
            matches!(world.ending, Some(Ending::Refused(_)))
        }),
        Property::sometimes("seen: a start given up because there is no controller", |_, world: &World<K>| {
            matches!(world.ending, Some(Ending::Unreachable(_)))
        }),
        Property::sometimes("seen: an agent started although the controller refuses", |_, world: &World<K>| {
            world.book.started_anyway()
        }),
        Property::sometimes("seen: what an agent has left in the background", |_, world: &World<K>| {
            world.running().is_some_and(|process| process.is_remains)
        }),
        Property::sometimes("seen: an agent that is started again", |_, world: &World<K>| world.book.generations > 1),
        Property::sometimes("seen: an agent that lives without its channel is ended", |_, world: &World<K>| {
            world.keeper.stage().1 == Some(Goal::Replace)
        }),
        Property::sometimes("seen: a dead channel that was closed", |_, world: &World<K>| {
            world.book.was_disconnected()
        }),
        Property::sometimes("seen: an agent behind an operator's hold", |_, world: &World<K>| {
            world.held && world.is_home() && world.controller.mark.is_some()
        }),
        Property::sometimes("seen: given up because the agent keeps failing", |_, world: &World<K>| {
            matches!(world.ending, Some(Ending::GaveUp))
        }),
        Property::sometimes("seen: an idle agent that is started anew for a jar", |_, world: &World<K>| {
            world.book.has_renewed()
        }),
        Property::sometimes("seen: a new jar that is rejected", |_, world: &World<K>| world.book.has_rejected()),
        Property::sometimes("seen: an end with the agent", |_, world: &World<K>| {
            matches!(world.ending, Some(Ending::AgentEnded { .. }))
        }),
        Property::sometimes("seen: an agent that had to be killed", |_, world: &World<K>| {
            matches!(world.ending, Some(Ending::Stopped { killed: true, .. }))
        }),
    ]
}
