//! `--print-config`: the settings in force as a settings file, each with where it came from.

use std::ffi::OsString;
use std::fmt::Write as _;

use super::load::Loaded;
use super::table::{Key, Kind, SETTINGS};
use super::values::{Given, Origin, Values};
use crate::mask::{self, MASK};

impl Loaded {
    /// The settings as a file that would bring them about again, secrets masked.
    #[must_use]
    pub fn print(&self) -> String {
        print(&self.values, &self.settings.command)
    }
}

/// Values that need not be complete or right.
pub(super) fn print(values: &Values, command: &[OsString]) -> String {
    let mut text = String::from("# The settings in force, and where each came from.\n");
    let mut group = None;
    for setting in SETTINGS.iter().filter(|setting| setting.kind != Kind::Signals) {
        if group != Some(setting.group) {
            group = Some(setting.group);
            let _ = write!(text, "\n# --- {} ---\n", setting.group.heading());
        }
        let _ = match values.get(setting.key) {
            None => writeln!(text, "#{} is not set", setting.name),
            Some(given) => match concealed(setting.key, given) {
                Some(shown) => writeln!(text, "#{} is not shown: {shown}  # {}", setting.name, origin(given)),
                None => line(&mut text, setting.name, &value(setting.kind, given), given),
            },
        };
    }
    if !command.is_empty() {
        let _ = write!(text, "\n# The agent's command:\n#   {}\n", super::shell_quote(command));
    }
    text.push_str("\n[signal]\n");
    for (name, given) in &values.signals {
        let _ = line(&mut text, &toml_key(name), &value(Kind::Signals, given), given);
    }
    text
}

/// What is shown instead of a value that is a secret itself, or has one in it and is refused for that.
fn concealed(key: Key, given: &Given) -> Option<String> {
    let text = given.text.to_string_lossy();
    let shown = match key {
        _ if given.literal => MASK.to_owned(),
        Key::Url => mask::url(&text).into_owned(),
        Key::User => text.split_once(':').map_or_else(|| text.to_string(), |(user, _)| format!("{user}:{MASK}")),
        _ => mask::text(&text).into_owned(),
    };
    (shown != text).then(|| shown.replace(char::is_control, " "))
}

fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare { name.to_owned() } else { quoted(name) }
}

fn line(text: &mut String, name: &str, value: &str, given: &Given) -> std::fmt::Result {
    let assignment = format!("{name} = {value}");
    writeln!(text, "{assignment:<48} # {}", origin(given))
}

fn value(kind: Kind, given: &Given) -> String {
    let words = given.text.to_string_lossy();
    let bare = match kind {
        Kind::Switch => super::parse::switch(&words).ok().map(|on| on.to_string()),
        Kind::Count => words.trim().parse::<i64>().ok().map(|count| count.to_string()),
        // A settings file's relative paths are relative to it, and what is printed may become a file anywhere.
        Kind::Path => std::path::absolute(&given.text).ok().map(|path| quoted(&path.to_string_lossy())),
        Kind::Text | Kind::Time | Kind::Signals => None,
    };
    bare.unwrap_or_else(|| quoted(&words))
}

fn quoted(words: &str) -> String {
    toml::Value::from(words).to_string()
}

fn origin(given: &Given) -> String {
    match &given.origin {
        Origin::File { path, line, .. } => format!("{}:{line}", path.display()),
        other @ (Origin::Default
        | Origin::Environment(_)
        | Origin::Flag(_)
        | Origin::Command(_)
        | Origin::Credential(_)) => other.to_string(),
    }
}
