//! The command line over HTTP: two requests make one conversation.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::auth::Caller;
use super::commands::{Outcome, run};
use super::faults::Fault;
use super::frames::{ARG, Frame, START};
use super::http::{Reader, Writer};
use super::reply::{Reply, not_found, page};
use super::routes::admit;
use super::serve::{Next, Received};
use super::shared::{Moment, Shared, Upload, Uploaded, answered, carried_out};
use super::world::World;

/// The checks that both requests have to pass.
fn enter(world: &mut World, received: &Received) -> Result<Caller, Reply> {
    let caller = admit(world, &received.question())?;
    if !world.options.has_cli() {
        if !world.options.jenkins_since((2, 54)) {
            return Err(not_found(world, &received.head));
        }
        let slash = if world.options.context_path.is_empty() { "" } else { "/" };
        let location = format!("{slash}{}/cli/?{}", world.options.context_path, received.target.query);
        return Err(Reply::empty(302).vary().with("Location", location));
    }
    if !received.target.query.split('&').any(|field| field == "remoting=false") {
        return Err(Reply::empty(403).vary());
    }
    Ok(caller)
}

/// The second request: what it sends is handed to the first one.
pub(crate) async fn upload(
    shared: &Shared,
    reader: &mut Reader,
    writer: &mut Writer,
    received: &Received,
) -> io::Result<Next> {
    let waiting = received
        .head
        .header("session")
        .and_then(|session| shared.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(session));
    let refused = shared.with(|world| {
        let refused = enter(world, received).err();
        refused.or_else(|| {
            waiting.is_none().then(|| {
                let content = "<h1>Oops!</h1>No download side found";
                page(world, &received.head, 500, "Error", content).vary().with("Hudson-Duplex", "true")
            })
        })
    });
    let (sender, receiver) = mpsc::channel(16);
    let waiting = match (refused, waiting) {
        (None, Some(waiting)) => waiting,
        (refused, _) => {
            let reply = refused.unwrap_or_else(|| Reply::empty(500));
            received.send(shared, writer, &reply).await?;
            return Ok(Next::Close);
        }
    };
    if waiting.send(receiver).is_err() {
        return Ok(Next::Close);
    }
    shared.with(|world| carried_out(world, received.number));
    loop {
        let piece = tokio::select! {
            piece = reader.piece() => piece,
            () = sender.closed() => break,
        };
        let (uploaded, over) = match piece {
            Ok(Some(bytes)) => (Uploaded::Bytes(bytes), false),
            Ok(None) | Err(_) => (Uploaded::End, true),
        };
        if sender.send(uploaded).await.is_err() {
            break;
        }
        if over {
            sender.closed().await;
            break;
        }
    }
    let reply = Reply::empty(200).vary().with("Hudson-Duplex", "true");
    received.send(shared, writer, &reply).await?;
    Ok(Next::Close)
}

/// The first request: its answer is the command's output.
pub(crate) async fn download(
    shared: &Arc<Shared>,
    writer: &mut Writer,
    received: &Received,
    fault: Option<Fault>,
) -> io::Result<Next> {
    let caller = match shared.with(|world| enter(world, received)) {
        Ok(caller) => caller,
        Err(reply) => return received.send(shared, writer, &reply).await,
    };
    let headers = [("Vary", "Accept-Encoding"), ("Hudson-Duplex", "true"), ("Transfer-Encoding", "chunked")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let upload = expect_upload(shared, received);
    shared.with(|world| answered(world, received.number, 200));
    writer.head(200, &headers).await?;
    writer.chunk(&[0]).await?;

    let (window, silence) = shared.look(|world| (world.options.cli_upload_window, world.options.cli_silence));
    let Ok(Ok(mut upload)) = timeout(window, upload).await else {
        let session = received.head.header("session").unwrap_or_default();
        shared.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
        return end(writer).await;
    };
    let Some(command) = read_command(&mut upload, silence).await else { return end(writer).await };
    shared.with(|world| world.requests[received.number - 1].command.clone_from(&command));
    perform(shared, writer, received, fault, &caller, &command, &mut upload).await
}

fn expect_upload(shared: &Shared, received: &Received) -> oneshot::Receiver<Upload> {
    let (sender, receiver) = oneshot::channel();
    let session = received.head.header("session").unwrap_or_default().to_owned();
    shared.uploads.lock().unwrap_or_else(PoisonError::into_inner).insert(session, sender);
    receiver
}

async fn end(writer: &mut Writer) -> io::Result<Next> {
    writer.last_chunk().await?;
    Ok(Next::Close)
}

/// The arguments up to START; `None` when the upload ends or falls silent before.
async fn read_command(upload: &mut Upload, silence: Duration) -> Option<Vec<String>> {
    let mut buffer = Vec::new();
    let mut arguments = Vec::new();
    loop {
        while let Some(frame) = Frame::take(&mut buffer).ok()? {
            match frame.op {
                ARG => arguments.push(frame.as_text()?),
                START => return Some(arguments),
                _ => {}
            }
        }
        match timeout(silence, upload.recv()).await.ok()?? {
            Uploaded::Bytes(bytes) => buffer.extend(bytes),
            Uploaded::End => return None,
        }
    }
}

/// Runs the command and answers it, with what goes wrong by the way.
async fn perform(
    shared: &Arc<Shared>,
    writer: &mut Writer,
    received: &Received,
    fault: Option<Fault>,
    caller: &Caller,
    command: &[String],
    upload: &mut Upload,
) -> io::Result<Next> {
    match fault {
        Some(Fault::Held) | Some(Fault::Delayed(_)) => {
            let (shared, caller, command, number) =
                (Arc::clone(shared), caller.clone(), command.to_vec(), received.number);
            tokio::spawn(async move {
                match fault {
                    Some(Fault::Delayed(delay)) => {
                        tokio::time::sleep(delay).await;
                        carry_out(&shared, number, &caller, &command);
                    }
                    _ => {
                        let _held = shared.held().await;
                        carry_out(&shared, number, &caller, &command);
                    }
                }
            });
            writer.reset_on_close();
            return Ok(Next::Close);
        }
        Some(Fault::HeldOpen) => drop(shared.held().await),
        _ => {}
    }
    let outcome = carry_out(shared, received.number, caller, command);
    let (time, silence, linger) =
        shared.look(|world| (world.options.cli_command_time, world.options.cli_silence, world.options.cli_linger));
    let interrupted = tokio::select! {
        () = tokio::time::sleep(time) => false,
        () = interrupted(upload, silence) => true,
    };
    if !interrupted {
        shared.with(|world| outcome.unsaved.iter().for_each(|node| world.save_mark(node)));
    }
    match fault {
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::HangAfter) => std::future::pending().await,
        Some(Fault::ResetAfter) => {
            writer.reset_on_close();
            return Ok(Next::Close);
        }
        Some(Fault::CloseAfter) => return Ok(Next::Close),
        Some(Fault::Truncated) => return end(writer).await,
        _ => {}
    }
    let mut out: Vec<u8> = outcome.frames.iter().flat_map(Frame::encode).collect();
    out.extend(Frame::exit(outcome.code).encode());
    writer.chunk(&out).await?;
    tokio::time::sleep(linger).await;
    end(writer).await
}

fn carry_out(shared: &Shared, request: usize, caller: &Caller, command: &[String]) -> Outcome {
    shared.with(|world| {
        shared.call_hook(world, request, Moment::Before);
        let outcome = run(world, caller, command);
        if outcome.code == 0 {
            carried_out(world, request);
        }
        shared.call_hook(world, request, Moment::After);
        outcome
    })
}

/// Returns when the upload ends or falls silent, which interrupts the command's thread.
async fn interrupted(upload: &mut Upload, silence: Duration) {
    while let Ok(Some(Uploaded::Bytes(_))) = timeout(silence, upload.recv()).await {}
}
