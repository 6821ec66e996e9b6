//! Requests on their way: delayed, lost after being carried out, or carried out when nobody waits for them any more.

use agent_wrap_supervisor::{Event, Failure, FailureKind, RequestNumber, Span, WriteOutcome};

use super::controller::{Reply, Wish};
use super::state::Aside;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Sent,
    CarriedOut(Reply),
}

/// A request. Its number tells it from others and is no part of the state: which of them is awaited is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    pub number: Aside<RequestNumber>,
    pub wish: Wish,
    pub stage: Stage,
    /// The time in which its answer may come; `None` once nobody waits for it.
    pub left: Option<Span>,
    /// Time has gone by since it was sent: one disturbance has been paid.
    pub slow: bool,
}

impl Message {
    pub fn new(number: RequestNumber, wish: Wish, within: Span) -> Self {
        Self { number: Aside(number), wish, stage: Stage::Sent, left: Some(within), slow: false }
    }

    pub fn is_awaited(&self) -> bool {
        self.left.is_some()
    }

    pub fn is_due(&self) -> bool {
        self.left == Some(Span::ZERO)
    }

    /// A write that nobody waits for may still be carried out; everything else is over when it is closed.
    pub fn may_come_late(&self) -> bool {
        !self.wish.is_read() && self.stage == Stage::Sent
    }

    /// The answer as the driver hands it over.
    pub fn answer(&self) -> Option<Event> {
        let Stage::CarriedOut(reply) = &self.stage else { return None };
        let request = self.number.0;
        Some(match reply {
            Reply::View(view) => Event::NodeRead { request, outcome: Ok(view.clone()) },
            Reply::Refused(kind) if self.wish.is_read() => Event::NodeRead { request, outcome: Err(failure(*kind)) },
            Reply::Refused(kind) => Event::NodeWritten { request, outcome: WriteOutcome::Failed(failure(*kind)) },
            Reply::Throttled(span) => {
                let failed = Failure { retry_after: Some(*span), ..failure(FailureKind::Unavailable) };
                if self.wish.is_read() {
                    Event::NodeRead { request, outcome: Err(failed) }
                } else {
                    Event::NodeWritten { request, outcome: WriteOutcome::Failed(failed) }
                }
            }
            Reply::Done => Event::NodeWritten { request, outcome: WriteOutcome::Accepted },
            Reply::Unsupported => {
                Event::NodeWritten { request, outcome: WriteOutcome::Unsupported { words: "no such way".into() } }
            }
        })
    }

    /// What the driver says when no answer has come.
    pub fn unanswered(&self) -> Event {
        let request = self.number.0;
        let failed = failure(FailureKind::Unavailable);
        if self.wish.is_read() {
            Event::NodeRead { request, outcome: Err(failed) }
        } else {
            Event::NodeWritten { request, outcome: WriteOutcome::Unknown(failed) }
        }
    }
}

pub fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, "")
}
