//! The settings, read again while the wrapper runs.

use super::StartError;
use super::parts::{agent_user, credential_source, online_match, runtime_directory, vain_meanings};
use crate::cli::Cli;
use crate::config::{self, Settings, Surroundings};
use crate::driver::{Launch, Reloaded};
use crate::signals::SignalTable;

/// Reads the settings as at the start, and finds out all that can be wrong with them, so that they are taken whole or
/// not at all. Of the signals, `kept_ignored` cannot come.
pub(super) fn read(
    cli: &Cli,
    running: &Settings,
    launch: &Launch,
    kept_ignored: &[i32],
) -> Result<Reloaded<Launch>, String> {
    let loaded = config::load(cli, &Surroundings::of_this_process()).map_err(|error| error.to_string())?;
    let (settings, held_back) = config::reload(running, loaded.settings);
    let mut warnings = loaded.warnings;
    warnings.extend(vain_meanings(&settings, kept_ignored));
    resolve(settings, held_back, warnings, launch).map_err(|error| error.to_string())
}

fn resolve(
    settings: Settings,
    held_back: Vec<&'static str>,
    warnings: Vec<String>,
    launch: &Launch,
) -> Result<Reloaded<Launch>, StartError> {
    let user = agent_user(&settings)?;
    let runtime = runtime_directory(user.as_ref().map(|(user, _)| user));
    let launch = launch.changed(&settings, runtime, user);
    launch.check()?;
    let credentials = settings.controller.as_ref().and_then(|controller| controller.credentials.as_ref());
    Ok(Reloaded {
        launch,
        table: SignalTable::new(settings.signals.iter().copied()),
        online_match: online_match(&settings)?,
        credentials: credentials.map(credential_source),
        settings,
        held_back,
        warnings,
    })
}
