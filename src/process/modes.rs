//! What the modes of files let another user do. Where modes do not tell (an access control list, a file system whose
//! server decides), the kernel has the last word.

use std::ffi::{CString, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, statfs};

use super::resolve::Fault;
use super::spawn::User;

const FUSE_SUPER_MAGIC: FsType = FsType(0x6573_5546);

/// As many symbolic links as the kernel follows.
const MOST_LINKS: u32 = 40;

/// What somebody may want of a file, as the bit for others in its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Read = 0o4,
    /// A directory: pass through it.
    Execute = 0o1,
}

impl User {
    /// Whether this user may pass through a directory, as its mode says it.
    #[must_use]
    pub fn may_enter(&self, directory: &Metadata) -> bool {
        self.may(Wish::Execute, directory)
    }

    fn may(&self, wish: Wish, found: &Metadata) -> bool {
        let (mode, others) = (found.mode(), wish as u32);
        let is_in_group = || self.gid == found.gid() || self.groups.contains(&found.gid());
        if self.uid == 0 {
            return wish == Wish::Read || found.is_dir() || mode & 0o111 != 0;
        }
        let bit = if self.uid == found.uid() {
            others << 6
        } else if is_in_group() {
            others << 3
        } else {
            others
        };
        mode & bit != 0
    }

    /// Whether this user may do this to a file that is there.
    ///
    /// # Errors
    /// What forbids it.
    pub(super) fn permitted(&self, wish: Wish, file: &Path) -> Result<(), Fault> {
        if self.keeps_our_rights() {
            return Ok(());
        }
        // What we cannot see ourselves is not ours to judge.
        if let Ok(Some(directory)) = self.closed_directory(file) {
            return Err(Fault::Closed { part: directory, user: self.uid });
        }
        match fs::metadata(file) {
            Ok(found) if !self.may(wish, &found) && modes_tell(file) => Err(match wish {
                Wish::Read => Fault::Unreadable { user: self.uid },
                Wish::Execute => Fault::Forbidden { user: self.uid },
            }),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The first directory on the way to a file, also by way of symbolic links, that this user may not pass through.
    fn closed_directory(&self, file: &Path) -> io::Result<Option<PathBuf>> {
        let mut at = if file.is_absolute() { PathBuf::from("/") } else { std::env::current_dir()? };
        let mut rest = parts(file);
        let mut links = MOST_LINKS;
        while let Some(part) = rest.pop() {
            if !self.may_enter(&fs::metadata(&at)?) && modes_tell(&at) {
                return Ok(Some(at));
            }
            let next = at.join(part);
            match fs::read_link(&next) {
                Ok(target) if links > 0 => {
                    links -= 1;
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    rest.extend(parts(&target));
                }
                Ok(_) | Err(_) => at = next,
            }
        }
        Ok(None)
    }
}

/// The names that a path leads through, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<_> = named.collect();
    parts.reverse();
    parts
}

/// Whether nothing but the mode decides about this file.
fn modes_tell(file: &Path) -> bool {
    let is_asked_elsewhere = |kind| matches!(kind, NFS_SUPER_MAGIC | FUSE_SUPER_MAGIC);
    !has_list(file) && !statfs(file).is_ok_and(|system| is_asked_elsewhere(system.filesystem_type()))
}

fn has_list(file: &Path) -> bool {
    let Ok(path) = CString::new(file.as_os_str().as_bytes()) else { return false };
    // SAFETY: both strings are null-terminated, and a size of 0 asks for the length alone and writes nothing.
    let length = unsafe { libc::getxattr(path.as_ptr(), c"system.posix_acl_access".as_ptr(), ptr::null_mut(), 0) };
    Errno::result(length).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn user(uid: u32, gid: u32, groups: &[u32]) -> User {
        User { uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn owner_group_and_others() {
        let folder = tempfile::tempdir().unwrap();
        let found = fs::metadata(folder.path()).unwrap();
        let (uid, gid) = (found.uid(), found.gid());
        let (owner, other) = (user(uid, gid, &[]), user(uid + 1, gid + 1, &[]));
        let (member, extra) = (user(uid + 1, gid, &[]), user(uid + 1, gid + 1, &[gid]));
        for (mode, expected) in [
            (0o700, [true, false, false, false]),
            (0o710, [true, true, true, false]),
            (0o701, [true, false, false, true]),
        ] {
            set_mode(folder.path(), mode);
            let found = fs::metadata(folder.path()).unwrap();
            assert_eq!([&owner, &member, &extra, &other].map(|user| user.may_enter(&found)), expected, "{mode:o}");
        }
        let file = folder.path().join("f");
        fs::write(&file, "").unwrap();
        let root = user(0, 0, &[]);
        for (mode, read, execute) in [(0o600, false, false), (0o604, true, false), (0o611, false, true)] {
            set_mode(&file, mode);
            let found = fs::metadata(&file).unwrap();
            assert_eq!((other.may(Wish::Read, &found), other.may(Wish::Execute, &found)), (read, execute), "{mode:o}");
            assert_eq!((root.may(Wish::Read, &found), root.may(Wish::Execute, &found)), (true, execute), "{mode:o}");
        }
    }

    #[test]
    fn every_directory_on_the_way_counts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        set_mode(folder.path(), 0o755);
        for directory in ["open", "closed", "closed/inner"] {
            fs::create_dir(at(directory)).unwrap();
        }
        for file in ["open/tool", "closed/inner/tool"] {
            fs::write(at(file), "").unwrap();
            set_mode(&at(file), 0o755);
        }
        set_mode(&at("open"), 0o755);
        set_mode(&at("closed"), 0o700);
        symlink("../closed/inner/tool", at("open/link")).unwrap();
        symlink(at("closed/inner"), at("open/inner")).unwrap();
        symlink("circle", at("open/circle")).unwrap();
        let stranger = user(fs::metadata(folder.path()).unwrap().uid() + 1, 54321, &[]);
        for (path, closed) in [
            ("open/tool", false),
            ("closed/inner/tool", true),
            ("open/link", true),
            ("open/inner/tool", true),
            ("closed/../open/tool", true),
            ("open/circle", false),
        ] {
            let found = stranger.closed_directory(&at(path)).unwrap();
            assert_eq!(found.is_some_and(|found| found.ends_with("closed")), closed, "{path}");
        }
    }
}
