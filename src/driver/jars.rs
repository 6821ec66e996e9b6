//! The jar that an agent was started with, when something is known of it.

use agent_wrap_supervisor::Generation;

use super::{RunBeside as _, Shells, Turn};

impl<S: Shells> Turn<S> {
    /// Its agent has died at once.
    pub(super) fn reject_jar(&mut self, generation: Generation) {
        if let Some((_, reject)) = self.jar.take_if(|(number, _)| *number == generation) {
            // What makes the next agent ready waits behind it.
            self.driver.beside.submit(reject);
        }
    }
}
