//! Lives of the jars of one place.

use std::fs;

use super::testing::jar;
use super::*;

struct Folder {
    dir: tempfile::TempDir,
    place: Place,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("agent.jar"));
        Self { dir, place }
    }

    /// The controller of this version hands out a jar.
    fn offered_by(&self, text: &str, version: &str) -> Taken {
        let mut partial = Partial::create(self.place.path()).unwrap();
        partial.add(&jar(text)).unwrap();
        let offer = |checksum| Offer {
            checksum,
            page: "jnlpJars/agent.jar".to_owned(),
            etag: None,
            last_modified: Some(format!("date of {text}")),
            controller: Some(version.to_owned()),
        };
        self.place.take(partial, offer).unwrap()
    }

    fn offered(&self, text: &str) -> Taken {
        self.offered_by(text, "1")
    }

    /// An agent is started with what is there, and connects.
    fn connects(&self) {
        self.place.prove(&self.place.found().unwrap().checksum).unwrap();
    }

    fn dies(&self) -> Rejection {
        self.place.reject(&self.place.found().unwrap().checksum).unwrap()
    }

    fn is(&self, text: &str) -> bool {
        fs::read(self.place.path()).unwrap() == jar(text)
    }

    fn is_new(&self) -> bool {
        self.place.found().unwrap().new
    }

    /// What would be asked about.
    fn known(&self) -> Option<String> {
        self.place.known(Some("1")).and_then(|offer| offer.last_modified)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A place where `two` has replaced `one`, which is good.
fn replaced() -> Folder {
    let folder = Folder::new();
    folder.offered("one");
    folder.connects();
    assert!(matches!(folder.offered("two"), Taken::Put(_)));
    folder
}

#[test]
fn a_first_jar_is_not_new_and_a_replacement_is_until_it_has_connected() {
    let folder = Folder::new();
    assert_eq!(folder.place.found(), None);
    assert!(matches!(folder.offered("one"), Taken::Put(_)));
    assert!(!folder.is_new());
    folder.connects();
    assert_eq!(folder.offered("one"), Taken::Same);
    assert!(!folder.is_new());
    folder.offered("two");
    assert!(folder.is_new() && folder.is("two"));
    assert_eq!(fs::read(folder.file("agent.jar.previous")).unwrap(), jar("one"));
    folder.connects();
    assert!(!folder.is_new());
    assert_eq!(folder.dies(), Rejection::Good);
}

#[test]
fn a_jar_that_nobody_was_connected_with_is_nothing_to_go_back_to() {
    let folder = Folder::new();
    folder.offered("one");
    folder.offered("two");
    assert!(!folder.is_new());
    assert_eq!(folder.dies(), Rejection::NothingBefore);
    assert!(folder.is("two"));
    // But what was good before it still is.
    let folder = replaced();
    folder.offered("three");
    assert!(folder.is_new());
    assert!(matches!(folder.dies(), Rejection::PutBack { .. }));
    assert!(folder.is("one"));
}

#[test]
fn a_rejected_jar_is_not_taken_again_until_another_is_offered() {
    let folder = replaced();
    let Rejection::PutBack { file, .. } = folder.dies() else { panic!("it is put back") };
    assert!(folder.is("one") && !folder.is_new());
    assert_eq!(folder.known().as_deref(), Some("date of two"), "it is what the controller still offers");
    assert!(matches!(folder.offered("two"), Taken::Rejected(_)));
    assert!(folder.is("one"));
    assert!(matches!(folder.offered("three"), Taken::Put(_)));
    assert!(folder.is_new() && !file.exists());
    // The one before the last may be tried again: it is another one again.
    assert!(matches!(folder.offered("two"), Taken::Put(_)));
}

#[test]
fn who_removes_the_file_tries_it_again() {
    let folder = replaced();
    let Rejection::PutBack { file, .. } = folder.dies() else { panic!("it is put back") };
    fs::remove_file(file).unwrap();
    assert_eq!(folder.known(), None);
    assert!(matches!(folder.offered("two"), Taken::Put(_)));
    assert!(folder.is_new() && folder.is("two"));
    assert!(matches!(folder.dies(), Rejection::PutBack { .. }));
    assert!(folder.is("one"));
}

#[test]
fn two_wrappers_that_share_it_reject_once_and_agree() {
    let folder = replaced();
    let two = folder.place.found().unwrap().checksum;
    assert!(matches!(folder.place.reject(&two).unwrap(), Rejection::PutBack { .. }));
    assert_eq!(folder.place.reject(&two).unwrap(), Rejection::Gone);
    assert!(folder.is("one"));
    // The other one's agent had been started with it before, and connects: it is good after all.
    folder.place.prove(&two).unwrap();
    assert!(!folder.file("agent.jar.rejected").exists());
    assert_eq!(folder.known(), None);
    folder.offered("two");
    assert!(folder.is("two") && !folder.is_new());
    assert_eq!(folder.place.reject(&two).unwrap(), Rejection::Good);
}

#[test]
fn nothing_is_asked_about_that_is_not_here() {
    let folder = replaced();
    assert_eq!(folder.known().as_deref(), Some("date of two"));
    // The dates of an older version's jar are older.
    assert_eq!(folder.place.known(Some("0.9")), None);
    assert!(folder.place.known(None).is_some());
    for damage in [b"".as_slice(), b"PK\x03\x04", b"<html>please log in</html>"] {
        fs::write(folder.place.path(), damage).unwrap();
        assert_eq!(folder.known(), None);
    }
    fs::remove_file(folder.place.path()).unwrap();
    assert_eq!(folder.known(), None);
    folder.offered("two");
    assert_eq!(folder.known().as_deref(), Some("date of two"));
}

#[test]
fn a_ledger_that_is_lost_damaged_or_of_a_later_program_costs_a_fetch() {
    for damage in [None, Some(""), Some("{"), Some(r#"{"version":2,"offered":null,"previous":null}"#)] {
        let folder = Folder::new();
        folder.offered("one");
        folder.connects();
        match damage {
            None => fs::remove_file(folder.file("agent.jar.json")).unwrap(),
            Some(text) => fs::write(folder.file("agent.jar.json"), text).unwrap(),
        }
        assert_eq!(folder.known(), None, "{damage:?}");
        assert_eq!(folder.offered("one"), Taken::Same);
        assert_eq!(folder.known().as_deref(), Some("date of one"));
    }
}

#[test]
fn a_kill_between_any_two_steps_costs_a_fetch_at_the_most() {
    // The ledger knows of the next one, which did not come to its place.
    let folder = replaced();
    fs::write(folder.place.path(), jar("one")).unwrap();
    assert_eq!(folder.known(), None);
    assert!(!folder.is_new());
    folder.offered("two");
    assert!(folder.is_new());
    // It was put back, and that it was rejected was not written down.
    fs::rename(folder.file("agent.jar.previous"), folder.place.path()).unwrap();
    assert!(!folder.is_new());
    assert_eq!(folder.known(), None);
    folder.offered("two");
    assert!(folder.is_new());
    assert!(matches!(folder.dies(), Rejection::PutBack { .. }));
}

#[test]
fn a_changed_jar_before_is_not_put_back() {
    let folder = replaced();
    fs::remove_file(folder.file("agent.jar.previous")).unwrap();
    fs::write(folder.file("agent.jar.previous"), "half").unwrap();
    assert_eq!(folder.dies(), Rejection::NothingBefore);
    assert!(folder.is("two"));
}

#[test]
fn what_is_no_whole_jar_changes_nothing() {
    let folder = replaced();
    let before = fs::read(folder.file("agent.jar.json")).unwrap();
    let mut partial = Partial::create(folder.place.path()).unwrap();
    partial.add(&jar("three")[..20]).unwrap();
    let error = folder.place.take(partial, |_| unreachable!("it is no jar")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(folder.is("two"));
    assert_eq!(fs::read(folder.file("agent.jar.json")).unwrap(), before);
}

#[test]
fn many_who_take_prove_and_reject_at_once_leave_a_whole_jar() {
    let folder = replaced();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let folder = &folder;
            scope.spawn(move || {
                for round in 0..20 {
                    folder.offered(["two", "three", "four"][(worker + round) % 3]);
                    let Some(found) = folder.place.found() else { continue };
                    if (worker + round) % 2 == 0 {
                        folder.place.reject(&found.checksum).unwrap();
                    } else {
                        folder.place.prove(&found.checksum).unwrap();
                    }
                    assert!(folder.place.is_whole());
                }
            });
        }
    });
    assert!(folder.place.is_whole());
}
