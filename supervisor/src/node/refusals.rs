//! Refusals count as final only when they repeat: a starting controller gives each of them for moments.

use super::Node;
use crate::{Failure, FailureKind, Span};

/// A refusal counts as final when it has come this often ...
const FINAL_AFTER_ANSWERS: u8 = 3;
/// ... over at least so long: a starting controller refuses good credentials for moments.
pub(crate) const FINAL_AFTER: Span = Span::seconds(5);

/// Equal refusals in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Refusals {
    pub(super) kind: FailureKind,
    pub(super) answers: u8,
    /// What is left of the time over which they have to repeat.
    pub(super) window: Span,
}

/// What came of counting a failure.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again.
    Passing,
    /// A refusal that has repeated often and long enough.
    Final,
}

impl Node {
    /// Whether this refusal of a write, once it is counted, is final.
    pub(crate) fn is_final_with(&self, failure: &Failure) -> bool {
        let mut refusals = self.write_refusals;
        count_refusal(&mut refusals, failure.kind) == Verdict::Final
    }

    /// Other credentials may meet with another answer.
    pub(crate) fn forget_refusals(&mut self) {
        self.read_refusals = None;
        self.write_refusals = None;
        self.agent_refusals = None;
    }

    /// The agent has got all that it needs.
    pub(crate) fn agent_prepared(&mut self) {
        self.agent_refusals = None;
    }

    /// Counts a failure to get what the agent needs.
    pub(crate) fn agent_unprepared(&mut self, kind: FailureKind) -> Verdict {
        count_refusal(&mut self.agent_refusals, kind)
    }
}

/// An outage ends the row: what was refused before it may have been refused by a controller that was going down.
pub(super) fn count_refusal(refusals: &mut Option<Refusals>, kind: FailureKind) -> Verdict {
    let counted = match refusals {
        _ if kind == FailureKind::Unavailable => None,
        Some(counted) if counted.kind == kind => {
            Some(Refusals { answers: (counted.answers + 1).min(FINAL_AFTER_ANSWERS), ..*counted })
        }
        _ => Some(Refusals { kind, answers: 1, window: FINAL_AFTER }),
    };
    *refusals = counted;
    if counted.is_some_and(|counted| counted.answers >= FINAL_AFTER_ANSWERS && counted.window.is_zero()) {
        Verdict::Final
    } else {
        Verdict::Passing
    }
}
