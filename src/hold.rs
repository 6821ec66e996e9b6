//! An operator's hold file: while it is there the node is kept marked offline, with what the file says as the reason.
//!
//! Looked at when a folder on the way to it tells of a change (inotify), at the start and at each reload; so nothing wakes
//! up meanwhile. What others change on a network file system no folder tells of: there a reload looks.
//!
//! A link whose target is missing is no hold: when a key is taken out of a ConfigMap, the link to it outlives it for a moment.

mod watch;
mod way;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use watch::HoldWatch;

use crate::files;
use crate::quoted::quoted;

/// Holds every node of this machine.
const FOR_ALL: &str = "/etc/agent-wrap/hold";
/// Files in here hold the node of their name.
const FOR_ONE: &str = "/etc/agent-wrap/hold.d";
/// More of a file than a reason can be long.
const LIMIT: usize = 4096;

/// The files that hold a node, each by itself.
#[derive(Clone, Debug)]
pub struct HoldFiles {
    paths: Vec<PathBuf>,
    /// What has been said of them, until it is another thing or they can be read.
    told: Arc<Mutex<BTreeMap<PathBuf, String>>>,
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
        Self { paths, told: Arc::default() }
    }

    /// What the first of them that is there says, on one line; `None` when none is. It may hang.
    #[must_use]
    pub fn look(&self) -> Option<String> {
        self.paths.iter().find_map(|path| self.says(path))
    }

    fn says(&self, path: &Path) -> Option<String> {
        let (shown, unsaid) = (quoted(path), || format!("held by an operator ({})", path.display()));
        let is_there = fs::symlink_metadata(path);
        let read = match is_there {
            Ok(_) => files::read_regular(path, LIMIT),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.is_well(path);
                return None;
            }
            Err(error) => {
                if self.is_news(path, &error.to_string()) {
                    tracing::warn!(
                        target: "agent_wrap",
                        event = "hold_unseen",
                        "cannot see whether there is a hold file {shown}, so that none holds the node: {error}; let \
                         agent-wrap's user look into its folder"
                    );
                }
                return None;
            }
        };
        match read {
            Ok(bytes) => {
                self.is_well(path);
                let text = String::from_utf8_lossy(&bytes);
                let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
                Some(if words.is_empty() { unsaid() } else { words })
            }
            // It was there a moment ago, or it is a link to nothing.
            Err(error) if error.is_missing() => {
                self.is_well(path);
                None
            }
            Err(error) => {
                if self.is_news(path, &error.to_string()) {
                    tracing::warn!(
                        target: "agent_wrap",
                        event = "hold_unreadable",
                        "the hold file {shown} is there but cannot be read, so that the reason will not say why: {error}"
                    );
                }
                Some(unsaid())
            }
        }
    }

    /// Whether this fault has not been told yet.
    fn is_news(&self, path: &Path, fault: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(path.to_owned(), fault.to_owned()).is_none_or(|before| before != fault)
    }

    fn is_well(&self, path: &Path) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(path: &Path) -> HoldFiles {
        HoldFiles::of(Some(path), "n")
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
        std::os::unix::fs::symlink("hold", &path).unwrap();
        assert_eq!(hold(&path).look(), held);
    }

    #[test]
    fn a_link_to_nothing_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hold");
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert_eq!(hold(&path).look(), None);
        fs::write(folder.path().join("nowhere"), "x").unwrap();
        assert_eq!(hold(&path).look().unwrap(), "x");
    }

    #[test]
    fn a_fault_is_told_until_it_is_another_one_or_over() {
        let files = hold(Path::new("/h"));
        let path = Path::new("/h");
        assert_eq!(["a", "a", "b", "a"].map(|fault| files.is_news(path, fault)), [true, false, true, true]);
        files.is_well(path);
        assert!(files.is_news(path, "a") && files.is_news(Path::new("/i"), "a"));
    }

    #[test]
    fn the_usual_files_are_one_for_all_and_one_for_the_node() {
        let paths = |node| HoldFiles::of(None, node).paths;
        assert_eq!(paths("lab 7"), [Path::new(FOR_ALL), Path::new("/etc/agent-wrap/hold.d/lab 7")]);
        assert_eq!(paths("../../x"), [Path::new(FOR_ALL)]);
        assert_eq!(HoldFiles::of(Some(Path::new("/h")), "n").paths, [Path::new("/h")]);
    }
}
