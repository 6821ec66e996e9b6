//! Who we are to the controller. Tokens rotate: the source is read again when the controller refuses them.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};

use super::error::CredentialError;

/// A user and where the API token or password comes from.
#[derive(Clone, Debug)]
pub struct CredentialSource {
    /// The user's id.
    pub user: String,
    /// The API token or password. Which of the two it is shows in the controller's answers.
    pub secret: SecretSource,
}

/// Where a secret comes from.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// It is given.
    Literal(SecretString),
    /// The first line of this file, read again after a 401 and at a reload.
    File(PathBuf),
}

impl SecretSource {
    fn read(&self) -> Result<SecretString, CredentialError> {
        let secret = match self {
            Self::Literal(secret) => secret.clone(),
            Self::File(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| CredentialError::Unreadable { path: path.clone(), why: error.to_string() })?;
                let text = SecretString::from(text);
                let line = text.expose_secret().lines().next().unwrap_or_default().trim();
                if line.is_empty() {
                    return Err(CredentialError::Empty { path: path.clone() });
                }
                SecretString::from(line)
            }
        };
        let printable = !secret.expose_secret().chars().any(char::is_control);
        if printable { Ok(secret) } else { Err(CredentialError::Malformed) }
    }
}

/// The secret in use, and the source to read it from again.
#[derive(Debug)]
pub(crate) struct Credentials {
    source: Option<CredentialSource>,
    secret: Mutex<Option<SecretString>>,
}

impl Credentials {
    /// Reads the source once.
    pub(crate) fn new(source: Option<CredentialSource>) -> Result<Self, CredentialError> {
        let secret = match &source {
            Some(source) if source.user.contains(':') || source.user.chars().any(char::is_control) => {
                return Err(CredentialError::Malformed);
            }
            Some(source) => Some(source.secret.read()?),
            None => None,
        };
        Ok(Self { source, secret: Mutex::new(secret) })
    }

    /// Adds them to a request, unasked: the controller then needs no challenge.
    pub(crate) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match (&self.source, &*self.secret()) {
            (Some(source), Some(secret)) => request.basic_auth(&source.user, Some(secret.expose_secret())),
            (_, None) | (None, Some(_)) => request,
        }
    }

    /// Reads the source again. True if the secret is another one now.
    pub(crate) fn reread(&self) -> Result<bool, CredentialError> {
        let Some(source) = &self.source else { return Ok(false) };
        let fresh = source.secret.read()?;
        let mut secret = self.secret();
        let changed = secret.as_ref().is_none_or(|old| old.expose_secret() != fresh.expose_secret());
        *secret = Some(fresh);
        Ok(changed)
    }

    /// The user's id, if there is one.
    pub(crate) fn user(&self) -> Option<&str> {
        self.source.as_ref().map(|source| source.user.as_str())
    }

    /// Whose credentials they are and where they come from, for messages.
    pub(crate) fn who(&self) -> String {
        match &self.source {
            None => "of nobody (none are set)".to_owned(),
            Some(CredentialSource { user, secret: SecretSource::Literal(_) }) => format!("of the user {user:?}"),
            Some(CredentialSource { user, secret: SecretSource::File(path) }) => {
                format!("of the user {user:?} from {}", path.display())
            }
        }
    }

    fn secret(&self) -> MutexGuard<'_, Option<SecretString>> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(path: &std::path::Path) -> Option<CredentialSource> {
        Some(CredentialSource { user: "op".to_owned(), secret: SecretSource::File(path.to_owned()) })
    }

    #[test]
    fn a_file_is_read_again_and_a_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one\n").unwrap();
        let credentials = Credentials::new(from_file(&path)).unwrap();
        assert!(!credentials.reread().unwrap());
        fs::write(&path, "  two\r\n# a comment\n").unwrap();
        assert!(credentials.reread().unwrap());
        assert_eq!(credentials.secret().as_ref().unwrap().expose_secret(), "two");
        fs::remove_file(&path).unwrap();
        assert!(matches!(credentials.reread(), Err(CredentialError::Unreadable { .. })));
        assert_eq!(credentials.secret().as_ref().unwrap().expose_secret(), "two");
    }

    #[test]
    fn unusable_secrets_are_refused_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "\nsecond line\n").unwrap();
        assert!(matches!(Credentials::new(from_file(&path)), Err(CredentialError::Empty { .. })));
        let literal = |user: &str, secret: &str| {
            let secret = SecretSource::Literal(SecretString::from(secret));
            Credentials::new(Some(CredentialSource { user: user.to_owned(), secret }))
        };
        assert!(literal("a:b", "x").is_err());
        assert!(literal("a", "hunter\n2").is_err());
        let shown = format!("{:?}", literal("a", "hunter2").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
