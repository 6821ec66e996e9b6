//! Values as they were given, each with its origin, in layers of rising rank.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use super::table::{COUNT, Key};
use crate::quoted::quoted;
use crate::signals;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The built-in defaults.
    Default,
    /// A settings file, and the line in it (from 1).
    File { path: PathBuf, line: usize, key: String },
    /// A variable of the environment.
    Environment(String),
    /// A flag, without its dashes.
    Flag(&'static str),
    /// An option in the agent's own command line.
    Command(&'static str),
    /// A systemd credential.
    Credential(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
            Self::Environment(name) => write!(f, "{name} in the environment"),
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Command(option) => write!(f, "{option} in the agent's command"),
            Self::Credential(path) => write!(f, "credential {}", path.display()),
        }
    }
}

/// A value as it was given.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) text: OsString,
    pub(crate) origin: Origin,
    /// The text is a secret itself and not the path of a file that holds it.
    pub(crate) literal: bool,
}

impl Given {
    pub(crate) fn new(text: impl Into<OsString>, origin: Origin) -> Self {
        Self { text: text.into(), origin, literal: false }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.literal { OsStr::new("********") } else { &self.text };
        f.debug_struct("Given").field("text", &text).field("origin", &self.origin).finish()
    }
}

/// One layer, or several that have been laid over each other.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    slots: [Option<Given>; COUNT],
    /// By the name of the signal, in capitals and without `SIG`; as it was given where there is no such signal. Layers add to each other here.
    pub(crate) signals: BTreeMap<String, Given>,
}

impl Default for Values {
    fn default() -> Self {
        Self { slots: [const { None }; COUNT], signals: BTreeMap::new() }
    }
}

impl Values {
    pub(crate) fn get(&self, key: Key) -> Option<&Given> {
        self.slots[key as usize].as_ref()
    }

    pub(crate) fn set(&mut self, key: Key, given: Given) {
        self.slots[key as usize] = Some(given);
    }

    /// Adds one signal, in whatever spelling (`hup`, `SIGHUP`, `1`): two of one signal in different layers are the same.
    /// What was given for it before comes back.
    pub(crate) fn set_signal(&mut self, name: &str, given: Given) -> Option<Given> {
        let name = signals::signal_number(name).map_or_else(|_| name.trim().to_owned(), signals::signal_name);
        self.signals.insert(name, given)
    }

    /// Lays `upper` over these values.
    pub(crate) fn overlay(&mut self, upper: Self) {
        for (slot, given) in self.slots.iter_mut().zip(upper.slots) {
            if given.is_some() {
                *slot = given;
            }
        }
        self.signals.extend(upper.signals);
    }

    /// Adds the pairs of one text, `HUP=stop,USR1=ignore`; the error says what is wrong with it.
    pub(crate) fn set_signals(&mut self, text: &OsStr, origin: &Origin) -> Result<(), String> {
        let words = text.to_str().ok_or("is not UTF-8")?;
        for pair in words.split([',', ' ']).filter(|pair| !pair.is_empty()) {
            let (name, verb) = pair
                .split_once('=')
                .ok_or_else(|| format!("{} is not NAME=VERB; write it like HUP=stop", quoted(pair)))?;
            self.set_signal(name, Given::new(verb, origin.clone()));
        }
        Ok(())
    }
}
