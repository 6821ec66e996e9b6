//! Signals that come to the wrapper: what each of them asks for, and who sent it.

use agent_wrap_supervisor::{Event, Request};

use super::{Agents as _, Shells, Turn};
use crate::signals::{Meaning, Received, signal_name};

impl<S: Shells> Turn<S> {
    pub(super) fn signal(&mut self, received: Received) {
        match self.driver.table.classify(&received, self.driver.terminal) {
            Meaning::Nothing => {}
            Meaning::ChildChanged => self.driver.processes.child_changed(),
            Meaning::Reload => self.reload(received),
            Meaning::Request(request) => {
                if !matches!(request, Request::Forward(_)) {
                    tracing::debug!(target: "agent_wrap", event = "signal", "received {received}");
                    self.driver.story.asked_by(received.to_string());
                }
                if let Request::Stop(_) | Request::StopNow = request {
                    self.cause = format!("SIG{}", signal_name(received.signal));
                }
                self.limit_drain(request);
                self.handle(Event::Requested(request));
            }
        }
    }
}
