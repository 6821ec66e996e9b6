//! The simulated controller against recordings of a real one: every exchange is replayed over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "the other tests use the rest of it")]
mod client;

use agent_wrap_testbed::simulated::frames::{ARG, Frame};
use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use client::{Agent, Answer, Client, basic};
use serde_json::Value;

const RECORDINGS: &str = include_str!("../recordings/jenkins-2.578.json");
const VERSION: &str = "2.578";

/// A controller with the nodes of the recorded one and a client for it.
struct Replay {
    controller: Simulated,
    agent: Option<Agent>,
    session: Option<(String, String)>,
}

#[test]
fn every_recorded_exchange_comes_out_the_same() {
    let recorded: Vec<Value> = serde_json::from_str(RECORDINGS).unwrap();
    assert_eq!(recorded.len(), 63);
    let controller = Simulated::start(Options::jenkins(VERSION)).unwrap();
    for node in ["n1", "n2", "n3"] {
        controller.create_node(node, 1).unwrap();
    }
    let mut replay = Replay { controller, agent: None, session: None };
    for (index, exchange) in recorded.iter().enumerate() {
        let what = format!("exchange {index}, {}", exchange["what"]);
        replay.prepare(index);
        if exchange.get("method").is_some() {
            replay.rest(&what, exchange);
        } else {
            replay.command(&what, exchange);
        }
    }
}

impl Replay {
    /// Brings about what happened between two recorded exchanges.
    fn prepare(&mut self, index: usize) {
        match index {
            // The agent connects.
            15 | 33 => {
                self.agent = Some(Agent::connect(&self.controller.url(), "n3", &self.controller.secret("n3")));
                self.controller.wait_for("the agent", |world| world.node("n3").is_some_and(|node| node.link.is_up()));
            }
            // The agent's connection ends without a goodbye.
            27 | 30 => {
                self.agent = None;
                self.controller.wait_for("its end", |world| world.node("n3").is_some_and(|node| !node.link.is_up()));
            }
            // The agent has come back, and is about to be disconnected.
            31 => self.prepare(15),
            _ => {}
        }
    }

    /// The credentials of a recorded exchange.
    fn authorization(&self, what: &str, user: &Value) -> Option<String> {
        let user = user.as_str()?;
        let secret = if what.contains("wrong token") {
            "wrong".to_owned()
        } else if what.contains("password") {
            format!("{user}-password")
        } else {
            format!("{user}-token")
        };
        Some(basic(user, &secret))
    }

    fn rest(&mut self, what: &str, exchange: &Value) {
        let mut headers = Vec::new();
        headers.extend(self.authorization(what, &exchange["user"]).map(|value| ("Authorization".to_owned(), value)));
        if what.contains("If-Modified-Since") {
            headers.push(("If-Modified-Since".to_owned(), "Mon, 23 Nov 2026 02:49:43 GMT".to_owned()));
        }
        if let Some((crumb, cookie)) = &self.session
            && what.contains("password, crumb")
        {
            headers.push(("Jenkins-Crumb".to_owned(), crumb.clone()));
            if what.contains("and cookie") {
                headers.push(("Cookie".to_owned(), cookie.clone()));
            }
        }
        if what.contains("CLI upload with unknown session") {
            let session = "00000000-0000-4000-8000-000000000000";
            headers.extend([("Session", session), ("Side", "upload")].map(|(n, v)| (n.to_owned(), v.to_owned())));
        }
        let body = exchange["request_body"].as_str();
        if body.is_some() {
            headers.push(("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        }
        let method = exchange["method"].as_str().unwrap();
        let path = exchange["path"].as_str().unwrap();
        let answer = Client::connect(&self.controller.url()).ask(method, path, &headers, body);

        assert_eq!(u64::from(answer.status), exchange["status"].as_u64().unwrap(), "{what}");
        assert_eq!(Some(answer.reason.as_str()), exchange["reason"].as_str(), "{what}");
        self.compare_headers(what, &exchange["headers"], &answer, exchange.get("body_html_begins").is_some());
        self.compare_body(what, exchange, &answer);
        if what.contains("crumb, password") {
            let crumb = answer.json()["crumb"].as_str().unwrap().to_owned();
            let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
            self.session = Some((crumb, cookie));
        }
    }

    /// All headers have to be the same ones, with the same values but for what is the controller's own.
    fn compare_headers(&self, what: &str, recorded: &Value, answer: &Answer, page: bool) {
        let recorded: Vec<(String, String)> = serde_json::from_value(recorded.clone()).unwrap();
        let normal = |headers: &[(String, String)]| {
            let mut headers: Vec<(String, String)> = headers
                .iter()
                .map(|(name, value)| (name.clone(), self.normal_header(name, value, what, page)))
                .collect();
            headers.sort();
            headers
        };
        assert_eq!(normal(&answer.headers), normal(&recorded), "{what}");
    }

    fn normal_header(&self, name: &str, value: &str, what: &str, page: bool) -> String {
        match name {
            "Set-Cookie" if value.starts_with("JSESSIONID.") => {
                let (_, attributes) = value.split_once(';').unwrap();
                format!("JSESSIONID;{attributes}")
            }
            "X-Jenkins-Session" => "SESSION".to_owned(),
            "X-Hudson-JNLP-Port" | "X-Jenkins-JNLP-Port" => "PORT".to_owned(),
            // The length of a page, of the jar, of a secret and of the root URL is the controller's own.
            "Content-Length" if page || what.contains("agent.jar headers") || value != "0" => "LENGTH".to_owned(),
            _ => value.to_owned(),
        }
    }

    fn compare_body(&self, what: &str, exchange: &Value, answer: &Answer) {
        if let Some(html) = exchange["body_html_begins"].as_str() {
            let text = answer.text();
            assert!(text.starts_with("<!DOCTYPE html>") || text.starts_with("<html>"), "{what}: {text}");
            if let Some(title) = html.split("<title>").nth(1).filter(|title| title.contains("crumb")) {
                let title = title.split('<').next().unwrap();
                assert!(text.contains(title), "{what}: {title} in {text}");
            }
            return;
        }
        let recorded = exchange["body"].as_str().unwrap();
        if let Ok(recorded) = serde_json::from_str::<Value>(recorded) {
            assert_eq!(self.normal_json(answer.json()), self.normal_json(recorded), "{what}");
        } else if !what.contains("agent.jar") {
            assert_eq!(self.normal_text(&answer.text()), self.normal_text(recorded), "{what}");
        }
    }

    fn normal_text(&self, text: &str) -> String {
        let secret = "0123456789abcdef".repeat(4);
        text.replace(&self.controller.url(), "ROOT/")
            .replace("http://127.0.0.1:18080/", "ROOT/")
            .replace(&self.controller.secret("n3"), &secret)
    }

    /// Times and crumbs are replaced by their kind.
    fn normal_json(&self, value: Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| {
                    let value = match name.as_str() {
                        "timestamp" => Value::from(value.is_u64()),
                        "crumb" => Value::from(value.as_str().map(str::len).unwrap_or(0)),
                        "url" => Value::from(self.normal_text(value.as_str().unwrap())),
                        _ => self.normal_json(value),
                    };
                    (name, value)
                })
                .collect(),
            Value::Array(items) => items.into_iter().map(|item| self.normal_json(item)).collect(),
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
        }
    }

    fn command(&mut self, what: &str, exchange: &Value) {
        let authorization = self.authorization(what, &exchange["user"]);
        let arguments: Vec<String> = serde_json::from_value(exchange["args"].clone()).unwrap();
        let mut cli = client::Cli::open(&self.controller.url(), authorization.as_deref());
        let status = format!("HTTP/1.1 {} {}", cli.answer.status, cli.answer.reason);
        assert_eq!(exchange["download_status"].as_str(), Some(status.as_str()), "{what}");
        self.compare_headers(what, &exchange["download_headers"], &cli.answer, true);
        if exchange.get("sent_hex").is_none() {
            return;
        }
        let sent = client::command_frames(&arguments);
        assert_eq!(Some(client::hex(&sent).as_str()), exchange["sent_hex"].as_str(), "{what}");
        assert!(arguments.iter().all(|argument| Frame::text(ARG, argument).as_text().as_ref() == Some(argument)));
        let (first, received) = cli.run(&sent);
        assert_eq!(first, 0, "{what}");
        assert_eq!(Some(client::hex(&received).as_str()), exchange["received_hex"].as_str(), "{what}");
    }
}
