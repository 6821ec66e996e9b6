//! `cargo xtask coverage`: which lines of the core and the driver no test comes by.

use std::{
    fs,
    process::{Command, ExitCode, Stdio},
};

use agent_wrap_testbed::cache;
use anyhow::{Context, Result};
use clap::Args;

use crate::{install, run};

/// Whose tests run, and whose lines are counted.
const PACKAGES: [&str; 4] = ["--package", "agent-wrap-supervisor", "--package", "agent-wrap"];
/// The folder of the program's source that is looked at besides the core.
const DRIVER: &str = "driver";

#[derive(Args)]
pub(crate) struct Options {
    /// Only the tests of the core and the unit tests: a minute instead of ten
    #[arg(long)]
    quick: bool,
}

/// Runs the tests with counters built in, and prints a table and the lines that none of them has reached.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    install::packages(install::User::Test);
    if !options.quick {
        install::hudson();
    }
    provide()?;
    // As for `cargo xtask test`: under nohup the tests of reloads would see no HUP.
    let mut tests = run::with_default_signals(&llvm_cov());
    tests.args(["--no-report", "--no-fail-fast"]);
    if options.quick {
        tests.args(PACKAGES).args(["--lib", "--test", "core", "--test", "model"]);
    } else {
        // With the programs of the testbed, which the tests of the others start.
        tests.arg("--workspace");
    }
    tests.env(cache::VARIABLE, cache::directory());
    // What is counted is counted, also if a test bears the counters badly.
    let tested = run::check(&mut tests);
    let mut report = llvm_cov();
    report.arg("report").args(PACKAGES).args(["--show-missing-lines", "--ignore-filename-regex", &others()?]);
    run::check(&mut report)?;
    tested.map(|()| ExitCode::SUCCESS)
}

/// A regular expression, of LLVM's plain kind, for every file that is neither the core's nor the driver's.
fn others() -> Result<String> {
    let root = cache::workspace().display().to_string().replace('.', "\\.");
    let mut names = Vec::new();
    for entry in fs::read_dir(cache::workspace().join("src")).context("cannot read src/")? {
        let name = entry?.file_name().to_string_lossy().replace('.', "\\.");
        if name != DRIVER {
            names.push(name);
        }
    }
    names.sort();
    Ok(format!("/tests/|/tests\\.rs|^{root}/(testbed|xtask|src/({}))", names.join("|")))
}

fn llvm_cov() -> Command {
    let mut command = run::cargo();
    command.arg("llvm-cov");
    command
}

fn provide() -> Result<()> {
    let there = llvm_cov().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        run::check(run::cargo().args(["install", "--locked", "cargo-llvm-cov"]))?;
    }
    run::check(run::program("rustup").args(["component", "add", "llvm-tools"]))
}
