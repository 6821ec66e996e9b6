//! Where one keeps its files.
//!
//! Those of a controller that was started for a test alone are in a directory of the cache, beside a lock that its
//! process holds: a test's static is never dropped, so the next start removes what nobody holds any more.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use tempfile::Builder;

use super::{client, templates};
use crate::cache;

const LOG_TAIL: usize = 4000;

#[derive(Debug)]
pub(super) struct Home {
    state: PathBuf,
    run: PathBuf,
    _lock: Flock<File>,
}

impl Home {
    /// Makes the directories, and the configuration unless there is one.
    pub(super) fn prepare(state: Option<PathBuf>, security: bool) -> Result<Self> {
        let runs = cache::directory().join("hudson");
        let (run, lock) = reserve(&runs).with_context(|| format!("cannot prepare {}", runs.display()))?;
        let state = state.unwrap_or_else(|| run.join("state"));
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let configuration = state.join("config.xml");
        if !configuration.exists() {
            fs::write(&configuration, templates::configuration(security))
                .with_context(|| format!("cannot write {}", configuration.display()))?;
        }
        Ok(Self { state, run, _lock: lock })
    }

    /// `HUDSON_HOME`.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// What goes with the run: launcher, jar, log.
    pub(super) fn run(&self) -> &Path {
        &self.run
    }

    /// The root of a node's files on the agent's side.
    pub(super) fn agent_files(&self, node: &str) -> Result<PathBuf> {
        let files = self.run.join("agents").join(client::segment(node));
        fs::create_dir_all(&files).with_context(|| format!("cannot make {}", files.display()))?;
        Ok(files)
    }

    /// The file of its output.
    pub(super) fn log(&self) -> PathBuf {
        self.run.join("hudson.log")
    }

    /// The last lines of its output.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL)..]).into_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed now is by the next start.
        drop(fs::remove_dir_all(&self.run));
        drop(fs::remove_file(lock_of(&self.run)));
    }
}

/// A new directory below `runs` and its lock, after those that nobody holds any more are gone.
fn reserve(runs: &Path) -> Result<(PathBuf, Flock<File>)> {
    fs::create_dir_all(runs)?;
    let gate = File::create(runs.join("gate"))?;
    // Between a lock file and its lock nobody may sweep.
    let _gate = Flock::lock(gate, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    sweep(runs)?;
    let run = Builder::new().prefix("run-").tempdir_in(runs)?.keep();
    let lock = Flock::lock(File::create(lock_of(&run))?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    Ok((run, lock))
}

fn sweep(runs: &Path) -> Result<()> {
    for entry in fs::read_dir(runs)? {
        let run = entry?.path();
        if !run.is_dir() {
            continue;
        }
        let lock = lock_of(&run);
        if Flock::lock(File::create(&lock)?, FlockArg::LockExclusiveNonblock).is_ok() {
            fs::remove_dir_all(&run)?;
            fs::remove_file(&lock)?;
        }
    }
    Ok(())
}

fn lock_of(run: &Path) -> PathBuf {
    run.with_extension("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_swept_once_its_lock_is_free() {
        let runs = tempfile::tempdir().unwrap();
        let (held, lock) = reserve(runs.path()).unwrap();
        let (left, free) = reserve(runs.path()).unwrap();
        drop(free);
        reserve(runs.path()).unwrap();
        assert!(held.exists());
        assert!(!left.exists());
        drop(lock);
    }
}
