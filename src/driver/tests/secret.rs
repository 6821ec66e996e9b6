//! The driver with what really gets an agent ready: the file with the node's secret, from one agent to the next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_wrap_supervisor::{AgentSignal, Ending, Event, Exit, Generation, LeftoverSignal, Policy, SpawnFailure};
use nix::libc;

use super::life::{Life, paused};
use super::manager::Manager;
use super::partners::{Signals, State};
use super::process::identity;
use super::world::Shared;
use crate::beside::Late;
use crate::config::{self, RuntimeDirectory, Surroundings};
use crate::controller::Controller;
use crate::driver::{Agents, Driver, Launch, Launched, RunBeside, Shells, Turn};
use crate::process::{AgentIdentity, Suspension};

/// The partners with what the program itself gets ready.
enum WithFiles {}

impl Shells for WithFiles {
    type Signals = Signals;
    type Agents = Forks;
    type Controller = Controller;
    type Launch = Launch;
    type Launched = Launched;
    type State = State;
    type Beside = AtOnce;
    type Manager = Manager;
    type Screen = super::paper::Paper;
    type Hold = super::partners::HoldFile;
}

/// A machine on which the first fork fails; with the second agent's start comes a stop.
struct Forks {
    shared: Shared,
    /// The file that the last agent was to read, and what was in it when that agent had started.
    secret: Arc<Mutex<(PathBuf, Option<String>)>>,
}

impl Agents<Launched> for Forks {
    fn spawn(&mut self, generation: Generation, launched: &Launched) {
        let word = launched.command.argv.last().and_then(|word| word.to_str()).unwrap();
        self.secret.lock().unwrap().0 = word.strip_prefix('@').unwrap().into();
        let failure = SpawnFailure::Exhausted(libc::EAGAIN);
        let fact = match generation {
            Generation(1) => Event::SpawnFailed { generation, failure },
            Generation(number) => Event::AgentSpawned { generation, pid: number, new_jar: false },
        };
        self.shared.lock().send(fact);
    }

    fn left_behind(&mut self) -> Option<String> {
        None
    }

    fn identity(&self, generation: Generation) -> Option<AgentIdentity> {
        let mut secret = self.secret.lock().unwrap();
        secret.1 = std::fs::read_to_string(&secret.0).ok();
        self.shared.lock().signal(libc::SIGTERM);
        Some(identity(generation))
    }

    fn signal_agent(&mut self, generation: Generation, _: AgentSignal) -> io::Result<()> {
        self.shared.lock().send(Event::AgentExited { generation, exit: Exit::Code(143) });
        Ok(())
    }

    fn signal_group(&mut self, _: Generation, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn reap(&mut self, _: Generation) {}

    fn signal_leftovers(&mut self, generation: Generation, _: LeftoverSignal) {
        self.shared.lock().send(Event::LeftoversCounted { generation, alive: 0 });
    }

    fn child_changed(&mut self) {}

    fn suspension(&mut self) -> Option<Suspension> {
        None
    }
}

/// Files that do not hang.
struct AtOnce;

impl RunBeside for AtOnce {
    async fn run<T: Send + 'static>(&self, _: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Late> {
        Ok(work())
    }

    fn submit(&self, work: impl FnOnce() + Send + 'static) {
        work();
    }
}

fn launch(folder: &Path) -> Launch {
    let variables = vec![("RUNTIME_DIRECTORY".into(), folder.into())];
    let surroundings = Surroundings { variables, default_file: folder.join("none.toml"), root: false };
    let line = "agent-wrap --standalone java -jar agent.jar -url http://c/ -name n -noReconnect -secret c0ffee";
    let cli = crate::cli::parse(line.split(' ').map(Into::into), false).unwrap();
    let settings = config::load(&cli, &surroundings).unwrap().settings;
    Launch::new(&settings, "/bin/true".into(), "r", RuntimeDirectory::choose(&surroundings, None), None)
}

#[test]
fn the_secret_of_the_next_agent_is_there_when_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let secret = Arc::new(Mutex::new((PathBuf::new(), None)));
    paused().block_on(async {
        let policy = Policy { node: None, ..Policy::default() };
        let (shared, turn, _) = Life::new(policy.clone()).begin();
        let Turn { driver, .. } = turn;
        let driver = Driver::<WithFiles> {
            clock: driver.clock,
            wall: driver.wall,
            story: driver.story,
            terminal: driver.terminal,
            signals: driver.signals,
            table: driver.table,
            processes: Forks { shared, secret: Arc::clone(&secret) },
            facts: driver.facts,
            controller: None,
            state: driver.state,
            record: driver.record,
            launch: Arc::new(launch(folder.path())),
            reasons: driver.reasons,
            reload: Arc::new(|_, _| Err("nobody asks for it".to_owned())),
            settings: driver.settings,
            beside: Arc::new(AtOnce),
            announcer: driver.announcer,
            hold: None,
            display: driver.display,
        };
        let ended = crate::driver::run(driver, policy).await;
        assert_eq!(ended.ending, Ending::Stopped { killed: false, confirmed: true });
    });
    let (path, contents) = &*secret.lock().unwrap();
    assert_eq!(contents.as_deref(), Some("c0ffee"), "{} is not there", path.display());
    assert!(!path.exists(), "{} is left behind", path.display());
}
