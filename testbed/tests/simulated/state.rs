//! Restarts, starting up, persistence.

use std::time::Duration;

use agent_wrap_testbed::simulated::{Lasting, Options, Persistence, Refusal, Simulated, startup_as_seen};
use agent_wrap_testbed::stage::Stage as _;

use super::client::Agent;
use super::{NODE, OP, ask, controller, try_ask};

fn restart(controller: &mut Simulated) {
    controller.take_down().unwrap();
    assert!(std::net::TcpStream::connect(super::client::authority(&controller.url())).is_err());
    controller.bring_up().unwrap();
}

fn connect(controller: &Simulated) -> Agent {
    let agent = Agent::connect(&controller.url(), NODE, &controller.secret(NODE));
    controller.wait_for("the agent", |world| world.node(NODE).is_some_and(|node| node.link.is_up()));
    agent
}

#[test]
fn new_controllers_keep_the_mark_through_restarts() {
    let mut controller = controller(Options::default());
    controller.mark(NODE, "why").unwrap();
    restart(&mut controller);
    assert_eq!(controller.node(NODE).unwrap().reason, "why");
}

#[test]
fn old_controllers_put_the_mark_back_when_the_agent_connects() {
    let mut controller = controller(Options::jenkins("2.400"));
    let agent = connect(&controller);
    ask(&controller, OP, "POST", "computer/n1/changeOfflineCause?offlineMessage=why");
    drop(agent);
    controller.wait_for("the end of the channel", |world| world.node(NODE).is_some_and(|node| !node.link.is_up()));
    assert!(controller.node(NODE).unwrap().marked);
    let read = ask(&controller, OP, "GET", "computer/n1/api/json?tree=offlineCauseReason").json();
    assert_eq!(read["offlineCauseReason"], "Connection was broken");
    restart(&mut controller);
    assert!(!controller.node(NODE).unwrap().marked);
    let _agent = connect(&controller);
    assert_eq!(controller.node(NODE).unwrap().reason, "why");
}

#[test]
fn the_oldest_controllers_forget_the_mark() {
    let mut controller = controller(Options { persistence: Persistence::Lost, ..Options::default() });
    controller.mark(NODE, "why").unwrap();
    restart(&mut controller);
    let _agent = connect(&controller);
    assert!(!controller.node(NODE).unwrap().marked);
}

#[test]
fn a_starting_controller_refuses_good_credentials_for_a_while() {
    let options = Options { startup: startup_as_seen(Lasting::Requests(1)), ..Options::default() };
    let mut controller = controller(options);
    let statuses = |controller: &Simulated| -> Vec<u16> {
        (0..6).map(|_| ask(controller, OP, "GET", "computer/n1/api/json").status).collect()
    };
    assert_eq!(statuses(&controller), [500, 503, 403, 401, 503, 200]);
    restart(&mut controller);
    assert_eq!(statuses(&controller), [500, 503, 403, 401, 503, 200]);
}

#[test]
fn getting_ready_lasts_until_the_test_says_otherwise() {
    let controller = controller(Options::default());
    controller.with(|world| world.set_startup(vec![(Refusal::GettingReady, Lasting::Forever)]));
    for _ in 0..3 {
        let answer = ask(&controller, OP, "GET", "login");
        assert_eq!((answer.status, answer.header("x-jenkins")), (503, None));
    }
    controller.with(|world| world.set_startup(vec![(Refusal::GettingReady, Lasting::Time(Duration::ZERO))]));
    assert_eq!(ask(&controller, OP, "GET", "login").status, 200);
}

#[test]
fn a_controller_that_is_down_ends_every_connection() {
    let mut controller = controller(Options::default());
    let mut agent = connect(&controller);
    controller.down();
    assert!(agent.client.chunk().is_err());
    assert!(!controller.node(NODE).unwrap().connected.unwrap());
    controller.up().unwrap();
    assert!(try_ask(&controller, OP, "GET", "login").is_ok());
}
