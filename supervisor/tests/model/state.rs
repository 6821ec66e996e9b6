//! One state of the world: the keeper of the node, the controller, the network between them, the agent, and the books
//! of the properties.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use agent_wrap_supervisor::{
    Action, AgentSignal, Desired, Ending, Event, Generation, Goal, LeftoverSignal, Moment, Note, Phase, Policy,
    RequestNumber, Span, Supervisor,
};

use super::agent::{Life, Process};
use super::book::Book;
use super::controller::{Controller, Wish};
use super::network::Message;

/// What identifies or dates something and is no part of the state: all that differs only in it is the same state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aside<T>(pub T);

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Aside<T> {}

impl<T> Hash for Aside<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Whoever keeps the node and the agent: the shipped core, or a protocol that is compared with it.
pub trait Keeper: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    fn handle(&mut self, now: Moment, event: Event);
    fn handle_deadline(&mut self, now: Moment);
    fn next_deadline(&self) -> Option<Moment>;
    fn poll_action(&mut self) -> Option<Action>;
    /// The phase and the errand under way.
    fn stage(&self) -> (Phase, Option<Goal>);
    /// Whether it wants the node free of the mark.
    fn wants_online(&self) -> bool;
}

impl Keeper for Supervisor {
    fn handle(&mut self, now: Moment, event: Event) {
        self.handle(now, event);
    }

    fn handle_deadline(&mut self, now: Moment) {
        self.handle_deadline(now);
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.next_deadline().map(|(moment, _)| moment)
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.poll_action()
    }

    fn stage(&self) -> (Phase, Option<Goal>) {
        let status = self.status();
        (status.phase, status.goal)
    }

    fn wants_online(&self) -> bool {
        matches!(self.status().desired, Some(Desired::Online(_)))
    }
}

/// The count of what the agent left behind, asked for and not answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Counting {
    pub generation: Generation,
    pub signal: LeftoverSignal,
    pub slow: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World<K> {
    pub keeper: K,
    pub now: Aside<Moment>,
    /// How much of the time that has gone by the keeper has not been told yet.
    pub untold: Span,
    pub policy: Aside<Arc<Policy>>,
    /// How long a drain may take goes by a clock that the keeper does not have.
    pub by_clock: Aside<bool>,
    pub controller: Controller,
    pub network: Vec<Message>,
    pub process: Option<Process>,
    pub counting: Option<Counting>,
    /// Agents are started with a jar that has replaced another one, which was not put back yet.
    pub new_jar: bool,
    /// The controller is going to offer another jar.
    pub jar_to_come: bool,
    /// The answer to a request that was closed in the moment in which it came: the driver may still hand it over.
    pub stale: Option<Message>,
    pub ending: Option<Ending>,
    /// An operator's hold file is there.
    pub held: bool,
    /// How often an operator may still ask for something.
    pub requests: u8,
    pub disturbances: u8,
    pub book: Book,
}

impl<K: Keeper> World<K> {
    /// Hands over one event and performs all that follows from it, which is returned.
    pub fn tell(&mut self, event: Event) -> Vec<Action> {
        self.keeper.handle(self.now.0, event);
        self.untold = Span::ZERO;
        self.perform_all()
    }

    /// Says how long builds may be waited for, from now on.
    pub fn bound_drain(&mut self, left: Span) -> Vec<Action> {
        self.policy = Aside(Arc::new(Policy { drain: left, ..(*self.policy.0).clone() }));
        self.book.drain_bounded(&self.policy.0);
        self.tell(Event::DrainBounded { left })
    }

    pub fn fire(&mut self) -> Vec<Action> {
        self.keeper.handle_deadline(self.now.0);
        self.untold = Span::ZERO;
        self.perform_all()
    }

    pub fn perform_all(&mut self) -> Vec<Action> {
        let mut performed = Vec::new();
        self.check_errand();
        while let Some(action) = self.keeper.poll_action() {
            self.check_action(&action);
            self.perform(&action);
            performed.push(action);
        }
        self.check_state();
        performed
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Spawn { generation } => self.process = Some(Process::spawning(*generation)),
            Action::CancelSpawn { generation } => {
                if let Some(process) = self.process.as_mut().filter(|process| process.generation == *generation)
                    && let Life::Spawning { given_up } = &mut process.life
                {
                    *given_up = true;
                }
            }
            Action::SignalAgent { generation, signal } => {
                if let Some(process) = self.process.as_mut().filter(|process| process.generation == *generation) {
                    match signal {
                        AgentSignal::Terminate => process.termed = true,
                        AgentSignal::Kill => process.killed = true,
                        AgentSignal::Forward(_) => {}
                    }
                }
            }
            Action::Reap { .. } => self.process = None,
            Action::SignalLeftovers { generation, signal } => {
                self.counting = Some(Counting { generation: *generation, signal: *signal, slow: false });
            }
            Action::ReadNode { request, within } => self.send(*request, Wish::Read, *within),
            Action::LiftMark { request, method, within } => self.send(*request, Wish::Lift(*method), *within),
            Action::MarkOffline { request, method, within, .. } => self.send(*request, Wish::Mark(*method), *within),
            Action::Disconnect { request, within } => self.send(*request, Wish::Disconnect, *within),
            Action::CancelRequest { request } => self.close(*request),
            Action::RejectJar { .. } => self.new_jar = false,
            Action::Tell(Note::AgentConnected { .. }) => {
                self.new_jar = false;
                self.book.connected();
            }
            Action::Finish(ending) => self.ending = Some(ending.clone()),
            Action::SignalGroup { .. } | Action::StopSelf | Action::Remember(_) | Action::Tell(_) => {}
        }
    }

    fn send(&mut self, request: RequestNumber, wish: Wish, within: Span) {
        self.network.push(Message::new(request, wish, within));
    }

    /// Nobody waits for this request any more.
    pub fn close(&mut self, request: RequestNumber) {
        if let Some(at) = self.network.iter().position(|message| message.is_awaited() && message.number.0 == request) {
            self.stale = self.network[at].answer().map(|_| self.network[at].clone());
            if self.network[at].may_come_late() {
                self.network[at].left = None;
                self.network[at].slow = true;
            } else {
                self.network.remove(at);
            }
        }
    }

    pub fn awaited(&self) -> Option<usize> {
        self.network.iter().position(Message::is_awaited)
    }

    /// The agent's process, if it runs.
    pub fn running(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| process.is_alive())
    }

    pub fn may_connect(&self) -> bool {
        self.running().is_some_and(|process| !process.connected && !process.is_remains && !process.hung)
            && !self.controller.channel
            && !self.controller.down
    }

    /// The time until something is due; `None` when nothing ever will be.
    pub fn until_due(&self) -> Option<Span> {
        let deadline = self.keeper.next_deadline().map(|moment| moment.since(self.now.0));
        let answer = self.awaited().and_then(|at| self.network[at].left);
        deadline.into_iter().chain(answer).min()
    }

    pub fn elapse(&mut self, span: Span) {
        self.now.0 = self.now.0 + span;
        self.untold = span;
        // It waits in a queue of the driver's, which is empty before any time goes by.
        self.stale = None;
        for message in &mut self.network {
            if let Some(left) = &mut message.left {
                *left = left.less(span);
                message.slow = true;
            }
        }
        let may_connect = self.may_connect();
        if let Some(process) = &mut self.process {
            match process.life {
                Life::Alive if process.killed => process.unkillable = true,
                Life::Alive if process.termed => process.slow = true,
                Life::Alive => process.dawdling |= may_connect,
                Life::Spawning { .. } => process.slow = true,
                Life::Ended => {}
            }
        }
        if let Some(counting) = &mut self.counting {
            counting.slow = true;
        }
        let agent_runs = self.running().is_some();
        let timeout = self.policy.0.node.as_ref().map_or(Span::ZERO, |node| node.disconnect_timeout);
        self.book.elapse(span, agent_runs, timeout);
        // What is not due yet may be told of the time: it makes no difference but to how many states look different.
        if self.keeper.next_deadline().is_none_or(|moment| moment > self.now.0) {
            self.fire();
        }
    }

    /// What it costs to let time go by: one disturbance for everything that ought to have happened by then.
    pub fn cost_of_time(&self) -> u8 {
        let requests = self.network.iter().filter(|message| message.is_awaited() && !message.slow).count();
        let process = self.process.as_ref().is_some_and(|process| match process.life {
            Life::Alive if process.killed => !process.unkillable,
            Life::Alive if process.termed => !process.slow,
            Life::Alive => !process.dawdling && self.may_connect(),
            Life::Spawning { .. } => !process.slow,
            Life::Ended => false,
        });
        let counting = self.counting.as_ref().is_some_and(|counting| !counting.slow);
        u8::try_from(requests).unwrap() + u8::from(process) + u8::from(counting)
    }
}
