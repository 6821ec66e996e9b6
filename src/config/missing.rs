//! What is not given: where it was looked for, and where it may have been written instead.

use std::ffi::OsString;
use std::path::Path;

use super::agent_command::{AgentCommand, Way};
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
    let said = match () {
        () if !agent.is_agent => format!("{options} of the agent's command, which does not look like agent.jar"),
        () if key == Key::Url && agent.is_direct() => {
            format!("{options} of the agent's command, which has -direct, and that names no controller")
        }
        () => format!("{options} of the agent's command"),
    };
    places.extend((!cli.command.is_empty()).then_some(said));
    Problem::new(format!(
        "no {noun} is given. Looked for in: {}. Give it in one of these places, or {} to run without a controller{}",
        places.join("; "),
        standalone(cli),
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

/// What is missing of how the agent connects, when nobody can be asked for it.
pub(super) enum Unasked {
    /// It may connect all the same.
    Warning(String),
    /// It surely cannot.
    Problem(Problem),
}

/// That what an agent is to be told is not enough for it to connect, with `--standalone`.
pub(super) fn unasked(values: &Values, command: &AgentCommand, cli: &Cli) -> Option<Unasked> {
    if command.jar.is_none() || command.elsewhere.is_some() || command.has_unread() {
        return None;
    }
    let is_given = |key| values.get(key).is_some();
    let secret = is_given(Key::SecretFile) || !command.lacks_secret();
    match command.way() {
        Way::Unsaid => half_a_connection(values, command, cli),
        Way::Root | Way::Direct => {
            let option = if command.is_direct() { "-direct" } else { "-url" };
            // The settings complete a command with both or with none.
            let node = command.node().is_some() || (is_given(Key::Url) && is_given(Key::Node));
            let mut missing = (!secret).then(|| no_secret(option, cli)).into_iter().collect::<Vec<_>>();
            if !node {
                missing.push(format!(
                    "the agent's command has {option}, but no -name, without which the agent cannot connect: write it there"
                ));
            }
            (!missing.is_empty()).then(|| Unasked::Problem(Problem::new(missing.join("; "))))
        }
        Way::Jnlp => (!secret).then(|| Unasked::Warning(no_secret("-jnlpUrl", cli))),
        Way::Socket => None,
    }
}

fn no_secret(option: &str, cli: &Cli) -> String {
    format!(
        "the agent's command has {option}, but the node's secret is not given, and without a controller to ask \
         ({}) nobody else knows it. Looked for in: -secret of the agent's command; {}; secret-file in the settings file; \
         agent-wrap.secret in $CREDENTIALS_DIRECTORY. Give it in one of these places, or let the controller be asked for it",
        standalone(cli),
        places(Key::SecretFile, cli).join("; "),
    )
}

fn half_a_connection(values: &Values, command: &AgentCommand, cli: &Cli) -> Option<Unasked> {
    let is_known = |key: &Key| {
        let said = match key {
            Key::Node => command.node().is_some(),
            Key::SecretFile => command.secret().is_some(),
            _ => false,
        };
        said || values.get(*key).is_some()
    };
    let (known, lacking): (Vec<_>, Vec<_>) =
        [Key::Url, Key::Node, Key::SecretFile].into_iter().partition(|key| is_known(key));
    if known.is_empty() || lacking.is_empty() {
        return None;
    }
    let names = |keys: Vec<Key>| keys.into_iter().map(|key| Setting::of(key).name).collect::<Vec<_>>().join(", ");
    let words = format!(
        "the agent's command does not say how to connect, and nothing is added: with {} the controller is not \
         asked, and of url, node and secret-file there is {}, but not {}",
        standalone(cli),
        names(known),
        names(lacking.clone())
    );
    if cli.entry_point.is_none() {
        // It may be meant to speak over stdin and stdout.
        return Some(Unasked::Warning(words));
    }
    let cures: Vec<_> = lacking.into_iter().map(|key| places(key, cli).join(" or ")).collect();
    Some(Unasked::Problem(Problem::new(format!("{words}: set {}", cures.join(", and ")))))
}

/// How it was said that no controller is to be asked.
fn standalone(cli: &Cli) -> &'static str {
    if cli.entry_point.is_some() { "AGENT_WRAP_STANDALONE=true" } else { "--standalone" }
}

/// Every place in which a value for this setting is looked for, but the file.
fn places(key: Key, cli: &Cli) -> Vec<String> {
    let setting = Setting::of(key);
    let flag = cli.entry_point.is_none().then(|| format!("--{}", setting.name));
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
