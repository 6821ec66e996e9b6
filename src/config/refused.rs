//! What agent.jar refuses. It ends with 0 then, and so would each that is started after it: better said at once.

use super::agent_command::AgentCommand;
use super::agent_options::nearest_option;
use super::completion::is_shown;
use super::table::SETTINGS;
use crate::cli::Cli;
use crate::quoted::quoted;

/// What no agent.jar takes.
pub(super) fn problems(command: &AgentCommand, cli: &Cli) -> Vec<String> {
    if command.read_from.is_none() || command.elsewhere.is_some() {
        return Vec::new();
    }
    let found = [stray(command, cli), too_many(command), without_value(command), empty(command), ours(command, cli)];
    found.into_iter().flatten().collect()
}

/// What some agent.jar may take, and none that is known.
pub(super) fn doubts(command: &AgentCommand, cli: &Cli) -> Vec<String> {
    if command.jar.is_none() || command.elsewhere.is_some() {
        return Vec::new();
    }
    let unknown = command.unknown().map(|option| {
        let hint = nearest_option(option).map_or_else(|| "is it misspelt?".to_owned(), |known| format!("is {known} meant?"));
        format!(
            "the agent's command has {}, which agent.jar is not known to have, and one that does not have it ends at once \
             with exit code 0; {hint}",
            quoted(option)
        )
    });
    unknown.chain(cli.entry_point.and_then(|_| odd_secret(command))).collect()
}

/// A secret of docker-agent's arguments that is none by its shape. Where the command says everything, the controller is
/// not asked for the right one.
fn odd_secret(command: &AgentCommand) -> Option<String> {
    let secret = command.secret().filter(|word| is_shown(word))?.text.to_str()?;
    if matches!(secret.len(), 32 | 64) && secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let hint = if secret.contains('$') { "; is it a variable that nobody has expanded?" } else { "" };
    Some(format!(
        "the agent's arguments have something in the node's secret's place that does not look like one, which is 64 \
         hexadecimal digits (Hudson's: 32), and a controller refuses an agent with another{hint}"
    ))
}

/// What agent.jar takes alone, but not together, or only together; and not all did so in the past.
pub(super) fn warnings(command: &AgentCommand) -> Vec<String> {
    if command.jar.is_none() || command.elsewhere.is_some() || command.has_unread() {
        return Vec::new();
    }
    let has = |name: &str| ALIASES.iter().any(|(alias, of)| *of == name && command.has(alias)) || command.has(name);
    let apart = APART.iter().filter(|(one, other)| has(one) && has(other));
    let apart = apart.map(|(one, other)| {
        format!(
            "agent.jar does not take {one} beside {other}, and ends at once with exit code 0: leave one of them out"
        )
    });
    let lacking = TOGETHER.iter().filter(|(one, other)| has(one) && !has(other));
    let lacking = lacking.map(|(one, other)| {
        format!("agent.jar takes {one} only beside {other}, and ends at once with exit code 0: add {other}, or leave {one} out")
    });
    apart.chain(lacking).collect()
}

const APART: [(&str, &str); 13] = [
    ("-webSocket", "-direct"),
    ("-webSocket", "-tunnel"),
    ("-webSocket", "-credentials"),
    ("-webSocket", "-noKeepAlive"),
    ("-direct", "-url"),
    ("-direct", "-tunnel"),
    ("-direct", "-jnlpUrl"),
    ("-jnlpUrl", "-name"),
    ("-jnlpUrl", "-tunnel"),
    ("-jnlpUrl", "-url"),
    ("-jnlpUrl", "-webSocket"),
    ("-noReconnectAfter", "-noReconnect"),
    ("-cert", "-noCertificateCheck"),
];

const TOGETHER: [(&str, &str); 5] = [
    ("-direct", "-instanceIdentity"),
    ("-instanceIdentity", "-direct"),
    ("-protocols", "-direct"),
    ("-internalDir", "-workDir"),
    ("-failIfWorkDirIsMissing", "-workDir"),
];

const ALIASES: [(&str, &str); 4] = [
    ("-directConnection", "-direct"),
    ("-jnlpCredentials", "-credentials"),
    ("-noreconnect", "-noReconnect"),
    ("-disableHttpsCertValidation", "-noCertificateCheck"),
];

/// A word that belongs to no option.
fn stray(command: &AgentCommand, cli: &Cli) -> Option<String> {
    let at = command.stray(&cli.command)?;
    // It may well be the secret.
    let before = super::shell_quote(&cli.command[..at]);
    let more = match cli.entry_point {
        Some(_) => "; only an argument that stands alone is run as a program (docker run --entrypoint runs another)",
        None => "",
    };
    Some(format!(
        "the agent's command has one word that is no option, after {before}: agent.jar takes none or two, the node's secret \
         and its name{more}"
    ))
}

/// More words than the secret and the name.
fn too_many(command: &AgentCommand) -> Option<String> {
    let count = command.too_many()?;
    Some(format!(
        "the agent's command has {count} words that are no options: agent.jar takes none or two, the node's secret and its \
         name; are there quotation marks missing around a name with blanks?"
    ))
}

/// An option at the end, with nothing after it.
fn without_value(command: &AgentCommand) -> Option<String> {
    let option = command.without_value()?;
    Some(format!("the agent's command has {option} at its end without a value, and agent.jar ends at once: add one"))
}

/// Nothing where something has to be: of a variable that is not set, or of a file.
fn empty(command: &AgentCommand) -> Option<String> {
    if command.has_empty_secret_file() {
        return Some("the file that -secret names in the agent's command is empty; it must hold the secret".to_owned());
    }
    let place = match () {
        () if command.has_empty_word() => "a word that is empty".to_owned(),
        () => {
            let option = ["-url", "-direct", "-jnlpUrl"].into_iter().find(|option| command.is_empty(option))?;
            format!("{option} with an empty value")
        }
    };
    Some(format!("the agent's command has {place}; is it that of a variable that is not set?"))
}

/// An option with two dashes: agent.jar has none, but agent-wrap has.
fn ours(command: &AgentCommand, cli: &Cli) -> Option<String> {
    command.two_dashed().find_map(|option| {
        let setting = SETTINGS.iter().find(|setting| option.strip_prefix("--") == Some(setting.name));
        let is_ours = setting.is_some() || matches!(option, "--config" | "--print-config");
        match (cli.entry_point, setting) {
            (Some(_), Some(setting)) => Some(format!(
                "under the name jenkins-agent all arguments are the agent's, and it knows no {option}: set {} in the \
                 environment",
                setting.variable()
            )),
            (Some(_), None) => Some(format!(
                "under the name jenkins-agent all arguments are the agent's, and it knows no {}: leave it out",
                quoted(option)
            )),
            (None, _) if is_ours => Some(format!(
                "the {option} that stands after the command is the agent's, which does not know it: write it before the \
                 command"
            )),
            (None, _) => None,
        }
    })
}
