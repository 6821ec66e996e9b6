//! `--drain`: for how long, or until when, running builds are waited for.

use std::fmt;

use agent_wrap_supervisor::Span;

use super::parse;
use crate::quoted::quoted;
use crate::wall::{self, Civil, Seconds};

/// The longest that it can be until a time of day comes again: of a day on which the clock is put back.
const LONGEST_DAY: Span = Span::seconds(25 * 60 * 60);

/// How long running builds are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drain {
    /// For so long; zero does not wait.
    For(Span),
    /// Until the clock on the wall shows this.
    Until(Until),
}

/// A moment by the clock on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Until {
    /// The next time that it shows so many hours and minutes here.
    Daily(u8, u8),
    /// Once, here.
    Here(Civil),
    /// Once, by UTC.
    Utc(Civil),
}

impl Drain {
    /// `90s`, `until=02:00`, `until=2026-11-27T02:00`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.trim().split_once('=') {
            Some((word, moment)) if word.trim() == "until" => Until::parse(moment.trim()).map(Self::Until),
            Some(_) | None => parse::time(text).map(Self::For),
        }
    }

    /// Whether builds are waited for at all.
    #[must_use]
    pub fn waits(self) -> bool {
        self != Self::For(Span::ZERO)
    }

    /// Whether it depends on the zone of this machine.
    pub(super) fn is_of_zone(self) -> bool {
        matches!(self, Self::Until(Until::Daily(..) | Until::Here(_)))
    }

    /// Whether builds would be waited for until a moment that is past, at every stop.
    #[must_use]
    pub fn is_past(self, now: Seconds) -> bool {
        matches!(self, Self::Until(until) if until.left(now, now).is_zero())
    }

    /// The longest that a drain may take that begins now or, where it is until a time of day, at any time.
    #[must_use]
    pub fn longest(self, now: Seconds) -> Span {
        match self {
            Self::For(span) => span,
            Self::Until(Until::Daily(..)) => LONGEST_DAY,
            Self::Until(until) => until.left(now, now),
        }
    }
}

impl Until {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{} is no moment; write it like until=02:00, until=2026-11-27T02:00 or until=2026-11-27T01:00Z",
                quoted(text)
            )
        };
        let Some((date, time)) = text.split_once(['T', ' ']) else {
            let (hour, minute, second) = time_of_day(text).ok_or_else(wrong)?;
            return if second.is_none() { Ok(Self::Daily(hour, minute)) } else { Err(wrong()) };
        };
        let (time, is_utc) = time.strip_suffix('Z').map_or((time, false), |time| (time, true));
        let (hour, minute, second) = time_of_day(time).ok_or_else(wrong)?;
        let mut parts = date.splitn(3, '-');
        let year = parts.next().and_then(|year| digits(year, 4)).filter(|year| (1970..=9999).contains(year));
        let month = parts.next().and_then(|month| digits(month, 2)).filter(|month| (1..=12).contains(month));
        let day = parts.next().and_then(|day| digits(day, 2));
        let (Some(year), Some(month), Some(day)) = (year, month, day) else { return Err(wrong()) };
        if !(1..=days_of(year, month)).contains(&day) {
            return Err(wrong());
        }
        let small = |number: u16| u8::try_from(number).map_err(|_| wrong());
        let (month, day) = (small(month)?, small(day)?);
        let civil = Civil { year, month, day, hour, minute, second: second.unwrap_or_default() };
        Ok(if is_utc { Self::Utc(civil) } else { Self::Here(civil) })
    }

    /// The moment, for a drain that begins at `now`.
    #[must_use]
    pub fn after(self, now: Seconds) -> Seconds {
        match self {
            Self::Daily(hour, minute) => wall::next(hour, minute, now),
            Self::Here(civil) => civil.here(),
            Self::Utc(civil) => civil.utc(),
        }
    }

    fn left(self, begin: Seconds, now: Seconds) -> Span {
        Span::seconds(u64::try_from(self.after(begin) - now).unwrap_or_default())
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (civil, zone) = match self {
            Self::Daily(hour, minute) => return write!(f, "{hour:02}:{minute:02}"),
            Self::Here(civil) => (civil, ""),
            Self::Utc(civil) => (civil, " UTC"),
        };
        let Civil { year, month, day, hour, minute, second } = civil;
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}")?;
        if *second > 0 {
            write!(f, ":{second:02}")?;
        }
        f.write_str(zone)
    }
}

/// Hours, minutes, and seconds where they are given.
fn time_of_day(text: &str) -> Option<(u8, u8, Option<u8>)> {
    let mut parts = text.split(':').map(|part| digits(part, 2).and_then(|number| u8::try_from(number).ok()));
    let hour = parts.next()??;
    let minute = parts.next()??;
    let second = match parts.next() {
        Some(second) => Some(second?),
        None => None,
    };
    let fits = hour < 24 && minute < 60 && second.unwrap_or_default() < 60 && parts.next().is_none();
    fits.then_some((hour, minute, second))
}

fn digits(text: &str, count: usize) -> Option<u16> {
    let is_one = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_one)
}

fn days_of(year: u16, month: u16) -> u16 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn civil(day: u8, second: u8) -> Civil {
        Civil { year: 2026, month: 11, day, hour: 2, minute: 0, second }
    }

    #[test]
    fn a_length_or_a_moment() {
        for (text, drain, words) in [
            ("90s", Drain::For(Span::seconds(90)), None),
            (" 0 ", Drain::For(Span::ZERO), None),
            ("until=02:00", Drain::Until(Until::Daily(2, 0)), Some("02:00")),
            (" until = 23:59 ", Drain::Until(Until::Daily(23, 59)), Some("23:59")),
            ("until=2026-11-27T02:00", Drain::Until(Until::Here(civil(27, 0))), Some("2026-11-27 02:00")),
            ("until=2026-11-27 02:00", Drain::Until(Until::Here(civil(27, 0))), Some("2026-11-27 02:00")),
            ("until=2026-11-07T02:00:09Z", Drain::Until(Until::Utc(civil(7, 9))), Some("2026-11-07 02:00:09 UTC")),
        ] {
            assert_eq!(Drain::parse(text), Ok(drain), "{text}");
            if let Drain::Until(until) = drain {
                assert_eq!(Some(until.to_string().as_str()), words);
            }
        }
        for text in [
            "until=",
            "until",
            "untli=02:00",
            "02:00",
            "until=24:00",
            "until=02:60",
            "until=2:00",
            "until=02:00Z",
            "until=02:00:00",
            "until=+2:00",
            "until=5m",
            "until=2026-11-27",
            "until=2026-11-31T02:00",
            "until=2026-02-29T02:00",
            "until=2026-13-01T02:00",
            "until=2026-00-01T02:00",
            "until=2026-11-00T02:00",
            "until=1969-11-01T02:00",
            "until=26-11-27T02:00",
            "until=2026-11-27T02:00+01:00",
            "until=2026-11-27T02:00:60",
            "until=2026-11-27-1T02:00",
        ] {
            assert!(Drain::parse(text).is_err(), "{text}");
        }
        assert!(Drain::parse("until=2028-02-29T02:00").is_ok());
    }

    #[test]
    fn what_is_past_is_no_wait() {
        let (moment, now) = (Drain::Until(Until::Utc(civil(27, 0))), civil(26, 0).utc());
        assert_eq!(moment.longest(now), Span::seconds(24 * 60 * 60));
        assert_eq!(moment.longest(now + 3 * 24 * 60 * 60), Span::ZERO);
        assert_eq!(Drain::Until(Until::Daily(2, 0)).longest(now), Span::seconds(25 * 60 * 60));
        assert!(moment.waits() && Drain::For(Span(1)).waits() && !Drain::For(Span::ZERO).waits());
    }
}
