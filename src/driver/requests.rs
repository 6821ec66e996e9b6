//! Signals that come to the wrapper: what each of them asks for, and who sent it.

use agent_wrap_supervisor::{Event, Request};

use super::Turn;
use crate::signals::{Meaning, Received, signal_name};

impl Turn {
    pub(super) fn signal(&mut self, received: Received) {
        match self.driver.table.classify(&received, self.driver.terminal) {
            Meaning::Nothing => {}
            Meaning::ChildChanged => self.driver.processes.child_changed(),
            Meaning::Reload => self.reload(&received),
            Meaning::Request(request) => {
                if !matches!(request, Request::Forward(_)) {
                    tracing::debug!(target: "agent_wrap", event = "signal", "received {received}");
                    self.driver.story.asked_by(received.to_string());
                }
                if let Request::Stop(_) | Request::StopNow = request {
                    self.cause = format!("SIG{}", signal_name(received.signal));
                }
                self.handle(Event::Requested(request));
            }
        }
    }

    fn reload(&mut self, received: &Received) {
        match (self.driver.reload)() {
            Ok(reloaded) => {
                for setting in &reloaded.ignored {
                    tracing::warn!(
                        target: "agent_wrap",
                        event = "reload_ignored",
                        "the changed setting {setting} holds only after a restart of the wrapper"
                    );
                }
                self.driver.reasons.template = reloaded.template;
                if let Some(node) = &reloaded.policy.node {
                    self.driver.story.online(node.online);
                }
                if let Some(controller) = &self.driver.controller
                    && let Err(error) = controller.reload_credentials()
                {
                    tracing::error!(
                        target: "agent_wrap",
                        event = "reload_failed",
                        "the credentials cannot be read again, so the old ones stay: {error}"
                    );
                }
                tracing::info!(target: "agent_wrap", event = "reload", "received {received}: reading the settings again");
                self.handle(Event::PolicyChanged(Box::new(reloaded.policy)));
            }
            Err(error) => tracing::error!(
                target: "agent_wrap",
                event = "reload_failed",
                "received {received}, but the settings cannot be used, so the old ones stay: {error}"
            ),
        }
    }
}
