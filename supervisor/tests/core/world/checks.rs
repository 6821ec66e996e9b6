//! The promise as invariants, looked at after every event. Each keeps its own books and believes nothing that the
//! supervisor says of itself, except which phase it is in and what it is about to do.

use agent_wrap_supervisor::{
    Action, AgentSignal, Desired, Effect, Ending, Event, Generation, Goal, IfRefused, LiftMethod, Mark, MarkMethod,
    Moment, Note, OfflinePolicy, OfflineReason, OnlinePolicy, Owner, Phase, Policy, RequestNumber, RestartMode, Span,
    TakeOver,
};

use super::World;
use super::agent::{Process, ProcessState};

#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// What the last successful read has shown, unless something was written since.
    known: Option<Option<Mark>>,
    in_flight: Option<RequestNumber>,
    /// When the errand that is to end the agent began, in time during which we were not suspended.
    errand_since: Option<(Goal, Span)>,
    /// `--offline-timeout` as it was then.
    errand_timeout: Span,
    stop_since: Option<Span>,
    marked_since_errand: bool,
    hurried: bool,
    /// The refusal that lets the agent start unmarked has been told.
    start_anyway: bool,
    /// Until when a look may show the channel of an agent before the first one: no read tells them apart, and an agent that
    /// is shut out ends before that.
    pub shadowed_until: Option<Span>,
    /// Reads of the first agent as connected and left alone.
    connected_looks: u32,
    /// How often the mark has changed.
    pub touches: u64,
    /// The same when the last successful read was carried out.
    pub seen_touches: u64,
    /// The toggle that lifts, while it is under way.
    lifting: Option<RequestNumber>,
    /// Until when one that was given up or lost may be carried out, unless the node was free since.
    lift_lost: Option<Span>,
    /// A mark of ours is behind a running agent since.
    stray_since: Option<Moment>,
    /// An agent that lives is not connected since.
    absent_since: Option<Moment>,
    /// Healthy reads have shown an agent that lives as not connected since; in time during which we were not suspended.
    seen_absent_since: Option<Span>,
    /// What the last read has told of the channel, unless something was written since.
    channel: Option<bool>,
    /// A read came since anything was written.
    channel_read: bool,
    /// Channels that were closed, or may have been.
    closed: u32,
    /// The request that closes one.
    pub closing: Option<RequestNumber>,
    /// Marks of other runs that were set behind an agent of ours.
    pub rival: u32,
    /// The agent that has ended by itself, unseen, and whose new jar may be rejected.
    pub jar: Option<Generation>,
    /// The last request that failed, or any other disturbance.
    pub disturbed: Moment,
}

/// So long a healthy controller and a quiet world need at the most, beyond the time between two looks and that for the
/// requests themselves: a look that may be under way, another one, a write, and the read after it.
const SETTLING: Span = Span::seconds(40);

impl Checks {
    pub fn read(
        &mut self,
        view_mark: Option<Mark>,
        connected: bool,
        world_policy: &Policy,
        first_agent: bool,
        active: Span,
    ) {
        if self.errand_since.is_some() && view_mark.is_some() {
            self.marked_since_errand = true;
        }
        if view_mark.as_ref().is_none_or(|mark| mark.owner == Owner::ThisRun) {
            self.lift_lost = None;
        }
        let shadowed = self.shadowed_until.is_some_and(|until| active < until);
        if first_agent && connected && !shadowed && !self.may_lift(view_mark.as_ref(), world_policy, true) {
            self.connected_looks += 1;
        }
        self.known = Some(view_mark);
    }

    /// A read has told this of the channel, or nothing.
    pub fn channel_seen(&mut self, connected: Option<bool>, active: Span) {
        self.channel = connected;
        self.channel_read = true;
        if connected == Some(false) {
            self.seen_absent_since.get_or_insert(active);
            self.shadowed_until = None;
        } else {
            self.seen_absent_since = None;
        }
    }

    /// The request that was to close a channel was certainly not carried out.
    pub fn not_closed(&mut self) {
        self.closed -= 1;
    }

    pub fn answered(&mut self, request: RequestNumber) {
        if self.in_flight == Some(request) {
            self.in_flight = None;
        }
    }

    /// A write has no answer, and will have none.
    pub fn lost(&mut self, request: RequestNumber, active: Span, policy: &Policy) {
        if self.lifting == Some(request) {
            let request_timeout = policy.node.as_ref().map_or(Span::ZERO, |node| node.request_timeout);
            self.lift_lost = Some(Span(active.0 + request_timeout.0));
        }
    }

    fn may_lift(&self, mark: Option<&Mark>, policy: &Policy, first_start: bool) -> bool {
        let (Some(mark), Some(node)) = (mark, &policy.node) else { return false };
        match mark.owner {
            Owner::ThisRun => true,
            Owner::EarlierRun => node.online != OnlinePolicy::Never,
            Owner::Monitor => false,
            Owner::Foreign => {
                first_start
                    && !node.unclean
                    && match node.online {
                        OnlinePolicy::Always => true,
                        OnlinePolicy::Match => mark.matches,
                        OnlinePolicy::Own | OnlinePolicy::Never => false,
                    }
            }
        }
    }
}

impl World {
    /// Looks at one action before it is performed.
    pub fn check_action(&mut self, action: &Action) {
        if self.ending.is_some() {
            self.violated(&format!("after Finish: {action:?}"));
        }
        match action {
            Action::Spawn { .. } => self.check_spawn(),
            Action::ReadNode { request, .. } => self.check_request(*request),
            Action::LiftMark { request, method, .. } => {
                self.check_request(*request);
                self.checks.lifting = (*method == LiftMethod::Toggle).then_some(*request);
                self.check_lift();
                self.checks.known = None;
            }
            Action::MarkOffline { request, method, reason, .. } => {
                self.check_request(*request);
                self.check_mark(*method, reason);
                self.checks.known = None;
            }
            Action::Disconnect { request, .. } => {
                self.check_request(*request);
                self.check_disconnect();
                self.checks.closing = Some(*request);
                self.checks.known = None;
                self.checks.channel = None;
                self.checks.channel_read = false;
            }
            Action::CancelRequest { request } => {
                self.checks.answered(*request);
                self.checks.lost(*request, self.active, &self.policy);
            }
            Action::SignalAgent { signal: AgentSignal::Terminate, .. } => self.check_terminate(),
            Action::SignalAgent { signal: AgentSignal::Kill, .. } => {
                if self.process.as_ref().is_some_and(|process| !process.termed) {
                    self.violated("KILL without TERM");
                }
            }
            Action::Tell(Note::StartedUnmarked(_)) => self.checks.start_anyway = true,
            Action::Tell(Note::RequestTaken { effect: Effect::Killed, .. }) => self.checks.hurried = true,
            Action::Reap { .. } => {
                if self.process.as_ref().is_none_or(|process| process.state != ProcessState::Dead) {
                    self.violated("Reap of an agent that has not ended");
                }
            }
            Action::RejectJar { generation } => {
                if self.checks.jar.take() != Some(*generation) {
                    self.violated(
                        "RejectJar, but no agent with a new jar has ended by itself before it was seen connected",
                    );
                }
            }
            Action::Finish(ending) => self.check_ending(&ending.clone()),
            Action::CancelSpawn { .. }
            | Action::SignalAgent { .. }
            | Action::SignalGroup { .. }
            | Action::StopSelf
            | Action::SignalLeftovers { .. }
            | Action::Remember(_)
            | Action::Tell(_) => {}
        }
    }

    fn check_disconnect(&mut self) {
        let evidence =
            self.policy.node.as_ref().is_some_and(|node| node.connected_before && node.takeover == TakeOver::Auto);
        if !evidence || self.generations > 0 || self.checks.stop_since.is_some() || self.checks.closed > 0 {
            self.violated("a channel is closed that need not be of the run before");
        }
        // One behind a mark that hides it may be there.
        if self.checks.channel == Some(false) || !self.checks.channel_read {
            self.violated("a channel is closed that no read has shown");
        }
        self.checks.closed += 1;
    }

    fn check_spawn(&mut self) {
        self.checks.seen_absent_since = None;
        self.checks.shadowed_until = (self.checks.channel == Some(true)).then_some(Span(u64::MAX));
        if self.process.is_some() {
            self.violated("Spawn while an agent is alive or unreaped");
        }
        if self.checks.stop_since.is_some() {
            self.violated("Spawn after a stop began");
        }
        let first = self.generations == 0;
        let grounded = matches!(
            self.core.status().desired,
            Some(Desired::Offline(OfflineReason::Landed | OfflineReason::Held(_)))
        );
        let Some(node) = self.policy.node.clone() else { return };
        let anyway = std::mem::take(&mut self.checks.start_anyway) && node.if_refused == IfRefused::Start;
        let allowed = match &self.checks.known {
            None => false,
            Some(None) => true,
            Some(mark) => !self.checks.may_lift(mark.as_ref(), &self.policy, first),
        };
        // Those that another wrapper sets again and again are left.
        let rival = self.checks.rival > 1;
        if !allowed && !grounded && !anyway && !rival {
            let known = self.checks.known.clone();
            self.violated(&format!("Spawn although the last read since the last write shows {known:?}"));
        }
    }

    fn check_request(&mut self, request: RequestNumber) {
        if let Some(other) = self.checks.in_flight {
            self.violated(&format!("request {} while {} is in flight", request.0, other.0));
        }
        self.checks.in_flight = Some(request);
    }

    fn check_lift(&mut self) {
        if self.checks.stop_since.is_some() {
            self.violated("LiftMark after a stop began");
        }
        let first = self.generations <= 1 && self.checks.connected_looks < 2;
        let Some(known) = self.checks.known.clone() else { return self.violated("LiftMark without a read before it") };
        if known.is_some() && !self.checks.may_lift(known.as_ref(), &self.policy, first) {
            self.violated(&format!("LiftMark beyond the policy: {known:?}"));
        }
        if known.is_none() {
            self.violated("LiftMark of a node that is free");
        }
    }

    fn check_mark(&mut self, method: MarkMethod, reason: &OfflineReason) {
        let held = matches!(reason, OfflineReason::Held(_));
        match &self.checks.known {
            None => self.violated("MarkOffline without a read before it"),
            Some(Some(mark)) if held && mark.owner.is_ours() && method == MarkMethod::ChangeCause => {}
            Some(Some(mark)) if mark.owner != Owner::ThisRun => self.violated("MarkOffline over another's mark"),
            Some(Some(_)) if method == MarkMethod::Toggle => self.violated("a toggle of our own mark, to set it"),
            Some(_) => {}
        }
    }

    fn marks_at_stop(&self) -> bool {
        self.policy.node.as_ref().is_some_and(|node| node.offline == OfflinePolicy::Always)
    }

    fn check_terminate(&mut self) {
        let Some((goal, since)) = self.checks.errand_since else { return };
        if goal == Goal::Replace {
            return self.check_replace();
        }
        let first = self.process.as_ref().is_some_and(|process| !process.termed);
        let waited = Span(self.active.0 - since.0) >= self.checks.errand_timeout;
        if first && self.marks_at_stop() && !self.checks.hurried && !self.checks.marked_since_errand && !waited {
            self.violated("TERM before the mark was read back or --offline-timeout was over");
        }
    }

    /// An agent is ended because it is not connected.
    fn check_replace(&mut self) {
        let timeout = self.policy.node.as_ref().map_or(Span::ZERO, |node| node.disconnect_timeout);
        let absent = self.checks.seen_absent_since.is_some_and(|since| Span(self.active.0 - since.0) >= timeout);
        if !absent || self.checks.stop_since.is_some() || self.policy.restart == RestartMode::No {
            self.violated("an agent is replaced that was not seen not connected for the disconnect timeout");
        }
    }

    fn check_ending(&mut self, ending: &Ending) {
        if let Some(process) = &self.process {
            // A fork that hangs for longer than the last seconds of a stop is left to the parent-death signal.
            let hangs = process.state == ProcessState::Spawning && process.plan.spawn_takes > Span(1000);
            let killed = process.killed && (process.plan.unkillable || process.plan.spawn_takes > Span(1500));
            if !hangs && !killed {
                let state = process.state;
                self.violated(&format!("Finish with an agent that is {state:?}"));
            }
        }
        let (Ending::Stopped { confirmed, .. } | Ending::AgentEnded { confirmed, .. }) = ending else { return };
        if !self.marks_at_stop() {
            return;
        }
        if *confirmed && self.controller.mark.is_none() && self.checks.touches == self.checks.seen_touches {
            self.violated("Finish says that the mark is confirmed, and the node is free");
        }
        // A toggle that was to lift the mark and got lost may be carried out when we are gone.
        let may_be_lifted = self.checks.lift_lost.is_some_and(|until| self.active <= until);
        let shown = matches!(self.checks.known, Some(Some(_))) && self.checks.marked_since_errand;
        if !*confirmed && shown && !may_be_lifted {
            self.violated("Finish says that the mark is not confirmed, and the last read has shown it");
        }
    }

    /// Looks which errand the supervisor is on now, before anything is made of it.
    pub fn check_errand(&mut self) {
        let goal = self.core.status().goal;
        match (goal, self.checks.errand_since) {
            (None, _) => self.checks.errand_since = None,
            (Some(goal), Some((earlier, _))) if goal == earlier => {}
            (Some(goal), _) => {
                self.checks.errand_since = Some((goal, self.active));
                self.checks.errand_timeout = self.policy.node.as_ref().map_or(Span::ZERO, |node| node.offline_timeout);
                self.checks.marked_since_errand = false;
            }
        }
    }

    /// A drain has another limit from now on, and with it a stop that is under way.
    pub fn clock_set(&mut self, left: Span) {
        self.policy.drain = left;
        if let Some(since) = &mut self.checks.stop_since {
            *since = self.active;
        }
        self.tell(Event::DrainBounded { left });
    }

    /// Looks at how things stand after one event.
    pub fn check_state(&mut self) {
        self.check_errand();
        let exits = matches!(self.core.status().goal, Some(Goal::Exit(_)));
        match self.checks.stop_since {
            None if exits => self.checks.stop_since = Some(self.active),
            Some(_) if !exits => self.violated("a stop was taken back"),
            Some(since) if self.ending.is_none() => {
                let bound = self.policy.longest_stop();
                if Span(self.active.0 - since.0) > bound {
                    self.violated(&format!("a stop takes longer than {} ms", bound.0));
                }
            }
            None | Some(_) => {}
        }
        if self.ending.is_none() && !self.suspended && self.core.next_deadline().is_none() && self.is_stuck() {
            self.violated("nothing is awaited and nothing is under way");
        }
        self.check_stray();
        self.check_absent();
    }

    /// Nothing will ever happen again by itself, in a phase in which something should.
    fn is_stuck(&self) -> bool {
        let status = self.core.status();
        let working = self.process.as_ref().is_some_and(|process| process.state != ProcessState::Dead);
        let standing = match status.phase {
            Phase::Running | Phase::Landed => self.policy.node.is_none(),
            Phase::Starting | Phase::Evicting | Phase::Killing => working,
            Phase::Enabling
            | Phase::BackingOff
            | Phase::Marking
            | Phase::Draining
            | Phase::Terminating
            | Phase::Sweeping
            | Phase::Closing
            | Phase::Finished => false,
        };
        status.in_flight.is_none() && !standing
    }

    fn check_stray(&mut self) {
        let Some(node) = self.policy.node.clone() else { return };
        let ours = self.controller.mark.as_ref().is_some_and(|mark| match mark.owner {
            Owner::ThisRun => true,
            Owner::EarlierRun => node.online != OnlinePolicy::Never && self.checks.rival <= 1,
            Owner::Monitor | Owner::Foreign => false,
        });
        let online = matches!(self.core.status().desired, Some(Desired::Online(_)));
        // A survivor that cannot be killed is no agent of this run.
        let runs = |process: &Process| process.state == ProcessState::Alive && !process.plan.remains;
        let running = self.generations > 0 && self.process.as_ref().is_some_and(runs);
        let healthy = self.is_healthy() && self.controller.refuses_writes.is_none();
        if !(ours && online && running && healthy && self.core.status().goal.is_none()) {
            self.checks.stray_since = None;
            return;
        }
        let since = *self.checks.stray_since.get_or_insert(self.now);
        let quiet = self.now.since(since.max(self.checks.disturbed));
        if quiet > node.disconnect_timeout.plus(Span(4 * node.request_timeout.0)).plus(SETTLING) {
            self.violated("a mark of ours stays behind a running agent");
        }
    }

    fn is_healthy(&self) -> bool {
        !self.controller.down && self.controller.refuses_reads.is_none() && !self.suspended
    }

    /// An agent that lives and is not connected does not stay.
    fn check_absent(&mut self) {
        let Some(node) = self.policy.node.clone() else { return };
        let status = self.core.status();
        let told = !(self.controller.hides_channel && self.controller.mark.is_some());
        let lives =
            self.process.as_ref().is_some_and(|process| process.state == ProcessState::Alive && !process.plan.remains);
        let watched = matches!(status.phase, Phase::Running | Phase::Landed) && self.policy.restart != RestartMode::No;
        if !(watched && lives && told && self.controller.channel.is_none() && self.is_healthy()) {
            self.checks.absent_since = None;
            return;
        }
        let since = *self.checks.absent_since.get_or_insert(self.now);
        let quiet = self.now.since(since.max(self.checks.disturbed));
        if quiet > Span(2 * node.disconnect_timeout.0 + 4 * node.request_timeout.0).plus(SETTLING) {
            self.violated("an agent that lives and is not connected is left so");
        }
    }
}
