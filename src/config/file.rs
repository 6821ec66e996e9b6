//! The settings file: TOML, flat, with the names of the flags.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::nearest::nearest;
use super::table::{Kind, SETTINGS, Setting};
use super::values::{Given, Origin, Values};
use crate::files;

/// The built-in defaults, with a comment for every key, as an example of a settings file.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// Where the settings file is looked for when `--config` does not name one.
pub const DEFAULT_PATH: &str = "/etc/agent-wrap/agent-wrap.toml";

/// The most that a settings file may have, in bytes.
const LONGEST: usize = 1024 * 1024;

/// The built-in defaults as the lowest layer.
pub(crate) fn defaults(problems: &mut Vec<Problem>) -> Values {
    parse(DEFAULTS, &Source::Defaults, problems)
}

/// Reads a settings file. One that is not there is an error only if it was asked for.
pub(crate) fn read(path: &Path, asked_for: bool, problems: &mut Vec<Problem>) -> Values {
    let mut refuse = |why: &dyn std::fmt::Display| {
        problems.push(Problem::new(format!("cannot read the settings file {}: {why}", path.display())));
        Values::default()
    };
    match files::read(path, LONGEST + 1) {
        Ok(bytes) if bytes.len() > LONGEST => {
            refuse(&format_args!("it is longer than {LONGEST} bytes; is it the right one?"))
        }
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => parse(&text, &Source::File(path), problems),
            Err(_) => refuse(&"it is not UTF-8, as TOML has to be; is it the right one?"),
        },
        Err(error) if error.is_missing() && !asked_for => Values::default(),
        Err(error) => {
            problems.push(Problem::unreadable(format_args!("the settings file {}", path.display()), &error));
            Values::default()
        }
    }
}

/// What is being parsed.
pub(crate) enum Source<'a> {
    Defaults,
    File(&'a Path),
}

impl Source<'_> {
    fn origin(&self, line: usize, key: &str) -> Origin {
        match self {
            Self::Defaults => Origin::Default,
            Self::File(path) => Origin::File { path: path.to_path_buf(), line, key: key.to_owned() },
        }
    }

    /// A relative path is relative to the file that names it, wherever the wrapper is started.
    fn resolve(&self, path: &str) -> PathBuf {
        match self {
            Self::Defaults => PathBuf::from(path),
            Self::File(file) => file.parent().map_or_else(|| PathBuf::from(path), |folder| folder.join(path)),
        }
    }
}

/// Parses the text of a settings file; every fault is added to `problems`, the good values are returned.
pub(crate) fn parse(text: &str, source: &Source<'_>, problems: &mut Vec<Problem>) -> Values {
    let mut values = Values::default();
    let line_of = |offset: usize| text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = line_of(error.span().map_or(0, |span| span.start));
            let path = match source {
                Source::Defaults => "the built-in defaults".to_owned(),
                Source::File(path) => path.display().to_string(),
            };
            problems.push(Problem::new(format!("{path}:{line}: this is not TOML: {}", error.message())));
            return values;
        }
    };
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let name: &str = key.get_ref();
        let origin = source.origin(line_of(key.span().start), name);
        match Setting::named(name) {
            None => problems.push(Problem::of(&origin, unknown_key(name))),
            Some(setting) if setting.kind == Kind::Signals => {
                let Some(pairs) = value.get_ref().as_table() else {
                    let words = wrong_type("a table of signals and verbs", value.get_ref());
                    problems.push(Problem::of(&origin, words));
                    continue;
                };
                for (signal, verb) in pairs {
                    let key = format!("signal.{}", signal.get_ref());
                    let origin = source.origin(line_of(signal.span().start), &key);
                    match verb.get_ref().as_str() {
                        Some(words) => {
                            if let Some(before) = values.set_signal(signal.get_ref(), Given::new(words, origin.clone()))
                            {
                                let words = format!("this is the signal of {} once more; leave one out", before.origin);
                                problems.push(Problem::of(&origin, words));
                            }
                        }
                        None => {
                            problems.push(Problem::of(&origin, wrong_type("a verb such as \"stop\"", verb.get_ref())));
                        }
                    }
                }
            }
            Some(setting) => match text_of(setting.kind, value, source) {
                Ok(text) => values.set(setting.key, Given::new(text, origin)),
                Err(words) => problems.push(Problem::of(&origin, words)),
            },
        }
    }
    values
}

fn unknown_key(name: &str) -> String {
    if matches!(name, "token" | "password" | "secret") {
        let file = if name == "secret" { "secret-file" } else { "token-file" };
        return format!("a secret has no place in this file; write it to a file of its own and name that as {file}");
    }
    match nearest(name, SETTINGS.iter().map(|setting| setting.name)) {
        Some(known) => format!("there is no such setting; is {known} meant?"),
        None => "there is no such setting; agent-wrap.toml(5) lists them".to_owned(),
    }
}

fn text_of(kind: Kind, value: &Spanned<DeValue<'_>>, source: &Source<'_>) -> Result<std::ffi::OsString, String> {
    match (kind, value.get_ref()) {
        (Kind::Text | Kind::Time, DeValue::String(text)) => Ok(text.as_ref().into()),
        (Kind::Path, DeValue::String(text)) if text.is_empty() => Ok("".into()),
        (Kind::Path, DeValue::String(text)) => Ok(source.resolve(text).into()),
        (Kind::Time | Kind::Count, DeValue::Integer(number)) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string().into())
            .map_err(|_| format!("{} is too large", number.as_str())),
        (Kind::Switch, DeValue::Boolean(on)) => Ok(on.to_string().into()),
        (Kind::Text, other) => Err(wrong_type("a string", other)),
        (Kind::Path, other) => Err(wrong_type("a path in quotes", other)),
        (Kind::Time, other) => Err(wrong_type("a length of time such as \"5m\", or whole seconds", other)),
        (Kind::Count, other) => Err(wrong_type("a whole number without quotes", other)),
        (Kind::Switch, other) => Err(wrong_type("true or false without quotes", other)),
        (Kind::Signals, other) => Err(wrong_type("a table of signals and verbs", other)),
    }
}

fn wrong_type(expected: &str, found: &DeValue<'_>) -> String {
    format!("expected {expected}, found {} {}", article(found.type_str()), found.type_str())
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}
