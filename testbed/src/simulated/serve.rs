//! The server: takes connections and plays each request, with the fault that befalls it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::faults::Fault;
use super::http::{Head, Reader, Writer, connection};
use super::log::{Entry, RequestInfo};
use super::reply::{Reply, container_error, refusal, unauthorized};
use super::request::{Operation, Target, basic_credentials};
use super::routes::Question;
use super::shared::{Shared, answered};
use super::world::World;
use super::{agents, duplex};

/// How often builds look whether their gate is there.
const BUILD_PACE: Duration = Duration::from_millis(20);

/// What becomes of the connection.
pub(crate) enum Next {
    Keep,
    Close,
}

/// Serves until the future is dropped.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let builds = Arc::clone(&shared);
    tokio::spawn(async move {
        let mut pace = tokio::time::interval(BUILD_PACE);
        loop {
            pace.tick().await;
            builds.advance();
        }
    });
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            // A connection that breaks is the client's affair.
            tokio::spawn(async move { drop(attend(&shared, stream).await) });
        }
    }
}

async fn attend(shared: &Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = connection(stream);
    while let Some(head) = reader.head().await? {
        let keep = head.keep_alive();
        match exchange(shared, &mut reader, &mut writer, head).await? {
            Next::Keep if keep => {}
            Next::Keep | Next::Close => break,
        }
    }
    Ok(())
}

/// A request that has been received.
pub(crate) struct Received {
    pub(crate) number: usize,
    pub(crate) head: Head,
    pub(crate) target: Target,
    pub(crate) operation: Operation,
    pub(crate) node: Option<String>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn question(&self) -> Question<'_> {
        Question {
            head: &self.head,
            target: &self.target,
            operation: self.operation,
            node: self.node.as_deref(),
            body: &self.body,
        }
    }

    /// Sends a whole answer.
    pub(crate) async fn send(&self, shared: &Shared, writer: &mut Writer, reply: &Reply) -> io::Result<Next> {
        shared.with(|world| answered(world, self.number, reply.status));
        writer.raw(&reply.encode(self.head.method == "HEAD")).await?;
        Ok(Next::Keep)
    }
}

async fn exchange(shared: &Arc<Shared>, reader: &mut Reader, writer: &mut Writer, head: Head) -> io::Result<Next> {
    let context_path = shared.look(|world| world.options.context_path.clone());
    let target = Target::new(&head, &context_path);
    let (operation, node) = target.operation(&head);
    if head.header("expect").is_some() {
        writer.raw(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let streams = matches!(operation, Operation::CliUpload | Operation::Connect);
    let body = if streams { Vec::new() } else { reader.body().await? };
    let body = String::from_utf8_lossy(&body).into_owned();
    let mut received = Received { number: 0, head, target, operation, node, body };
    let (fault, starting) = shared.with(|world| {
        received.number = receive(world, &received);
        let fault = world.faults.strike(&world.requests[received.number - 1]);
        let starting = if fault.is_none() { world.startup_refusal() } else { None };
        (fault, starting.map(|starting| refusal(world, &received.head, starting)))
    });
    if let Some(reply) = starting {
        received.send(shared, writer, &reply).await?;
        return Ok(if streams { Next::Close } else { Next::Keep });
    }
    if let Some(fault) = &fault
        && let Some(next) = befall(shared, reader, writer, &received, fault).await?
    {
        return Ok(if streams { Next::Close } else { next });
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "everything that is not a conversation has one answer")]
    match operation {
        Operation::Connect => agents::attend(shared, reader, writer, &received, fault).await,
        Operation::CliDownload => duplex::download(shared, writer, &received, fault).await,
        Operation::CliUpload => duplex::upload(shared, reader, writer, &received).await,
        _ => play(shared, reader, writer, received, fault).await,
    }
}

fn receive(world: &mut World, received: &Received) -> usize {
    let number = world.requests.len() + 1;
    world.requests.push(RequestInfo {
        number,
        method: received.head.method.clone(),
        path: received.target.segments().join("/"),
        query: received.target.query.clone(),
        operation: received.operation,
        node: received.node.clone(),
        user: basic_credentials(&received.head).map(|(user, _)| user),
        headers: received.head.headers.clone(),
        body: received.body.clone(),
        command: Vec::new(),
        status: None,
        carried_out: false,
    });
    world.timeline.push(Entry::Received { request: number });
    number
}

/// The faults that keep a request from being carried out; `None` for the others.
async fn befall(
    shared: &Shared,
    reader: &mut Reader,
    writer: &mut Writer,
    received: &Received,
    fault: &Fault,
) -> io::Result<Option<Next>> {
    let reply = match fault {
        Fault::HangBefore => {
            reader.closed().await;
            return Ok(Some(Next::Close));
        }
        Fault::ResetBefore => {
            writer.reset_on_close();
            return Ok(Some(Next::Close));
        }
        Fault::CloseBefore => return Ok(Some(Next::Close)),
        Fault::Endless => {
            shared.with(|world| answered(world, received.number, 200));
            endless(writer).await?;
            return Ok(Some(Next::Close));
        }
        Fault::Html => Reply::empty(200)
            .with("Content-Type", "text/html;charset=utf-8")
            .body("<!DOCTYPE html><html><head><title>Portal</title></head><body>Please log in</body></html>"),
        Fault::Status(401) => shared.look(unauthorized),
        Fault::Status(status) => container_error(*status, super::http::reason(*status)),
        Fault::Throttled(status, after) => {
            container_error(*status, super::http::reason(*status)).with("Retry-After", after.as_str())
        }
        Fault::Redirect(status, location) => Reply::empty(*status).with("Location", location.as_str()),
        Fault::Slow(_)
        | Fault::HangAfter
        | Fault::ResetAfter
        | Fault::CloseAfter
        | Fault::Truncated
        | Fault::HangMidway
        | Fault::Delayed(_)
        | Fault::Held
        | Fault::HeldOpen => return Ok(None),
    };
    received.send(shared, writer, &reply).await.map(Some)
}

/// A JSON object that begins well and never ends; it stops when the client no longer takes it.
async fn endless(writer: &mut Writer) -> io::Result<()> {
    let headers = [("Content-Type", "application/json;charset=utf-8"), ("Transfer-Encoding", "chunked")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    writer.head(200, &headers).await?;
    writer.chunk(b"{\"temporarilyOffline\":false,\"offline\":false,\"padding\":\"").await?;
    let padding = vec![b'x'; 64 * 1024];
    loop {
        writer.chunk(&padding).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Carries a request out and answers it, with what goes wrong after that.
async fn play(
    shared: &Arc<Shared>,
    reader: &mut Reader,
    writer: &mut Writer,
    received: Received,
    fault: Option<Fault>,
) -> io::Result<Next> {
    match &fault {
        Some(Fault::Delayed(delay)) => {
            let (shared, delay) = (Arc::clone(shared), *delay);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                shared.carry_out(received.number, &received.question());
            });
            writer.reset_on_close();
            return Ok(Next::Close);
        }
        Some(Fault::Held) => {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                let _held = shared.held().await;
                shared.carry_out(received.number, &received.question());
            });
            writer.reset_on_close();
            return Ok(Next::Close);
        }
        _ => {}
    }
    let held = if fault == Some(Fault::HeldOpen) { Some(shared.held().await) } else { None };
    let reply = shared.carry_out(received.number, &received.question());
    drop(held);
    match fault {
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::HangAfter) => {
            reader.closed().await;
            return Ok(Next::Close);
        }
        Some(Fault::ResetAfter) => {
            writer.reset_on_close();
            return Ok(Next::Close);
        }
        Some(Fault::CloseAfter) => return Ok(Next::Close),
        Some(fault @ (Fault::Truncated | Fault::HangMidway)) => {
            shared.with(|world| answered(world, received.number, reply.status));
            let whole = reply.encode(false);
            let cut = whole.len() - reply.body.len().div_ceil(2);
            writer.raw(&whole[..cut]).await?;
            if fault == Fault::HangMidway {
                reader.closed().await;
            }
            return Ok(Next::Close);
        }
        _ => {}
    }
    received.send(shared, writer, &reply).await
}
