//! The project's own commands: one module each.

mod bench;
mod compare;
mod coverage;
mod demo;
mod image;
mod install;
mod lint;
mod markers;
mod model;
mod mutants;
mod run;
mod tally;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the figures of docs/figures.md
    Bench(bench::Options),
    /// Play the same lives with python-jenkins and with agent-wrap, and write the table of both outcomes
    Compare(compare::Options),
    /// Show which lines of the core and the driver no test comes by
    Coverage(coverage::Options),
    /// Check formatting, lints, dependencies, scripts and man pages
    Lint(lint::Options),
    /// Show one life of agent-wrap from the mark to the drained stop, with a picture of it
    Demo(demo::Options),
    /// Check the core's model within larger bounds than the tests do
    Model(model::Options),
    /// Let a machine plant faults in the core and see whether the tests find them
    Mutants(mutants::Options),
    /// Install what the tests need, run them all, and name what failed or was skipped
    Test(test::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Coverage(options) => coverage::run(&options),
        Command::Lint(options) => lint::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Model(options) => model::run(&options),
        Command::Mutants(options) => mutants::run(&options),
        Command::Test(options) => test::run(&options),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
