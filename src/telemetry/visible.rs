//! Text of others (reasons, names of builds, what a proxy answers) must not move the cursor, forge a line or turn one
//! around.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with its control characters, line separators and those that change the direction of writing escaped as JSON
/// does it.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_invisible) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // None of them needs more than four digits. Writing to a string does not fail.
            other if is_invisible(other) => drop(write!(shown, "\\u{:04x}", u32::from(other))),
            other => shown.push(other),
        }
    }
    Cow::Owned(shown)
}

fn is_invisible(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left() {
        assert_eq!(visible("a\tb\r\nc\x1b[2J\x7f\u{9b}2J\0"), r"a\tb\r\nc\u001b[2J\u007f\u009b2J\u0000");
        assert_eq!(visible("\u{2028}\u{202e}gpj\u{2069}"), r"\u2028\u202egpj\u2069");
        assert_eq!(visible("\u{61c}\u{200f}\u{2067}\u{85}"), r"\u061c\u200f\u2067\u0085");
    }

    #[test]
    fn what_people_write_stays() {
        for text in ["", "app #7 (40 %)", "Größe – “x” … 漢字 🚀 \\ \u{200d}"] {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text));
        }
    }
}
