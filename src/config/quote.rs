//! A command line as one line of a log.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use super::conceal::conceal;

/// The arguments quoted for a POSIX shell, secrets masked. Control characters and bytes that are not UTF-8 are written as
/// `$'...'`, which `bash` reads, so that a line stays a line.
#[must_use]
pub fn shell_quote(arguments: &[OsString]) -> String {
    let words = arguments.iter().zip(conceal(arguments)).map(|(argument, concealed)| match concealed {
        // Quoting the stars would only make them harder to read.
        Some(text) if text.bytes().all(|byte| is_plain(byte) || byte == b'*') => text,
        Some(text) => quote(text.as_bytes()),
        None => quote(argument.as_bytes()),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte)
}

fn quote(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().copied().all(is_plain) => text.to_owned(),
        Ok(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', "'\\''")),
        Ok(_) | Err(_) => ansi_quote(bytes),
    }
}

fn ansi_quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => quoted.extend(['\\', char::from(*byte)]),
            b'\n' => quoted.push_str("\\n"),
            b'\t' => quoted.push_str("\\t"),
            0x20..=0x7e => quoted.push(char::from(*byte)),
            _ => quoted.push_str(&format!("\\{byte:03o}")),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;
    use std::process::Command;

    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn read_back(shell: &str, arguments: &[OsString]) -> Vec<u8> {
        let script = format!("printf '%s\\0' {}", shell_quote(arguments));
        Command::new(shell).arg("-c").arg(script).output().unwrap().stdout
    }

    fn expected(arguments: &[OsString]) -> Vec<u8> {
        arguments.iter().flat_map(|argument| [argument.as_bytes(), b"\0"].concat()).collect()
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let arguments = words(&[
            "java", "", " ", "a b", "it's", "\"", "$HOME", "`id`", "*", "~", "a\\b", "#", "é ü", "-Dx=y", "!",
            ";&|<>()", "''", "{a,b}", "=ls",
        ]);
        assert_eq!(read_back("sh", &arguments), expected(&arguments));
        assert_eq!(read_back("bash", &arguments), expected(&arguments));
    }

    #[test]
    fn bytes_that_would_break_a_line_are_read_back_by_bash() {
        let all = OsString::from_vec((1..=255).collect());
        let arguments = [OsString::from("two\nlines\u{1b}[31m"), OsString::from("\u{85}"), all];
        assert!(!shell_quote(&arguments).contains(char::is_control));
        assert_eq!(read_back("bash", &arguments), expected(&arguments));
    }

    #[test]
    fn secrets_are_masked_and_files_are_not() {
        let hex = "0123456789abcdef".repeat(4);
        let line = shell_quote(&words(&[
            "java",
            "-secret",
            "hush",
            "-credentials=me:hush",
            "-secret=@f",
            "-secret",
            "@f",
            &hex,
        ]));
        assert_eq!(line, "java -secret ******** -credentials=******** -secret=@f -secret @f ********");
    }
}
