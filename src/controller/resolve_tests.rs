//! The manners of redirects: each is met by a server whose requests show what went where.

use agent_wrap_supervisor::{Failure, FailureKind, MarkMethod, RequestNumber, WriteOutcome};

use super::testing::{AMPLE, Reply, Server, answer, json, settings};
use super::*;
use crate::jar::Place;

const ONLINE: &str = r#"{"offline":false,"temporarilyOffline":false,"idle":true}"#;

fn redirect(location: &str) -> Reply {
    answer("302 Found", &format!("Location: {location}\r\n"), "")
}

fn is_signed(request: &str) -> bool {
    request.to_lowercase().contains("authorization")
}

/// One that redirects those who ask for the login page to `location`, which may speak of the server's own `PORT`.
async fn redirecting(location: &'static str) -> Server {
    Server::start(move |request| {
        let port =
            request.lines().find_map(|line| line.to_lowercase().strip_prefix("host: 127.0.0.1:").map(str::to_owned));
        let port = port.unwrap_or_default();
        if request.starts_with("GET /login") || request.starts_with("GET /ctx/login") {
            redirect(&location.replace("PORT", port.trim()))
        } else {
            json(ONLINE)
        }
    })
    .await
}

#[tokio::test]
async fn a_place_that_is_not_ours_is_named_and_never_gets_the_credentials() {
    for location in [
        "https://localhost:1/login",
        "http://localhost:1/login",
        "http://127.0.0.1:1/login",
        "//ci.example/jenkins/login",
        "https://127.0.0.1@ci.example/login",
        "ftp://127.0.0.1/login",
    ] {
        let server = redirecting(location).await;
        let client = server.client();
        for _ in 0..3 {
            let failure = client.read_node(AMPLE).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Unavailable);
            let host = location.rsplit('@').next().unwrap().trim_start_matches(|letter| letter != '/');
            assert!(failure.words.contains("sends us on to"), "{location}: {}", failure.words);
            assert!(failure.words.contains(host.trim_start_matches('/')), "{location}: {}", failure.words);
            let marked = client.mark_offline(RequestNumber(1), MarkMethod::Toggle, "", AMPLE).await;
            assert!(matches!(marked, WriteOutcome::Failed(_)), "{location}: {marked:?}");
            let nowhere = Place::at("/nonexistent".into());
            assert!(client.inbound().await.is_err() && client.fetch_agent_jar(&nowhere, None).await.is_err());
        }
        assert_eq!(client.url(), server.url);
        assert!(server.asked().iter().all(|asked| asked == "GET /login"), "{location}: {:?}", server.asked());
        assert!(!server.requests().iter().any(|request| is_signed(request)), "{location}");
    }
}

#[tokio::test]
async fn https_on_the_same_host_is_adopted_with_its_port_and_our_path() {
    // What is behind the https address speaks no TLS; that it is asked for is what counts.
    for (location, adopted) in [
        ("https://127.0.0.1:1/login", "https://127.0.0.1:1/ctx/"),
        ("https://127.0.0.1/elsewhere/login?from=x", "https://127.0.0.1/ctx/"),
    ] {
        let server = redirecting(location).await;
        let client = Controller::new(settings(&format!("{}ctx", server.url))).unwrap();
        client.resolve_root().await.unwrap();
        assert_eq!(client.url(), adopted);
        client.read_node(AMPLE).await.unwrap_err();
        assert_eq!(server.asked(), ["GET /ctx/login"]);
        assert!(!is_signed(&server.requests()[0]));
    }
}

#[tokio::test]
async fn a_redirect_within_the_controller_changes_nothing() {
    for location in ["/securityRealm/commenceLogin", "http://127.0.0.1:PORT/ctx/login", "login"] {
        let server = redirecting(location).await;
        let client = server.client();
        client.read_node(AMPLE).await.unwrap();
        assert_eq!(client.url(), server.url);
        let asked = server.asked();
        assert_eq!(asked.len(), 2, "the login page and the node, and no redirect followed: {asked:?}");
    }
}

#[tokio::test]
async fn a_redirect_to_nowhere_resolves_nothing() {
    let server = redirecting("http://[").await;
    let client = server.client();
    for _ in 0..2 {
        let failure = client.read_node(AMPLE).await.unwrap_err();
        assert!(failure.words.contains("answered 302"), "{}", failure.words);
    }
    assert_eq!(server.asked(), ["GET /login"; 2]);
}

/// The failure of a read on a server that redirects all but the login page, and what it was asked.
async fn sent_away(location: &'static str) -> (Failure, Vec<String>) {
    let server =
        Server::start(
            move |request| {
                if request.starts_with("GET /login") { answer("200 OK", "", "") } else { redirect(location) }
            },
        )
        .await;
    let client = server.client();
    client.read_node(AMPLE).await.unwrap_err();
    let failure = client.read_node(AMPLE).await.unwrap_err();
    (failure, server.requests())
}

#[tokio::test]
async fn a_controller_that_moves_later_is_asked_without_credentials_first() {
    let (failure, requests) = sent_away("http://ci.example/").await;
    assert!(failure.words.contains("sends us on to http://ci.example/"), "{}", failure.words);
    let signed: Vec<bool> = requests.iter().map(|request| is_signed(request)).collect();
    assert_eq!(signed, [false, true, false, true]);
}

#[tokio::test]
async fn a_redirect_to_itself_is_no_loop() {
    let (failure, requests) = sent_away("/computer/n%201/api/json").await;
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_eq!(requests.len(), 3);
}

#[tokio::test]
async fn no_redirect_of_a_write_is_followed() {
    for location in
        ["http://127.0.0.1:1/computer/n%201/toggleOffline", "/computer/n%201/", "/x", "https://127.0.0.1:1/"]
    {
        let server =
            Server::start(
                move |request| {
                    if request.starts_with("POST ") { redirect(location) } else { answer("200 OK", "", "") }
                },
            )
            .await;
        let client = server.client();
        let _ = client.mark_offline(RequestNumber(1), MarkMethod::Toggle, "", AMPLE).await;
        assert_eq!(server.asked(), ["GET /login", "POST /computer/n%201/toggleOffline"], "{location}");
    }
}

#[tokio::test]
async fn a_node_may_be_called_like_a_page() {
    for name in ["login", "loginEntry", "toggleOffline", "securityRealm"] {
        let server = Server::start(move |request| {
            if request.starts_with("GET /login ") {
                answer("200 OK", "", "")
            } else {
                redirect(&format!("/computer/{name}/"))
            }
        })
        .await;
        let mut settings = settings(&server.url);
        settings.node = name.to_owned();
        let client = Controller::new(settings).unwrap();
        let outcome = client.mark_offline(RequestNumber(1), MarkMethod::Toggle, "", AMPLE).await;
        assert_eq!(outcome, WriteOutcome::Accepted, "{name}");
        let failure = client.read_node(AMPLE).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable, "{}", failure.words);
    }
}
