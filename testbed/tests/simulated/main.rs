//! What the simulated controller does beyond the recordings, and the agent that misbehaves.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agents;
mod cli;
#[expect(dead_code, reason = "the recordings use the rest of it")]
#[path = "../client/mod.rs"]
mod client;
mod faults;
mod misbehave;
mod rest;
mod state;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use client::{Answer, Client, basic};

/// The name of the node that most tests use.
const NODE: &str = "n1";

/// A controller with one node.
fn controller(options: Options) -> Simulated {
    let controller = Simulated::start(options).unwrap();
    controller.create_node(NODE, 1).unwrap();
    controller
}

fn jenkins() -> Simulated {
    controller(Options::jenkins("2.578"))
}

/// Asks on a fresh connection; `user` is `name:secret`, or empty for nobody.
fn ask(controller: &Simulated, user: &str, method: &str, path: &str) -> Answer {
    try_ask(controller, user, method, path).unwrap()
}

fn try_ask(controller: &Simulated, user: &str, method: &str, path: &str) -> std::io::Result<Answer> {
    ask_with(controller, user, method, path, &[])
}

fn ask_with(
    controller: &Simulated,
    user: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<Answer> {
    let mut all: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if let Some((name, secret)) = user.split_once(':') {
        all.push(("Authorization".to_owned(), basic(name, secret)));
    }
    let url = controller.url();
    let body = (method == "POST").then_some("");
    Client::connect(&url).try_ask(method, &format!("{}{path}", client::path(&url)), &all, body)
}

/// An operator's API token.
const OP: &str = "op:op-token";
