//! `cargo xtask test`: every test there is, with what they need.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{ExitCode, Stdio},
};

use agent_wrap_testbed::{cache, skip, statics};
use anyhow::{Context, Result};
use clap::Args;

use crate::{
    image, install, run,
    tally::{Skip, Tally},
};

/// The tests that a CI machine may skip, by name, each with its reason. Every other skip there is a failure.
const SKIPPED_IN_CI: &[(&str, &str)] = &[
    ("a_look_at_a_hidden_survivor", "the part of another test that runs in a process of its own"),
    ("a_wrapper_at_a_terminal", "the part of another test that runs in a process of its own"),
    ("a_wrapper_to_be_killed", "the part of another test that runs in a process of its own"),
];

#[derive(Args)]
pub(crate) struct Options {
    /// Install nothing and fetch nothing: tests that lack something skip themselves
    #[arg(long)]
    no_install: bool,
    /// Only tests whose names contain one of these
    filters: Vec<String>,
}

/// Runs the tests and prints, last, how many passed, failed and were skipped.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let cache = cache::directory();
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    if !options.no_install {
        install::packages(install::User::Test);
        install::hudson();
        install::static_target();
        image::debian();
    }
    build_statics();

    let skips = cache.join(format!("skips-{}", std::process::id()));
    fs::write(&skips, "").with_context(|| format!("cannot write {}", skips.display()))?;
    let tally = cargo_test(&options.filters, &cache, &skips);
    let announced = fs::read_to_string(&skips).with_context(|| format!("cannot read {}", skips.display()));
    fs::remove_file(&skips).with_context(|| format!("cannot remove {}", skips.display()))?;
    let mut tally = tally?;
    tally.read_announced(&announced?);
    if run::is_ci() {
        fail_unexpected_skips(&mut tally, SKIPPED_IN_CI);
    }
    report(&mut tally)
}

/// Builds the programs that go into images. A failure is said; what needs them says so then.
fn build_statics() {
    let mut command = run::cargo();
    command.args(["build", "--target", &statics::target(), "--bins", "-p", "agent-wrap", "-p", "agent-wrap-testbed"]);
    command.arg("--target-dir").arg(statics::target_directory());
    if let Err(error) = run::check(command.args(run::locked())) {
        eprintln!("warning: no static programs: {error:#}");
    }
}

fn cargo_test(filters: &[String], cache: &Path, skips: &Path) -> Result<Tally> {
    // Whoever starts us with nohup, or with & in a script, has us ignore signals that the tests are about.
    let mut command = run::with_default_signals(&run::cargo());
    command.args(["test", "--workspace", "--no-fail-fast"]).args(run::locked()).arg("--").args(filters);
    command.env(cache::VARIABLE, cache).env(skip::VARIABLE, skips).env("CARGO_TERM_COLOR", "never");
    // A plain `cargo test` looks at a few beginnings only.
    command.env("MODEL_LOTS", "all");
    eprintln!("+ {}", run::line(&command));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo's output is not ours")?;

    let mut tally = Tally::default();
    let mut stdout = io::stdout();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(stdout, "{line}")?;
        tally.read_line(&line)?;
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && tally.failed() == 0 {
        tally.fail(&format!("cargo test itself: {status}; a test program did not build, or crashed (see above)"));
    }
    Ok(tally)
}

fn fail_unexpected_skips(tally: &mut Tally, expected: &[(&str, &str)]) {
    let unexpected = |skip: &&Skip| !expected.iter().any(|(test, _)| *test == skip.test);
    let names: Vec<_> = tally.skips.iter().filter(unexpected).map(|skip| skip.test.clone()).collect();
    for name in names {
        tally.fail(&format!("{name} (skipped, which a CI machine may not)"));
    }
}

fn report(tally: &mut Tally) -> Result<ExitCode> {
    tally.skips.sort();
    let mut stdout = io::stdout();
    writeln!(stdout)?;
    for Skip { test, reason } in &tally.skips {
        writeln!(stdout, "SKIPPED {test}: {reason}")?;
    }
    for test in &tally.failures {
        writeln!(stdout, "FAILED {test}")?;
    }
    writeln!(stdout, "{}", tally.summary())?;
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_fails_in_ci_unless_it_is_expected() {
        let mut tally = Tally::default();
        tally.read_announced("known\tno network\nother\tno java\n");
        fail_unexpected_skips(&mut tally, &[("known", "there is no network")]);
        assert_eq!(tally.failures, ["other (skipped, which a CI machine may not)"]);
        assert_eq!(tally.failed(), 1);
    }
}
