//! From the settings' command to what is executed.

use std::path::PathBuf;

use agent_wrap_supervisor::{Event, Generation, SpawnFailure};

use super::{Answer, Turn};
use crate::config::{Settings, child_environment};
use crate::process::Command;

/// How the agent is started, the same for each of its runs.
#[derive(Debug)]
pub struct Launch {
    command: Command,
}

/// One run's command, and what belongs to it.
pub struct Launched {
    command: Command,
}

impl Launch {
    /// Takes what the settings say; `program` is the command's file.
    #[must_use]
    pub fn new(settings: &Settings, program: PathBuf) -> Self {
        let guarded = !settings.command.iter().any(|word| word == "-noReconnect");
        let command = Command {
            program,
            argv: settings.command.clone(),
            env: child_environment(std::env::vars_os(), false),
            directory: None,
            user: None,
            guarded,
        };
        Self { command }
    }

    async fn prepare(&self) -> Result<Launched, String> {
        Ok(Launched { command: self.command.clone() })
    }
}

impl Launched {
    /// The agent is connected: what it needed for that may go.
    pub(super) fn connected(&mut self) {}
}

impl Turn {
    /// Gets ready what the agent needs, beside the turn.
    pub(super) fn prepare_agent(&mut self, generation: Generation) {
        let launch = self.driver.launch.clone();
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let launched = launch.prepare().await;
            // The turn is over when nobody takes it any more.
            let _ = answers.send(Answer::Launched(generation, launched));
        });
    }

    /// Forks the agent, here in the main thread.
    pub(super) fn agent_prepared(&mut self, generation: Generation, launched: Result<Launched, String>) {
        match launched {
            Ok(launched) => {
                self.driver.processes.spawn(generation, &launched.command);
                self.launched = Some(launched);
            }
            Err(error) => {
                tracing::error!(target: "agent_wrap", event = "not_prepared", "{error}");
                self.handle(Event::SpawnFailed { generation, failure: SpawnFailure::Unprepared });
            }
        }
    }
}
