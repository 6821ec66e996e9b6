//! Running other programs.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use agent_wrap_testbed::cache;
use anyhow::{Context, Result, bail};

/// A program at the workspace's root that reads nothing.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(cache::workspace()).stdin(Stdio::null());
    command
}

/// The cargo that runs us, as if the user had called it.
pub(crate) fn cargo() -> Command {
    let mut command = program(&env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    // What `cargo run` says about us would make build scripts that watch these variables run again, each time.
    for (name, _) in env::vars_os() {
        let is_about_us = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(is_about_us) {
            command.env_remove(name);
        }
    }
    command
}

/// The same program, not yet with its arguments, with the signals of a terminal and of a stop as they are by default.
pub(crate) fn with_default_signals(command: &Command) -> Command {
    let mut env = program("env");
    env.args(["--default-signal=HUP,INT,QUIT,TERM"]).arg(command.get_program());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => env.env(name, value),
            None => env.env_remove(name),
        };
    }
    env
}

/// `--locked` where nobody could commit a changed lock file.
pub(crate) fn locked() -> &'static [&'static str] {
    if is_ci() { &["--locked"] } else { &[] }
}

/// Whether `CI` says that nobody watches.
pub(crate) fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// Runs a program, whose output is the user's to read.
///
/// # Errors
/// When it cannot be started, or ends with anything but 0.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("+ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`: is it installed?"))?;
    if status.success() { Ok(()) } else { bail!("`{line}` failed: {status}") }
}

/// What a program says on standard output, without the white space around it.
///
/// # Errors
/// When it cannot be started, or ends with anything but 0.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("cannot start `{line}`: is it installed?"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A program of the workspace that was built as we were.
///
/// # Errors
/// When it is not there.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let ours = env::current_exe().context("where are we?")?;
    let program = ours.with_file_name(name);
    if program.is_file() { Ok(program) } else { bail!("{} has not been built", program.display()) }
}

/// The command line, for people.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
