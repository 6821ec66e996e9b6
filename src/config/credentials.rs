//! Where secrets come from. They are read when they are needed, and again when they are refused: tokens rotate.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::files::{self, FileError};

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
    /// The variable of the environment that holds the token itself, if one does.
    pub variable: Option<String>,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the {noun} in {path}: {error}{}", cure(.error))]
    Unreadable {
        /// What it is to hold.
        noun: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: FileError,
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

impl SecretError {
    /// Whether the system lacks something, and the file may well be right.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Unreadable { error, .. } => error.is_shortage(),
            Self::Empty(_) | Self::Garbage(_) | Self::NoUser(_) => false,
        }
    }
}

const MAX_LENGTH: usize = 8192;

fn cure(error: &FileError) -> &'static str {
    match error {
        // These say so themselves.
        FileError::NoFile { .. } => "",
        _ if error.is_shortage() => "",
        FileError::System(_) => {
            "; the file must be readable by the user agent-wrap runs as, or be handed over with systemd's \
             LoadCredential="
        }
    }
}

impl SecretSource {
    /// Reads the secret: the first line, without blanks around it.
    ///
    /// # Errors
    /// The file cannot be read, is empty or holds something else.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let text = match self {
            Self::Literal(secret) => secret.expose_secret().to_owned(),
            Self::File(path) => {
                let bytes = files::read(path, 2 * MAX_LENGTH).map_err(|error| SecretError::Unreadable {
                    noun: "secret",
                    path: path.clone(),
                    error,
                })?;
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

    fn name(&self) -> String {
        match self {
            Self::Literal(_) => "the variable with the secret".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl Credentials {
    /// Reads user and token. Without a user of its own, what the source holds is split at the first colon; with one, that
    /// name and a colon before the token are left out.
    ///
    /// # Errors
    /// As [`SecretSource::read`], or no user is known.
    pub fn read(&self) -> Result<(String, SecretString), SecretError> {
        let token = self.token.read().map_err(|error| match error {
            SecretError::Unreadable { path, error, .. } => {
                SecretError::Unreadable { noun: "token (--token-file)", path, error }
            }
            other => other,
        })?;
        match &self.user {
            Some(user) => {
                let rest = token.expose_secret().strip_prefix(user.as_str()).and_then(|rest| rest.strip_prefix(':'));
                let token = rest.filter(|rest| !rest.is_empty()).map(SecretString::from).unwrap_or(token);
                Ok((user.clone(), token))
            }
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
    fn what_the_system_lacks_is_no_fault_of_the_file() {
        let unreadable = |errno: nix::errno::Errno| SecretError::Unreadable {
            noun: "secret",
            path: "/t".into(),
            error: std::io::Error::from(errno).into(),
        };
        let (lacking, closed) = (unreadable(nix::errno::Errno::EMFILE), unreadable(nix::errno::Errno::EACCES));
        assert!(lacking.is_shortage() && !closed.is_shortage());
        assert!(lacking.to_string().contains("ulimit -n") && !lacking.to_string().contains("LoadCredential"));
        assert!(closed.to_string().contains("LoadCredential"));
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
        let (user, secret) = Credentials { user: None, token: token.clone(), variable: None }.read().unwrap();
        assert_eq!((user.as_str(), secret.expose_secret()), ("keeper", "a:b"));
        let (user, secret) = Credentials { user: Some("me".into()), token, variable: None }.read().unwrap();
        assert_eq!((user.as_str(), secret.expose_secret()), ("me", "keeper:a:b"));
        let (_folder, token) = file(b"me:hush\n");
        let (user, secret) = Credentials { user: Some("me".into()), token, variable: None }.read().unwrap();
        assert_eq!((user.as_str(), secret.expose_secret()), ("me", "hush"), "both say the same");
        let token = SecretSource::File("/nonexistent".into());
        let error = Credentials { user: None, token, variable: None }.read().unwrap_err().to_string();
        assert!(error.starts_with("cannot read the token (--token-file) in /nonexistent: "), "{error}");
        let (_folder, token) = file(b"justatoken");
        assert!(matches!(Credentials { user: None, token, variable: None }.read(), Err(SecretError::NoUser(_))));
    }

    #[test]
    fn debug_does_not_show_it() {
        let source = SecretSource::Literal(SecretString::from("hush"));
        assert!(!format!("{source:?}").contains("hush"));
    }
}
