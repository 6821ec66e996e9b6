//! One command: the download brings what it says, the upload carries what we say and stays open until it has ended,
//! because the end of the upload interrupts the command before its result is saved.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agent_wrap_supervisor::{Failure, FailureKind, WriteOutcome};
use futures_core::Stream;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use super::frames::{Decoder, FrameError, Heard, Say};
use crate::controller::client::Controller;
use crate::controller::error::ControllerError;
use crate::controller::http::retry_after;
use crate::controller::http::{header, shown};
use crate::quoted::quoted;

/// A proxy that buffers requests lets nothing through; a controller without one needs less than half a second.
const DEADLINE: Duration = Duration::from_secs(3);

/// A controller gives up an upload on which nothing comes for thirty seconds.
const PING: Duration = Duration::from_secs(1);

/// How much of what a command says is kept, in bytes.
const WORDS_LIMIT: usize = 4096;

/// How a command ended that has answered.
struct Finished {
    code: i32,
    words: String,
}

/// How far it has come: before the upload's first byte was handed over, nothing can have been carried out.
type Handed = Arc<AtomicBool>;

impl Controller {
    /// `online-node`, within the deadline of the CLI or `within`, whichever is shorter.
    pub(in crate::controller) async fn cli_lift(&self, within: Duration) -> WriteOutcome {
        let name = self.node.plain();
        if name.starts_with(['@', '-']) {
            let words = format!("the CLI would take the node's name {} for an option or a file", quoted(name));
            return WriteOutcome::Unsupported { words };
        }
        let handed = Handed::default();
        let deadline = within.min(DEADLINE);
        match time::timeout(deadline, self.run_cli(&["online-node", name], &handed)).await {
            Ok(Ok(finished)) => self.judge_exit(&finished),
            Ok(Err(outcome)) => outcome,
            Err(_) => late(&self.root().page("cli"), deadline, &handed),
        }
    }

    async fn run_cli(&self, args: &[&str], handed: &Handed) -> Result<Finished, WriteOutcome> {
        self.ensure_resolved().await.map_err(|error| WriteOutcome::Failed(error.into()))?;
        let url = self.root().page("cli?remoting=false");
        let session = session_id().map_err(|why| unsupported(&url, &why))?;
        let mut download = self.download(&url, &session).await?;
        if download.status() == StatusCode::UNAUTHORIZED && self.credentials_changed().await {
            download = self.download(&url, &session).await?;
        }
        self.check_download(&download)?;

        let (say, frames) = mpsc::unbounded_channel();
        let opening = opening(args).ok_or_else(|| unsupported(&url, "an argument is too long"))?;
        // The receiver is right here.
        let _ = say.send(opening);
        let body = Body::wrap_stream(Upload { frames, handed: Arc::clone(handed) });
        let upload = self.side(&url, &session, "upload").header(CONTENT_TYPE, "application/octet-stream").body(body);
        let upload = upload.send();
        tokio::pin!(upload);
        let mut uploading = true;
        let mut listener = Listener { decoder: Decoder::default(), words: Vec::new() };
        let mut ping = time::interval(PING);
        ping.reset();
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                chunk = download.chunk() => match chunk {
                    Ok(Some(chunk)) => if let Some(finished) = listener.hear(&chunk).map_err(|e| garbage(&url, e))? {
                        return Ok(finished);
                    },
                    Ok(None) => return Err(ended_early(&url, handed)),
                    Err(error) => return Err(unknown_if_handed(&url, self.broken(&url, &error), handed)),
                },
                answer = &mut upload, if uploading => {
                    uploading = false;
                    self.check_upload(&url, answer, handed)?;
                }
                _ = ping.tick() => send_ping(&say),
            }
        }
    }

    fn side(&self, url: &Url, session: &str, side: &str) -> reqwest::RequestBuilder {
        self.fresh(Method::POST, url.clone()).header("Session", session).header("Side", side)
    }

    async fn download(&self, url: &Url, session: &str) -> Result<Response, WriteOutcome> {
        self.side(url, session, "download").body("").send().await.map_err(|error| {
            let broken = self.broken(url, &error);
            if error.is_connect() { WriteOutcome::Failed(broken.into()) } else { unsupported(url, &broken.to_string()) }
        })
    }

    /// Nothing has been asked for yet, so nothing can have been carried out.
    fn check_download(&self, download: &Response) -> Result<(), WriteOutcome> {
        let url = download.url();
        match download.status() {
            StatusCode::OK if header(download.headers(), "hudson-duplex").is_some() => Ok(()),
            StatusCode::UNAUTHORIZED => {
                let challenge = header(download.headers(), "www-authenticate");
                Err(WriteOutcome::Failed(self.unauthenticated(url, challenge).into()))
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let (status, retry_after) = (download.status().as_u16(), retry_after(download.headers()));
                Err(WriteOutcome::Failed(ControllerError::ServerError { url: shown(url), status, retry_after }.into()))
            }
            status => Err(unsupported(url, &format!("it answered {}, without a channel", status.as_u16()))),
        }
    }

    fn check_upload(
        &self,
        url: &Url,
        answer: Result<Response, reqwest::Error>,
        handed: &Handed,
    ) -> Result<(), WriteOutcome> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Err(WriteOutcome::Failed(self.broken(url, &error).into())),
            Err(error) => return Err(unknown_if_handed(url, self.broken(url, &error), handed)),
        };
        let status = answer.status();
        if status.is_success() {
            // What the command does comes over the other one.
            Ok(())
        } else if status == StatusCode::INTERNAL_SERVER_ERROR || !status.is_server_error() {
            // 500 is what a controller says to the upload of a session that it does not know.
            Err(unsupported(url, &format!("the upload was answered with {}", status.as_u16())))
        } else {
            let retry_after = retry_after(answer.headers());
            let error = ControllerError::ServerError { url: shown(url), status: status.as_u16(), retry_after };
            Err(unknown_if_handed(url, error, handed))
        }
    }

    fn judge_exit(&self, finished: &Finished) -> WriteOutcome {
        let url = shown(&self.root().page("cli"));
        let words = finished.words.as_str();
        match finished.code {
            0 => WriteOutcome::Accepted,
            2 => WriteOutcome::Unsupported { words: format!("{url}: {words}") },
            3 => WriteOutcome::Failed(
                ControllerError::NoSuchNode { root: self.url(), node: self.node.plain().to_owned() }.into(),
            ),
            6 => {
                let missing = words.split_once(" is missing the ");
                let error = ControllerError::Forbidden {
                    url,
                    who: missing.map(|(who, _)| who.to_owned()).or_else(|| self.credentials.user()),
                    permission: Some(
                        missing.map_or(words, |(_, rest)| rest.trim_end_matches(" permission")).to_owned(),
                    )
                    .filter(|permission| !permission.is_empty()),
                };
                WriteOutcome::Failed(error.into())
            }
            7 => {
                let page = self.root().page("cli");
                WriteOutcome::Failed(self.unauthenticated(&page, None).into())
            }
            code => WriteOutcome::Unknown(Failure::new(
                FailureKind::Unavailable,
                format!("{url}: online-node ended with {code}: {words}; the controller's log says more"),
            )),
        }
    }
}

/// What the upload sends.
struct Upload {
    frames: mpsc::UnboundedReceiver<Vec<u8>>,
    handed: Handed,
}

impl Stream for Upload {
    type Item = Result<Vec<u8>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let bytes = ready!(self.frames.poll_recv(cx));
        self.handed.store(true, Ordering::Relaxed);
        Poll::Ready(bytes.map(Ok))
    }
}

/// What the download brings.
struct Listener {
    decoder: Decoder,
    words: Vec<u8>,
}

impl Listener {
    fn hear(&mut self, bytes: &[u8]) -> Result<Option<Finished>, FrameError> {
        self.decoder.push(bytes);
        while let Some(heard) = self.decoder.next()? {
            match heard {
                Heard::Exit(code) => return Ok(Some(Finished { code, words: self.words() })),
                Heard::Output(output) => {
                    let room = WORDS_LIMIT.saturating_sub(self.words.len()).min(output.len());
                    self.words.extend_from_slice(&output[..room]);
                }
                Heard::Other(op) => tracing::trace!(op, "a frame that means nothing here"),
            }
        }
        Ok(None)
    }

    /// The first line with something on it.
    fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.words);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
        let line = line.strip_prefix("ERROR: ").unwrap_or(line);
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

fn opening(args: &[&str]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for arg in args {
        Say::Arg(arg).encode(&mut bytes)?;
    }
    for say in [Say::Encoding("UTF-8"), Say::Locale("en"), Say::Start] {
        say.encode(&mut bytes)?;
    }
    Some(bytes)
}

fn send_ping(say: &mpsc::UnboundedSender<Vec<u8>>) {
    let mut bytes = Vec::new();
    if Say::Encoding("UTF-8").encode(&mut bytes).is_some() {
        // An upload that is over needs no sign of life.
        let _ = say.send(bytes);
    }
}

/// Through a proxy that buffers, the controller's side is silent whether it has got the command or not.
fn late(url: &Url, deadline: Duration, handed: &Handed) -> WriteOutcome {
    let words = format!(
        "the CLI at {} said nothing within {}; a proxy that buffers requests breaks it (for nginx: \
         proxy_request_buffering off)",
        shown(url),
        humantime::format_duration(deadline)
    );
    if handed.load(Ordering::Relaxed) {
        WriteOutcome::Unknown(Failure::new(FailureKind::Unavailable, words))
    } else {
        WriteOutcome::Unsupported { words }
    }
}

fn unsupported(url: &Url, why: &str) -> WriteOutcome {
    WriteOutcome::Unsupported { words: format!("the CLI at {} cannot be used: {why}", shown(url)) }
}

fn garbage(url: &Url, error: FrameError) -> WriteOutcome {
    if error == FrameError::Prologue {
        // Hudson opens such a channel too, but speaks another language on it and does not understand ours.
        return unsupported(url, &error.to_string());
    }
    WriteOutcome::Unknown(ControllerError::Garbage { url: shown(url), why: error.to_string() }.into())
}

fn ended_early(url: &Url, handed: &Handed) -> WriteOutcome {
    let why = "the CLI's answer ended without a result; a proxy cuts it off".to_owned();
    unknown_if_handed(url, ControllerError::Unreachable { url: shown(url), why }, handed)
}

fn unknown_if_handed(url: &Url, error: ControllerError, handed: &Handed) -> WriteOutcome {
    if handed.load(Ordering::Relaxed) {
        WriteOutcome::Unknown(error.into())
    } else {
        unsupported(url, &error.to_string())
    }
}

/// A random UUID (version 4), by which the controller joins the two requests.
fn session_id() -> Result<String, String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}
