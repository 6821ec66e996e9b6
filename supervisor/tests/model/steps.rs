//! What can happen next, and what becomes of it.

use agent_wrap_supervisor::{
    Action, Event, Exit, FailureKind, Goal, LeftoverSignal, Owner, Phase, Request, RestartMode, Span, SpawnFailure,
};

use super::agent::Life;
use super::controller::{Refusal, mark_of};
use super::network::{Stage, failure};
use super::state::{Keeper, World};

/// Writes that nobody waits for and that may still be carried out.
const LATE_WRITES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Time goes by until something is due.
    Elapse,
    /// What is due is handled.
    Fire,
    CarryOut(usize),
    Answer,
    /// The answer has not come in time.
    TimeOut,
    /// The connection breaks.
    Reset,
    /// The answer to a request that was closed is handed over all the same.
    Stale,
    Fork,
    SpawnFails(SpawnFailure),
    /// Instead of the fork, something is found that the agent before has left in the background.
    Remains,
    /// The controller does not give what the agent needs.
    Unprepared(FailureKind),
    /// The spawn that was given up has not happened.
    GivenUp,
    Connect,
    /// It loses its channel, and lives.
    Drops,
    /// The same for good.
    Hangs,
    /// An agent of this name connects that is none of ours.
    ElsewhereConnects,
    Ends(Exit),
    /// Ends while the controller goes on holding its channel.
    EndsUnnoticed,
    ChannelFreed,
    Counted(u32),
    Ask(Request),
    /// An operator's hold file appears.
    Hold,
    /// It is gone.
    Release,
    SetMark,
    ClearMark,
    GoDown,
    ComeUp,
    /// Every request is refused.
    Refuse(FailureKind),
    /// Every write is refused, and reads are answered.
    RefuseWrites(FailureKind),
    Accept,
    BuildBegins,
    BuildEnds,
    /// By the clock on the wall builds may be waited for so much longer.
    SetClock(Span),
    /// The controller offers another jar than the running agent's.
    OfferJar,
}

impl Step {
    /// Whether it is one of the disturbances that are counted. Time has its own price.
    fn disturbs(self, world: &World<impl Keeper>) -> bool {
        match self {
            Self::Reset
            | Self::SpawnFails(_)
            | Self::EndsUnnoticed
            | Self::Drops
            | Self::Hangs
            | Self::ElsewhereConnects
            | Self::Counted(1..)
            | Self::SetMark
            | Self::ClearMark
            | Self::GoDown
            | Self::Refuse(_)
            | Self::RefuseWrites(_)
            | Self::SetClock(_)
            | Self::BuildBegins
            | Self::OfferJar => true,
            Self::Ends(_) => !world.end_is_due(),
            Self::Unprepared(_) => !world.controller.down && world.controller.refuses.is_none(),
            Self::Elapse
            | Self::Fire
            | Self::CarryOut(_)
            | Self::Answer
            | Self::TimeOut
            | Self::Stale
            | Self::Fork
            | Self::GivenUp
            // The end that comes before it has been paid.
            | Self::Remains
            | Self::Connect
            | Self::ChannelFreed
            | Self::Counted(0)
            | Self::Ask(_)
            | Self::Hold
            | Self::Release
            | Self::ComeUp
            | Self::Accept
            | Self::BuildEnds => false,
        }
    }
}

impl<K: Keeper> World<K> {
    /// The agent's end would surprise nobody: it was asked to, lost its channel, or found another in its place.
    fn end_is_due(&self) -> bool {
        let held = self.controller.channel;
        self.running().is_some_and(|process| process.termed || process.killed || process.connected != held)
    }

    /// Whether somebody looks after an agent that lives and is not connected.
    pub fn is_watched(&self) -> bool {
        self.policy.0.node.is_some() && self.policy.0.restart != RestartMode::No
    }

    /// Whether our records say that the channel at the start may be ours.
    pub fn knows_of_old_channel(&self) -> bool {
        self.policy.0.node.as_ref().is_some_and(|node| node.connected_before)
    }

    /// Everything that can happen now, when an operator may ask for `asks`.
    pub fn steps(&self, asks: &[Request], steps: &mut Vec<Step>) {
        if self.ending.is_some() {
            return;
        }
        self.steps_of_time(steps);
        self.steps_of_network(steps);
        self.steps_of_driver(steps);
        self.steps_of_agent(steps);
        self.steps_of_others(steps);
        if self.disturbances == 0 {
            steps.retain(|step| !step.disturbs(self));
        }
        if self.requests > 0 {
            steps.extend(asks.iter().copied().map(Step::Ask));
            // Who only stops asks for nothing else.
            if asks.contains(&Request::Land) && self.policy.0.node.is_some() {
                steps.push(if self.held { Step::Release } else { Step::Hold });
            }
        }
    }

    fn steps_of_time(&self, steps: &mut Vec<Step>) {
        if self.keeper.next_deadline().is_some_and(|moment| moment <= self.now.0) {
            steps.push(Step::Fire);
        } else if self.until_due().is_some_and(|span| !span.is_zero()) && self.cost_of_time() <= self.disturbances {
            steps.push(Step::Elapse);
        }
    }

    fn steps_of_network(&self, steps: &mut Vec<Step>) {
        for (at, message) in self.network.iter().enumerate() {
            match (&message.stage, message.is_awaited()) {
                (Stage::Sent, _) => steps.push(Step::CarryOut(at)),
                (Stage::CarriedOut(_), true) => steps.push(Step::Answer),
                (Stage::CarriedOut(_), false) => {}
            }
            if message.is_due() {
                steps.push(Step::TimeOut);
            } else if message.is_awaited() && !(message.may_come_late() && self.late_writes() >= LATE_WRITES) {
                steps.push(Step::Reset);
            }
        }
    }

    fn steps_of_driver(&self, steps: &mut Vec<Step>) {
        if self.stale.is_some() {
            steps.push(Step::Stale);
        }
    }

    fn late_writes(&self) -> usize {
        self.network.iter().filter(|message| !message.is_awaited()).count()
    }

    fn steps_of_agent(&self, steps: &mut Vec<Step>) {
        if let Some(counting) = &self.counting {
            steps.push(Step::Counted(0));
            if counting.signal == LeftoverSignal::Count {
                steps.push(Step::Counted(1));
            }
        }
        let Some(process) = &self.process else {
            if self.controller.channel {
                steps.push(Step::ChannelFreed);
            } else if self.knows_of_old_channel() && self.book.generations == 0 && !self.controller.down {
                steps.push(Step::ElsewhereConnects);
            }
            return;
        };
        match process.life {
            Life::Spawning { given_up } => {
                steps.push(Step::Fork);
                if given_up {
                    steps.push(Step::GivenUp);
                }
                steps.push(Step::SpawnFails(SpawnFailure::Exhausted(11)));
                steps.push(Step::SpawnFails(SpawnFailure::NotFound));
                if self.book.generations > 1 {
                    steps.push(Step::Remains);
                }
                steps.push(Step::Unprepared(match self.controller.refuses {
                    Some(refusal) if !self.controller.down => refusal.kind,
                    _ => FailureKind::Unavailable,
                }));
            }
            Life::Alive => {
                if self.may_connect() {
                    steps.push(Step::Connect);
                }
                if process.killed {
                    steps.push(Step::Ends(Exit::Signal(9)));
                } else if process.termed {
                    steps.push(Step::Ends(Exit::Code(143)));
                } else {
                    steps.push(Step::Ends(Exit::Code(1)));
                    steps.push(Step::Ends(Exit::Code(0)));
                }
                if process.connected && self.controller.channel {
                    steps.push(Step::EndsUnnoticed);
                    steps.push(Step::Drops);
                    if self.is_watched() {
                        steps.push(Step::Hangs);
                    }
                }
            }
            Life::Ended => {}
        }
        if self.controller.channel && !process.connected {
            steps.push(Step::ChannelFreed);
        }
    }

    fn steps_of_others(&self, steps: &mut Vec<Step>) {
        let controller = &self.controller;
        if controller.builds {
            steps.push(Step::BuildEnds);
        }
        let drains =
            matches!(self.keeper.stage(), (Phase::Marking | Phase::Draining, Some(Goal::Exit(_) | Goal::Restart)));
        if self.by_clock.0 && drains {
            steps.extend([Span::ZERO, Span::seconds(5)].map(Step::SetClock));
        }
        if self.jar_to_come && self.running().is_some_and(|process| !process.is_remains) {
            steps.push(Step::OfferJar);
        }
        if controller.down {
            steps.push(Step::ComeUp);
            return;
        }
        steps.push(Step::GoDown);
        if controller.mark.as_ref().is_none_or(|mark| mark.owner != Owner::Foreign) {
            steps.push(Step::SetMark);
        }
        if controller.mark.is_some() {
            steps.push(Step::ClearMark);
        }
        if controller.refuses.is_some() {
            steps.push(Step::Accept);
        } else {
            steps.push(Step::Refuse(FailureKind::Unauthenticated));
            steps.push(Step::RefuseWrites(FailureKind::Forbidden));
        }
        if controller.channel && controller.mark.is_none() && !controller.builds {
            steps.push(Step::BuildBegins);
        }
    }

    /// Lets it happen and returns what the keeper does about it.
    pub fn take(&mut self, step: Step) -> Vec<Action> {
        if step.disturbs(self) {
            self.disturbances -= 1;
            self.book.hinder();
        }
        match step {
            Step::Elapse => {
                let cost = self.cost_of_time();
                if cost > 0 {
                    self.disturbances -= cost;
                    self.book.hinder();
                }
                let span = self.until_due().unwrap();
                self.elapse(span);
                self.check_state();
                Vec::new()
            }
            Step::Fire => self.fire(),
            Step::CarryOut(at) => {
                self.carry_out(at);
                Vec::new()
            }
            Step::Answer => {
                let message = self.network.remove(self.awaited().unwrap());
                self.check_answer(&message);
                self.tell(message.answer().unwrap())
            }
            Step::TimeOut | Step::Reset => {
                let message = self.network[self.awaited().unwrap()].clone();
                self.book.unanswered(&message);
                self.close(message.number.0);
                self.book.hinder();
                self.tell(message.unanswered())
            }
            Step::Stale => {
                let message = self.stale.take().unwrap();
                self.tell(message.answer().unwrap())
            }
            Step::Fork | Step::SpawnFails(_) | Step::GivenUp | Step::Remains | Step::Unprepared(_) => {
                self.spawn_ends(step)
            }
            Step::Connect => {
                self.process.as_mut().unwrap().connected = true;
                if self.controller.connect() {
                    self.touch();
                }
                Vec::new()
            }
            Step::Ends(exit) => {
                let process = self.process.as_mut().unwrap();
                if process.connected {
                    self.controller.disconnect();
                }
                self.ends(exit)
            }
            Step::Drops | Step::Hangs => {
                let process = self.process.as_mut().unwrap();
                process.connected = false;
                process.hung = step == Step::Hangs;
                self.controller.disconnect();
                Vec::new()
            }
            Step::ElsewhereConnects => {
                self.controller.connect();
                Vec::new()
            }
            Step::EndsUnnoticed => self.ends(Exit::Code(1)),
            Step::ChannelFreed => {
                self.controller.disconnect();
                Vec::new()
            }
            Step::Counted(alive) => {
                let generation = self.counting.take().unwrap().generation;
                self.tell(Event::LeftoversCounted { generation, alive })
            }
            Step::Ask(request) => {
                self.requests -= 1;
                self.book.asked();
                let begins = matches!(request, Request::Stop(_) | Request::StopNow | Request::Restart);
                let exits = matches!(self.keeper.stage().1, Some(Goal::Exit(_)));
                if self.by_clock.0 && begins && !exits {
                    self.bound_drain(Span::seconds(2));
                }
                if matches!(request, Request::Stop(_) | Request::StopNow) {
                    self.book.stop_asked(&self.policy.0);
                }
                self.tell(Event::Requested(request))
            }
            Step::Hold | Step::Release => {
                self.requests -= 1;
                self.held = step == Step::Hold;
                self.tell(Event::HoldChanged(self.held.then(|| "held".into())))
            }
            Step::SetMark | Step::ClearMark | Step::GoDown | Step::ComeUp => {
                self.interfere(step);
                Vec::new()
            }
            Step::Refuse(kind) => {
                self.controller.refuses = Some(Refusal { kind, writes_only: false });
                Vec::new()
            }
            Step::RefuseWrites(kind) => {
                self.controller.refuses = Some(Refusal { kind, writes_only: true });
                Vec::new()
            }
            Step::Accept => {
                self.controller.refuses = None;
                Vec::new()
            }
            Step::SetClock(left) => self.bound_drain(left),
            Step::OfferJar => {
                self.jar_to_come = false;
                let generation = self.process.as_ref().unwrap().generation;
                self.tell(Event::JarOffered { generation })
            }
            Step::BuildBegins | Step::BuildEnds => {
                self.controller.builds = step == Step::BuildBegins;
                Vec::new()
            }
        }
    }

    fn carry_out(&mut self, at: usize) {
        let message = &mut self.network[at];
        let before = self.controller.mark.clone();
        let reply = self.controller.carry_out(message.wish);
        let late = !message.is_awaited();
        if message.wish.is_read() {
            self.book.read_carried_out();
        }
        message.stage = Stage::CarriedOut(reply);
        if late {
            self.network.remove(at);
            self.book.hinder();
        }
        if self.controller.mark != before {
            self.touch();
        }
        if self.controller.down || self.controller.refuses.is_some() {
            self.book.hinder();
        }
    }

    fn spawn_ends(&mut self, step: Step) -> Vec<Action> {
        let generation = self.process.as_ref().unwrap().generation;
        let failure = match step {
            Step::SpawnFails(failure) => failure,
            Step::Remains => {
                let process = self.process.as_mut().unwrap();
                // It has no channel and will never have one.
                (process.life, process.is_remains) = (Life::Alive, true);
                process.late = std::mem::take(&mut process.slow);
                return self.tell(Event::RemainsFound { generation, processes: String::new() });
            }
            Step::Unprepared(kind) => {
                self.process = None;
                return self.tell(Event::AgentUnprepared { generation, failure: failure(kind) });
            }
            Step::GivenUp => SpawnFailure::Cancelled,
            _ => {
                let process = self.process.as_mut().unwrap();
                process.life = Life::Alive;
                process.late = std::mem::take(&mut process.slow);
                let new_jar = self.new_jar;
                self.book.forked(new_jar);
                return self.tell(Event::AgentSpawned { generation, pid: 100, new_jar });
            }
        };
        self.process = None;
        self.tell(Event::SpawnFailed { generation, failure })
    }

    fn ends(&mut self, exit: Exit) -> Vec<Action> {
        let process = self.process.as_mut().unwrap();
        self.book.ended(process.termed || process.killed);
        process.life = Life::Ended;
        process.connected = false;
        let generation = process.generation;
        self.tell(Event::AgentExited { generation, exit })
    }

    fn interfere(&mut self, step: Step) {
        let touched = match step {
            Step::SetMark => {
                self.controller.set(Some(mark_of(Owner::Foreign)));
                true
            }
            Step::ClearMark => {
                self.controller.set(None);
                true
            }
            Step::ComeUp => self.controller.come_up(),
            _ => {
                self.controller.go_down();
                // What had not been carried out by then never will be.
                self.network.retain(super::network::Message::is_awaited);
                false
            }
        };
        if touched {
            self.touch();
        }
    }

    /// The mark has changed.
    fn touch(&mut self) {
        self.book.touch();
    }
}
