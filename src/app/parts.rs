//! What the settings name, made: the command, the user, the places, the client.

use std::fs::Metadata;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{StartError, Variables};
use crate::config::{Credentials, RuntimeDirectory, SecretSource, Settings, Surroundings};
use crate::controller::{self, Account, Controller, CredentialError, CredentialSource, Marker};
use crate::process::{self, Change, NoAccount, User};
use crate::signals::{Setting, Verb, signal_name};
use crate::state::{Opened, StateDir, StateFile};

/// The command's file, found before the controller is asked: a typing error must not leave a lifted node behind.
pub(super) fn resolve(settings: &Settings) -> Result<PathBuf, StartError> {
    let name = settings.command.first().cloned().unwrap_or_default();
    Ok(process::resolve(&name, std::env::var_os("PATH").as_deref())?)
}

/// Whom the agent runs as, and the variables that tell it so.
pub(super) fn agent_user(settings: &Settings) -> Result<Option<(User, Variables)>, StartError> {
    let Some(name) = &settings.agent_user else { return Ok(None) };
    let account = User::lookup(name).map_err(|error| match error {
        NoAccount::Unknown(words) => StartError::Settings(words),
        NoAccount::System(error) => StartError::System { what: "cannot look up the agent's user", error },
    })?;
    match account.user.change() {
        Change::Allowed => {}
        Change::None => return Ok(None),
        Change::Lacking(capabilities) => {
            return Err(StartError::Settings(format!(
                "--agent-user {name}: agent-wrap runs as user {} and may not run the agent as another (it lacks {}); start \
                 it as root, give it these capabilities (AmbientCapabilities= in the unit), or leave the option out",
                nix::unistd::geteuid(),
                capabilities.join(", ")
            )));
        }
    }
    let mut variables = vec![("HOME".into(), account.home.into())];
    if let Some(name) = account.name {
        variables.extend([("USER".into(), name.clone().into()), ("LOGNAME".into(), name.into())]);
    }
    Ok(Some((account.user, variables)))
}

pub(super) fn runtime_directory(user: Option<&User>) -> RuntimeDirectory {
    let enters = user.map(|user| |found: &Metadata| user.may_enter(found));
    let enters = enters.as_ref().map(|enters| enters as &dyn Fn(&Metadata) -> bool);
    RuntimeDirectory::choose(&Surroundings::of_this_process(), enters)
}

pub(super) fn open_state(settings: &Settings) -> Result<(StateFile, Option<crate::state::Previous>), StartError> {
    let Some(controller) = &settings.controller else { return Ok((StateFile::nowhere(), None)) };
    let dir = settings.state_dir.clone().map(StateDir::at);
    let Opened { file, previous, warnings } = StateFile::open(dir.as_ref(), &controller.url, &controller.node)?;
    for warning in warnings {
        tracing::warn!(target: "agent_wrap", event = "state", "{warning}");
    }
    Ok((file, previous))
}

pub(super) fn controller(
    settings: &Settings,
    host: &str,
    run: &str,
    claimed: bool,
) -> Result<Option<Arc<Controller>>, StartError> {
    let Some(about) = &settings.controller else { return Ok(None) };
    if about.credentials.is_none() {
        tracing::warn!(
            target: "agent_wrap",
            event = "anonymous",
            "no credentials are given (--user with --token-file, AGENT_WRAP_TOKEN, or a systemd credential): asking \
             the controller as anonymous, who can seldom mark a node"
        );
    }
    let client = Controller::new(controller::Settings {
        url: about.url.clone(),
        node: about.node.clone(),
        credentials: about.credentials.as_ref().map(credential_source),
        token_variable: about.credentials.as_ref().and_then(|credentials| credentials.variable.clone()),
        ca_file: about.ca_file.clone(),
        marker: Marker::new(host, run),
        online_match: online_match(settings)?,
        claimed,
        user_agent: concat!("agent-wrap/", env!("CARGO_PKG_VERSION")).to_owned(),
    })?;
    Ok(Some(Arc::new(client)))
}

/// How the client reads the credentials, now and whenever the controller refuses them.
pub(super) fn credential_source(credentials: &Credentials) -> CredentialSource {
    let file = match &credentials.token {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Literal(_) => None,
    };
    let credentials = credentials.clone();
    let read = move || {
        let (user, secret) = credentials.read().map_err(|error| {
            let words = error.to_string();
            if error.is_shortage() { CredentialError::Shortage(words) } else { CredentialError::Unreadable(words) }
        })?;
        Ok(Account { user, secret })
    };
    CredentialSource { file, read: Arc::new(read) }
}

pub(super) fn online_match(settings: &Settings) -> Result<Option<regex_lite::Regex>, StartError> {
    let compile = |pattern: &String| {
        regex_lite::Regex::new(pattern).map_err(|error| {
            StartError::Settings(format!("--online match={pattern}: {error}; write a regular expression"))
        })
    };
    settings.online_match.as_ref().map(compile).transpose()
}

/// What to say of signals that are to mean something and cannot come.
pub(super) fn vain_meanings(settings: &Settings, kept_ignored: &[i32]) -> Vec<String> {
    let vain = |setting: &&Setting| kept_ignored.contains(&setting.signal) && setting.verb != Verb::Ignore;
    let words = |setting: &Setting| {
        format!(
            "the meaning that --signal gives to {name} is in vain: {name} was ignored when agent-wrap was started (by \
             nohup, or by & in a script) and stays so; start it without that",
            name = signal_name(setting.signal)
        )
    };
    settings.signals.iter().filter(vain).map(words).collect()
}

pub(super) fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

pub(super) fn random_number() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::System {
        what: "the system has no random numbers",
        error: io::Error::other(error.to_string()),
    })
}

pub(super) fn random_hex() -> Result<String, StartError> {
    Ok(format!("{:08x}", random_number()? & 0xffff_ffff))
}
