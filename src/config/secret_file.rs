//! The file by which the agent gets the node's secret: readable by its user alone, in memory only, gone with us.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use secrecy::{ExposeSecret as _, SecretString};

use super::Surroundings;
use super::completion::percent_encode;

/// A directory that is gone after a reboot, for the secret file and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeDirectory {
    path: PathBuf,
    /// It was made and is cared for by the service manager.
    managed: bool,
}

/// Why there is no secret file.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The runtime directory cannot be used.
    #[error("cannot make the runtime directory {path}: {error}; set RuntimeDirectory= in the unit, or XDG_RUNTIME_DIR")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Somebody else could put files of their own into it, or take ours.
    #[error("the runtime directory {path} {fault}; remove it, or set XDG_RUNTIME_DIR to a directory of your own")]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The file cannot be written.
    #[error("cannot write the secret file {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl RuntimeDirectory {
    /// Where it is: `$RUNTIME_DIRECTORY`, which systemd has made, else `$XDG_RUNTIME_DIR/agent-wrap`, else
    /// /run/agent-wrap as root, else /dev/shm/agent-wrap-UID.
    #[must_use]
    pub fn choose(surroundings: &Surroundings) -> Self {
        let variable = |name| surroundings.variable(name).map(Path::new);
        if let Some(list) = surroundings.variable("RUNTIME_DIRECTORY") {
            use std::os::unix::ffi::OsStrExt as _;
            let first = list.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
            return Self { path: PathBuf::from(OsStr::from_bytes(first)), managed: true };
        }
        let path = match variable("XDG_RUNTIME_DIR") {
            Some(folder) => folder.join("agent-wrap"),
            None if surroundings.root => PathBuf::from("/run/agent-wrap"),
            None => PathBuf::from(format!("/dev/shm/agent-wrap-{}", nix::unistd::geteuid())),
        };
        Self { path, managed: false }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the secret file of one run of the wrapper: nodes of other controllers may have the same name.
    #[must_use]
    pub fn secret_file(&self, node: &str, run: &str) -> PathBuf {
        self.path.join(format!("{}.{run}.secret", percent_encode(node)))
    }

    /// Makes it, unless it is there, and makes sure that nobody else rules in it. `for_another`: a user other than ours
    /// has to get at files in it by their names, though not to list them.
    ///
    /// # Errors
    /// It cannot be made, is a symbolic link, belongs to somebody else or is open to others.
    pub fn prepare(&self, for_another: bool) -> Result<(), SecretFileError> {
        if self.managed {
            return Ok(());
        }
        let mode = if for_another { 0o711 } else { 0o700 };
        let failed = |error| SecretFileError::Directory { path: self.path.clone(), error };
        match std::fs::DirBuilder::new().mode(mode).create(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let found = std::fs::symlink_metadata(&self.path).map_err(failed)?;
        let fault = if !found.is_dir() {
            Some("is no directory")
        } else if found.uid() != nix::unistd::geteuid().as_raw() {
            Some("belongs to somebody else")
        } else if found.mode() & 0o022 != 0 {
            Some("can be written by others")
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(SecretFileError::NotOurs { path: self.path.clone(), fault });
        }
        // The umask may have taken bits away, and an earlier run may have needed other ones.
        if found.mode() & 0o777 != mode {
            std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        }
        Ok(())
    }
}

/// The file. It is removed when this is dropped.
#[derive(Debug)]
pub struct SecretFile {
    path: PathBuf,
    in_memory: bool,
}

impl SecretFile {
    /// Writes the secret, mode 0400, for `owner` (user and group id) where that is not ourselves. A file that an
    /// earlier run has left behind is replaced.
    ///
    /// # Errors
    /// The file cannot be written, or given away.
    pub fn create(path: PathBuf, secret: &SecretString, owner: Option<(u32, u32)>) -> Result<Self, SecretFileError> {
        Self::write(&path, secret, owner)
            .map_err(|error| SecretFileError::File { path: path.clone(), error })
            .map(|in_memory| Self { path, in_memory })
    }

    fn write(path: &Path, secret: &SecretString, owner: Option<(u32, u32)>) -> io::Result<bool> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        let written = (|| {
            if let Some((user, group)) = owner {
                std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
            }
            file.write_all(secret.expose_secret().as_bytes())?;
            Ok(fstatfs(&file)?.filesystem_type() == TMPFS_MAGIC)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(path);
        }
        written
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

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn surroundings(root: bool, variables: &[(&str, &str)]) -> Surroundings {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Surroundings { variables: variables.collect(), default_file: PathBuf::new(), root }
    }

    fn chosen(root: bool, variables: &[(&str, &str)]) -> String {
        RuntimeDirectory::choose(&surroundings(root, variables)).path().to_str().unwrap().to_owned()
    }

    fn private(folder: &Path) -> RuntimeDirectory {
        RuntimeDirectory::choose(&surroundings(false, &[("XDG_RUNTIME_DIR", folder.to_str().unwrap())]))
    }

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_directory_has_its_usual_places() {
        let both = [("RUNTIME_DIRECTORY", "/run/u:/run/v"), ("XDG_RUNTIME_DIR", "/x")];
        assert_eq!(chosen(true, &both), "/run/u");
        assert_eq!(chosen(true, &both[1..]), "/x/agent-wrap");
        assert_eq!(chosen(true, &[]), "/run/agent-wrap");
        assert_eq!(chosen(false, &[]), format!("/dev/shm/agent-wrap-{}", nix::unistd::geteuid()));
    }

    #[test]
    fn the_file_is_private_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let directory = private(folder.path());
        directory.prepare(false).unwrap();
        assert_eq!(mode(directory.path()), 0o700);
        let path = directory.secret_file("a b/c", "1f");
        assert_eq!(path, folder.path().join("agent-wrap/a%20b%2Fc.1f.secret"));
        std::fs::write(&path, "left by an earlier run").unwrap();

        let file = SecretFile::create(path.clone(), &SecretString::from("hush"), None).unwrap();
        assert_eq!(mode(&path), 0o400);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "hush");
        drop(file);
        assert!(!path.exists());

        directory.prepare(true).unwrap();
        assert_eq!(mode(directory.path()), 0o711);
    }

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
    fn a_directory_in_which_others_rule_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let directory = private(folder.path());
        std::fs::create_dir(directory.path()).unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let fault = |error| match error {
            SecretFileError::NotOurs { fault, .. } => fault,
            other @ (SecretFileError::Directory { .. } | SecretFileError::File { .. }) => panic!("{other}"),
        };
        assert_eq!(fault(directory.prepare(false).unwrap_err()), "can be written by others");
        std::fs::remove_dir(directory.path()).unwrap();
        std::os::unix::fs::symlink(folder.path(), directory.path()).unwrap();
        assert_eq!(fault(directory.prepare(false).unwrap_err()), "is no directory");
        if nix::unistd::geteuid().is_root() {
            std::fs::remove_file(directory.path()).unwrap();
            std::fs::create_dir(directory.path()).unwrap();
            std::os::unix::fs::chown(directory.path(), Some(65534), None).unwrap();
            assert_eq!(fault(directory.prepare(false).unwrap_err()), "belongs to somebody else");
        }
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
