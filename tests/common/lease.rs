//! A file that hangs.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use agent_wrap_testbed::skip;
use nix::libc;

/// A lease on a file: whoever opens it waits, as for a mount that does not answer, until this is dropped.
pub struct Lease(File);

impl Lease {
    /// Takes it; `None`, with the reason told, where the file system gives none.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn take(path: &Path, test: &str) -> Option<Self> {
        /// Not in every libc.
        const F_SETSIG: libc::c_int = 10;
        let file = File::open(path).expect("the file is there");
        // SAFETY: the command takes an integer, and the descriptor is open. This signal is ignored by default.
        let told = unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) };
        // SAFETY: as above.
        let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        if told != 0 || taken != 0 {
            skip::skip(test, &format!("this file system gives no leases ({})", io::Error::last_os_error()));
            return None;
        }
        Some(Self(file))
    }

    /// Whether somebody waits. The system lets nobody wait for ever (/proc/sys/fs/lease-break-time).
    ///
    /// # Panics
    /// Without /proc.
    pub fn is_waited_for(&self) -> bool {
        let inode = format!(":{} ", self.0.metadata().expect("it is open").ino());
        let locks = fs::read_to_string("/proc/locks").expect("/proc");
        locks.lines().any(|line| line.contains("BREAKING") && line.contains(&inode))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // SAFETY: the command takes an integer, and the descriptor is open.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    }
}
