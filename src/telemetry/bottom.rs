//! The line at the bottom of a terminal that is rewritten in place. It is drawn with what every terminal knows, a carriage
//! return and "erase to the end of the line", and the cursor stays at its end: whoever is killed leaves a line behind that
//! the next output follows, and nothing to be put right.

use std::os::fd::BorrowedFd;

use nix::libc;
use nix::unistd::{getpgrp, tcgetpgrp};

/// Erases the line that the cursor is in.
const ERASE: &str = "\r\x1b[K";
/// Erases what is behind the cursor.
const ERASE_REST: &str = "\x1b[K";
/// Of a terminal that does not say how wide it is.
const USUAL_COLUMNS: usize = 80;
/// Columns that stay free at the end for what keys show (`^C^C`), which must not begin a line of its own.
const FREE_COLUMNS: usize = 5;
/// On a narrower terminal there is no line.
const FEWEST_COLUMNS: usize = 20;

/// How many columns there are for it, if it may be drawn on this stream now: it has to be our controlling terminal, and
/// we in its foreground.
pub(super) fn room(stream: BorrowedFd<'_>) -> Option<usize> {
    if tcgetpgrp(stream) != Ok(getpgrp()) {
        return None;
    }
    let columns = columns(stream).filter(|columns| *columns > 0).unwrap_or(USUAL_COLUMNS);
    (columns >= FEWEST_COLUMNS).then_some(columns)
}

fn columns(stream: BorrowedFd<'_>) -> Option<usize> {
    use std::os::fd::AsRawFd as _;

    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes a winsize to valid memory.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (asked == 0).then_some(size.ws_col.into())
}

/// What the terminal shows at its bottom, as far as it is ours.
#[derive(Debug, Default)]
pub(super) struct Bottom {
    drawn: Option<String>,
}

impl Bottom {
    /// Whether there is a line to be erased.
    pub(super) fn is_drawn(&self) -> bool {
        self.drawn.is_some()
    }

    /// What is to be written so that these whole lines stand above this line, and nothing is left of the line before.
    /// `room` are the columns there are for it, if it may be drawn; what was drawn before somebody else came into the
    /// foreground is not ours any more.
    pub(super) fn compose(&mut self, lines: &[u8], line: Option<&str>, room: Option<usize>) -> Vec<u8> {
        let Some(columns) = room else {
            self.drawn = None;
            return lines.to_vec();
        };
        let line = line.map(|line| cut(line, columns - FREE_COLUMNS));
        let mut text = Vec::with_capacity(lines.len() + 256);
        match (&self.drawn, lines.is_empty(), &line) {
            // In place, so that nothing flickers.
            (Some(drawn), true, Some(line)) if drawn != line => {
                text.extend_from_slice(b"\r");
                text.extend_from_slice(line.as_bytes());
                text.extend_from_slice(ERASE_REST.as_bytes());
            }
            (Some(_), true, Some(_)) | (None, true, None) => {}
            (drawn, _, line) => {
                if drawn.is_some() || line.is_some() {
                    text.extend_from_slice(ERASE.as_bytes());
                }
                text.extend_from_slice(lines);
                text.extend_from_slice(line.as_deref().unwrap_or_default().as_bytes());
            }
        }
        self.drawn = line;
        text
    }
}

/// As much of the line as has room in so many columns. Sequences that set colours take none.
fn cut(line: &str, columns: usize) -> String {
    let mut kept = String::with_capacity(line.len());
    let (mut used, mut sequence, mut full) = (0, false, false);
    for character in line.chars() {
        if sequence || character == '\x1b' {
            sequence = character != 'm';
            kept.push(character);
            continue;
        }
        let width = width(character);
        // One column for the sign that something is missing.
        full = full || used + width > columns.saturating_sub(1);
        if !full {
            used += width;
            kept.push(character);
        }
    }
    if full {
        kept.push('…');
    }
    kept
}

/// The columns that a character takes at the most: what is not written in an alphabet may be wide.
fn width(character: char) -> usize {
    if u32::from(character) < 0x1100 { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(bottom: &mut Bottom, lines: &str, line: Option<&str>) -> String {
        String::from_utf8(bottom.compose(lines.as_bytes(), line, Some(80))).unwrap()
    }

    #[test]
    fn lines_stand_above_the_line() {
        let mut bottom = Bottom::default();
        assert_eq!(composed(&mut bottom, "one\n", None), "one\n");
        assert_eq!(composed(&mut bottom, "", Some("waiting")), "\r\x1b[Kwaiting");
        assert_eq!(composed(&mut bottom, "two\nthree\n", Some("waiting")), "\r\x1b[Ktwo\nthree\nwaiting");
        assert_eq!(composed(&mut bottom, "", Some("waiting on")), "\rwaiting on\x1b[K");
        assert_eq!(composed(&mut bottom, "", Some("waiting on")), "", "it is there");
        assert_eq!(composed(&mut bottom, "four\n", None), "\r\x1b[Kfour\n");
        assert!(!bottom.is_drawn());
        assert_eq!(composed(&mut bottom, "five\n", None), "five\n");
        composed(&mut bottom, "", Some("waiting"));
        assert_eq!(composed(&mut bottom, "", None), "\r\x1b[K");
        assert_eq!(composed(&mut bottom, "", None), "");
    }

    #[test]
    fn in_the_background_nothing_is_drawn_and_nothing_erased() {
        let mut bottom = Bottom::default();
        composed(&mut bottom, "", Some("waiting"));
        assert_eq!(bottom.compose(b"one\n", Some("waiting"), None), b"one\n");
        assert_eq!(bottom.compose(b"", Some("waiting"), None), b"");
        assert_eq!(composed(&mut bottom, "", Some("waiting")), "\r\x1b[Kwaiting", "in the foreground again");
    }

    #[test]
    fn a_line_never_reaches_the_end_of_the_terminal() {
        assert_eq!(cut("draining", 8), "drainin…");
        assert_eq!(cut("draining", 9), "draining");
        assert_eq!(cut("\x1b[36mdraining\x1b[0m on", 5), "\x1b[36mdrai\x1b[0m…");
        assert_eq!(cut("漢字漢字", 6), "漢字…");
        assert_eq!(cut("漢字漢字", 9), "漢字漢字");
        let mut bottom = Bottom::default();
        let drawn = bottom.compose(b"", Some(&"x".repeat(300)), Some(30));
        assert_eq!(drawn.iter().filter(|byte| **byte == b'x').count(), 24);
    }

    #[test]
    fn what_is_no_terminal_has_no_room() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(room(std::os::fd::AsFd::as_fd(&reader)), None);
    }
}
