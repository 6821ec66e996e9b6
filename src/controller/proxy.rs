//! The proxy that the environment names for requests to the controller. The HTTP client finds it by itself, with this
//! same matcher; here it gets its name in messages, because what fails then is not what the URL says.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use super::error::SetupError;
use super::http::shown;
use super::url::Root;

/// Where requests go first, if not straight to the controller.
#[derive(Debug)]
pub(crate) struct Proxies(Option<Matcher>);

impl Proxies {
    /// Those of this process's environment. None is asked for what runs on this machine.
    pub(crate) fn of_environment(root: &Root) -> Result<Self, SetupError> {
        Self::new(Matcher::from_system(), root)
    }

    fn new(matcher: Matcher, root: &Root) -> Result<Self, SetupError> {
        let proxies = Self((!root.is_loopback()).then_some(matcher));
        match proxies.of(&root.page("")) {
            // It would be spoken to in HTTP, and be handed the credentials by that.
            Some(proxy) if !proxy.starts_with("http") => Err(SetupError::Proxy { proxy }),
            Some(_) | None => Ok(proxies),
        }
    }

    /// Whether the client must not look into the environment.
    pub(crate) fn are_off(&self) -> bool {
        self.0.is_none()
    }

    /// The proxy for a request to this address, without its credentials.
    pub(crate) fn of(&self, url: &Url) -> Option<String> {
        let destination = url.as_str().parse().ok()?;
        let proxy = self.0.as_ref()?.intercept(&destination)?;
        Some(proxy.uri().to_string().trim_end_matches('/').to_owned())
    }

    /// An address for messages, with the proxy on the way to it.
    pub(crate) fn shown(&self, url: &Url) -> String {
        match self.of(url) {
            Some(proxy) => format!("{} (through the proxy {proxy})", shown(url)),
            None => shown(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(root: &str) -> Result<Proxies, SetupError> {
        let matcher = Matcher::builder()
            .http("http://me:hunter2@proxy.example:3128")
            .https("secure.example:3129")
            .no("direct.example,10.0.0.0/8")
            .build();
        Proxies::new(matcher, &Root::parse(root).unwrap())
    }

    #[test]
    fn the_proxy_of_each_address_is_named_without_its_password() {
        let proxies = proxies("http://ci.example").unwrap();
        for (url, expected) in [
            ("http://ci.example/x?y", "http://ci.example/x (through the proxy http://proxy.example:3128)"),
            ("https://ci.example/", "https://ci.example/ (through the proxy http://secure.example:3129)"),
            ("http://direct.example/", "http://direct.example/"),
            ("http://ci.direct.example/", "http://ci.direct.example/"),
            ("http://10.1.2.3/", "http://10.1.2.3/"),
        ] {
            assert_eq!(proxies.shown(&Url::parse(url).unwrap()), expected);
        }
    }

    #[test]
    fn this_machine_needs_no_proxy() {
        for root in ["http://localhost:8080", "http://127.0.0.1", "https://[::1]"] {
            let proxies = proxies(root).unwrap();
            assert!(proxies.are_off() && proxies.of(&Url::parse("http://ci.example/").unwrap()).is_none());
        }
    }

    #[test]
    fn a_proxy_that_speaks_no_http_is_refused() {
        let socks = || Matcher::builder().all("socks5://me:hunter2@proxy.example:1080").build();
        let error = Proxies::new(socks(), &Root::parse("http://ci.example").unwrap()).unwrap_err().to_string();
        assert!(error.contains("socks5://proxy.example:1080") && error.contains("NO_PROXY"), "{error}");
        assert!(!error.contains("hunter2"));
        assert!(Proxies::new(socks(), &Root::parse("http://localhost").unwrap()).is_ok());
    }
}
