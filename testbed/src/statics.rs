//! The programs as they are put into images that have nothing else: linked statically, against musl.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{cache, skip::Need};

const BUILDS: &str = "`cargo xtask test` builds it";

/// The programs, and the folders of the workspace that each is made from.
const PROGRAMS: [(&str, &[&str]); 2] =
    [("agent-wrap", &["src", "supervisor/src"]), ("misbehave", &["testbed/src/bin/misbehave"])];

/// What rustc and rustup call such programs for this machine.
#[must_use]
pub fn target() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

/// Where cargo is told to build them.
#[must_use]
pub fn target_directory() -> PathBuf {
    cache::workspace().join("target")
}

/// One of them; it need not be there.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    target_directory().join(target()).join("debug").join(name)
}

/// That they are there and not older than what they are made from: a test of yesterday's program proves nothing.
///
/// # Errors
/// The reason, when one is not.
pub fn need() -> Need {
    for (name, folders) in PROGRAMS {
        let program = program(name);
        let Ok(built) = fs::metadata(&program).and_then(|found| found.modified()) else {
            return Err(format!(
                "{} is not there; {BUILDS} where rustup or the toolchain has {}",
                program.display(),
                target()
            ));
        };
        for folder in folders {
            if let Some(newer) =
                newer_than(built, &cache::workspace().join(folder)).map_err(|error| error.to_string())?
            {
                return Err(format!("{} is older than {}; {BUILDS}", program.display(), newer.display()));
            }
        }
    }
    Ok(())
}

/// A file below a folder that was changed after this moment.
fn newer_than(moment: SystemTime, folder: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        let newer = if found.is_dir() {
            newer_than(moment, &entry.path())?
        } else {
            (found.modified()? > moment).then(|| entry.path())
        };
        if newer.is_some() {
            return Ok(newer);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_since_is_found_however_deep() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/c.rs"), "").unwrap();
        let changed = fs::metadata(folder.path().join("a/b/c.rs")).unwrap().modified().unwrap();
        assert_eq!(newer_than(changed, folder.path()).unwrap(), None);
        let newer = newer_than(SystemTime::UNIX_EPOCH, folder.path()).unwrap();
        assert_eq!(newer, Some(folder.path().join("a/b/c.rs")));
    }
}
