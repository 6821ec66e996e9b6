//! The command line over HTTP beyond the recordings.

use std::time::Duration;

use agent_wrap_testbed::simulated::frames::{EXIT, Frame};
use agent_wrap_testbed::simulated::{Fault, On, Operation, Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;

use super::client::{Cli, basic, command_frames};
use super::{NODE, OP, ask, controller, jenkins};

fn open(controller: &Simulated) -> Cli {
    Cli::open(&controller.url(), Some(&basic("op", "op-token")))
}

fn frames(command: &[&str]) -> Vec<u8> {
    command_frames(&command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
}

/// The exit code and what was said before it.
fn run(controller: &Simulated, command: &[&str]) -> (Option<i32>, String) {
    outcome(&open(controller).run(&frames(command)).1)
}

fn outcome(received: &[u8]) -> (Option<i32>, String) {
    let mut rest = received.to_vec();
    let mut text = String::new();
    while let Some(frame) = Frame::take(&mut rest).unwrap() {
        if frame.op == EXIT {
            return (Some(i32::from_be_bytes(frame.payload.try_into().unwrap())), text);
        }
        text += &String::from_utf8(frame.payload).unwrap();
    }
    (None, text)
}

#[test]
fn a_command_that_ran_to_its_end_is_saved() {
    let mut controller = jenkins();
    controller.mark(NODE, "why").unwrap();
    assert_eq!(run(&controller, &["online-node", NODE]), (Some(0), String::new()));
    controller.down();
    controller.up().unwrap();
    assert!(!controller.node(NODE).unwrap().marked);
}

#[test]
fn an_upload_that_ends_early_leaves_the_mark_unsaved() {
    let mut controller = controller(Options { cli_command_time: Duration::from_secs(600), ..Options::default() });
    controller.mark(NODE, "why").unwrap();
    let mut cli = open(&controller);
    cli.send(&frames(&["online-node", NODE]));
    controller.wait_for("the command", |world| world.node(NODE).is_some_and(|node| node.mark.is_none()));
    cli.upload = None;
    assert_eq!(outcome(&cli.receive().1), (Some(0), String::new()));
    assert!(!controller.node(NODE).unwrap().marked);
    controller.down();
    controller.up().unwrap();
    assert_eq!(controller.node(NODE).unwrap().reason, "why");
}

#[test]
fn a_silent_upload_leaves_the_mark_unsaved() {
    let times = (Duration::from_secs(600), Duration::from_millis(10));
    let options = Options { cli_command_time: times.0, cli_silence: times.1, ..Options::default() };
    let mut controller = controller(options);
    assert_eq!(run(&controller, &["offline-node", NODE, "-m", "why"]), (Some(0), String::new()));
    assert_eq!(controller.node(NODE).unwrap().reason, "why");
    controller.down();
    controller.up().unwrap();
    assert!(!controller.node(NODE).unwrap().marked);
}

#[test]
fn an_upload_that_comes_too_late_gets_no_exit_code() {
    let controller = controller(Options { cli_upload_window: Duration::ZERO, ..Options::default() });
    let mut cli = open(&controller);
    assert_eq!(cli.answer.status, 200);
    assert_eq!(cli.receive(), (0, Vec::new()));
}

#[test]
fn a_controller_without_it_redirects_to_nowhere() {
    let controller = controller(Options { cli: false, ..Options::default() });
    let cli = open(&controller);
    assert_eq!((cli.answer.status, cli.answer.header("location")), (302, Some("/cli/?remoting=false")));
    assert_eq!(ask(&controller, OP, "GET", "cli/?remoting=false").status, 404);
}

#[test]
fn the_empty_name_is_the_built_in_node() {
    let controller = jenkins();
    assert_eq!(run(&controller, &["offline-node", "", "-m", "x"]).0, Some(0));
    assert!(controller.node("(built-in)").unwrap().marked);
}

#[test]
fn several_nodes_of_which_one_is_missing() {
    let controller = jenkins();
    let (code, words) = run(&controller, &["offline-node", "nope", NODE]);
    assert_eq!(code, Some(5), "{words}");
    assert!(controller.node(NODE).unwrap().marked);
    assert_eq!(run(&controller, &["offline-node", NODE, "--bogus"]).0, Some(2));
}

#[test]
fn a_lost_exit_code_says_nothing_about_the_mark() {
    let controller = jenkins();
    controller.mark(NODE, "why").unwrap();
    controller.fault(On::operation(Operation::CliDownload).nth(1), Fault::Truncated);
    assert_eq!(run(&controller, &["online-node", NODE]), (None, String::new()));
    assert!(!controller.node(NODE).unwrap().marked);
    let request = &controller.requests_for(Operation::CliDownload)[0];
    assert_eq!((request.command.join(" "), request.carried_out), ("online-node n1".to_owned(), true));
}

#[test]
fn a_buffering_proxy_lets_nothing_through() {
    let controller = controller(Options { cli_upload_window: Duration::from_millis(200), ..Options::default() });
    controller.mark(NODE, "why").unwrap();
    controller.fault(On::operation(Operation::CliUpload), Fault::HangBefore);
    let mut cli = open(&controller);
    cli.send(&frames(&["online-node", NODE]));
    controller.wait_for("the upload", |world| {
        world.requests().iter().any(|request| request.operation == Operation::CliUpload)
    });
    // The download ends when its window for the upload is over.
    assert_eq!(cli.receive(), (0, Vec::new()));
    assert!(controller.node(NODE).unwrap().marked);
}
