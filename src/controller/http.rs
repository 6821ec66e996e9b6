//! Connections: one client for reads that keeps its connection, one for writes that never reuses one. Neither follows
//! a redirect or repeats a request by itself.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_wrap_supervisor::Span;
use nix::errno::Errno;
use reqwest::header::HeaderMap;
use reqwest::{Client, Response, StatusCode, Url, redirect, retry};

use super::dns::Resolver;
use super::error::{ControllerError, SetupError};
use super::proxy::Proxies;
use super::settings::Settings;
use super::tls::{self, Tls};
use super::url::Root;
use crate::mask;

/// The most that is read of an answer, in bytes.
pub(crate) const BODY_LIMIT: u64 = 1024 * 1024;

/// How long a connection may take until it stands, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// The two clients.
pub(crate) struct Clients {
    pub(crate) reads: Client,
    pub(crate) writes: Client,
    pub(crate) proxies: Proxies,
    pub(crate) knows_authorities: bool,
}

impl Clients {
    pub(crate) fn new(settings: &Settings, root: &Root) -> Result<Self, SetupError> {
        let Tls { config, knows_authorities } = tls::client_config(settings.ca_file.as_deref())?;
        let resolver = Arc::new(Resolver::start().map_err(SetupError::Thread)?);
        let proxies = Proxies::of_environment(root)?;
        let build = |idle: usize| {
            let mut builder = Client::builder()
                .user_agent(&settings.user_agent)
                .tls_backend_preconfigured(config.clone())
                .dns_resolver(Arc::clone(&resolver))
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .http1_only()
                .referer(false)
                .connect_timeout(CONNECT)
                .pool_max_idle_per_host(idle)
                .pool_idle_timeout(Duration::from_secs(20));
            if proxies.are_off() {
                builder = builder.no_proxy();
            }
            builder.build().map_err(|error| SetupError::Client(chain(&error)))
        };
        Ok(Self { reads: build(1)?, writes: build(0)?, proxies, knows_authorities })
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads the answer's body, up to the limit.
    pub(crate) async fn read(mut response: Response) -> Result<Self, ControllerError> {
        let url = response.url().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&url, None, true, &error))? {
            if body.len() as u64 + chunk.len() as u64 > BODY_LIMIT {
                return Err(ControllerError::TooLarge { url: shown(&url), limit: BODY_LIMIT });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { url, status: response.status(), headers: response.headers().clone(), body })
    }

    /// A header's value, if it is there and readable.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The time at which it was given, by the clock of whoever gave it.
    pub(crate) fn date(&self) -> Option<SystemTime> {
        date(&self.headers, "date")
    }

    /// For how long whoever gave it wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Span> {
        retry_after(&self.headers)
    }

    /// Whether the body has this text in it, whatever its case.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.body.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
    }

    /// Where a redirect leads.
    pub(crate) fn location(&self) -> Option<Url> {
        if !self.status.is_redirection() {
            return None;
        }
        self.url.join(self.header("location")?).ok()
    }
}

/// A header's value, if it is there and readable.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn date(headers: &HeaderMap, name: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(header(headers, name)?).ok()
}

/// `Retry-After`: seconds, or a moment by the clock of whoever names it. Without that clock's own time a moment tells
/// nothing, because ours may be wrong.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Span> {
    let value = header(headers, "retry-after")?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Span::seconds(value.parse().unwrap_or(u64::MAX)));
    }
    let (then, now) = (date(headers, "retry-after")?, date(headers, "date")?);
    Some(Span::seconds(then.duration_since(now).ok()?.as_secs()))
}

/// Whether this is where a controller sends those who have to log in.
pub(crate) fn is_login(url: &Url) -> bool {
    let path = url.path().trim_end_matches('/');
    path.ends_with("/login") || path.ends_with("/loginEntry") || path.contains("/securityRealm/")
}

/// A URL for messages: the query is noise, and where an answer sends us may have a password in it.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    mask::url(url.as_str()).into_owned()
}

/// Why a request has brought no answer. `through` says which proxy it went to.
pub(crate) fn broken(
    url: &Url,
    through: Option<&str>,
    knows_authorities: bool,
    error: &reqwest::Error,
) -> ControllerError {
    let is_secure = url.scheme() == "https";
    let url = shown(url);
    let around = through.map(|proxy| {
        format!(
            "; it goes through the proxy {proxy}, because HTTP_PROXY, HTTPS_PROXY or ALL_PROXY says so: name the host \
             in NO_PROXY to go around it"
        )
    });
    let around = around.unwrap_or_default();
    if let Some(error) = find::<rustls::Error>(error) {
        return ControllerError::Tls { why: format!("{}{around}", tls::explain(error, knows_authorities)), url };
    }
    let (whose, what) = if through.is_some() { ("the proxy's", "the proxy") } else { ("its", "the controller") };
    let why = if let Some(cure) = find::<io::Error>(error).and_then(scarcity) {
        cure
    } else if error.is_dns() {
        format!("{whose} name does not resolve ({}); check the name and the resolver", root_cause(error))
    } else if error.is_connect() && error.is_timeout() {
        format!("no connection to {what} came about in time; check {whose} address, and the firewalls between")
    } else if let Some(refused) = find::<io::Error>(error).filter(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
        format!("{refused}; nothing listens there: is {what} running, and is the port right?")
    } else if error.is_connect() && is_secure && find::<io::Error>(error).is_some_and(is_end) {
        "the connection was closed in the middle of the TLS handshake; if what answers there speaks no TLS, the URL has \
         to begin with http://, or to name another port"
            .to_owned()
    } else if error.is_connect() && through.is_some() {
        format!("{}; does the proxy let us through to it?", root_cause(error))
    } else if error.is_connect() {
        format!("{}; check the address and the route to it", root_cause(error))
    } else {
        format!("the connection broke before the answer was complete ({})", root_cause(error))
    };
    ControllerError::Unreachable { why: format!("{why}{around}"), url }
}

fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// The words for an error that says nothing of the controller, but that this machine has run out of something.
fn scarcity(error: &io::Error) -> Option<String> {
    let cure = match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE => "this process has no descriptor left; raise its limit (ulimit -n, LimitNOFILE=)",
        Errno::ENFILE => "this machine has no descriptor left; see what holds them, or raise fs.file-max",
        Errno::ENOMEM | Errno::ENOBUFS => {
            "this machine has no memory to spare; is a build using it up, or is a limit (MemoryMax=) too low?"
        }
        _ => return None,
    };
    Some(format!("{error}: {cure}"))
}

/// The first error of this type among the causes.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            // An I/O error may be a wrapper around another one that says more.
            return inner(found).and_then(|inner| find::<E>(inner)).or(Some(found));
        }
        next = inner(error).or_else(|| error.source());
    }
    None
}

/// What an I/O error wraps: its `source` is the source of that, not that itself.
fn inner<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(wrapped)
}

fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut last: &(dyn StdError + 'static) = error;
    while let Some(next) = inner(last).or_else(|| last.source()) {
        last = next;
    }
    last.to_string()
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    #[test]
    fn how_long_to_wait_is_told_in_seconds_or_by_the_answers_own_clock() {
        const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        let after = |value: &str, date: Option<&str>| {
            let all = [("retry-after", Some(value)), ("date", date)];
            let given = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let headers = given.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            retry_after(&headers.collect())
        };
        for (value, date, span) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some(NOW), Some(120)),
            // The older forms of a date.
            ("Sunday, 06-Nov-94 08:51:37 GMT", Some(NOW), Some(120)),
            ("Sun Nov  6 08:51:37 1994", Some(NOW), Some(120)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", None, None),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(NOW), None),
            ("-1", Some(NOW), None),
            ("1.5", Some(NOW), None),
            ("soon", Some(NOW), None),
            ("", Some(NOW), None),
        ] {
            assert_eq!(after(value, date), span.map(Span::seconds), "{value} {date:?}");
        }
        assert!(after("99999999999999999999999", None).unwrap() > Span::seconds(u64::from(u32::MAX)));
    }

    #[test]
    fn what_has_run_out_is_named_with_its_limit() {
        for (errno, limit) in [
            (Errno::EMFILE, "ulimit -n"),
            (Errno::ENFILE, "fs.file-max"),
            (Errno::ENOMEM, "MemoryMax="),
            (Errno::ENOBUFS, "MemoryMax="),
        ] {
            let words = scarcity(&io::Error::from(errno)).unwrap();
            assert!(words.contains(limit), "{words}");
        }
        assert_eq!(scarcity(&io::Error::from(Errno::ENETUNREACH)), None);
        assert_eq!(scarcity(&io::Error::other("x")), None);
    }
}
