//! An operator's hold file: while it is there the node is kept marked offline, with what the file says as the reason.
//!
//! Looked at when its folder tells of a change (inotify), at the start and at each reload; so nothing wakes up meanwhile.
//! What others change on a network file system no folder tells of: there a reload looks.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::files;
use crate::quoted::quoted;

/// Holds every node of this machine.
const FOR_ALL: &str = "/etc/agent-wrap/hold";
/// Files in here hold the node of their name.
const FOR_ONE: &str = "/etc/agent-wrap/hold.d";
/// More of a file than a reason can be long.
const LIMIT: usize = 4096;

/// The files that hold a node, each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldFiles {
    paths: Vec<PathBuf>,
}

impl HoldFiles {
    /// Those of this node: the one that the settings name, else the usual two.
    #[must_use]
    pub fn of(named: Option<&Path>, node: &str) -> Self {
        let paths = match named {
            Some(path) => vec![path.to_owned()],
            // A name that is no file's name has no file.
            None if node.contains('/') || [".", "..", ""].contains(&node) => vec![PathBuf::from(FOR_ALL)],
            None => vec![PathBuf::from(FOR_ALL), Path::new(FOR_ONE).join(node)],
        };
        Self { paths }
    }

    /// What the first of them that is there says, on one line; `None` when none is. It may hang.
    #[must_use]
    pub fn look(&self) -> Option<String> {
        self.paths.iter().find_map(|path| says(path))
    }
}

fn says(path: &Path) -> Option<String> {
    static BLIND: AtomicBool = AtomicBool::new(false);
    match fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return None,
        Err(error) => {
            if !BLIND.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    target: "agent_wrap",
                    event = "hold_unseen",
                    "cannot see whether there is a hold file {}, so that none holds the node: {error}; let agent-wrap's \
                     user look into its folder",
                    quoted(path)
                );
            }
            return None;
        }
    }
    let shown = quoted(path);
    match files::read_regular(path, LIMIT) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            Some(if words.is_empty() { format!("held by an operator ({})", path.display()) } else { words })
        }
        // It was there a moment ago.
        Err(error) if error.is_missing() && fs::symlink_metadata(path).is_err() => None,
        Err(error) => {
            tracing::warn!(
                target: "agent_wrap",
                event = "hold_unreadable",
                "the hold file {shown} is there but cannot be read, so that the reason will not say why: {error}"
            );
            Some(format!("held by an operator ({})", path.display()))
        }
    }
}

/// What a folder is watched for: that of a hold file for everything that may change what is read there, one above a folder
/// that is missing for the name that comes next.
fn changes() -> AddWatchFlags {
    AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
}

/// A folder, and the one name in it that matters; `None` for all.
#[derive(PartialEq, Eq)]
struct ToWatch {
    folder: PathBuf,
    name: Option<OsString>,
}

impl HoldFiles {
    /// The folder of each file, or the last one above it that is there.
    fn to_watch(&self) -> Vec<ToWatch> {
        let one = |path: &PathBuf| {
            let mut below = path.as_path();
            let mut name = None;
            while let Some(folder) = below.parent() {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                if folder.is_dir() {
                    return Some(ToWatch { folder: folder.to_owned(), name });
                }
                name = folder.file_name().map(OsStr::to_owned);
                below = folder;
            }
            None
        };
        self.paths.iter().filter_map(one).collect()
    }
}

struct Queue(Inotify);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Where notices come, before and after the runtime knows of it.
enum Notices {
    Begun(Queue),
    Awaited(AsyncFd<Queue>),
}

impl Notices {
    fn inotify(&self) -> &Inotify {
        match self {
            Self::Begun(queue) => &queue.0,
            Self::Awaited(queue) => &queue.get_ref().0,
        }
    }

    /// Within a runtime.
    fn awaited(self) -> io::Result<AsyncFd<Queue>> {
        match self {
            // SAFETY: the queue owns its descriptor and closes it only when it is dropped, which the registration outlives.
            Self::Begun(queue) => Ok(unsafe { AsyncFd::register_with_interest(queue, Interest::READABLE) }?),
            Self::Awaited(queue) => Ok(queue),
        }
    }
}

struct Watched {
    folder: PathBuf,
    descriptor: WatchDescriptor,
    /// The one name that matters; `None` for all.
    name: Option<OsString>,
}

/// Tells of changes around hold files.
pub struct HoldWatch {
    files: HoldFiles,
    notices: Option<Notices>,
    watched: Vec<Watched>,
}

impl HoldWatch {
    /// Begins to watch. Where the system does not let us, nothing is ever told, and a warning says so.
    #[must_use]
    pub fn new(files: HoldFiles) -> Self {
        let mut watch = Self { files, notices: None, watched: Vec::new() };
        match Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) {
            Ok(inotify) => {
                watch.notices = Some(Notices::Begun(Queue(inotify)));
                watch.arm();
            }
            Err(errno) => not_watched(&errno.into()),
        }
        watch
    }

    /// The files that are watched.
    #[must_use]
    pub fn files(&self) -> &HoldFiles {
        &self.files
    }

    /// Comes back when they may have changed. Nothing is lost when this is not awaited to its end.
    pub async fn changed(&mut self) {
        loop {
            if let Some(notices) = self.notices.take() {
                match notices.awaited() {
                    Ok(queue) => self.notices = Some(Notices::Awaited(queue)),
                    Err(error) => not_watched(&error),
                }
            }
            let Some(Notices::Awaited(queue)) = &self.notices else { return std::future::pending().await };
            let events = {
                let Ok(mut ready) = queue.readable().await else { return std::future::pending().await };
                match ready.get_inner().0.read_events() {
                    Ok(events) => events,
                    Err(Errno::EAGAIN) => {
                        ready.clear_ready();
                        continue;
                    }
                    Err(Errno::EINTR) => continue,
                    Err(errno) => {
                        not_watched(&errno.into());
                        self.notices = None;
                        continue;
                    }
                }
            };
            let matters = events.iter().any(|event| self.matters(event));
            if matters {
                self.arm();
                return;
            }
        }
    }

    fn matters(&self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        let Some(watched) = self.watched.iter().find(|watched| watched.descriptor == event.wd) else { return false };
        if event.mask.intersects(AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF) {
            return true;
        }
        match (&watched.name, &event.name) {
            (Some(wanted), name) => name.as_ref() == Some(wanted),
            (None, Some(name)) => {
                !(event.mask.contains(AddWatchFlags::IN_CREATE) && is_being_written(&watched.folder, name))
            }
            (None, None) => false,
        }
    }

    /// Watches what is to be watched, also what has come while that was found out.
    fn arm(&mut self) {
        let mut wanted = self.files.to_watch();
        loop {
            self.watch(&wanted);
            let now = self.files.to_watch();
            if now == wanted {
                return;
            }
            wanted = now;
        }
    }

    fn watch(&mut self, wanted: &[ToWatch]) {
        let Some(notices) = &self.notices else { return };
        let inotify = notices.inotify();
        let mut watched: Vec<Watched> = Vec::new();
        for ToWatch { folder, name } in wanted {
            match inotify.add_watch(folder, changes()) {
                Ok(descriptor) => match watched.iter_mut().find(|other| other.descriptor == descriptor) {
                    // For two reasons: everything in it counts.
                    Some(other) if other.name != *name => other.name = None,
                    Some(_) => {}
                    None => watched.push(Watched { folder: folder.clone(), descriptor, name: name.clone() }),
                },
                Err(errno) => not_watched(&errno.into()),
            }
        }
        for old in &self.watched {
            if !watched.iter().any(|new| new.descriptor == old.descriptor) {
                // It may be gone with its folder.
                let _ = inotify.rm_watch(old.descriptor);
            }
        }
        self.watched = watched;
    }
}

/// A file that has just been made is told of again when whoever makes it has closed it.
fn is_being_written(folder: &Path, name: &OsStr) -> bool {
    fs::symlink_metadata(folder.join(name)).is_ok_and(|made| made.is_file() && made.nlink() == 1)
}

fn not_watched(error: &io::Error) {
    tracing::warn!(
        target: "agent_wrap",
        event = "hold_unwatched",
        "cannot watch for hold files, so that they are looked at only at a start and a reload (HUP): {error}{}",
        crate::shortage::cause_of(error)
    );
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Waker};

    use super::*;

    fn hold(path: &Path) -> HoldFiles {
        HoldFiles { paths: vec![path.to_owned()] }
    }

    #[test]
    fn what_a_file_says_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hold");
        let files = hold(&path);
        assert_eq!(files.look(), None);
        fs::write(&path, "new disk\n  until Monday\n").unwrap();
        assert_eq!(files.look().unwrap(), "new disk until Monday");
        fs::write(&path, "\n").unwrap();
        assert_eq!(files.look().unwrap(), format!("held by an operator ({})", path.display()));
    }

    #[test]
    fn what_is_there_and_cannot_be_read_holds_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hold");
        let held = Some(format!("held by an operator ({})", path.display()));
        fs::create_dir(&path).unwrap();
        assert_eq!(hold(&path).look(), held);
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert_eq!(hold(&path).look(), held);
    }

    #[test]
    fn the_usual_files_are_one_for_all_and_one_for_the_node() {
        let paths = |node| HoldFiles::of(None, node).paths;
        assert_eq!(paths("lab 7"), [Path::new(FOR_ALL), Path::new("/etc/agent-wrap/hold.d/lab 7")]);
        assert_eq!(paths("../../x"), [Path::new(FOR_ALL)]);
        assert_eq!(HoldFiles::of(Some(Path::new("/h")), "n").paths, [Path::new("/h")]);
    }

    /// Whether a change is told of by now.
    fn is_told(watch: &mut HoldWatch) -> bool {
        let mut changed = std::pin::pin!(watch.changed());
        changed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn every_way_to_make_and_remove_a_file_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hold");
        let mut watch = HoldWatch::new(hold(&path));
        assert!(!is_told(&mut watch));
        let other = folder.path().join("other");
        let ways: [(&str, &dyn Fn()); 6] = [
            ("written", &|| fs::write(&path, "x").unwrap()),
            ("removed", &|| fs::remove_file(&path).unwrap()),
            ("linked", &|| std::os::unix::fs::symlink("nowhere", &path).unwrap()),
            ("renamed away", &|| fs::rename(&path, folder.path().join("away")).unwrap()),
            ("made a folder", &|| fs::create_dir(&path).unwrap()),
            ("a hard link", &|| {
                fs::remove_dir(&path).unwrap();
                fs::write(&other, "x").unwrap();
                fs::hard_link(&other, &path).unwrap();
            }),
        ];
        for (way, make) in ways {
            make();
            // In time: the system's notice is there before its call comes back, the runtime's a turn later.
            tokio::time::timeout(std::time::Duration::from_secs(60), watch.changed()).await.expect(way);
            while is_told(&mut watch) {}
        }
    }

    #[tokio::test]
    async fn folders_may_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let above = folder.path().join("a");
        let path = above.join("b/hold");
        let mut watch = HoldWatch::new(hold(&path));
        for _ in 0..2 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            // Each folder that comes is told of, and what is in it by then is seen by a look.
            while watch.files().look().is_none() || watch.watched[0].name.is_some() {
                watch.changed().await;
            }
            fs::remove_dir_all(&above).unwrap();
            while watch.files().look().is_some() || watch.watched[0].name.is_none() {
                watch.changed().await;
            }
        }
    }
}
