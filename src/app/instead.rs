//! A program that runs in our place and not under us.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::exit::ExitCode;
use crate::process;

/// Executes a program with our environment, streams and signals as they are. It returns only if that cannot be done.
pub fn become_program(name: &OsStr) -> ExitCode {
    let program = match process::resolve(name, std::env::var_os("PATH").as_deref()) {
        Ok(program) => program,
        Err(unresolved) => {
            super::print(&format!("jenkins-agent: {unresolved}\n"), true);
            return if unresolved.is_not_found() { ExitCode::NotFound } else { ExitCode::NotExecutable };
        }
    };
    let error = Command::new(&program).arg0(name).exec();
    super::print(&format!("jenkins-agent: cannot execute {}: {error}\n", program.display()), true);
    ExitCode::NotExecutable
}
