//! The jar that an agent was started with, when something is known of it.

use std::sync::Arc;

use agent_wrap_supervisor::{Event, Generation, Moment, Span};

use super::{Answer, NodeClient as _, Prepare as _, RunBeside as _, Shells, Turn, Unprepared};
use crate::config::JarUpdate;

/// The pause after the first failure; each further one doubles it.
const PAUSE: Span = Span::seconds(60);
/// The longest pause.
const LONGEST_PAUSE: Span = Span::seconds(60 * 60);

/// When another jar was looked for.
#[derive(Debug, Default)]
pub(super) struct JarLook {
    /// The controller's version when the agent was started, or when a jar was looked for last.
    version: Option<String>,
    /// One is being looked for.
    under_way: bool,
    failed: Option<Failed>,
}

/// A version's jar that could not be had.
#[derive(Debug)]
struct Failed {
    version: String,
    why: String,
    /// Before then it is not asked for again.
    until: Moment,
    pause: Span,
}

impl JarLook {
    /// An agent is started, with a controller of this version.
    pub(super) fn began(&mut self, version: Option<String>) {
        self.version = version;
        self.failed = None;
    }

    /// Takes note of a jar that could not be had; whether its cause is another one than the last time.
    fn fail(&mut self, now: Moment, version: String, why: &str) -> bool {
        let before = self.failed.take().filter(|failed| failed.version == version);
        let is_new = before.as_ref().is_none_or(|failed| failed.why != why);
        let pause = before.map_or(PAUSE, |failed| failed.pause.plus(failed.pause).min(LONGEST_PAUSE));
        self.failed = Some(Failed { version, why: why.to_owned(), until: now + pause, pause });
        is_new
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
        let now = self.driver.clock.now();
        if self.jar_look.failed.as_ref().is_some_and(|failed| failed.version == version && now < failed.until) {
            return;
        }
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
                self.jar_look.failed = None;
                if another {
                    self.handle(Event::JarOffered { generation });
                }
            }
            // A jar is large, and what is wrong with it seldom passes before the next read.
            Err(unprepared) => {
                let why = unprepared.to_string();
                if self.jar_look.fail(self.driver.clock.now(), version, &why) {
                    tracing::warn!(
                        target: "agent_wrap",
                        event = "jar_not_found",
                        node = self.driver.reasons.node,
                        "the controller has another version, but not its jar for the idle agent (--jar-update idle): {why}; \
                         the agent goes on with the one that it has, and it is asked again after a minute, then more and more \
                         rarely"
                    );
                } else {
                    tracing::debug!(target: "agent_wrap", event = "jar_not_found", "{why}");
                }
            }
        }
    }
}
