//! Every operation, given up at each of its await points: the answers come byte by byte, and the task is aborted after
//! its k-th poll, for every k until it is through. From then on the controller sends nothing and waits for the connection
//! to be closed. Nothing may stay open or running, and the next request has to work.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_wrap_supervisor::{LiftMethod, MarkMethod, RequestNumber, WriteOutcome};
use agent_wrap_testbed::wait::until_every;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;

use super::testing::{AMPLE, Reply, answer, json, read_request, settings};
use super::*;
use crate::jar::Place;

const NODE: &str = r#"{"offline":false,"temporarilyOffline":false,"idle":true}"#;
const JNLP: &str = "<argument>00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff</argument>";
const MODE: &str = r#"{"mode":"NORMAL"}"#;
const CRUMB: &str = r#"{"crumb":"c0ffee","crumbRequestField":"Jenkins-Crumb"}"#;
const NO_CRUMB: &str = "No valid crumb was included in the request";
const CHANNEL: &[u8] = b"HTTP/1.1 200 OK\r\nHudson-Duplex: true\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\0\r\n";
/// What is asked for after an operation has been given up; it alone is answered then.
const NEXT: &str = "api/json?tree=next";
/// The frame that starts the command, and the one with its exit code 0.
const START: &[u8] = &[0, 0, 0, 0, 3];
const EXIT: &[u8] = b"9\r\n\0\0\0\x04\x04\0\0\0\0\r\n0\r\n\r\n";

/// Connections: those that are open, and those on which a request has begun and its answer has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Connections {
    open: u32,
    busy: u32,
}

/// A controller that answers on many connections at once, one byte at a time.
struct Slow {
    url: String,
    connections: watch::Receiver<Connections>,
}

struct Site {
    connections: watch::Sender<Connections>,
    started: Notify,
    /// Nothing more is sent: whoever still waits for it waits in vain.
    holding: AtomicBool,
    asked: Mutex<Vec<String>>,
}

impl Slow {
    async fn start() -> (Self, Arc<Site>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (sender, connections) = watch::channel(Connections::default());
        let site = Arc::new(Site {
            connections: sender,
            started: Notify::new(),
            holding: AtomicBool::new(false),
            asked: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&site);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                accepting.connections.send_modify(|connections| connections.open += 1);
                let site = Arc::clone(&accepting);
                tokio::spawn(async move {
                    site.serve(stream).await;
                    site.connections.send_modify(|connections| connections.open -= 1);
                });
            }
        });
        (Self { url, connections }, site)
    }

    async fn wait_for(&mut self, what: &str, condition: impl FnMut(&Connections) -> bool) {
        let waiting =
            tokio::time::timeout(AMPLE, self.connections.wait_for(condition)).await.map(|seen| *seen.unwrap());
        assert!(waiting.is_ok(), "{what}: {:?}", *self.connections.borrow());
    }
}

impl Site {
    async fn serve(&self, mut stream: TcpStream) {
        while stream.peek(&mut [0]).await.is_ok_and(|count| count > 0) {
            self.connections.send_modify(|connections| connections.busy += 1);
            let request = read_request(&mut stream).await;
            if self.holding.load(Ordering::Relaxed) && !request.contains(NEXT) {
                self.wait_for_the_close(&mut stream).await;
                self.connections.send_modify(|connections| connections.busy -= 1);
                return;
            }
            let ends = self.reply(&mut stream, &request).await;
            self.connections.send_modify(|connections| connections.busy -= 1);
            if ends {
                return;
            }
        }
    }

    /// True if the connection ends with that.
    async fn reply(&self, stream: &mut TcpStream, request: &str) -> bool {
        let lower = request.to_lowercase();
        self.asked.lock().unwrap().push(request.lines().next().unwrap_or_default().to_owned());
        if lower.contains("side: upload") {
            self.upload(stream, request).await;
            return true;
        }
        if lower.contains("side: download") {
            if self.dribble(stream, CHANNEL).await {
                return true;
            }
            let mut nothing = [0];
            let started = tokio::select! {
                () = self.started.notified() => true,
                _ = stream.read(&mut nothing) => false,
            };
            return !started || self.dribble(stream, EXIT).await;
        }
        let Reply::Bytes(bytes) = page(request) else { return true };
        self.dribble(stream, &bytes).await || lower.starts_with("post ")
    }

    async fn upload(&self, stream: &mut TcpStream, request: &str) {
        let mut bytes = request.as_bytes().to_vec();
        while !bytes.windows(START.len()).any(|window| window == START) {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        self.started.notify_one();
        self.wait_for_the_close(stream).await;
    }

    async fn wait_for_the_close(&self, stream: &mut TcpStream) {
        while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
    }

    /// Writes the head, for which the client waits as a whole, and then one byte at a time. True if nobody reads any
    /// more.
    async fn dribble(&self, stream: &mut TcpStream, bytes: &[u8]) -> bool {
        let next = bytes.ends_with(MODE.as_bytes());
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
        let (head, body) = bytes.split_at(head);
        for piece in std::iter::once(head).chain(body.chunks(1)) {
            if self.holding.load(Ordering::Relaxed) && !next {
                self.wait_for_the_close(stream).await;
                return true;
            }
            if stream.write_all(piece).await.is_err() {
                return true;
            }
            // The runtime looks at its sockets after each task: it has come when the others have had their turn.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        false
    }
}

fn page(request: &str) -> Reply {
    let line = request.lines().next().unwrap_or_default();
    let is = |part: &str| line.contains(part);
    let keep = |reply: Reply| match reply {
        Reply::Bytes(bytes) => {
            Reply::Bytes(String::from_utf8_lossy(&bytes).replace("Connection: close\r\n", "").into_bytes())
        }
        other => other,
    };
    if is("POST ") && is("toggleOffline") && !request.contains("c0ffee") {
        answer("403 Forbidden", "", NO_CRUMB)
    } else if is("POST ") {
        answer("302 Found", "Location: .\r\n", "")
    } else if is(NEXT) {
        keep(json(MODE))
    } else if is("/crumbIssuer") {
        answer("200 OK", "Set-Cookie: JSESSIONID=s3; Path=/\r\n", CRUMB)
    } else if is("agent.jnlp") {
        keep(json(JNLP))
    } else if is("/tcpSlaveAgentListener/") {
        keep(answer("200 OK", "X-Jenkins: 2.578\r\nX-Jenkins-JNLP-Port: 50000\r\n", ""))
    } else if is("agent.jar") {
        keep(answer("200 OK", "X-Jenkins: 2.578\r\n", &format!("PK\x03\x04 a class PK\x05\x06{}", "\0".repeat(18))))
    } else if is("/computer/") {
        keep(json(NODE))
    } else {
        keep(answer("200 OK", "", ""))
    }
}

/// Runs the operation as the driver does, and aborts it after so many polls; `None` if it was not through by then.
async fn aborted_after<T: Send + 'static>(
    site: &Arc<Site>,
    polls: usize,
    operation: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (tell, handle) = oneshot::channel::<AbortHandle>();
    let site = Arc::clone(site);
    let task = tokio::spawn(async move {
        let handle = handle.await.unwrap();
        let mut operation = Box::pin(operation);
        let mut polled = 0;
        poll_fn(move |cx| {
            let poll = operation.as_mut().poll(cx);
            polled += 1;
            if poll.is_pending() && polled == polls {
                site.holding.store(true, Ordering::Relaxed);
                handle.abort();
            }
            poll
        })
        .await
    });
    tell.send(task.abort_handle()).unwrap();
    match task.await {
        Ok(outcome) => Some(outcome),
        Err(error) => {
            assert!(error.is_cancelled(), "it panics after {polls} polls: {error}");
            None
        }
    }
}

/// Gives the operation up at every one of its await points; it has to have so many at the least.
fn given_up_everywhere<T, F>(at_least: usize, operation: impl Fn(Arc<Controller>) -> F, after: impl Fn())
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1).build().unwrap();
    runtime.block_on(async {
        let (mut server, site) = Slow::start().await;
        let mut polls = 1;
        loop {
            let client = Arc::new(Controller::new(settings(&server.url)).unwrap());
            let through = aborted_after(&site, polls, operation(Arc::clone(&client))).await.is_some();
            let what = format!("after {polls} polls");
            server.wait_for(&what, |connections| connections.busy == 0).await;
            client.resolved.store(true, Ordering::Relaxed);
            let next = client.get(NEXT).await.map(|answer| answer.status);
            assert!(next.as_ref().is_ok_and(|status| *status == 200), "{what}: the next request brings {next:?}");
            drop(client);
            server.wait_for(&what, |connections| connections.open == 0).await;
            let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
            let ended = async {
                // One of them is the server.
                while alive() > 1 {
                    tokio::task::yield_now().await;
                }
            };
            assert!(tokio::time::timeout(AMPLE, ended).await.is_ok(), "{what}: {} tasks are left", alive() - 1);
            site.holding.store(false, Ordering::Relaxed);
            after();
            if through {
                break;
            }
            polls += 1;
        }
        assert!(polls > at_least, "there were only {polls} polls: {:#?}", site.asked.lock().unwrap());
    });
}

const NUMBER: RequestNumber = RequestNumber(7);

#[test]
fn a_read() {
    given_up_everywhere(NODE.len(), |client| async move { client.read_node(AMPLE).await.unwrap() }, || {});
}

#[test]
fn a_mark_with_its_crumb() {
    let mark = |client: Arc<Controller>| async move {
        let outcome = client.mark_offline(NUMBER, MarkMethod::Toggle, "bye", AMPLE).await;
        assert_eq!(outcome, WriteOutcome::Accepted);
    };
    given_up_everywhere(NO_CRUMB.len() + CRUMB.len(), mark, || {});
}

#[test]
fn a_mark_by_the_setter() {
    let mark = |client: Arc<Controller>| async move {
        let outcome = client.mark_offline(NUMBER, MarkMethod::ChangeCause, "bye", AMPLE).await;
        assert_eq!(outcome, WriteOutcome::Accepted);
    };
    given_up_everywhere(3, mark, || {});
}

#[test]
fn a_lift_over_the_command_line_interface() {
    let lift = |client: Arc<Controller>| async move {
        let outcome = client.lift_mark(NUMBER, LiftMethod::Cli, AMPLE).await;
        assert_eq!(outcome, WriteOutcome::Accepted);
    };
    given_up_everywhere(8, lift, || {});
}

#[test]
fn what_an_inbound_agent_needs() {
    given_up_everywhere(JNLP.len(), |client| async move { client.inbound().await.unwrap() }, || {});
}

#[test]
fn the_jar() {
    let folder = tempfile::tempdir().unwrap();
    let jar = folder.path().join("agent.jar");
    let fetch = |client: Arc<Controller>| {
        let jar = jar.clone();
        async move { client.fetch_agent_jar(&Place::at(jar), None).await.unwrap() }
    };
    // What has been handed to a thread for the disk is brought to its end there.
    let only_whole_ones = || {
        let whole = until_every(Duration::from_millis(1), "half a jar to go", AMPLE, || {
            let names = std::fs::read_dir(folder.path())?.map(|file| file.map(|file| file.file_name()));
            let names = names.collect::<Result<Vec<_>, _>>()?;
            Ok(names.iter().all(|name| name.to_string_lossy().starts_with("agent.jar")).then_some(()))
        });
        whole.unwrap();
        assert!(std::fs::metadata(&jar).map_or(true, |jar| jar.len() > 30));
    };
    given_up_everywhere(30, fetch, only_whole_ones);
    assert!(jar.exists());
}
