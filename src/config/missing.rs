//! What is not given: where it was looked for, and where it may have been written instead.

use std::ffi::OsString;
use std::path::Path;

use super::agent_command::AgentCommand;
use super::error::Problem;
use super::table::{Key, Setting};
use super::values::Values;
use crate::cli::Cli;

/// A missing URL or node.
pub(super) fn setting(key: Key, noun: &str, agent: &AgentCommand, cli: &Cli, file: &Path) -> Problem {
    let mut places = places(key, cli);
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
        "no {noun} is given. Looked for in: {}. Give it in one of these places, or {} to run without a controller{}",
        places.join("; "),
        if cli.without_options { "AGENT_WRAP_STANDALONE=true" } else { "--standalone" },
        misplaced(&[key, Key::Standalone], &cli.command)
    ))
}

/// A user without a token.
pub(super) fn token(user: &str, cli: &Cli) -> Problem {
    Problem::new(format!(
        "the user {user} is given, but no token. Looked for in: {}; token-file in the settings file; agent-wrap.token \
         in $CREDENTIALS_DIRECTORY{}",
        places(Key::TokenFile, cli).join("; "),
        misplaced(&[Key::TokenFile], &cli.command)
    ))
}

/// That what an agent is to be told is not enough to complete its command with, when nobody can be asked for the rest.
pub(super) fn half_a_connection(values: &Values, command: &AgentCommand) -> Option<String> {
    if command.jar.is_none() || command.elsewhere.is_some() || command.has_connection() {
        return None;
    }
    let is_known = |key: &Key| values.get(*key).is_some() || (*key == Key::SecretFile && command.secret().is_some());
    let (known, lacking): (Vec<_>, Vec<_>) =
        [Key::Url, Key::Node, Key::SecretFile].into_iter().partition(|key| is_known(key));
    if known.is_empty() || lacking.is_empty() {
        return None;
    }
    let names = |keys: Vec<Key>| keys.into_iter().map(|key| Setting::of(key).name).collect::<Vec<_>>().join(", ");
    Some(format!(
        "the agent's command does not say how to connect, and nothing is added: with --standalone the controller is not \
         asked, and of url, node and secret-file the settings have {}, but not {}",
        names(known),
        names(lacking)
    ))
}

/// Every place in which a value for this setting is looked for, but the file.
fn places(key: Key, cli: &Cli) -> Vec<String> {
    let setting = Setting::of(key);
    let flag = (!cli.without_options).then(|| format!("--{}", setting.name));
    let aliases = setting.aliases.iter().map(|alias| alias.name.to_owned());
    flag.into_iter().chain([setting.variable()]).chain(aliases).collect()
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
