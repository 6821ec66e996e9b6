//! Faults that are planted around the shipped core, each of which the check must find: a property that nothing can break
//! shows nothing.

use std::collections::VecDeque;

use agent_wrap_supervisor::{
    Action, AgentSignal, Ending, Event, Goal, Mark, Moment, NodeView, Note, OnlinePolicy, Owner, Phase, Request, Span,
    StopSource, Supervisor, WriteOutcome,
};
use stateright::{Checker, HasDiscoveries, Model};

use super::controller::mark_of;
use super::lots::{self, Lot};
use super::properties::{self, Bounds, Exploration};
use super::state::{Aside, Keeper};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fault {
    /// The agent is started without a look at the node.
    StartsBlindly,
    /// An accepted write is taken for a done one: no read follows it.
    BelievesAnswers,
    /// Our own marks are not recognised, as if a toggle had no nonce.
    HasNoNonce,
    /// Every mark is taken for ours.
    ClaimsEveryMark,
    /// The node is marked without a look at who has marked it before.
    MarksBlindly,
    /// A stop that comes while the agent is waiting for its restart is not heard.
    DeafInBackoff,
    /// The agent gets its TERM in the moment in which a stop begins.
    TouchesAtOnce,
    /// The agent gets KILL where it should get TERM.
    KillsAtOnce,
    /// The time for marking the node is an hour.
    MarksForAnHour,
    /// It exits instead of killing an agent that does not end.
    LeavesItsAgent,
    /// The answer to a request that was closed is taken for that to the next one.
    MixesAnswersUp,
    /// It never looks at the node again once the agent runs.
    LooksAway,
    /// A mark read back is said to be missing.
    RaisesFalseAlarm,
    /// It takes every end of an agent for the fault of its jar.
    BlamesEveryJar,
    /// It starts the agent anew for another jar without waiting for builds.
    RenewsAtOnce,
}

/// The core with one fault.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Faulty {
    core: Supervisor,
    fault: Fault,
    now: Aside<Moment>,
    /// What it does besides.
    extra: VecDeque<Action>,
    /// What it believes that its last write has done.
    believes: Option<Option<Mark>>,
}

fn view(mark: Option<Mark>, connected: bool) -> NodeView {
    NodeView { mark, connected: Some(connected), idle: true, builds: Vec::new(), has_cli: false }
}

fn renamed(mut view: NodeView, from: Owner, to: Owner) -> NodeView {
    if let Some(mark) = view.mark.as_mut().filter(|mark| mark.owner == from) {
        *mark = mark_of(to);
    }
    view
}

impl Faulty {
    fn new(core: Supervisor, fault: Fault) -> Self {
        Self { core, fault, now: Aside(Moment(0)), extra: VecDeque::new(), believes: None }
    }

    fn phase(&self) -> Phase {
        self.core.status().phase
    }

    /// What this fault makes of an event; `None` for nothing.
    fn hears(&mut self, event: Event) -> Option<Event> {
        match (self.fault, event) {
            (Fault::HasNoNonce, Event::NodeRead { request, outcome: Ok(view) }) => {
                Some(Event::NodeRead { request, outcome: Ok(renamed(view, Owner::ThisRun, Owner::Foreign)) })
            }
            (Fault::ClaimsEveryMark, Event::NodeRead { request, outcome: Ok(view) }) => {
                Some(Event::NodeRead { request, outcome: Ok(renamed(view, Owner::Foreign, Owner::EarlierRun)) })
            }
            (Fault::MixesAnswersUp, Event::NodeRead { request, outcome }) => {
                Some(Event::NodeRead { request: self.core.status().in_flight.unwrap_or(request), outcome })
            }
            (Fault::DeafInBackoff, Event::Requested(Request::Stop(_))) if self.phase() == Phase::BackingOff => None,
            (Fault::RenewsAtOnce, Event::JarOffered { generation }) => {
                self.extra.push_back(Action::Tell(Note::RenewingJar));
                self.extra.push_back(Action::SignalAgent { generation, signal: AgentSignal::Terminate });
                None
            }
            (Fault::TouchesAtOnce, Event::Requested(request)) => {
                let generation = self.core.status().generation;
                self.extra.push_back(Action::SignalAgent { generation, signal: AgentSignal::Terminate });
                Some(Event::Requested(request))
            }
            (_, event) => Some(event),
        }
    }

    /// What this fault makes of an action; `None` for nothing.
    fn does(&mut self, action: Action) -> Option<Action> {
        let phase = self.phase();
        match (self.fault, action) {
            (Fault::StartsBlindly, Action::ReadNode { request, .. }) if phase == Phase::Enabling => {
                self.answer(Event::NodeRead { request, outcome: Ok(view(None, false)) })
            }
            (Fault::MarksBlindly, Action::ReadNode { request, .. }) if phase == Phase::Marking => {
                self.answer(Event::NodeRead { request, outcome: Ok(view(None, true)) })
            }
            (Fault::BelievesAnswers, Action::ReadNode { request, .. }) if self.believes.is_some() => {
                let mark = self.believes.take().flatten();
                self.answer(Event::NodeRead { request, outcome: Ok(view(mark, false)) })
            }
            (Fault::LooksAway, Action::ReadNode { .. }) if phase == Phase::Running => None,
            (Fault::KillsAtOnce, Action::SignalAgent { generation, signal: AgentSignal::Terminate }) => {
                Some(Action::SignalAgent { generation, signal: AgentSignal::Kill })
            }
            (Fault::LeavesItsAgent, Action::SignalAgent { signal: AgentSignal::Kill, .. }) => {
                Some(Action::Finish(Ending::Stopped { killed: false, confirmed: true }))
            }
            (Fault::RaisesFalseAlarm, Action::Finish(Ending::Stopped { killed, .. })) => {
                Some(Action::Finish(Ending::Stopped { killed, confirmed: false }))
            }
            (Fault::BlamesEveryJar, Action::Reap { generation }) => {
                self.extra.push_back(Action::RejectJar { generation });
                Some(Action::Reap { generation })
            }
            (Fault::BelievesAnswers, action) => {
                match action {
                    Action::LiftMark { .. } => self.believes = Some(None),
                    Action::MarkOffline { .. } => self.believes = Some(Some(mark_of(Owner::ThisRun))),
                    _ => {}
                }
                Some(action)
            }
            (_, action) => Some(action),
        }
    }

    fn answer(&mut self, event: Event) -> Option<Action> {
        self.core.handle(self.now.0, event);
        None
    }
}

impl Keeper for Faulty {
    fn handle(&mut self, now: Moment, event: Event) {
        self.now = Aside(now);
        if let Event::NodeWritten { outcome, .. } = &event
            && *outcome != WriteOutcome::Accepted
        {
            self.believes = None;
        }
        if let Some(event) = self.hears(event) {
            self.core.handle(now, event);
        }
    }

    fn handle_deadline(&mut self, now: Moment) {
        self.now = Aside(now);
        self.core.handle_deadline(now);
    }

    fn next_deadline(&self) -> Option<Moment> {
        Keeper::next_deadline(&self.core)
    }

    fn poll_action(&mut self) -> Option<Action> {
        loop {
            if let Some(action) = self.extra.pop_front() {
                return Some(action);
            }
            let action = self.core.poll_action()?;
            if let Some(action) = self.does(action) {
                return Some(action);
            }
        }
    }

    fn stage(&self) -> (Phase, Option<Goal>) {
        self.core.stage()
    }

    fn wants_online(&self) -> bool {
        self.core.wants_online()
    }
}

/// Plants the fault that `keeper` makes, and expects that a life is found that breaks this property.
fn find(lot: Lot, disturbances: u8, keeper: fn(&Lot) -> Faulty, broken: &'static str) {
    let asks = vec![Request::Stop(StopSource::Terminate)];
    let bounds = Bounds { disturbances, requests: 1, agents: 2 };
    let model = || Exploration::new(lot.clone(), asks.clone(), bounds, keeper);
    let whole = model().in_one().checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    assert!(whole.discovery(properties::WHOLE).is_some(), "not found among all properties: {broken}");
    let model = model();
    assert!(model.properties().iter().any(|property| property.name == broken), "no property is called {broken:?}");
    let checker = model.checker().finish_when(HasDiscoveries::AllOf([broken].into())).spawn_bfs().join();
    assert!(checker.discovery(broken).is_some(), "not found: {broken}");
}

macro_rules! planted {
    ($($test:ident: $fault:ident on $lot:expr, $disturbances:literal disturbances, breaks $broken:path;)*) => {
        $(#[test]
        fn $test() {
            find($lot, $disturbances, |lot| Faulty::new(lot.core(), Fault::$fault), $broken);
        })*
    };
}

/// Hudson and an earlier run's mark, where nobody else's may be lifted.
fn own() -> Lot {
    let mut lot = lots::named("Hudson, an earlier run's mark");
    lot.policy.node.as_mut().unwrap().online = OnlinePolicy::Own;
    lot
}

planted! {
    a_start_without_a_look_is_found: StartsBlindly on lots::named("Hudson, somebody's mark"), 0 disturbances,
        breaks properties::STARTED_UNSEEN;
    a_write_that_is_not_read_back_is_found: BelievesAnswers on lots::named("--drain 0"), 0 disturbances,
        breaks properties::TOUCHED_EARLY;
    a_toggle_without_a_nonce_is_found: HasNoNonce on own(), 1 disturbances, breaks properties::STRAY_MARK;
    a_lift_beyond_the_policy_is_found: ClaimsEveryMark on lots::named("--online own"), 0 disturbances,
        breaks properties::LIFTED_BEYOND_POLICY;
    a_mark_set_without_a_look_is_found: MarksBlindly on lots::named("Jenkins, a free node"), 0 disturbances,
        breaks properties::WRITTEN_UNSEEN;
    a_stop_that_is_not_heard_is_found: DeafInBackoff on lots::named("Jenkins, a free node"), 1 disturbances,
        breaks properties::STOP_OVERDUE;
    a_term_before_the_mark_is_found: TouchesAtOnce on lots::named("Jenkins, a free node"), 0 disturbances,
        breaks properties::TOUCHED_EARLY;
    a_kill_before_the_term_is_found: KillsAtOnce on lots::named("--standalone"), 0 disturbances,
        breaks properties::KILLED_FIRST;
    an_agent_that_is_left_behind_is_found: LeavesItsAgent on lots::named("--standalone"), 1 disturbances,
        breaks properties::OUTLIVED;
    answers_taken_for_others_are_found: MixesAnswersUp on lots::named("Jenkins, a free node"), 0 disturbances,
        breaks properties::TWO_REQUESTS;
    a_look_away_is_found: LooksAway on lots::named("Hudson, somebody's mark"), 1 disturbances,
        breaks properties::STRAY_MARK;
    a_jar_that_is_rejected_after_a_stop_is_found: BlamesEveryJar on lots::named("a new jar"), 0 disturbances,
        breaks properties::REJECTED_UNJUSTLY;
    a_build_that_is_cut_for_a_jar_is_found: RenewsAtOnce on lots::named("another jar is offered"), 2 disturbances,
        breaks properties::CUT_FOR_A_JAR;
    a_false_alarm_is_found: RaisesFalseAlarm on lots::named("Jenkins, a free node"), 0 disturbances,
        breaks properties::FALSE_ALARM;
}

#[test]
fn a_stop_that_takes_too_long_is_found() {
    let keeper = |lot: &Lot| {
        let mut lot = lot.clone();
        lot.policy.node.as_mut().unwrap().offline_timeout = Span::seconds(3600);
        Faulty::new(lot.core(), Fault::MarksForAnHour)
    };
    find(lots::named("Jenkins, a free node"), 1, keeper, properties::STOP_OVERDUE);
}
