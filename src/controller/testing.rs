//! A server that answers as a test says, and the settings of a client for it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Account, Controller, CredentialError, CredentialSource, Marker, Settings};

/// Long enough for every answer that comes at all.
pub(crate) const AMPLE: Duration = Duration::from_secs(60);

/// What happens to one request.
pub(crate) enum Reply {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// The connection is closed without an answer.
    Close,
    /// Nothing, until the other side closes.
    Hang,
}

/// Answers one request a connection.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    /// How many connections the other side has closed while it hung.
    hangups: tokio::sync::watch::Receiver<u32>,
    pub(crate) hanging: tokio::sync::watch::Receiver<u32>,
}

impl Server {
    /// `answer` is given each request, head and body, as text.
    pub(crate) async fn start(answer: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (hung_up, hangups) = tokio::sync::watch::channel(0);
        let (hangs, hanging) = tokio::sync::watch::channel(0);
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                let reply = answer(&request);
                seen.lock().unwrap().push(request);
                match reply {
                    Reply::Bytes(bytes) => {
                        // The other side may have had enough before the end.
                        let _ = stream.write_all(&bytes).await;
                    }
                    Reply::Close => {}
                    Reply::Hang => {
                        hangs.send_modify(|count| *count += 1);
                        let _ = stream.read(&mut [0; 16]).await;
                        hung_up.send_modify(|count| *count += 1);
                    }
                }
            }
        });
        Self { url, requests, hangups, hanging }
    }

    /// The first lines of what was asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let line = |request: &String| request.lines().next().unwrap_or_default().replace(" HTTP/1.1", "");
        self.requests.lock().unwrap().iter().map(line).collect()
    }

    /// What was asked, in full.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until the other side has closed a connection that hung.
    pub(crate) async fn hung_up_once(&mut self) {
        let closed = self.hangups.wait_for(|count| *count == 1);
        let closed = tokio::time::timeout(AMPLE, closed).await.expect("the connection was left open");
        assert_eq!(*closed.unwrap(), 1);
    }

    /// A client for the node `n 1` with a user and a token.
    pub(crate) fn client(&self) -> Controller {
        Controller::new(settings(&self.url)).unwrap()
    }
}

/// Credentials that are always the same.
pub(crate) fn fixed(user: &str, secret: &str) -> CredentialSource {
    let account = Account { user: user.to_owned(), secret: secret.into() };
    CredentialSource { file: None, read: Arc::new(move || Ok(account.clone())) }
}

/// Credentials of a file with `USER:TOKEN`.
pub(crate) fn from_file(path: &Path) -> CredentialSource {
    let file = path.to_owned();
    let read = move || {
        let text = std::fs::read_to_string(&file).map_err(|error| CredentialError::Unreadable(error.to_string()))?;
        let (user, secret) = text.split_once(':').unwrap();
        Ok(Account { user: user.to_owned(), secret: secret.into() })
    };
    CredentialSource { file: Some(path.to_owned()), read: Arc::new(read) }
}

pub(crate) fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        node: "n 1".to_owned(),
        credentials: Some(fixed("op", "hunter2")),
        token_variable: None,
        ca_file: None,
        marker: Marker::new("h", "r"),
        online_match: None,
        claimed: false,
        user_agent: "agent-wrap-test".to_owned(),
    }
}

/// An answer with a body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Reply {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    Reply::Bytes([head.as_bytes(), body.as_bytes()].concat())
}

/// A page of a controller.
pub(crate) fn json(body: &str) -> Reply {
    answer("200 OK", "X-Jenkins: 2.578\r\nContent-Type: application/json\r\n", body)
}

/// Reads a head, and a body if its length is told.
pub(crate) async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = |line: &str| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            };
            if body.len() >= head.lines().find_map(length).unwrap_or(0) {
                return text;
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return text,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}
