//! Who says what: the narrator, the wrapper and the agent, each line with its speaker before it.

use std::io::{self, Write as _};

use super::style::{Paint, Style};

/// The wrapper's own lines begin with its name; the others' are made as wide.
const WRAPPER: &str = "agent-wrap";

/// Prints lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    pub(crate) style: Style,
}

impl Voice {
    pub(crate) fn new(style: Style) -> Self {
        Self { style }
    }

    /// Says what the world does.
    pub(crate) fn narrate(self, text: &str) -> io::Result<()> {
        self.print(&self.style.paint(Paint::Narrator, &format!("demo       {text}")))
    }

    /// Passes on a line that came from the wrapper's terminal: the wrapper's own as it is, the agent's with its name.
    pub(crate) fn pass_on(self, line: &str) -> io::Result<()> {
        let from_wrapper = without_colours(line).starts_with(WRAPPER);
        if from_wrapper {
            self.print(line)
        } else {
            self.print(&format!("{}{line}", self.style.paint(Paint::Agent, "agent      ")))
        }
    }

    /// Prints a line as it is.
    pub(crate) fn print(self, line: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{line}")
    }
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_seen_through() {
        assert_eq!(without_colours("\x1b[36magent-wrap\x1b[0m \x1b[33mwarning: w\x1b[0m"), "agent-wrap warning: w");
        assert_eq!(without_colours("plain"), "plain");
    }
}
