use std::time::Duration;

use agent_wrap_supervisor::{FailureKind, LiftMethod, RequestNumber, WriteOutcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::controller::Controller;
use crate::controller::testing::{AMPLE, Reply, Server, answer, read_request, settings};

const CHANNEL: &[u8] = b"HTTP/1.1 200 OK\r\nHudson-Duplex: true\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\0\r\n";
const START: &[u8] = &[0, 0, 0, 0, 3];

/// A controller's side of the CLI, after the login page.
struct Cli {
    listener: TcpListener,
    client: Controller,
}

impl Cli {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Controller::new(settings(&format!("http://{}/", listener.local_addr().unwrap()))).unwrap();
        Self { listener, client }
    }

    async fn lift(&self) -> WriteOutcome {
        self.client.lift_mark(RequestNumber(1), LiftMethod::Cli, AMPLE).await
    }

    async fn accept(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let head = read_request(&mut stream).await;
        (stream, head)
    }

    /// Answers the login page and opens the download's channel.
    async fn download(&self) -> (TcpStream, String) {
        let (mut login, _) = self.accept().await;
        login.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let (mut stream, head) = self.accept().await;
        stream.write_all(CHANNEL).await.unwrap();
        (stream, head)
    }

    /// The upload, once the command has been started.
    async fn upload(&self) -> (TcpStream, Vec<u8>) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.windows(START.len()).any(|window| window == START) {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the upload ended");
        }
        (stream, bytes)
    }
}

/// Both sides to their ends; a side that never ends is a failure.
async fn both<A, B>(client: impl Future<Output = A>, controller: impl Future<Output = B>) -> (A, B) {
    let sides = async { tokio::join!(client, controller) };
    tokio::time::timeout(AMPLE, sides).await.expect("one of the sides hangs")
}

/// A chunk of a body.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn frame(op: u8, payload: &[u8]) -> Vec<u8> {
    [u32::try_from(payload.len()).unwrap().to_be_bytes().as_slice(), &[op], payload].concat()
}

fn header(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
}

/// What becomes of a command that ends so.
async fn ending(words: &str, code: i32) -> WriteOutcome {
    let cli = Cli::start().await;
    let controller = async {
        let (mut download, _) = cli.download().await;
        let (upload, _) = cli.upload().await;
        let said = [frame(8, b"\n"), frame(8, words.as_bytes()), frame(4, &code.to_be_bytes())].concat();
        download.write_all(&chunk(&said)).await.unwrap();
        (download, upload)
    };
    both(cli.lift(), controller).await.0
}

#[tokio::test]
async fn the_upload_is_whole_and_stays_open_until_the_exit() {
    let cli = Cli::start().await;
    let controller = async {
        let (mut download, down) = cli.download().await;
        let (mut upload, bytes) = cli.upload().await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let head = text.split("\r\n\r\n").next().unwrap().to_owned();
        for head in [&down, &head] {
            assert!(head.starts_with("POST /cli?remoting=false HTTP/1.1\r\n"), "{head}");
            assert_eq!(header(head, "authorization").unwrap(), "Basic b3A6aHVudGVyMg==");
        }
        assert_eq!(header(&down, "side").unwrap(), "download");
        assert_eq!(header(&head, "side").unwrap(), "upload");
        assert_eq!(header(&head, "content-type").unwrap(), "application/octet-stream");
        assert_eq!(header(&head, "transfer-encoding").unwrap(), "chunked");
        let session = header(&head, "session").unwrap();
        assert_eq!(header(&down, "session").unwrap(), session);
        assert_eq!(session.len(), 36);
        let golden: Vec<u8> = [
            b"\0\0\0\x0d\0\0\x0bonline-node".as_slice(),
            b"\0\0\0\x05\0\0\x03n 1",
            b"\0\0\0\x07\x02\0\x05UTF-8",
            b"\0\0\0\x04\x01\0\x02en",
            START,
        ]
        .concat();
        assert!(bytes.windows(golden.len()).any(|window| window == golden), "{bytes:?}");
        // A sign of life, and no end, while the command runs.
        let mut more = Vec::new();
        while !more.windows(5).any(|window| window == b"UTF-8") {
            assert_ne!(upload.read_buf(&mut more).await.unwrap(), 0, "the upload ended before the command");
        }
        assert!(!more.windows(5).any(|window| window == b"0\r\n\r\n"), "the chunks ended before the command");
        download.write_all(&chunk(&frame(4, &[0; 4]))).await.unwrap();
        // Then both are closed.
        let mut rest = Vec::new();
        upload.read_to_end(&mut rest).await.unwrap();
        assert!(matches!(download.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    };
    assert_eq!(both(cli.lift(), controller).await.0, WriteOutcome::Accepted);
}

#[tokio::test]
async fn exit_codes_mean_what_they_mean() {
    assert_eq!(ending("", 0).await, WriteOutcome::Accepted);
    assert!(
        matches!(ending("No such command online-node", 2).await, WriteOutcome::Unsupported { words } if words.contains("No such command"))
    );
    for (words, code, kind, expected) in [
        ("ERROR: No such agent \"n 1\" exists.", 3, FailureKind::NoSuchNode, "no node \"n 1\""),
        (
            "ERROR: op is missing the Agent/Connect permission\n",
            6,
            FailureKind::Forbidden,
            "the user \"op\" may not do that: Agent/Connect is missing",
        ),
        ("ERROR: no\n", 6, FailureKind::Forbidden, "no is missing"),
        ("ERROR: bad\n", 7, FailureKind::Unauthenticated, "refused the credentials"),
    ] {
        let WriteOutcome::Failed(failure) = ending(words, code).await else { panic!("{words}") };
        assert_eq!(failure.kind, kind);
        assert!(failure.words.contains(expected), "{}", failure.words);
    }
    for code in [1, 4, 5, -1] {
        let outcome = ending("java.lang.Exception", code).await;
        assert!(
            matches!(&outcome, WriteOutcome::Unknown(failure) if failure.words.contains("Exception")),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_end_without_an_exit_is_unknown() {
    let cli = Cli::start().await;
    let controller = async {
        let (mut download, _) = cli.download().await;
        let (upload, _) = cli.upload().await;
        download.write_all(b"0\r\n\r\n").await.unwrap();
        (download, upload)
    };
    let (outcome, _open) = both(cli.lift(), controller).await;
    assert!(matches!(outcome, WriteOutcome::Unknown(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_stream_that_is_no_cli_is_unknown() {
    let cli = Cli::start().await;
    let controller = async {
        let (mut download, _) = cli.download().await;
        let (upload, _) = cli.upload().await;
        download.write_all(&chunk(&[0xff; 9])).await.unwrap();
        (download, upload)
    };
    let (outcome, _open) = both(cli.lift(), controller).await;
    assert!(
        matches!(&outcome, WriteOutcome::Unknown(failure) if failure.words.contains("impossible length")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_channel_in_another_language_is_no_cli() {
    let cli = Cli::start().await;
    let controller = async {
        let (mut login, _) = cli.accept().await;
        login.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        let (mut download, _) = cli.accept().await;
        let head = b"HTTP/1.1 200 OK\r\nHudson-Duplex: true\r\nTransfer-Encoding: chunked\r\n\r\n";
        download.write_all(&[head.as_slice(), &chunk(b"<===[HUDSON REMOTING CAPACITY]===>")].concat()).await.unwrap();
        download
    };
    let (outcome, _open) = both(cli.lift(), controller).await;
    assert!(matches!(outcome, WriteOutcome::Unsupported { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_silent_controller_is_unknown_once_the_command_was_sent() {
    let cli = Cli::start().await;
    let controller = async {
        let download = cli.download().await;
        let upload = cli.upload().await;
        (download, upload)
    };
    let (outcome, _open) = both(cli.lift(), controller).await;
    assert!(matches!(outcome, WriteOutcome::Unknown(_)), "{outcome:?}");
}

#[tokio::test]
async fn an_upload_that_the_controller_does_not_know_was_not_carried_out() {
    let cli = Cli::start().await;
    let controller = async {
        let (download, _) = cli.download().await;
        let (mut upload, _) = cli.upload().await;
        upload.write_all(b"HTTP/1.1 500 Server Error\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        (download, upload)
    };
    let (outcome, _open) = both(cli.lift(), controller).await;
    assert!(matches!(outcome, WriteOutcome::Unsupported { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_controller_without_the_cli_says_so_before_anything_is_asked() {
    for (status, headers) in [
        ("302 Found", "Location: /cli/?remoting=false\r\n"),
        ("404 Not Found", ""),
        ("200 OK", ""),
        ("403 Forbidden", ""),
        ("502 Bad Gateway", ""),
    ] {
        let server = Server::start(move |_| answer(status, headers, "")).await;
        let client = Controller::new(settings(&server.url)).unwrap();
        client.resolve_root().await.ok();
        let outcome = client.lift_mark(RequestNumber(1), LiftMethod::Cli, AMPLE).await;
        if status.starts_with("502") {
            // Even the login page says 502.
            assert!(matches!(outcome, WriteOutcome::Failed(_)), "{outcome:?}");
        } else {
            assert!(matches!(outcome, WriteOutcome::Unsupported { .. }), "{status}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn bad_credentials_are_told_on_the_download() {
    let server = Server::start(|_| answer("401 Unauthorized", "", "")).await;
    let client = Controller::new(settings(&server.url)).unwrap();
    let outcome = client.lift_mark(RequestNumber(1), LiftMethod::Cli, AMPLE).await;
    assert!(matches!(outcome, WriteOutcome::Failed(failure) if failure.kind == FailureKind::Unauthenticated));
}

#[tokio::test]
async fn a_proxy_that_holds_back_the_channel_breaks_the_cli() {
    let server =
        Server::start(|request| if request.starts_with("GET") { answer("200 OK", "", "") } else { Reply::Hang }).await;
    let client = Controller::new(settings(&server.url)).unwrap();
    client.resolve_root().await.unwrap();
    let outcome = client.lift_mark(RequestNumber(1), LiftMethod::Cli, Duration::from_millis(50)).await;
    assert!(matches!(outcome, WriteOutcome::Unsupported { .. }), "{outcome:?}");
}

#[tokio::test]
async fn names_that_the_cli_would_misread_are_not_given_to_it() {
    for name in ["@file", "-m"] {
        let mut settings = settings("http://127.0.0.1:1/");
        settings.node = name.to_owned();
        let client = Controller::new(settings).unwrap();
        let outcome = client.lift_mark(RequestNumber(1), LiftMethod::Cli, AMPLE).await;
        assert!(matches!(outcome, WriteOutcome::Unsupported { .. }), "{outcome:?}");
    }
}
