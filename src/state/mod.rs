//! What one run leaves for the next, and the lock that keeps two wrappers off one node.
//!
//! A folder holds, for each controller and node, `NAME.json` and `NAME.lock`, and for each controller a folder with the
//! jar that it hands out. The lock is held for life by `flock`, which
//! the kernel lifts however we end; the file is never removed, because removing it would let two take "the" lock. The
//! state is replaced as a whole (written beside, then renamed), so a reader sees the old one or the new one. It is not
//! synced to the disk: that could hold up a stop for seconds behind a build's writes, and after a power failure the
//! pids in it mean nothing, while a mark of ours is known by its own words.
//!
//! Without a folder that can be written to we do without, and say so.

mod place;
mod record;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

pub use place::StateDir;
pub use record::{Previous, Record};

use crate::files;
use crate::held;

/// The mode of our folders.
const PASSABLE: u32 = 0o711;

/// No state of ours is longer; what is, is not ours.
const LONGEST: usize = 64 * 1024;

/// Why this wrapper must not go on (exit code 75).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// The node's lock is taken.
    #[error(
        "another wrapper{} holds this node (lock {}): stop that one, or give this one another node",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), lock.display()
    )]
    Held {
        /// Who holds it, as far as it has said.
        pid: Option<u32>,
        /// The lock file.
        lock: PathBuf,
    },
}

/// The state of one node, opened.
#[derive(Debug)]
pub struct Opened {
    /// Where this run writes.
    pub file: StateFile,
    /// What the run before has left; `None` for a first run.
    pub previous: Option<Previous>,
    /// What a person should know, each a sentence with its consequence.
    pub warnings: Vec<String>,
}

/// Where one node's state is kept; the lock is held until this is dropped.
#[derive(Debug)]
pub struct StateFile {
    /// `None` when nothing can be kept.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateFile {
    /// A state that is kept nowhere: for a run without a node.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { kept: None }
    }

    /// Takes the lock of this controller and node and reads what the run before has left.
    ///
    /// # Errors
    /// Only when another process holds the lock. Whatever else fails is a warning.
    pub fn open(dir: Option<&StateDir>, controller: &str, node: &str) -> Result<Opened, StateError> {
        let without = |why: String| {
            let warning = format!(
                "{why}; running without a state file: another wrapper for this node on this machine, or an agent that a \
                 killed one left, will not be noticed; name a directory that can be written with --state-dir"
            );
            Ok(Opened { file: Self::nowhere(), previous: None, warnings: vec![warning] })
        };
        let Some(dir) = dir else {
            return without("neither STATE_DIRECTORY nor XDG_STATE_HOME nor HOME names a folder".to_owned());
        };
        let name = place::file_name(controller, node);
        let (path, lock) = (dir.path().join(format!("{name}.json")), dir.path().join(format!("{name}.lock")));
        let held = match make_folder(dir.path()).and_then(|()| held::open_lock(&lock)) {
            Ok(file) => take(file),
            Err(error) => return without(format!("cannot write {} ({error})", lock.display())),
        };
        match held {
            Ok(held) => {
                let mut warnings = Vec::new();
                let previous = read(&path, &mut warnings);
                Ok(Opened { file: Self { kept: Some(Kept { path, _lock: held }) }, previous, warnings })
            }
            Err((file, Errno::EWOULDBLOCK)) => Err(StateError::Held { pid: holder(file), lock }),
            Err((_, errno)) => without(format!("cannot lock {} ({errno})", lock.display())),
        }
    }

    /// Replaces what is kept.
    ///
    /// # Errors
    /// Those of the file system; the state before is still there then.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let beside = kept.path.with_extension("new");
        held::replace(&kept.path, &beside, &record.to_json())
    }
}

/// Makes a folder of the state, unless it is there. Others may pass through to the agent's jar, which an agent of
/// another user has to read, and see nothing else.
///
/// # Errors
/// Those of the file system.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    match DirBuilder::new().recursive(true).mode(PASSABLE).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(io::Error::other(format!("{} is there and is no directory", folder.display())));
        }
        made => made?,
    }
    // The umask may have taken that away.
    fs::set_permissions(folder, Permissions::from_mode(PASSABLE))
}

fn take(file: File) -> Result<Flock<File>, (File, Errno)> {
    let held = Flock::lock(file, FlockArg::LockExclusiveNonblock)?;
    // Only for the message that another one prints; the lock is the kernel's.
    let _ = held.set_len(0).and_then(|()| writeln!(&*held, "{}", std::process::id()));
    Ok(held)
}

fn holder(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn read(path: &Path, warnings: &mut Vec<String>) -> Option<Previous> {
    let why = match files::read_regular(path, LONGEST) {
        Ok(bytes) => match Previous::from_json(&bytes) {
            Ok(previous) => return Some(previous),
            Err(why) => why,
        },
        Err(error) if error.is_missing() => return None,
        Err(error) => error.to_string(),
    };
    warnings.push(format!(
        "the state in {} is of no use ({why}) and is replaced: what the run before has left is not known",
        path.display()
    ));
    None
}

#[cfg(test)]
mod tests {
    use agent_wrap_supervisor::Memory;

    use super::*;

    fn dir(folder: &tempfile::TempDir) -> StateDir {
        StateDir::at(folder.path().join("state"))
    }

    fn record(memory: Memory) -> Record {
        Record { run: "r1".to_owned(), earlier: Vec::new(), agent: None, memory }
    }

    #[test]
    fn a_first_run_finds_nothing_and_the_next_one_what_it_left() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFile::open(Some(&dir(&folder)), "https://ci/", "n 1").unwrap();
        assert_eq!((first.previous, first.warnings.len()), (None, 0));
        for marked in [false, true] {
            first.file.write(&record(Memory { marked, connected: true, stopped: false })).unwrap();
        }
        let files: Vec<_> = fs::read_dir(folder.path().join("state")).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), 2, "the state and the lock, nothing else: {files:?}");
        for file in files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        drop(first.file);
        let next = StateFile::open(Some(&dir(&folder)), "https://ci", "n 1").unwrap();
        let expected = Previous {
            unclean: true,
            marked: true,
            connected: true,
            run: "r1".to_owned(),
            earlier: Vec::new(),
            agent: None,
        };
        assert_eq!((next.previous, next.warnings.len()), (Some(expected), 0));
    }

    #[test]
    fn a_stop_is_a_clean_end() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFile::open(Some(&dir(&folder)), "https://ci/", "n").unwrap();
        first.file.write(&record(Memory { marked: true, connected: true, stopped: true })).unwrap();
        drop(first);
        let previous = StateFile::open(Some(&dir(&folder)), "https://ci/", "n").unwrap().previous.unwrap();
        assert!(!previous.unclean && previous.marked);
    }

    #[test]
    fn a_node_is_held_once_and_another_one_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFile::open(Some(&dir(&folder)), "https://ci/", "n").unwrap();
        let refused = StateFile::open(Some(&dir(&folder)), "https://ci/", "n").unwrap_err();
        let StateError::Held { pid, .. } = &refused;
        assert_eq!(*pid, Some(std::process::id()));
        let words = format!("another wrapper (pid {}) holds this node", std::process::id());
        assert!(refused.to_string().starts_with(&words), "{refused}");
        StateFile::open(Some(&dir(&folder)), "https://ci/", "m").unwrap();
        StateFile::open(Some(&dir(&folder)), "https://other/", "n").unwrap();
        drop(first);
        StateFile::open(Some(&dir(&folder)), "https://ci/", "n").unwrap();
    }

    #[test]
    fn a_state_that_cannot_be_read_is_told_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let huge = format!("{{\"version\":1,\"run\":\"{}\"}}", "x".repeat(100_000));
        for bad in ["", "{", "[]", "{\"version\":2}", "{\"version\":1}", "\u{0}\u{0}", &huge] {
            let opened = StateFile::open(Some(&dir(&folder)), "https://ci/", "n").unwrap();
            let path = opened.file.kept.as_ref().unwrap().path.clone();
            fs::write(&path, bad).unwrap();
            drop(opened);
            let opened = StateFile::open(Some(&dir(&folder)), "https://ci/", "n").unwrap();
            assert_eq!((&opened.previous, opened.warnings.len()), (&None, 1), "{bad:.20}");
            opened.file.write(&record(Memory::default())).unwrap();
            drop(opened);
            assert!(StateFile::open(Some(&dir(&folder)), "https://ci/", "n").unwrap().previous.is_some());
        }
    }

    #[test]
    fn without_a_folder_it_runs_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        for dir in [None, Some(StateDir::at(folder.path().join("file/state")))] {
            let opened = StateFile::open(dir.as_ref(), "https://ci/", "n").unwrap();
            assert_eq!((opened.previous, opened.warnings.len()), (None, 1));
            opened.file.write(&record(Memory::default())).unwrap();
        }
    }
}
