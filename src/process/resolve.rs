//! The command is found before the first request, so that a wrong one never leaves a lifted node behind.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use agent_wrap_supervisor::SpawnFailure;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

/// Where a shell would look without PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Finds the file that `program` names, by the rules of a shell: a name with a slash is a path, any other is looked
/// for in the directories of `path` (an empty one is the working directory; without PATH the usual ones).
///
/// # Errors
/// `NotFound` (exit code 127) when no such file exists, `NotExecutable` (126) when the only ones that do are
/// directories or lack the permission to be executed, `Other` for an errno that is neither.
pub fn resolve(program: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, SpawnFailure> {
    if program.is_empty() {
        return Err(SpawnFailure::NotFound);
    }
    if program.as_bytes().contains(&b'/') {
        return check(Path::new(program)).map(|()| PathBuf::from(program));
    }
    let mut failure = SpawnFailure::NotFound;
    for directory in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        // Without a slash exec would be handed a name that means something else to whoever reads argv.
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
        let candidate = directory.join(program);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            // A later directory may hold one that can be executed; what was seen first says what is wrong.
            Err(SpawnFailure::NotFound) => {}
            Err(seen) if failure == SpawnFailure::NotFound => failure = seen,
            Err(_) => {}
        }
    }
    Err(failure)
}

fn check(candidate: &Path) -> Result<(), SpawnFailure> {
    let metadata = std::fs::metadata(candidate).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR) => SpawnFailure::NotFound,
        Some(Errno::EACCES | Errno::ELOOP) => SpawnFailure::NotExecutable,
        errno => SpawnFailure::Other(errno.unwrap_or(Errno::EIO) as i32),
    })?;
    if !metadata.is_file() || access(candidate, AccessFlags::X_OK).is_err() {
        return Err(SpawnFailure::NotExecutable);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(path: &Path, mode: u32) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_rules_of_a_shell() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for directory in ["plain", "good", "better", "good/folder"] {
            fs::create_dir(at(directory)).unwrap();
        }
        file(&at("plain/tool"), 0o644);
        file(&at("plain/only"), 0o644);
        file(&at("good/tool"), 0o755);
        file(&at("better/tool"), 0o755);
        std::os::unix::fs::symlink("nowhere", at("good/dangling")).unwrap();
        std::os::unix::fs::symlink("loop", at("good/loop")).unwrap();
        let path = std::env::join_paths([at("missing"), at("plain"), at("good"), at("better")]).unwrap();
        let absolute = |name: &str| at(name).into_os_string();
        let table = [
            ("tool".into(), Ok(at("good/tool"))),
            ("only".into(), Err(SpawnFailure::NotExecutable)),
            ("folder".into(), Err(SpawnFailure::NotExecutable)),
            ("dangling".into(), Err(SpawnFailure::NotFound)),
            ("loop".into(), Err(SpawnFailure::NotExecutable)),
            ("absent".into(), Err(SpawnFailure::NotFound)),
            ("".into(), Err(SpawnFailure::NotFound)),
            (absolute("better/tool"), Ok(at("better/tool"))),
            (absolute("plain/tool"), Err(SpawnFailure::NotExecutable)),
            (absolute("good"), Err(SpawnFailure::NotExecutable)),
            (absolute("good/tool/x"), Err(SpawnFailure::NotFound)),
            (absolute("absent"), Err(SpawnFailure::NotFound)),
        ];
        for (program, expected) in table {
            assert_eq!(resolve(&program, Some(&path)), expected, "{}", program.display());
        }
    }

    #[test]
    fn without_a_path_the_usual_places() {
        assert!(resolve(OsStr::new("sh"), None).unwrap().ends_with("sh"));
    }

    #[test]
    fn an_empty_directory_is_the_working_directory() {
        // The tests run in the package's directory, where no file is executable and Cargo.toml exists.
        assert_eq!(resolve(OsStr::new("Cargo.toml"), Some(OsStr::new(""))), Err(SpawnFailure::NotExecutable));
    }
}
