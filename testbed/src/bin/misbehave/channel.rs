//! The channel to the controller.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, raise};

use crate::arguments::Options;
use crate::{Exit, children, complain, reexec, say};

/// The open channel, where there is one, so that the end of the process can say goodbye.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stream: Option<TcpStream>,
    /// The process is about to end.
    ended: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, stream: Option<TcpStream>) {
        self.lock().stream = stream;
    }

    /// Tells the controller that this is an end, not an accident.
    pub(crate) fn say_goodbye(&self) {
        let mut state = self.lock();
        state.ended = true;
        if let Some(mut stream) = state.stream.take() {
            // A controller that is gone needs no goodbye.
            drop(stream.write_all(b"0\r\n\r\n"));
        }
    }

    /// Executes the program again, unless the process is about to end: the goodbye makes the controller drop the
    /// channel, which must not become the begin of another life. Returns when it fails or is not wanted any more.
    fn live_again(&self) -> Option<Error> {
        let state = self.lock();
        (!state.ended).then(reexec::again)
    }
}

/// Where to connect, as whom.
struct Place {
    root: String,
    name: String,
    secret: String,
}

/// How a try to connect went wrong.
enum Failure {
    /// The controller did not answer.
    Unreachable(Error),
    /// It said no.
    Refused(String),
}

/// Connects and stays connected until it is told otherwise.
pub(crate) fn work(options: &Options, line: &Line) -> Exit {
    if let Some(folder) = &options.work_dir
        && std::fs::create_dir_all(folder).is_err()
    {
        complain(&format!("SEVERE: cannot write to {}", folder.display()));
        return Exit(1);
    }
    loop {
        match place(options).and_then(|place| open(&place)) {
            Ok(stream) => {
                line.set(stream.get_ref().try_clone().ok());
                complain("INFO: Connected");
                if let Some(exit) = connected(options) {
                    return exit;
                }
                if options.drop_while.as_ref().is_some_and(|file| file.exists()) {
                    stay_awhile(stream);
                } else if !options.re_exec || reexec::is_second_life() {
                    until_dropped(stream);
                }
                line.set(None);
                complain("INFO: Terminated");
                if options.no_reconnect && !options.re_exec {
                    return Exit(0);
                }
                wait(options);
                if let Some(error) = line.live_again() {
                    complain(&format!("SEVERE: cannot execute itself again: {error}"));
                }
                return Exit(1);
            }
            Err(Failure::Refused(words)) if options.web_socket => {
                complain(&format!("SEVERE: Handshake error. {words}"))
            }
            Err(Failure::Refused(words)) => {
                complain(&format!("SEVERE: The server rejected the connection: {words}"));
                if options.no_reconnect {
                    return Exit(1);
                }
            }
            Err(Failure::Unreachable(error)) if error.kind() == ErrorKind::InvalidInput => {
                complain(&error.to_string());
                return Exit(0);
            }
            Err(Failure::Unreachable(error)) => {
                complain(&format!("SEVERE: Failed to connect to the controller: {error}"));
                if options.no_reconnect {
                    return Exit(1);
                }
            }
        }
        wait(options);
    }
}

/// What it does as soon as it is connected.
fn connected(options: &Options) -> Option<Exit> {
    if options.stop_self
        && let Err(error) = raise(Signal::SIGSTOP)
    {
        complain(&format!("SEVERE: cannot stop itself: {error}"));
    }
    if options.storm > 0 {
        match children::storm(options.storm) {
            Ok(()) => say("storm over"),
            Err(error) => complain(&format!("SEVERE: cannot make that many orphans: {error}")),
        }
    }
    options.exit_after_connect.map(Exit)
}

#[expect(clippy::disallowed_methods, reason = "a real agent waits for a time before it connects again")]
fn wait(options: &Options) {
    thread::sleep(options.reconnect_delay());
}

#[expect(clippy::disallowed_methods, reason = "long enough to be seen connected")]
fn stay_awhile(stream: BufReader<TcpStream>) {
    thread::sleep(Duration::from_millis(1500));
    drop(stream);
}

fn place(options: &Options) -> std::result::Result<Place, Failure> {
    let missing = |what: &str| {
        let error = Error::new(ErrorKind::InvalidInput, format!("\"-{what}\" is required"));
        Failure::Unreachable(error)
    };
    if let Some(url) = &options.jnlp_url {
        return described(url, options.credentials.as_deref());
    }
    Ok(Place {
        root: options.url.clone().ok_or_else(|| missing("url"))?,
        name: options.name.clone().ok_or_else(|| missing("name"))?,
        secret: options.secret.clone().ok_or_else(|| missing("secret"))?,
    })
}

/// Reads the node's jnlp file.
fn described(url: &str, credentials: Option<&str>) -> std::result::Result<Place, Failure> {
    let foreign = || Error::new(ErrorKind::InvalidInput, format!("{url} names no node's jnlp file"));
    let (root, node) = url.split_once("computer/").ok_or_else(foreign)?;
    let authorization = credentials.map(|plain| format!("Authorization: Basic {}\r\n", base64(plain)));
    let request = format!("{}Connection: close\r\n\r\n", authorization.unwrap_or_default());
    let (status, mut stream) = ask("GET", root, &format!("computer/{node}"), &request)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if status != 200 {
        return Err(Failure::Refused(format!("{url}: {status}")));
    }
    let arguments = text.split("<argument>").skip(1).filter_map(|rest| rest.split("</argument>").next());
    let mut arguments = arguments.map(unescaped);
    let secret = arguments.next().ok_or_else(foreign)?;
    let name = arguments.next().ok_or_else(foreign)?;
    Ok(Place { root: root.to_owned(), name, secret })
}

/// The text of an XML element.
fn unescaped(text: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#039;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// Opens the channel.
fn open(place: &Place) -> std::result::Result<BufReader<TcpStream>, Failure> {
    let headers = format!("Agent-Secret: {}\r\nTransfer-Encoding: chunked\r\n\r\n", place.secret);
    let path = format!("testbed/connect/{}", encoded(&place.name));
    let (status, mut stream) = ask("POST", &place.root, &path, &headers)?;
    if status == 200 {
        // The first chunk, "connected": its length, its line, and the empty rest.
        for _ in 0..3 {
            next_line(&mut stream)?;
        }
        return Ok(stream);
    }
    let mut words = String::new();
    stream.read_to_string(&mut words)?;
    match status {
        403 | 404 | 409 => Err(Failure::Refused(words.trim().to_owned())),
        _ => Err(Failure::Unreachable(Error::other(format!("the controller answers {status}")))),
    }
}

/// Sends a request and reads the head of its answer.
fn ask(method: &str, root: &str, path: &str, headers: &str) -> Result<(u16, BufReader<TcpStream>)> {
    let foreign = || Error::new(ErrorKind::InvalidInput, format!("{root} is no URL with http"));
    let (authority, context) = root.strip_prefix("http://").ok_or_else(foreign)?.split_once('/').unwrap_or((root, ""));
    let context = context.trim_end_matches('/');
    let slash = if context.is_empty() { "" } else { "/" };
    let mut stream = TcpStream::connect(authority)?;
    let request = format!("{method} /{context}{slash}{path} HTTP/1.1\r\nHost: {authority}\r\n{headers}");
    stream.write_all(request.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let status = next_line(&mut stream)?;
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
    while !next_line(&mut stream)?.is_empty() {}
    status.map(|status| (status, stream)).ok_or_else(|| Error::other("this is no HTTP"))
}

fn next_line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// Returns once the controller has ended the channel.
fn until_dropped(mut stream: BufReader<TcpStream>) {
    while let Ok(line) = next_line(&mut stream) {
        if line == "terminated" {
            return;
        }
    }
}

fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn base64(plain: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in plain.as_bytes().chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, &byte| (bits << 8) | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            out.push(if digit <= group.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    out
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Unreachable(error)
    }
}
