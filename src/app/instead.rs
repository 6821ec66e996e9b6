//! A program that runs in our place and not under us.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::exit::ExitCode;
use crate::process;
use crate::telemetry;

/// Executes a program with our environment, streams and signals as they are. It returns only if that cannot be done.
pub fn become_program(command: &[OsString]) -> ExitCode {
    let Some((name, arguments)) = command.split_first() else { return ExitCode::Usage };
    let program = match process::resolve(name, std::env::var_os("PATH").as_deref()) {
        Ok(program) => program,
        Err(unresolved) => {
            say(&unresolved.to_string());
            return if unresolved.is_not_found() { ExitCode::NotFound } else { ExitCode::NotExecutable };
        }
    };
    let error = Command::new(&program).arg0(name).args(arguments).exec();
    say(&format!("cannot execute {}: {error}", program.display()));
    ExitCode::NotExecutable
}

fn say(words: &str) {
    telemetry::say(&format!("jenkins-agent: {}\n", telemetry::visible(words)));
}
