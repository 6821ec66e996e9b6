//! What is shown at the bottom of the terminal, and when it is to be thought about again. Pure: time and everything else
//! is an argument.
//!
//! ```text
//!           something is awaited            for half a second, and the terminal is free
//!  Nothing ──────────────────────> Pending ─────────────────────────────────────────────> Shown ─┐ once a second,
//!     ^                               │                                                     │ ^──┘ if it counts
//!     └───────────────────────────────┴─────────── all is well, or somebody writes there ───┘
//! ```
//! What is over at once is not shown at all, and nothing that is not shown wakes anybody up; but who is in the background
//! is not told that he has come into the foreground, and looks now and then.

use agent_wrap_supervisor::{Moment, Span};

/// What takes no longer is not worth a line.
const WORTH: Span = Span::millis(500);
/// How often a time that goes on is shown anew.
const SECOND: u64 = 1000;

/// How often it is looked whether we have come into the foreground.
const FOREGROUND: Span = Span::seconds(3);

/// Whether the terminal may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody else writes there.
    Free,
    /// Nobody else of ours does, but it is in the hands of another job.
    Background,
    /// Somebody else writes there, or may.
    Shared,
}

/// Since when something is awaited, and when to look again.
#[derive(Debug, Default)]
pub struct Pace {
    since: Option<Moment>,
    again: Option<Moment>,
}

/// What becomes of the line now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// It shows how things stand.
    Show,
    /// There is none.
    Hide,
}

impl Pace {
    /// What to do now. `counts` is whether a time goes on in what could be shown; `None` when nothing is awaited.
    /// `access` is asked only where it matters.
    pub fn step(&mut self, now: Moment, counts: Option<bool>, access: impl FnOnce() -> Access) -> Step {
        self.again = None;
        let Some(counts) = counts else {
            self.since = None;
            return Step::Hide;
        };
        let since = *self.since.get_or_insert(now);
        let first = since + WORTH;
        if now < first {
            self.again = Some(first);
            return Step::Hide;
        }
        match access() {
            Access::Free => {}
            Access::Background => {
                self.again = Some(now + FOREGROUND);
                return Step::Hide;
            }
            Access::Shared => return Step::Hide,
        }
        if counts {
            self.again = Some(now + Span(SECOND - now.since(since).0 % SECOND));
        }
        Step::Show
    }

    /// When [`step`](Self::step) is to be called, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.again
    }
}

#[cfg(test)]
mod tests {
    use super::Access::{Background, Free, Shared};
    use super::*;

    fn step(pace: &mut Pace, now: u64, counts: Option<bool>, access: Access) -> (Step, Option<u64>) {
        let step = pace.step(Moment(now), counts, || access);
        (step, pace.deadline().map(|moment| moment.0))
    }

    #[test]
    fn what_is_over_at_once_is_not_shown() {
        let mut pace = Pace::default();
        assert_eq!(step(&mut pace, 0, None, Free), (Step::Hide, None));
        assert_eq!(step(&mut pace, 1_000, Some(false), Free), (Step::Hide, Some(1_500)));
        assert_eq!(step(&mut pace, 1_499, None, Free), (Step::Hide, None));
        assert_eq!(step(&mut pace, 1_600, Some(false), Free), (Step::Hide, Some(2_100)), "it begins anew");
    }

    #[test]
    fn only_what_counts_wakes_up_and_only_while_it_is_shown() {
        let mut pace = Pace::default();
        let _ = step(&mut pace, 1_000, Some(true), Free);
        assert_eq!(step(&mut pace, 1_501, Some(true), Free), (Step::Show, Some(2_000)));
        assert_eq!(step(&mut pace, 2_001, Some(true), Free), (Step::Show, Some(3_000)));
        assert_eq!(step(&mut pace, 2_600, Some(false), Free), (Step::Show, None));
        assert_eq!(step(&mut pace, 2_700, Some(true), Shared), (Step::Hide, None), "somebody else writes there");
        assert_eq!(step(&mut pace, 2_800, Some(false), Background), (Step::Hide, Some(5_800)), "nobody tells of `fg`");
        assert_eq!(step(&mut pace, 9_300, Some(true), Free), (Step::Show, Some(10_000)));
        assert_eq!(step(&mut pace, 9_400, None, Free), (Step::Hide, None));
    }

    #[test]
    fn whether_it_is_free_is_asked_only_where_it_matters() {
        let mut pace = Pace::default();
        let asked = || unreachable!("nothing would be shown");
        assert_eq!(pace.step(Moment(0), None, asked), Step::Hide);
        assert_eq!(pace.step(Moment(0), Some(true), asked), Step::Hide);
    }
}
