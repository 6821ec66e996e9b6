//! `cargo xtask bench`: the figures of docs/figures.md, from a release build.

mod idle;
mod lines;
mod online;
mod probe;
mod start;
mod statistics;
mod terminate;
mod variants;

use std::{fs, io::Write as _, path::Path, process::ExitCode};

use agent_wrap_testbed::{cache, skip};
use anyhow::{Context as _, Result};
use clap::Args;

use crate::{install, markers, run};

const FILE: &str = "docs/figures.md";
const MARKER: &str = "figures";

#[derive(Args)]
pub(crate) struct Options {
    /// Install nothing and fetch nothing: peers that are missing are left out
    #[arg(long)]
    no_install: bool,
    /// Write the figures into docs/figures.md as well
    #[arg(long)]
    write: bool,
}

/// Measures, and prints Markdown. It takes some minutes, most of them for the release build.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    skip::need_root()
        .map_err(|reason| anyhow::anyhow!("{reason}: read the memory of a program that is not dumpable"))?;
    if !options.no_install {
        install::packages(install::User::Bench);
        install::hudson();
    }
    let locked = run::locked();
    run::check(
        run::cargo().args(["build", "--release", "--package", "agent-wrap", "--bin", "agent-wrap"]).args(locked),
    )?;
    run::check(run::cargo().args(["build", "--package", "agent-wrap-testbed", "--bins"]).args(locked))?;
    let stamp = run::built("stamp")?;
    let wrapper = run::built("../release/agent-wrap")?;

    let text = [
        machine()?,
        start::report(&wrapper, &stamp)?,
        terminate::report(&wrapper, &stamp)?,
        idle::report(&wrapper, &stamp)?,
        online::report(&wrapper)?,
        size(&wrapper)?,
        format!("### Lines of code\n\nNeither blank nor comment.\n\n{}", lines::table()?),
    ]
    .join("\n");
    writeln!(std::io::stdout(), "{text}")?;
    if options.write {
        markers::fill(&cache::workspace().join(FILE), MARKER, &text)?;
        eprintln!("written to {FILE}");
    }
    Ok(ExitCode::SUCCESS)
}

/// What it was measured on.
fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism().context("how many cores are there?")?;
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value(&cpu, "model name", ':').unwrap_or("processor without a name");
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = value(&release, "PRETTY_NAME", '=').unwrap_or("Linux").trim_matches('"');
    let kernel = run::output(run::program("uname").args(["-sr"]))?;
    Ok(format!(
        "Made by `cargo xtask bench --write` on {model}, {cores} cores, {kernel}, {system}. The machine is not idle: \
         trust the ratios.\n"
    ))
}

/// The value of the first line `NAME<separator>VALUE`.
fn value<'a>(text: &'a str, name: &str, separator: char) -> Option<&'a str> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.split_once(separator)?.1.trim())
}

fn size(wrapper: &Path) -> Result<String> {
    let bytes = fs::metadata(wrapper).with_context(|| format!("cannot look at {}", wrapper.display()))?.len();
    let libraries = run::output(run::program("ldd").arg(wrapper)).unwrap_or_default();
    let names: Vec<_> = libraries.lines().filter_map(|line| line.split_whitespace().next()).collect();
    Ok(format!(
        "### Size\n\nThe stripped release binary: {bytes} bytes ({}.{} MiB); needs {}.\n",
        bytes / 1_048_576,
        bytes % 1_048_576 * 10 / 1_048_576,
        names.iter().map(|name| name.rsplit('/').next().unwrap_or(name)).collect::<Vec<_>>().join(", ")
    ))
}
