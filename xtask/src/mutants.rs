//! `cargo xtask mutants`: faults planted by a machine in the core, each of which a test has to find.

use std::process::{ExitCode, Stdio};

use anyhow::Result;
use clap::Args;

use crate::run;

/// The beginning that the model check looks at for each mutant: the one in which the most goes on.
const LOT: &str = "Hudson, somebody's mark";

#[derive(Args)]
pub(crate) struct Options {
    /// Only this part of them, as K/N
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only those in this file
    #[arg(long, value_name = "FILE")]
    file: Vec<String>,
    /// How many are looked at at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: u8,
}

/// Runs cargo-mutants, which it installs first; its list of survivors is in target/mutants.out.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let installed = run::cargo().args(["mutants", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        run::check(run::cargo().args(["install", "--locked", "cargo-mutants"]))?;
    }
    let mut command = run::cargo();
    command.args(["mutants", "--package", "agent-wrap-supervisor", "--output", "target"]);
    command.args(["--jobs", &options.jobs.to_string()]);
    if let Some(shard) = &options.shard {
        command.args(["--shard", shard]);
    }
    for file in &options.file {
        command.args(["--file", file]);
    }
    command.env("MODEL_LOTS", LOT);
    run::check(&mut command)?;
    Ok(ExitCode::SUCCESS)
}
