//! A reload: the settings are read beside the turn, and what they bring is applied in it.

use std::sync::Arc;
use std::time::Duration;

use agent_wrap_supervisor::Event;

use super::{Answer, NodeClient as _, RunBeside as _, Shells, Turn};
use crate::config::Settings;
use crate::controller::{CredentialError, CredentialSource};
use crate::signals::{Received, SignalTable};

/// How long reading the settings may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the settings again; it is given those in force, and how the agent is started by them. It may hang.
pub type Reload<Launch> = dyn Fn(&Settings, &Launch) -> Result<Reloaded<Launch>, String> + Send + Sync;

/// What a reload brings.
pub struct Reloaded<Launch> {
    /// The settings in force from now on: what holds only after a restart is as before.
    pub settings: Settings,
    /// How the agent is started the next time.
    pub launch: Launch,
    /// What signals mean.
    pub table: SignalTable,
    /// The pattern of `--online match=REGEX`.
    pub online_match: Option<regex_lite::Regex>,
    /// Where the credentials come from; they are read again.
    pub credentials: Option<CredentialSource>,
    /// The changed settings that hold only after a restart of the wrapper, by their names.
    pub held_back: Vec<&'static str>,
    /// What is odd about the settings.
    pub warnings: Vec<String>,
}

/// What came of one reload.
pub(super) struct Outcome<Launch> {
    reloaded: Result<Box<Reloaded<Launch>>, String>,
    /// Why the credentials stay as they are.
    refused: Option<CredentialError>,
}

/// Whether the settings are being read.
#[derive(Default)]
pub(super) enum Reloading {
    #[default]
    No,
    Yes,
    /// They may have changed since the reading began.
    Again(Received),
}

impl<S: Shells> Turn<S> {
    /// Begins a reload. What another signal asks for meanwhile is done afterwards, once.
    pub(super) fn reload(&mut self, received: Received) {
        if !matches!(self.reloading, Reloading::No) {
            self.reloading = Reloading::Again(received);
            return;
        }
        // Where no folder tells of a change, this is what looks.
        self.look_for_hold();
        tracing::info!(target: "agent_wrap", event = "reload", "received {received}: reading the settings again");
        self.reloading = Reloading::Yes;
        self.reloads += 1;
        let (reload, beside) = (Arc::clone(&self.driver.reload), Arc::clone(&self.driver.beside));
        let (settings, launch) = (self.driver.settings.clone(), Arc::clone(&self.driver.launch));
        let (controller, answers) = (self.driver.controller.clone(), self.answers.clone());
        tokio::spawn(async move {
            let read = beside.run(PATIENCE, move || reload(&settings, &launch).map(Box::new)).await;
            let reloaded = read.unwrap_or_else(|late| Err(late.to_string()));
            let refused = match (&reloaded, &controller) {
                (Ok(reloaded), Some(controller)) => {
                    controller.replace_credentials(reloaded.credentials.clone()).await.err()
                }
                (_, _) => None,
            };
            // The turn is over when nobody takes the answer any more.
            let _ = answers.send(Answer::Reloaded(Outcome { reloaded, refused }));
        });
    }

    pub(super) fn reloaded(&mut self, outcome: Outcome<S::Launch>) {
        match outcome.reloaded {
            Ok(reloaded) => self.apply(*reloaded),
            Err(error) => tracing::error!(
                target: "agent_wrap",
                event = "reload_failed",
                "the settings cannot be used, so the old ones stay: {error}"
            ),
        }
        if let Some(error) = outcome.refused {
            tracing::error!(
                target: "agent_wrap",
                event = "reload_failed",
                "the credentials cannot be read again, so the old ones stay: {error}"
            );
        }
        if let Reloading::Again(received) = std::mem::take(&mut self.reloading) {
            self.reload(received);
        }
    }

    fn apply(&mut self, reloaded: Reloaded<S::Launch>) {
        let Reloaded { settings, launch, table, online_match, credentials: _, held_back, warnings } = reloaded;
        for warning in warnings {
            tracing::warn!(target: "agent_wrap", event = "settings", "{warning}");
        }
        for name in held_back {
            tracing::warn!(
                target: "agent_wrap",
                event = "reload_ignored",
                "the changed setting {name} holds only after a restart of the wrapper"
            );
        }
        let policy = settings.policy();
        if let Some(node) = &policy.node {
            self.driver.story.online(node.online);
        }
        self.driver.reasons.template = settings.offline_reason.clone();
        self.driver.launch = Arc::new(launch);
        self.driver.table = table;
        self.driver.story.interrupt_stops(self.driver.table.interrupt_stops());
        if let Some(controller) = &self.driver.controller {
            controller.set_online_match(online_match);
        }
        self.driver.settings = settings;
        self.handle(Event::PolicyChanged(Box::new(policy)));
        self.limit_changed();
    }
}
