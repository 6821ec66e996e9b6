//! What is told, as the lines of one datagram.

use std::fmt::Write as _;

use agent_wrap_supervisor::Span;

/// A manager takes no datagram of more than 4096 bytes; everything besides the words fits in the rest.
const LONGEST_WORDS: usize = 3072;

/// A state that the manager knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// `READY=1`: the start is over, or a reload.
    Ready,
    /// `RELOADING=1`.
    Reloading,
    /// `STOPPING=1`.
    Stopping,
}

/// What has changed since the manager was told last, and what it wants to hear again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The state, if it is another.
    pub life: Option<Life>,
    /// The reload that it is about, if it is about one.
    pub reload: u32,
    /// The words, if they are others; one line.
    pub words: Option<String>,
    /// A sign of life.
    pub alive: bool,
    /// More time is needed: so much from now on.
    pub extension: Option<Span>,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.life.is_none() && self.words.is_none() && !self.alive && self.extension.is_none()
    }

    /// The datagram. `monotonic` reads the clock of the machine, in microseconds: the manager compares it with when it
    /// has asked for the reload.
    #[must_use]
    pub fn datagram(&self, monotonic: impl FnOnce() -> u64) -> String {
        let mut lines = Lines::default();
        match self.life {
            Some(Life::Ready) => lines.add("READY", 1),
            Some(Life::Reloading) => {
                lines.add("RELOADING", 1);
                lines.add("MONOTONIC_USEC", monotonic());
            }
            Some(Life::Stopping) => lines.add("STOPPING", 1),
            None => {}
        }
        if let Some(words) = &self.words {
            lines.add_words(words);
        }
        if let Some(extension) = self.extension {
            lines.add("EXTEND_TIMEOUT_USEC", extension.0.saturating_mul(1000));
        }
        if self.alive {
            lines.add("WATCHDOG", 1);
        }
        lines.0
    }
}

/// The last that the manager is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell<'a> {
    /// How it ended; one line.
    pub words: &'a str,
    /// The errno behind it, if there is one.
    pub errno: Option<i32>,
    /// The exit code.
    pub code: u8,
}

impl Farewell<'_> {
    /// The datagram.
    #[must_use]
    pub fn datagram(&self) -> String {
        let mut lines = Lines::default();
        lines.add_words(self.words);
        if let Some(errno) = self.errno {
            lines.add("ERRNO", errno);
        }
        lines.add("EXIT_STATUS", self.code);
        lines.0
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{name}={value}");
    }

    /// Another line within the words would be another message.
    fn add_words(&mut self, words: &str) {
        let mut end = words.len().min(LONGEST_WORDS);
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        let more = if end < words.len() { "…" } else { "" };
        self.add("STATUS", format_args!("{}{more}", words[..end].replace(char::is_control, " ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news() -> News {
        News { life: None, reload: 0, words: None, alive: false, extension: None }
    }

    #[test]
    fn each_part_has_its_line() {
        assert_eq!(news().datagram(|| 0), "");
        let all = News {
            life: Some(Life::Ready),
            words: Some("online".to_owned()),
            alive: true,
            extension: Some(Span::seconds(15)),
            ..news()
        };
        assert_eq!(all.datagram(|| 0), "READY=1\nSTATUS=online\nEXTEND_TIMEOUT_USEC=15000000\nWATCHDOG=1\n");
        let reloading = News { life: Some(Life::Reloading), ..news() };
        assert_eq!(reloading.datagram(|| 77), "RELOADING=1\nMONOTONIC_USEC=77\n");
        let stopping = News { life: Some(Life::Stopping), ..news() };
        assert_eq!(stopping.datagram(|| 0), "STOPPING=1\n");
    }

    #[test]
    fn words_are_one_line_that_fits() {
        let said = |words: &str| News { words: Some(words.to_owned()), ..news() }.datagram(|| 0);
        assert_eq!(said("a\nREADY=1"), "STATUS=a READY=1\n");
        for character in ["x", "é", "漢", "🚀"] {
            let text = said(&character.repeat(5000));
            assert!(text.len() < 3200 && text.ends_with("…\n"), "{} bytes", text.len());
        }
    }

    #[test]
    fn a_farewell_says_why_and_with_which_code() {
        let farewell = Farewell { words: "no such command", errno: Some(2), code: 127 };
        assert_eq!(farewell.datagram(), "STATUS=no such command\nERRNO=2\nEXIT_STATUS=127\n");
        assert_eq!(Farewell { words: "", errno: None, code: 0 }.datagram(), "STATUS=\nEXIT_STATUS=0\n");
    }
}
