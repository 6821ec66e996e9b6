//! The agent as the operating system has it, and what the driver does to it.

use std::io;

use agent_wrap_supervisor::{AgentSignal, Event, Exit, Generation, LeftoverSignal, Span, SpawnFailure};
use nix::libc;

use super::agent::{AgentPlan, Process, ProcessState};
use super::partners::Prepared;
use super::world::{Shared, World};
use crate::driver::Agents;
use crate::process::{AgentIdentity, Suspension};

pub struct Machine(pub Shared);

/// A pid that shows the generation.
pub fn identity(generation: Generation) -> AgentIdentity {
    AgentIdentity {
        pid: 100 + generation.0,
        start_time: u64::from(generation.0),
        boot_id: "this one".to_owned(),
        session: 0,
    }
}

impl Agents<Prepared> for Machine {
    fn spawn(&mut self, generation: Generation, launched: &Prepared) {
        let mut world = self.0.lock();
        if world.sheet.agent_writes {
            world.check_sheet_is_empty("an agent");
        }
        world.point(format_args!("FORK {}", generation.0));
        world.check_fork(generation, launched);
        let plan = world.next_plan();
        let takes = plan.spawn_takes;
        let state = ProcessState::Spawning;
        world.process = Some(Process { generation, state, plan, termed: false, killed: false });
        world.soon(takes, move |world| world.spawned(generation));
        world.point(format_args!("forked"));
    }

    fn left_behind(&mut self) -> Option<String> {
        self.0.lock().point(format_args!("what is left?"));
        None
    }

    fn identity(&self, generation: Generation) -> Option<AgentIdentity> {
        let mut world = self.0.lock();
        world.point(format_args!("who is {}?", generation.0));
        world.process.as_ref().filter(|process| process.generation == generation).map(|_| identity(generation))
    }

    fn signal_agent(&mut self, generation: Generation, signal: AgentSignal) -> io::Result<()> {
        let mut world = self.0.lock();
        world.point(format_args!("{signal:?} to {}", generation.0));
        world.check_signal(generation, signal);
        world.signal_agent(generation, signal);
        world.point(format_args!("signalled"));
        match signal {
            AgentSignal::Forward(_) => Err(io::ErrorKind::PermissionDenied.into()),
            AgentSignal::Terminate | AgentSignal::Kill => Ok(()),
        }
    }

    fn signal_group(&mut self, generation: Generation, resume: bool) -> io::Result<()> {
        let mut world = self.0.lock();
        world.point(format_args!("group of {}: {}", generation.0, if resume { "CONT" } else { "STOP" }));
        world.books.group_stopped = !resume;
        Ok(())
    }

    fn reap(&mut self, generation: Generation) {
        let mut world = self.0.lock();
        world.point(format_args!("REAP {}", generation.0));
        world.check_end_is_handled();
        world.check_reap(generation);
        world.process = None;
        world.point(format_args!("reaped"));
    }

    fn signal_leftovers(&mut self, generation: Generation, signal: LeftoverSignal) {
        let mut world = self.0.lock();
        world.point(format_args!("leftovers of {}: {signal:?}", generation.0));
        world.check_end_is_handled();
        world.books.sweeping = true;
        let plan = world.process.as_ref().map(|process| process.plan.clone()).unwrap_or_default();
        match signal {
            LeftoverSignal::Count => {}
            LeftoverSignal::Terminate if plan.leaves_stubborn => {}
            LeftoverSignal::Kill if plan.leaves_immortal => {}
            LeftoverSignal::Terminate | LeftoverSignal::Kill => world.leftovers = 0,
        }
        // The real shell counts at once; what the plan says on top of that is a slow machine.
        if let Some(takes) = plan.count_takes {
            let alive = world.leftovers;
            let takes = if takes == Span(10) { Span::ZERO } else { takes };
            world.soon(takes, move |world| world.send(Event::LeftoversCounted { generation, alive }));
        }
        world.point(format_args!("counted"));
    }

    fn child_changed(&mut self) {
        self.0.lock().point(format_args!("CHLD"));
    }

    fn suspension(&mut self) -> Option<Suspension> {
        self.0.lock().point(format_args!("is it stopped?"));
        None
    }
}

impl World {
    fn next_plan(&mut self) -> AgentPlan {
        if let Some(plan) = self.plans.pop_front() {
            return plan;
        }
        let Some(chaos) = &mut self.chaos else { return AgentPlan::default() };
        let random = &mut chaos.random;
        if random.percent(chaos.bad_agents) {
            return AgentPlan::random(random);
        }
        let takes = random.pick(&[Span::ZERO, Span(10)]);
        AgentPlan { spawn_takes: takes, ..AgentPlan::default() }
    }

    fn tell(&mut self, fact: Event) {
        self.told.push(fact.clone());
        let from = self.told.len().saturating_sub(3);
        self.told.drain(..from);
        self.send(fact);
    }

    fn spawned(&mut self, generation: Generation) {
        let Some(process) = self.process.as_mut().filter(|process| process.generation == generation) else { return };
        let plan = process.plan.clone();
        // What was not prepared or was given up has never been forked.
        let fails = plan.spawn_fails.filter(|failure| *failure != SpawnFailure::Unprepared);
        if let Some(failure) = fails {
            self.process = None;
            self.note("  ... the exec fails");
            self.tell(Event::SpawnFailed { generation, failure });
            return self.signal(libc::SIGCHLD);
        }
        process.state = ProcessState::Alive;
        let (termed, killed) = (process.termed, process.killed);
        self.leftovers = plan.leaves;
        self.note("  ... the exec succeeds");
        if let Some(after) = plan.connects_after {
            self.after(after, move |world| world.connects(generation));
        }
        if let Some((after, exit)) = plan.ends {
            self.after(after, move |world| world.ends(generation, exit));
        }
        self.tell(Event::AgentSpawned { generation, pid: identity(generation).pid, new_jar: false });
        if termed {
            self.signal_agent(generation, AgentSignal::Terminate);
        }
        if killed {
            self.signal_agent(generation, AgentSignal::Kill);
        }
    }

    fn connects(&mut self, generation: Generation) {
        let alive = |process: &Process| process.generation == generation && process.state == ProcessState::Alive;
        if !self.process.as_ref().is_some_and(alive) {
            return;
        }
        if self.controller.down || !self.controller.connect(generation) {
            self.ends(generation, Exit::Code(1));
        } else if self.controller.old_persistence {
            self.books.touches += 1;
        }
    }

    /// Whatever agent runs ends.
    pub fn agent_ends(&mut self, exit: Exit) {
        if let Some(generation) = self.process.as_ref().map(|process| process.generation) {
            self.ends(generation, exit);
        }
    }

    fn ends(&mut self, generation: Generation, exit: Exit) {
        let Some(process) = self.process.as_mut() else { return };
        let killed = exit == Exit::Signal(libc::SIGKILL);
        if process.generation != generation
            || process.state != ProcessState::Alive
            || (killed && process.plan.unkillable)
        {
            return;
        }
        process.state = ProcessState::Dead;
        let (termed, held) = (process.termed, process.plan.channel_held);
        self.soon(held, move |world| world.controller.disconnect(generation));
        self.note(&format!("  ... the agent ends: {exit:?}"));
        self.tell(Event::AgentExited { generation, exit });
        if termed && generation > Generation(0) && !self.books.sweeping {
            // That of one that hangs may be waited out, when it is the last one, and a stop marks the node first.
            if !self.books.replaces {
                self.books.end_unhandled = Some(self.now());
            }
        }
        self.signal(libc::SIGCHLD);
    }

    fn signal_agent(&mut self, generation: Generation, signal: AgentSignal) {
        let Some(process) = self.process.as_mut().filter(|process| process.generation == generation) else { return };
        let alive = process.state == ProcessState::Alive;
        match signal {
            AgentSignal::Terminate => {
                process.termed = true;
                if let (true, Some(takes)) = (alive, process.plan.term_takes) {
                    self.soon(takes, move |world| world.ends(generation, Exit::Code(143)));
                }
            }
            AgentSignal::Kill => {
                process.killed = true;
                if alive {
                    self.soon(Span::ZERO, move |world| world.ends(generation, Exit::Signal(libc::SIGKILL)));
                }
            }
            AgentSignal::Forward(_) => {}
        }
    }
}
