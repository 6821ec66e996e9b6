//! The flags, made from the table of settings.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::load::log_format;
use super::table::{Key, Kind, SETTINGS, Setting};
use super::values::{Given, Origin, Values};
use super::{LogFormat, Surroundings, file};

/// The settings that were given by flags.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub(super) values: Values,
    /// `--signal` as it was written; taken apart with the other layers, so that faults are reported together.
    pub(super) signals: Vec<OsString>,
}

impl Flags {
    pub(crate) fn from_matches(matches: &mut ArgMatches) -> Self {
        let mut flags = Self::default();
        for setting in &SETTINGS {
            let origin = Origin::Flag(setting.name);
            if setting.kind == Kind::Signals {
                flags.signals = matches.remove_many(setting.name).map(Iterator::collect).unwrap_or_default();
            } else if let Some(text) = matches.remove_one::<OsString>(setting.name) {
                flags.values.set(setting.key, Given::new(text, origin));
            }
        }
        flags
    }
}

/// The form of the log as far as it is seen before the arguments are understood: for what is wrong with them. The
/// arguments begin with the program's own name.
#[must_use]
pub fn early_log_format(arguments: &[OsString], surroundings: &Surroundings) -> LogFormat {
    let setting = Setting::of(Key::LogFormat);
    let flag = format!("--{}", setting.name);
    let given = arguments.iter().enumerate().skip(1).find_map(|(index, word)| {
        let rest = word.to_str()?.strip_prefix(&flag)?;
        if rest.is_empty() { arguments.get(index + 1)?.to_str() } else { rest.strip_prefix('=') }
    });
    let words = given.or_else(|| surroundings.variable(&setting.variable())?.to_str());
    words.and_then(|words| log_format(words).ok()).unwrap_or(LogFormat::Auto)
}

/// The heading of the flags that are about the wrapper and not about the agent.
pub(crate) const OWN_HEADING: &str = super::table::Group::Running.heading();

/// One argument a setting. The defaults in their help come from the defaults file.
pub(crate) fn flag_arguments() -> Vec<Arg> {
    let defaults = file::defaults(&mut Vec::new());
    let argument = |(order, setting): (usize, &super::table::Setting)| {
        let default = defaults.get(setting.key).filter(|_| setting.kind != Kind::Switch);
        let help = match default {
            Some(given) if setting.key == Key::OfflineReason => {
                format!("{} [default: {:?}]", setting.help, given.text.to_string_lossy())
            }
            Some(given) => format!("{} [default: {}]", setting.help, given.text.to_string_lossy()),
            None => setting.help.to_owned(),
        };
        let argument = Arg::new(setting.name)
            .long(setting.name)
            .help(help)
            .help_heading(setting.group.heading())
            .display_order(order)
            .value_parser(value_parser!(OsString))
            .value_name(setting.value);
        match setting.kind {
            Kind::Switch => {
                argument.num_args(0..=1).require_equals(true).default_missing_value("true").hide_possible_values(true)
            }
            Kind::Signals => argument.action(ArgAction::Append).num_args(1),
            Kind::Count => argument.num_args(1).allow_negative_numbers(true),
            Kind::Text | Kind::Path | Kind::Time => argument.num_args(1),
        }
    };
    SETTINGS.iter().enumerate().map(argument).collect()
}
