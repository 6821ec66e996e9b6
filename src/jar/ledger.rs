//! What is known of a controller's jars, as it is kept beside them.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use crate::files;
use crate::held;

/// The shape below; another one is not understood.
const VERSION: u32 = 1;

/// No ledger of ours is longer, in bytes.
const LONGEST: usize = 64 * 1024;

/// So many jars are remembered as good.
const PROVEN: usize = 8;

/// A jar as the controller has handed it out, with what it can be asked for the next time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Which one it is.
    pub checksum: Checksum,
    /// The page that it came from, below the controller's root.
    pub page: String,
    /// `ETag`, as it was sent.
    pub etag: Option<String>,
    /// `Last-Modified`, as it was sent.
    pub last_modified: Option<String>,
    /// The controller's version then, if it had told.
    pub controller: Option<String>,
}

impl Offer {
    /// Whether a 304 can be asked for.
    pub(super) fn has_validator(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    version: u32,
    /// What the controller has handed out last, whether it was taken or not.
    pub(super) offered: Option<Offer>,
    /// Jars with which an agent has been seen connected, the latest last.
    #[serde(default)]
    proven: Vec<Checksum>,
    /// The one that is kept as the jar before.
    pub(super) previous: Option<Checksum>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { version: VERSION, offered: None, proven: Vec::new(), previous: None }
    }
}

impl Ledger {
    /// What stands there; nothing where it is missing, damaged or of another program's.
    pub(super) fn read(path: &Path) -> Self {
        let bytes = files::read(path, LONGEST).ok();
        let ledger = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        ledger.filter(|ledger| ledger.version == VERSION).unwrap_or_default()
    }

    /// Replaces what stands there. The lock on the jars is held.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        // Numbers and strings under fixed names always have a JSON form.
        let mut json = serde_json::to_vec(self).unwrap_or_default();
        json.push(b'\n');
        replace(path, &json)
    }

    pub(super) fn is_proven(&self, checksum: &Checksum) -> bool {
        self.proven.contains(checksum)
    }

    pub(super) fn prove(&mut self, checksum: &Checksum) {
        self.proven.retain(|other| other != checksum);
        self.proven.push(checksum.clone());
        let from = self.proven.len().saturating_sub(PROVEN);
        self.proven.drain(..from);
    }
}

/// Writes a file beside, then renames it. The lock on the jars is held, so that nobody else uses that name.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    held::replace(path, &beside, bytes)
}
