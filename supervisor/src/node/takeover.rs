//! The channel that the run before may have left on the controller: closed once, before anything else is done.

use super::{Desired, Knowledge, Node, Step};
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
    /// It is being closed; so many looks have shown it still. `sure`: the controller has said that it does so.
    Closing { looks: u8, sure: bool },
}

impl Node {
    /// What is to be done about the channel that the run before may have left, before anything else is: builds land on
    /// a node that is free and seems connected.
    pub(super) fn take_over(&mut self) -> Option<Step> {
        let connected = self.view.as_ref().and_then(|view| view.connected);
        match (self.old_channel, connected) {
            (OldChannel::None, _) => None,
            (OldChannel::Suspected, _) if self.policy.takeover == TakeOver::Never => None,
            (OldChannel::Suspected, Some(true)) => Some(Step::Disconnect),
            // Behind a mark that hides it, and that is about to be lifted.
            (OldChannel::Suspected, None) => self.is_about_to_lift().then_some(Step::Disconnect),
            (OldChannel::Suspected, Some(false)) => {
                self.old_channel = OldChannel::None;
                None
            }
            (OldChannel::Closing { looks, sure }, Some(true)) if looks < TAKEOVER_LOOKS => {
                self.look_once_more(looks, sure)
            }
            // It is closed a moment after the answer, which does not show here.
            (OldChannel::Closing { looks: 0, sure }, None) => self.look_once_more(0, sure),
            (OldChannel::Closing { .. }, None) => None,
            (OldChannel::Closing { sure, .. }, Some(held)) => {
                self.old_channel = OldChannel::None;
                Some(Step::TakenOver { freed: !held, sure })
            }
        }
    }

    fn look_once_more(&mut self, looks: u8, sure: bool) -> Option<Step> {
        self.old_channel = OldChannel::Closing { looks: looks + 1, sure };
        self.knowledge = Knowledge::Stale;
        Some(Step::Pause(TAKEOVER_PAUSE))
    }

    fn is_about_to_lift(&self) -> bool {
        let mark = self.view.as_ref().and_then(|view| view.mark.as_ref());
        matches!((&self.desired, mark), (Desired::Online(scope), Some(mark)) if self.may_lift(mark, *scope))
    }

    /// The controller has said that it closes the channel.
    pub(crate) fn old_channel_closed(&mut self) {
        if let OldChannel::Closing { sure, .. } = &mut self.old_channel {
            *sure = true;
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
