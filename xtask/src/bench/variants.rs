//! What is measured side by side: the wrapper, and the inits of containers that are installed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    rc::Rc,
};

use agent_wrap_testbed::skip;
use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// A way to start a program.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    words: Vec<PathBuf>,
    /// The wrapper's runtime directory: in the machine's own it would clear up after others.
    runtime: Option<Rc<TempDir>>,
}

impl Variant {
    fn new(name: &'static str, words: &[&str]) -> Self {
        Self { name, words: words.iter().map(PathBuf::from).collect(), runtime: None }
    }

    /// The command that runs `program` with `arguments` this way; what it says of itself is thrown away.
    pub(super) fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut words = self.words.iter().map(PathBuf::as_path).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words).args(arguments).stderr(Stdio::null());
        if let Some(runtime) = &self.runtime {
            command.env("RUNTIME_DIRECTORY", runtime.path());
        }
        command
    }
}

/// The program itself, without anything before it.
pub(super) fn bare() -> Variant {
    Variant::new("nothing", &[])
}

/// `agent-wrap --standalone`.
pub(super) fn standalone(wrapper: &Path) -> Result<Variant> {
    let mut variant = Variant::new("agent-wrap --standalone", &["", "--standalone", "--restart", "no"]);
    wrapper.clone_into(&mut variant.words[0]);
    variant.runtime = Some(Rc::new(tempfile::tempdir().context("no runtime directory")?));
    Ok(variant)
}

/// The peers that are installed.
pub(super) fn peers() -> Vec<Variant> {
    let all = [
        ("tini", ["tini", "-s", "--"].as_slice()),
        ("dumb-init", &["dumb-init", "--"]),
        ("catatonit", &["catatonit", "--"]),
    ];
    let there = all.into_iter().filter(|(name, _)| skip::need_program(name).is_ok());
    there.map(|(name, words)| Variant::new(name, words)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapper_has_a_runtime_directory_of_its_own() {
        let variant = standalone(Path::new("agent-wrap")).unwrap();
        let command = variant.command(Path::new("true"), &[]);
        let runtime = command.get_envs().find(|(name, _)| *name == "RUNTIME_DIRECTORY").and_then(|(_, value)| value);
        assert!(runtime.is_some_and(|runtime| Path::new(runtime).is_dir()), "{command:?}");
    }
}
