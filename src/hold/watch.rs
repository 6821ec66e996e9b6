//! Changes around hold files, told by inotify.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::HoldFiles;
use super::way::{self, Stretch};

/// What a folder is watched for where its own path alone matters. Nothing that happens in it wakes us up.
fn moves() -> AddWatchFlags {
    AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR
}

/// What a folder is watched for where names in it matter.
fn changes() -> AddWatchFlags {
    moves()
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_ATTRIB
}

struct Watched {
    folder: PathBuf,
    descriptor: WatchDescriptor,
    names: Vec<OsString>,
}

/// The watches. They are armed where hanging is allowed, and what they tell is read in the turn.
struct Watches {
    inotify: Inotify,
    watched: Mutex<Vec<Watched>>,
    /// Why something could not be watched last, as it was told.
    fault: Mutex<Option<String>>,
}

impl Watches {
    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches what is to be watched, also what has come while that was found out. A path that leads elsewhere by now is
    /// watched there: the system tells by the folder itself whether it is watched already.
    fn arm(&self, files: &HoldFiles) {
        let mut wanted = way::to(&files.paths);
        loop {
            self.watch(&wanted);
            let now = way::to(&files.paths);
            if now == wanted {
                return;
            }
            wanted = now;
        }
    }

    fn watch(&self, wanted: &[Stretch]) {
        let mut watched: Vec<Watched> = Vec::new();
        let mut fault = None;
        for Stretch { folder, names } in wanted {
            let flags = if names.is_empty() { moves() } else { changes() };
            match self.inotify.add_watch(folder, flags) {
                Ok(descriptor) => match watched.iter_mut().find(|other| other.descriptor == descriptor) {
                    // One folder under two paths, by a mount.
                    Some(other) => {
                        other.names.extend(names.iter().cloned());
                        let _ = self.inotify.add_watch(folder, changes());
                    }
                    None => watched.push(Watched { folder: folder.clone(), descriptor, names: names.clone() }),
                },
                // It is gone, and is seen to be, or may only be passed through: then the name below it is watched.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) if names.is_empty() => {}
                Err(errno) => fault = Some(io::Error::from(errno)),
            }
        }
        let old = std::mem::replace(&mut *self.watched(), watched);
        for old in old {
            if !self.watched().iter().any(|new| new.descriptor == old.descriptor) {
                // It may be gone with its folder.
                let _ = self.inotify.rm_watch(old.descriptor);
            }
        }
        self.tell(fault.as_ref());
    }

    /// It is tried at each look, and told once.
    fn tell(&self, fault: Option<&io::Error>) {
        let words = fault.map(io::Error::to_string);
        let mut told = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = fault.filter(|_| *told != words) {
            not_watched(error);
        }
        *told = words;
    }

    fn matter(&self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        let watched = self.watched();
        let Some(watched) = watched.iter().find(|watched| watched.descriptor == event.wd) else { return false };
        let own = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_UNMOUNT;
        if event.mask.intersects(own) {
            return true;
        }
        match &event.name {
            Some(name) if watched.names.contains(name) => {
                !(event.mask.contains(AddWatchFlags::IN_CREATE) && is_being_written(&watched.folder, name))
            }
            Some(_) => false,
            // Its own mode.
            None => event.mask.contains(AddWatchFlags::IN_ATTRIB),
        }
    }
}

struct Queue(Arc<Watches>);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.inotify.as_fd().as_raw_fd()
    }
}

/// Where notices come, before and after the runtime knows of it.
enum Notices {
    Begun(Queue),
    Awaited(AsyncFd<Queue>),
}

impl Notices {
    /// Within a runtime.
    fn awaited(self) -> io::Result<AsyncFd<Queue>> {
        match self {
            // SAFETY: the queue keeps its descriptor open until it is dropped, which the registration does not outlive.
            Self::Begun(queue) => Ok(unsafe { AsyncFd::register_with_interest(queue, Interest::READABLE) }?),
            Self::Awaited(queue) => Ok(queue),
        }
    }
}

/// Tells of changes around hold files.
pub struct HoldWatch {
    files: HoldFiles,
    watches: Option<Arc<Watches>>,
    notices: Option<Notices>,
}

impl HoldWatch {
    /// Begins to watch, which may hang. Where the system does not let us, nothing is ever told, and a warning says so.
    #[must_use]
    pub fn new(files: HoldFiles) -> Self {
        let watches = match Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) {
            Ok(inotify) => {
                let watches = Arc::new(Watches { inotify, watched: Mutex::default(), fault: Mutex::default() });
                watches.arm(&files);
                Some(watches)
            }
            Err(errno) => {
                not_watched(&errno.into());
                None
            }
        };
        let notices = watches.clone().map(|watches| Notices::Begun(Queue(watches)));
        Self { files, watches, notices }
    }

    /// The files that are watched.
    #[must_use]
    pub fn files(&self) -> &HoldFiles {
        &self.files
    }

    /// What a look does: it begins to watch what the paths lead to by now, and then sees what is there, as
    /// [`HoldFiles::look`]. It may hang.
    pub fn looking(&self) -> impl FnOnce() -> Option<String> + Send + 'static + use<> {
        let (files, watches) = (self.files.clone(), self.watches.clone());
        move || {
            if let Some(watches) = watches {
                watches.arm(&files);
            }
            files.look()
        }
    }

    /// Comes back when they may have changed; then [`Self::looking`] is due. Nothing is lost when this is not awaited to its
    /// end.
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
                match ready.get_inner().0.inotify.read_events() {
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
            if events.iter().any(|event| queue.get_ref().0.matter(event)) {
                return;
            }
        }
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
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;

    type Change<'a> = &'a dyn Fn();

    fn watch(path: &Path) -> HoldWatch {
        HoldWatch::new(HoldFiles::of(Some(path), "n"))
    }

    /// In time: the system's notice is there before its call comes back, the runtime's a turn later.
    async fn told(watch: &mut HoldWatch, what: &str) {
        tokio::time::timeout(Duration::from_secs(60), watch.changed()).await.expect(what);
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
        let mut watch = watch(&path);
        assert!(!is_told(&mut watch));
        let other = folder.path().join("other");
        let ways: [(&str, Change<'_>); 7] = [
            ("written", &|| fs::write(&path, "x").unwrap()),
            ("given another mode", &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap()),
            ("removed", &|| fs::remove_file(&path).unwrap()),
            ("linked", &|| symlink("nowhere", &path).unwrap()),
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
            told(&mut watch, way).await;
            watch.looking()();
            while is_told(&mut watch) {}
        }
    }

    #[tokio::test]
    async fn folders_may_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let above = folder.path().join("a");
        let path = above.join("b/hold");
        let mut watch = watch(&path);
        for _ in 0..2 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            // Each folder that comes is told of, and what is in it by then is seen by a look.
            while watch.looking()().is_none() {
                told(&mut watch, "it comes").await;
            }
            fs::remove_dir_all(&above).unwrap();
            while watch.looking()().is_some() {
                told(&mut watch, "it goes").await;
            }
        }
    }

    #[tokio::test]
    async fn what_the_path_leads_to_may_be_turned_and_moved() {
        let top = tempfile::tempdir().unwrap();
        let (above, away) = (top.path().join("above"), top.path().join("away"));
        let at = |name: &str| above.join(name);
        fs::create_dir_all(at("up/one")).unwrap();
        fs::create_dir_all(at("up/two")).unwrap();
        fs::create_dir_all(at("else")).unwrap();
        symlink("one", at("up/cur")).unwrap();
        symlink("../../else/text", at("up/two/hold")).unwrap();
        let mut watch = watch(&at("up/cur/hold"));
        assert_eq!(watch.looking()(), None);
        let steps: [(&str, Change<'_>, Option<&str>); 6] = [
            (
                "a link that is turned",
                &|| {
                    symlink("two", at("up/new")).unwrap();
                    fs::rename(at("up/new"), at("up/cur")).unwrap();
                },
                None,
            ),
            ("what a link leads to", &|| fs::write(at("else/text"), "there").unwrap(), Some("there")),
            ("what it says", &|| fs::write(at("else/text"), "elsewhere").unwrap(), Some("elsewhere")),
            ("a folder above that goes", &|| fs::rename(&above, &away).unwrap(), None),
            ("another in its place", &|| fs::rename(&away, &above).unwrap(), Some("elsewhere")),
            ("the end of what a link leads to", &|| fs::remove_file(at("else/text")).unwrap(), None),
        ];
        for (what, change, says) in steps {
            change();
            told(&mut watch, what).await;
            while watch.looking()().as_deref() != says {
                told(&mut watch, what).await;
            }
            while is_told(&mut watch) {}
        }
    }

    #[tokio::test]
    async fn other_names_wake_nobody() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        fs::create_dir(at("here")).unwrap();
        fs::write(at("here/hold"), "x").unwrap();
        let mut watch = watch(&at("here/hold"));
        fs::read(at("here/hold")).unwrap();
        for folder in ["", "here"] {
            fs::write(at(folder).join("other"), "x").unwrap();
            fs::set_permissions(at(folder).join("other"), fs::Permissions::from_mode(0o600)).unwrap();
            fs::rename(at(folder).join("other"), at(folder).join("another")).unwrap();
            fs::remove_file(at(folder).join("another")).unwrap();
        }
        // Whatever comes before this is read with it.
        let notices = watch.notices.take().unwrap().awaited().unwrap();
        let events = {
            let _ready = notices.readable().await.unwrap();
            notices.get_ref().0.inotify.read_events().unwrap()
        };
        assert!(!events.is_empty() && !events.iter().any(|event| notices.get_ref().0.matter(event)), "{events:?}");
    }
}
