//! Skipping a test by name, and the reasons to.
//!
//! A test that lacks something says so and returns; `cargo xtask test` counts it as skipped and names it:
//!
//! ```
//! use agent_wrap_testbed::skip;
//!
//! # fn test() {
//! if skip::unmet("node_is_marked", skip::need_hudson()) {
//!     return;
//! }
//! # }
//! ```

use std::{env, fs, io::Write, path::PathBuf, process::Command};

use crate::cache;

/// Names the file that skips are appended to, one `NAME<tab>REASON` a line.
pub const VARIABLE: &str = "AGENT_WRAP_SKIPS";

/// Debian's interpreter, which Debian's modules are for; another one on the PATH does not find them.
pub const PYTHON: &str = "/usr/bin/python3";

const INSTALL: &str = "`cargo xtask test` as root installs it";

/// `Err` with the reason why a test cannot run.
pub type Need = Result<(), String>;

/// Announces that this test is skipped.
///
/// # Panics
/// When the file of `$AGENT_WRAP_SKIPS` cannot be written: a skip must not go unnoticed.
#[expect(clippy::print_stdout, reason = "a test's output is where somebody who runs it alone looks")]
pub fn skip(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
    let Some(file) = env::var_os(VARIABLE) else { return };
    let line = format!("{test}\t{}\n", reason.replace(['\n', '\t'], " "));
    let written = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&file)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("cannot note a skipped test in {}: {error}", PathBuf::from(file).display());
    }
}

/// Whether the need is not met; the skip has been announced then.
#[must_use]
pub fn unmet(test: &str, need: Need) -> bool {
    match need {
        Ok(()) => false,
        Err(reason) => {
            skip(test, &reason);
            true
        }
    }
}

/// A program on the PATH.
///
/// # Errors
/// The reason, when it is not there.
pub fn need_program(program: &str) -> Need {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps some in a directory that only root's PATH has.
    let found = env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .any(|directory| directory.join(program).is_file());
    if found { Ok(()) } else { Err(format!("{program} is not installed; {INSTALL}")) }
}

/// A Java development kit: the controller's launcher is compiled when it starts.
///
/// # Errors
/// The reason, when there is none.
pub fn need_java() -> Need {
    need_program("java")?;
    need_program("javac")
}

/// The real controller: Java and the war.
///
/// # Errors
/// The reason, when one of them is missing.
pub fn need_hudson() -> Need {
    need_java()?;
    let war = cache::hudson_war();
    if war.is_file() {
        return Ok(());
    }
    Err(format!("{} is not there; `cargo xtask test` fetches it with Maven", war.display()))
}

/// The whole image with java.
///
/// # Errors
/// The reason, when it is not there.
pub fn need_debian_image() -> Need {
    let store = cache::image_store();
    // Its name is written down when it is whole.
    match fs::read_to_string(store.join("image")) {
        Ok(name) if name == cache::DEBIAN_IMAGE => Ok(()),
        _ => Err(format!(
            "{} does not have {}; `cargo xtask test` as root makes it",
            store.display(),
            cache::DEBIAN_IMAGE
        )),
    }
}

/// To be root.
///
/// # Errors
/// The reason, when we are not.
pub fn need_root() -> Need {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err("only root may do this".to_owned()) }
}

/// Debian's python-jenkins.
///
/// # Errors
/// The reason, when [`PYTHON`] does not find it.
pub fn need_python_jenkins() -> Need {
    match Command::new(PYTHON).args(["-c", "import jenkins"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(format!("{PYTHON} has no module jenkins (Debian's python3-jenkins); {INSTALL}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_met_and_what_is_not_names_itself() {
        assert_eq!(need_program("sh"), Ok(()));
        let reason = need_program("no-such-program").unwrap_err();
        assert!(reason.starts_with("no-such-program is not installed"), "{reason}");
    }
}
