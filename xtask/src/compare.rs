//! `cargo xtask compare`: the counter-example's table, from real runs.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use agent_wrap_testbed::{
    cache,
    compare::{self, Scenario, Side, Table},
    hudson::{Hudson, HudsonOptions},
    skip,
};
use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{install, markers, run};

/// The files that show the table, those of them that there are.
const FILES: [&str; 2] = ["README.md", "docs/compare.md"];
const MARKER: &str = "compare";

#[derive(Args)]
pub(crate) struct Options {
    /// Install nothing and fetch nothing: what is missing is a failure
    #[arg(long)]
    no_install: bool,
    /// How often each life is played
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only print the table
    #[arg(long)]
    no_write: bool,
    /// Only these lives, by name; the table is printed and not written
    scenarios: Vec<String>,
}

/// Plays the lives on a real controller, prints the table and writes it into the documentation.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let scenarios = chosen(&options.scenarios)?;
    if !options.no_install {
        install::packages(install::User::Compare);
        install::hudson();
    }
    skip::need_hudson().and_then(|()| skip::need_python_jenkins()).map_err(anyhow::Error::msg)?;
    run::check(run::cargo().args(["build", "--package", "agent-wrap", "--bin", "agent-wrap"]).args(run::locked()))?;
    let program = run::built("agent-wrap")?;

    let footnote = footnote(options.runs)?;
    let mut hudson = Hudson::start(HudsonOptions { security: true, ..HudsonOptions::default() })?;
    let mut table = Table::default();
    for number in 1..=options.runs {
        for scenario in &scenarios {
            let node = |side: &str| format!("{} {side} {number}", scenario.name);
            eprintln!("{} (run {number} of {}), by a unit", scenario.name, options.runs);
            table.add(scenario, Side::Unit, scenario.play_unit(&mut hudson, &node("unit"))?);
            eprintln!("{} (run {number} of {}), by agent-wrap", scenario.name, options.runs);
            table.add(scenario, Side::Wrapper, scenario.play_wrapper(&mut hudson, &node("wrap"), &program)?);
        }
    }
    drop(hudson);

    let text = format!("{}\n{}", table.markdown(), footnote);
    writeln!(std::io::stdout(), "{text}")?;
    if !options.no_write && options.scenarios.is_empty() {
        write(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(compare::ALL.iter().collect());
    }
    let known = || compare::ALL.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let named = |name: &String| Scenario::named(name).with_context(|| format!("no life is called {name}; {}", known()));
    names.iter().map(named).collect()
}

fn footnote(runs: u32) -> Result<String> {
    let python = run::output(
        run::program(skip::PYTHON)
            .args(["-c", "from importlib.metadata import version; print(version('python-jenkins'))"]),
    )?;
    let java = run::output(run::program("java").args(["-XshowSettings:none", "--version"]))?;
    let java = java.lines().next().unwrap_or_default();
    Ok(format!(
        "Hudson 3.0.0 with its own java agent ({java}), python-jenkins {python}. Made by `cargo xtask compare --runs \
         {runs}`."
    ))
}

fn write(text: &str) -> Result<()> {
    let root = cache::workspace();
    let files: Vec<PathBuf> =
        FILES.iter().map(|file| root.join(file)).filter(|file| markers::has(file, MARKER)).collect();
    if files.is_empty() {
        bail!("none of {} has the marker <!-- {MARKER}:begin -->", FILES.join(", "));
    }
    for file in files {
        markers::fill(&file, MARKER, text)?;
        eprintln!("written to {}", file.display());
    }
    Ok(())
}
