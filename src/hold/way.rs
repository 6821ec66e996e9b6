//! The way to a file: the folders and links that decide what its path leads to.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const MOST_LINKS: u32 = 40;

/// A folder on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Free of links.
    pub(super) folder: PathBuf,
    /// What matters in it: the file, a link, a name that is missing. Empty where only the folder's own path does.
    pub(super) names: Vec<OsString>,
}

/// The way to these files, each folder once.
pub(super) fn to(paths: &[PathBuf]) -> Vec<Stretch> {
    let mut way = Way(Vec::new());
    for path in paths {
        way.follow(path);
    }
    way.0
}

struct Way(Vec<Stretch>);

impl Way {
    fn follow(&mut self, path: &Path) {
        let mut rest = VecDeque::new();
        let mut folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        put_before(&mut rest, path);
        let mut links = 0;
        while let Some(step) = rest.pop_front() {
            let name = match step {
                Step::Root => {
                    folder = PathBuf::from("/");
                    continue;
                }
                Step::Up => {
                    folder.pop();
                    continue;
                }
                Step::Down(name) => name,
            };
            let here = folder.join(&name);
            match fs::symlink_metadata(&here) {
                Ok(found) if found.is_symlink() => {
                    self.add(&folder, Some(&name));
                    links += 1;
                    let Ok(target) = fs::read_link(&here) else { return };
                    if links > MOST_LINKS {
                        return;
                    }
                    put_before(&mut rest, &target);
                }
                Ok(found) if found.is_dir() && !rest.is_empty() => {
                    self.add(&here, None);
                    folder = here;
                }
                // A folder that may not be searched tells nothing of what is in it, but the one above tells of its mode.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    if let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) {
                        self.add(above, Some(name));
                    }
                    return;
                }
                Ok(_) | Err(_) => {
                    self.add(&folder, Some(&name));
                    return;
                }
            }
        }
    }

    fn add(&mut self, folder: &Path, name: Option<&OsStr>) {
        let at = self.0.iter().position(|stretch| stretch.folder == folder).unwrap_or_else(|| {
            self.0.push(Stretch { folder: folder.to_owned(), names: Vec::new() });
            self.0.len() - 1
        });
        let names = &mut self.0[at].names;
        if let Some(name) = name
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
}

enum Step {
    Root,
    Up,
    Down(OsString),
}

fn put_before(rest: &mut VecDeque<Step>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::RootDir => rest.push_front(Step::Root),
            Component::ParentDir => rest.push_front(Step::Up),
            Component::Normal(name) => rest.push_front(Step::Down(name.to_owned())),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
}
