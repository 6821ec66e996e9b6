//! The promise as invariants, looked at by the partners. They believe nothing that the supervisor says of itself.

use agent_wrap_supervisor::{
    AgentSignal, Ending, FailureKind, Generation, IfRefused, LiftMethod, Mark, MarkMethod, Memory, Moment, NodePolicy,
    OfflinePolicy, OnlinePolicy, Owner, Span, TakeOver,
};
use nix::libc;

use super::agent::ProcessState;
use super::controller::Wish;
use super::partners::{Lack, Prepared, asks_for_stop, no_secret};
use super::process::identity;
use super::settings::Reloads;
use super::world::{Preparation, RELOAD, RESTART, World};
use crate::state::Record;

/// Every deadline is heard of up to a millisecond late, and a stop has some of them one after another.
const ROUNDING: Span = Span(50);

#[derive(Default)]
pub struct Books {
    /// Time is paused: it goes by only while nobody has anything to do.
    pub paused: bool,
    /// Facts and answers that are on their way, since when.
    pub facts: Vec<Moment>,
    pub answers: Vec<Moment>,
    /// The end of an agent that was asked to has not been acted on, since when.
    pub end_unhandled: Option<Moment>,
    pub in_flight: Option<u64>,
    pub group_stopped: bool,
    /// How often the mark has changed, and how often it had when the last read was carried out.
    pub touches: u64,
    seen_touches: u64,
    /// What the last read has shown, unless something was written since.
    known: Option<Option<Mark>>,
    /// The toggle that lifts, while it is under way.
    lifting: Option<u64>,
    /// Until when one without an answer may be carried out, unless the node was free since.
    lift_at_large: Option<Moment>,
    /// The last answer was to a read, and told of the node.
    pub fresh: bool,
    /// The last request was refused.
    pub refused: bool,
    /// Somebody has asked for the agent's end: when, and which requests were made before.
    errand: Option<(Moment, u64)>,
    marked_since: bool,
    stop: Option<Moment>,
    interrupts: u32,
    landing: bool,
    /// The hold file was there, at any time.
    held: bool,
    /// It has changed and was not looked at since then.
    hold_unseen: Option<Moment>,
    /// The agent was ended because it is not connected.
    pub replaces: bool,
    /// Since when all reads have called the agent not connected.
    absent: Option<Moment>,
    /// An agent has been asked for.
    asked_for: bool,
    /// An agent has been wanted before.
    wanted: bool,
    /// What the agent has left behind is being counted.
    pub sweeping: bool,
    /// The clock has jumped since the stop.
    jumps: Span,
    record: Option<Record>,
    pub reloads: Reloads,
    /// The controller has refused what an agent needs, in this way and so often in a row, since when.
    refusing: Option<(FailureKind, u32, Moment)>,
    /// When each agent got its TERM, in milliseconds.
    pub terms: Vec<u64>,
}

impl Books {
    /// The state file as it was taken over.
    pub fn begin(&mut self, record: Record) {
        self.record = Some(record);
        self.paused = true;
    }

    pub fn read(&mut self, id: u64, mark: Option<Mark>, touches: u64) {
        self.refused = false;
        self.seen_touches = touches;
        if mark.is_some() && self.errand.is_some_and(|(_, before)| id > before) {
            self.marked_since = true;
        }
        if mark.as_ref().is_none_or(|mark| mark.owner == Owner::ThisRun) {
            self.lift_at_large = None;
        }
        self.known = Some(mark);
    }

    /// The hold file has changed.
    pub fn hold_made(&mut self, now: Moment) {
        self.hold_unseen.get_or_insert(now);
    }

    /// A look at it begins.
    pub fn hold_looked_at(&mut self) {
        self.hold_unseen = None;
    }

    /// It has been looked at.
    pub fn hold_is_seen(&mut self, now: Moment, there: bool) {
        self.held |= there;
        // What has changed meanwhile is to be looked at from now on.
        if let Some(since) = &mut self.hold_unseen {
            *since = now;
        }
    }

    /// A read has told this of the channel, or nothing.
    pub fn channel_seen(&mut self, now: Moment, connected: Option<bool>) {
        if connected == Some(false) {
            self.absent.get_or_insert(now);
        } else {
            self.absent = None;
        }
    }

    /// Since when a stop has been asked for.
    pub fn stopping_since(&self) -> Option<Moment> {
        self.stop
    }

    /// What was made ready for an agent, or what it lacks.
    pub fn lacks(&mut self, now: Moment, lack: Option<Lack>) {
        match (lack, &mut self.refusing) {
            (Some(Lack::Jar), _) => {}
            (None | Some(Lack::Secret(FailureKind::Unavailable)), row) => *row = None,
            (Some(Lack::Secret(kind)), Some((same, times, _))) if *same == kind => *times += 1,
            (Some(Lack::Secret(kind)), row) => *row = Some((kind, 1, now)),
        }
    }

    pub fn jumped(&mut self, now: Moment, span: Span) {
        self.reloads.jumped(now);
        self.jumps = self.jumps.plus(span);
        for waiting in
            self.facts.iter_mut().chain(&mut self.answers).chain(&mut self.end_unhandled).chain(&mut self.hold_unseen)
        {
            *waiting = now;
        }
    }
}

impl World {
    /// The driver waits: time may go by now, and only now.
    pub fn check_nothing_waits(&mut self) {
        let now = self.now();
        // Facts are looked at before signals, so that none is left; answers after them, so that they are taken now.
        for since in std::mem::take(&mut self.books.facts) {
            if since != now && self.books.paused {
                self.violated("a fact was not looked at when it came");
            }
        }
        for since in std::mem::take(&mut self.books.answers) {
            if since != now && self.books.paused {
                self.violated("an answer was not looked at when it came");
            }
        }
        // A look that is under way is followed by another one.
        if self.books.hold_unseen.take_if(|since| *since != now && !self.looking).is_some() && self.books.paused {
            self.violated("the hold file has changed, and nobody has looked");
        }
        if let Some(unhandled) = self.books.reloads.unhandled(now).filter(|_| self.books.paused) {
            self.violated(unhandled);
        }
    }

    /// The driver gets a signal that came then.
    pub fn delivered(&mut self, signal: i32, since: Moment) {
        let now = self.now();
        if since != now && self.books.paused {
            self.violated("a signal was not looked at when it came");
        }
        let requests = self.requests;
        if asks_for_stop(signal) {
            self.books.interrupts += u32::from(signal == libc::SIGINT);
            if self.books.stop.is_none() {
                self.books.stop = Some(now);
                self.books.jumps = Span::ZERO;
                self.books.errand = Some((now, requests));
                self.books.marked_since = false;
            }
        } else if signal == RESTART && self.books.errand.is_none() {
            self.books.errand = Some((now, requests));
        } else if signal == libc::SIGUSR1 {
            self.books.landing = true;
        } else if signal == RELOAD {
            self.books.reloads.asked(now);
        }
        self.note(&format!("signal {signal}"));
    }

    /// It has been looked whether there is another jar, for the sake of which the agent may be started anew.
    pub fn offered(&mut self, another: bool) {
        let now = self.now();
        self.books.answers.push(now);
        if another && self.books.errand.is_none() {
            self.books.errand = Some((now, self.requests));
        }
    }

    fn may_lift(&self, mark: &Mark, first: bool) -> bool {
        let Some(node) = &self.policy.node else { return false };
        match mark.owner {
            Owner::ThisRun => true,
            Owner::EarlierRun => node.online != OnlinePolicy::Never,
            Owner::Monitor => false,
            Owner::Foreign => {
                first
                    && !node.unclean
                    && match node.online {
                        OnlinePolicy::Always => true,
                        OnlinePolicy::Match => mark.matches,
                        OnlinePolicy::Own | OnlinePolicy::Never => false,
                    }
            }
        }
    }

    /// An agent is wanted.
    pub fn check_spawn(&mut self, controller: bool) {
        if self.process.is_some() {
            self.violated("an agent is wanted while there is one");
        }
        if self.preparing > 0 {
            self.violated("an agent is prepared twice");
        }
        if self.books.stop.is_some() {
            self.violated("an agent is wanted after a stop");
        }
        if self.books.record.as_ref().is_none_or(|record| record.memory.stopped) {
            self.violated("an agent is wanted, and the state file calls the run over");
        }
        self.books.asked_for = true;
        // Another agent, another errand.
        self.books.replaces = false;
        self.books.errand = None;
        self.books.marked_since = false;
        let Some(node) = self.policy.node.clone().filter(|_| controller) else { return };
        let first = !std::mem::replace(&mut self.books.wanted, true);
        let allowed = match &self.books.known {
            Some(None) => true,
            Some(Some(mark)) => self.books.landing || self.books.held || !self.may_lift(mark, first),
            None => false,
        };
        let anyway = self.books.refused && node.if_refused == IfRefused::Start;
        if !allowed && !anyway {
            let known = self.books.known.clone();
            self.violated(&format!("an agent is wanted although the last read since the last write shows {known:?}"));
        }
    }

    pub fn next_preparation(&mut self) -> Preparation {
        if let Some(preparation) = self.preparations.pop_front() {
            return preparation;
        }
        let Some(chaos) = &mut self.chaos else { return Preparation::default() };
        let random = &mut chaos.random;
        let pauses = random.below(5);
        let pauses = (0..pauses).map(|_| if random.percent(50) { Span::ZERO } else { random.span(Span::seconds(20)) });
        let pauses = pauses.collect();
        let refusal = random.pick(&[FailureKind::Unavailable, FailureKind::Unauthenticated, FailureKind::Forbidden]);
        let lack = random.pick(&[Lack::Jar, Lack::Secret(FailureKind::Unavailable), Lack::Secret(refusal)]);
        let lack = random.percent(chaos.bad_agents / 2).then_some(lack);
        Preparation { pauses, lacks: self.refuses_secrets.map(Lack::Secret).or(lack) }
    }

    pub fn check_fork(&mut self, generation: Generation, _: &Prepared) {
        if self.process.is_some() {
            self.violated("a fork while an agent is alive or unreaped");
        }
        if self.books.stop.is_some() {
            self.violated("a fork after a stop");
        }
        if self.prepared != 1 || self.preparing != 0 {
            self.violated("a fork with more than what was prepared for it");
        }
        if generation.0 <= self.generations {
            self.violated("a fork for an agent that was");
        }
        self.generations = generation.0;
        self.books.sweeping = false;
    }

    /// A request is over, without an answer unless [`lift_answered`](Self::lift_answered) came before.
    pub fn request_over(&mut self, id: u64) {
        self.books.in_flight = None;
        if self.books.lifting.take_if(|lifting| *lifting == id).is_some() {
            let timeout = self.policy.node.as_ref().map_or(Span::ZERO, |node| node.request_timeout);
            self.books.lift_at_large = Some(self.now() + timeout + ROUNDING);
        }
    }

    /// A request was answered.
    pub fn lift_answered(&mut self, id: u64) {
        self.books.lifting.take_if(|lifting| *lifting == id);
    }

    pub fn check_request(&mut self, id: u64, wish: &Wish) {
        if let Some(other) = self.books.in_flight.replace(id) {
            self.violated(&format!("request {id} while {other} is in flight"));
        }
        let known = if matches!(wish, Wish::Read) { return } else { self.books.known.take() };
        self.books.lifting = matches!(wish, Wish::Lift(LiftMethod::Toggle)).then_some(id);
        match (wish, known) {
            (Wish::Read, _) => {}
            (_, None) => self.violated("a write without a read before it"),
            (Wish::Lift(_), Some(None)) => self.violated("the mark of a free node is lifted"),
            (Wish::Lift(_), Some(Some(_))) => {
                // One that was on its way when the stop came is waited for.
                if self.books.stop.is_some_and(|stop| stop < self.now()) {
                    self.violated("a mark is lifted after a stop");
                }
            }
            (Wish::Disconnect, Some(_)) => self.check_disconnect(),
            // A hold file's text is wanted on what an earlier run has marked, too.
            (Wish::Mark(MarkMethod::ChangeCause), Some(Some(mark))) if self.books.held && mark.owner.is_ours() => {}
            (Wish::Mark(_), Some(Some(mark))) if mark.owner != Owner::ThisRun => {
                self.violated("a mark is set over that of somebody else");
            }
            (Wish::Mark(MarkMethod::Toggle), Some(Some(_))) => {
                self.violated("a toggle of our own mark, to set it");
            }
            (Wish::Mark(_), Some(_)) => {}
        }
    }

    /// A channel is closed: only by our own records, before the first start.
    fn check_disconnect(&mut self) {
        let ours = |node: &NodePolicy| node.connected_before && node.takeover == TakeOver::Auto;
        if !self.policy.node.as_ref().is_some_and(ours) || self.generations > 0 || self.books.stop.is_some() {
            self.violated("a channel is closed that need not be of the run before");
        }
    }

    /// Before a mark of ours is on the node the state file says so.
    pub fn check_carried_out(&mut self, wish: &Wish) {
        let ours = self.controller.mark.as_ref().is_some_and(|mark| mark.owner == Owner::ThisRun);
        if ours && matches!(wish, Wish::Mark(_)) && !self.memory().marked {
            self.violated("a mark of ours is on the node, and the state file does not say so");
        }
    }

    fn memory(&self) -> Memory {
        self.books.record.as_ref().map(|record| record.memory).unwrap_or_default()
    }

    pub fn check_signal(&mut self, generation: Generation, signal: AgentSignal) {
        let Some(process) = self.process.as_ref().filter(|process| process.generation == generation) else {
            return self.violated("a signal for an agent that is not there");
        };
        let (termed, first) = (process.termed, !process.termed && generation > Generation(0));
        match signal {
            AgentSignal::Kill if !termed => self.violated("KILL without TERM"),
            AgentSignal::Terminate if first => {
                self.books.terms.push(self.clock.now().0);
                self.check_terminate();
            }
            AgentSignal::Kill | AgentSignal::Terminate | AgentSignal::Forward(_) => {}
        }
    }

    fn check_terminate(&mut self) {
        let Some((since, _)) = self.books.errand else { return self.check_replace() };
        let Some(node) = &self.policy.node else { return };
        let hurried = self.policy.terminal && self.books.interrupts >= 3;
        let waited = self.now().since(since) >= node.offline_timeout;
        if node.offline == OfflinePolicy::Always && !self.books.marked_since && !waited && !hurried {
            self.violated("TERM before the mark was read back or --offline-timeout was over");
        }
    }

    /// TERM, and nobody has asked for it: the agent was not connected for long enough.
    fn check_replace(&mut self) {
        let now = self.now();
        let timeout = self.policy.node.as_ref().map_or(Span::ZERO, |node| node.disconnect_timeout);
        if self.books.absent.is_none_or(|since| now.since(since) < timeout) {
            self.violated("TERM, and nobody has asked for it");
        }
        self.books.replaces = true;
    }

    /// What follows from the end of an agent that was asked to comes at once.
    pub fn check_end_is_handled(&mut self) {
        let now = self.now();
        if self.books.end_unhandled.take().is_some_and(|since| since != now) && self.books.paused {
            self.violated("the agent's end was not acted on when it came");
        }
    }

    pub fn check_reap(&mut self, generation: Generation) {
        let dead = self
            .process
            .as_ref()
            .is_some_and(|process| process.generation == generation && process.state == ProcessState::Dead);
        if !dead {
            self.violated("what is reaped has not ended");
        }
    }

    /// What the next run would find.
    pub fn check_record(&mut self, record: &Record) {
        let process = self.process.as_ref().map(|process| (process.generation, process.state));
        let right = match (&record.agent, process) {
            // Forked and not yet told, or never there.
            (None, None | Some((_, ProcessState::Spawning))) => true,
            // It has just been told, or has ended before that was.
            (None, Some(_)) => self.books.record.as_ref().is_none_or(|record| record.agent.is_none()),
            (Some(agent), Some((generation, _))) => *agent == identity(generation),
            (Some(_), None) => false,
        };
        if !right {
            self.violated(&format!("the state file names {:?}, and there is {process:?}", record.agent));
        }
        if record.run != "r" {
            self.violated("the state file names another run");
        }
        self.books.record = Some(record.clone());
    }

    pub fn check_ending(&mut self, ending: &Ending) {
        let now = self.now();
        if let Some(process) = &self.process {
            // A fork that hangs for longer than the last seconds of a stop is left to the parent-death signal.
            let slow = process.plan.spawn_takes.plus(self.books.jumps) > Span(1500);
            let (hangs, stays) = (process.state == ProcessState::Spawning && slow, process.plan.unkillable || slow);
            let unkillable = process.killed && stays;
            if !hangs && !unkillable {
                let state = process.state;
                self.violated(&format!("the end, with an agent that is {state:?}"));
            }
        }
        if let Some(stop) = self.books.stop {
            let took = now.since(stop).less(self.books.jumps);
            if took > self.policy.longest_stop().plus(ROUNDING) {
                self.violated(&format!("a stop took {} ms", took.0));
            }
        }
        if self.books.group_stopped && self.process.is_some() {
            self.violated("the end, with a group that is stopped");
        }
        let ours = !matches!(ending, Ending::Unreachable(_) | Ending::Refused(_));
        // A run that never came to start its agent says nothing of the one before.
        if ours && self.books.asked_for && !self.memory().stopped {
            self.violated("the end, and the state file does not say so");
        }
        if let (Some(record), None) = (&self.books.record, &self.process)
            && record.agent.is_some()
        {
            self.violated("the end, and the state file names an agent");
        }
        self.check_refused(ending);
        let (Ending::Stopped { confirmed, .. } | Ending::AgentEnded { confirmed, .. }) = ending else { return };
        let marks = self.policy.node.as_ref().is_some_and(|node| node.offline == OfflinePolicy::Always);
        let unseen = self.books.touches != self.books.seen_touches;
        if marks && *confirmed && self.controller.mark.is_none() && !unseen {
            self.violated("the end says that the mark is confirmed, and the node is free");
        }
        // An answer that comes together with the agent's end may be thrown away; then there is a last look.
        let known = self.books.fresh && matches!(self.books.known, Some(Some(_)));
        // A toggle without an answer that was to lift the mark may yet do so.
        let may_be_lifted = self.books.lift_at_large.is_some_and(|until| self.now() <= until);
        let seen = known && self.books.marked_since && !unseen && !may_be_lifted;
        if marks && !*confirmed && seen && matches!(ending, Ending::Stopped { .. }) {
            self.violated("the end says that the mark is not confirmed, and the last read has shown it");
        }
    }
    /// It ends for the refusals of what an agent needs only when they last and nobody wants a start all the same.
    fn check_refused(&mut self, ending: &Ending) {
        let Ending::Refused(failure) = ending else { return };
        if *failure != no_secret(failure.kind) {
            return;
        }
        let lasts = |(kind, times, since): (FailureKind, u32, Moment)| {
            kind == failure.kind && times >= 3 && self.now().since(since) >= Span::seconds(5)
        };
        let exits = self.policy.node.as_ref().is_some_and(|node| node.if_refused == IfRefused::Exit);
        if !exits || !self.books.refusing.is_some_and(lasts) {
            let refusing = self.books.refusing;
            self.violated(&format!("the end for refusals, and there were {refusing:?}"));
        }
    }
}
