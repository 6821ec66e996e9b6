//! The other partners: the wrapper's own signals, what gets an agent ready, and the state file.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;

use agent_wrap_supervisor::{Failure, FailureKind, Span, SpawnFailure};
use nix::libc;

use super::manager::Manager;
use super::node::Node;
use super::paper::Paper;
use super::process::Machine;
use super::settings::Aside;
use super::world::Shared;
use crate::beside::Late;
use crate::clock::duration;
use crate::driver::{Hold, Keep, NodeClient, OwnSignals, Prepare, RejectingJar, RunBeside, Shells, Unprepared};
use crate::signals::Received;
use crate::state::Record;

/// Partners in place of the shells.
pub enum Partners {}

impl Shells for Partners {
    type Signals = Signals;
    type Agents = Machine;
    type Controller = Node;
    type Launch = Launch;
    type Launched = Prepared;
    type State = State;
    type Beside = Aside;
    type Manager = Manager;
    type Screen = Paper;
    type Hold = HoldFile;
}

pub struct Signals(pub Shared);

impl OwnSignals for Signals {
    fn next(&mut self) -> impl Future<Output = Received> {
        poll_fn(|cx| {
            let mut world = self.0.lock();
            world.point(format_args!("waiting"));
            world.check_nothing_waits();
            let first = world.signals.iter().find(|(_, waiting)| !waiting.is_empty()).map(|(number, _)| *number);
            let Some(signal) = first else {
                world.waker = Some(cx.waker().clone());
                // Whoever comes now comes between the look and the wait.
                world.point(format_args!("still waiting"));
                return Poll::Pending;
            };
            let since = world.signals.get_mut(&signal).and_then(std::collections::VecDeque::pop_front);
            world.delivered(signal, since.unwrap_or_default());
            if let Some((_, left)) = world.flood.as_mut().filter(|(number, left)| *number == signal && *left > 0) {
                *left -= 1;
                world.jump(Span(1));
                world.signal(signal);
            }
            Poll::Ready(Received { signal, sender: None })
        })
    }

    fn stop_self(&mut self) -> io::Result<()> {
        let mut world = self.0.lock();
        world.check_sheet_is_empty("a shell");
        world.point(format_args!("STOP self"));
        let away = world.suspensions.pop_front().unwrap_or(Span::seconds(30));
        world.jump(away);
        world.point(format_args!("continued"));
        Ok(())
    }
}

pub struct Launch {
    pub shared: Shared,
    /// The number of the settings by which the agent is started.
    pub settings: u32,
}

/// What is lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    Jar,
    /// The controller does not give the secret.
    Secret(FailureKind),
}

/// What the controller says then.
pub fn no_secret(kind: FailureKind) -> Failure {
    Failure::new(kind, "the controller does not give the secret")
}

/// What an agent is started with. There is one at a time.
pub struct Prepared {
    shared: Shared,
    new_jar: bool,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let mut world = self.shared.lock();
        world.prepared -= 1;
        world.note("what was prepared is gone");
    }
}

/// Something is being prepared while this is there.
struct Preparing(Shared);

impl Drop for Preparing {
    fn drop(&mut self) {
        let mut world = self.0.lock();
        world.preparing -= 1;
        world.note("  ... no more preparing");
    }
}

impl<Controller: NodeClient, Beside: RunBeside> Prepare<Controller, Beside> for Launch {
    type Launched = Prepared;

    async fn prepare(
        self: Arc<Self>,
        controller: Option<Arc<Controller>>,
        _: Arc<Beside>,
    ) -> Result<Prepared, Unprepared> {
        let shared = self.shared.clone();
        let (preparation, preparing) = {
            let mut world = shared.lock();
            world.check_settings(self.settings);
            world.point(format_args!("PREPARE"));
            world.check_spawn(controller.is_some());
            world.preparing += 1;
            (world.next_preparation(), Preparing(shared.clone()))
        };
        for pause in preparation.pauses {
            if pause.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(duration(pause)).await;
            }
            shared.lock().point(format_args!("preparing"));
        }
        drop(preparing);
        let mut world = shared.lock();
        world.point(format_args!("prepared"));
        let now = world.now();
        world.books.answers.push(now);
        world.books.lacks(now, preparation.lacks);
        match preparation.lacks {
            Some(Lack::Jar) => return Err(Unprepared::Other("there is no jar".to_owned())),
            Some(Lack::Secret(kind)) => return Err(Unprepared::Controller(no_secret(kind))),
            None => world.prepared += 1,
        }
        let new_jar = world.new_jars.pop_front().unwrap_or_default();
        drop(world);
        Ok(Prepared { shared, new_jar })
    }

    fn why_not_executed(&self, failure: SpawnFailure) -> String {
        self.shared.lock().point(format_args!("why {failure:?}"));
        "the file is damaged".to_owned()
    }

    fn connected(launched: &mut Prepared, _: &Beside) {
        launched.shared.lock().point(format_args!("its secret has been read"));
    }

    fn has_new_jar(launched: &Prepared) -> bool {
        launched.new_jar
    }

    fn look_for_jar(
        launched: &Prepared,
        _: Arc<Controller>,
        _: Arc<Beside>,
    ) -> Option<impl Future<Output = Result<bool, Unprepared>> + Send + 'static> {
        let shared = launched.shared.clone();
        Some(async move {
            shared.lock().point(format_args!("LOOK for a jar"));
            tokio::task::yield_now().await;
            let mut world = shared.lock();
            let found = world.offers.pop_front();
            world.offered(found == Some(true));
            found.ok_or_else(|| Unprepared::Other("nothing is to be had".to_owned()))
        })
    }

    fn rejecting_jar(launched: &Prepared) -> Option<RejectingJar> {
        let shared = launched.shared.clone();
        Some(Box::new(move || shared.lock().point(format_args!("JAR put back"))))
    }
}

/// The hold file, which the world has and changes.
pub struct HoldFile(pub Shared);

impl<Beside> Hold<Beside> for HoldFile {
    fn look(&self, _: Arc<Beside>) -> impl Future<Output = Result<Option<String>, Late>> + Send + 'static {
        let shared = self.0.clone();
        async move {
            let takes = shared.lock().begin_to_look();
            if !takes.is_zero() {
                tokio::time::sleep(duration(takes)).await;
            }
            let mut world = shared.lock();
            let seen = world.hold.clone();
            world.looking = false;
            world.point(format_args!("the hold file says {seen:?}"));
            let now = world.now();
            world.books.answers.push(now);
            world.books.hold_is_seen(now, seen.is_some());
            Ok(seen)
        }
    }

    fn changed(&mut self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            let mut world = self.0.lock();
            if std::mem::take(&mut world.hold_changed) {
                return Poll::Ready(());
            }
            world.hold_waker = Some(cx.waker().clone());
            Poll::Pending
        })
    }
}

pub struct State(pub Shared);

impl Keep for State {
    fn write(&self, record: &Record) -> io::Result<()> {
        let mut world = self.0.lock();
        world.point(format_args!("remember {:?} {:?}", record.agent.as_ref().map(|agent| agent.pid), record.memory));
        world.check_record(record);
        world.point(format_args!("remembered"));
        let fails = world.chaos.as_mut().is_some_and(|chaos| chaos.random.percent(5));
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// Whether this asks for a stop.
pub fn asks_for_stop(signal: i32) -> bool {
    [libc::SIGTERM, libc::SIGINT, super::world::STOP_NOW].contains(&signal)
}
