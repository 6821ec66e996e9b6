//! Signals that come to the wrapper: what each of them asks for, and who sent it.

use agent_wrap_supervisor::{AgentState, Event, Request};

use super::{Agents as _, Shells, Turn};
use crate::process::Suspension;
use crate::signals::{Meaning, Received, signal_name};

impl<S: Shells> Turn<S> {
    pub(super) fn signal(&mut self, received: Received) {
        if received.sender.is_none() {
            // A key, which the terminal shows, or a change of its size.
            self.mend_terminal();
        }
        match self.driver.table.classify(&received, self.driver.terminal) {
            Meaning::Nothing => {}
            Meaning::ChildChanged => self.child_changed(),
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

    fn child_changed(&mut self) {
        self.driver.processes.child_changed();
        // One whose start has not been told yet is looked at then.
        if self.supervisor.status().agent == AgentState::Alive {
            self.look_for_suspension();
        }
    }

    /// An agent that was stopped is told of and left so: who has done it may want it.
    pub(super) fn look_for_suspension(&mut self) {
        let now = self.driver.clock.now();
        match self.driver.processes.suspension() {
            Some(Suspension::Begun { signal, why, cure }) => {
                self.driver.story.agent_suspended(now, signal, why, &cure);
            }
            Some(Suspension::Over) => self.driver.story.agent_resumed(now),
            None => {}
        }
    }
}
