//! Words of others in quotation marks, for messages.

use std::ffi::OsStr;

/// The text in quotation marks, what cannot be shown escaped. Rust's own form, but for the characters that the log
/// escapes as JSON does: `\u001b` and not `\u{1b}`, so that a reader meets one form.
pub fn quoted(text: impl AsRef<OsStr>) -> String {
    let debug = format!("{:?}", text.as_ref());
    let mut quoted = String::with_capacity(debug.len());
    let mut rest = debug.as_str();
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        quoted.push_str(plain);
        let (character, after) = unescape(escape);
        match character {
            Some(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    quoted.push_str(&format!("\\u{unit:04x}"));
                }
            }
            None => quoted.push_str(&escape[..escape.len() - after.len()]),
        }
        rest = after;
    }
    quoted + rest
}

/// The character that is escaped by its number at the start of a text, and what comes after the escape.
fn unescape(escape: &str) -> (Option<char>, &str) {
    if let Some(after) = escape.strip_prefix("\\0") {
        return (Some('\0'), after);
    }
    let number = escape.strip_prefix("\\u{").and_then(|rest| rest.split_once('}'));
    let found = number.and_then(|(digits, after)| Some((u32::from_str_radix(digits, 16).ok()?, after)));
    match found.and_then(|(number, after)| Some((char::from_u32(number)?, after))) {
        Some((character, after)) => (Some(character), after),
        // What is escaped by a letter or sign of its own is one byte.
        None => (None, &escape[2..]),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_character_that_acts_has_the_form_that_the_log_gives_it() {
        for (text, shown) in [
            ("a b/ü", r#""a b/ü""#),
            ("", r#""""#),
            ("\u{1b}[2J\u{7f}\u{9b}\u{202e}\0", r#""\u001b[2J\u007f\u009b\u202e\u0000""#),
            ("\r\n\t\"\\", r#""\r\n\t\"\\""#),
            // What looks like an escape and is none.
            ("\\u{1b}\\0", r#""\\u{1b}\\0""#),
            ("\u{e0001}", r#""\udb40\udc01""#),
        ] {
            assert_eq!(quoted(text), shown);
        }
        assert_eq!(quoted(OsStr::from_bytes(b"\xff\x1b")), r#""\xFF\u001b""#);
    }
}
