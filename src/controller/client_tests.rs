use std::sync::Arc;

use agent_wrap_supervisor::{FailureKind, Owner};

use super::testing::{AMPLE, Reply, Server, answer, from_file, json, settings};
use super::*;

const LOGIN: &str = "GET /login";
const ONLINE: &str =
    r#"{"_class":"hudson.slaves.SlaveComputer","offline":false,"temporarilyOffline":false,"idle":true}"#;
const ROOT: &str = r#"{"_class":"hudson.model.Hudson","mode":"NORMAL"}"#;

/// The failure of a read whose node page is answered so; the root answers as a controller.
async fn failure(reply: fn() -> Reply) -> agent_wrap_supervisor::Failure {
    let server = Server::start(move |request| {
        if request.starts_with(LOGIN) {
            answer("200 OK", "", "")
        } else if request.starts_with("GET /api/json") {
            json(ROOT)
        } else {
            reply()
        }
    })
    .await;
    server.client().read_node(AMPLE).await.unwrap_err()
}

fn all_are_send<T: Send>(_: &T) {}

#[test]
fn what_the_system_lacks_to_read_the_credentials_with_is_no_fault_of_the_settings() {
    let made = |error: CredentialError| {
        let credentials = CredentialSource { file: None, read: Arc::new(move || Err(error.clone())) };
        Controller::new(Settings { credentials: Some(credentials), ..settings("http://ci/") }).unwrap_err()
    };
    assert!(made(CredentialError::Shortage("no descriptor".to_owned())).is_shortage());
    assert!(!made(CredentialError::Unreadable("no such file".to_owned())).is_shortage());
}

#[tokio::test]
async fn a_node_is_read_with_one_request_once_the_root_is_known() {
    let server =
        Server::start(|request| if request.starts_with(LOGIN) { answer("200 OK", "", "") } else { json(ONLINE) }).await;
    let client = server.client();
    let read = client.read_node(AMPLE);
    all_are_send(&read);
    let view = read.await.unwrap();
    assert_eq!((view.connected, view.idle, view.has_cli, view.mark), (Some(true), true, true, None));
    client.read_node(AMPLE).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(!requests[0].to_lowercase().contains("authorization"), "{}", requests[0]);
    assert!(requests[1].starts_with("GET /computer/n%201/api/json?tree=displayName,offline,temporarilyOffline,"));
    assert!(requests[1].contains("basic b3A6aHVudGVyMg==") || requests[1].contains("Basic b3A6aHVudGVyMg=="));
    assert!(requests[1].contains("agent-wrap-test"));
}

/// What Jenkins before 2.482 and Hudson make of a mark's words when the channel is lost.
#[tokio::test]
async fn a_mark_whose_words_the_controller_has_replaced_is_still_ours_until_it_is_gone() {
    const REPLACED: &str = r#"{"offline":true,"temporarilyOffline":true,"idle":true,"offlineCauseReason":"Connection was broken",
        "offlineCause":{"_class":"hudson.slaves.OfflineCause$ChannelTermination","description":"Connection was broken"}}"#;
    let marked = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let shown = Arc::clone(&marked);
    let server = Server::start(move |request| {
        if request.starts_with(LOGIN) {
            answer("200 OK", "", "")
        } else if request.starts_with("POST ") {
            answer("302 Found", "Location: .\r\n", "")
        } else {
            json(if shown.load(std::sync::atomic::Ordering::Relaxed) { REPLACED } else { ONLINE })
        }
    })
    .await;
    let client = server.client();
    let owner = async || client.read_node(AMPLE).await.unwrap().mark.map(|mark| mark.owner);
    assert_eq!(owner().await, Some(Owner::Foreign), "nothing says that it is ours");
    let method = agent_wrap_supervisor::MarkMethod::ChangeCause;
    client.mark_offline(agent_wrap_supervisor::RequestNumber(7), method, "landed", AMPLE).await;
    assert_eq!(owner().await, Some(Owner::EarlierRun));
    marked.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(owner().await, None);
    marked.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(owner().await, Some(Owner::Foreign), "ours was gone");
}

#[tokio::test]
async fn a_mark_of_ours_is_recognised() {
    let server = Server::start(|_| {
        json(
            r#"{"offline":true,"temporarilyOffline":true,"offlineCause":{"_class":"hudson.slaves.OfflineCause$UserCause",
            "description":"Disconnected by op : bye [agent-wrap x r.3]"},"offlineCauseReason":"bye [agent-wrap x r.3]"}"#,
        )
    })
    .await;
    let mark = server.client().read_node(AMPLE).await.unwrap().mark.unwrap();
    assert_eq!((mark.owner, mark.reason.as_str()), (Owner::ThisRun, "bye [agent-wrap x r.3]"));
}

#[tokio::test]
async fn each_refusal_has_its_kind_and_its_words() {
    use FailureKind::{Forbidden, NoSuchNode, Unauthenticated, Unavailable};
    type Case = (fn() -> Reply, FailureKind, &'static str);
    let cases: [Case; 14] = [
        (
            || answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"Jenkins\"\r\n", ""),
            Unauthenticated,
            "make a new API token",
        ),
        (
            || {
                answer(
                    "403 Forbidden",
                    "X-You-Are-Authenticated-As: viewer\r\nX-Required-Permission: hudson.model.Hudson.Read\r\n",
                    "",
                )
            },
            Forbidden,
            "the user \"viewer\" may not do that: Overall/Read",
        ),
        (|| answer("302 Found", "Location: /login?from=x\r\n", ""), Unauthenticated, "login page"),
        (
            || answer("302 Found", "Location: /securityRealm/commenceLogin?from=x\r\n", ""),
            Unauthenticated,
            "login page",
        ),
        (|| answer("302 Found", "Location: https://sso.example/auth\r\n", ""), Unavailable, "https://sso.example/auth"),
        (|| answer("404 Not Found", "", ""), NoSuchNode, "no node \"n 1\""),
        (|| answer("500 Server Error", "", ""), Unavailable, "answered 500"),
        (
            || answer("503 Service Unavailable", "", "<p>Please wait while Jenkins is getting ready to work</p>"),
            Unavailable,
            "starting up",
        ),
        (|| answer("429 Too Many Requests", "", ""), Unavailable, "429"),
        (|| answer("200 OK", "", "<html>Welcome to nginx</html>"), Unavailable, "no page of a Jenkins"),
        (|| json("{\"offline\":fal"), Unavailable, "no description of a node"),
        (|| json("{\"offline\":true}"), Unavailable, "temporarilyOffline"),
        (
            || Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"offline\"".to_vec()),
            Unavailable,
            "broke before the answer was complete",
        ),
        (|| Reply::Close, Unavailable, "broke before the answer was complete"),
    ];
    for (reply, kind, words) in cases {
        let failure = failure(reply).await;
        assert_eq!(failure.kind, kind, "{}", failure.words);
        assert!(failure.words.contains(words), "{:?} is not in {:?}", words, failure.words);
        assert!(!failure.words.contains("hunter2"));
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let failure = failure(|| answer("200 OK", "X-Jenkins: 2.578\r\n", &" ".repeat(1024 * 1024 + 1))).await;
    assert!(failure.words.contains("more than 1048576 bytes"), "{}", failure.words);
}

#[tokio::test]
async fn a_404_below_a_wrong_root_is_no_missing_node() {
    for root in ["404 Not Found", "200 OK"] {
        let server = Server::start(move |request| {
            let status = if request.starts_with("GET /api/json") { root } else { "404 Not Found" };
            answer(status, "X-Jenkins: 2.578\r\n", "<html></html>")
        })
        .await;
        let failure = server.client().read_node(AMPLE).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.words.contains("context path"), "{}", failure.words);
    }
}

#[tokio::test]
async fn the_root_of_a_hudson_needs_no_header() {
    let server = Server::start(|request| {
        if request.starts_with("GET /api/json") { answer("200 OK", "", ROOT) } else { answer("404 Not Found", "", "") }
    })
    .await;
    assert_eq!(server.client().read_node(AMPLE).await.unwrap_err().kind, FailureKind::NoSuchNode);
}

#[tokio::test]
async fn nobody_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let failure = Controller::new(settings(&url)).unwrap().read_node(AMPLE).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.words.contains("nothing listens there"), "{}", failure.words);
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let failure =
        Controller::new(settings("http://no-such-host.invalid/")).unwrap().read_node(AMPLE).await.unwrap_err();
    assert!(failure.words.contains("does not resolve"), "{}", failure.words);
}

#[tokio::test]
async fn tls_problems_are_named() {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let client = Controller::new(settings(&url)).unwrap();
    let plain = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (failure, _open) = tokio::join!(client.read_node(AMPLE), plain);
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.words.contains("speaks no TLS"), "{}", failure.words);
}

#[tokio::test]
async fn a_port_without_tls_that_hangs_up_is_named() {
    use tokio::io::AsyncReadExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let client = Controller::new(settings(&url)).unwrap();
    let hangs_up = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // All of it, so that the close is none with a reset.
        assert!(stream.read(&mut [0; 65536]).await.unwrap() > 0);
    };
    let (failure, ()) = tokio::join!(client.read_node(AMPLE), hangs_up);
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.words.contains("has to begin with http://"), "{}", failure.words);
}

#[tokio::test]
async fn no_answer_in_time_closes_the_connection() {
    let mut server = Server::start(|_| Reply::Hang).await;
    let client = server.client();
    let failure = client.read_node(std::time::Duration::from_millis(50)).await.unwrap_err();
    assert!(failure.words.contains("has not answered within 50ms"), "{}", failure.words);
    server.hung_up_once().await;
}

#[tokio::test]
async fn dropping_a_read_closes_its_connection() {
    let mut server = Server::start(|_| Reply::Hang).await;
    let client = server.client();
    tokio::select! {
        _ = client.read_node(AMPLE) => panic!("nothing was answered"),
        seen = server.hanging.wait_for(|count| *count == 1) => assert_eq!(*seen.unwrap(), 1),
    }
    server.hung_up_once().await;
}

#[tokio::test]
async fn what_one_account_was_shown_says_nothing_of_another() {
    let marked = |path: &str| format!(r#"{{"offline":true,"temporarilyOffline":true,"absoluteRemotePath":{path}}}"#);
    // The last one first.
    let answers = std::sync::Mutex::new(vec![marked("null"), marked("null"), marked("\"/work\"")]);
    let server = Server::start(move |request| {
        if request.starts_with(LOGIN) {
            answer("200 OK", "", "")
        } else {
            json(&answers.lock().unwrap().pop().unwrap())
        }
    })
    .await;
    let client = Controller::new(settings(&server.url)).unwrap();
    assert_eq!(client.read_node(AMPLE).await.unwrap().connected, Some(true));
    assert_eq!(client.read_node(AMPLE).await.unwrap().connected, Some(false));
    client.replace_credentials(Some(testing::fixed("viewer", "x"))).await.unwrap();
    assert_eq!(client.read_node(AMPLE).await.unwrap().connected, None);
}

#[tokio::test]
async fn a_rotated_token_is_tried_at_once_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "op:old").unwrap();
    let rotate = path.clone();
    let server = Server::start(move |request| {
        // "op:new"
        if request.starts_with(LOGIN) {
            answer("200 OK", "", "")
        } else if request.contains("b3A6bmV3") {
            json(ONLINE)
        } else {
            std::fs::write(&rotate, "op:new").unwrap();
            answer("401 Unauthorized", "", "")
        }
    })
    .await;
    let mut settings = settings(&server.url);
    settings.credentials = Some(from_file(&path));
    let client = Controller::new(settings).unwrap();
    client.read_node(AMPLE).await.unwrap();
    assert_eq!(server.requests().len(), 3);

    let refusing = Server::start(|_| answer("401 Unauthorized", "", "")).await;
    let mut settings = testing::settings(&refusing.url);
    settings.credentials = Some(from_file(&path));
    let client = Controller::new(settings).unwrap();
    let failure = client.read_node(AMPLE).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unauthenticated);
    assert_eq!(refusing.requests().len(), 2, "the login page and one try");
}
