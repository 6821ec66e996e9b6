//! A node's secret that is given in several places, and not the same in all. The agent gets one of them, and an old one
//! that was left behind somewhere is hard to find.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::agent_command::{AgentCommand, Place, Word};
use super::table::{Key, Setting};
use super::values::{Given, Origin};
use super::{SecretSource, Surroundings};
use crate::cli::Cli;
use crate::files::{self, Inherited};

/// Says which secret is used, where others that are given differ from it. What cannot be read, or only once, is passed over.
pub(super) fn warning(
    command: &AgentCommand,
    cli: &Cli,
    surroundings: &Surroundings,
    file: Option<&Given>,
) -> Option<String> {
    if command.read_from.is_none() || command.elsewhere.is_some() {
        return None;
    }
    let flag = cli.flags.values.get(Key::SecretFile).cloned();
    let variables = variables(surroundings);
    let credential = credential(surroundings);
    let settings = flag.into_iter().chain(variables).chain(file.cloned()).chain(credential);
    let settings = settings.filter_map(|given| Some((given.origin.to_string(), of_settings(&given)?)));
    let of_command = command.secret().and_then(|word| Some((origin(word, cli).to_string(), written(&word.text)?)));
    let mut given = of_command.into_iter().chain(settings);
    let (used, secret) = given.next()?;
    let secret = read(&secret)?;
    let differs =
        |source: &SecretSource| read(source).is_some_and(|read| read.expose_secret() != secret.expose_secret());
    let others: Vec<_> = given.filter(|(_, source)| differs(source)).map(|(place, _)| place).collect();
    (!others.is_empty()).then(|| {
        format!(
            "the node's secret is given in several places, and not the same in all: that of {used} is used, and not that \
             of {}; leave out the one that is wrong",
            others.join(" or ")
        )
    })
}

fn origin(word: &Word, cli: &Cli) -> Origin {
    let is_argument = |at: usize| cli.entry_point.is_none_or(|ours| at + ours >= cli.command.len());
    match word.place {
        Place::Whole(at) | Place::AfterEquals(at) if !is_argument(at) => {
            Origin::Environment("REMOTING_OPTS".to_owned())
        }
        Place::Whole(_) | Place::AfterEquals(_) | Place::InFile => Origin::Command("-secret"),
    }
}

fn variables(surroundings: &Surroundings) -> impl Iterator<Item = Given> {
    let setting = Setting::of(Key::SecretFile);
    let aliases = setting.aliases.iter().map(|alias| (alias.name.to_owned(), alias.literal));
    std::iter::once((setting.variable(), false)).chain(aliases).filter_map(|(name, literal)| {
        let text = surroundings.variable(&name)?.to_owned();
        Some(Given { text, origin: Origin::Environment(name), literal })
    })
}

fn credential(surroundings: &Surroundings) -> Option<Given> {
    let folder = surroundings.variable("CREDENTIALS_DIRECTORY")?;
    let path = Path::new(folder).join(Setting::of(Key::SecretFile).credential?);
    Some(Given::new(path.clone(), Origin::Credential(path)))
}

fn of_settings(given: &Given) -> Option<SecretSource> {
    if given.literal { written(&given.text) } else { Some(SecretSource::File(PathBuf::from(&given.text))) }
}

/// A secret as agent.jar takes it: itself, or `@FILE`.
fn written(text: &OsStr) -> Option<SecretSource> {
    Some(match text.as_bytes().strip_prefix(b"@") {
        Some(path) => SecretSource::File(PathBuf::from(OsStr::from_bytes(path))),
        None => SecretSource::Literal(SecretString::from(text.to_str()?)),
    })
}

fn read(source: &SecretSource) -> Option<SecretString> {
    match source {
        SecretSource::File(path) if files::inherited(path) != Inherited::Lasting => None,
        SecretSource::File(_) | SecretSource::Literal(_) => source.read().ok(),
    }
}
