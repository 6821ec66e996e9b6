//! The file by which the agent gets the node's secret: readable by its user alone, in memory only, gone with us.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use secrecy::{ExposeSecret as _, SecretString};

use crate::held::Held;
use crate::shortage::{Shortage, cause_of};

/// What the names of secret files end with, and those of their locks.
pub(super) const SECRET: &str = "secret";
pub(super) const LOCK: &str = "lock";

/// Why there is no secret file.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The runtime directory cannot be used.
    #[error(
        "cannot make the runtime directory {path}: {error}{}; set RuntimeDirectory= in the unit, or XDG_RUNTIME_DIR to a \
         directory of your own", cause_of(.error)
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What the service manager should have made is of no use.
    #[error(
        "$RUNTIME_DIRECTORY names {path}, which {fault}; set RuntimeDirectory= in the unit, which makes the directory and \
         the variable, or let the variable name a directory of your own"
    )]
    Managed {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Somebody else could put files of their own into it, or take ours.
    #[error("the runtime directory {path} {fault}; remove it, or set XDG_RUNTIME_DIR to a directory of your own")]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The agent's user cannot get at what is in it.
    #[error(
        "the agent's user (--agent-user) may not enter {directory}, in which its file would be ({path}); open it \
         (RuntimeDirectoryMode=0711 in the unit, chmod o+x), or set XDG_RUNTIME_DIR to another directory"
    )]
    Closed {
        /// The runtime directory.
        path: PathBuf,
        /// The directory on the way to it that is closed.
        directory: PathBuf,
    },
    /// The file is another user's to read, and cannot be given to it.
    #[error(
        "cannot give the secret file {path} to the agent's user: {error}; start agent-wrap as root, or give it CAP_CHOWN"
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file cannot be written.
    #[error(
        "cannot make a file for the node's secret in {}: {error}{}; is the directory full, or not ours to write? Set \
         RuntimeDirectory= in the unit, or XDG_RUNTIME_DIR to a directory of your own",
        path.parent().unwrap_or(path).display(), cause_of(.error)
    )]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl SecretFileError {
    /// Whether the system lacks something, and nothing else may be wrong.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Directory { error, .. } | Self::Owner { error, .. } | Self::File { error, .. } => {
                Shortage::of_error(error).is_some()
            }
            Self::Managed { .. } | Self::NotOurs { .. } | Self::Closed { .. } => false,
        }
    }
}

/// The file. It is removed when this is dropped; and when we are killed, by the next wrapper that sees that nobody
/// holds the lock beside it.
#[derive(Debug)]
pub struct SecretFile {
    path: PathBuf,
    in_memory: bool,
    /// Not on the file itself: the agent's user could take that one, and we could not open a file of another user.
    _lock: Held,
}

impl SecretFile {
    /// Writes the secret, mode 0400, for `owner` (user and group id) where that is not ourselves. A file that an
    /// earlier run has left behind is replaced.
    ///
    /// # Errors
    /// The file cannot be written, or given away.
    pub fn create(path: PathBuf, secret: &SecretString, owner: Option<(u32, u32)>) -> Result<Self, SecretFileError> {
        let fault = |error| SecretFileError::File { path: path.clone(), error };
        let lock = Held::take(&lock_of(&path)).map_err(fault)?;
        let written = Self::create_empty(&path).map_err(fault).and_then(|mut file| {
            if let Some((user, group)) = owner {
                std::os::unix::fs::fchown(&file, Some(user), Some(group))
                    .map_err(|error| SecretFileError::Owner { path: path.clone(), error })?;
            }
            Self::fill(&mut file, secret).map_err(fault)
        });
        if written.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        let in_memory = written?;
        Ok(Self { path, in_memory, _lock: lock })
    }

    /// Removes what a killed wrapper has left under this path; whether there was a secret.
    ///
    /// # Errors
    /// Those of the file system. Nothing is removed while somebody holds it, which is no error.
    pub(super) fn remove_abandoned(path: &Path) -> io::Result<bool> {
        // The secret goes before the lock: as long as there is a secret of somebody's, its lock is held.
        let Some(_lock) = Held::try_take(&lock_of(path))? else { return Ok(false) };
        match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn create_empty(path: &Path) -> io::Result<File> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(path)
    }

    /// Writes the secret; whether it is in memory.
    fn fill(file: &mut File, secret: &SecretString) -> io::Result<bool> {
        file.write_all(secret.expose_secret().as_bytes())?;
        Ok(fstatfs(file)?.filesystem_type() == TMPFS_MAGIC)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is on a tmpfs; if not, the secret has been written to a disk, which deserves a warning.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }
}

/// The lock of the secret file at this path.
pub(super) fn lock_of(path: &Path) -> PathBuf {
    path.with_extension(LOCK)
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn memory_and_disk_are_told_apart() {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let file = SecretFile::create(memory.path().join("s"), &SecretString::from("hush"), None).unwrap();
        assert!(file.is_in_memory());
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = SecretFile::create(disk.path().join("s"), &SecretString::from("hush"), None).unwrap();
        assert!(!file.is_in_memory());
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let file = SecretFile::create(link.clone(), &SecretString::from("hush"), None).unwrap();
        assert!(!std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
        drop(file);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn the_file_can_be_given_to_the_agents_user() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _file = SecretFile::create(path.clone(), &SecretString::from("hush"), Some((65534, 65533))).unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (65534, 65533, 0o400));
    }
}
