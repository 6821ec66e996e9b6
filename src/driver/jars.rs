//! The jar that an agent was started with, when something is known of it.

use std::sync::Arc;

use agent_wrap_supervisor::{Event, Generation};

use super::{Answer, NodeClient as _, Prepare as _, RunBeside as _, Shells, Turn, Unprepared};
use crate::config::JarUpdate;

/// When another jar was looked for.
#[derive(Debug, Default)]
pub(super) struct JarLook {
    /// The controller's version when the agent was started, or when a jar was looked for last.
    version: Option<String>,
    /// One is being looked for.
    under_way: bool,
}

impl JarLook {
    /// An agent is started, with a controller of this version.
    pub(super) fn began(&mut self, version: Option<String>) {
        self.version = version;
    }
}

impl<S: Shells> Turn<S> {
    /// Its agent has died at once.
    pub(super) fn reject_jar(&mut self, generation: Generation) {
        if let Some((_, reject)) = self.jar.take_if(|(number, _)| *number == generation) {
            // What makes the next agent ready waits behind it.
            self.driver.beside.submit(reject);
        }
    }

    /// The node has been read: another version of the controller may have another jar.
    pub(super) fn look_for_jar(&mut self) {
        if self.driver.settings.jar_update != JarUpdate::Idle || self.jar_look.under_way {
            return;
        }
        let Some(controller) = &self.driver.controller else { return };
        let Some(version) = controller.version() else { return };
        let before = self.jar_look.version.get_or_insert_with(|| version.clone());
        let (Some((generation, launched)), true) = (&self.launched, *before != version) else { return };
        let beside = Arc::clone(&self.driver.beside);
        let Some(look) = S::Launch::look_for_jar(launched, Arc::clone(controller), beside) else { return };
        let (generation, answers) = (*generation, self.answers.clone());
        self.jar_look.under_way = true;
        tokio::spawn(async move {
            let found = look.await;
            // The turn is over when nobody takes it any more.
            let _ = answers.send(Answer::JarLooked { generation, version, found });
        });
    }

    pub(super) fn jar_looked(&mut self, generation: Generation, version: String, found: Result<bool, Unprepared>) {
        self.jar_look.under_way = false;
        match found {
            Ok(another) => {
                self.jar_look.version = Some(version);
                if another {
                    self.handle(Event::JarOffered { generation });
                }
            }
            // It is looked for again after the next read.
            Err(unprepared) => tracing::debug!(target: "agent_wrap", event = "jar_not_found", "{unprepared}"),
        }
    }
}
