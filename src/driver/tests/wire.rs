//! The driver with the real client on a real socket, in real time: a stop at every poll of its requests.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_wrap_supervisor::{
    Ending, Failure, LiftMethod, MarkMethod, NodePolicy, NodeView, OnlineMethod, Policy, RequestNumber, WriteOutcome,
};
use nix::libc;

use super::life::Life;
use super::manager::Manager;
use super::partners::{Launch, Prepared, Signals, State};
use super::process::Machine;
use super::settings::Aside;
use super::world::Shared;
use crate::controller::testing::{AMPLE, Server, answer, json};
use crate::controller::{Controller, CredentialError, CredentialSource};
use crate::driver::{NodeClient, Shells};

/// The partners with the real client.
enum Wired {}

impl Shells for Wired {
    type Signals = Signals;
    type Agents = Machine;
    type Controller = Interrupted;
    type Launch = Launch;
    type Launched = Prepared;
    type State = State;
    type Beside = Aside;
    type Manager = Manager;
    type Screen = super::paper::Paper;
    type Hold = super::partners::HoldFile;
}

/// The real client; a stop comes with one of the polls of what it does.
struct Interrupted {
    client: Controller,
    shared: Shared,
    /// So many polls are left until then.
    left: Arc<AtomicU32>,
    reads: AtomicU32,
}

impl Interrupted {
    /// The stop comes after this poll and before anybody has heard of what it brings.
    async fn interrupted<T>(&self, operation: impl Future<Output = T>) -> T {
        let mut operation = std::pin::pin!(operation);
        poll_fn(|cx| {
            let poll = operation.as_mut().poll(cx);
            if self.left.load(Ordering::Relaxed) > 0 && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.shared.lock().signal(libc::SIGTERM);
            }
            poll
        })
        .await
    }
}

impl NodeClient for Interrupted {
    fn version(&self) -> Option<String> {
        None
    }

    async fn read_node(&self, within: Duration) -> Result<NodeView, Failure> {
        let id = u64::from(self.reads.fetch_add(1, Ordering::Relaxed));
        let read = self.interrupted(self.client.read_node(within)).await;
        let mut world = self.shared.lock();
        if let Ok(view) = &read {
            world.books.read(id, view.mark.clone(), 0);
            // Through: now it is time for the stop that has not come before.
            if view.mark.is_none() && world.books.stopping_since().is_none() {
                world.signal(libc::SIGTERM);
            }
        }
        read
    }

    fn lift_mark(
        &self,
        request: RequestNumber,
        method: LiftMethod,
        within: Duration,
    ) -> impl Future<Output = WriteOutcome> + Send {
        self.interrupted(self.client.lift_mark(request, method, within))
    }

    async fn mark_offline(
        &self,
        request: RequestNumber,
        method: MarkMethod,
        reason: &str,
        within: Duration,
    ) -> WriteOutcome {
        self.interrupted(self.client.mark_offline(request, method, reason, within)).await
    }

    fn disconnect(&self, request: RequestNumber, within: Duration) -> impl Future<Output = WriteOutcome> + Send {
        self.interrupted(self.client.disconnect(request, within))
    }

    fn replace_credentials(
        &self,
        source: Option<CredentialSource>,
    ) -> impl Future<Output = Result<(), CredentialError>> + Send {
        self.client.replace_credentials(source)
    }

    fn set_online_match(&self, pattern: Option<regex_lite::Regex>) {
        self.client.set_online_match(pattern);
    }
}

/// A controller with the node `n 1`, and whether it is marked: by which reason.
async fn controller(marked: bool) -> (Server, Arc<std::sync::Mutex<Option<String>>>) {
    let mark = Arc::new(std::sync::Mutex::new(marked.then(|| "from before".to_owned())));
    let held = Arc::clone(&mark);
    let server = Server::start(move |request| {
        let mut mark = held.lock().unwrap();
        if request.starts_with("POST ") {
            let number = request.rsplit("r.").next().unwrap_or_default().replace("%5D", "");
            let toggle = request.contains("toggleOffline");
            *mark = (mark.is_none() || !toggle).then(|| format!("bye [agent-wrap h r.{number}]"));
            return answer("302 Found", "Location: .\r\n", "");
        }
        if request.starts_with("GET /login") {
            return answer("200 OK", "", "");
        }
        let about = match &*mark {
            None => r#""offline":true,"temporarilyOffline":false,"idle":true"#.to_owned(),
            Some(reason) => format!(
                r#""offline":true,"temporarilyOffline":true,"idle":true,"offlineCauseReason":"{reason}",
                "offlineCause":{{"_class":"hudson.slaves.OfflineCause$UserCause","description":"{reason}"}}"#
            ),
        };
        json(&format!("{{{about}}}"))
    })
    .await;
    (server, mark)
}

/// One life with a stop at this poll. True if the poll came before the node was free.
async fn live(marked: bool, poll: u32) -> bool {
    let (server, mark) = controller(marked).await;
    let node = NodePolicy { online_method: OnlineMethod::Toggle, ..NodePolicy::default() };
    let life = Life { tracing: true, ..Life::new(Policy { node: Some(node), ..Policy::default() }) };
    let left = Arc::new(AtomicU32::new(poll));
    let (shared, mut turn, mut answered) = life.begin_with::<Wired>(|shared| Interrupted {
        client: server.client(),
        shared: shared.clone(),
        left: Arc::clone(&left),
        reads: AtomicU32::new(1),
    });
    shared.lock().books.paused = false;
    let ending = tokio::time::timeout(AMPLE, turn.live(&mut answered)).await;
    let what = format!("a stop at poll {poll} of a node that is {}", if marked { "marked" } else { "free" });
    let ending = ending.unwrap_or_else(|_| panic!("{what}: no end\n{}", shared.lock().story()));
    drop((turn, answered));
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let ended = async {
        // Of the tasks that are left one is the server.
        while alive() > 1 {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(AMPLE, ended).await.is_ok(), "{what}: tasks are left");
    let world = shared.lock();
    assert_eq!(world.violation, None, "{what}\n{}", world.story());
    assert_eq!(ending, Ending::Stopped { killed: false, confirmed: true }, "{what}\n{}", world.story());
    assert_eq!(world.generations, 0, "{what}");
    assert!(mark.lock().unwrap().is_some(), "{what}: {:#?}", server.asked());
    left.load(Ordering::Relaxed) == 0
}

#[test]
fn a_stop_at_every_poll_of_the_first_requests() {
    for marked in [false, true] {
        let mut poll = 1;
        loop {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            if !runtime.block_on(live(marked, poll)) {
                break;
            }
            poll += 1;
        }
        assert!(poll > if marked { 9 } else { 3 }, "there were only {poll} polls");
    }
}
