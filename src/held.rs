//! Files that belong to somebody: a lock on them or beside them is held for as long as they are needed, and the kernel
//! lifts it however its holder ends. What can be locked belongs to nobody. A pid could not tell that: somebody else may
//! have got it meanwhile, and in another pid namespace it means nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

/// Somebody who clears up holds a lock for the moment of two removals, so this many attempts are never needed.
const ATTEMPTS: usize = 10_000;

/// A lock that is held, and the file that it is on, which is removed when this is dropped.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    lock: Flock<File>,
}

impl Held {
    /// Takes a lock of our own, which nobody but somebody clearing up would take.
    ///
    /// # Errors
    /// Those of the file system; `WouldBlock` when somebody keeps it.
    pub fn take(path: &Path) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            if let Some(held) = Self::try_take(path)? {
                return Ok(held);
            }
            std::thread::yield_now();
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, format!("another process holds {}", path.display())))
    }

    /// Takes the lock unless somebody has it, or has just removed it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = open_lock(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // A lock on a file that has lost its name keeps nobody away.
            Ok(lock) if is_at(&lock, path)? => Ok(Some(Self { path: path.to_owned(), lock })),
            Ok(_) | Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// The file that the lock is on.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.lock
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Before the lock is lifted, so that nobody takes it on a file that is about to lose its name.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens the file that a lock is taken on, or makes it: for us alone, and never through a link. What stands in it stays: until
/// the lock is ours, it is the holder's.
///
/// # Errors
/// Those of the file system.
pub fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Writes a file `beside` the one that is meant, then gives it its name. Whoever calls it holds the lock, so that nobody
/// else uses that name.
///
/// # Errors
/// Those of the file system; what was there before still is then.
pub fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(beside)?;
    file.write_all(bytes)?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn it_is_held_once_and_gone_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        let held = Held::take(&path).unwrap();
        assert!(Held::try_take(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        fs::write(&path, "left behind").unwrap();
        assert!(Held::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Held::take(&folder.path().join("no/l")).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::os::unix::fs::symlink(folder.path().join("target"), folder.path().join("l")).unwrap();
        assert_eq!(Held::take(&folder.path().join("l")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn of_many_who_take_and_leave_it_never_two_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 2000 {
                        let Some(held) = Held::try_take(&path).unwrap() else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
        assert!(!path.exists());
    }
}
