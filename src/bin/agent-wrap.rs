//! The program: brings a node online, runs its agent, and marks the node offline before the agent stops.

use std::ffi::OsString;
use std::process::ExitCode;

use agent_wrap::{app, config, signals};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(program) = config::instead_of_an_agent(&arguments) {
        return app::become_program(program).into();
    }
    // Before anything else: from here on no signal is lost.
    let signals = signals::install_early();
    app::run(arguments, signals).into()
}
