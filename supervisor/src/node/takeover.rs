//! The channel that the run before may have left on the controller: closed once, before anything else is done.

use super::{Knowledge, Node, Step};
use crate::{Span, TakeOver};

/// So many looks are made until a channel that was to be closed is gone.
const TAKEOVER_LOOKS: u8 = 6;
/// Between them.
const TAKEOVER_PAUSE: Span = Span::millis(500);

/// The channel that the run before may have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum OldChannel {
    /// There is none, or it is none of our business.
    None,
    /// Our records say that there may be one.
    Suspected,
    /// It is being closed; so many looks have shown it still.
    Closing(u8),
}

impl Node {
    /// What is to be done about the channel that the run before may have left, before anything else is: builds land on
    /// a node that is free and seems connected.
    pub(super) fn take_over(&mut self) -> Option<Step> {
        let connected = self.view.as_ref().and_then(|view| view.connected);
        match (self.old_channel, connected) {
            (OldChannel::None, _) | (OldChannel::Suspected, None) => None,
            (OldChannel::Suspected, _) if self.policy.takeover == TakeOver::Never => None,
            (OldChannel::Suspected, Some(true)) => Some(Step::Disconnect),
            (OldChannel::Suspected, Some(false)) => {
                self.old_channel = OldChannel::None;
                None
            }
            (OldChannel::Closing(looks), Some(true)) if looks < TAKEOVER_LOOKS => {
                self.old_channel = OldChannel::Closing(looks + 1);
                self.knowledge = Knowledge::Stale;
                Some(Step::Pause(TAKEOVER_PAUSE))
            }
            (OldChannel::Closing(_), _) => {
                self.old_channel = OldChannel::None;
                Some(Step::TakenOver { freed: connected != Some(true) })
            }
        }
    }

    /// A channel that is there from now on is none of the run before.
    pub(crate) fn forget_old_channel(&mut self) {
        self.old_channel = OldChannel::None;
    }

    /// The request to close it has certainly not been carried out.
    pub(crate) fn suspect_old_channel(&mut self) {
        self.old_channel = OldChannel::Suspected;
    }
}
