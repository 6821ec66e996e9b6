//! The environment: which variables are settings, and which of them the agent may see.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::error::Problem;
use super::nearest::nearest;
use super::table::{Key, Kind, SETTINGS, Setting};
use super::values::{Given, Origin, Values};

/// What the settings depend on besides files and flags.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The variables of the environment.
    pub variables: Vec<(OsString, OsString)>,
    /// The settings file that is read when `--config` names none; it need not be there.
    pub default_file: PathBuf,
    /// Whether we are root.
    pub root: bool,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let variables = std::env::vars_os().collect();
        let root = nix::unistd::geteuid().is_root();
        Self { variables, default_file: PathBuf::from(super::DEFAULT_PATH), root }.in_its_directory()
    }

    /// Looks for the settings file where systemd says that a unit has its own, which for a user's unit is not /etc.
    fn in_its_directory(mut self) -> Self {
        let folder = self.variable("CONFIGURATION_DIRECTORY").map(|list| PathBuf::from(first_of_list(list)));
        if let (Some(folder), Some(name)) = (folder, self.default_file.file_name()) {
            self.default_file = folder.join(name);
        }
        self
    }

    /// A variable that is set and not empty: container tools pass on unset ones as empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
    }
}

/// The environment as a layer.
pub(crate) fn read(surroundings: &Surroundings, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Values {
    let mut values = Values::default();
    for setting in &SETTINGS {
        let Some(mut given) = given(setting, surroundings) else { continue };
        if setting.kind == Kind::Signals {
            if let Err(words) = values.set_signals(&given.text, &given.origin) {
                problems.push(Problem::of(&given.origin, words));
            }
            continue;
        }
        if given.origin == Origin::Environment("STATE_DIRECTORY".to_owned()) {
            given.text = first_of_list(&given.text);
        }
        values.set(setting.key, given);
    }
    for (name, _) in &surroundings.variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with("AGENT_WRAP_")) else { continue };
        if !is_known(name) {
            let variables: Vec<String> = SETTINGS.iter().map(|setting| setting.variable()).collect();
            let hint = nearest(name, variables.iter().map(String::as_str));
            let hint = hint.map_or_else(String::new, |known| format!("; is {known} meant?"));
            warnings.push(format!("{name} in the environment is no setting and is ignored{hint}"));
        }
    }
    values
}

/// What the environment alone says of one setting.
pub(super) fn value(key: Key, surroundings: &Surroundings) -> Option<Given> {
    given(Setting::of(key), surroundings)
}

fn given(setting: &Setting, surroundings: &Surroundings) -> Option<Given> {
    let own = (setting.variable(), false);
    let aliases = setting.aliases.iter().map(|alias| (alias.name.to_owned(), alias.literal));
    std::iter::once(own).chain(aliases).find_map(|(name, literal)| {
        let text = surroundings.variable(&name)?.to_owned();
        Some(Given { text, origin: Origin::Environment(name), literal })
    })
}

/// systemd separates several directories with colons; the first is ours.
fn first_of_list(list: &OsStr) -> OsString {
    use std::os::unix::ffi::OsStrExt as _;
    let first = list.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
    OsStr::from_bytes(first).to_owned()
}

fn is_known(name: &str) -> bool {
    // The second is what a wrapper gives to its agent, and so to one that a build starts.
    matches!(name, "AGENT_WRAP_CONFIG" | "AGENT_WRAP_RUN")
        || SETTINGS
            .iter()
            .any(|setting| setting.variable() == name || setting.aliases.iter().any(|alias| alias.name == name))
}

/// The environment for the agent, and thereby for every build: without what belongs to the service manager and to us,
/// and without the API token. What goes besides depends on the command; see
/// [`Completion::withheld`](super::Completion::withheld).
#[must_use]
pub fn child_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    withheld: &[&str],
) -> Vec<(OsString, OsString)> {
    let is_kept = |name: &OsStr| !is_ours(name) && !withheld.iter().any(|withheld| name == *withheld);
    variables.into_iter().filter(|(name, _)| is_kept(name)).collect()
}

fn is_ours(name: &OsStr) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let name = name.as_bytes();
    matches!(name, b"NOTIFY_SOCKET" | b"CREDENTIALS_DIRECTORY" | b"JENKINS_API_TOKEN")
        || name.starts_with(b"WATCHDOG_")
        || name.starts_with(b"LISTEN_")
        || name.starts_with(b"AGENT_WRAP_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_sees_neither_the_service_managers_variables_nor_ours() {
        let kept = ["PATH", "JENKINS_URL", "JENKINS_HOME", "LISTENER", "WATCHDOG", "XAGENT_WRAP_TOKEN"];
        let withheld = [
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "CREDENTIALS_DIRECTORY",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "AGENT_WRAP_TOKEN",
            "AGENT_WRAP_ANYTHING",
            "JENKINS_API_TOKEN",
        ];
        let all = kept.iter().chain(&withheld).map(|name| (OsString::from(name), OsString::from("x")));
        let names: Vec<OsString> = child_environment(all, &[]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, kept.map(OsString::from));
    }

    #[test]
    fn a_unit_has_its_settings_in_its_own_directory() {
        let file = |list: Option<&str>| {
            let variables = list.map(|list| ("CONFIGURATION_DIRECTORY".into(), list.into())).into_iter().collect();
            Surroundings { variables, default_file: "/etc/a/b.toml".into(), root: false }
                .in_its_directory()
                .default_file
        };
        assert_eq!(
            file(Some("/home/me/.config/agent-wrap:/etc/other")),
            PathBuf::from("/home/me/.config/agent-wrap/b.toml")
        );
        for none in [None, Some("")] {
            assert_eq!(file(none), PathBuf::from("/etc/a/b.toml"));
        }
    }

    #[test]
    fn the_secret_stays_for_a_script_that_needs_it() {
        let secret = || [(OsString::from("JENKINS_SECRET"), OsString::from("x"))];
        assert_eq!(child_environment(secret(), &["SECRET"]), secret());
        assert_eq!(child_environment(secret(), &["REMOTING_OPTS", "JENKINS_SECRET"]), []);
    }
}
