//! The line at the bottom of a terminal that is rewritten in place. It is drawn with what every terminal knows, a carriage
//! return and the two sequences that erase to the end of the line and of the screen, and nothing is left switched on:
//! whoever is killed leaves a line behind that the next output is written over, and nothing to be put right.
//!
//! The cursor stays at the line's beginning. A terminal that becomes narrower either breaks the line into several rows,
//! and takes the cursor along with the character that it is at (VTE, tmux), or cuts it (xterm). Both leave the cursor in
//! the first row of what is ours, so that everything from there on can be erased, and nothing above it ever is.
//!
//! Where an agent has left the cursor, nobody knows. A row full of blanks shows it, as shells do it before a prompt: at
//! a row's beginning they just fill it, anywhere else the last of them stands in the next row. A carriage return then goes
//! to the beginning of a row in which there is nothing else.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use nix::libc;
use nix::unistd::{getpgrp, tcgetpgrp};

/// Erases the row that the cursor is in.
const ERASE: &str = "\r\x1b[K";
/// Erases it and all below.
const ERASE_BELOW: &str = "\r\x1b[J";
/// Erases what is behind the cursor.
const ERASE_REST: &str = "\x1b[K";
/// Of a terminal that does not say how wide it is.
const USUAL_COLUMNS: usize = 80;
/// On a narrower terminal there is no line.
const FEWEST_COLUMNS: usize = 20;

/// Whether a terminal of this name can do more than print one character after the other.
pub(crate) fn has_cursor(term: Option<&OsStr>) -> bool {
    term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// How many columns the terminal has, if it may be drawn on now: it has to be our controlling terminal, and we in its
/// foreground.
pub(super) fn room(stream: BorrowedFd<'_>) -> Option<usize> {
    if tcgetpgrp(stream) != Ok(getpgrp()) {
        return None;
    }
    Some(columns(stream).filter(|columns| *columns > 0).unwrap_or(USUAL_COLUMNS))
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
    drawn: Option<Drawn>,
    /// Somebody else may have left the cursor behind his words.
    unknown_column: bool,
}

/// A line, and the columns that it takes at the most.
#[derive(Debug, PartialEq, Eq)]
struct Drawn {
    text: String,
    width: usize,
}

impl Bottom {
    /// Whether there is a line to be erased.
    pub(super) fn is_drawn(&self) -> bool {
        self.drawn.is_some()
    }

    /// Takes note that the next that is written is to begin a row.
    pub(super) fn begin_row(&mut self) {
        self.unknown_column = true;
    }

    /// Whether a row is to be begun.
    pub(super) fn begins_row(&self) -> bool {
        self.unknown_column
    }

    /// What is to be written so that these whole lines stand above this line, and nothing is left of the line before.
    /// `room` are the columns there are, if it may be drawn; what was drawn before somebody else came into the foreground
    /// is not ours any more. `torn`: what was drawn may have been written over.
    pub(super) fn compose(&mut self, lines: &[u8], line: Option<&str>, room: Option<usize>, torn: bool) -> Vec<u8> {
        let Some(columns) = room else {
            (self.drawn, self.unknown_column) = (None, false);
            return lines.to_vec();
        };
        // One that fills the row may have the next character in the next one.
        let line = line.filter(|_| columns >= FEWEST_COLUMNS).map(|line| cut(line, columns - 1));
        let is_broken = self.drawn.as_ref().is_some_and(|drawn| drawn.width > columns);
        let mut text = Vec::with_capacity(lines.len() + 256);
        let is_written = !lines.is_empty() || line.is_some() || self.is_drawn();
        // Where there is a line, the cursor is at its beginning.
        if is_written && std::mem::take(&mut self.unknown_column) && !self.is_drawn() {
            text.resize(columns, b' ');
            text.extend_from_slice(ERASE_BELOW.as_bytes());
        }
        match (&self.drawn, &line) {
            (Some(drawn), Some(line)) if lines.is_empty() && !is_broken => {
                // In place, so that nothing flickers.
                if torn || drawn != line {
                    text.push(b'\r');
                    text.extend_from_slice(line.text.as_bytes());
                    text.extend_from_slice(ERASE_REST.as_bytes());
                    text.push(b'\r');
                }
            }
            (None, None) => text.extend_from_slice(lines),
            (_, line) => {
                text.extend_from_slice(if is_broken { ERASE_BELOW } else { ERASE }.as_bytes());
                text.extend_from_slice(lines);
                if let Some(line) = line {
                    text.extend_from_slice(line.text.as_bytes());
                    text.push(b'\r');
                }
            }
        }
        self.drawn = line;
        text
    }
}

/// As much of the line as has room in so many columns. Sequences that set colours take none.
fn cut(line: &str, columns: usize) -> Drawn {
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
        used += 1;
    }
    Drawn { text: kept, width: used }
}

/// The columns that a character takes at the most: what is not written in an alphabet may be wide.
fn width(character: char) -> usize {
    if u32::from(character) < 0x1100 { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(bottom: &mut Bottom, lines: &str, line: Option<&str>) -> String {
        at_width(bottom, 80, lines, line)
    }

    fn at_width(bottom: &mut Bottom, columns: usize, lines: &str, line: Option<&str>) -> String {
        String::from_utf8(bottom.compose(lines.as_bytes(), line, Some(columns), false)).unwrap()
    }

    #[test]
    fn lines_stand_above_the_line() {
        let mut bottom = Bottom::default();
        assert_eq!(composed(&mut bottom, "one\n", None), "one\n");
        assert_eq!(composed(&mut bottom, "", Some("waiting")), "\r\x1b[Kwaiting\r");
        assert_eq!(composed(&mut bottom, "two\nthree\n", Some("waiting")), "\r\x1b[Ktwo\nthree\nwaiting\r");
        assert_eq!(composed(&mut bottom, "", Some("waiting on")), "\rwaiting on\x1b[K\r");
        assert_eq!(composed(&mut bottom, "", Some("waiting on")), "", "it is there");
        assert_eq!(composed(&mut bottom, "four\n", None), "\r\x1b[Kfour\n");
        assert!(!bottom.is_drawn());
        assert_eq!(composed(&mut bottom, "five\n", None), "five\n");
        composed(&mut bottom, "", Some("waiting"));
        assert_eq!(composed(&mut bottom, "", None), "\r\x1b[K");
        assert_eq!(composed(&mut bottom, "", None), "");
    }

    #[test]
    fn what_comes_after_an_agent_begins_a_row_once() {
        let mut bottom = Bottom::default();
        let begun = format!("{}\r\x1b[J", " ".repeat(80));
        bottom.begin_row();
        assert_eq!(composed(&mut bottom, "", None), "", "there is nothing to write yet");
        assert!(bottom.begins_row());
        assert_eq!(composed(&mut bottom, "one\n", None), format!("{begun}one\n"));
        assert_eq!(composed(&mut bottom, "two\n", None), "two\n");
        bottom.begin_row();
        assert_eq!(composed(&mut bottom, "", Some("waiting")), format!("{begun}\r\x1b[Kwaiting\r"));
        bottom.begin_row();
        assert_eq!(composed(&mut bottom, "three\n", Some("waiting")), "\r\x1b[Kthree\nwaiting\r", "it is there");
        assert_eq!(composed(&mut bottom, "", None), "\r\x1b[K");
        bottom.begin_row();
        assert_eq!(bottom.compose(b"four\n", None, None, false), b"four\n", "in the background");
        assert_eq!(composed(&mut bottom, "five\n", None), "five\n");
    }

    #[test]
    fn what_may_have_been_written_over_is_drawn_anew() {
        let mut bottom = Bottom::default();
        assert_eq!(bottom.compose(b"", None, Some(80), true), b"");
        composed(&mut bottom, "", Some("waiting"));
        assert_eq!(bottom.compose(b"", Some("waiting"), Some(80), true), b"\rwaiting\x1b[K\r");
    }

    #[test]
    fn a_line_that_may_have_been_broken_into_rows_is_erased_with_all_of_them() {
        let mut bottom = Bottom::default();
        let line = "waiting for the controller";
        composed(&mut bottom, "", Some(line));
        assert_eq!(at_width(&mut bottom, 26, "", Some(line)), "\rwaiting for the controll…\x1b[K\r", "it fits");
        composed(&mut bottom, "", Some(line));
        assert_eq!(at_width(&mut bottom, 25, "", Some(line)), "\r\x1b[Jwaiting for the control…\r");
        composed(&mut bottom, "", Some(line));
        assert_eq!(at_width(&mut bottom, 20, "one\n", Some(line)), "\r\x1b[Jone\nwaiting for the co…\r");
        composed(&mut bottom, "", Some(line));
        assert_eq!(at_width(&mut bottom, 20, "", None), "\r\x1b[J");
    }

    #[test]
    fn a_terminal_that_has_become_too_narrow_is_cleared_of_it() {
        for (lines, after) in [("", "\r\x1b[J"), ("one\n", "\r\x1b[Jone\n")] {
            let mut bottom = Bottom::default();
            composed(&mut bottom, "", Some("waiting for the controller"));
            assert_eq!(at_width(&mut bottom, 19, lines, Some("waiting for the controller")), after);
            assert!(!bottom.is_drawn());
            assert_eq!(at_width(&mut bottom, 19, "two\n", Some("waiting for the controller")), "two\n");
        }
    }

    #[test]
    fn in_the_background_nothing_is_drawn_and_nothing_erased() {
        let mut bottom = Bottom::default();
        composed(&mut bottom, "", Some("waiting"));
        assert_eq!(bottom.compose(b"one\n", Some("waiting"), None, false), b"one\n");
        assert_eq!(bottom.compose(b"", Some("waiting"), None, true), b"");
        assert_eq!(composed(&mut bottom, "", Some("waiting")), "\r\x1b[Kwaiting\r", "in the foreground again");
    }

    #[test]
    fn a_line_never_reaches_the_end_of_the_terminal() {
        let cut = |line: &str, columns| {
            let Drawn { text, width } = cut(line, columns);
            (text, width)
        };
        assert_eq!(cut("draining", 8), ("drainin…".to_owned(), 8));
        assert_eq!(cut("draining", 9), ("draining".to_owned(), 8));
        assert_eq!(cut("\x1b[36mdraining\x1b[0m on", 5), ("\x1b[36mdrai\x1b[0m…".to_owned(), 5));
        assert_eq!(cut("漢字漢字", 6), ("漢字…".to_owned(), 5));
        assert_eq!(cut("漢字漢字", 9), ("漢字漢字".to_owned(), 8));
        let mut bottom = Bottom::default();
        let drawn = bottom.compose(b"", Some(&"x".repeat(300)), Some(30), false);
        assert_eq!(drawn.iter().filter(|byte| **byte == b'x').count(), 28);
    }

    #[test]
    fn a_terminal_that_is_not_named_is_not_drawn_on() {
        let has_cursor = |term: Option<&str>| has_cursor(term.map(OsStr::new));
        assert!(has_cursor(Some("xterm-256color")) && has_cursor(Some("linux")));
        assert!(!has_cursor(Some("dumb")) && !has_cursor(Some("")) && !has_cursor(None));
    }

    #[test]
    fn what_is_no_terminal_has_no_room() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(room(std::os::fd::AsFd::as_fd(&reader)), None);
    }
}
