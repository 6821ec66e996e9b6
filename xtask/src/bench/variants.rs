//! What is measured side by side: the wrapper, and the inits of containers that are installed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use agent_wrap_testbed::skip;

/// A way to start a program.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    words: Vec<PathBuf>,
}

impl Variant {
    fn new(name: &'static str, words: &[&str]) -> Self {
        Self { name, words: words.iter().map(PathBuf::from).collect() }
    }

    /// The command that runs `program` with `arguments` this way; what it says of itself is thrown away.
    pub(super) fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut words = self.words.iter().map(PathBuf::as_path).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words).args(arguments).stderr(Stdio::null());
        command
    }
}

/// The program itself, without anything before it.
pub(super) fn bare() -> Variant {
    Variant::new("nothing", &[])
}

/// `agent-wrap --standalone`.
pub(super) fn standalone(wrapper: &Path) -> Variant {
    let mut variant = Variant::new("agent-wrap --standalone", &["", "--standalone", "--restart", "no"]);
    wrapper.clone_into(&mut variant.words[0]);
    variant
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
