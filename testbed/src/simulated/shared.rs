//! What the server's thread and the tests' threads share.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::log::{Entry, RequestInfo};
use super::reply::Reply;
use super::routes::{Question, answer};
use super::world::World;

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Just before a request is carried out.
    Before,
    /// Just after it was, before its answer.
    After,
    /// When an agent's channel has come up; the request is the agent's.
    AgentConnected,
}

/// A third party: changes the world at chosen moments.
pub type Hook = Box<dyn FnMut(&mut World, &RequestInfo, Moment) + Send>;

/// What an upload of the command line brings.
pub(crate) enum Uploaded {
    Bytes(Vec<u8>),
    /// Its end, proper or not.
    End,
}

pub(crate) type Upload = mpsc::Receiver<Uploaded>;

pub(crate) struct Shared {
    world: Mutex<World>,
    changed: Condvar,
    version: watch::Sender<u64>,
    hook: Mutex<Option<Hook>>,
    /// Downloads of the command line that wait for their upload, by session.
    pub(crate) uploads: Mutex<BTreeMap<String, oneshot::Sender<Upload>>>,
    releases: watch::Sender<u64>,
    held: Mutex<usize>,
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world: Mutex::new(world),
            changed: Condvar::new(),
            version: watch::Sender::new(0),
            hook: Mutex::new(None),
            uploads: Mutex::new(BTreeMap::new()),
            releases: watch::Sender::new(0),
            held: Mutex::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the world or changes it; whoever waits for a change looks again.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let result = act(&mut self.lock());
        self.changed.notify_all();
        self.version.send_modify(|version| *version += 1);
        result
    }

    /// Looks at the world.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.lock())
    }

    /// Starts and ends builds.
    pub(crate) fn advance(&self) {
        let changed = self.lock().advance_builds();
        if changed {
            self.with(|_| ());
        }
    }

    /// Waits until the world is as it should be; false when it is not within `bound`.
    pub(crate) fn wait(&self, bound: Duration, mut done: impl FnMut(&World) -> bool) -> bool {
        let world = self.lock();
        let waited = self.changed.wait_timeout_while(world, bound, |world| !done(world));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Sees each change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn set_hook(&self, hook: Option<Hook>) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    /// Lets the third party act.
    pub(crate) fn call_hook(&self, world: &mut World, request: usize, moment: Moment) {
        let mut hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hook) = hook.as_mut() {
            let info = world.requests[request - 1].clone();
            hook(world, &info, moment);
        }
    }

    /// Carries a request out, with the third party's acts around it.
    pub(crate) fn carry_out(&self, request: usize, question: &Question<'_>) -> Reply {
        self.with(|world| {
            self.call_hook(world, request, Moment::Before);
            let reply = answer(world, question);
            if reply.status < 400 {
                carried_out(world, request);
            }
            self.call_hook(world, request, Moment::After);
            reply
        })
    }

    /// Waits for the test's word.
    pub(crate) async fn held(&self) -> Held<'_> {
        let mut releases = self.releases.subscribe();
        let held = Held { shared: self };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.with(|_| ());
        // The sender lives as long as `self`.
        drop(releases.changed().await);
        held
    }

    /// How many requests wait for the test's word.
    pub(crate) fn held_count(&self) -> usize {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn release(&self) {
        self.releases.send_modify(|count| *count += 1);
    }
}

/// A request that waits for the test's word, or has had it and is being carried out.
pub(crate) struct Held<'a> {
    shared: &'a Shared,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.shared.held.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.shared.with(|_| ());
    }
}

/// Notes that a request has done, or told, what it asked for.
pub(crate) fn carried_out(world: &mut World, request: usize) {
    world.requests[request - 1].carried_out = true;
    world.timeline.push(Entry::CarriedOut { request });
}

/// Notes that a request's answer begins to be sent.
pub(crate) fn answered(world: &mut World, request: usize, status: u16) {
    world.requests[request - 1].status = Some(status);
    world.timeline.push(Entry::Answered { request, status });
}
