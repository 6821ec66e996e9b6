//! The process shell: starts the agent, signals it, and owns every wait of this program.
//!
//! ```text
//!             fork            exec              exit                    reap
//!  (nothing) ─────> forked ─────────> running ────────> ended, unreaped ─────> (nothing)
//!                     │ AgentSpawned            AgentExited
//!                     └─ SpawnFailed, already reaped
//! ```
//!
//! *One owner of all waits.* An ended agent stays a zombie until [`Processes::reap`], so that its pid and its group
//! mean nobody else while they may still be signalled; every other child is reaped as soon as it has ended. Nothing
//! else in this program may wait for children: it would steal what is awaited here.
//!
//! *Signals go by pidfd*, which never means a later process with the same number.
//!
//! *The agent gets a group of its own and never the terminal's foreground:* what is typed (Ctrl-C, Ctrl-Z) is for us,
//! who pass on what is right, and the builds are not interrupted by it. An agent that reads its terminal would be
//! stopped; its standard input is therefore `/dev/null` where ours is the controlling terminal. It may write there
//! (unless `stty tostop` is set). One that is stopped all the same, by the kernel or by somebody, is told of
//! ([`Suspension`]): a SIGCHLD comes for that too.
//!
//! Needs Linux 5.4; from 5.11 on foreign descriptors are kept from the agent without a list of them.

mod binfmt;
mod format;
mod guard;
mod heap;
mod identity;
mod leftovers;
mod limit;
mod modes;
mod oom;
mod pidfd;
mod procfs;
mod program;
mod resolve;
mod rights;
mod spawn;
mod survivor;
mod suspension;
mod trail;
mod user;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use agent_wrap_supervisor::{AgentSignal, Event, Generation, LeftoverSignal, SpawnFailure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid};
use tokio::net::unix::pipe;
use tokio::sync::mpsc::UnboundedSender;

pub use heap::share_one_heap;
pub use identity::AgentIdentity;
pub use program::keeps_death_signal;
pub use resolve::{Fault, Unresolved, check_for, check_readable, explain, resolve};
pub use rights::{Change, sees_environments};
pub use spawn::{Command, User};
pub use survivor::Survivor;
pub use suspension::Suspension;
pub use user::{Account, NoAccount};

use guard::Guard;
use leftovers::Key;
use limit::Mark;
use pidfd::{Halt, Whose, Zombie};
use trail::Trail;
use watch::{Watch, Watched};

/// Keeps other processes of the same user, builds above all, from reading this one's memory and environment, and
/// leaves no core file. An exec undoes it, so the agent is not concerned.
///
/// # Errors
/// Those of `prctl`, which has none on Linux.
pub fn forbid_dumps() -> io::Result<()> {
    Ok(prctl::set_dumpable(false)?)
}

/// What is missing of `/proc`, without which the agent can be supervised but not what it starts: for people, with the
/// consequence and the cure.
#[must_use]
pub fn lacking() -> Option<String> {
    procfs::lacking()
}

/// All processes that are ours, and the only place that waits for them. There is one in a program; it lives in the
/// main thread, because the agent dies with the thread that has forked it.
pub struct Processes {
    facts: UnboundedSender<Event>,
    agents: Vec<Agent>,
    /// The guards of agents that are over.
    retired: Vec<Guard>,
    /// What lives of an agent that is over, and as which generation it is ended.
    survivor: Option<(Generation, Survivor)>,
    /// Children we had before we were this program (a script that did `helper & exec agent-wrap`): reaped, never
    /// signalled.
    elders: Vec<Key>,
    sweep: Option<Sweep>,
    has_spawned: bool,
    /// Whether a command has run that need not be the agent itself.
    has_been_scripted: bool,
    /// Leftovers that people know of.
    told: BTreeSet<Key>,
    /// The name of this run, which the agent's processes bear, and how they are found by it.
    run: String,
    trail: Trail,
}

struct Agent {
    generation: Generation,
    pid: i32,
    identity: Option<AgentIdentity>,
    watched: Arc<Watched>,
    guard: Option<Guard>,
}

impl Agent {
    /// Whether nothing of it is left here.
    fn is_over(&self) -> bool {
        !self.watched.is_held()
    }
}

/// The leftovers of a generation that are being counted down.
struct Sweep {
    generation: Generation,
    signal: LeftoverSignal,
    signalled: BTreeSet<Key>,
    alive: usize,
}

impl Processes {
    /// Makes this process inherit every orphan below it. What it finds out later goes to `facts`; `run` is the name by
    /// which what belongs to the agent is known.
    ///
    /// # Errors
    /// When the kernel or the container lacks pidfd or does not let us be a subreaper.
    pub fn new(facts: UnboundedSender<Event>, run: &str) -> io::Result<Self> {
        pidfd::probe()?;
        prctl::set_child_subreaper(true)?;
        let children = procfs::children().unwrap_or_default();
        let elders = children.into_iter().filter_map(procfs::stat).map(|stat| leftovers::key(&stat)).collect();
        let trail = Trail::of([run], std::env::vars_os());
        Ok(Self {
            facts,
            agents: Vec::new(),
            retired: Vec::new(),
            survivor: None,
            elders,
            sweep: None,
            has_spawned: false,
            has_been_scripted: false,
            told: BTreeSet::new(),
            run: run.to_owned(),
            trail,
        })
    }

    /// Starts the agent, now and in the calling thread; to be called inside the runtime. `AgentSpawned` or
    /// `SpawnFailed` follows when the exec has been tried, `AgentExited` when it has ended. While something lives of
    /// the agent before, which may be the agent itself in the background, `RemainsFound` follows instead.
    pub fn spawn(&mut self, generation: Generation, command: &Command) {
        self.forget(Agent::is_over);
        // What the run before has left is left: it is counted again when this one is over.
        self.sweep = None;
        if let Some(processes) = self.remains(generation) {
            let _ = self.facts.send(Event::RemainsFound { generation, processes });
            return;
        }
        if let Err(failure) = self.try_spawn(generation, command) {
            let _ = self.facts.send(Event::SpawnFailed { generation, failure });
        }
    }

    /// Takes up what lives of the agent before.
    fn remains(&mut self, generation: Generation) -> Option<String> {
        // Before the first there was none, and nothing need be looked through.
        let without = self.has_been_scripted.then(|| self.not_left_by_agents());
        let survivor = self.has_spawned.then(|| Survivor::of_ours(self.trail.clone(), without)).flatten()?;
        let names = survivor::names(&survivor.living());
        self.take_up(generation, survivor);
        Some(names)
    }

    /// What the agents before have left that is not the agent itself, for people to read: each process is named once, and
    /// beside others that were named before it is said how many there are; `None` when there is nothing new. To be asked
    /// for before the next is started.
    pub fn left_behind(&mut self) -> Option<String> {
        let mut left = self.has_spawned.then(|| self.below_us())?;
        left.retain(|stat| match self.has_been_scripted {
            true => !self.trail.is_agent_of_ours(stat.pid),
            false => self.trail.whose(stat.pid) != trail::Whose::Agent,
        });
        let told = std::mem::replace(&mut self.told, left.iter().map(leftovers::key).collect());
        let all = left.len();
        left.retain(|stat| !told.contains(&leftovers::key(stat)));
        let in_all = if left.len() < all { format!("; {all} in all") } else { String::new() };
        (!left.is_empty()).then(|| survivor::names(&left) + &in_all)
    }

    fn try_spawn(&mut self, generation: Generation, command: &Command) -> Result<(), SpawnFailure> {
        self.has_spawned = true;
        self.has_been_scripted |= command.scripted;
        let spawn::Forked { pid: agent, report, gate } =
            spawn::fork(command, trail::marker(&self.run), Mark::of(&self.run))?;
        let prepared = pidfd::open(agent).map_err(io::Error::from).and_then(|pidfd| {
            let watched = Watched::new(pidfd);
            let watch = Watch::new(generation, &watched, &self.facts)?;
            let report = pipe::Receiver::from_owned_fd(report)?;
            // The guard last, so that nothing fails while there is a guard, which would take that for our end.
            let guard = || guard::fork(watched.pidfd.as_fd(), agent, command.scripted, &self.trail);
            let guard = command.guarded.then(guard).transpose()?;
            Ok((watch, report, watched, guard))
        });
        let (watch, report, watched, guard) = prepared.map_err(|error| {
            spawn::discard(agent);
            spawn::parent_failure(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
        })?;
        self.dismiss_retired();
        let pid = agent.unsigned_abs();
        let identity = AgentIdentity::of(pid).ok();
        self.agents.push(Agent { generation, pid: agent, identity, watched, guard });
        // As root while its files are root's, which they are until it executes its program; else once they are its own.
        let late = command.oom_score_adj.filter(|&wanted| oom::adjust(agent.unsigned_abs(), wanted).is_err());
        // It writes one byte to an empty pipe that has a reader.
        let _ = gate.open();
        tokio::spawn(watch.follow_child(report, command.program.clone(), pid, late));
        Ok(())
    }

    /// Takes up an agent that an earlier wrapper has left, as generation 0. Its end is told as `AgentExited` with an
    /// unknown exit, at once if it is not there any more. To be called inside the runtime.
    pub fn adopt_survivor(&mut self, survivor: Survivor) {
        self.take_up(Generation(0), survivor);
    }

    fn take_up(&mut self, generation: Generation, survivor: Survivor) {
        survivor.watch(generation, &self.facts);
        self.survivor = Some((generation, survivor));
    }

    /// Who the agent of this generation is, for the state file; `None` when there is none, or `/proc` did not tell.
    #[must_use]
    pub fn identity(&self, generation: Generation) -> Option<AgentIdentity> {
        self.agent(generation)?.identity.clone()
    }

    /// Signals the agent and nobody else. One that is not there, or not any more, gets nothing.
    ///
    /// # Errors
    /// `EPERM` when it belongs to another user and we lack CAP_KILL; `EINVAL` for a number that is no signal.
    pub fn signal_agent(&mut self, generation: Generation, signal: AgentSignal) -> io::Result<()> {
        let signals: &[i32] = match signal {
            // A stopped process does not handle a TERM until it is continued.
            AgentSignal::Terminate => &[libc::SIGTERM, libc::SIGCONT],
            AgentSignal::Kill => &[libc::SIGKILL],
            AgentSignal::Forward(number) => &[number],
        };
        if let Some((_, survivor)) = self.survivor.as_ref().filter(|(number, _)| *number == generation) {
            survivor.signal(signals);
            return Ok(());
        }
        let Some(agent) = self.agent(generation) else { return Ok(()) };
        for &number in signals {
            pidfd::send(agent.watched.pidfd.as_fd(), number)?;
        }
        Ok(())
    }

    /// Stops or continues the agent's process group, for job control. Builds that have left the group go on, as the
    /// background jobs of a shell would.
    ///
    /// # Errors
    /// `EPERM` when nobody in it may be signalled by us.
    pub fn signal_group(&mut self, generation: Generation, resume: bool) -> io::Result<()> {
        // STOP and not TSTP, which anything in the group may ignore.
        let signal = if resume { Signal::SIGCONT } else { Signal::SIGSTOP };
        match self.agent(generation) {
            Some(agent) if agent.watched.is_held() => match killpg(Pid::from_raw(agent.pid), signal) {
                Ok(()) | Err(Errno::ESRCH) => Ok(()),
                Err(errno) => Err(errno.into()),
            },
            Some(_) | None => Ok(()),
        }
    }

    /// Takes the zombie of an ended agent away; its pid and group may then be anybody's. Nothing for one that runs.
    pub fn reap(&mut self, generation: Generation) {
        self.survivor.take_if(|(number, _)| *number == generation);
        if let Some(agent) = self.agent(generation) {
            agent.watched.reap();
        }
        self.forget(Agent::is_over);
        self.child_changed();
    }

    /// What an agent has started may live on in the background: its guard stays until the next one stands.
    fn forget(&mut self, is_over: impl Fn(&Agent) -> bool) {
        let over = self.agents.extract_if(.., |agent| is_over(agent));
        self.retired.extend(over.filter_map(|agent| agent.guard));
    }

    fn dismiss_retired(&mut self) {
        self.retired.drain(..).for_each(Guard::dismiss);
    }

    fn guards(&self) -> impl Iterator<Item = &Guard> {
        self.agents.iter().filter_map(|agent| agent.guard.as_ref()).chain(&self.retired)
    }

    /// Counts what the agent has left behind (everything below us that is no living agent and was not there before
    /// us), answers with `LeftoversCounted`, and signals it. What turns up later gets the same signal, and
    /// `LeftoversCounted` comes once more when nothing is left.
    pub fn signal_leftovers(&mut self, generation: Generation, signal: LeftoverSignal) {
        // One whose exec has failed was reaped without being asked for.
        self.forget(Agent::is_over);
        let mut sweep = Sweep { generation, signal, signalled: BTreeSet::new(), alive: 0 };
        self.advance(&mut sweep);
        if signal == LeftoverSignal::Kill {
            self.kill_group_at_once(generation);
        }
        self.report(&sweep);
        self.sweep = Some(sweep);
    }

    /// To be called at every SIGCHLD: takes away every zombie but the agent's, and looks whether the leftovers are
    /// gone.
    pub fn child_changed(&mut self) {
        self.reap_orphans();
        let Some(mut sweep) = self.sweep.take() else { return };
        if sweep.alive > 0 {
            self.advance(&mut sweep);
            if sweep.alive == 0 {
                self.report(&sweep);
            }
        }
        self.sweep = Some(sweep);
    }

    /// What job control has made of the agent since this was asked last; to be asked at every SIGCHLD. Our own STOP of its
    /// group is never seen: the CONT after it comes before anybody can ask.
    pub fn suspension(&mut self) -> Option<Suspension> {
        let (agent, halt) = self.agents.iter().find_map(|agent| Some((agent.pid, agent.watched.halt()?)))?;
        Some(match halt {
            Halt::Stopped(signal) => Suspension::begun(agent, signal),
            Halt::Continued => Suspension::Over,
        })
    }

    /// The fast way takes zombies in the kernel's order. An ended agent would come first for ever, so while there is
    /// one the others are asked by name.
    fn reap_orphans(&self) {
        while let Some((pid, _)) = pidfd::wait(Whose::Any, Zombie::Kept) {
            if self.is_unreaped_agent(pid) {
                for pid in procfs::children().unwrap_or_default() {
                    if !self.is_unreaped_agent(pid) {
                        pidfd::wait(Whose::Pid(pid), Zombie::Reaped);
                    }
                }
                return;
            }
            pidfd::wait(Whose::Pid(pid), Zombie::Reaped);
        }
    }

    fn is_unreaped_agent(&self, pid: i32) -> bool {
        self.agents.iter().any(|agent| agent.pid == pid && agent.watched.is_held())
    }

    fn is_guard(&self, pid: i32) -> bool {
        self.guards().any(|guard| guard.pid.as_raw() == pid)
    }

    /// In one go for the whole group, so that no fork within it slips through. The unreaped leader keeps the number.
    fn kill_group_at_once(&self, generation: Generation) {
        if let Some(agent) = self.agent(generation).filter(|agent| agent.watched.ended().is_some()) {
            let _ = killpg(Pid::from_raw(agent.pid), Signal::SIGKILL);
        }
    }

    /// What is below us without being left by an agent.
    fn not_left_by_agents(&self) -> BTreeSet<Key> {
        let guards = self.guards().filter_map(|guard| procfs::stat(guard.pid.as_raw()));
        self.elders.iter().copied().chain(guards.map(|stat| leftovers::key(&stat))).collect()
    }

    /// Every living process that the agents have left.
    fn below_us(&self) -> Vec<procfs::Stat> {
        let spared = |stat: &procfs::Stat| {
            self.elders.contains(&leftovers::key(stat)) || self.is_unreaped_agent(stat.pid) || self.is_guard(stat.pid)
        };
        procfs::all().map(|all| leftovers::below(&all, getpid().as_raw(), spared)).unwrap_or_default()
    }

    /// Counts, and signals those that have not had the signal yet.
    fn advance(&self, sweep: &mut Sweep) {
        let found = self.below_us();
        sweep.alive = found.len();
        for key in found.iter().map(leftovers::key) {
            if sweep.signalled.insert(key) {
                leftovers::signal(key, sweep.signal);
            }
        }
    }

    fn report(&self, sweep: &Sweep) {
        let alive = u32::try_from(sweep.alive).unwrap_or(u32::MAX);
        let _ = self.facts.send(Event::LeftoversCounted { generation: sweep.generation, alive });
    }

    fn agent(&self, generation: Generation) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.generation == generation)
    }
}

impl Drop for Processes {
    /// A guard that sees our end takes it for a KILL, and what has been left is to be left.
    fn drop(&mut self) {
        self.forget(Agent::is_over);
        self.dismiss_retired();
    }
}
