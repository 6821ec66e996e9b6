//! What goes wrong on demand.

use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use agent_wrap_testbed::simulated::{Entry, Fault, Moment, On, Operation};
use agent_wrap_testbed::stage::Stage as _;

use super::client::{Client, basic, path};
use super::{NODE, OP, ask, jenkins, try_ask};

const TOGGLE: &str = "computer/n1/toggleOffline?offlineMessage=x";
const READ: &str = "computer/n1/api/json?tree=temporarilyOffline";

#[test]
fn a_reset_hides_whether_it_was_carried_out() {
    for (fault, marked, kind) in [
        (Fault::ResetBefore, false, ErrorKind::ConnectionReset),
        (Fault::ResetAfter, true, ErrorKind::ConnectionReset),
        (Fault::CloseBefore, false, ErrorKind::UnexpectedEof),
        (Fault::CloseAfter, true, ErrorKind::UnexpectedEof),
    ] {
        let controller = jenkins();
        controller.fault(On::operation(Operation::Toggle).nth(1), fault.clone());
        assert_eq!(try_ask(&controller, OP, "POST", TOGGLE).unwrap_err().kind(), kind, "{fault:?}");
        assert_eq!(controller.node(NODE).unwrap().marked, marked, "{fault:?}");
        let request = &controller.requests()[0];
        assert_eq!((request.status, request.carried_out), (None, marked));
        assert_eq!(ask(&controller, OP, "POST", TOGGLE).status, 302);
    }
}

#[test]
fn a_hanging_request_is_never_answered() {
    for (fault, marked) in [(Fault::HangBefore, false), (Fault::HangAfter, true)] {
        let controller = jenkins();
        controller.fault(On::writes(), fault);
        let url = controller.url();
        let mut client = Client::connect(&url);
        let authorization = [("Authorization".to_owned(), basic("op", "op-token"))];
        client.send("POST", &format!("{}{TOGGLE}", path(&url)), &authorization, Some("")).unwrap();
        controller.wait_for("the request", |world| {
            world.requests().first().is_some_and(|request| request.carried_out == marked)
        });
        assert_eq!(controller.node(NODE).unwrap().marked, marked);
        drop(client);
        assert_eq!(controller.requests().first().and_then(|request| request.status), None);
        assert_eq!(ask(&controller, OP, "GET", READ).json()["temporarilyOffline"], marked);
    }
}

#[test]
fn answers_that_are_none() {
    let controller = jenkins();
    controller.fault(On::operation(Operation::ReadNode).nth(1), Fault::Html);
    controller.fault(On::operation(Operation::ReadNode).nth(2), Fault::Status(502));
    controller.fault(On::operation(Operation::ReadNode).nth(3), Fault::Status(401));
    controller.fault(On::operation(Operation::ReadNode).nth(4), Fault::Redirect(302, "http://127.0.0.1:1/".to_owned()));
    controller.fault(On::operation(Operation::ReadNode).nth(5), Fault::Truncated);
    let html = ask(&controller, OP, "GET", READ);
    assert_eq!((html.status, html.header("x-jenkins")), (200, None));
    assert!(html.text().starts_with("<!DOCTYPE html>"));
    assert_eq!(ask(&controller, OP, "GET", READ).status, 502);
    assert!(ask(&controller, OP, "GET", READ).header("www-authenticate").is_some());
    assert_eq!(ask(&controller, OP, "GET", READ).header("location"), Some("http://127.0.0.1:1/"));
    assert_eq!(try_ask(&controller, OP, "GET", READ).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(ask(&controller, OP, "GET", READ).status, 200);
}

#[test]
fn an_endless_body_does_not_end() {
    let controller = jenkins();
    controller.fault(On::operation(Operation::ReadNode), Fault::Endless);
    let url = controller.url();
    let mut client = Client::connect(&url);
    client.send("GET", &format!("{}{READ}", path(&url)), &[], None).unwrap();
    let mut read = vec![0; 4 * 1024 * 1024];
    client.stream.read_exact(&mut read).unwrap();
    drop(client);
    controller.clear_faults();
    assert_eq!(ask(&controller, OP, "GET", READ).status, 200);
}

#[test]
fn a_body_that_stops_midway_stays_open() {
    let controller = jenkins();
    controller.fault(On::operation(Operation::Jar), Fault::HangMidway);
    let jar = controller.with(|world| world.options().agent_jar.clone());
    let url = controller.url();
    let mut client = Client::connect(&url);
    client.send("GET", &format!("{}jnlpJars/agent.jar", path(&url)), &[], None).unwrap();
    let mut read = Vec::new();
    let half = &jar[..jar.len() / 2];
    while !read.ends_with(half) {
        let mut byte = [0];
        client.stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    client.stream.get_ref().set_nonblocking(true).unwrap();
    assert_eq!(client.stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "no byte, and no end");
}

#[test]
fn an_answer_that_is_lost_may_be_carried_out_later() {
    let controller = jenkins();
    controller.fault(On::operation(Operation::Toggle).nth(1), Fault::Held);
    controller.fault(On::operation(Operation::Toggle).nth(2), Fault::Delayed(Duration::from_millis(1)));
    assert!(try_ask(&controller, OP, "POST", TOGGLE).is_err());
    assert!(!controller.node(NODE).unwrap().marked);
    controller.wait_for("the held request", |_| controller.held() == 1);
    assert_eq!(controller.release(), 1);
    assert!(controller.node(NODE).unwrap().marked);
    assert!(try_ask(&controller, OP, "POST", TOGGLE).is_err());
    controller.wait_for("the delayed request", |world| !world.node_state(NODE).unwrap().marked);
}

#[test]
fn a_request_that_is_held_open_gets_its_answer() {
    let controller = jenkins();
    controller.fault(On::operation(Operation::Toggle), Fault::HeldOpen);
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| ask(&controller, OP, "POST", TOGGLE).status);
        controller.wait_for("the held request", |_| controller.held() == 1);
        assert!(!controller.node(NODE).unwrap().marked);
        controller.release();
        assert_eq!(answer.join().unwrap(), 302);
    });
    assert!(controller.node(NODE).unwrap().marked);
}

#[test]
fn a_third_party_acts_between_a_read_and_a_write() {
    let controller = jenkins();
    controller.mark(NODE, "somebody's").unwrap();
    controller.hook(|world, request, moment| {
        if request.operation == Operation::Toggle && moment == Moment::Before {
            world.clear(NODE, "third");
        }
    });
    assert_eq!(ask(&controller, OP, "GET", READ).json()["temporarilyOffline"], true);
    ask(&controller, OP, "POST", TOGGLE);
    assert_eq!(controller.node(NODE).unwrap().reason, "x");
    let marks: Vec<Entry> = controller
        .timeline()
        .into_iter()
        .filter(|entry| matches!(entry, Entry::Marked { .. } | Entry::Cleared { .. }))
        .collect();
    let marked =
        |reason: &str, by: &str| Entry::Marked { node: NODE.to_owned(), reason: reason.to_owned(), by: by.to_owned() };
    let cleared = Entry::Cleared { node: NODE.to_owned(), by: "third".to_owned() };
    assert_eq!(marks, [marked("somebody's", "somebody"), cleared, marked("x", "op")]);
}
