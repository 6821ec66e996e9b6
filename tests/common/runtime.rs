//! A runtime directory for each wrapper under test, never the machine's own, and a look at what is left in it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use tempfile::TempDir;

static ALL: OnceLock<TempDir> = OnceLock::new();

/// A directory for one wrapper. It is there until this process ends.
///
/// # Panics
/// When it cannot be made.
pub fn directory() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let all = ALL.get_or_init(|| {
        // SAFETY: the function that is registered takes nothing, returns nothing and does not unwind.
        unsafe { libc::atexit(remove_all) };
        tempfile::tempdir().expect("a directory")
    });
    let directory = all.path().join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir(&directory).expect("a directory");
    directory
}

/// Nothing that is static is dropped.
extern "C" fn remove_all() {
    if let Some(all) = ALL.get() {
        let _ = fs::remove_dir_all(all.path());
    }
}

/// Where the wrapper that this command starts has its secret file.
///
/// # Panics
/// When that would be the machine's own runtime directory.
pub fn of(command: &Command) -> PathBuf {
    let named = |wanted: &str| {
        let mut variables = command.get_envs();
        variables
            .find(|(name, _)| *name == wanted)
            .and_then(|(_, value)| value)
            .filter(|value| *value != OsStr::new(""))
    };
    match (named("RUNTIME_DIRECTORY"), named("XDG_RUNTIME_DIR")) {
        (Some(managed), _) => managed.into(),
        (None, Some(folder)) => Path::new(folder).join("agent-wrap"),
        (None, None) => panic!("{command:?} would use the machine's runtime directory"),
    }
}

/// The secret files in this directory, if there is one, that belong to no living wrapper.
pub fn left_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut left: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    left.retain(|path| path.extension() == Some(OsStr::new("secret")) && !is_held(path) && path.exists());
    left
}

fn is_held(secret: &Path) -> bool {
    let Ok(lock) = File::open(secret.with_extension("lock")) else { return false };
    Flock::lock(lock, FlockArg::LockSharedNonblock).is_err()
}
