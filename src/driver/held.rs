//! An operator's hold file: it is looked at beside the turn.

use std::sync::Arc;

use agent_wrap_supervisor::Event;

use super::{Answer, Hold, Shells, Turn};
use crate::beside::Late;

/// Whether the hold file is being looked at.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Looking {
    #[default]
    No,
    Yes,
    /// It may have changed since the look began.
    Again,
}

/// Comes back when the hold file may have changed.
pub(super) async fn changed<Beside>(hold: &mut Option<impl Hold<Beside>>) {
    match hold {
        Some(hold) => hold.changed().await,
        None => std::future::pending().await,
    }
}

impl<S: Shells> Turn<S> {
    /// Begins a look at the hold file.
    pub(super) fn look_for_hold(&mut self) {
        if self.looking != Looking::No {
            self.looking = Looking::Again;
            return;
        }
        let Some(hold) = &self.driver.hold else { return };
        self.looking = Looking::Yes;
        let look = hold.look(Arc::clone(&self.driver.beside));
        let answers = self.answers.clone();
        tokio::spawn(async move {
            // The turn is over when nobody takes the answer any more.
            let _ = answers.send(Answer::Held(look.await));
        });
    }

    /// What the look has shown; nothing if it hangs, and then what was seen before holds.
    pub(super) fn hold_seen(&mut self, seen: Result<Option<String>, Late>) {
        match seen {
            Ok(words) => self.handle(Event::HoldChanged(words)),
            Err(late) => tracing::warn!(
                target: "agent_wrap",
                event = "hold_unreadable",
                "the hold file cannot be read, so that what it said before holds: {late}"
            ),
        }
        if std::mem::take(&mut self.looking) == Looking::Again {
            self.look_for_hold();
        }
    }
}
