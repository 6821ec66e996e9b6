//! A program that runs in our place and not under us.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::exit::ExitCode;
use crate::process;
use crate::quoted::quoted;
use crate::telemetry;

/// Executes a program with our environment, streams and signals as they are. It returns only if that cannot be done.
pub fn become_program(command: &[OsString]) -> ExitCode {
    let Some((name, arguments)) = command.split_first() else { return ExitCode::Usage };
    let program = match process::resolve(name, std::env::var_os("PATH").as_deref()) {
        Ok(program) => program,
        Err(unresolved) if unresolved.is_not_found() && looks_like_a_secret(name) => {
            say(A_SECRET_ALONE);
            return ExitCode::NotFound;
        }
        Err(unresolved) => {
            say(&unresolved.to_string());
            return if unresolved.is_not_found() { ExitCode::NotFound } else { ExitCode::NotExecutable };
        }
    };
    let error = Command::new(&program).arg0(name).args(arguments).exec();
    say(&format!("cannot execute {}: {error}", program.display()));
    ExitCode::NotExecutable
}

const A_SECRET_ALONE: &str = "an argument that stands alone is run as a program, and this one looks like a node's secret: \
    write -secret before it, or the node's name after it";

/// Whether a word had better not be repeated: the secrets of nodes are hexadecimal digits.
fn looks_like_a_secret(word: &OsStr) -> bool {
    let bytes = word.as_encoded_bytes();
    bytes.len() >= 32 && bytes.iter().all(u8::is_ascii_hexdigit)
}

/// What is wrong with the arguments of `jenkins-agent` that begin with a program and go on: only a single one is run in
/// our place, and agent.jar would get these.
pub(super) fn misplaced_program(arguments: &[OsString]) -> Option<String> {
    let [_, program, _, ..] = arguments else { return None };
    let is_option = program.as_encoded_bytes().first().is_none_or(|first| b"-@".contains(first));
    let path = std::env::var_os("PATH");
    let is_there = !is_option
        && match process::resolve(program, path.as_deref()) {
            Ok(_) => true,
            Err(unresolved) => !unresolved.is_not_found(),
        };
    let program = is_there.then(|| quoted(program))?;
    Some(format!(
        "{program} is a program, and several arguments are those of the agent: only one that stands alone is run in the \
         agent's place. Run it as the entry point (docker run --entrypoint, or command: in Kubernetes)"
    ))
}

fn say(words: &str) {
    telemetry::say(&format!("jenkins-agent: {}\n", telemetry::visible(words)));
}
