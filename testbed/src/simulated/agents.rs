//! The agents' side, by a protocol of our own: `POST testbed/connect/NAME` with the header `Agent-Secret`. The answer
//! is 403 (a wrong secret), 404 (no such node), 409 (already connected), or 200 with a body that begins with the line
//! `connected` and lasts as long as the channel; `terminated` is its last line when the controller ends it. The
//! request's body is chunked; its proper end is the agent's goodbye, any other end an unclean death.

use std::io;

use tokio::sync::watch;

use super::faults::Fault;
use super::http::{Reader, Writer};
use super::reply::Reply;
use super::serve::{Next, Received};
use super::shared::{Moment, Shared, answered, carried_out};
use super::world::Rejection;

pub(crate) async fn attend(
    shared: &Shared,
    reader: &mut Reader,
    writer: &mut Writer,
    received: &Received,
    fault: Option<Fault>,
) -> io::Result<Next> {
    if let Some(Fault::Slow(delay)) = fault {
        tokio::time::sleep(delay).await;
    }
    let name = received.node.as_deref().unwrap_or_default();
    let secret = received.head.header("agent-secret");
    let changes = shared.changes();
    let id = match shared.with(|world| world.accept_agent(name, secret)) {
        Ok(id) => id,
        Err(rejection) => {
            let words = match rejection {
                Rejection::WrongSecret => format!("{name}: wrong secret\n"),
                Rejection::NoSuchNode => format!("{name}: unknown client name\n"),
                Rejection::AlreadyConnected => {
                    format!("{name} is already connected to this controller. Rejecting this connection.\n")
                }
            };
            let reply = Reply::empty(rejection.status()).with("Content-Type", "text/plain;charset=utf-8").body(words);
            received.send(shared, writer, &reply).await?;
            return Ok(Next::Close);
        }
    };
    let lasted = channel(shared, reader, writer, received, id, changes).await;
    // Whatever ends the conversation without a goodbye is an unclean death.
    let clean = matches!(lasted, Ok(true));
    if shared.with(|world| world.agent_left(name, id, clean)) {
        let (window, mut changes) = (shared.look(|world| world.options.stale_channel), shared.changes());
        tokio::select! {
            () = tokio::time::sleep(window) => {}
            () = until_lost(shared, &mut changes, name, id) => {}
        }
        shared.with(|world| {
            if world.holds(name, id) {
                world.lose_channel(name);
            }
        });
    }
    Ok(Next::Close)
}

/// Keeps the channel; true when the agent said goodbye, false when the controller ended it.
async fn channel(
    shared: &Shared,
    reader: &mut Reader,
    writer: &mut Writer,
    received: &Received,
    id: u64,
    mut changes: watch::Receiver<u64>,
) -> io::Result<bool> {
    let name = received.node.as_deref().unwrap_or_default();
    let become_up = || {
        shared.with(|world| {
            world.agent_up(name, id);
            carried_out(world, received.number);
            shared.call_hook(world, received.number, Moment::AgentConnected);
        });
    };
    let connect_time = shared.look(|world| world.options.connect_time);
    let mut up = connect_time.is_zero();
    if up {
        become_up();
    }
    shared.with(|world| answered(world, received.number, 200));
    writer.head(200, &[("Transfer-Encoding".to_owned(), "chunked".to_owned())]).await?;
    writer.chunk(b"connected\n").await?;
    let connecting = tokio::time::sleep(connect_time);
    tokio::pin!(connecting);
    loop {
        tokio::select! {
            () = &mut connecting, if !up => {
                up = true;
                become_up();
            }
            piece = reader.piece() => {
                if piece?.is_none() {
                    return Ok(true);
                }
            }
            () = until_lost(shared, &mut changes, name, id) => {
                writer.chunk(b"terminated\n").await?;
                writer.last_chunk().await?;
                return Ok(false);
            }
        }
    }
}

/// Returns once this channel is no longer the node's.
async fn until_lost(shared: &Shared, changes: &mut watch::Receiver<u64>, name: &str, id: u64) {
    while shared.look(|world| world.holds(name, id)) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}
