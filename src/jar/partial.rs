//! A jar on its way.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::checksum::{Checksum, Sum};
use super::zip;
use crate::held::Held;

/// The file while it is incomplete. It is removed unless it is kept; and when we are killed, by the next fetch that
/// sees that nobody holds it.
pub struct Partial {
    held: Held,
    sum: Sum,
    bytes: u64,
}

impl Partial {
    /// In the same folder, because a rename does not cross file systems; under a name that no other wrapper has, in
    /// whatever pid namespace.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(to: &Path) -> io::Result<Self> {
        let name = to.file_name().ok_or_else(|| io::Error::other("it is no name of a file"))?;
        let hidden = format!(".{}.", name.to_string_lossy());
        remove_abandoned(folder(to), &hidden);
        let random = getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?;
        let held = Held::take(&to.with_file_name(format!("{hidden}{random:08x}")))?;
        // An agent of another user has to read it, whatever the umask.
        held.file().set_permissions(Permissions::from_mode(0o644))?;
        Ok(Self { held, sum: Sum::new(), bytes: 0 })
    }

    /// Adds what comes next.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.sum.add(bytes);
        self.held.file().write_all(bytes)
    }

    /// So many bytes have come.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Nothing more comes: whether it is a whole jar, and which.
    ///
    /// # Errors
    /// `InvalidData` when it is none, or those of the file system.
    pub(super) fn finish(self) -> io::Result<Whole> {
        zip::check(self.held.file())?;
        Ok(Whole { held: self.held, checksum: self.sum.finish() })
    }
}

/// A whole jar that is not in its place yet.
pub(super) struct Whole {
    held: Held,
    pub(super) checksum: Checksum,
}

impl Whole {
    /// Sees to it that it is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.held.file().sync_all()
    }

    /// Puts it in its place.
    pub(super) fn put(self, to: &Path) -> io::Result<()> {
        fs::rename(self.held.path(), to)?;
        fs::File::open(folder(to))?.sync_all()
    }
}

pub(super) fn folder(of: &Path) -> &Path {
    of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes the incomplete files of those who were killed.
fn remove_abandoned(folder: &Path, hidden: &str) {
    // What cannot be removed takes space and does no other harm.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(hidden)) {
        let _ = Held::try_take(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::jar;
    use super::*;

    #[test]
    fn what_a_killed_wrapper_left_is_removed_and_what_another_one_fetches_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        let [place, other] = ["agent.jar", "remoting.jar"].map(|name| folder.path().join(name));
        let mut living = Partial::create(&place).unwrap();
        for left in [".agent.jar.0000000b", ".agent.jar.4711", ".remoting.jar.0000000a"] {
            fs::write(folder.path().join(left), "half a jar").unwrap();
        }
        let mut one = Partial::create(&place).unwrap();
        one.add(&jar("one")).unwrap();
        one.finish().unwrap().put(&place).unwrap();
        let hidden = living.held.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut expected = [hidden.as_str(), ".remoting.jar.0000000a", "agent.jar"];
        expected.sort_unstable();
        assert_eq!(names(), expected);
        // And each publishes its own bytes.
        living.add(&jar("another")).unwrap();
        living.finish().unwrap().put(&place).unwrap();
        assert_eq!(fs::read(&place).unwrap(), jar("another"));
        drop(Partial::create(&other).unwrap());
        assert_eq!(names(), ["agent.jar"]);
    }
}
