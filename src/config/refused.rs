//! What agent.jar refuses. It ends with 0 then, and so would each that is started after it: better said at once.

use super::agent_command::AgentCommand;
use super::table::SETTINGS;
use crate::cli::Cli;
use crate::quoted::quoted;

/// What no agent.jar takes.
pub(super) fn problems(command: &AgentCommand, cli: &Cli) -> Vec<String> {
    if command.read_from.is_none() || command.elsewhere.is_some() {
        return Vec::new();
    }
    [stray(command, cli), empty(command), ours(command, cli)].into_iter().flatten().collect()
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
