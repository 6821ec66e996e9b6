//! The command is found, and looked at as the kernel will, before the first request: a wrong one never leaves a lifted
//! node behind.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access, eaccess, geteuid};

use super::format::{self, Unseen};
use super::modes::Wish;
use super::spawn::User;
use crate::quoted::quoted;

/// Where a shell would look without PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A file that cannot be executed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The file, or the command's name when none was found.
    pub program: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An empty word.
    Empty,
    /// A name without a slash that no directory of PATH has.
    NotInPath {
        /// PATH, if it is set.
        path: Option<OsString>,
        /// The working directory has a file of that name.
        here: bool,
    },
    /// A path with nothing at its end; the working directory for a relative one.
    Missing {
        /// What the path is relative to.
        directory: Option<PathBuf>,
    },
    /// A symbolic link to something that is not there.
    Dangling {
        /// Where it points to.
        target: PathBuf,
    },
    /// A part of the path is a file.
    ThroughAFile(PathBuf),
    /// A directory on the way may not be searched.
    Closed {
        /// The directory.
        part: PathBuf,
        /// By whom.
        user: u32,
    },
    /// Symbolic links in a circle.
    Loop,
    /// A directory.
    Directory,
    /// A device, a socket or a pipe.
    NoRegularFile,
    /// Nobody may execute it.
    NoExecutableBit,
    /// Somebody may not execute it, others may.
    Forbidden {
        /// Who.
        user: u32,
    },
    /// A script that its interpreter cannot read.
    Unreadable {
        /// As whom it would run.
        user: u32,
    },
    /// A file that somebody has to read and may not.
    Hidden {
        /// Who.
        user: u32,
    },
    /// Nothing on this file system may be executed.
    NoExec,
    /// The program that has to run it, a script's interpreter or a program's loader, is not there.
    NoInterpreter {
        /// The file that is missing.
        interpreter: PathBuf,
        /// It is a program's loader.
        loader: bool,
    },
    /// The program that has to run it cannot be executed itself.
    BadInterpreter(Box<Unresolved>),
    /// Scripts whose interpreters are scripts, too many or in a circle.
    TooDeep,
    /// It is made for another kind of machine.
    OtherMachine {
        /// For which.
        theirs: String,
        /// On which we are.
        ours: String,
    },
    /// It has nothing in it.
    NoContent,
    /// A Java archive.
    Jar,
    /// A text without the line that names its interpreter.
    NoShebang,
    /// The kernel knows nothing of the kind.
    UnknownFormat,
    /// The system does not let us look.
    System(Errno),
}

impl Unresolved {
    /// Whether a shell would say "not found" (exit code 127) rather than "cannot execute" (126).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.fault,
            Fault::Empty
                | Fault::NotInPath { .. }
                | Fault::Missing { .. }
                | Fault::Dangling { .. }
                | Fault::ThroughAFile(_)
        )
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = quoted(&self.program);
        match &self.fault {
            Fault::Empty => f.write_str("the agent's command is an empty word; is a variable in it not set?"),
            Fault::NotInPath { path, here } => {
                write!(f, "{program}: there is no such command in PATH ")?;
                match path {
                    Some(path) => write!(f, "({})", quoted(path))?,
                    None => write!(f, "(which is not set, so that {DEFAULT_PATH} was searched)")?,
                }
                if *here {
                    return write!(
                        f,
                        "; the working directory has such a file: write it as ./{}",
                        self.program.display()
                    );
                }
                f.write_str("; is it installed? A command in another directory is written with its path")
            }
            Fault::Missing { directory: Some(directory) } => write!(
                f,
                "{program}: there is no such file in the working directory, which is {}; is agent-wrap \
                 started in the right one? Better write the whole path",
                quoted(directory)
            ),
            Fault::Missing { directory: None } => {
                write!(f, "{program}: there is no such file; is it installed, and is the path right?")
            }
            Fault::Dangling { target } => write!(
                f,
                "{program}: this is a symbolic link to {}, which is not there; was that removed or renamed?",
                quoted(target)
            ),
            Fault::ThroughAFile(part) => {
                write!(f, "{program}: {} is not a directory, so nothing is in it; is the path right?", quoted(part))
            }
            Fault::Closed { part, user: 0 } => write!(
                f,
                "{program}: root may not enter the directory {}, because agent-wrap lacks CAP_DAC_READ_SEARCH; give it that \
                 (CapabilityBoundingSet= in the unit, --cap-add in a container), or open the directory (chmod +x)",
                quoted(part)
            ),
            Fault::Closed { part, user } => write!(
                f,
                "{program}: user {user} may not enter the directory {}; give it the permission (chmod +x)",
                quoted(part)
            ),
            Fault::Loop => write!(f, "{program}: the symbolic links on the way to it lead in a circle; mend them"),
            Fault::Directory => write!(f, "{program}: this is a directory; write the program in it that is meant"),
            Fault::NoRegularFile => write!(f, "{program}: this is no file but a device, a socket or a pipe"),
            Fault::NoExecutableBit => write!(
                f,
                "{program}: the file is there but has no executable bit; chmod +x it, or name the program that runs it \
                 first"
            ),
            Fault::Forbidden { user } => write!(
                f,
                "{program}: user {user} may not execute this file, though others may; change its owner or its mode"
            ),
            Fault::Unreadable { user } => write!(
                f,
                "{program}: user {user} may not read this script, as its interpreter has to; change its owner or its mode"
            ),
            Fault::Hidden { user } => {
                write!(f, "{program}: user {user} may not read this file; change its owner or its mode (chmod +r)")
            }
            Fault::NoExec => write!(
                f,
                "{program}: its file system is mounted noexec, so that nothing on it can be executed; move the program, \
                 or mount it with exec"
            ),
            Fault::NoInterpreter { interpreter, loader: true } => write!(
                f,
                "{program}: the file is there, but the loader it needs, {}, is not; it is made for another \
                 C library (glibc, musl) or another system: install that, or the program for this system",
                quoted(interpreter)
            ),
            Fault::NoInterpreter { interpreter, .. } if interpreter.as_os_str().as_bytes().ends_with(b"\r") => write!(
                f,
                "{program}: its lines end as on Windows, so that its first line names an interpreter with a carriage \
                 return at its end; remove them (sed -i 's/\\r$//' FILE, or dos2unix)"
            ),
            Fault::NoInterpreter { interpreter, .. } => write!(
                f,
                "{program}: the script is there, but the interpreter that its first line names, {}, is \
                 not; install that, or correct the line",
                quoted(interpreter)
            ),
            Fault::BadInterpreter(why) => write!(f, "{program} is run by another program, which fails: {why}"),
            Fault::TooDeep => write!(
                f,
                "{program}: interpreters that are scripts themselves, more than the kernel follows, or in a circle; \
                 name a program in the first line"
            ),
            Fault::OtherMachine { theirs, ours } => write!(
                f,
                "{program}: this program is made for {theirs}, and this machine is {ours}; install the one for {ours}"
            ),
            Fault::NoContent => write!(f, "{program}: the file is empty; was it written or copied to its end?"),
            Fault::Jar => {
                write!(f, "{program}: this is a jar, which java runs: write java -jar {}", self.program.display())
            }
            Fault::NoShebang => write!(
                f,
                "{program}: this is a text whose first line names no interpreter; begin it with #!/bin/sh, or write sh \
                 before the command"
            ),
            Fault::UnknownFormat => {
                write!(f, "{program}: this is no program that the system knows how to run; is it the right file?")
            }
            Fault::System(errno) => write!(f, "{program}: the system does not let us look at it: {}", errno.desc()),
        }
    }
}

impl std::error::Error for Unresolved {}

/// Finds the file that `program` names, by the rules of a shell: a name with a slash is a path, any other is looked
/// for in the directories of `path` (an empty one is the working directory; without PATH the usual ones).
///
/// # Errors
/// No such file exists, or the only ones that do cannot be executed. What only the kernel knows for sure, such as
/// whether it has a handler for a strange format that we cannot see from here, is left for it to say.
pub fn resolve(program: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Unresolved> {
    let name = || PathBuf::from(program);
    if program.is_empty() {
        return Err(Unresolved { program: name(), fault: Fault::Empty });
    }
    if program.as_bytes().contains(&b'/') {
        return check(Path::new(program), None, Unseen::Known).map(|()| name());
    }
    let mut failure = None;
    for directory in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        // Without a slash exec would be handed a name that means something else to whoever reads argv.
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
        let candidate = directory.join(program);
        match permitted(&candidate, None) {
            // As a shell does, the first that may be executed is the one, whatever is in it.
            Ok(()) => return check(&candidate, None, Unseen::Known).map(|()| candidate),
            // A later directory may hold one that can be executed; what was seen first says what is wrong.
            Err(fault) => {
                let seen = Unresolved { program: candidate, fault };
                failure = failure.or(Some(seen).filter(|seen| !seen.is_not_found()));
            }
        }
    }
    Err(failure.unwrap_or_else(|| {
        let here = Path::new(program).is_file();
        Unresolved { program: name(), fault: Fault::NotInPath { path: path.map(OsStr::to_owned), here } }
    }))
}

/// Whether a user that is not ourselves may execute a file that was resolved, and what runs it, as far as modes tell.
///
/// # Errors
/// What forbids it.
pub fn check_for(user: &User, file: &Path) -> Result<(), Unresolved> {
    check(file, Some(user), Unseen::Known)
}

/// Looks whether another user than ourselves, or we, may read a file that is there.
///
/// # Errors
/// What forbids it.
pub fn check_readable(file: &Path, user: Option<&User>) -> Result<(), Unresolved> {
    let checked = match user {
        Some(user) => user.permitted(Wish::Read, file),
        None => match eaccess(file, AccessFlags::R_OK) {
            Err(errno @ Errno::EACCES) => match fs::metadata(file) {
                Ok(_) => Err(Fault::Unreadable { user: geteuid().as_raw() }),
                Err(_) => Err(unreachable(file, &errno.into())),
            },
            // Whatever else is wrong with it, the agent says better.
            Ok(()) | Err(_) => Ok(()),
        },
    };
    checked.map_err(|fault| {
        // It need not be a script.
        let fault = if let Fault::Unreadable { user } = fault { Fault::Hidden { user } } else { fault };
        Unresolved { program: file.to_owned(), fault }
    })
}

/// Looks for the reason why the kernel has refused a file that was resolved, for another user than ourselves or for us.
///
/// # Errors
/// What is wrong with it. No error: nothing that can be seen from here.
pub fn explain(file: &Path, user: Option<&User>) -> Result<(), Unresolved> {
    check(file, user, Unseen::Unknown)
}

fn check(file: &Path, user: Option<&User>, unseen: Unseen) -> Result<(), Unresolved> {
    let checked = permitted(file, user).and_then(|()| format::check(file, user, unseen));
    checked.map_err(|fault| Unresolved { program: file.to_owned(), fault })
}

/// Whether the file is there and its file system, its mode and its type let us execute it, or this user.
pub(super) fn permitted(file: &Path, user: Option<&User>) -> Result<(), Fault> {
    let metadata = fs::metadata(file).map_err(|error| unreachable(file, &error))?;
    if metadata.is_dir() {
        return Err(Fault::Directory);
    }
    if !metadata.is_file() {
        return Err(Fault::NoRegularFile);
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(Fault::NoExecutableBit);
    }
    if let Some(user) = user {
        return if is_on_noexec(file) { Err(Fault::NoExec) } else { user.permitted(Wish::Execute, file) };
    }
    match access(file, AccessFlags::X_OK) {
        Ok(()) => Ok(()),
        Err(Errno::EACCES) if is_on_noexec(file) => Err(Fault::NoExec),
        Err(Errno::EACCES | Errno::EPERM) => Err(Fault::Forbidden { user: geteuid().as_raw() }),
        Err(errno) => Err(Fault::System(errno)),
    }
}

fn is_on_noexec(file: &Path) -> bool {
    statvfs(file).is_ok_and(|system| system.flags().contains(FsFlags::ST_NOEXEC))
}

/// Why nothing is to be seen at this path.
fn unreachable(file: &Path, error: &io::Error) -> Fault {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO));
    // From the root on; the file itself is no directory on the way.
    let way = || file.ancestors().skip(1).filter(|part| !part.as_os_str().is_empty()).collect::<Vec<_>>();
    match errno {
        Errno::ENOENT => match fs::read_link(file) {
            Ok(target) => Fault::Dangling { target },
            Err(_) if file.is_absolute() => Fault::Missing { directory: None },
            Err(_) => Fault::Missing { directory: std::env::current_dir().ok() },
        },
        Errno::ENOTDIR => {
            let part = way().into_iter().rev().find(|part| fs::metadata(part).is_ok_and(|part| !part.is_dir()));
            Fault::ThroughAFile(part.unwrap_or(file).to_owned())
        }
        Errno::EACCES => {
            let part = way().into_iter().rev().find(|part| access(*part, AccessFlags::X_OK).is_err());
            Fault::Closed { part: part.unwrap_or(file).to_owned(), user: geteuid().as_raw() }
        }
        Errno::ELOOP => Fault::Loop,
        errno => Fault::System(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn file(path: &Path, mode: u32) {
        fs::write(path, "#!/bin/sh\n").unwrap();
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
        symlink("nowhere", at("good/dangling")).unwrap();
        symlink("loop", at("good/loop")).unwrap();
        fs::write(at("good/text"), "exit 0\n").unwrap();
        fs::set_permissions(at("good/text"), fs::Permissions::from_mode(0o755)).unwrap();
        file(&at("better/text"), 0o755);
        let path = std::env::join_paths([at("missing"), at("plain"), at("good"), at("better")]).unwrap();
        let absolute = |name: &str| at(name).into_os_string();
        let not_in_path = || Fault::NotInPath { path: Some(path.clone()), here: false };
        type Expected = Result<PathBuf, (PathBuf, Fault)>;
        let table: [(OsString, Expected); 13] = [
            ("tool".into(), Ok(at("good/tool"))),
            ("only".into(), Err((at("plain/only"), Fault::NoExecutableBit))),
            ("folder".into(), Err((at("good/folder"), Fault::Directory))),
            ("dangling".into(), Err(("dangling".into(), not_in_path()))),
            ("loop".into(), Err((at("good/loop"), Fault::Loop))),
            ("text".into(), Err((at("good/text"), Fault::NoShebang))),
            ("absent".into(), Err(("absent".into(), not_in_path()))),
            ("".into(), Err(("".into(), Fault::Empty))),
            (absolute("better/tool"), Ok(at("better/tool"))),
            (absolute("plain/tool"), Err((at("plain/tool"), Fault::NoExecutableBit))),
            (absolute("good"), Err((at("good"), Fault::Directory))),
            (absolute("good/tool/x/y"), Err((at("good/tool/x/y"), Fault::ThroughAFile(at("good/tool"))))),
            (absolute("absent"), Err((at("absent"), Fault::Missing { directory: None }))),
        ];
        for (program, expected) in table {
            let expected = expected.map_err(|(program, fault)| Unresolved { program, fault });
            assert_eq!(resolve(&program, Some(&path)), expected, "{}", program.display());
        }
        let dangling = Fault::Dangling { target: "nowhere".into() };
        assert_eq!(explain(&at("good/dangling"), None).unwrap_err().fault, dangling);
        assert_eq!(explain(Path::new("/dev/null"), None).unwrap_err().fault, Fault::NoRegularFile);
    }

    #[test]
    fn without_a_path_the_usual_places() {
        assert!(resolve(OsStr::new("sh"), None).unwrap().ends_with("sh"));
        let error = resolve(OsStr::new("absent"), None).unwrap_err();
        assert!(error.to_string().contains(DEFAULT_PATH), "{error}");
    }

    #[test]
    fn the_working_directory() {
        // The tests run in the package's directory, where no file is executable and Cargo.toml exists.
        let fault = |program: &str, path: &str| resolve(OsStr::new(program), Some(OsStr::new(path))).unwrap_err().fault;
        assert_eq!(fault("Cargo.toml", ""), Fault::NoExecutableBit);
        assert_eq!(fault("Cargo.toml", "/bin"), Fault::NotInPath { path: Some("/bin".into()), here: true });
        let directory = Some(std::env::current_dir().unwrap());
        assert_eq!(fault("./absent", "/bin"), Fault::Missing { directory });
        assert_eq!(fault("Cargo.toml/x", "/bin"), Fault::ThroughAFile("Cargo.toml".into()));
    }
}
