//! `cargo xtask mutants`: faults planted by a machine in the core, each of which a test has to find.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::run;

/// The beginning that the model check looks at for each mutant: the one in which the most goes on.
const LOT: &str = "Hudson, somebody's mark";

/// So many random lives find nearly all that twenty thousand do.
const FIRST_LIVES: &str = "2000";

/// What cargo-mutants exits with when a mutant was missed, and when one has run out of its time.
const FOUND_SURVIVORS: [i32; 2] = [2, 3];

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

/// Runs cargo-mutants, which it installs first: once with the quick tests, and once more with all of them for those that
/// have survived. The list of survivors is in target/mutants.out.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let installed = run::cargo().args(["mutants", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        run::check(run::cargo().args(["install", "--locked", "cargo-mutants"]))?;
    }
    let mut quick = mutants(options);
    quick.args(["--", "--lib", "--test", "core"]).env("SIM_LIVES", FIRST_LIVES);
    eprintln!("+ {}", run::line(&quick));
    let status = quick.status().context("cannot start cargo")?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(status.code().is_some_and(|code| FOUND_SURVIVORS.contains(&code)), "cargo mutants: {status}");
    run::check(mutants(options).arg("--iterate").env("MODEL_LOTS", LOT))?;
    Ok(ExitCode::SUCCESS)
}

fn mutants(options: &Options) -> Command {
    let mut command = run::cargo();
    command.args(["mutants", "--package", "agent-wrap-supervisor", "--output", "target"]);
    command.args(["--jobs", &options.jobs.to_string()]);
    if let Some(shard) = &options.shard {
        command.args(["--shard", shard]);
    }
    for file in &options.file {
        command.args(["--file", file]);
    }
    command
}
