//! The weeks between a start and a stop: agents that hang, connections that flap, dead channels, two wrappers of one node,
//! an operator's hold file, and a controller that goes away in the middle of each of them.
//!
//! A scenario is played on the simulated controller, as Jenkins and as Hudson, and on a real Hudson with its java agent.

#[path = "../common/mod.rs"]
mod common;
mod flapping;
mod hold;
mod outages;
mod power;
mod quiet;
mod rivals;
mod scene;
mod takeover;
#[path = "../trials/mod.rs"]
mod trials;
mod watch;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use agent_wrap_testbed::hudson::{Hudson, HudsonOptions};
use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage;
use libtest_mimic::Trial;

use crate::trials::trial;

/// Played on every controller.
type Scenario = (&'static str, fn(&mut dyn Stage));

/// One for all scenarios, because it takes seconds to start. It ends with this process.
static HUDSON: Mutex<Option<Hudson>> = Mutex::new(None);

fn main() -> ExitCode {
    let everywhere = [watch::EVERYWHERE, flapping::EVERYWHERE, rivals::EVERYWHERE, hold::EVERYWHERE].concat();
    let mut trials: Vec<Trial> = everywhere.into_iter().flat_map(on_all).collect();
    let own = [
        watch::trials(),
        flapping::trials(),
        takeover::trials(),
        hold::trials(),
        outages::trials(),
        power::trials(),
        quiet::trials(),
    ];
    trials.extend(own.into_iter().flatten());
    trials::run(trials, trials::MANY)
}

fn on_all((name, play): Scenario) -> [Trial; 3] {
    [
        trial(format!("{name}::simulated_jenkins"), move || play(&mut simulated(jenkins()))),
        trial(format!("{name}::simulated_hudson"), move || play(&mut simulated(Options::hudson()))),
        trial(format!("{name}::real_hudson"), move || on_hudson(name, play)),
    ]
}

fn jenkins() -> Options {
    Options { security: false, ..Options::jenkins("2.578") }
}

fn simulated(options: Options) -> Simulated {
    Simulated::start(options).expect("the controller starts")
}

fn on_hudson(name: &str, play: fn(&mut dyn Stage)) {
    if skip::unmet(&format!("keeping::{name}::real_hudson"), skip::need_hudson()) {
        return;
    }
    let mut slot = HUDSON.lock().unwrap_or_else(PoisonError::into_inner);
    play(slot.get_or_insert_with(|| Hudson::start(HudsonOptions::default()).expect("Hudson starts")));
}
