//! Where the secret file is made, and what killed wrappers have left there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, eaccess};

use super::Surroundings;
use super::completion::percent_encode;
use super::secret_file::{LOCK, SECRET, SecretFile, SecretFileError};
use crate::hash::fnv;

/// A directory that is gone after a reboot, for the secret file and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeDirectory {
    path: PathBuf,
    /// It was made and is cared for by the service manager.
    managed: bool,
    /// What keeps us from the places that would have come first.
    passed_over: Vec<String>,
}

/// Whether the agent's user, if that is not ours, may pass through a directory.
type Enters<'a> = Option<&'a dyn Fn(&Metadata) -> bool>;

impl RuntimeDirectory {
    /// Where it is: `$RUNTIME_DIRECTORY`, which systemd has made, else `$XDG_RUNTIME_DIR/agent-wrap`, else
    /// /run/agent-wrap as root, else /dev/shm/agent-wrap-UID. In a container /run is mostly a part of its disk: then it
    /// comes last. After `su` and `sudo` the variable may name what is not
    /// there, or somebody else's; and what a login of root's has (/run/user/0) is closed to any other user.
    #[must_use]
    pub fn choose(surroundings: &Surroundings, enters: Enters<'_>) -> Self {
        let variable = |name| surroundings.variable(name).map(Path::new);
        if let Some(list) = surroundings.variable("RUNTIME_DIRECTORY") {
            use std::os::unix::ffi::OsStrExt as _;
            let first = list.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
            return Self { path: PathBuf::from(OsStr::from_bytes(first)), managed: true, passed_over: Vec::new() };
        }
        let mut passed_over = Vec::new();
        let named = variable("XDG_RUNTIME_DIR").map(|folder| (folder, true));
        let run = (surroundings.root && (is_in_memory(Path::new("/run")) || !is_in_memory(Path::new(SHARED_MEMORY))))
            .then_some((Path::new("/run"), false));
        for (folder, is_named) in named.into_iter().chain(run) {
            match unfit(folder, enters) {
                None => return Self { path: folder.join("agent-wrap"), managed: false, passed_over },
                Some(fault) if is_named => {
                    passed_over.push(format!("XDG_RUNTIME_DIR names {}, which {fault}", folder.display()));
                }
                Some(fault) => passed_over.push(format!("{} {fault}", folder.display())),
            }
        }
        let path = PathBuf::from(format!("{SHARED_MEMORY}/agent-wrap-{}", nix::unistd::geteuid()));
        Self { path, managed: false, passed_over }
    }

    /// What keeps us from the places that would have come first, in half sentences.
    #[must_use]
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Makes sure that the agent's user can get at files in it.
    ///
    /// # Errors
    /// It may not pass through one of the directories.
    pub fn check_entrance(&self, enters: &dyn Fn(&Metadata) -> bool) -> Result<(), SecretFileError> {
        match closed(&self.path, enters) {
            Some(directory) => {
                Err(SecretFileError::Closed { path: self.path.clone(), directory: directory.to_owned() })
            }
            None => Ok(()),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the secret file of one run of the wrapper: nodes of other controllers may have the same name.
    #[must_use]
    pub fn secret_file(&self, node: &str, run: &str) -> PathBuf {
        self.path.join(format!("{}.{run}.{SECRET}", readable(node)))
    }

    /// Makes it, unless it is there, and makes sure that nobody else rules in it. `for_another`: a user other than ours
    /// has to get at files in it by their names, though not to list them.
    ///
    /// # Errors
    /// It cannot be made, is a symbolic link, belongs to somebody else or is open to others.
    pub fn prepare(&self, for_another: bool) -> Result<(), SecretFileError> {
        if self.managed {
            let fault = useless(&self.path);
            return fault.map_or(Ok(()), |fault| Err(SecretFileError::Managed { path: self.path.clone(), fault }));
        }
        let mode = if for_another { 0o711 } else { 0o700 };
        let failed = |error| SecretFileError::Directory { path: self.path.clone(), error };
        match std::fs::DirBuilder::new().mode(mode).create(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let found = std::fs::symlink_metadata(&self.path).map_err(failed)?;
        if let Some(fault) = fault(&found) {
            return Err(SecretFileError::NotOurs { path: self.path.clone(), fault });
        }
        // The umask may have taken bits away, and an earlier run may have needed other ones.
        if found.mode() & 0o777 != mode {
            std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes the secrets of wrappers that were killed, and gives their paths. What a living wrapper holds stays, in
    /// whatever pid namespace it lives; so does everything that is no secret file of ours, and all of a directory in
    /// which others rule.
    pub fn remove_abandoned(&self) -> Vec<PathBuf> {
        let is_ours = || std::fs::symlink_metadata(&self.path).is_ok_and(|found| fault(&found).is_none());
        if !self.managed && !is_ours() {
            return Vec::new();
        }
        let Ok(entries) = std::fs::read_dir(&self.path) else { return Vec::new() };
        let secrets: BTreeSet<_> = entries.flatten().filter_map(|entry| secret_of(&entry.path())).collect();
        // What cannot be removed is as safe as it was.
        secrets.into_iter().filter(|path| SecretFile::remove_abandoned(path).is_ok_and(|removed| removed)).collect()
    }
}

/// What is left of a name that is too long for a file's, in bytes.
const LONGEST: usize = 120;

/// The node's name as a part of a file's: three bytes for each that is not plain, so the rest of a long one is a hash.
fn readable(node: &str) -> String {
    let mut encoded = percent_encode(node);
    if encoded.len() > LONGEST {
        // Not in the middle of an encoded byte.
        let end = encoded[LONGEST - 2..LONGEST].find('%').map_or(LONGEST, |at| LONGEST - 2 + at);
        encoded.truncate(end);
        encoded.push_str(&format!("+{:016x}", fnv(&[node.as_bytes()])));
    }
    encoded
}

/// Where everybody may have files in memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// Whether what is in a directory is on no disk.
fn is_in_memory(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|system| system.filesystem_type() == TMPFS_MAGIC)
}

/// What keeps us from making a file in this directory.
fn useless(folder: &Path) -> Option<&'static str> {
    match std::fs::metadata(folder) {
        Ok(found) if !found.is_dir() => Some("is no directory"),
        Ok(_) if eaccess(folder, AccessFlags::W_OK | AccessFlags::X_OK).is_err() => Some("cannot be written"),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some("cannot be reached"),
        Err(_) => Some("is not there"),
    }
}

/// What keeps us from having a directory of our own in this one.
fn unfit(folder: &Path, enters: Enters<'_>) -> Option<&'static str> {
    let Ok(found) = std::fs::metadata(folder) else { return Some("is not there") };
    if !folder.is_absolute() {
        Some("is no absolute path")
    } else if !found.is_dir() {
        Some("is no directory")
    } else if found.uid() != nix::unistd::geteuid().as_raw() {
        Some("belongs to somebody else")
    } else if eaccess(folder, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        Some("cannot be written")
    } else if enters.is_some_and(|enters| closed(folder, enters).is_some()) {
        Some("is closed to the agent's user (--agent-user)")
    } else {
        None
    }
}

/// The first directory on the way to a file in this one that may not be passed through.
fn closed<'a>(folder: &'a Path, enters: &dyn Fn(&Metadata) -> bool) -> Option<&'a Path> {
    let mut way: Vec<_> = folder.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    way.reverse();
    way.into_iter().find(|part| std::fs::metadata(part).is_ok_and(|found| !enters(&found)))
}

/// What would let others rule in this directory.
fn fault(found: &Metadata) -> Option<&'static str> {
    if !found.is_dir() {
        Some("is no directory")
    } else if found.uid() != nix::unistd::geteuid().as_raw() {
        Some("belongs to somebody else")
    } else if found.mode() & 0o022 != 0 {
        Some("can be written by others")
    } else {
        None
    }
}

/// The secret file that this file is, or is the lock of: `NODE.RUN.secret`, a run being eight hexadecimal digits.
fn secret_of(path: &Path) -> Option<PathBuf> {
    let extension = path.extension()?;
    let run = Path::new(path.file_stem()?).extension()?.as_encoded_bytes();
    let is_run = run.len() == 8 && run.iter().all(u8::is_ascii_hexdigit);
    (is_run && (extension == SECRET || extension == LOCK)).then(|| path.with_extension(SECRET))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use secrecy::SecretString;

    use super::*;

    fn surroundings(root: bool, variables: &[(&str, &str)]) -> Surroundings {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Surroundings { variables: variables.collect(), default_file: PathBuf::new(), root }
    }

    fn chosen(root: bool, variables: &[(&str, &str)]) -> String {
        RuntimeDirectory::choose(&surroundings(root, variables), None).path().to_str().unwrap().to_owned()
    }

    fn private(folder: &Path) -> RuntimeDirectory {
        RuntimeDirectory::choose(&surroundings(false, &[("XDG_RUNTIME_DIR", folder.to_str().unwrap())]), None)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_directory_has_its_usual_places() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().to_str().unwrap();
        let both = [("RUNTIME_DIRECTORY", "/run/u:/run/v"), ("XDG_RUNTIME_DIR", named)];
        assert_eq!(chosen(true, &both), "/run/u");
        assert_eq!(chosen(true, &both[1..]), format!("{named}/agent-wrap"));
        let of_user = format!("/dev/shm/agent-wrap-{}", nix::unistd::geteuid());
        let root = nix::unistd::geteuid().is_root() && is_in_memory(Path::new("/run"));
        assert_eq!(chosen(true, &[]), if root { "/run/agent-wrap".to_owned() } else { of_user.clone() });
        assert_eq!(chosen(false, &[]), of_user);
    }

    #[test]
    fn a_place_that_is_of_no_use_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let nobody = |_: &Metadata| false;
        let of_user = format!("/dev/shm/agent-wrap-{}", nix::unistd::geteuid());
        // Root's, or for root another's.
        let mut foreign = PathBuf::from("/proc");
        if nix::unistd::geteuid().is_root() {
            foreign = folder.path().join("foreign");
            std::fs::create_dir(&foreign).unwrap();
            std::os::unix::fs::chown(&foreign, Some(65534), None).unwrap();
        }
        for (named, enters, fault) in [
            (folder.path().join("absent").to_str().unwrap(), None, "is not there"),
            (file.to_str().unwrap(), None, "is no directory"),
            ("src", None, "is no absolute path"),
            (folder.path().to_str().unwrap(), Some(&nobody as _), "is closed to the agent's user (--agent-user)"),
            (foreign.to_str().unwrap(), None, "belongs to somebody else"),
        ] {
            let directory = RuntimeDirectory::choose(&surroundings(false, &[("XDG_RUNTIME_DIR", named)]), enters);
            assert_eq!(directory.path().to_str(), Some(of_user.as_str()), "{named}");
            let note = directory.passed_over().join("");
            assert!(note.starts_with(&format!("XDG_RUNTIME_DIR names {named}, which {fault}")), "{note}");
        }
        assert!(RuntimeDirectory::choose(&surroundings(false, &[]), Some(&nobody)).passed_over().is_empty());
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
    fn a_long_name_of_a_node_is_shortened_and_still_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let directory = private(folder.path());
        directory.prepare(false).unwrap();
        for plain in 0..3 {
            let long = format!("{}{}", "a".repeat(plain), "\u{8282}".repeat(90));
            let path = directory.secret_file(&long, "0000000a");
            assert_ne!(path, directory.secret_file(&format!("{long}b"), "0000000a"));
            let name = path.file_name().unwrap().to_str().unwrap();
            let kept = name.split('+').next().unwrap();
            assert!(kept.starts_with(&"a".repeat(plain)) && kept[plain..].len().is_multiple_of(3), "{name}");
            let file = create(path.clone());
            assert_eq!(secret_of(file.path()), Some(path));
        }
        assert!(directory.secret_file(&"a".repeat(120), "1").ends_with(format!("{}.1.secret", "a".repeat(120))));
    }

    #[test]
    fn a_directory_of_the_service_managers_that_is_of_no_use_is_named_with_its_cure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let managed = |path: &Path| {
            let named = surroundings(false, &[("RUNTIME_DIRECTORY", path.to_str().unwrap())]);
            RuntimeDirectory::choose(&named, None)
        };
        managed(folder.path()).prepare(false).unwrap();
        for (path, fault) in [
            (folder.path().join("d"), "is not there"),
            (file, "is no directory"),
            ("/proc/sys".into(), "cannot be written"),
        ] {
            let error = managed(&path).prepare(false).unwrap_err();
            assert!(!error.is_shortage());
            let words = format!("$RUNTIME_DIRECTORY names {}, which {fault}; set RuntimeDirectory=", path.display());
            assert!(error.to_string().starts_with(&words), "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_told_by_its_directory() {
        let path = PathBuf::from("/proc/n.0000000a.rehearsal.secret");
        let words = SecretFile::create(path, &SecretString::from(""), None).unwrap_err().to_string();
        assert!(words.contains(" in /proc: ") && words.contains("RuntimeDirectory="), "{words}");
        assert!(!words.contains("rehearsal"), "{words}");
    }

    #[test]
    fn a_directory_in_which_others_rule_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let directory = private(folder.path());
        std::fs::create_dir(directory.path()).unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let fault = |error| match error {
            SecretFileError::NotOurs { fault, .. } => fault,
            other => panic!("{other}"),
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

    fn create(path: PathBuf) -> SecretFile {
        SecretFile::create(path, &SecretString::from("hush"), None).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_nobody_holds_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let directory = private(folder.path());
        assert_eq!(directory.remove_abandoned(), Vec::<PathBuf>::new(), "it is not there yet");
        directory.prepare(false).unwrap();
        let living = create(directory.secret_file("n", "0000000a"));
        let others =
            ["n.0000000b.key", "n.0000000.secret", "n.0000000g.secret", "0000000b.secret", "n.secret", "n.lock"];
        // A killed wrapper leaves both; one that was killed between the two removals, or by an older program, one.
        let left = ["b.0000000b.secret", "c.d.0000000c.secret"];
        for name in others.iter().chain(&left).chain(&["b.0000000b.lock", "e.0000000e.lock"]) {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(directory.remove_abandoned(), left.map(|name| directory.path().join(name)));
        let mut kept: Vec<_> = others.into_iter().chain(["n.0000000a.secret", "n.0000000a.lock"]).collect();
        kept.sort_unstable();
        assert_eq!(names(directory.path()), kept);
        drop(living);
        assert_eq!(names(directory.path()).len(), others.len());
    }

    #[test]
    fn nothing_is_removed_where_others_rule() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("n.0000000a.secret");
        std::fs::write(&precious, "").unwrap();
        let directory = private(folder.path());
        std::os::unix::fs::symlink(folder.path(), directory.path()).unwrap();
        assert_eq!(directory.remove_abandoned(), Vec::<PathBuf>::new());
        assert!(precious.exists());
    }

    #[test]
    fn starting_wrappers_leave_each_other_their_files() {
        const EACH: usize = 300;
        let folder = tempfile::tempdir().unwrap();
        let directory = private(folder.path());
        directory.prepare(false).unwrap();
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for wrapper in 0..3_u32 {
                let (directory, done) = (&directory, &done);
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let file = create(directory.secret_file("n", &format!("{wrapper:08x}")));
                        std::thread::yield_now();
                        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "hush");
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    while done.load(Ordering::SeqCst) < 3 {
                        assert_eq!(directory.remove_abandoned(), Vec::<PathBuf>::new(), "all of them live");
                    }
                });
            }
        });
        assert_eq!(names(directory.path()), Vec::<String>::new());
    }
}
