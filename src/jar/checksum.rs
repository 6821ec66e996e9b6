//! SHA-256, by which one jar is told from another.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// Read at a time, in bytes.
const PIECE: usize = 64 * 1024;

/// The SHA-256 of a jar, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checksum(String);

impl Checksum {
    /// As `sha256sum` prints it; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_one.then(|| Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Adds a checksum up.
pub(super) struct Sum(Context);

impl Sum {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Checksum {
        let digest = self.0.finish();
        Checksum(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The checksum of a file; `None` when nothing is there, or nothing that is a file.
///
/// # Errors
/// Those of the file system.
pub(super) fn of_file(path: &Path) -> io::Result<Option<Checksum>> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut file = File::open(path)?;
    let (mut sum, mut piece) = (Sum::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Some(sum.finish())),
            length => sum.add(&piece[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_sha256sum_prints() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "abc").unwrap();
        let sum = of_file(&path).unwrap().unwrap();
        assert_eq!(sum.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Checksum::parse(&sum.to_string()), Some(sum));
        assert_eq!(Checksum::parse("ba78"), None);
        assert_eq!(of_file(&folder.path().join("none")).unwrap(), None);
        assert_eq!(of_file(folder.path()).unwrap(), None);
    }
}
