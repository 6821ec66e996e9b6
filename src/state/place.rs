//! Where the state is, and under which name.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::hash::fnv;

/// The folder for what outlives a run. It may not exist yet, nor be writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// This folder.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The first of `$STATE_DIRECTORY` (systemd's; its first, if it names several), `/var/lib/agent-wrap` for root,
    /// `$XDG_STATE_HOME/agent-wrap`, `~/.local/state/agent-wrap`. Paths that are not absolute do not count.
    #[must_use]
    pub fn find(variable: impl Fn(&str) -> Option<OsString>, root: bool) -> Option<Self> {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let first = |list: OsString| std::env::split_paths(&list).next().and_then(absolute);
        let named =
            |name: &str, below: &str| variable(name).map(PathBuf::from).and_then(absolute).map(|path| path.join(below));
        variable("STATE_DIRECTORY")
            .and_then(first)
            .or_else(|| root.then(|| PathBuf::from("/var/lib/agent-wrap")))
            .or_else(|| named("XDG_STATE_HOME", "agent-wrap"))
            .or_else(|| named("HOME", ".local/state/agent-wrap"))
            .map(Self)
    }

    /// The folder for what a controller hands out, the agent's jar: `HOST_PATH+HASH`, so that no two share it.
    #[must_use]
    pub fn of_controller(&self, controller: &str) -> PathBuf {
        self.0.join(folder_name(controller))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A name that a person recognises, that is a safe file name, and that no other controller and node have.
pub(super) fn file_name(controller: &str, node: &str) -> String {
    let controller = canonical(controller);
    let host = controller.split_once("://").map_or(controller.as_str(), |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let hash = fnv(&[controller.as_bytes(), b"\n", node.as_bytes()]);
    format!("{}+{}+{hash:016x}", readable(host), readable(node))
}

/// The same for a controller alone. Several on one host differ in their paths, so those are to be seen.
fn folder_name(controller: &str) -> String {
    let controller = canonical(controller);
    let place = controller.split_once("://").map_or(controller.as_str(), |(_, rest)| rest);
    let hash = fnv(&[controller.as_bytes()]);
    format!("{}+{hash:016x}", readable(place))
}

/// One text for all the ways to write a controller's root, as far as they can be told without asking anybody.
fn canonical(controller: &str) -> String {
    let controller = controller.trim();
    // The parser sees to letters, default ports and odd ways to write an address.
    let Ok(mut url) = Url::parse(controller) else { return controller.trim_end_matches('/').to_owned() };
    url.set_query(None);
    url.set_fragment(None);
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
    let host = if is_this_machine(&host) { "localhost" } else { host.as_str() };
    // These fail only for what has no host at all, which is no controller.
    let _ = url.set_host(Some(host));
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// Whether this is what `localhost` means. Other addresses of this machine may well be those of other controllers.
fn is_this_machine(host: &str) -> bool {
    let names = ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"];
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|ip| ip.to_canonical());
    let ours = |ip: IpAddr| ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST || ip.is_unspecified();
    names.contains(&host) || address.is_ok_and(ours)
}

fn readable(text: &str) -> String {
    let safe = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' };
    // The first letter is no dot, so that the file is not hidden.
    text.trim_start_matches('.').chars().map(safe).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_in_their_order() {
        let find = |variables: &[(&str, &str)], root| {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            StateDir::find(variable, root).map(|dir| dir.path().to_str().unwrap().to_owned())
        };
        let all = [("STATE_DIRECTORY", "/s/a:/s/b"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(find(&all, true).unwrap(), "/s/a");
        assert_eq!(find(&all[1..], true).unwrap(), "/var/lib/agent-wrap");
        assert_eq!(find(&all[1..], false).unwrap(), "/x/agent-wrap");
        assert_eq!(find(&all[2..], false).unwrap(), "/h/.local/state/agent-wrap");
        assert_eq!(find(&[], false), None);
        let relative = [("STATE_DIRECTORY", "s"), ("XDG_STATE_HOME", ""), ("HOME", "/h")];
        assert_eq!(find(&relative, false).unwrap(), "/h/.local/state/agent-wrap");
    }

    #[test]
    fn each_controller_has_a_folder_that_a_person_recognises() {
        let folder = |url: &str| StateDir::at("/s".into()).of_controller(url).to_str().unwrap().to_owned();
        let one = folder("https://user@ci.example.org:8443/jenkins/a/");
        assert!(one.starts_with("/s/ci.example.org_8443_jenkins_a+"), "{one}");
        assert_eq!(one, folder("https://user@ci.example.org:8443/jenkins/a"));
        let others = ["https://ci/", "http://ci/", "https://ci/a", "https://ci_a", "https://ci/b"].map(folder);
        assert_eq!(others.iter().collect::<std::collections::BTreeSet<_>>().len(), others.len(), "{others:?}");
        assert!(folder(&format!("https://{}/", "x".repeat(1000))).len() < 100);
        assert!(!folder("https://../..")["/s/".len()..].contains(['/', '.']), "{}", folder("https://../.."));
    }

    #[test]
    fn one_controller_has_one_name_however_it_is_written() {
        for (root, others) in [
            (
                "https://ci.example.org/jenkins",
                [
                    "https://ci.example.org/jenkins/",
                    "HTTPS://CI.Example.ORG:443/jenkins//",
                    " https://me:pw@ci.example.org./jenkins?x=1#top",
                ]
                .as_slice(),
            ),
            (
                "http://localhost",
                &[
                    "http://127.0.0.1:80/",
                    "http://[::1]",
                    "http://127.1",
                    "http://LocalHost.",
                    "http://0.0.0.0",
                    "http://[::ffff:7f00:1]",
                ],
            ),
            ("not a url", &["not a url/"]),
        ] {
            for other in others {
                assert_eq!(file_name(root, "n"), file_name(other, "n"), "{other}");
            }
        }
    }

    #[test]
    fn what_may_be_two_controllers_has_two_names() {
        let all = [
            "http://localhost",
            "https://localhost",
            "http://localhost:8080",
            "http://localhost/jenkins",
            "http://localhost/Jenkins",
            "http://127.0.0.2",
            "http://a.localhost",
            "http://192.0.2.1",
            "http://ci",
            "http://ci.example.org",
        ];
        let names: std::collections::BTreeSet<_> = all.iter().map(|root| file_name(root, "n")).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn names_are_safe_readable_and_different() {
        let name = file_name("https://user@ci.example.org:8443/jenkins/", "../build #1/ü");
        assert!(name.starts_with("ci.example.org_8443+_build__1__+"), "{name}");
        assert_eq!(name, file_name("https://user@ci.example.org:8443/jenkins", "../build #1/ü"));
        assert_eq!(name, file_name("https://ci.example.org:8443/jenkins", "../build #1/ü"));
        assert_ne!(file_name("https://ci/", "a b"), file_name("https://ci/", "a_b"));
        assert_ne!(file_name("https://ci/a", "n"), file_name("https://ci/b", "n"));
        assert!(file_name(&"x".repeat(1000), &"y".repeat(1000)).len() < 200);
        // The name must stay what it is, or an update would lose the state.
        assert_eq!(file_name("https://ci", "n"), "ci+n+ce89a96837d26d0a");
    }
}
