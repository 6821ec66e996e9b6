//! Files that somebody names: read with a bound, and never from something that may not answer.
//!
//! | what the path is | what becomes of it |
//! |---|---|
//! | a regular file, `/dev/null` | read, each time anew |
//! | a pipe without a name, as `<(command)` and `/dev/stdin` are | read to its end once, and remembered |
//! | a FIFO, a socket, a device, a terminal, a directory | refused without being opened, with its cure |
//!
//! A file on a mount that hangs still hangs its reader: after the start whoever reads does so [beside](crate::beside)
//! the turn.

use std::collections::BTreeMap;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::statfs::{FsType, Statfs, fstatfs, statfs};
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::shortage::{Shortage, cause_of};

/// Why there is nothing to be had from a path.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says so.
    #[error("{}{}", .0, cause_of(.0))]
    System(#[from] io::Error),
    /// It is there, but it is no file that can be read again.
    #[error("it is {what}; {cure}")]
    NoFile {
        /// What it is, with its article.
        what: &'static str,
        /// What to do about it.
        cure: &'static str,
    },
}

impl FileError {
    /// Whether there is nothing of that name.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::System(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the system lacks something, and the file may well be right.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::System(error) if Shortage::of_error(error).is_some())
    }
}

/// Where the kernel keeps the pipes that have no name.
const PIPEFS_MAGIC: FsType = FsType(0x5049_5045);

/// What has come through pipes, by device and inode: it comes once, and is asked for again at a reload or a refusal.
static PIPED: Mutex<BTreeMap<(u64, u64), SecretSlice<u8>>> = Mutex::new(BTreeMap::new());

/// Whether nothing is at this path for sure: what may not be looked at may well be there.
#[must_use]
pub fn is_absent(path: &Path) -> bool {
    let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    fs::metadata(path).is_err_and(|error| absent.contains(&error.kind()))
}

/// Reads a file, and no more of it than `limit` bytes.
///
/// # Errors
/// It cannot be opened or read, or is nothing that should be.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    match open(path)? {
        Opened::Regular(file) => Ok(start_of(&file, limit)?),
        Opened::Pipe(file) => read_pipe(&file, limit),
    }
}

/// As [`read`], but of a file that can be read again and again by others: a pipe is left to whoever it is for.
///
/// # Errors
/// As [`read`]; and it is a pipe.
pub fn read_regular(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    match open(path)? {
        Opened::Regular(file) => Ok(start_of(&file, limit)?),
        Opened::Pipe(_) => Err(FileError::NoFile { what: "a pipe", cure: "name a regular file" }),
    }
}

/// What a process that we start finds under a path that was written for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// The same as we, each time.
    Lasting,
    /// A pipe, which gives its contents once.
    Once,
    /// Nothing: it is a descriptor of ours, and the child gets none but its three streams.
    Nothing,
    /// Nothing that could be read as a file: there is none, or what is there is something else.
    Unfit,
}

/// What a process that we start finds under this path. Nothing is opened for that.
#[must_use]
pub fn inherited(path: &Path) -> Inherited {
    if descriptor(path).is_some_and(|number| number > 2) {
        return Inherited::Nothing;
    }
    match look(path) {
        Ok(Kind::Pipe) => Inherited::Once,
        Err(FileError::NoFile { .. }) => Inherited::Unfit,
        Err(error) if error.is_missing() => Inherited::Unfit,
        // What we may not look at, another user may.
        Ok(Kind::Regular) | Err(FileError::System(_)) => Inherited::Lasting,
    }
}

/// Whether [`read`] would find something to read under this path, as far as that is seen without opening it.
///
/// # Errors
/// As [`read`], but for those of opening and reading.
pub fn look_at(path: &Path) -> Result<(), FileError> {
    look(path).map(drop)
}

/// Whether this path is a name of standard input.
#[must_use]
pub fn is_stdin(path: &Path) -> bool {
    descriptor(path) == Some(0)
}

/// The descriptor that a path is a name of, as shells write it.
fn descriptor(path: &Path) -> Option<u32> {
    if path == Path::new("/dev/stdin") {
        return Some(0);
    }
    let number = ["/dev/fd", "/proc/self/fd"].iter().find_map(|folder| path.strip_prefix(folder).ok())?;
    number.to_str()?.parse().ok()
}

enum Opened {
    Regular(File),
    Pipe(File),
}

fn open(path: &Path) -> Result<Opened, FileError> {
    // Looked at first: to open a FIFO lets its writer go on, and what it writes then is lost.
    look(path)?;
    // Should it be another by now: neither waits for a FIFO's writer or a modem, nor makes a terminal ours.
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        // Another process (a file server) has a lease on a regular file, and is being told to give it back.
        Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => File::open(path)?,
        opened => opened?,
    };
    Ok(match kind(&file.metadata()?, || fstatfs(&file))? {
        Kind::Regular => Opened::Regular(file),
        Kind::Pipe => Opened::Pipe(file),
    })
}

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Regular,
    Pipe,
}

fn look(path: &Path) -> Result<Kind, FileError> {
    kind(&fs::metadata(path)?, || statfs(path))
}

fn kind(found: &Metadata, system: impl FnOnce() -> nix::Result<Statfs>) -> Result<Kind, FileError> {
    let null = found.file_type().is_char_device() && found.rdev() == libc::makedev(1, 3);
    if found.is_file() || null {
        return Ok(Kind::Regular);
    }
    if found.file_type().is_fifo() && system().map_err(io::Error::from)?.filesystem_type() == PIPEFS_MAGIC {
        return Ok(Kind::Pipe);
    }
    Err(refusal(found.file_type()).unwrap_or(FileError::NoFile { what: "no file", cure: "name a regular file" }))
}

fn refusal(kind: FileType) -> Option<FileError> {
    let (what, cure) = if kind.is_fifo() {
        (
            "a FIFO, whose reader waits for a writer, and which gives its contents once",
            "name a regular file, or hand over a pipe, as the shell's <(command) does",
        )
    } else if kind.is_socket() {
        ("a socket", "name a regular file")
    } else if kind.is_dir() {
        ("a directory", "name the file in it")
    } else if kind.is_char_device() || kind.is_block_device() {
        ("a device or a terminal", "name a regular file")
    } else {
        return None;
    };
    Some(FileError::NoFile { what, cure })
}

fn start_of(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Waits for the writer, as every reader of a pipe does, and reads what it has written; the next time from memory.
fn read_pipe(file: &File, limit: usize) -> Result<Vec<u8>, FileError> {
    let found = file.metadata()?;
    let key = (found.dev(), found.ino());
    // Held while it is read: a second reader would take a part of it away.
    let mut known = PIPED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = known.get(&key) {
        return Ok(bytes.expose_secret().iter().copied().take(limit).collect());
    }
    wait_for_data(file)?;
    let bytes = start_of(file, limit)?;
    known.insert(key, SecretSlice::from(bytes.clone()));
    Ok(bytes)
}

/// From here on reads of this description wait; it was opened by us and is nobody else's.
fn wait_for_data(file: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    match fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)) {
        Ok(_) => Ok(()),
        Err(Errno::EINTR) => wait_for_data(file),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    fn refused(path: impl AsRef<Path>) -> String {
        let error = read(path.as_ref(), 10).unwrap_err();
        assert!(matches!(error, FileError::NoFile { .. }), "{error}");
        error.to_string()
    }

    fn path_of(end: &impl std::os::fd::AsRawFd) -> PathBuf {
        PathBuf::from(format!("/dev/fd/{}", end.as_raw_fd()))
    }

    /// Whether anybody has opened a file since the watch began.
    struct Opens(File);

    impl Opens {
        fn of(path: &Path) -> Self {
            let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: it takes flags and gives a new descriptor.
            let watch = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
            assert!(watch >= 0);
            // SAFETY: the descriptor is a watch, and the path a string that ends.
            assert!(unsafe { libc::inotify_add_watch(watch, path.as_ptr(), libc::IN_OPEN) } >= 0);
            // SAFETY: the descriptor is new and nobody else's.
            Self(unsafe { std::os::fd::FromRawFd::from_raw_fd(watch) })
        }

        fn any(&mut self) -> bool {
            self.0.read(&mut [0; 4096]).is_ok()
        }
    }

    #[test]
    fn nobody_who_writes_to_a_fifo_is_let_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut opens = Opens::of(&fifo);
        assert_eq!(inherited(&fifo), Inherited::Unfit);
        assert!(refused(&fifo).starts_with("it is a FIFO"));
        assert!(read_regular(&fifo, 10).is_err() && look_at(&fifo).is_err());
        assert!(!opens.any());
        drop(OpenOptions::new().read(true).write(true).open(&fifo).unwrap());
        assert!(opens.any());
    }

    #[test]
    fn a_file_is_read_up_to_the_limit_each_time_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        assert!(read(&path, 10).unwrap_err().is_missing());
        std::fs::write(&path, "0123456789abc").unwrap();
        assert_eq!(read(&path, 10).unwrap(), b"0123456789");
        std::fs::write(&path, "new").unwrap();
        assert_eq!(read(&path, 10).unwrap(), b"new");
        assert_eq!(read(Path::new("/dev/null"), 10).unwrap(), b"");
    }

    #[test]
    fn what_may_never_answer_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refused(&fifo).starts_with("it is a FIFO"));
        // Not with a writer either: it would be read once, and at a reload be waited for.
        let writer = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        assert!(refused(&fifo).contains("<(command)"));
        assert!(refused(path_of(&writer)).starts_with("it is a FIFO"));
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(refused(&socket), "it is a socket; name a regular file");
        assert_eq!(refused(folder.path()), "it is a directory; name the file in it");
        assert_eq!(refused("/dev/zero"), "it is a device or a terminal; name a regular file");
        let terminal = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        assert!(refused(path_of(&terminal)).starts_with("it is a device"));
    }

    #[test]
    fn a_pipe_is_waited_for_and_remembered() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let path = path_of(&reader);
        assert!(matches!(read_regular(&path, 10), Err(FileError::NoFile { what: "a pipe", .. })));
        let writing = std::thread::spawn(move || {
            writer.write_all(b"keeper:").unwrap();
            writer.write_all(b"token").unwrap();
        });
        assert_eq!(read(&path, 100).unwrap(), b"keeper:token");
        writing.join().unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"keeper:token");
        assert_eq!(read(&path, 6).unwrap(), b"keeper");
    }

    #[test]
    fn what_a_child_finds_under_a_path() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(inherited(&path_of(&reader)), Inherited::Nothing);
        // By another name it is the pipe that it would be as a child's standard input.
        let pipe = format!("/proc/{}/fd/{}", std::process::id(), reader.as_raw_fd());
        assert_eq!(inherited(Path::new(&pipe)), Inherited::Once);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(inherited(file.path()), Inherited::Lasting);
        assert_eq!(inherited(&path_of(file.as_file())), Inherited::Nothing);
        for unfit in ["/nonexistent", "/dev", "/dev/zero"] {
            assert_eq!(inherited(Path::new(unfit)), Inherited::Unfit, "{unfit}");
        }
        for (path, number) in [
            ("/dev/stdin", Some(0)),
            ("/dev/fd/0", Some(0)),
            ("/proc/self/fd/63", Some(63)),
            ("/dev/fd/x", None),
            ("/dev/fd", None),
            ("fd/3", None),
        ] {
            assert_eq!(descriptor(Path::new(path)), number, "{path}");
        }
    }

    #[test]
    fn a_pipe_without_an_end_is_cut() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let writing = std::thread::spawn(move || while writer.write_all(b"more and more").is_ok() {});
        assert_eq!(read(&path_of(&reader), 10).unwrap(), b"more and m");
        drop(reader);
        writing.join().unwrap();
    }

    #[test]
    fn a_leased_file_is_read_when_the_lease_is_given_back() {
        /// Not in every libc.
        const F_SETSIG: libc::c_int = 10;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "leased").unwrap();
        let holder = File::open(&path).unwrap();
        let ask = |command, value: libc::c_int| {
            // SAFETY: the commands of a lease take integers, and the descriptor is open.
            unsafe { libc::fcntl(holder.as_raw_fd(), command, value) }
        };
        // A signal that is ignored by default tells us when somebody wants the file.
        assert_eq!(ask(F_SETSIG, libc::SIGURG), 0);
        if ask(libc::F_SETLEASE, libc::F_WRLCK) != 0 {
            let why = format!("this file system gives no leases ({})", io::Error::last_os_error());
            return agent_wrap_testbed::skip::skip("files::a_leased_file_is_read_when_the_lease_is_given_back", &why);
        }
        let reading = std::thread::spawn(move || read(&path, 10));
        let breaking = format!(":{} ", holder.metadata().unwrap().ino());
        let locks = || std::fs::read_to_string("/proc/locks").unwrap();
        while !locks().lines().any(|line| line.contains("BREAKING") && line.contains(&breaking)) {
            assert!(!reading.is_finished(), "{:?}", reading.join());
            std::thread::yield_now();
        }
        assert_eq!(ask(libc::F_SETLEASE, libc::F_UNLCK), 0);
        assert_eq!(reading.join().unwrap().unwrap(), b"leased");
    }
}
