//! The words of a shell's script, as far as they have to be told apart to find what in it is secret.

use std::ffi::OsString;

/// One piece of a script, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A word of a command.
    Word(&'a str),
    /// A word that belongs to no command: where a redirection leads to.
    Aside(&'a str),
    /// What ends a command.
    End(&'a str),
    /// Blanks, joined lines and redirections.
    Between(&'a str),
}

/// Takes a script apart. Put together again the pieces are the script. What is not closed (a quotation, a substitution)
/// goes to the end, and a substitution is a part of its word, whatever is in it.
pub(super) fn pieces<'a>(script: &'a str) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut rest = script;
    let mut redirected = false;
    while let Some(first) = rest.chars().next() {
        let (length, make): (usize, fn(&'a str) -> Piece<'a>) = match first {
            '\\' if rest[1..].starts_with('\n') => (2, Piece::Between),
            '\n' | ';' | '&' | '|' | '(' | ')' => (1, Piece::End),
            '<' | '>' => {
                redirected = true;
                let length = rest.find(|c| !matches!(c, '<' | '>' | '&' | '|' | '-')).unwrap_or(rest.len());
                (length, Piece::Between)
            }
            blank if blank.is_whitespace() => (blank.len_utf8(), Piece::Between),
            _ => {
                let length = word(rest);
                let is_descriptor =
                    rest[..length].bytes().all(|byte| byte.is_ascii_digit()) && rest[length..].starts_with(['<', '>']);
                let aside = std::mem::take(&mut redirected) || is_descriptor;
                (length, if aside { Piece::Aside } else { Piece::Word })
            }
        };
        let (piece, after) = rest.split_at(length);
        pieces.push(make(piece));
        rest = after;
    }
    pieces
}

/// The words of each command in a script, as the command gets them.
pub(super) fn commands(script: &str) -> Vec<Vec<OsString>> {
    let pieces = pieces(script);
    let words = |command: &[Piece<'_>]| {
        let words = command.iter().filter_map(|piece| match piece {
            Piece::Word(word) => Some(OsString::from(unquoted(word))),
            Piece::Aside(_) | Piece::End(_) | Piece::Between(_) => None,
        });
        words.collect()
    };
    pieces.split(|piece| matches!(piece, Piece::End(_))).map(words).collect()
}

/// The length of the word that a text begins with, in bytes.
fn word(text: &str) -> usize {
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at + next.len_utf8()..];
        at += next.len_utf8()
            + match next {
                '\\' => rest.chars().next().map_or(0, char::len_utf8),
                '\'' => rest.find('\'').map_or(rest.len(), |end| end + 1),
                '"' => until(rest, '"'),
                '`' => until(rest, '`'),
                '$' if rest.starts_with('(') => 1 + until(&rest[1..], ')'),
                '$' if rest.starts_with('{') => 1 + until(&rest[1..], '}'),
                '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => return at,
                blank if blank.is_whitespace() => return at,
                _ => 0,
            };
    }
    at
}

/// How far it is to behind this mark, past what is quoted or nested before it.
fn until(text: &str, mark: char) -> usize {
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        at += next.len_utf8();
        let rest = &text[at..];
        at += match next {
            _ if next == mark => return at,
            '\\' => rest.chars().next().map_or(0, char::len_utf8),
            '\'' if mark != '"' => rest.find('\'').map_or(rest.len(), |end| end + 1),
            '"' => until(rest, '"'),
            '`' => until(rest, '`'),
            '$' if rest.starts_with('(') => 1 + until(&rest[1..], ')'),
            '$' if rest.starts_with('{') => 1 + until(&rest[1..], '}'),
            '(' if mark == ')' => until(rest, ')'),
            _ => 0,
        };
    }
    at
}

/// What a word is to the command that gets it, as far as that is written: without quotation marks and joined lines.
pub(super) fn unquoted(word: &str) -> String {
    let mut plain = String::with_capacity(word.len());
    let mut quote = None;
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (mark, Some(open)) if mark == open => quote = None,
            ('\'' | '"', None) => quote = Some(letter),
            ('\\', None | Some('"')) => plain.extend(letters.next().filter(|next| *next != '\n')),
            (letter, _) => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_what_is_between_them() {
        use Piece::{Aside, Between, End, Word};
        for (script, expected) in [
            ("a b", &[Word("a"), Between(" "), Word("b")][..]),
            ("a;b&&c", &[Word("a"), End(";"), Word("b"), End("&"), End("&"), Word("c")]),
            ("a 'b c'd", &[Word("a"), Between(" "), Word("'b c'd")]),
            ("a \"b $(c \")\") d\"", &[Word("a"), Between(" "), Word("\"b $(c \")\") d\"")]),
            ("--t=$(a b) c", &[Word("--t=$(a b)"), Between(" "), Word("c")]),
            ("$(a (b) c)d `e f`", &[Word("$(a (b) c)d"), Between(" "), Word("`e f`")]),
            ("a\\ b", &[Word("a\\ b")]),
            ("a \\\n b", &[Word("a"), Between(" "), Between("\\\n"), Between(" "), Word("b")]),
            ("a\nb", &[Word("a"), End("\n"), Word("b")]),
            ("a 2>&1", &[Word("a"), Between(" "), Aside("2"), Between(">&"), Aside("1")]),
            ("a >f b", &[Word("a"), Between(" "), Between(">"), Aside("f"), Between(" "), Word("b")]),
            ("a 'b c", &[Word("a"), Between(" "), Word("'b c")]),
            ("a $(b c", &[Word("a"), Between(" "), Word("$(b c")]),
            ("ä\u{a0}\\", &[Word("ä"), Between("\u{a0}"), Word("\\")]),
        ] {
            assert_eq!(pieces(script), expected, "{script:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(script in "[ab'\"`$(){}\\\\ \n;<>&ä]{0,20}") {
            let written = |piece: &Piece<'_>| match *piece {
                Piece::Word(text) | Piece::Aside(text) | Piece::End(text) | Piece::Between(text) => text.to_owned(),
            };
            proptest::prop_assert_eq!(pieces(&script).iter().map(written).collect::<String>(), script);
        }
    }

    #[test]
    fn what_a_command_gets() {
        for (word, plain) in [
            ("'a b'\"c\\\"d\"", "a bc\"d"),
            ("a\\ b", "a b"),
            ("a\\\nb", "ab"),
            ("\"$(x)\"", "$(x)"),
            ("'a\\b'", "a\\b"),
        ] {
            assert_eq!(unquoted(word), plain, "{word}");
        }
    }
}
