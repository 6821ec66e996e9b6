//! What a person at the terminal sees after each turn: a line that is rewritten in place where nobody else writes, else
//! lines of the log.

use agent_wrap_supervisor::{AgentState, Moment};

use super::{Shells, Show, Turn};
use crate::config::StatusLine;
use crate::telemetry::Picture;
use crate::terminal::{Access, Pace, Step};

/// Shows how things stand.
pub struct Display<Screen> {
    screen: Screen,
    pace: Pace,
    is_shown: bool,
}

impl<Screen: Show> Display<Screen> {
    /// One that shows nothing yet.
    pub fn new(screen: Screen) -> Self {
        Self { screen, pace: Pace::default(), is_shown: false }
    }

    fn show(&mut self, now: Moment, picture: Option<&Picture>, agent: Option<Writer>) {
        let access = || match agent {
            None => self.screen.access(None),
            // Where it writes cannot be looked up.
            Some(Writer(None)) => Access::Shared,
            Some(Writer(pid)) => self.screen.access(pid),
        };
        let step = self.pace.step(now, picture.map(|picture| picture.counts), access);
        self.is_shown = step == Step::Show;
        self.screen.show(picture.filter(|_| self.is_shown).map(|picture| picture.words.as_str()));
    }

    fn mend(&self) {
        if self.is_shown {
            self.screen.mend();
        }
    }

    fn begin_row(&self) {
        self.screen.begin_row();
    }

    fn erase(&mut self) {
        self.is_shown = false;
        self.screen.erase();
    }

    /// When it has something else to show even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.pace.deadline()
    }
}

/// An agent, which may write where we do; its process, as far as it is known.
#[derive(Clone, Copy)]
struct Writer(Option<u32>);

impl<S: Shells> Turn<S> {
    /// Shows how things stand.
    pub(super) fn show(&mut self) {
        let now = self.driver.clock.now();
        let (status, settings) = (self.supervisor.status(), &self.driver.settings);
        let agent = match status.agent {
            AgentState::Absent | AgentState::Exited(_) => None,
            // As long as it is got ready there is no process.
            AgentState::Spawning if self.launching.is_some() => None,
            AgentState::Spawning | AgentState::Alive => {
                Some(Writer(self.driver.record.agent.as_ref().map(|agent| agent.pid)))
            }
        };
        if let Some(display) = &mut self.driver.display {
            let picture = match settings.status_line {
                StatusLine::Auto => self.driver.story.picture(now, &status, settings.drain.waits()),
                StatusLine::Never => None,
            };
            display.show(now, picture.as_ref(), agent);
        }
        if !self.driver.display.as_ref().is_some_and(|display| display.is_shown) {
            self.driver.story.tell_progress(now, &status);
        }
    }

    /// Something may have been written over what is shown.
    pub(super) fn mend_terminal(&self) {
        if let Some(display) = &self.driver.display {
            display.mend();
        }
    }

    /// An agent has ended, which may have left the terminal's cursor behind its last words.
    pub(super) fn begin_row(&self) {
        let is_wanted = self.driver.settings.status_line == StatusLine::Auto;
        if let Some(display) = self.driver.display.as_ref().filter(|_| is_wanted) {
            display.begin_row();
        }
    }

    /// Leaves the terminal to whoever comes next.
    pub(super) fn leave_terminal(&mut self) {
        if let Some(display) = &mut self.driver.display {
            display.erase();
        }
    }
}
