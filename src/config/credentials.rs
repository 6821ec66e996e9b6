//! Where secrets come from. They are read when they are needed, and again when they are refused: tokens rotate.

use std::io::Read as _;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::shortage::{Shortage, cause_of};

/// A secret, or the file that holds it.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// Given in the environment.
    Literal(SecretString),
    /// The first line of this file.
    File(PathBuf),
}

impl PartialEq for SecretSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a.expose_secret() == b.expose_secret(),
            (Self::File(a), Self::File(b)) => a == b,
            (Self::Literal(_) | Self::File(_), _) => false,
        }
    }
}

impl Eq for SecretSource {}

/// The account on the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its name; `None` when the token's source holds `USER:TOKEN`.
    pub user: Option<String>,
    /// Its API token, or password.
    pub token: SecretSource,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {path}: {error}{}", cure(.error))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// There is nothing in it.
    #[error("{0} is empty; it must hold the secret on its first line")]
    Empty(String),
    /// It cannot be a secret.
    #[error("{0} does not hold a secret: its first line is longer than {MAX_LENGTH} bytes, or not plain text")]
    Garbage(String),
    /// There is a token, but nobody whose it could be.
    #[error("the account of the token is not known; give --user, or write USER:TOKEN into {0}")]
    NoUser(String),
}

fn cure(error: &std::io::Error) -> String {
    if Shortage::of_error(error).is_some() {
        return cause_of(error);
    }
    "; the file must be readable by the user agent-wrap runs as, or be handed over with systemd's LoadCredential="
        .to_owned()
}

impl SecretError {
    /// Whether the system lacks something, and the file may well be right.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Unreadable { error, .. } => Shortage::of_error(error).is_some(),
            Self::Empty(_) | Self::Garbage(_) | Self::NoUser(_) => false,
        }
    }
}

const MAX_LENGTH: usize = 8192;

impl SecretSource {
    /// Reads the secret: the first line, without blanks around it.
    ///
    /// # Errors
    /// The file cannot be read, is empty or holds something else.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let text = match self {
            Self::Literal(secret) => secret.expose_secret().to_owned(),
            Self::File(path) => {
                let unreadable = |error| SecretError::Unreadable { path: path.clone(), error };
                let mut bytes = Vec::new();
                let file = std::fs::File::open(path).map_err(unreadable)?;
                file.take(2 * MAX_LENGTH as u64).read_to_end(&mut bytes).map_err(unreadable)?;
                String::from_utf8(bytes).map_err(|_| SecretError::Garbage(self.name()))?
            }
        };
        let line = text.trim().lines().next().unwrap_or_default().trim();
        if line.is_empty() {
            return Err(SecretError::Empty(self.name()));
        }
        if line.len() > MAX_LENGTH || line.chars().any(char::is_control) {
            return Err(SecretError::Garbage(self.name()));
        }
        Ok(SecretString::from(line))
    }

    /// Whether [`read`](Self::read) will do. What can be read only once is not read.
    ///
    /// # Errors
    /// As for reading.
    pub fn check(&self) -> Result<(), SecretError> {
        match self {
            Self::File(path) => match std::fs::metadata(path) {
                Ok(found) if !found.is_file() => Ok(()),
                Ok(_) => self.read().map(drop),
                Err(error) => Err(SecretError::Unreadable { path: path.clone(), error }),
            },
            Self::Literal(_) => self.read().map(drop),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Literal(_) => "the variable with the secret".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl Credentials {
    /// Reads user and token. Without a user of its own, what the source holds is split at the first colon.
    ///
    /// # Errors
    /// As [`SecretSource::read`], or no user is known.
    pub fn read(&self) -> Result<(String, SecretString), SecretError> {
        let token = self.token.read()?;
        match &self.user {
            Some(user) => Ok((user.clone(), token)),
            None => match token.expose_secret().split_once(':') {
                Some((user, token)) if !user.is_empty() && !token.is_empty() => {
                    Ok((user.to_owned(), SecretString::from(token)))
                }
                Some(_) | None => Err(SecretError::NoUser(self.token.name())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, SecretSource) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, content).unwrap();
        (folder, SecretSource::File(path))
    }

    #[test]
    fn the_first_line_is_the_secret_and_is_read_anew_each_time() {
        let (folder, source) = file(b"  first \r\nsecond\n");
        assert_eq!(source.read().unwrap().expose_secret(), "first");
        std::fs::write(folder.path().join("token"), "rotated\n").unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), "rotated");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        assert!(matches!(file(b" \n").1.read(), Err(SecretError::Empty(_))));
        assert!(matches!(file(&[0xff, 0xfe]).1.read(), Err(SecretError::Garbage(_))));
        assert!(matches!(file(b"a\0b").1.read(), Err(SecretError::Garbage(_))));
        assert!(matches!(file(&[b'a'; 9000]).1.read(), Err(SecretError::Garbage(_))));
        let missing = SecretSource::File(PathBuf::from("/nonexistent/token"));
        assert!(matches!(missing.read(), Err(SecretError::Unreadable { .. })));
    }

    #[test]
    fn a_source_may_hold_the_user_too() {
        let (_folder, token) = file(b"keeper:a:b\n");
        let (user, secret) = Credentials { user: None, token: token.clone() }.read().unwrap();
        assert_eq!((user.as_str(), secret.expose_secret()), ("keeper", "a:b"));
        let (user, secret) = Credentials { user: Some("me".into()), token }.read().unwrap();
        assert_eq!((user.as_str(), secret.expose_secret()), ("me", "keeper:a:b"));
        let (_folder, token) = file(b"justatoken");
        assert!(matches!(Credentials { user: None, token }.read(), Err(SecretError::NoUser(_))));
    }

    #[test]
    fn debug_does_not_show_it() {
        let source = SecretSource::Literal(SecretString::from("hush"));
        assert!(!format!("{source:?}").contains("hush"));
    }
}
