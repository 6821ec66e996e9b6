//! The table of all settings. One row is the flag, the key of the file, the name in the environment and the line of
//! `--help`; the default values are in `defaults.toml` and nowhere else.

/// A setting. The order is that of [`SETTINGS`], of the help and of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Url,
    Node,
    User,
    TokenFile,
    CaFile,
    RequestTimeout,
    Standalone,
    Online,
    OnlineMethod,
    StartTimeout,
    IfRefused,
    TakeOver,
    HoldFile,
    Offline,
    OfflineReason,
    OfflineTimeout,
    Drain,
    DrainWarn,
    Grace,
    Leftovers,
    Restart,
    RestartLimit,
    RestartDelay,
    RestartDelayMax,
    RestartResetAfter,
    RestartQuick,
    RestartSlowAfter,
    RestartSlowDelay,
    JarUpdate,
    SecretFile,
    AgentUser,
    AgentOomScoreAdj,
    Stdio,
    Poll,
    DisconnectTimeout,
    LogFormat,
    LogLevel,
    StatusLine,
    StateDir,
    Ready,
    Signal,
}

/// What kind of value a setting takes: decides which TOML types are right for it, and whether its flag needs a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string.
    Text,
    /// The path of a file or directory; in a file, relative to that file.
    Path,
    /// A length of time: a string such as `5m`, or whole seconds.
    Time,
    /// A whole number.
    Count,
    /// True or false.
    Switch,
    /// Pairs of a signal and a verb.
    Signals,
}

/// The headings of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Controller,
    Start,
    Stop,
    Agent,
    Watch,
    Running,
}

impl Group {
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Controller => "Controller and node",
            Self::Start => "Before the agent starts",
            Self::Stop => "At a stop",
            Self::Agent => "The agent",
            Self::Watch => "While the agent runs",
            Self::Running => "agent-wrap itself",
        }
    }
}

/// From when on a setting holds that a reload has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// From the next decision on.
    AtOnce,
    /// From the agent's next start on.
    NextStart,
    /// After a restart of the wrapper; a reload says so.
    Restart,
}

/// A further name in the environment, looked at after `AGENT_WRAP_<KEY>`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alias {
    pub(crate) name: &'static str,
    /// The variable holds the secret itself and not the path of a file.
    pub(crate) literal: bool,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) key: Key,
    /// The long flag without its dashes, and the key of the file.
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) kind: Kind,
    /// The name of the value in the help.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
    pub(crate) aliases: &'static [Alias],
    /// The name of a systemd credential that is used when nothing else is given.
    pub(crate) credential: Option<&'static str>,
    /// What a reload does with it: see [`reload`](super::reload()).
    pub(crate) holds: Holds,
}

const fn alias(name: &'static str) -> Alias {
    Alias { name, literal: false }
}

const fn literal(name: &'static str) -> Alias {
    Alias { name, literal: true }
}

const fn row(
    key: Key,
    name: &'static str,
    group: Group,
    kind: Kind,
    value: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, name, group, kind, value, help, aliases: &[], credential: None, holds: Holds::AtOnce }
}

impl Setting {
    const fn or(mut self, aliases: &'static [Alias]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn or_credential(mut self, name: &'static str) -> Self {
        self.credential = Some(name);
        self
    }

    const fn holds(mut self, holds: Holds) -> Self {
        self.holds = holds;
        self
    }

    /// The first name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("AGENT_WRAP_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    pub(crate) fn of(key: Key) -> &'static Self {
        &SETTINGS[key as usize]
    }

    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}

pub(crate) const COUNT: usize = Key::Signal as usize + 1;

#[rustfmt::skip]
pub(crate) static SETTINGS: [Setting; COUNT] = [
    row(Key::Url, "url", Group::Controller, Kind::Text, "URL",
        "Root of the controller, unless the command names it")
        .or(&[alias("JENKINS_URL")])
        .holds(Holds::Restart),
    row(Key::Node, "node", Group::Controller, Kind::Text, "NAME",
        "Name of the node, unless the command names it")
        .or(&[alias("JENKINS_NAME"), alias("JENKINS_AGENT_NAME")])
        .holds(Holds::Restart),
    row(Key::User, "user", Group::Controller, Kind::Text, "NAME",
        "Account that may connect and disconnect the node")
        .or(&[alias("JENKINS_USER_ID")]),
    row(Key::TokenFile, "token-file", Group::Controller, Kind::Path, "FILE",
        "Its API token, in a file; or USER:TOKEN")
        .or(&[literal("AGENT_WRAP_TOKEN"), literal("JENKINS_API_TOKEN")])
        .or_credential("agent-wrap.token"),
    row(Key::CaFile, "ca-file", Group::Controller, Kind::Path, "FILE",
        "PEM certificates to trust besides the system's own")
        .holds(Holds::Restart),
    row(Key::RequestTimeout, "request-timeout", Group::Controller, Kind::Time, "TIME",
        "How long one request may take"),
    row(Key::Standalone, "standalone", Group::Controller, Kind::Switch, "BOOL",
        "Only supervise: ask no controller, mark no node")
        .holds(Holds::Restart),

    row(Key::Online, "online", Group::Start, Kind::Text, "WHICH",
        "Marks to lift: always, own, match=REGEX or never"),
    row(Key::OnlineMethod, "online-method", Group::Start, Kind::Text, "HOW",
        "How to lift them: auto, cli or toggle"),
    row(Key::StartTimeout, "start-timeout", Group::Start, Kind::Time, "TIME",
        "How long to wait for the controller; 0 is for ever"),
    row(Key::IfRefused, "if-refused", Group::Start, Kind::Text, "WHAT",
        "If the controller refuses us: exit or start"),
    row(Key::TakeOver, "takeover", Group::Start, Kind::Text, "WHEN",
        "Close what a killed run left connected: auto or never"),
    row(Key::HoldFile, "hold-file", Group::Start, Kind::Path, "FILE",
        "While it is there the node stays marked, with its text as the reason")
        .holds(Holds::Restart),

    row(Key::Offline, "offline", Group::Stop, Kind::Text, "WHEN",
        "Mark the node and drain it: always or never"),
    row(Key::OfflineReason, "offline-reason", Group::Stop, Kind::Text, "TEXT",
        "What people see"),
    row(Key::OfflineTimeout, "offline-timeout", Group::Stop, Kind::Time, "TIME",
        "How long marking the node may take"),
    row(Key::Drain, "drain", Group::Stop, Kind::Time, "TIME",
        "How long builds may take (0: no wait), or until=HH:MM"),
    row(Key::DrainWarn, "drain-warn", Group::Stop, Kind::Time, "TIME",
        "Say so long before which builds are cut off; 0: never"),
    row(Key::Grace, "grace", Group::Stop, Kind::Time, "TIME",
        "How long the agent has from TERM to KILL"),
    row(Key::Leftovers, "leftovers", Group::Stop, Kind::Text, "WHAT",
        "What the agent leaves running: kill or leave"),

    row(Key::Restart, "restart", Group::Agent, Kind::Text, "WHEN",
        "Start it again: always, on-failure or no"),
    row(Key::RestartLimit, "restart-limit", Group::Agent, Kind::Count, "N",
        "Give up after N failures in a row; 0 is never"),
    row(Key::RestartDelay, "restart-delay", Group::Agent, Kind::Time, "TIME",
        "Pause after a failure; doubles each time"),
    row(Key::RestartDelayMax, "restart-delay-max", Group::Agent, Kind::Time, "TIME",
        "Longest such pause"),
    row(Key::RestartResetAfter, "restart-reset-after", Group::Agent, Kind::Time, "TIME",
        "A run this long wipes out earlier failures"),
    row(Key::RestartQuick, "restart-quick", Group::Agent, Kind::Time, "TIME",
        "A shorter, never connected run is a failure"),
    row(Key::RestartSlowAfter, "restart-slow-after", Group::Agent, Kind::Count, "N",
        "Mark the node and slow down after N failures"),
    row(Key::RestartSlowDelay, "restart-slow-delay", Group::Agent, Kind::Time, "TIME",
        "Pause between slow restarts"),
    row(Key::JarUpdate, "jar-update", Group::Agent, Kind::Text, "WHEN",
        "Take a newer jar: at a restart, or when idle"),
    row(Key::SecretFile, "secret-file", Group::Agent, Kind::Path, "FILE",
        "The node's own secret; else the controller is asked for it")
        .or(&[literal("AGENT_WRAP_SECRET"), literal("JENKINS_SECRET")])
        .or_credential("agent-wrap.secret")
        .holds(Holds::NextStart),
    row(Key::AgentUser, "agent-user", Group::Agent, Kind::Text, "USER[:GROUP]",
        "Run it as this user, who cannot read the token")
        .holds(Holds::NextStart),
    row(Key::AgentOomScoreAdj, "agent-oom-score-adj", Group::Agent, Kind::Count, "N",
        "How readily the kernel ends it, and builds, when memory runs out: -1000 to 1000")
        .holds(Holds::NextStart),
    row(Key::Stdio, "stdio", Group::Agent, Kind::Switch, "BOOL",
        "It speaks over stdin and stdout: add no arguments")
        .holds(Holds::NextStart),

    row(Key::Poll, "poll", Group::Watch, Kind::Time, "TIME",
        "How often to look at the node"),
    row(Key::DisconnectTimeout, "disconnect-timeout", Group::Watch, Kind::Time, "TIME",
        "Longest time without a connection"),

    row(Key::LogFormat, "log-format", Group::Running, Kind::Text, "FORM",
        "Log as text, json or journal; auto is text, or the journal where stderr is its")
        .holds(Holds::Restart),
    row(Key::LogLevel, "log-level", Group::Running, Kind::Text, "LEVEL",
        "Log error, warn, info, debug or trace")
        .holds(Holds::Restart),
    row(Key::StatusLine, "status-line", Group::Running, Kind::Text, "WHEN",
        "Show at the bottom of a terminal what is awaited: auto or never"),
    row(Key::StateDir, "state-dir", Group::Running, Kind::Path, "DIR",
        "For the lock, the memory of earlier runs and a fetched jar")
        .or(&[alias("STATE_DIRECTORY")])
        .holds(Holds::Restart),
    row(Key::Ready, "ready", Group::Running, Kind::Text, "WHEN",
        "When a service manager counts it as started: connected or started"),
    row(Key::Signal, "signal", Group::Running, Kind::Signals, "NAME=VERB",
        "Repeatable; verbs: stop, stop-now, drain, online, reload, restart, forward, ignore"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_the_index_of_their_key() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert_eq!(setting.key as usize, index, "{}", setting.name);
        }
    }

    #[test]
    fn no_name_is_used_twice() {
        let mut names: Vec<String> = SETTINGS
            .iter()
            .flat_map(|setting| {
                let aliases = setting.aliases.iter().map(|alias| alias.name.to_owned());
                aliases.chain([setting.name.to_owned(), setting.variable()])
            })
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_manual_knows_every_name() {
        let manual = include_str!("../../man/agent-wrap.1");
        let section = manual.split(".Sh ENVIRONMENT").nth(1).and_then(|rest| rest.split(".Sh ").next()).unwrap();
        let words: Vec<&str> = section.split_whitespace().collect();
        for setting in &SETTINGS {
            let credential = setting.credential.into_iter();
            for name in setting.aliases.iter().map(|alias| alias.name).chain(credential) {
                assert!(words.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn the_manual_says_what_a_reload_changes() {
        let manual = include_str!("../../man/agent-wrap.1");
        let section = manual.split(".Ss Reading the settings again").nth(1).and_then(|rest| rest.split("\n.S").next());
        let lists = section.unwrap().lines().filter_map(|line| line.strip_prefix(".Fl "));
        let lists: Vec<Vec<&str>> =
            lists.map(|list| list.split_whitespace().filter_map(|word| word.strip_prefix('-')).collect()).collect();
        let named =
            |holds| SETTINGS.iter().filter(|setting| setting.holds == holds).map(|setting| setting.name).collect();
        assert_eq!(lists, [named(Holds::NextStart), named(Holds::Restart)] as [Vec<&str>; 2]);
    }
}
