//! Names of signals, as people write them.

use std::str::FromStr as _;

use nix::libc;
use nix::sys::signal::Signal;
use thiserror::Error;

use super::HIGHEST_SIGNAL;
use crate::quoted::quoted;

/// The first realtime signal, as glibc counts, and with it bash, python, podman and every Java machine. Other C libraries
/// begin later (musl at 35), but a number is what is sent.
pub(super) const RTMIN: i32 = 34;

/// The last one.
const RTMAX: i32 = HIGHEST_SIGNAL;

/// No signal has this name or number.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no signal {}: give a name like TERM, SIGTERM or RTMIN+3, or a number", quoted(.0))]
pub struct UnknownSignal(pub String);

/// The number of a signal given by name, with or without SIG and in any case, or by number.
///
/// # Errors
/// When there is no such signal.
pub fn signal_number(text: &str) -> Result<i32, UnknownSignal> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name {
        "CLD" => Some(libc::SIGCHLD),
        "POLL" => Some(libc::SIGIO),
        "IOT" => Some(libc::SIGABRT),
        _ => None,
    };
    number
        .or_else(|| Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32))
        .or_else(|| realtime(name))
        .or_else(|| upper.parse().ok())
        .filter(|number| Signal::try_from(*number).is_ok() || (RTMIN..=RTMAX).contains(number))
        .ok_or_else(|| UnknownSignal(text.to_owned()))
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn realtime(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<i32>().ok(),
        None if rest.is_empty() => Some(0),
        Some(_) | None => None,
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(offset(rest, '+')?)?
    } else {
        RTMAX.checked_sub(offset(name.strip_prefix("RTMAX")?, '-')?)?
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// The name of a signal without SIG: `TERM`, `RTMIN+3`; the number when it has none.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(known) => known.as_str().trim_start_matches("SIG").to_owned(),
        Err(_) if signal == RTMIN => "RTMIN".to_owned(),
        Err(_) if (RTMIN..=RTMAX).contains(&signal) => {
            format!("RTMIN+{}", signal - RTMIN)
        }
        Err(_) => signal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let table = [
            ("TERM", Ok(15)),
            ("SIGTERM", Ok(15)),
            ("sigterm", Ok(15)),
            (" term ", Ok(15)),
            ("15", Ok(15)),
            ("POLL", Ok(libc::SIGIO)),
            ("RTMIN", Ok(34)),
            ("SIGRTMIN+3", Ok(37)),
            ("RTMAX-1", Ok(63)),
            ("64", Ok(64)),
        ];
        for (text, expected) in table {
            assert_eq!(signal_number(text), expected, "{text}");
        }
        for text in
            ["", "SIG", "SIGSIGTERM", "TERMINATE", "0", "-15", "32", "65", "RTMIN+99", "RTMIN-1", "RTMIN++1", "RTMAX+0"]
        {
            assert_eq!(signal_number(text), Err(UnknownSignal(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn every_name_is_read_back() {
        for signal in (1..=31).chain(34..=64) {
            assert_eq!(signal_number(&signal_name(signal)), Ok(signal));
        }
    }
}
