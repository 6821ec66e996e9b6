//! `cargo xtask model`: the model check of the core within larger bounds than a test run has time for.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::run;

#[derive(Args)]
pub(crate) struct Options {
    /// How much may go wrong in one life
    #[arg(long, value_name = "N", default_value_t = 2)]
    disturbances: u8,
    /// How often an operator may ask for something
    #[arg(long, value_name = "N", default_value_t = 1)]
    requests: u8,
    /// How often an agent is started; what comes after is not looked at
    #[arg(long, value_name = "N", default_value_t = 3)]
    agents: u8,
    /// Only this beginning, by its name in supervisor/tests/model/lots.rs
    #[arg(long, value_name = "NAME", default_value = "all")]
    lot: String,
    /// Only this exploration
    #[arg(long, value_name = "NAME", value_parser = ["stop", "landing"])]
    only: Option<String>,
}

/// Runs it and prints how much it has met.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut command = run::cargo();
    command.args(["test", "--package", "agent-wrap-supervisor", "--test", "model"]).args(run::locked());
    let filter = options.only.as_ref().map_or_else(|| "around".to_owned(), |only| format!("around_a_{only}"));
    let filter = filter.replace("around_a_landing", "around_landing");
    command.args(["--", "--nocapture", "--test-threads", "1", &filter]);
    for (name, bound) in [
        ("MODEL_DISTURBANCES", options.disturbances),
        ("MODEL_REQUESTS", options.requests),
        ("MODEL_AGENTS", options.agents),
    ] {
        command.env(name, bound.to_string());
    }
    run::check(command.env("MODEL_LOTS", &options.lot))?;
    Ok(ExitCode::SUCCESS)
}
