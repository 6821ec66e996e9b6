//! The node: what we want of it, what we believe of it, and the one request under way.
//!
//! ```text
//!        wish changes, look due                 answer
//!   ┌──────────────> Stale ──── read ───────────> Fresh ──── it is as wanted ───> Handled
//!   │                  ^                            │                                │
//!   │                  └──── write, then pause ─────┘ it is not: one write           │
//!   └────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Every write is followed by a read, a write is only ever decided on a read that came after the last one, and there is
//! at most one request under way: so whatever is lost or late, the next decision rests on what the controller says now.

mod marks;
mod refusals;
mod takeover;

use alloc::string::String;

use crate::aside::Aside;
use crate::{
    Failure, FailureKind, LiftMethod, MarkMethod, NodePolicy, NodeView, OfflineReason, OnlineMethod, Owner,
    RequestNumber, Span,
};

pub(crate) use refusals::{FINAL_AFTER, Verdict};
use refusals::{Refusals, count_refusal};
use takeover::OldChannel;

/// So often a mark that vanishes during a stop is set again.
const REASSERTIONS: u8 = 3;
/// So many reads must show a toggle of unknown outcome not carried out before another one is sent.
const DOUBTFUL_READS: u8 = 2;
/// So many writes in a row are sent without a pause.
const UNPACED_WRITES: u8 = 2;
/// So often the pause between further writes doubles.
const PAUSE_DOUBLINGS: u8 = 3;

/// Failures in a row beyond these make no difference.
const FAILURES_COUNTED: u8 = 7;

/// What we want of the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Desired {
    /// Free of the mark, as far as `Scope` lets us lift it.
    Online(Scope),
    /// Marked, for this reason.
    Offline(OfflineReason),
    /// Nothing: neither read nor written.
    AsItIs,
}

/// Which marks may be lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those that `--online` names: at the first start, until the agent was seen connected.
    Start,
    /// Only ours.
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RequestKind {
    Read,
    Lift(LiftMethod),
    Mark(MarkMethod),
    Disconnect,
}

impl RequestKind {
    pub(crate) fn is_toggle(self) -> bool {
        matches!(self, Self::Lift(LiftMethod::Toggle) | Self::Mark(MarkMethod::Toggle))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Knowledge {
    /// Something was written, wished, or has grown old since the last read.
    Stale,
    /// The last read is what decisions may rest on.
    Fresh,
    /// What it shows is as wanted, and this has been acted on.
    Handled,
}

/// What to do next about the node.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    Read,
    Lift(LiftMethod),
    Mark(MarkMethod),
    /// Close the channel that the run before has left.
    Disconnect,
    /// It is gone, or does not go.
    TakenOver {
        freed: bool,
        sure: bool,
    },
    /// Look again after a pause before anything is written.
    Pause(Span),
    Settled(Settlement),
}

/// How the node stands when nothing is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Settlement {
    /// Free of the mark.
    Free,
    /// Marked, and the policy leaves it.
    Left,
    /// Marked, as wanted.
    Marked,
    /// Not marked, and not to be marked again.
    Lost,
}

/// The node's part of the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) policy: NodePolicy,
    pub(crate) desired: Desired,
    pub(crate) view: Option<NodeView>,
    pub(crate) knowledge: Knowledge,
    pub(crate) in_flight: Option<(Aside<RequestNumber>, RequestKind)>,
    last_number: Aside<RequestNumber>,
    cli_broken: bool,
    cause_missing: bool,
    /// Reads that still have to show a toggle of unknown outcome not carried out.
    doubt: u8,
    /// For so long yet a toggle that was to lift a mark, and was not answered, may be carried out: unless the node was
    /// free since, for as long as a request may take.
    lift_at_large: Span,
    /// Writes since the node was last as wanted.
    writes: u8,
    /// The pause before the next write has been made.
    paused: bool,
    /// The node was seen marked since the mark is wanted.
    was_marked: bool,
    reassertions: u8,
    /// The node was seen free since that is wanted.
    pub(crate) was_free: bool,
    /// So often a mark that vanishes is set again.
    pub(crate) reassertion_limit: u8,
    /// The reason of the mark that is being lifted.
    pub(crate) lifting: Option<String>,
    /// Marks of others that were lifted after the agent's start.
    pub(crate) lifts_after_start: u8,
    /// Marks of other runs that have appeared on the free node.
    strays: u8,
    /// The one that is there now has been counted.
    stray_counted: bool,
    old_channel: OldChannel,
    read_refusals: Option<Refusals>,
    write_refusals: Option<Refusals>,
    /// Those of what an agent needs to be started with.
    agent_refusals: Option<Refusals>,
    /// The failure of a read that people were told of last, while it lasts.
    pub(crate) outage: Option<Failure>,
    /// The same of a write: a controller that refuses it answers all the same.
    pub(crate) write_failure: Option<Failure>,
    /// Requests in a row without an answer.
    pub(crate) failures: u8,
    /// The foreign mark that people were told of.
    pub(crate) told_foreign: Option<String>,
    /// We have set a mark and not seen it gone.
    pub(crate) marked_by_us: bool,
    /// The reason that was sent with our last mark.
    marked_for: Option<OfflineReason>,
    /// People are to hear of what hinders us once more: they have asked for something.
    pub(crate) retell: bool,
}

impl Node {
    pub(crate) fn new(policy: NodePolicy) -> Self {
        let marked_by_us = policy.marked_before;
        let old_channel = if policy.connected_before { OldChannel::Suspected } else { OldChannel::None };
        Self {
            policy,
            desired: Desired::Online(Scope::Start),
            view: None,
            knowledge: Knowledge::Stale,
            in_flight: None,
            last_number: Aside(RequestNumber(0)),
            cli_broken: false,
            cause_missing: false,
            doubt: 0,
            lift_at_large: Span::ZERO,
            writes: 0,
            paused: false,
            was_marked: false,
            reassertions: 0,
            was_free: false,
            reassertion_limit: REASSERTIONS,
            lifting: None,
            lifts_after_start: 0,
            strays: 0,
            stray_counted: false,
            old_channel,
            read_refusals: None,
            write_refusals: None,
            agent_refusals: None,
            outage: None,
            write_failure: None,
            failures: 0,
            told_foreign: None,
            marked_by_us,
            marked_for: None,
            retell: false,
        }
    }

    /// Changes the wish; the next decision waits for a read.
    pub(crate) fn wish(&mut self, desired: Desired) {
        self.desired = desired;
        self.knowledge = Knowledge::Stale;
        self.writes = 0;
        self.paused = false;
        self.was_marked = false;
        self.was_free = false;
        self.reassertions = 0;
        self.reassertion_limit = REASSERTIONS;
        self.lifting = None;
        self.retell = true;
    }

    pub(crate) fn advance(&mut self, elapsed: Span) {
        self.lift_at_large = self.lift_at_large.less(elapsed);
        let all = [&mut self.read_refusals, &mut self.write_refusals, &mut self.agent_refusals];
        for refusals in all.into_iter().flatten() {
            refusals.window = refusals.window.less(elapsed);
        }
    }

    /// What to do next, if no request is under way and no pause is being made.
    pub(crate) fn step(&mut self) -> Step {
        match self.knowledge {
            Knowledge::Handled => return Step::Nothing,
            Knowledge::Stale => return Step::Read,
            Knowledge::Fresh => {}
        }
        if let Some(step) = self.take_over() {
            return step;
        }
        let mark = self.view.as_ref().and_then(|view| view.mark.clone());
        match (self.desired.clone(), mark) {
            (Desired::AsItIs, _) => Step::Nothing,
            (Desired::Online(_), None) => {
                self.was_free = true;
                self.settle(Settlement::Free)
            }
            (Desired::Online(scope), Some(mark)) if self.may_lift(&mark, scope) => {
                let method = self.lift_method();
                self.write(Step::Lift(method), method == LiftMethod::Toggle)
            }
            (Desired::Online(_), Some(_)) => self.settle(Settlement::Left),
            (Desired::Offline(reason), Some(mark)) => {
                self.was_marked = true;
                if self.may_reword(&mark, &reason) {
                    return self.write(Step::Mark(MarkMethod::ChangeCause), false);
                }
                self.settle(Settlement::Marked)
            }
            (Desired::Offline(_), None) if self.was_marked && !self.will_reassert() => self.settle(Settlement::Lost),
            (Desired::Offline(_), None) => {
                let method = if self.cause_missing { MarkMethod::Toggle } else { MarkMethod::ChangeCause };
                self.write(Step::Mark(method), method == MarkMethod::Toggle)
            }
        }
    }

    fn settle(&mut self, settlement: Settlement) -> Step {
        self.knowledge = Knowledge::Handled;
        self.doubt = 0;
        self.writes = 0;
        self.paused = false;
        self.write_refusals = None;
        self.write_failure = None;
        self.retell = false;
        Step::Settled(settlement)
    }

    fn write(&mut self, step: Step, is_toggle: bool) -> Step {
        if is_toggle && self.doubt > 0 {
            self.doubt -= 1;
            self.knowledge = Knowledge::Stale;
            return Step::Pause(self.write_pause());
        }
        if self.writes >= UNPACED_WRITES && !self.paused {
            self.paused = true;
            self.knowledge = Knowledge::Stale;
            return Step::Pause(self.write_pause());
        }
        self.paused = false;
        step
    }

    fn lift_method(&self) -> LiftMethod {
        let has_cli = self.view.as_ref().is_some_and(|view| view.has_cli);
        match self.policy.online_method {
            OnlineMethod::Cli => LiftMethod::Cli,
            OnlineMethod::Auto if has_cli && !self.cli_broken => LiftMethod::Cli,
            OnlineMethod::Auto | OnlineMethod::Toggle => LiftMethod::Toggle,
        }
    }

    pub(crate) fn is_reading(&self) -> bool {
        matches!(self.in_flight, Some((_, RequestKind::Read)))
    }

    /// Whether our mark is there, and gets another reason.
    pub(crate) fn is_rewording(&self) -> bool {
        self.is_marked() && matches!(self.in_flight, Some((_, RequestKind::Mark(_))))
    }

    /// Whether the next read is all that is left to be done: something was written for this wish.
    pub(crate) fn has_written(&self) -> bool {
        self.writes > 0
    }

    /// Whether a toggle of ours may lift, whenever it is carried out, what is marked now.
    pub(crate) fn has_lift_at_large(&self) -> bool {
        !self.lift_at_large.is_zero()
    }

    /// Numbers a request and takes note that it is under way.
    pub(crate) fn send(&mut self, kind: RequestKind) -> RequestNumber {
        self.last_number = Aside(RequestNumber(self.last_number.0.0.wrapping_add(1)));
        self.in_flight = Some((self.last_number, kind));
        if kind != RequestKind::Read {
            self.knowledge = Knowledge::Stale;
            if kind == RequestKind::Disconnect {
                self.old_channel = OldChannel::Closing { looks: 0, sure: false };
                return self.last_number.0;
            }
            self.writes = (self.writes + 1).min(UNPACED_WRITES + PAUSE_DOUBLINGS);
            if let RequestKind::Mark(_) = kind {
                self.marked_by_us = true;
                if let Desired::Offline(reason) = &self.desired {
                    self.marked_for = Some(reason.clone());
                }
                if self.mark_vanished() {
                    self.was_marked = false;
                    self.reassertions += 1;
                }
            }
        }
        self.last_number.0
    }

    /// Takes the answer to this request; `None` when it is not the one under way.
    pub(crate) fn answered(&mut self, request: RequestNumber) -> Option<RequestKind> {
        let (number, kind) = self.in_flight?;
        if number.0 != request {
            return None;
        }
        self.in_flight = None;
        Some(kind)
    }

    /// A read has brought the node.
    pub(crate) fn seen(&mut self, view: NodeView) {
        self.read_refusals = None;
        self.failures = 0;
        self.count_stray(&view);
        match &view.mark {
            None => self.marked_by_us = false,
            Some(mark) if mark.owner.is_ours() => self.marked_by_us = true,
            Some(_) => {}
        }
        // A mark of this run's has been set on a free node.
        if view.mark.as_ref().is_none_or(|mark| mark.owner == Owner::ThisRun) {
            self.lift_at_large = Span::ZERO;
        }
        self.view = Some(view);
        self.knowledge = Knowledge::Fresh;
    }

    /// The controller has accepted a write.
    pub(crate) fn accepted(&mut self) {
        self.write_refusals = None;
        self.write_failure = None;
        self.failures = 0;
    }

    /// What hinders us, as far as anything does.
    pub(crate) fn last_failure(&self) -> Option<Failure> {
        self.outage.clone().or_else(|| self.write_failure.clone())
    }

    /// The controller could not be reached when it was asked last.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.outage.as_ref().is_some_and(|failure| failure.kind == FailureKind::Unavailable)
    }

    /// This way of writing does not work here; true if there is another.
    pub(crate) fn unsupported(&mut self, kind: RequestKind) -> bool {
        // It has written nothing.
        self.writes = self.writes.saturating_sub(1);
        match kind {
            RequestKind::Lift(LiftMethod::Cli) => {
                self.cli_broken = true;
                self.policy.online_method == OnlineMethod::Auto
            }
            RequestKind::Mark(MarkMethod::ChangeCause) => {
                self.cause_missing = true;
                true
            }
            RequestKind::Read
            | RequestKind::Disconnect
            | RequestKind::Lift(LiftMethod::Toggle)
            | RequestKind::Mark(MarkMethod::Toggle) => false,
        }
    }

    /// Nobody can tell whether this write was or will be carried out.
    pub(crate) fn doubtful(&mut self, kind: RequestKind) {
        match kind {
            RequestKind::Lift(LiftMethod::Toggle) | RequestKind::Mark(MarkMethod::Toggle) => {
                self.doubt = DOUBTFUL_READS;
                if let RequestKind::Lift(_) = kind {
                    self.lift_at_large = self.policy.request_timeout;
                }
            }
            // A proxy that buffers requests starves the CLI; the toggle gets through.
            RequestKind::Lift(LiftMethod::Cli) => self.cli_broken = true,
            RequestKind::Read | RequestKind::Disconnect | RequestKind::Mark(MarkMethod::ChangeCause) => {}
        }
    }

    /// Counts a failure of a read or a write.
    pub(crate) fn failed(&mut self, kind: RequestKind, failure: &Failure) -> Verdict {
        self.knowledge = Knowledge::Stale;
        // The pause before the next attempt is the pause before the next write too.
        self.paused = true;
        if let RequestKind::Mark(_) = kind {
            self.marked_by_us =
                self.view.as_ref().and_then(|view| view.mark.as_ref()).is_some_and(|mark| mark.owner.is_ours());
        }
        let refusals = if kind == RequestKind::Read { &mut self.read_refusals } else { &mut self.write_refusals };
        if failure.kind == FailureKind::Unavailable {
            self.failures = (self.failures + 1).min(FAILURES_COUNTED);
        } else {
            self.failures = 1;
        }
        count_refusal(refusals, failure.kind)
    }

    /// The mark that is wanted was seen, and the last read shows it gone.
    pub(crate) fn mark_vanished(&self) -> bool {
        self.was_marked && !self.is_marked()
    }

    /// A mark that has vanished is set again.
    pub(crate) fn will_reassert(&self) -> bool {
        self.reassertions < self.reassertion_limit
    }

    /// The last thing that we know is that a channel is up.
    pub(crate) fn is_connected(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.connected == Some(true))
    }

    /// The last thing that we know is that the node carries a mark.
    pub(crate) fn is_marked(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.mark.is_some())
    }

    /// The pause before the next attempt at a write that has not done what it should.
    fn write_pause(&self) -> Span {
        Span(500 << self.writes.saturating_sub(UNPACED_WRITES))
    }
}
