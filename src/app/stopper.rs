//! Who stops us, as far as that can be seen, and how long it waits before it kills: for a line at the start.
//!
//! What was configured cannot be seen from the inside, in none of them. Only the default is known.

use std::path::Path;

use agent_wrap_supervisor::{OfflinePolicy, Policy, Span};

use crate::config::Drain;
use crate::telemetry::span_words;

/// Who stops us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopper {
    /// Whoever sits at the terminal.
    Person,
    /// A service manager that is asked for more time as it goes.
    Asked,
    /// systemd, for a service that cannot ask it.
    Systemd,
    Kubernetes,
    Nomad,
    Docker,
    Podman,
    /// A container engine that leaves no trace of its name.
    Container,
    Unknown,
}

/// What there is to be seen.
pub(super) struct Traces<'a> {
    /// Whether a variable of the environment is set and not empty.
    pub(super) has: &'a dyn Fn(&str) -> bool,
    /// Whether the variable `container` names podman.
    pub(super) is_podman: bool,
    /// Whether a file is there.
    pub(super) exists: &'a dyn Fn(&Path) -> bool,
    /// Whether we have a controlling terminal.
    pub(super) terminal: bool,
    /// Whether a service manager has given us a socket to speak to it.
    pub(super) announced: bool,
    /// Whether we are process 1.
    pub(super) first: bool,
}

impl Stopper {
    /// Who it is. A scheduler is named before the engine that it uses, and the engine before the systemd that may have
    /// started its client; a service of a systemd inside a container knows systemd's variable, and no container's.
    pub(super) fn find(traces: &Traces<'_>) -> Self {
        let is_there = |file| (traces.exists)(Path::new(file));
        // Nomad hands on what it knows of the systemd that has started it.
        if (traces.has)("NOMAD_ALLOC_ID") {
            return Self::Nomad;
        }
        if (traces.has)("INVOCATION_ID") && !traces.first && !traces.terminal {
            return if traces.announced { Self::Asked } else { Self::Systemd };
        }
        // A container may well have a terminal that nobody sits at, as a pod with `tty: true` has.
        if (traces.has)("KUBERNETES_SERVICE_HOST") {
            Self::Kubernetes
        } else if is_there("/.dockerenv") {
            Self::Docker
        } else if traces.is_podman || is_there("/run/.containerenv") {
            Self::Podman
        } else if traces.first || (traces.has)("container") {
            Self::Container
        } else if traces.terminal {
            Self::Person
        } else if traces.announced {
            Self::Asked
        } else {
            Self::Unknown
        }
    }

    /// Its name, how long it waits unless it was told otherwise, and how it is told to wait for so many seconds.
    fn default(self, seconds: u64) -> Option<(&'static str, Span, String)> {
        let stop_timeout = format!("create the container with --stop-timeout {seconds}");
        let (name, default, cure) = match self {
            Self::Person | Self::Asked | Self::Unknown => return None,
            Self::Systemd => (
                "systemd",
                90,
                format!("set TimeoutStopSec={seconds} in the unit, or Type=notify, by which it is asked"),
            ),
            Self::Kubernetes => ("Kubernetes", 30, format!("set terminationGracePeriodSeconds: {seconds} in the pod")),
            Self::Nomad => (
                "Nomad",
                5,
                format!(
                    "set kill_timeout = \"{seconds}s\" in the task, and max_kill_timeout to no less in the client's \
                     configuration"
                ),
            ),
            Self::Docker => {
                ("docker", 10, format!("{stop_timeout}, or stop_grace_period: {seconds}s in a compose file"))
            }
            Self::Podman => ("podman", 10, stop_timeout),
            Self::Container => ("a container engine", 10, stop_timeout),
        };
        Some((name, Span::seconds(default), cure))
    }

    /// How long a stop may take, and what that means to whoever stops us.
    pub(super) fn words(self, policy: &Policy, drain: Drain) -> String {
        let longest = policy.longest_stop();
        let drains = policy.node.as_ref().is_some_and(|node| node.offline == OfflinePolicy::Always);
        let words = match drain {
            Drain::Until(until) if drains => {
                let more = longest.less(policy.drain);
                format!("a stop may take until {until} and {} more", span_words(more))
            }
            Drain::Until(_) | Drain::For(_) => format!("a stop may take up to {}", span_words(longest)),
        };
        let Some((name, default, cure)) = self.default(longest.0.div_ceil(1_000)) else {
            return match self {
                Self::Asked => format!("{words}; the service manager is asked for more time as it goes on"),
                Self::Unknown => format!(
                    "{words}; unless told otherwise docker kills after 10 s, Kubernetes after 30 s, systemd after 90 s"
                ),
                _ => words,
            };
        };
        let after = span_words(default);
        if longest <= default {
            format!("{words}; unless told otherwise {name} waits for {after}")
        } else {
            format!("{words}; unless told otherwise {name} kills after {after}: {cure}")
        }
    }

    /// What gives builds more time at the next stop: the drain, and the patience of whoever stops us where it has to be
    /// told of that.
    pub(super) fn more_time(self) -> &'static str {
        match self {
            Self::Person | Self::Asked => "raise --drain",
            Self::Systemd => "raise --drain, and TimeoutStopSec= in the unit",
            Self::Kubernetes => "raise --drain, and terminationGracePeriodSeconds in the pod",
            Self::Nomad => "raise --drain, and kill_timeout in the task",
            Self::Docker => "raise --drain, and --stop-timeout or stop_grace_period of the container",
            Self::Podman | Self::Container => "raise --drain, and --stop-timeout of the container",
            Self::Unknown => "raise --drain, and for how long whoever stops us waits",
        }
    }

    /// Whether a stop that waits for builds as long as the settings want it is surely cut off by the default. One that
    /// only may be, because an agent may need all of its grace, is not worth a warning.
    pub(super) fn surely_kills(self, policy: &Policy) -> bool {
        let drains = policy.node.as_ref().is_some_and(|node| node.offline == OfflinePolicy::Always);
        self.default(0).is_some_and(|(_, default, _)| drains && policy.drain >= default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Until;

    struct Place {
        variables: &'static [&'static str],
        files: &'static [&'static str],
        podman: bool,
        terminal: bool,
        announced: bool,
        first: bool,
    }

    const LENGTH: Drain = Drain::For(Span::ZERO);

    const NOWHERE: Place =
        Place { variables: &[], files: &[], podman: false, terminal: false, announced: false, first: false };

    fn found(place: Place) -> Stopper {
        Stopper::find(&Traces {
            has: &|name| place.variables.contains(&name),
            is_podman: place.podman,
            exists: &|path| place.files.iter().any(|file| Path::new(file) == path),
            terminal: place.terminal,
            announced: place.announced,
            first: place.first,
        })
    }

    #[test]
    fn each_leaves_its_trace() {
        let docker: &[&str] = &["/.dockerenv"];
        for (place, expected) in [
            (NOWHERE, Stopper::Unknown),
            (Place { announced: true, ..NOWHERE }, Stopper::Asked),
            (Place { variables: &["INVOCATION_ID"], ..NOWHERE }, Stopper::Systemd),
            (Place { variables: &["INVOCATION_ID"], announced: true, ..NOWHERE }, Stopper::Asked),
            // systemd in a container stops its services itself.
            (Place { variables: &["INVOCATION_ID"], announced: true, files: docker, ..NOWHERE }, Stopper::Asked),
            (Place { variables: &["INVOCATION_ID"], terminal: true, ..NOWHERE }, Stopper::Person),
            (Place { terminal: true, announced: true, ..NOWHERE }, Stopper::Person),
            // With a terminal and another process 1, as `podman run --tty --init` has it, or a pod of one process namespace.
            (Place { terminal: true, podman: true, ..NOWHERE }, Stopper::Podman),
            (Place { terminal: true, files: docker, ..NOWHERE }, Stopper::Docker),
            (Place { terminal: true, variables: &["KUBERNETES_SERVICE_HOST"], ..NOWHERE }, Stopper::Kubernetes),
            (Place { terminal: true, first: true, podman: true, ..NOWHERE }, Stopper::Podman),
            (Place { first: true, ..NOWHERE }, Stopper::Container),
            (Place { variables: &["container"], ..NOWHERE }, Stopper::Container),
            (Place { files: docker, first: true, ..NOWHERE }, Stopper::Docker),
            (Place { files: &["/run/.containerenv"], first: true, ..NOWHERE }, Stopper::Podman),
            // podman --sdnotify=container, which hands systemd's socket on.
            (Place { podman: true, announced: true, ..NOWHERE }, Stopper::Podman),
            (Place { variables: &["KUBERNETES_SERVICE_HOST"], files: docker, ..NOWHERE }, Stopper::Kubernetes),
            (Place { variables: &["NOMAD_ALLOC_ID"], files: docker, first: true, ..NOWHERE }, Stopper::Nomad),
            (Place { variables: &["NOMAD_ALLOC_ID", "INVOCATION_ID"], announced: true, ..NOWHERE }, Stopper::Nomad),
        ] {
            assert_eq!(found(place), expected);
        }
    }

    #[test]
    fn one_engine_is_named_with_the_seconds_that_it_has_to_be_told() {
        let policy = Policy::default();
        for (stopper, words) in [
            (Stopper::Kubernetes, "Kubernetes kills after 30 s: set terminationGracePeriodSeconds: 345 in the pod"),
            (Stopper::Docker, "docker kills after 10 s: create the container with --stop-timeout 345, or"),
            (Stopper::Podman, "podman kills after 10 s: create the container with --stop-timeout 345"),
            (Stopper::Nomad, "Nomad kills after 5 s: set kill_timeout = \"345s\" in the task, and max_kill_timeout"),
            (Stopper::Systemd, "systemd kills after 90 s: set TimeoutStopSec=345 in the unit"),
        ] {
            let said = stopper.words(&policy, LENGTH);
            let start = format!("a stop may take up to 5m 45s; unless told otherwise {words}");
            assert!(said.starts_with(&start), "{said}");
            assert!(stopper.surely_kills(&policy));
        }
        assert_eq!(Stopper::Person.words(&policy, LENGTH), "a stop may take up to 5m 45s");
        for stopper in [Stopper::Person, Stopper::Asked] {
            assert!(
                !["docker", "Kubernetes", "kills"].iter().any(|word| stopper.words(&policy, LENGTH).contains(word))
            );
        }
        for stopper in [Stopper::Person, Stopper::Asked, Stopper::Unknown] {
            assert!(!stopper.surely_kills(&policy));
        }
    }

    #[test]
    fn a_moment_is_said_as_one() {
        let policy = Policy { drain: Span::seconds(90_000), ..Policy::default() };
        let until = Drain::Until(Until::Daily(2, 0));
        assert_eq!(Stopper::Person.words(&policy, until), "a stop may take until 02:00 and 45 s more");
        let words = Stopper::Kubernetes.words(&policy, until);
        assert!(words.contains("kills after 30 s: set terminationGracePeriodSeconds: 90045 in the pod"), "{words}");
        assert!(Stopper::Kubernetes.surely_kills(&policy));
        let alone = Policy { node: None, ..policy };
        assert_eq!(Stopper::Person.words(&alone, until), "a stop may take up to 35 s");
    }

    #[test]
    fn what_fits_is_no_warning() {
        let drain = |seconds| Policy { drain: Span::seconds(seconds), ..Policy::default() };
        // Marking and the grace could make it longer, which they seldom do.
        assert!(!Stopper::Kubernetes.surely_kills(&drain(29)));
        assert!(Stopper::Kubernetes.words(&drain(29), LENGTH).contains("kills after 30 s"));
        assert!(Stopper::Kubernetes.surely_kills(&drain(30)));
        let brief = Policy { grace: Span::seconds(5), ..drain(10) };
        assert_eq!(
            Stopper::Kubernetes.words(&brief, LENGTH),
            "a stop may take up to 30 s; unless told otherwise Kubernetes waits for 30 s"
        );
        let alone = Policy { node: None, ..Policy::default() };
        assert!(!Stopper::Nomad.surely_kills(&alone));
        // Kept to the millisecond, and asked for in seconds.
        let odd = Policy { grace: Span(30_001), ..Policy::default() };
        assert!(Stopper::Kubernetes.words(&odd, LENGTH).contains("terminationGracePeriodSeconds: 346"));
    }
}
