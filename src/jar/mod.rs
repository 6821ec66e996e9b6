//! The place of a controller's jar: the one that agents are started with, the one before it, and what is known of both.
//!
//! | file | what it is |
//! |---|---|
//! | `agent.jar` | what agents are started with; replaced by a rename |
//! | `agent.jar.json` | the ledger: what the controller handed out last and how to ask whether it still does, and which jars are good |
//! | `agent.jar.previous` | the jar before, if an agent has been connected with it |
//! | `agent.jar.rejected` | the checksum of a jar that was put back, because its agent died at once; who removes this file tries it again |
//! | `agent.jar.lock` | held for the moment in which one of them changes |
//!
//! The nodes of one controller share them, and so may several wrappers. Whatever is changed is changed under the lock;
//! what the file of the jar is, is told by its checksum and by nothing else, so that there is no moment at which a kill
//! leaves something that is taken for another thing. A jar is good for all of them once an agent of one of them has been
//! seen connected with it.

mod checksum;
mod ledger;
mod partial;
mod zip;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::held;

pub use checksum::Checksum;
pub use ledger::Offer;
pub use partial::Partial;

use ledger::Ledger;

/// Others hold the lock for the moment of a few renames; one that was stopped while it did is waited for so often, with a
/// pause each.
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// The place of one controller's jar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    jar: PathBuf,
}

/// What an agent would be started with now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which one it is.
    pub checksum: Checksum,
    /// It has replaced another one, which is still there, and no agent has been seen connected with it.
    pub new: bool,
    /// No agent has been seen connected with it.
    pub unproven: bool,
}

/// What has become of a jar that the controller has handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in its place.
    Put(Checksum),
    /// It is the one that is there.
    Same,
    /// It is the one that was rejected; the one that is there stays.
    Rejected(Checksum),
}

/// What has become of a jar whose agent died at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The one before it is in its place again.
    PutBack {
        /// The one before.
        to: Checksum,
        /// Remembers it; who removes this file tries the rejected one again.
        file: PathBuf,
    },
    /// Another wrapper has been faster, or the controller offers another one already.
    Gone,
    /// An agent of another wrapper has been connected with it.
    Good,
    /// The one before is not there any more, or has been changed.
    NothingBefore,
}

impl Place {
    /// The jar at this path, and what is kept beside it.
    #[must_use]
    pub fn at(jar: PathBuf) -> Self {
        Self { jar }
    }

    /// The jar.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.jar
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.jar.file_name().unwrap_or_default().to_owned();
        name.push(what);
        self.jar.with_file_name(name)
    }

    fn ledger(&self) -> Ledger {
        Ledger::read(&self.beside(".json"))
    }

    fn rejected(&self) -> Option<Checksum> {
        let text = fs::read_to_string(self.beside(".rejected")).ok()?;
        Checksum::parse(text.split_whitespace().next()?)
    }

    #[expect(clippy::disallowed_methods, reason = "a wait for a lock of this kind has no deadline")]
    fn lock(&self) -> io::Result<Flock<File>> {
        let path = self.beside(".lock");
        let mut file = held::open_lock(&path)?;
        for _ in 0..ATTEMPTS {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, errno)) if errno == nix::errno::Errno::EWOULDBLOCK => file = again,
                Err((_, errno)) => return Err(errno.into()),
            }
            std::thread::sleep(PAUSE);
        }
        let words = format!("another process holds {}; is another wrapper stopped or hanging?", path.display());
        Err(io::Error::new(io::ErrorKind::WouldBlock, words))
    }

    /// What the controller may be asked about with "has it changed?": what it handed out last, if that is what is here, or
    /// what was rejected while a good one is here. A controller of another version is asked for the whole jar: by the dates
    /// of their jars an older version would not have changed.
    #[must_use]
    pub fn known(&self, version: Option<&str>) -> Option<Offer> {
        let offer = self.ledger().offered.filter(Offer::has_validator)?;
        if version.is_some_and(|version| offer.controller.as_deref() != Some(version)) {
            return None;
        }
        self.stands_for(&offer).then_some(offer)
    }

    /// Whether nothing is to be fetched while this is offered.
    fn stands_for(&self, offer: &Offer) -> bool {
        let Ok(Some(here)) = checksum::of_file(&self.jar) else { return false };
        here == offer.checksum || self.rejected().as_ref() == Some(&offer.checksum) && self.ledger().is_proven(&here)
    }

    /// What an agent would be started with now; `None` when there is nothing, or it cannot be read.
    #[must_use]
    pub fn found(&self) -> Option<Found> {
        let checksum = checksum::of_file(&self.jar).ok().flatten()?;
        let ledger = self.ledger();
        let unproven = !ledger.is_proven(&checksum);
        let before = ledger.previous.filter(|before| *before != checksum);
        let new = unproven && before.is_some() && self.beside(".previous").exists();
        Some(Found { checksum, new, unproven })
    }

    /// Whether what is here is a whole jar.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let is_file = fs::metadata(&self.jar).is_ok_and(|found| found.is_file());
        is_file && File::open(&self.jar).is_ok_and(|file| zip::check(&file).is_ok())
    }

    /// Takes what the controller has handed out.
    ///
    /// # Errors
    /// `InvalidData` when it is no whole jar, or those of the file system. Nothing has changed then.
    pub fn take(&self, partial: Partial, offer: impl FnOnce(Checksum) -> Offer) -> io::Result<Taken> {
        let whole = partial.finish()?;
        let _lock = self.lock()?;
        let here = checksum::of_file(&self.jar).unwrap_or_default();
        let mut ledger = self.ledger();
        let checksum = whole.checksum.clone();
        let offer = offer(checksum.clone());
        let stays = self.stands_for(&offer);
        ledger.offered = Some(offer);
        if stays {
            ledger.write(&self.beside(".json"))?;
            return Ok(if here.as_ref() == Some(&checksum) { Taken::Same } else { Taken::Rejected(checksum) });
        }
        whole.sync()?;
        if let Some(here) = here.filter(|here| ledger.is_proven(here)) {
            self.keep_as_previous()?;
            ledger.previous = Some(here);
        }
        // What it says of the new one does not matter before the new one is there.
        ledger.write(&self.beside(".json"))?;
        whole.put(&self.jar)?;
        if self.rejected().is_some_and(|rejected| rejected != checksum) {
            let _ = fs::remove_file(self.beside(".rejected"));
        }
        Ok(Taken::Put(checksum))
    }

    /// The jar is there all the while.
    fn keep_as_previous(&self) -> io::Result<()> {
        let (previous, beside) = (self.beside(".previous"), self.beside(".previous.new"));
        let _ = fs::remove_file(&beside);
        // Not every file system has links.
        if fs::hard_link(&self.jar, &beside).is_err() {
            fs::copy(&self.jar, &beside)?;
        }
        fs::rename(&beside, &previous)
    }

    /// An agent that was started with this jar has been seen connected: it is good for ever.
    ///
    /// # Errors
    /// Those of the file system; it is not remembered then.
    pub fn prove(&self, checksum: &Checksum) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut ledger = self.ledger();
        if !ledger.is_proven(checksum) {
            ledger.prove(checksum);
            ledger.write(&self.beside(".json"))?;
        }
        if self.rejected().as_ref() == Some(checksum) {
            fs::remove_file(self.beside(".rejected"))?;
        }
        Ok(())
    }

    /// The agent that was started with this jar has died at once: puts the one before in its place again, and does not take
    /// this one again until the controller offers another.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn reject(&self, checksum: &Checksum) -> io::Result<Rejection> {
        let _lock = self.lock()?;
        let mut ledger = self.ledger();
        if ledger.is_proven(checksum) {
            return Ok(Rejection::Good);
        }
        if checksum::of_file(&self.jar)?.as_ref() != Some(checksum) {
            return Ok(Rejection::Gone);
        }
        let (previous, file) = (self.beside(".previous"), self.beside(".rejected"));
        let before = checksum::of_file(&previous)?;
        let Some(to) = before.filter(|before| Some(before) == ledger.previous.as_ref()) else {
            return Ok(Rejection::NothingBefore);
        };
        fs::rename(&previous, &self.jar)?;
        // Should this fail, the jar is fetched, tried and rejected once more.
        ledger::replace(&file, format!("{checksum}  {}\n", self.jar.display()).as_bytes())?;
        ledger.previous = None;
        ledger.write(&self.beside(".json"))?;
        Ok(Rejection::PutBack { to, file })
    }
}

#[cfg(test)]
pub(crate) mod testing {
    /// A small jar, which is whole.
    pub(crate) fn jar(text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        let common = [&[10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &length, &length, &[1, 0, 0, 0]].concat();
        let entry = [b"PK\x03\x04", common.as_slice(), b"a", text.as_bytes()].concat();
        let list = [b"PK\x01\x02", &[10, 0][..], &common, &[0; 14], b"a"].concat();
        let sizes = [list.len(), entry.len()].map(|size| u32::try_from(size).unwrap().to_le_bytes());
        let end = [b"PK\x05\x06", &[0, 0, 0, 0, 1, 0, 1, 0][..], &sizes[0], &sizes[1], &[0, 0]].concat();
        [entry, list, end].concat()
    }
}

#[cfg(test)]
mod tests;
