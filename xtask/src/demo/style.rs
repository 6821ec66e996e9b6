//! What standard output can show.

use std::{
    env,
    io::{self, IsTerminal as _},
};

/// What may be printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Colours: a terminal, and nobody says `NO_COLOR`.
    pub(crate) colours: bool,
    /// More than ASCII: the locale is UTF-8.
    pub(crate) unicode: bool,
}

/// Somebody or something with a colour of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paint {
    Narrator,
    Agent,
    ForeignMark,
    OwnMark,
    Build,
    Kept,
    Broken,
    Faint,
}

impl Style {
    /// Of this process's standard output.
    pub(crate) fn of_stdout() -> Self {
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| env::var(name).ok());
        Self {
            colours: io::stdout().is_terminal() && !no_color,
            unicode: is_utf8(&locale.into_iter().find(|value| !value.is_empty()).unwrap_or_default()),
        }
    }

    /// The text in its colour.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        if !self.colours || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Narrator => "1;35",
            Paint::Agent => "34",
            Paint::ForeignMark => "33",
            Paint::OwnMark => "36",
            Paint::Build | Paint::Kept => "32",
            Paint::Broken => "1;31",
            Paint::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

fn is_utf8(locale: &str) -> bool {
    let charset = locale.rsplit_once('.').map_or("", |(_, charset)| charset).to_ascii_lowercase();
    charset.starts_with("utf-8") || charset.starts_with("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_names_its_charset() {
        assert!(is_utf8("de_DE.UTF-8"));
        assert!(is_utf8("C.utf8"));
        assert!(!is_utf8("C"));
        assert!(!is_utf8("de_DE.ISO-8859-1"));
        assert!(!is_utf8(""));
    }
}
