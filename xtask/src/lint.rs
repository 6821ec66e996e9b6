//! `cargo xtask lint`: everything that is checked without being run.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use agent_wrap_testbed::{cache, skip};
use anyhow::{Context, Result};
use clap::Args;

use crate::{install, run};

/// Directories that hold nothing of ours.
const NOT_OURS: [&str; 3] = [".git", "target", "node_modules"];

#[derive(Args)]
pub(crate) struct Options {
    /// Install nothing: a missing tool is a failure
    #[arg(long)]
    no_install: bool,
}

/// Runs every check, also after one has failed, and fails if one has.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !options.no_install {
        install::packages(install::User::Lint);
    }
    let root = cache::workspace();
    let checks = [
        run::check(run::cargo().args(["fmt", "--all", "--check"])),
        run::check(
            run::cargo()
                .args(["clippy", "--workspace", "--all-targets"])
                .args(run::locked())
                .args(["--", "-D", "warnings"]),
        ),
        dependencies(options),
        scripts(&root),
        man_pages(&root),
    ];
    let failures: Vec<_> = checks.into_iter().filter_map(Result::err).collect();
    for failure in &failures {
        eprintln!("FAILED {failure:#}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn dependencies(options: &Options) -> Result<()> {
    let installed = run::cargo().args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !options.no_install && !installed.is_ok_and(|status| status.success()) {
        run::check(run::cargo().args(["install", "--locked", "cargo-deny"]))?;
    }
    // Advisories change without a commit of ours and need the network: they are no part of this.
    run::check(run::cargo().args(["deny", "check", "bans", "licenses", "sources"]))
}

fn scripts(root: &Path) -> Result<()> {
    let scripts: Vec<_> = files(root)?.into_iter().filter(|file| is_script(file).unwrap_or(false)).collect();
    check_files(run::program("shellcheck"), root, &scripts)
}

fn man_pages(root: &Path) -> Result<()> {
    let directory = root.join("man");
    if !directory.is_dir() {
        return Ok(());
    }
    let mut command = run::program("mandoc");
    command.args(["-T", "lint", "-W", "warning"]);
    check_files(command, root, &files(&directory)?)
}

/// Runs a checker on files, if there are any.
fn check_files(mut command: Command, root: &Path, files: &[PathBuf]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    skip::need_program(&program).map_err(anyhow::Error::msg)?;
    run::check(command.args(files.iter().map(|file| file.strip_prefix(root).unwrap_or(file))))
}

/// Every file of ours below a directory, sorted.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            found.push(entry.path());
        } else if kind.is_dir() && !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            found.extend(files(&entry.path())?);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether it begins as a script of a Bourne shell does.
fn is_script(file: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(file)?.take(64).read_to_end(&mut start)?;
    let start = String::from_utf8_lossy(&start);
    let Some(interpreter) = start.lines().next().and_then(|line| line.strip_prefix("#!")) else { return Ok(false) };
    let mut words = interpreter.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let shells = ["sh", "bash", "dash", "ksh"];
    Ok(match words.next() {
        Some("env") => words.next().is_some_and(|word| shells.contains(&word)),
        Some(word) => shells.contains(&word),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ci_script_is_a_script_and_this_file_is_none() {
        let root = cache::workspace();
        assert!(is_script(&root.join(".ci/run")).unwrap());
        assert!(!is_script(&root.join("xtask/src/lint.rs")).unwrap());
        assert!(files(&root).unwrap().contains(&root.join(".ci/run")));
    }
}
