//! What is not done to a command that stays as it is, in words.

use std::ffi::{OsStr, OsString};

use super::agent_command::AgentCommand;
use super::completion::{CompletionFacts, Lack, is_shown, lack};
use super::script::commands;
use crate::quoted::quoted;

/// What would have been done to a command if it ran the agent here, and how to do without.
pub(super) fn left_undone(agent: &AgentCommand, facts: &CompletionFacts<'_>) -> Option<String> {
    let mut undone: Vec<_> = agent.read_from.and_then(|_| not_said(agent, facts)).into_iter().collect();
    if agent.secrets().chain(agent.secret()).any(is_shown) {
        undone.push(
            "the node's secret in it is not moved to a file, and everybody can read it (ps): write -secret @FILE, a file \
             of there, instead",
        );
    }
    (!undone.is_empty()).then(|| undone.join("; "))
}

/// What would have been added to a command.
pub(super) fn not_said(agent: &AgentCommand, facts: &CompletionFacts<'_>) -> Option<&'static str> {
    Some(match lack(agent, facts)? {
        Lack { url: Some(_), .. } => {
            "it does not say how to connect, and nothing is added: write -url, -name and -secret @FILE into it"
        }
        Lack { node: Some(_), .. } => {
            "it does not say as whom to connect, and nothing is added: write -name and -secret @FILE into it"
        }
        Lack { .. } if facts.secret_given => {
            "the secret of the settings is not handed over: write -secret @FILE, a file of there, into it"
        }
        Lack { .. } => "it does not say the node's secret, and none is added: write -secret @FILE into it",
    })
}

/// What is not done to an agent that a shell's script among the arguments starts.
pub(super) fn scripted(command: &[OsString], facts: &CompletionFacts<'_>) -> Option<String> {
    let scripts = command.iter().filter_map(|word| word.to_str()).filter(|word| word.contains(char::is_whitespace));
    let mut agents = scripts.flat_map(commands).map(|command| AgentCommand::read(&command, &|_| None));
    let undone = agents.find_map(|agent| left_undone(&agent, facts).filter(|_| agent.read_from.is_some()))?;
    Some(format!("the agent's command is left as it is, because a script in it starts the agent: {undone}"))
}

pub(super) fn left_alone(program: &OsStr, undone: &str) -> String {
    format!(
        "the agent's command is left as it is, because {} may run the agent where no file of ours is: {undone}",
        quoted(program)
    )
}
