//! What is not given: where it was looked for, and where it may have been written instead.

use std::ffi::OsString;
use std::path::Path;

use super::agent_command::AgentCommand;
use super::error::Problem;
use super::table::{Key, Setting};
use super::values::places;

/// A missing URL or node.
pub(super) fn setting(key: Key, noun: &str, agent: &AgentCommand, command: &[OsString], file: &Path) -> Problem {
    let mut places = places(key);
    let there = if file.exists() { "" } else { " (there is no such file)" };
    places.push(format!("{} in {}{there}", Setting::of(key).name, file.display()));
    let options = if key == Key::Url { "-url and -jnlpUrl" } else { "-name and -jnlpUrl" };
    places.push(match () {
        () if !agent.is_agent => format!("{options} of the agent's command, which does not look like agent.jar"),
        () if key == Key::Url && agent.is_direct() => {
            format!("{options} of the agent's command, which has -direct, and that names no controller")
        }
        () => format!("{options} of the agent's command"),
    });
    Problem::new(format!(
        "no {noun} is given. Looked for in: {}. Give it in one of these places, or --standalone to run without a \
         controller{}",
        places.join("; "),
        misplaced(&[key, Key::Standalone], command)
    ))
}

/// A user without a token.
pub(super) fn token(user: &str, command: &[OsString]) -> Problem {
    Problem::new(format!(
        "the user {user} is given, but no token. Looked for in: {}; token-file in the settings file; agent-wrap.token \
         in $CREDENTIALS_DIRECTORY{}",
        places(Key::TokenFile).join("; "),
        misplaced(&[Key::TokenFile], command)
    ))
}

/// A hint for somebody who has written one of these options after the command.
fn misplaced(keys: &[Key], command: &[OsString]) -> String {
    let is = |word: &OsString, name: &str| {
        let option = word.to_str().and_then(|word| word.strip_prefix("--"));
        option.is_some_and(|option| option.split('=').next() == Some(name))
    };
    let mut names = keys.iter().map(|key| Setting::of(*key).name);
    let found = names.find(|name| command.iter().skip(1).any(|word| is(word, name)));
    found.map_or_else(String::new, |name| {
        format!(". The --{name} that stands after the command is the agent's: write it before the command")
    })
}
