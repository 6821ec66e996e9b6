//! What a command lacks and cannot get, found out before the node is made ready for its sake.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};
use secrecy::SecretString;

use super::Launch;
use crate::config::{ControllerKind, Jar, NeededSecret, SecretError, SecretFile, SecretFileError, SecretSource};
use crate::files::{self, FileError};
use crate::process::{self, Unresolved};
use crate::shortage::{Shortage, cause_of};
use crate::state;

/// Why the agent could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The jar is neither there, nor can it be fetched.
    #[error("the agent's jar {} is not there, and {why}; is the path right?", path.display())]
    MissingJar {
        /// The jar.
        path: PathBuf,
        /// Why it is not fetched.
        why: &'static str,
    },
    /// There is no place to fetch the jar to.
    #[error(
        "the agent's jar is not in the working directory, and cannot be fetched from the controller into {}: {error}{}; \
         give another --state-dir, or put the jar here", folder.display(), cause_of(.error)
    )]
    NoPlace {
        /// The folder that it would be fetched to.
        folder: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The node's secret.
    #[error("the node's own secret ({place}) cannot be used: {error}")]
    Secret {
        /// Where it is given.
        place: &'static str,
        /// What is wrong with it.
        error: SecretError,
    },
    /// The agent's user may not execute the command.
    #[error("with --agent-user: {0}")]
    Command(#[from] Unresolved),
    /// A file of the command's own.
    #[error("the agent's command names @{}, which the agent cannot read: {error}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: FileError,
    },
    /// The same, because of its mode or of a directory's on the way.
    #[error("the agent has to read a file that its command names, and cannot: {0}")]
    Unreadable(Unresolved),
    /// The file by which it gets to the agent.
    #[error("the node's secret cannot be handed over to the agent: {0}")]
    SecretFile(#[from] SecretFileError),
}

impl NotReady {
    /// Whether the system lacks something, and the settings may well be right.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Command(_) | Self::MissingJar { .. } | Self::Unfit { .. } | Self::Unreadable(_) => false,
            Self::NoPlace { error, .. } => Shortage::of_error(error).is_some(),
            Self::Secret { error, .. } => error.is_shortage(),
            Self::SecretFile(error) => error.is_shortage(),
        }
    }
}

impl Launch {
    /// Tries out what the agent's start will need, as far as that can be done without the controller.
    ///
    /// # Errors
    /// What would keep the agent from starting.
    pub fn check(&self) -> Result<(), NotReady> {
        if let Some(user) = &self.user {
            process::check_for(user, &self.program)?;
        }
        let plan = self.plan(ControllerKind::Jenkins { agent_port: true });
        match &plan.jar {
            Jar::Missing(path) => {
                let why = match () {
                    () if self.standalone => "with --standalone none is fetched from the controller",
                    () if path.is_absolute() => "only a relative name is fetched from the controller",
                    () => "no state directory is known to fetch it to (--state-dir)",
                };
                return Err(NotReady::MissingJar { path: path.clone(), why });
            }
            // One that was fetched earlier will do.
            Jar::Fetch(path) if !path.exists() => {
                let folder = path.parent().unwrap_or(path);
                make_writable(folder).map_err(|error| NotReady::NoPlace { folder: folder.to_owned(), error })?;
            }
            Jar::Ready | Jar::Fetch(_) => {}
        }
        if let Some(path) = &plan.unfit {
            files::look_at(path).map_err(|error| NotReady::Unfit { path: path.clone(), error })?;
        }
        for path in &plan.reads {
            process::check_readable(path, self.user.as_ref()).map_err(NotReady::Unreadable)?;
        }
        let read = |secret: &SecretSource, place| match secret.read() {
            Ok(_) => Ok(()),
            Err(error) => Err(NotReady::Secret { place, error }),
        };
        match (&plan.secret, &self.secret) {
            (NeededSecret::OfTheNode | NeededSecret::JnlpOfTheNode, Some(secret)) => {
                read(secret, "--secret-file, AGENT_WRAP_SECRET or JENKINS_SECRET")?
            }
            // What comes through a pipe is remembered from here on.
            (NeededSecret::Piped(path), _) => read(&SecretSource::File(path.clone()), "-secret of the command")?,
            (_, _) => {}
        }
        if !matches!(plan.secret, NeededSecret::None) {
            self.check_secret_file()?;
        }
        Ok(())
    }

    fn check_secret_file(&self) -> Result<(), SecretFileError> {
        for place in self.runtime.passed_over() {
            tracing::warn!(
                target: "agent_wrap",
                event = "runtime_directory",
                "{place}; the node's secret is handed over in {} instead",
                self.runtime.path().display()
            );
        }
        self.runtime.prepare(self.user.is_some())?;
        if let Some(user) = &self.user {
            self.runtime.check_entrance(&|found: &Metadata| user.may_enter(found))?;
        }
        // An empty one, which is gone at once. Its name is its own: at a reload an agent has its secret already.
        let owner = self.user.as_ref().map(|user| (user.uid, user.gid));
        SecretFile::create(self.secret_path_of(&format!("{}.rehearsal", self.run)), &SecretString::from(""), owner)
            .map(drop)
    }
}

fn make_writable(folder: &Path) -> io::Result<()> {
    state::make_folder(folder)?;
    Ok(eaccess(folder, AccessFlags::W_OK | AccessFlags::X_OK)?)
}
