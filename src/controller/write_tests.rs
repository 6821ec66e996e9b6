use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_wrap_supervisor::{FailureKind, LiftMethod, MarkMethod, RequestNumber, WriteOutcome};

use super::testing::{AMPLE, Reply, Server, answer, from_file, json, settings};
use super::*;

const NUMBER: RequestNumber = RequestNumber(7);
const CRUMB: &str = r#"{"crumb":"c0ffee","crumbRequestField":"Jenkins-Crumb"}"#;
const NO_CRUMB: &str = "<title>Error 403 No valid crumb was included in the request</title>";

/// A server that answers the root's pages as a controller does, and the writes as it is told.
async fn server(write: impl Fn(&str) -> Reply + Send + 'static) -> Server {
    Server::start(move |request| {
        if request.starts_with("POST ") {
            write(request)
        } else if request.starts_with("GET /login") {
            answer("200 OK", "", "")
        } else if request.starts_with("GET /crumbIssuer") {
            answer("200 OK", "Set-Cookie: JSESSIONID=s3; Path=/; HttpOnly\r\n", CRUMB)
        } else {
            json(r#"{"mode":"NORMAL"}"#)
        }
    })
    .await
}

fn done() -> Reply {
    answer("302 Found", "Location: /computer/n%201/\r\n", "")
}

async fn mark(server: &Server, method: MarkMethod) -> WriteOutcome {
    server.client().mark_offline(NUMBER, method, "bye & \"done\"\n", AMPLE).await
}

fn failed(outcome: &WriteOutcome) -> Option<FailureKind> {
    match outcome {
        WriteOutcome::Failed(failure) => Some(failure.kind),
        WriteOutcome::Accepted | WriteOutcome::Unsupported { .. } | WriteOutcome::Unknown(_) => None,
    }
}

#[tokio::test]
async fn the_request_says_who_and_why() {
    let server = server(|_| done()).await;
    assert_eq!(mark(&server, MarkMethod::ChangeCause).await, WriteOutcome::Accepted);
    assert_eq!(mark(&server, MarkMethod::Toggle).await, WriteOutcome::Accepted);
    assert_eq!(server.client().lift_mark(NUMBER, LiftMethod::Toggle, AMPLE).await, WriteOutcome::Accepted);
    let writes: Vec<_> = server.requests().into_iter().filter(|request| request.starts_with("POST ")).collect();
    let reason = "offlineMessage=bye%20%26%20%22done%22%20%5Bagent-wrap%20h%20r.7%5D";
    assert!(writes[0].starts_with("POST /computer/n%201/changeOfflineCause HTTP/1.1\r\n"));
    assert!(writes[0].ends_with(reason), "{}", writes[0]);
    assert!(writes[0].to_lowercase().contains("content-type: application/x-www-form-urlencoded"));
    assert!(writes[1].starts_with("POST /computer/n%201/toggleOffline HTTP/1.1\r\n"));
    assert!(writes[1].ends_with(reason));
    assert!(writes[2].starts_with("POST /computer/n%201/toggleOffline HTTP/1.1\r\n"));
    assert!(writes[2].ends_with("%5Bagent-wrap%20h%20r.7%5D"));
    assert!(writes.iter().all(|write| write.contains("b3A6aHVudGVyMg==")));
}

#[tokio::test]
async fn an_endless_reason_is_cut_but_its_marker_is_whole() {
    let server = server(|_| done()).await;
    server.client().mark_offline(NUMBER, MarkMethod::Toggle, &"é".repeat(100_000), AMPLE).await;
    let requests = server.requests();
    let write = requests.last().unwrap();
    assert!(write.ends_with("%C3%A9%20%5Bagent-wrap%20h%20r.7%5D"));
    assert!(write.len() < 8000);
}

#[tokio::test]
async fn what_each_answer_means() {
    type Case = (fn() -> Reply, fn(&WriteOutcome) -> bool);
    let accepted = |outcome: &WriteOutcome| *outcome == WriteOutcome::Accepted;
    let unknown = |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::Unknown(_));
    let unavailable = |outcome: &WriteOutcome| failed(outcome) == Some(FailureKind::Unavailable);
    let unauthenticated = |outcome: &WriteOutcome| failed(outcome) == Some(FailureKind::Unauthenticated);
    let forbidden = |outcome: &WriteOutcome| failed(outcome) == Some(FailureKind::Forbidden);
    let cases: [Case; 20] = [
        (|| answer("200 OK", "", ""), accepted),
        (done, accepted),
        (|| answer("302 Found", "Location: .\r\n", ""), accepted),
        (|| answer("302 Found", "Location: http://ci.example/jenkins/computer/n%201/\r\n", ""), accepted),
        (|| Reply::Bytes(b"HTTP/1.1 302 Found\r\nLocation: .\r\nContent-Length: 9\r\n\r\n".to_vec()), accepted),
        (|| answer("302 Found", "Location: /login?from=x\r\n", ""), unauthenticated),
        (|| answer("302 Found", "Location: /securityRealm/commenceLogin\r\n", ""), unauthenticated),
        (|| answer("302 Found", "Location: https://sso.example/\r\n", ""), unknown),
        (|| answer("302 Found", "", ""), unknown),
        (
            || answer("308 Permanent Redirect", "Location: https://x.example/computer/n%201/toggleOffline\r\n", ""),
            unavailable,
        ),
        (|| answer("401 Unauthorized", "", ""), unauthenticated),
        (|| answer("403 Forbidden", "X-Required-Permission: hudson.model.Computer.Disconnect\r\n", ""), forbidden),
        (|| answer("405 Method Not Allowed", "", ""), forbidden),
        (|| answer("413 Payload Too Large", "", ""), unavailable),
        (|| answer("500 Server Error", "", ""), unknown),
        (|| answer("502 Bad Gateway", "", ""), unknown),
        (|| answer("503 Service Unavailable", "", ""), unknown),
        (|| answer("504 Gateway Timeout", "", ""), unknown),
        (|| Reply::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), unknown),
        (|| Reply::Close, unknown),
    ];
    for (number, (reply, meant)) in cases.into_iter().enumerate() {
        let server = server(move |_| reply()).await;
        let outcome = mark(&server, MarkMethod::Toggle).await;
        assert!(meant(&outcome), "case {number}: {outcome:?}");
        let writes = server.requests().iter().filter(|request| request.starts_with("POST ")).count();
        assert_eq!(writes, 1, "case {number} was repeated");
    }
}

#[tokio::test]
async fn a_controller_without_the_setter_is_not_a_missing_node() {
    for status in ["404 Not Found", "405 Method Not Allowed"] {
        let server = server(move |_| answer(status, "", "")).await;
        let outcome = mark(&server, MarkMethod::ChangeCause).await;
        assert!(matches!(outcome, WriteOutcome::Unsupported { .. }), "{outcome:?}");
    }
    let server = server(|_| answer("404 Not Found", "", "")).await;
    assert_eq!(failed(&mark(&server, MarkMethod::Toggle).await), Some(FailureKind::NoSuchNode));
}

#[tokio::test]
async fn nobody_there_is_certainly_not_carried_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    drop(listener);
    let client = Controller::new(settings(&url)).unwrap();
    let outcome = client.mark_offline(NUMBER, MarkMethod::Toggle, "x", AMPLE).await;
    assert_eq!(failed(&outcome), Some(FailureKind::Unavailable));
    assert!(matches!(client.lift_mark(NUMBER, LiftMethod::Cli, AMPLE).await, WriteOutcome::Failed(_)));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_unknown_and_the_connection_closed() {
    let mut server = server(|_| Reply::Hang).await;
    let client = server.client();
    client.read_node(AMPLE).await.unwrap_err();
    // Long enough for a busy machine to send it.
    let outcome = client.mark_offline(NUMBER, MarkMethod::Toggle, "x", Duration::from_secs(1)).await;
    assert!(matches!(outcome, WriteOutcome::Unknown(_)), "{outcome:?}");
    server.hung_up_once().await;
}

#[tokio::test]
async fn dropping_a_write_closes_its_connection() {
    let mut server = server(|_| Reply::Hang).await;
    let client = server.client();
    tokio::select! {
        _ = client.mark_offline(NUMBER, MarkMethod::Toggle, "x", AMPLE) => panic!("nothing was answered"),
        seen = server.hanging.wait_for(|count| *count == 1) => assert_eq!(*seen.unwrap(), 1),
    }
    server.hung_up_once().await;
}

#[tokio::test]
async fn time_that_runs_out_before_the_write_is_a_failure() {
    let server = Server::start(|_| Reply::Hang).await;
    let outcome = server.client().mark_offline(NUMBER, MarkMethod::Toggle, "x", Duration::from_millis(50)).await;
    assert_eq!(failed(&outcome), Some(FailureKind::Unavailable));
}

#[tokio::test]
async fn a_password_gets_its_crumb_and_keeps_it() {
    let server = server(|request| {
        if request.to_lowercase().contains("jenkins-crumb: c0ffee") && request.contains("JSESSIONID=s3") {
            done()
        } else {
            answer("403 Forbidden", "", NO_CRUMB)
        }
    })
    .await;
    let client = server.client();
    for _ in 0..2 {
        let outcome = client.mark_offline(NUMBER, MarkMethod::Toggle, "x", AMPLE).await;
        assert_eq!(outcome, WriteOutcome::Accepted);
    }
    let toggle = "POST /computer/n%201/toggleOffline";
    assert_eq!(server.asked(), ["GET /login", toggle, "GET /crumbIssuer/api/json", toggle, toggle]);
}

#[tokio::test]
async fn a_stale_crumb_is_fetched_once_more_and_no_oftener() {
    let stale = AtomicU32::new(0);
    let server = server(move |request| {
        let with_crumb = request.contains("c0ffee");
        // Accepted, then stale, then accepted again, then never.
        match (with_crumb, stale.fetch_add(u32::from(with_crumb), Ordering::SeqCst)) {
            (true, 0 | 2) => done(),
            _ => answer("403 Forbidden", "", NO_CRUMB),
        }
    })
    .await;
    let client = server.client();
    for _ in 0..2 {
        let outcome = client.mark_offline(NUMBER, MarkMethod::Toggle, "x", AMPLE).await;
        assert_eq!(outcome, WriteOutcome::Accepted);
    }
    let outcome = client.mark_offline(NUMBER, MarkMethod::Toggle, "x", AMPLE).await;
    assert_eq!(failed(&outcome), Some(FailureKind::Forbidden));
    let toggle = "POST /computer/n%201/toggleOffline";
    let crumb = "GET /crumbIssuer/api/json";
    let expected = ["GET /login", toggle, crumb, toggle, toggle, crumb, toggle, toggle, crumb, toggle];
    assert_eq!(server.asked(), expected);
}

#[tokio::test]
async fn a_bare_403_that_no_crumb_cures_is_a_missing_permission() {
    let server = server(|_| answer("403 Forbidden", "", "<title>Access Denied</title>")).await;
    let WriteOutcome::Failed(failure) = mark(&server, MarkMethod::Toggle).await else { panic!("it was refused") };
    assert_eq!(failure.kind, FailureKind::Forbidden);
    assert!(failure.words.contains("may not do that"), "{}", failure.words);
}

#[tokio::test]
async fn a_403_where_no_crumbs_are_issued_is_what_it_is() {
    let server = Server::start(|request| {
        let status = if request.starts_with("POST ") { "403 Forbidden" } else { "404 Not Found" };
        answer(status, "", "")
    })
    .await;
    let outcome = mark(&server, MarkMethod::Toggle).await;
    assert_eq!(failed(&outcome), Some(FailureKind::Forbidden));
    assert_eq!(server.asked().iter().filter(|asked| asked.starts_with("POST")).count(), 1);
}

#[tokio::test]
async fn a_rotated_token_is_used_for_the_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "op:old").unwrap();
    let rotate = path.clone();
    let server = server(move |request| {
        if request.contains("b3A6bmV3") {
            return done();
        }
        std::fs::write(&rotate, "op:new").unwrap();
        answer("401 Unauthorized", "", "")
    })
    .await;
    let mut settings = settings(&server.url);
    settings.credentials = Some(from_file(&path));
    let client = Controller::new(settings).unwrap();
    let outcome = client.mark_offline(NUMBER, MarkMethod::Toggle, "x", AMPLE).await;
    assert_eq!(outcome, WriteOutcome::Accepted);
}
