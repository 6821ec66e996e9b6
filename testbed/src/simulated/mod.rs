//! A controller that behaves like Jenkins or Hudson where agent-wrap can tell the difference, and misbehaves on demand.
//!
//! It is held against recordings of a real Jenkins 2.578 (`tests/recordings.rs`). [`Simulated`] runs it on a thread of
//! its own behind a real socket on 127.0.0.1; its methods are synchronous. Everything the controller knows is in the
//! [`World`], which tests and third parties (a [`Hook`]) change by its methods. What has happened is in the
//! [timeline](Simulated::timeline), in order. [`Fault`]s befall chosen requests.
//!
//! ```
//! use agent_wrap_testbed::simulated::{Fault, On, Operation, Options, Simulated};
//! use agent_wrap_testbed::stage::Stage;
//!
//! let controller = Simulated::start(Options::jenkins("2.578")).unwrap();
//! controller.create_node("n1", 1).unwrap();
//! controller.fault(On::operation(Operation::Toggle).nth(1), Fault::ResetAfter);
//! assert!(!controller.node("n1").unwrap().marked);
//! ```

mod agents;
mod auth;
mod builds;
mod commands;
mod duplex;
mod faults;
pub mod frames;
mod http;
mod log;
mod node;
mod options;
mod playing;
mod reply;
mod request;
mod routes;
mod serve;
mod shared;
mod text;
mod tree;
mod world;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

pub use faults::{Fault, On};
pub use log::{Entry, RequestInfo};
pub use node::{Author, Cause, Link, Node};
pub use options::{Account, Flavour, Lasting, Options, Permission, Persistence, Refusal, startup_as_seen};
pub use playing::agent_program;
pub use request::Operation;
pub use shared::{Hook, Moment};
pub use world::World;

use shared::Shared;

use crate::ports;

/// How long a wait for a condition may take before it is given up, whatever the machine is busy with.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running simulated controller; dropped, it is gone.
pub struct Simulated {
    shared: Arc<Shared>,
    server: Option<Server>,
}

struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Simulated {
    /// Starts a controller; connections are taken when this returns.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(options: Options) -> Result<Self> {
        let port = options.port;
        let mut controller = Self { shared: Arc::new(Shared::new(World::new(options))), server: None };
        controller.listen(port)?;
        Ok(controller)
    }

    fn listen(&mut self, port: u16) -> Result<()> {
        let listener = if port == 0 { ports::listen() } else { ports::listen_again(port) };
        let listener = listener
            .with_context(|| format!("cannot listen on 127.0.0.1:{port}; another program may hold the port"))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        self.shared.with(|world| world.come_up(port));
        let shared = Arc::clone(&self.shared);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("controller".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve::serve(shared, listener) => {}
                    _ = stopped => {}
                }
            });
        })?;
        self.server = Some(Server { stop, thread });
        Ok(())
    }

    /// Takes the controller down: connections end and are refused from now on, agents are disconnected, running builds
    /// are aborted. What is saved is kept. Nothing happens when it is down already.
    pub fn down(&mut self) {
        if let Some(server) = self.server.take() {
            // The thread may be gone already.
            let _: Result<(), ()> = server.stop.send(());
            drop(server.thread.join());
            self.shared.with(World::go_down);
        }
    }

    /// Brings it up again on the same port. Nothing happens when it is up already.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn up(&mut self) -> Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let port = self.look(|world| world.port);
        self.listen(port)
    }

    /// Changes the world.
    pub fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        self.shared.with(act)
    }

    /// Looks at the world.
    pub fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        self.shared.look(look)
    }

    /// The secret of a node; empty when there is no such node.
    #[must_use]
    pub fn secret(&self, node: &str) -> String {
        self.look(|world| world.node(node).map(|node| node.secret.clone()).unwrap_or_default())
    }

    /// From now on, this befalls those requests. Of several, the oldest whose turn it is strikes.
    pub fn fault(&self, on: On, fault: Fault) {
        self.with(|world| world.faults.add(on, fault));
    }

    /// No more faults. What has struck already goes on.
    pub fn clear_faults(&self) {
        self.with(|world| world.faults.clear());
    }

    /// From now on, this third party is called before and after each request is carried out, and when an agent's
    /// channel has come up. The closure must not use the [`Simulated`] itself: the world is locked meanwhile.
    pub fn hook(&self, hook: impl FnMut(&mut World, &RequestInfo, Moment) + Send + 'static) {
        self.shared.set_hook(Some(Box::new(hook)));
    }

    /// No more third party.
    pub fn clear_hook(&self) {
        self.shared.set_hook(None);
    }

    /// How many requests are held by [`Fault::Held`] or [`Fault::HeldOpen`].
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.held_count()
    }

    /// Lets all held requests be carried out and returns when they have been; how many there were.
    pub fn release(&self) -> usize {
        let count = self.shared.held_count();
        self.shared.release();
        let released = self.shared.wait(PATIENCE, |_| self.shared.held_count() == 0);
        assert!(released, "the held requests are still not carried out");
        count
    }

    /// All requests in the order of their arrival, those of agents (`testbed/...`) left out.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestInfo> {
        self.look(|world| {
            let requests = world.requests.iter();
            requests.filter(|request| request.operation != Operation::Connect).cloned().collect()
        })
    }

    /// All requests for this, in the order of their arrival.
    #[must_use]
    pub fn requests_for(&self, operation: Operation) -> Vec<RequestInfo> {
        self.look(|world| world.requests.iter().filter(|request| request.operation == operation).cloned().collect())
    }

    /// Everything that has happened, in order. A request is named by its number, which is its place in the order of
    /// arrival counted from 1; see [`Simulated::request`].
    #[must_use]
    pub fn timeline(&self) -> Vec<Entry> {
        self.look(|world| world.timeline.clone())
    }

    /// The request of this number, agents' connections included.
    #[must_use]
    pub fn request(&self, number: usize) -> Option<RequestInfo> {
        self.look(|world| world.requests.get(number.checked_sub(1)?).cloned())
    }

    /// Waits until the world is as it should be.
    ///
    /// # Panics
    /// When it is not within [`PATIENCE`]; the message has `what` and the timeline.
    #[track_caller]
    pub fn wait_for(&self, what: &str, done: impl FnMut(&World) -> bool) {
        let met = self.shared.wait(PATIENCE, done);
        assert!(met, "waited in vain for {what}; what happened: {:#?}", self.timeline());
    }

    /// Waits until something is in the timeline.
    ///
    /// # Panics
    /// When it is not within [`PATIENCE`]; the message has `what` and the timeline.
    #[track_caller]
    pub fn wait_for_entry(&self, what: &str, mut is: impl FnMut(&Entry) -> bool) {
        self.wait_for(what, |world| world.timeline.iter().any(&mut is));
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.down();
    }
}
