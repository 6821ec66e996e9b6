//! The client itself, and the reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agent_wrap_supervisor::{Failure, NodeView};
use reqwest::header::HeaderName;
use reqwest::{Client, Method, Response, StatusCode, Url};

use super::credentials::{CredentialSource, Credentials, Unavailable};
use super::crumb::CrumbJar;
use super::error::{ControllerError, CredentialError, SetupError};
use super::http::{Answer, Clients, broken, is_login, shown};
use super::mark_clock::MarkClock;
use super::marker::Marker;
use super::read::{self, Head, Judge, SeesPaths};
use super::settings::Settings;
use super::url::{NodeName, Root};

/// One node on one controller. Each call is one operation that stands for itself; dropping its future closes its
/// connection. It has to be used within a tokio runtime with I/O and time enabled.
pub struct Controller {
    pub(super) clients: Clients,
    pub(super) node: NodeName,
    pub(super) credentials: Credentials,
    pub(super) crumbs: CrumbJar,
    pub(super) marker: Marker,
    pub(super) root: Mutex<Root>,
    /// Whether it is known that the root's answers do not come from another scheme.
    pub(super) resolved: AtomicBool,
    online_match: Mutex<Option<regex_lite::Regex>>,
    claimed: AtomicBool,
    /// What the last answer that told has said.
    version: Mutex<Option<String>>,
    clock: MarkClock,
    sees_paths: SeesPaths,
}

impl Controller {
    /// Reads the credentials and the certificates and starts the resolver's thread. Nothing is sent.
    ///
    /// # Errors
    /// When the settings make no client.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let root = Root::parse(&settings.url)?;
        let clients = Clients::new(&settings, &root)?;
        if let Some(proxy) = clients.proxies.of(&root.page("")) {
            tracing::info!(target: "agent_wrap", event = "proxy", "the controller is asked through the proxy {proxy}");
        }
        Ok(Self {
            node: NodeName::new(&settings.node)?,
            clients,
            credentials: Credentials::new(settings.credentials, settings.token_variable).map_err(|unavailable| {
                match unavailable {
                    Unavailable::Thread(error) => SetupError::Thread(error),
                    Unavailable::Credentials(error) => SetupError::Credentials(error),
                }
            })?,
            crumbs: CrumbJar::default(),
            marker: settings.marker,
            resolved: AtomicBool::new(!root.is_plain()),
            root: Mutex::new(root),
            online_match: Mutex::new(settings.online_match),
            claimed: AtomicBool::new(settings.claimed),
            version: Mutex::new(None),
            clock: MarkClock::start(),
            sees_paths: SeesPaths::default(),
        })
    }

    /// The root URL in use, with a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.root().as_str().to_owned()
    }

    /// The controller's version, as the last read of the node has told it. Hudson tells none.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A mark of ours is on the node, or may be; or none is for sure. One whose words an old controller has replaced by its own,
    /// when the channel was lost, is known by that alone.
    pub(super) fn set_claimed(&self, claimed: bool) {
        self.claimed.store(claimed, Ordering::Relaxed);
    }

    /// Takes another pattern for the marks that are to be lifted.
    pub fn set_online_match(&self, pattern: Option<regex_lite::Regex>) {
        *self.online_match.lock().unwrap_or_else(PoisonError::into_inner) = pattern;
    }

    /// Takes another source of the credentials, and reads it; `None` asks anonymously from now on.
    ///
    /// # Errors
    /// When the source gives nothing, or not in time; the old account stays in use, and a refusal reads the new source.
    pub async fn replace_credentials(&self, source: Option<CredentialSource>) -> Result<(), CredentialError> {
        if self.credentials.replace(source).await? {
            self.crumbs.clear();
            self.sees_paths.forget();
        }
        Ok(())
    }

    /// Asks for the node.
    ///
    /// # Errors
    /// A [`Failure`] with the kind that decisions depend on and the words that a person needs.
    pub async fn read_node(&self, within: Duration) -> Result<NodeView, Failure> {
        let answer = tokio::time::timeout(within, self.read_node_unbounded()).await;
        let page = || self.shown(&self.root().page(&self.node.page("api/json")));
        answer.unwrap_or_else(|_| Err(ControllerError::Timeout { url: page(), within })).map_err(Failure::from)
    }

    async fn read_node_unbounded(&self) -> Result<NodeView, ControllerError> {
        let answer = self.get_node(&format!("api/json?tree={}", read::TREE)).await?;
        let online_match = self.online_match.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let judge = Judge {
            marker: &self.marker,
            online_match: online_match.as_ref(),
            claimed: self.claimed.load(Ordering::Relaxed),
            clock: &self.clock,
            sees_paths: &self.sees_paths,
        };
        let version = answer.header("x-jenkins");
        if let Some(version) = version {
            *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.to_owned());
        }
        let head = Head { version, date: answer.date() };
        let view = read::node_view(&answer.body, head, &judge);
        if view.as_ref().is_ok_and(|view| view.mark.is_none()) {
            self.set_claimed(false);
        }
        view.map_err(|error| {
            let url = self.shown(&answer.url);
            match (version, looks_like_html(&answer.body)) {
                (None, true) => ControllerError::NotAController { url, why: "an HTML page instead of JSON".to_owned() },
                (Some(_), _) | (None, false) => ControllerError::Garbage { url, why: error.to_string() },
            }
        })
    }

    /// Gets one of the node's pages; a 404 is looked into.
    pub(super) async fn get_node(&self, page: &str) -> Result<Answer, ControllerError> {
        let answer = self.get(&self.node.page(page)).await?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => Err(self.missing_node(&answer).await),
            _ => Err(self.refusal(&answer)),
        }
    }

    /// Gets a page with the credentials. A moved root is looked up, changed credentials are tried, each once.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, ControllerError> {
        self.ensure_resolved().await?;
        let mut answer = self.get_once(path).await?;
        if answer.status.is_redirection() && self.adopt(&answer) {
            answer = self.get_once(path).await?;
        }
        if answer.status == StatusCode::UNAUTHORIZED && self.credentials_changed().await {
            answer = self.get_once(path).await?;
        }
        Ok(answer)
    }

    async fn get_once(&self, path: &str) -> Result<Answer, ControllerError> {
        Answer::read(self.open(path).await?).await
    }

    /// Gets a page with the credentials, its head only.
    pub(super) async fn open(&self, path: &str) -> Result<Response, ControllerError> {
        self.open_if(path, &[]).await
    }

    /// The same on these conditions.
    pub(super) async fn open_if(
        &self,
        path: &str,
        conditions: &[(HeaderName, &str)],
    ) -> Result<Response, ControllerError> {
        let url = self.root().page(path);
        let mut request = self.credentials.sign(self.clients.reads.get(url.clone()));
        for (name, value) in conditions {
            request = request.header(name, *value);
        }
        request.send().await.map_err(|error| self.broken(&url, &error))
    }

    /// A 404 means a missing node only where the root answers as a controller to the same credentials.
    pub(super) async fn missing_node(&self, answer: &Answer) -> ControllerError {
        let root = match self.get("api/json?tree=mode,nodeName").await {
            Ok(root) => root,
            Err(error) => return error,
        };
        match root.status {
            StatusCode::OK if is_controllers_root(&root) => {
                ControllerError::NoSuchNode { root: self.url(), node: self.node.plain().to_owned() }
            }
            StatusCode::OK | StatusCode::NOT_FOUND => ControllerError::NotAController {
                url: self.url(),
                why: format!("{} is a 404, and the root does not answer as a controller either", shown(&answer.url)),
            },
            _ => self.refusal(&root),
        }
    }

    /// The named error for an answer that is not the page that was asked for.
    pub(super) fn refusal(&self, answer: &Answer) -> ControllerError {
        let url = self.shown(&answer.url);
        let status = answer.status.as_u16();
        match answer.status {
            StatusCode::UNAUTHORIZED => self.unauthenticated(&answer.url, answer.header("www-authenticate")),
            StatusCode::FORBIDDEN => self.forbidden(answer),
            StatusCode::SERVICE_UNAVAILABLE if answer.mentions("getting ready") || answer.mentions("is starting") => {
                ControllerError::Starting { url, retry_after: answer.retry_after() }
            }
            StatusCode::TOO_MANY_REQUESTS => ControllerError::TooOften { url, retry_after: answer.retry_after() },
            StatusCode::SERVICE_UNAVAILABLE => {
                ControllerError::ServerError { url, status, retry_after: answer.retry_after() }
            }
            code if code.is_server_error() => ControllerError::ServerError { url, status, retry_after: None },
            code if code.is_redirection() => match answer.location() {
                Some(to) if self.is_login(&to) => self.sent_to_login(&answer.url),
                Some(to) => self.astray(&answer.url, &to).unwrap_or_else(|| ControllerError::NotAController {
                    why: format!("it sends us on to {}", shown(&to)),
                    url,
                }),
                None => ControllerError::Unexpected { url, status },
            },
            StatusCode::NOT_FOUND => ControllerError::NotAController { url, why: "404".to_owned() },
            StatusCode::OK => ControllerError::Garbage { url, why: "another page came".to_owned() },
            _ => ControllerError::Unexpected { url, status },
        }
    }

    /// Whether this is where a controller sends those who have to log in, and not the page of a node of such a name.
    pub(super) fn is_login(&self, url: &Url) -> bool {
        is_login(url) && !self.node.is_page_of(url.path())
    }

    /// Why a request has brought no answer.
    pub(super) fn broken(&self, url: &Url, error: &reqwest::Error) -> ControllerError {
        broken(url, self.clients.proxies.of(url).as_deref(), self.clients.knows_authorities, error)
    }

    /// A page for messages, with the proxy on the way to it.
    pub(super) fn shown(&self, url: &Url) -> String {
        self.clients.proxies.shown(url)
    }

    /// A redirect to the login page is what a 401 is elsewhere.
    pub(super) fn sent_to_login(&self, url: &Url) -> ControllerError {
        ControllerError::Unauthenticated {
            url: self.shown(url),
            who: self.credentials.who(),
            why:
                "it sends us to its login page; give a user and an API token (a proxy may also drop the Authorization \
                  header)"
                    .to_owned(),
        }
    }

    /// The words for a 401. The source has just been read again.
    pub(super) fn unauthenticated(&self, url: &Url, challenge: Option<&str>) -> ControllerError {
        let origin = match challenge {
            Some(challenge) if challenge.contains("Jenkins") || challenge.contains("Hudson") => "401 of the controller",
            Some(_) => "401, of a proxy by its realm",
            None => "401",
        };
        let cure = if self.credentials.user().is_some() {
            "the user is unknown or the token was revoked; make a new API token on the user's page"
        } else {
            "give a user and an API token"
        };
        ControllerError::Unauthenticated {
            url: self.shown(url),
            who: self.credentials.who(),
            why: format!("{origin}; {cure}"),
        }
    }

    fn forbidden(&self, answer: &Answer) -> ControllerError {
        ControllerError::Forbidden {
            url: self.shown(&answer.url),
            who: answer
                .header("x-you-are-authenticated-as")
                .map(str::to_owned)
                .or_else(|| self.credentials.user())
                .or_else(|| Some("anonymous".to_owned())),
            permission: answer.header("x-required-permission").map(str::to_owned),
        }
    }

    /// Reads the credentials' source again after a 401; true if another try makes sense.
    pub(super) async fn credentials_changed(&self) -> bool {
        match self.credentials.reread().await {
            Ok(changed) => {
                if changed {
                    self.crumbs.clear();
                    self.sees_paths.forget();
                }
                changed
            }
            Err(error) => {
                tracing::warn!(
                    target: "agent_wrap",
                    event = "credentials",
                    "the credentials were refused, and cannot be read again: {error}"
                );
                false
            }
        }
    }

    /// Starts a request with the credentials that is written on a connection of its own.
    pub(super) fn fresh(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        self.credentials.sign(self.writes().request(method, url))
    }

    pub(super) fn writes(&self) -> &Client {
        &self.clients.writes
    }

    pub(super) fn root(&self) -> Root {
        self.root.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("url", &self.url()).field("node", &self.node.plain()).finish_non_exhaustive()
    }
}

/// Whether this is the root's JSON of a Jenkins or a Hudson; Hudson has no header on it.
pub(super) fn is_controllers_root(answer: &Answer) -> bool {
    let described = serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok_and(|json| json.is_object());
    let named = |name| answer.headers.contains_key(name);
    described && (named("x-jenkins") || named("x-hudson") || answer.mentions("\"mode\""))
}

fn looks_like_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}
