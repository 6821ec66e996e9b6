//! What the service manager is told after each turn.

use std::io;

use agent_wrap_supervisor::Moment;

use super::reload::Reloading;
use super::{Hear, Shells, Turn};
use crate::clock;
use crate::config::Ready;
use crate::systemd::{Farewell, Notifier, Scene};

/// Tells the manager what the notifier says.
pub struct Announcer<Manager> {
    notifier: Notifier,
    manager: Manager,
    /// That nobody hears it has been said.
    complained: bool,
}

impl<Manager: Hear> Announcer<Manager> {
    /// One that has told nothing yet.
    pub fn new(notifier: Notifier, manager: Manager) -> Self {
        Self { notifier, manager, complained: false }
    }

    /// Tells what is new. What finds no room is told later; what nobody hears is not.
    fn tell(&mut self, now: Moment, scene: &Scene<'_>) {
        while let Some(news) = self.notifier.news(now, scene) {
            match self.manager.hear(&news.datagram(clock::monotonic_microseconds)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.notifier.postponed(now),
                Err(error) => {
                    self.complain(&error);
                    self.notifier.told(now, news);
                }
                Ok(()) => self.notifier.told(now, news),
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(
                target: "agent_wrap",
                event = "not_announced",
                "the service manager cannot be told how things stand (NOTIFY_SOCKET): {error}"
            );
        }
    }

    /// When it has something to tell even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.notifier.deadline()
    }

    /// Tells how it has ended. A manager that has no room for that is not waited for.
    pub fn end(&mut self, farewell: &Farewell<'_>) {
        let _ = self.manager.hear(&farewell.datagram());
    }
}

impl<S: Shells> Turn<S> {
    /// Tells the manager how things stand, if there is one.
    pub(super) fn announce(&mut self) {
        let Some(announcer) = &mut self.driver.announcer else { return };
        let now = self.driver.clock.now();
        let (status, settings) = (self.supervisor.status(), &self.driver.settings);
        let words = self.driver.story.stands(now, &status);
        let scene = Scene {
            status,
            words: &words,
            started_suffices: settings.ready == Ready::Started,
            start_timeout: settings.start_timeout,
            reloads: self.reloads,
            reloading: !matches!(self.reloading, Reloading::No),
        };
        announcer.tell(now, &scene);
    }
}
