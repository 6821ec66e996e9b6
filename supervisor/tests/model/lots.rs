//! Where the exploration begins: each policy that decides something, on each kind of controller, with each kind of mark.

use std::sync::Arc;

use agent_wrap_supervisor::{
    Backoff, Generation, IfRefused, Moment, NodePolicy, OfflinePolicy, OnlinePolicy, Owner, Policy, Request,
    RestartMode, Span, StopSource, Supervisor, TakeOver,
};

use super::agent::Process;
use super::book::Book;
use super::controller::{Controller, Version};
use super::state::{Aside, Keeper, World};

/// One beginning.
#[derive(Clone, Debug)]
pub struct Lot {
    pub name: &'static str,
    pub policy: Policy,
    pub version: Version,
    pub mark: Option<Owner>,
    /// A channel is there before the first agent is. With one disturbance that makes ten times as many states as there are
    /// without it: only who names a number of them looks at these.
    pub channel: bool,
    /// `--drain until=`: how long a drain may take is told when it is asked for, and the clock may be set.
    pub by_clock: bool,
    /// The first agents are started with a new jar.
    pub new_jar: bool,
    /// The controller is going to offer another jar while an agent runs.
    pub jar_to_come: bool,
}

/// Spans short enough that few moments lie between two that matter, in the proportions of the real ones.
fn policy() -> Policy {
    Policy {
        node: Some(NodePolicy {
            start_timeout: Span::seconds(8),
            offline_timeout: Span::seconds(4),
            request_timeout: Span::seconds(2),
            poll: Span::seconds(10),
            disconnect_timeout: Span::seconds(20),
            patient_after: 3,
            ..NodePolicy::default()
        }),
        backoff: Backoff {
            first: Span::seconds(1),
            max: Span::seconds(2),
            forget_after: Span::seconds(15),
            quick: Span::seconds(3),
            slow_after: 2,
            slow: Span::seconds(8),
            limit: None,
        },
        drain: Span::seconds(2),
        drain_warn: Span::seconds(1),
        grace: Span::seconds(2),
        terminal: true,
        ..Policy::default()
    }
}

fn with(change: impl FnOnce(&mut Policy, &mut NodePolicy)) -> Policy {
    let mut policy = policy();
    let mut node = policy.node.take().unwrap();
    change(&mut policy, &mut node);
    policy.node = Some(node);
    policy
}

fn after_kill(takeover: TakeOver) -> Policy {
    with(|_, node| (node.unclean, node.connected_before, node.takeover) = (true, true, takeover))
}

pub fn lots() -> Vec<Lot> {
    use Owner::{EarlierRun, Foreign, Monitor};
    let (jenkins, old, hudson) = (Version::JENKINS, Version::OLD_JENKINS, Version::HUDSON);
    let lot = |name, policy, version, mark| Lot {
        name,
        policy,
        version,
        mark,
        channel: false,
        by_clock: false,
        new_jar: false,
        jar_to_come: false,
    };
    let killed = |policy, version, mark| Lot { channel: true, ..lot("", policy, version, mark) };
    let new_jar = |lot| Lot { new_jar: true, ..lot };
    let offered = |lot| Lot { jar_to_come: true, ..lot };
    vec![
        lot("Jenkins, a free node", policy(), jenkins, None),
        lot("Jenkins, somebody's mark", policy(), jenkins, Some(Foreign)),
        lot("Jenkins, a monitor's mark", policy(), jenkins, Some(Monitor)),
        lot("Jenkins, an earlier run's mark", policy(), jenkins, Some(EarlierRun)),
        lot("an old Jenkins, a free node", policy(), old, None),
        lot("an old Jenkins, somebody's mark", policy(), old, Some(Foreign)),
        lot("Hudson, a free node", policy(), hudson, None),
        lot("Hudson, somebody's mark", policy(), hudson, Some(Foreign)),
        lot("Hudson, an earlier run's mark", policy(), hudson, Some(EarlierRun)),
        lot("--online own", with(|_, node| node.online = OnlinePolicy::Own), hudson, Some(Foreign)),
        lot("--online match", with(|_, node| node.online = OnlinePolicy::Match), jenkins, Some(Foreign)),
        lot("--online never", with(|_, node| node.online = OnlinePolicy::Never), jenkins, Some(EarlierRun)),
        lot("--offline never", with(|_, node| node.offline = OfflinePolicy::Never), hudson, None),
        lot("--if-refused start", with(|_, node| node.if_refused = IfRefused::Start), jenkins, None),
        lot("--restart no", with(|policy, _| policy.restart = RestartMode::No), hudson, None),
        lot("--restart-limit 1", with(|policy, _| policy.backoff.limit = Some(1)), jenkins, None),
        lot("--drain 0", with(|policy, _| policy.drain = Span::ZERO), jenkins, None),
        Lot {
            by_clock: true,
            ..lot("--drain until", with(|policy, _| policy.drain = Span::seconds(3600)), jenkins, None)
        },
        lot("a proxy that asks to wait", policy(), Version::BEHIND_A_PROXY, None),
        lot("--offline-timeout 0", with(|_, node| node.offline_timeout = Span::ZERO), hudson, None),
        lot(
            "after an unclean end",
            with(|_, node| (node.unclean, node.marked_before) = (true, true)),
            old,
            Some(Foreign),
        ),
        Lot { name: "a dead channel", ..killed(after_kill(TakeOver::Auto), jenkins, Some(EarlierRun)) },
        Lot { name: "a dead channel behind a mark", ..killed(after_kill(TakeOver::Auto), hudson, Some(EarlierRun)) },
        Lot { name: "--takeover never", ..killed(after_kill(TakeOver::Never), jenkins, None) },
        lot("a hold file", with(|_, node| node.hold = Some("held".into())), jenkins, None),
        lot("a survivor", with(|policy, _| policy.survivor = true), jenkins, Some(EarlierRun)),
        new_jar(lot("a new jar", policy(), jenkins, None)),
        new_jar(lot("a new jar, --restart no", with(|policy, _| policy.restart = RestartMode::No), hudson, None)),
        offered(lot("another jar is offered", policy(), jenkins, None)),
        offered(lot("another jar is offered, by Hudson", with(|policy, _| policy.drain = Span::ZERO), hudson, None)),
        lot("--standalone", Policy { node: None, ..policy() }, jenkins, None),
    ]
}

/// Enough lots to meet every sight, for a check that takes seconds.
pub const FEW: [&str; 9] = [
    "Jenkins, a free node",
    "Hudson, somebody's mark",
    "--if-refused start",
    "--restart no",
    "--restart-limit 1",
    "a dead channel",
    "a hold file",
    "a new jar, --restart no",
    "another jar is offered, by Hudson",
];

/// The lot of this name.
pub fn named(name: &str) -> Lot {
    lots().into_iter().find(|lot| lot.name == name).unwrap()
}

/// What an operator may do who only stops.
pub fn stops() -> Vec<Request> {
    vec![Request::Stop(StopSource::Terminate), Request::Stop(StopSource::Interrupt), Request::StopNow]
}

/// What an operator may do who lands, takes off and restarts before it comes to a stop.
pub fn wishes() -> Vec<Request> {
    vec![Request::Land, Request::TakeOff, Request::Restart, Request::Stop(StopSource::Terminate)]
}

impl Lot {
    pub fn world<K: Keeper>(&self, keeper: K, disturbances: u8, requests: u8) -> World<K> {
        let mut world = World {
            keeper,
            now: Aside(Moment(0)),
            untold: Span::ZERO,
            policy: Aside(Arc::new(self.policy.clone())),
            by_clock: Aside(self.by_clock),
            controller: Controller::new(self.version, self.mark, self.channel),
            network: Vec::new(),
            process: self.policy.survivor.then(|| Process::alive(Generation(0))),
            counting: None,
            new_jar: self.new_jar,
            jar_to_come: self.jar_to_come,
            stale: None,
            ending: None,
            held: self.policy.node.as_ref().is_some_and(|node| node.hold.is_some()),
            requests,
            disturbances,
            book: Book::default(),
        };
        world.perform_all();
        world
    }

    pub fn core(&self) -> Supervisor {
        Supervisor::new(Moment(0), self.policy.clone())
    }
}
