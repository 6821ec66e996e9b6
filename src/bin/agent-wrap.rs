//! The program: brings a node online, runs its agent, and marks the node offline before the agent stops.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: from here on no signal is lost.
    let signals = agent_wrap::signals::install_early();
    agent_wrap::app::run(std::env::args_os(), signals).into()
}
