//! A service manager that hears what it is told, and what it has heard.

use std::io;

use agent_wrap_supervisor::{Moment, Span};

use super::world::{Shared, World};
use crate::driver::Hear;

/// The partner in the socket's place.
pub struct Manager(pub Shared);

/// What it has heard.
#[derive(Default)]
pub struct Heard {
    /// The longest time between two signs of life.
    watchdog: Option<Span>,
    /// It has no room for so many datagrams to come.
    full: u32,
    pub all: Vec<(Moment, String)>,
    alive: Option<Moment>,
    life: Option<&'static str>,
}

/// The states that it knows, as it hears of them.
const LIFE: [&str; 3] = ["READY=1", "RELOADING=1", "STOPPING=1"];

impl Hear for Manager {
    fn hear(&mut self, datagram: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.point(format_args!("TELL {}", datagram.replace('\n', " ")));
        match world.manager.full.checked_sub(1) {
            Some(full) => {
                world.manager.full = full;
                Err(io::ErrorKind::WouldBlock.into())
            }
            None => {
                world.heard(datagram);
                Ok(())
            }
        }
    }
}

impl World {
    fn heard(&mut self, datagram: &str) {
        let now = self.now();
        if datagram.is_empty() || !datagram.ends_with('\n') {
            self.violated("the manager is told nothing");
        }
        for line in datagram.lines() {
            if let Some(life) = LIFE.into_iter().find(|life| *life == line) {
                let before = self.manager.life.replace(life);
                if matches!(
                    (before, life),
                    (None, "RELOADING=1") | (Some("READY=1"), "READY=1") | (Some("STOPPING=1"), _)
                ) {
                    self.violated(&format!("the manager is told {life} after {before:?}"));
                }
            }
            if line == "WATCHDOG=1" {
                self.check_watchdog();
                self.manager.alive = Some(now);
            }
        }
        self.manager.all.push((now, datagram.to_owned()));
    }

    /// The manager would have ended us.
    pub fn check_watchdog(&mut self) {
        let now = self.now();
        let late = |(alive, longest): (Moment, Span)| now.since(alive) > longest;
        if self.manager.alive.zip(self.manager.watchdog).is_some_and(late) {
            self.violated("no sign of life came in the time for it");
        }
    }
}

impl Heard {
    /// Nothing yet, by a manager that waits so long for a sign of life, if it does, and has no room for so many datagrams.
    pub fn by(watchdog: Option<Span>, full: u32) -> Self {
        Self { watchdog, full, ..Self::default() }
    }

    /// Nobody could have given a sign of life.
    pub fn jumped(&mut self, now: Moment) {
        self.alive = self.alive.map(|_| now);
    }

    /// When it has heard lines that begin so, and how they go on.
    pub fn lines(&self, beginning: &str) -> Vec<(Moment, String)> {
        let lines = |(moment, datagram): &(Moment, String)| {
            let rest = |line: &str| line.strip_prefix(beginning).map(|rest| (*moment, rest.to_owned()));
            datagram.lines().filter_map(rest).collect::<Vec<_>>()
        };
        self.all.iter().flat_map(lines).collect()
    }

    /// The states that it was told, one after the other.
    pub fn lives(&self) -> Vec<String> {
        let lines = self.all.iter().flat_map(|(_, datagram)| datagram.lines());
        lines.filter(|line| LIFE.contains(line)).map(str::to_owned).collect()
    }
}
