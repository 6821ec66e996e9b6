//! The program: brings a node online, runs its agent, and marks the node offline before the agent stops.

use std::ffi::OsString;
use std::process::ExitCode;

use agent_wrap::{app, config, signals};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(command) = config::instead_of_an_agent(&arguments, &config::Surroundings::of_this_process()) {
        return app::become_program(&command).into();
    }
    // Before anything else: from here on no signal is lost.
    let signals = signals::install_early();
    app::run(arguments, signals).into()
}
