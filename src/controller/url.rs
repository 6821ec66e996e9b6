//! Addresses: the controller's root, and the pages of one node below it.

use std::fmt::Write as _;

use reqwest::Url;

use super::error::SetupError;
use crate::mask;

/// The controller's root URL: http or https, no user information, no query, a path that ends with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root(Url);

/// Where a redirect leads, seen from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// To the same scheme, host and port.
    Within,
    /// From http to https on the same host: this is the root from now on.
    Upgrade(Root),
    /// From https to http on the same host.
    Downgrade,
    /// To another host or port, or to what is no HTTP.
    Elsewhere,
}

impl Root {
    /// Normalises what a person wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, SetupError> {
        let text = text.trim();
        let url = Url::parse(text)
            .map_err(|error| SetupError::Url { url: mask::url(text).into_owned(), why: error.to_string() })?;
        Self::from_url(url)
    }

    fn from_url(mut url: Url) -> Result<Self, SetupError> {
        let refuse = |url: &Url, why: &str| {
            Err(SetupError::Url { url: mask::url(url.as_str()).into_owned(), why: why.to_owned() })
        };
        if !matches!(url.scheme(), "http" | "https") {
            return refuse(&url, "it has to begin with http:// or https://");
        }
        if mask::has_user_information(&url) {
            return refuse(
                &url,
                "credentials do not belong into it; give the user and the token by their own settings",
            );
        }
        if url.host_str().is_none_or(str::is_empty) {
            return refuse(&url, "it names no host");
        }
        url.set_query(None);
        url.set_fragment(None);
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self(url))
    }

    /// The address of a page below the root; `path` is already encoded and may carry a query.
    pub(crate) fn page(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let full = format!("{}{path}", self.0.path());
        url.set_path(&full);
        url.set_query(query);
        url
    }

    /// Whether requests to it travel in the clear.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Whether the host is this machine itself, which no proxy can reach for us.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// What a redirect from one of our pages to `target` means for the root.
    pub(crate) fn redirected(&self, target: &Url) -> Redirect {
        let same_host = target.host_str() == self.0.host_str();
        let same_port = target.port_or_known_default() == self.0.port_or_known_default();
        match (self.0.scheme(), target.scheme()) {
            (ours, theirs) if same_host && same_port && ours == theirs => Redirect::Within,
            ("http", "https") if same_host => self.upgraded(target).map_or(Redirect::Elsewhere, Redirect::Upgrade),
            ("https", "http") if same_host => Redirect::Downgrade,
            _ => Redirect::Elsewhere,
        }
    }

    /// The same root by https, on the target's port. The path stays ours.
    fn upgraded(&self, target: &Url) -> Option<Self> {
        let mut url = self.0.clone();
        // The port goes first: a URL drops the default port of the scheme that it has at that moment.
        url.set_scheme("https").ok()?;
        url.set_port(target.port()).ok()?;
        Some(Self(url))
    }

    /// The URL as text, with a slash at the end.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The node's name, plain and as one segment of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeName {
    plain: String,
    segment: String,
}

impl NodeName {
    /// Refuses what is no segment of a path. The empty name would mean the built-in node.
    pub(crate) fn new(name: &str) -> Result<Self, SetupError> {
        let refuse = |why: &'static str| Err(SetupError::NodeName { name: name.to_owned(), why });
        if name.trim().is_empty() {
            return refuse("it is empty");
        }
        if matches!(name, "." | "..") {
            return refuse("it would be taken for a folder");
        }
        if name.chars().any(char::is_control) {
            return refuse("it has a control character in it");
        }
        Ok(Self { plain: name.to_owned(), segment: percent_encode(name) })
    }

    /// The name as people write it.
    pub(crate) fn plain(&self) -> &str {
        &self.plain
    }

    /// The path of one of the node's pages below the root.
    pub(crate) fn page(&self, page: &str) -> String {
        format!("computer/{}/{page}", self.segment)
    }

    /// Whether this path is the node's own page, however it is encoded.
    pub(crate) fn is_page_of(&self, path: &str) -> bool {
        let mut segments = path.trim_end_matches('/').rsplit('/');
        let ours = segments.next().map(percent_decode).is_some_and(|name| name == self.plain.as_bytes());
        ours && segments.next() == Some("computer")
    }
}

/// Encodes everything but the unreserved characters of RFC 3986; good for a path's segment and for a form's value.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, digits) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn roots_are_normalised() {
        for (written, root) in [
            ("https://ci.example", "https://ci.example/"),
            ("https://ci.example/jenkins", "https://ci.example/jenkins/"),
            (" https://CI.example:443/jenkins/ ", "https://ci.example/jenkins/"),
            ("http://ci.example:8080/a/b/?x=1#top", "http://ci.example:8080/a/b/"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
        ] {
            assert_eq!(Root::parse(written).unwrap().as_str(), root);
        }
    }

    #[test]
    fn roots_that_are_none_are_refused_without_showing_a_password() {
        for written in
            ["", "ci.example", "ftp://ci.example/", "https://", "https://me:hunter2@ci.example/", "x:hunter2@y"]
        {
            let error = Root::parse(written).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn pages_keep_the_context_path_and_the_encoding() {
        let root = Root::parse("https://ci.example/jenkins").unwrap();
        let node = NodeName::new("linux 1/é+%").unwrap();
        assert_eq!(
            root.page(&node.page("api/json?tree=a[b]")).as_str(),
            "https://ci.example/jenkins/computer/linux%201%2F%C3%A9%2B%25/api/json?tree=a[b]"
        );
    }

    #[test]
    fn names_that_are_no_segment_are_refused() {
        for name in ["", " ", ".", "..", "a\nb", "a\0"] {
            assert!(NodeName::new(name).is_err(), "{name:?}");
        }
        assert!(NodeName::new("...").is_ok());
    }

    #[test]
    fn the_nodes_own_page_is_recognised() {
        let node = NodeName::new("linux 1").unwrap();
        assert!(node.is_page_of("/jenkins/computer/linux%201/"));
        assert!(node.is_page_of("/computer/linux%201"));
        assert!(!node.is_page_of("/computer/linux/"));
        assert!(!node.is_page_of("/login"));
        assert!(!node.is_page_of("/computer/linux%201/toggleOffline"));
    }

    #[test]
    fn only_an_upgrade_on_the_same_host_is_adopted() {
        let redirected = |root: &str, target: &str| {
            Root::parse(root).unwrap().redirected(&Url::parse(root).unwrap().join(target).unwrap())
        };
        let upgrade = |root: &str| Redirect::Upgrade(Root::parse(root).unwrap());
        let plain = "http://ci.example:8080/jenkins/";
        for (target, expected) in [
            ("https://ci.example/jenkins/login", upgrade("https://ci.example/jenkins/")),
            ("https://CI.example:8443/", upgrade("https://ci.example:8443/jenkins/")),
            ("//ci.example:8080/login", Redirect::Within),
            ("/login", Redirect::Within),
            ("http://ci.example/jenkins/login", Redirect::Elsewhere),
            ("https://other.example/jenkins/login", Redirect::Elsewhere),
            ("http://other.example:8080/jenkins/login", Redirect::Elsewhere),
            ("https://ci.example.other/jenkins/login", Redirect::Elsewhere),
            ("https://ci.example@other.example/jenkins/login", Redirect::Elsewhere),
            ("ftp://ci.example/", Redirect::Elsewhere),
        ] {
            assert_eq!(redirected(plain, target), expected, "{target}");
        }
        for (target, expected) in [
            ("https://ci.example:443/login", Redirect::Within),
            ("http://ci.example/", Redirect::Downgrade),
            ("http://other.example/", Redirect::Elsewhere),
            ("https://ci.example:8443/", Redirect::Elsewhere),
        ] {
            assert_eq!(redirected("https://ci.example/", target), expected, "{target}");
        }
    }

    proptest! {
        #[test]
        fn encoding_is_reversible_and_one_segment(name in any::<String>()) {
            let encoded = percent_encode(&name);
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
            prop_assert_eq!(percent_decode(&encoded), name.into_bytes());
        }

        #[test]
        fn decoding_takes_anything(text in any::<String>()) {
            let _ = percent_decode(&text);
        }

        #[test]
        fn a_page_is_always_of_its_node(name in "[^\\p{Cc}]{1,20}") {
            if let Ok(node) = NodeName::new(&name) {
                let root = Root::parse("http://h/ctx").unwrap();
                let page = root.page(&node.page(""));
                prop_assert!(node.is_page_of(page.path()), "{}", page);
            }
        }
    }
}
