//! A terminal that keeps what it is shown, and looks after whose it is.

use agent_wrap_supervisor::Moment;

use super::agent::ProcessState;
use super::world::{Shared, World};
use crate::driver::Show;
use crate::terminal::Access;

/// The partner in the terminal's place.
pub struct Paper(pub Shared);

/// What it shows and has shown.
#[derive(Clone, Default)]
pub struct Sheet {
    /// The agent writes there too.
    pub agent_writes: bool,
    pub line: Option<String>,
    pub all: Vec<(Moment, Option<String>)>,
    /// How often it was drawn anew.
    pub mended: usize,
}

impl Show for Paper {
    fn access(&self, agent: Option<u32>) -> Access {
        let world = self.0.lock();
        if agent.is_some() && world.sheet.agent_writes { Access::Shared } else { Access::Free }
    }

    fn begin_row(&self) {
        self.0.lock().note("BEGIN ROW");
    }

    fn show(&self, words: Option<&str>) {
        self.0.lock().shows(words);
    }

    fn mend(&self) {
        let mut world = self.0.lock();
        if world.sheet.line.is_none() {
            world.violated("a line that is not there is mended");
        }
        world.sheet.mended += 1;
    }

    fn erase(&self) {
        self.0.lock().shows(None);
    }
}

impl World {
    fn shows(&mut self, words: Option<&str>) {
        let lives = self.process.as_ref().is_some_and(|process| {
            matches!(process.state, ProcessState::Spawning | ProcessState::Alive) && process.generation.0 > 0
        });
        if words.is_some() && lives && self.sheet.agent_writes {
            self.violated("a line is shown where the agent writes");
        }
        if self.sheet.line.as_deref() != words {
            self.note(&format!("SHOW {words:?}"));
            self.sheet.line = words.map(str::to_owned);
            self.sheet.all.push((self.clock.now(), self.sheet.line.clone()));
        }
    }

    /// Somebody else comes to the terminal.
    pub fn check_sheet_is_empty(&mut self, who: &str) {
        if self.sheet.line.is_some() {
            self.violated(&format!("a line is shown when {who} comes to the terminal"));
        }
    }
}

impl Sheet {
    /// All that was shown, without the times when nothing was.
    pub fn lines(&self) -> Vec<&str> {
        self.all.iter().filter_map(|(_, line)| line.as_deref()).collect()
    }
}
