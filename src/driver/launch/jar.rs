//! The jar that an agent is started with, where it is the controller's.

use std::path::Path;

use super::super::{RejectingJar, RunBeside, Unprepared};
use super::{PATIENCE, not_read};
use crate::controller::{Controller, Fetched};
use crate::jar::{Checksum, Found, Place, Rejection, Taken};
use crate::state;

/// The controller's jar, as it is when an agent is started with it.
#[derive(Clone, Debug)]
pub(in super::super) struct ControllersJar {
    place: Place,
    found: Found,
}

impl ControllersJar {
    pub(super) fn is_new(&self) -> bool {
        self.found.new
    }

    /// An agent has been seen connected with it: what writes that down, unless it was known.
    pub(super) fn proving(&mut self) -> Option<impl FnOnce() + Send + use<>> {
        let unknown = std::mem::take(&mut self.found.unproven);
        let Self { place, found } = self.clone();
        unknown.then_some(move || {
            if let Err(error) = place.prove(&found.checksum) {
                tracing::warn!(
                    target: "agent_wrap",
                    event = "jar_unwritten",
                    "cannot write down that the agent is connected with {}, so that there is no way back to this jar from the \
                     next one: {error}",
                    place.path().display()
                );
            }
        })
    }

    /// Whether the controller offers another one now, which is in its place then. The agent goes on with the file that it
    /// has opened.
    pub(in super::super) async fn is_outdated(
        &self,
        controller: &Controller,
        beside: &impl RunBeside,
    ) -> Result<bool, Unprepared> {
        ask(controller, &self.place, beside).await??;
        let place = self.place.clone();
        let found = beside.run(PATIENCE, move || place.found()).await.map_err(|late| not_read(&late))?;
        Ok(found.is_some_and(|found| found.checksum != self.found.checksum))
    }

    /// Puts the one before in its place again.
    pub(super) fn rejecting(&self) -> RejectingJar {
        let Self { place, found } = self.clone();
        Box::new(move || {
            let rejected = place.reject(&found.checksum);
            tell_rejection(&place, &found.checksum, rejected);
        })
    }
}

fn tell_rejection(place: &Place, checksum: &Checksum, rejected: std::io::Result<Rejection>) {
    let path = place.path().display();
    match rejected {
        Ok(Rejection::PutBack { to, file }) => tracing::warn!(
            target: "agent_wrap",
            event = "jar_rejected",
            "the agent died at once with the new {path} (sha256 {checksum}): the one before it (sha256 {to}) is used again, and \
             the new one is not taken until the controller offers another; to try it once more, remove {} and restart the \
             agent",
            file.display()
        ),
        Ok(Rejection::Gone) => tracing::info!(
            target: "agent_wrap",
            event = "jar_gone",
            "the agent died at once with the new {path} (sha256 {checksum}), which another wrapper has replaced meanwhile"
        ),
        Ok(Rejection::Good) => tracing::warn!(
            target: "agent_wrap",
            event = "jar_good_elsewhere",
            "the agent died at once with the new {path} (sha256 {checksum}); it stays, because the agent of another node of this \
             controller has been connected with it: does this one run another java?"
        ),
        Ok(Rejection::NothingBefore) => tracing::warn!(
            target: "agent_wrap",
            event = "jar_not_rejected",
            "the agent died at once with the new {path} (sha256 {checksum}); it stays, because the one before it is gone or has \
             been changed"
        ),
        Err(error) => tracing::warn!(
            target: "agent_wrap",
            event = "jar_not_rejected",
            "the agent died at once with the new {path} (sha256 {checksum}), and the one before it cannot be put in its place \
             again: {error}"
        ),
    }
}

/// Sees to it that the jar that matches the controller is there; an older one will do while it cannot be had. `None` when
/// what is there cannot be looked at.
pub(super) async fn fetch(
    controller: &Controller,
    path: &Path,
    beside: &impl RunBeside,
) -> Result<Option<ControllersJar>, Unprepared> {
    let place = Place::at(path.to_owned());
    let fetched = ask(controller, &place, beside).await?;
    let failed = fetched.is_err();
    let (is_whole, found) = {
        let place = place.clone();
        let look = move || (!failed || place.is_whole(), place.found());
        beside.run(PATIENCE, look).await.map_err(|late| not_read(&late))?
    };
    match fetched {
        Ok(()) => {}
        Err(unprepared) if is_whole => tracing::warn!(
            target: "agent_wrap",
            event = "jar_kept",
            "{unprepared}; going on with the one fetched earlier, {}",
            path.display()
        ),
        Err(unprepared) => return Err(unprepared),
    }
    Ok(found.map(|found| ControllersJar { place, found }))
}

/// Asks the controller whether the jar that is here is still the one that it hands out, and takes the one that it sends. The
/// outer error says that files cannot be read, the inner one that the controller has sent none.
async fn ask(
    controller: &Controller,
    place: &Place,
    beside: &impl RunBeside,
) -> Result<Result<(), Unprepared>, Unprepared> {
    let version = controller.version();
    let known = {
        let (place, version) = (place.clone(), version.clone());
        let look = move || {
            place.path().parent().map_or(Ok(()), state::make_folder)?;
            Ok(place.known(version.as_deref()))
        };
        beside.run(PATIENCE, look).await.map_err(|late| not_read(&late))?
    };
    let known = match known {
        Ok(known) => known,
        Err(error) => {
            let error: std::io::Error = error;
            let words = format!("the folder of {} cannot be made: {error}", place.path().display());
            return Ok(Err(Unprepared::Other(words)));
        }
    };
    let fetched = controller.fetch_agent_jar(place, known.as_ref()).await;
    Ok(match fetched {
        Ok(fetched) => {
            tell(&fetched, place, version.as_deref());
            Ok(())
        }
        Err(error) => Err(Unprepared::from_controller(&error, "cannot fetch the agent's jar", "")),
    })
}

fn tell(fetched: &Fetched, place: &Place, version: Option<&str>) {
    let path = place.path().display();
    match fetched {
        Fetched::Came { url, bytes, taken: Taken::Put(checksum) } => {
            let of = version.map(|version| format!(" of controller version {version}")).unwrap_or_default();
            tracing::info!(
                target: "agent_wrap",
                event = "jar_fetched",
                "fetched {url}{of} ({bytes} bytes, sha256 {checksum}) to {path}"
            );
        }
        Fetched::Came { url, taken: Taken::Rejected(checksum), .. } => tracing::info!(
            target: "agent_wrap",
            event = "jar_passed_over",
            "{url} is the jar whose agent died at once (sha256 {checksum}); {path} stays"
        ),
        Fetched::Unchanged => tracing::debug!(
            target: "agent_wrap",
            event = "jar_unchanged",
            "the controller answers that its jar has not changed; {path} stays"
        ),
        Fetched::Came { url, taken: Taken::Same, .. } => {
            tracing::debug!(target: "agent_wrap", event = "jar_unchanged", "{url} is the jar that is here; {path} stays");
        }
    }
}
