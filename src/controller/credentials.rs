//! Who we are to the controller. Tokens rotate: the source is read again when the controller refuses them, beside the
//! turn, because it may be a file on a mount that hangs.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};

use super::error::CredentialError;
use crate::beside::Beside;
use crate::quoted::quoted;

/// How long a source may take to be read again: less than the shortest request, which would be lost with it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A user, and the API token or password. Which of the two it is shows in the controller's answers.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user's id.
    pub user: String,
    /// The API token or password.
    pub secret: SecretString,
}

/// Reads an account.
pub type ReadAccount = dyn Fn() -> Result<Account, CredentialError> + Send + Sync;

/// Where an account comes from.
#[derive(Clone)]
pub struct CredentialSource {
    /// The file behind it; `None` where reading it again cannot bring anything new.
    pub file: Option<PathBuf>,
    /// Reads it. It may hang.
    pub read: Arc<ReadAccount>,
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSource").field("file", &self.file).finish_non_exhaustive()
    }
}

impl CredentialSource {
    fn read(&self) -> Result<Account, CredentialError> {
        let account = (self.read)()?;
        let odd = |text: &str| text.chars().any(char::is_control);
        if account.user.contains(':') || odd(&account.user) || odd(account.secret.expose_secret()) {
            return Err(CredentialError::Malformed);
        }
        Ok(account)
    }
}

#[derive(Debug)]
struct Known {
    source: Option<CredentialSource>,
    account: Option<Account>,
}

/// The account in use, and the source to read it from again.
#[derive(Debug)]
pub(crate) struct Credentials {
    known: Mutex<Known>,
    /// Where the token came from when it is in no file. The environment is that of the start, also after a reload.
    variable: Option<String>,
    beside: Beside,
    patience: Duration,
}

/// The thread that reads them was not to be had, or they cannot be used.
pub(crate) enum Unavailable {
    Thread(io::Error),
    Credentials(CredentialError),
}

impl Credentials {
    /// Reads the source once, here and now.
    pub(crate) fn new(source: Option<CredentialSource>, variable: Option<String>) -> Result<Self, Unavailable> {
        let account = source.as_ref().map(CredentialSource::read).transpose().map_err(Unavailable::Credentials)?;
        let beside = Beside::start("credentials").map_err(Unavailable::Thread)?;
        Ok(Self { known: Mutex::new(Known { source, account }), variable, beside, patience: PATIENCE })
    }

    /// Adds them to a request, unasked: the controller then needs no challenge.
    pub(crate) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.known().account {
            Some(account) => request.basic_auth(&account.user, Some(account.secret.expose_secret())),
            None => request,
        }
    }

    /// Reads the source again, if that can bring anything new. True if the account is another one now.
    pub(crate) async fn reread(&self) -> Result<bool, CredentialError> {
        let Some(source) = self.known().source.clone().filter(|source| source.file.is_some()) else { return Ok(false) };
        self.adopt(source).await
    }

    /// Takes another source. The account stays until the source has given one.
    pub(crate) async fn replace(&self, source: Option<CredentialSource>) -> Result<bool, CredentialError> {
        self.known().source.clone_from(&source);
        match source {
            Some(source) => self.adopt(source).await,
            None => Ok(self.known().account.take().is_some()),
        }
    }

    async fn adopt(&self, source: CredentialSource) -> Result<bool, CredentialError> {
        let reading = source.clone();
        let read = self.beside.run(self.patience, move || reading.read()).await;
        let fresh = read.map_err(|late| CredentialError::Unreadable(late.to_string()))??;
        let mut known = self.known();
        // A reload may have brought another source meanwhile.
        if !known.source.as_ref().is_some_and(|current| Arc::ptr_eq(&current.read, &source.read)) {
            return Ok(false);
        }
        let changed = known
            .account
            .as_ref()
            .is_none_or(|old| old.user != fresh.user || old.secret.expose_secret() != fresh.secret.expose_secret());
        known.account = Some(fresh);
        Ok(changed)
    }

    /// The user's id, if there is one.
    pub(crate) fn user(&self) -> Option<String> {
        self.known().account.as_ref().map(|account| account.user.clone())
    }

    /// Whose credentials they are and where they come from, for messages.
    pub(crate) fn who(&self) -> String {
        let known = self.known();
        let file = known.source.as_ref().and_then(|source| source.file.as_ref());
        let Some(Account { user, .. }) = &known.account else { return "of nobody (none are set)".to_owned() };
        match (file, &self.variable) {
            (Some(file), _) => format!("of the user {} from {}", quoted(user), quoted(file)),
            (None, Some(name)) => format!("of the user {} from {name} in the environment", quoted(user)),
            (None, None) => format!("of the user {}", quoted(user)),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{fixed, from_file};

    fn made(source: CredentialSource) -> Result<Credentials, CredentialError> {
        Credentials::new(Some(source), None).map_err(|unavailable| match unavailable {
            Unavailable::Credentials(error) => error,
            Unavailable::Thread(error) => panic!("{error}"),
        })
    }

    fn account(credentials: &Credentials) -> (String, String) {
        let account = credentials.known().account.clone().unwrap();
        (account.user, account.secret.expose_secret().to_owned())
    }

    fn pair(user: &str, secret: &str) -> (String, String) {
        (user.to_owned(), secret.to_owned())
    }

    #[tokio::test]
    async fn a_source_is_read_again_and_a_change_of_either_part_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "op:one").unwrap();
        let credentials = made(from_file(&path)).unwrap();
        assert!(!credentials.reread().await.unwrap());
        std::fs::write(&path, "op:two").unwrap();
        assert!(credentials.reread().await.unwrap());
        assert_eq!(account(&credentials), pair("op", "two"));
        std::fs::write(&path, "another:two").unwrap();
        assert!(credentials.reread().await.unwrap());
        assert_eq!(account(&credentials), pair("another", "two"));
        assert_eq!(credentials.who(), format!("of the user \"another\" from \"{}\"", path.display()));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(credentials.reread().await, Err(CredentialError::Unreadable(_))));
        assert_eq!(account(&credentials), pair("another", "two"));
    }

    #[test]
    fn a_variable_is_named() {
        let made = Credentials::new(Some(fixed("op", "one")), Some("JENKINS_API_TOKEN".to_owned()));
        let Ok(credentials) = made else { panic!("a thread is to be had") };
        assert_eq!(credentials.who(), "of the user \"op\" from JENKINS_API_TOKEN in the environment");
    }

    #[tokio::test]
    async fn another_source_is_used_as_soon_as_it_gives_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let credentials = made(fixed("op", "one")).unwrap();
        assert!(!credentials.reread().await.unwrap());
        assert!(credentials.replace(Some(from_file(&path))).await.is_err());
        assert_eq!(account(&credentials), pair("op", "one"));
        std::fs::write(&path, "op:two").unwrap();
        assert!(credentials.reread().await.unwrap());
        assert_eq!(account(&credentials), pair("op", "two"));
        assert!(!credentials.replace(Some(fixed("op", "two"))).await.unwrap());
        assert!(credentials.replace(None).await.unwrap());
        assert_eq!((credentials.user(), credentials.who().as_str()), (None, "of nobody (none are set)"));
    }

    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "the lock is what hangs")]
    async fn a_source_that_hangs_leaves_the_old_account_and_is_too_late_for_a_new_source() {
        static GATE: Mutex<()> = Mutex::new(());
        let read = || {
            drop(GATE.lock());
            Ok(Account { user: "late".to_owned(), secret: "late".into() })
        };
        let hanging = CredentialSource { file: Some("/hung".into()), read: Arc::new(read) };
        let mut credentials = made(fixed("op", "one")).unwrap();
        credentials.patience = Duration::ZERO;
        let shut = GATE.lock().unwrap();
        let error = credentials.replace(Some(hanging.clone())).await.unwrap_err();
        assert!(error.to_string().contains("a mount that does not answer"), "{error}");
        assert_eq!(account(&credentials), pair("op", "one"));
        credentials.patience = crate::controller::testing::AMPLE;
        let late = credentials.adopt(hanging);
        let replaced = async {
            credentials.known().source = Some(fixed("new", "new"));
            drop(shut);
        };
        assert!(!tokio::join!(late, replaced).0.unwrap());
        assert_eq!(account(&credentials), pair("op", "one"));
    }

    #[test]
    fn unusable_secrets_are_refused_and_never_shown() {
        assert!(made(fixed("a:b", "x")).is_err());
        assert!(made(fixed("a", "hunter\n2")).is_err());
        let shown = format!("{:?}", made(fixed("a", "hunter2")).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
