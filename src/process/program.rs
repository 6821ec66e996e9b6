//! What a program's file tells about the parent-death signal.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::libc;

/// Whether it is sure that the process that executes this file is the agent's Java machine itself and keeps its
/// parent-death signal.
///
/// The kernel forgets the signal when a process changes its user or executes a file that brings privileges of its own
/// (set-uid, set-gid, file capabilities, another SELinux domain), and a process below the one that was executed never
/// had it. A script, `runuser`, `setpriv` or `sudo` may do any of that.
#[must_use]
pub fn keeps_death_signal(program: &Path) -> bool {
    let Ok(file) = fs::canonicalize(program) else { return false };
    file.file_name().is_some_and(|name| name == "java")
        && is_binary(&file)
        && !brings_privileges(&file)
        && !Path::new("/sys/fs/selinux/enforce").exists()
}

fn is_binary(file: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(file).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

fn brings_privileges(file: &Path) -> bool {
    let Ok(metadata) = fs::metadata(file) else { return true };
    if metadata.mode() & (libc::S_ISUID | libc::S_ISGID) != 0 {
        return true;
    }
    let Ok(path) = CString::new(file.as_os_str().as_bytes()) else { return true };
    // SAFETY: both strings are null-terminated, and a size of 0 asks for the length alone and writes nothing.
    let length = unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), ptr::null_mut(), 0) };
    !matches!(Errno::result(length), Err(Errno::ENODATA | Errno::ENOTSUP))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// `java` in a folder of its own, with this content and mode.
    fn java(content: &[u8], mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("java");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        (folder, file)
    }

    #[test]
    fn only_java_itself_is_trusted_with_it() {
        if Path::new("/sys/fs/selinux/enforce").exists() {
            return;
        }
        let (folder, file) = java(b"\x7fELF...", 0o755);
        assert!(keeps_death_signal(&file));
        let alternative = folder.path().join("alternative");
        std::os::unix::fs::symlink(&file, &alternative).unwrap();
        assert!(keeps_death_signal(&alternative), "by whatever name it is reached");
        let runuser = folder.path().join("runuser");
        fs::copy(&file, &runuser).unwrap();
        assert!(!keeps_death_signal(&runuser), "a program that executes another");
        let disguised = folder.path().join("bin");
        fs::create_dir(&disguised).unwrap();
        std::os::unix::fs::symlink(&runuser, disguised.join("java")).unwrap();
        assert!(!keeps_death_signal(&disguised.join("java")), "a dispatcher under many names");
        for (content, mode) in
            [(&b"#!/bin/sh\n"[..], 0o755), (b"\x7fE", 0o755), (b"\x7fELF", 0o4755), (b"\x7fELF", 0o2755)]
        {
            let (_folder, file) = java(content, mode);
            assert!(!keeps_death_signal(&file), "{content:?} {mode:o}");
        }
        assert!(!keeps_death_signal(Path::new("/nowhere/java")));
    }

    #[test]
    fn a_file_with_capabilities_is_not_trusted() {
        let (_folder, file) = java(b"\x7fELF", 0o755);
        // cap_net_bind_service, effective and permitted, as setcap writes it.
        let mut capability = [0; 20];
        capability[..8].copy_from_slice(&[1, 0, 0, 2, 0, 4, 0, 0]);
        let path = CString::new(file.as_os_str().as_bytes()).unwrap();
        let name = c"security.capability".as_ptr();
        // SAFETY: the strings are null-terminated, and the value has the length that is said.
        let set = unsafe { libc::setxattr(path.as_ptr(), name, capability.as_ptr().cast(), capability.len(), 0) };
        if Errno::result(set).is_err() {
            // It takes root, and a file system that knows them.
            return;
        }
        assert!(!keeps_death_signal(&file));
    }
}
