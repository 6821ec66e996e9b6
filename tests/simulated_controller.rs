//! Every scenario on the simulated controller, as Hudson and as Jenkins, without security and with it: a password and
//! its crumb for Hudson, an API token for Jenkins. Each test has a controller of its own.

mod common;
mod scenarios;
mod trials;

use std::process::ExitCode;

use agent_wrap_testbed::simulated::{Options, Simulated};
use trials::trial;

/// Hudson with accounts, which have passwords only.
fn hudson_secured() -> Options {
    let mut options = Options { security: true, crumbs: true, ..Options::hudson() };
    for account in &mut options.accounts {
        account.token = None;
    }
    options
}

/// Jenkins as it comes: API tokens, which need no crumb.
fn jenkins_secured() -> Options {
    let mut options = Options::jenkins("2.578");
    for account in &mut options.accounts {
        account.password = None;
    }
    options
}

fn jenkins_open() -> Options {
    Options { security: false, ..Options::jenkins("2.578") }
}

/// A name and what it is like.
type Controller = (&'static str, fn() -> Options);

const CONTROLLERS: &[Controller] = &[
    ("hudson_open", Options::hudson),
    ("hudson_secured", hudson_secured),
    ("jenkins_open", jenkins_open),
    ("jenkins_secured", jenkins_secured),
];

fn main() -> ExitCode {
    let pairs =
        CONTROLLERS.iter().flat_map(|controller| scenarios::ALL.iter().map(move |scenario| (controller, scenario)));
    let trials = pairs.map(|((controller, options), (scenario, play))| {
        trial(format!("{controller}::{scenario}"), || {
            let mut stage = Simulated::start(options()).expect("the controller starts");
            play(&mut stage);
        })
    });
    trials::run(trials.collect(), trials::MANY)
}
