//! Layers to settings.

use std::path::{Path, PathBuf};

use agent_wrap_supervisor::{
    Backoff, IfRefused, Leftovers, OfflinePolicy, OnlineMethod, OnlinePolicy, RestartMode, TakeOver,
};
use secrecy::SecretString;

use super::agent_command::{AgentCommand, Way, lines_of};
use super::docker_agent::JavaOptions;
use super::error::{Problem, SettingsError};
use super::missing::Unasked;
use super::print::print;
use super::table::{Key, SETTINGS, Setting};
use super::values::{Given, Origin, Values};
use super::{
    Connection, ControllerSettings, Credentials, Drain, JarUpdate, LogFormat, LogLevel, Ready, ReasonTemplate,
    SecretSource, Settings, StatusLine, Surroundings, docker_agent, environment, file, missing, parse, refused,
    two_secrets,
};
use crate::cli::Cli;
use crate::quoted::quoted;
use crate::wall;

/// Settings that are complete and right.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What is odd about them, for the log.
    pub warnings: Vec<String>,
    /// The winning words with their origins, for `--print-config`.
    pub(super) values: Values,
}

/// Reads all layers and resolves them. Called again with the same arguments at a reload.
///
/// # Errors
/// Every fault that was found, with its place.
pub fn load(cli: &Cli, surroundings: &Surroundings) -> Result<Loaded, SettingsError> {
    let mut resolver = Resolver::default();
    let asked_for = cli.config.clone().or_else(|| surroundings.variable("AGENT_WRAP_CONFIG").map(PathBuf::from));
    let path = asked_for.as_deref().unwrap_or(&surroundings.default_file);
    resolver.values = file::defaults(&mut resolver.problems);
    let from_file = file::read(path, asked_for.is_some(), &mut resolver.problems);
    let secret_of_file = from_file.get(Key::SecretFile).cloned();
    resolver.values.overlay(from_file);
    let from_environment = environment::read(surroundings, &mut resolver.problems, &mut resolver.warnings);
    resolver.values.overlay(from_environment);
    resolver.values.overlay(cli.flags.values.clone());
    for text in &cli.flags.signals {
        let origin = Origin::Flag("signal");
        if let Err(words) = resolver.values.set_signals(text, &origin) {
            resolver.problems.push(Problem::of(&origin, words));
        }
    }
    resolver.infer_from_surroundings(surroundings);
    resolver.infer_from_stdio();

    let standalone = resolver.required(Key::Standalone, parse::switch).unwrap_or_default();
    let command = AgentCommand::read_as(&cli.command, cli.entry_point.is_some(), &lines_of);
    if !standalone && command.is_agent {
        resolver.infer_from_command(&command);
    } else if command.way() == Way::Unsaid && command.jar.is_some() {
        resolver.infer_node(&command);
    }
    let controller = resolver.controller(standalone, &command, cli, path);
    let settings = resolver.settings(controller, cli).map(|settings| match settings.controller {
        Some(ControllerSettings { url, node, .. }) if standalone => {
            Settings { controller: None, unasked: Some(Connection { url, node }), ..settings }
        }
        controller => Settings { controller, ..settings },
    });
    if cli.entry_point.is_some() {
        match docker_agent::look_at_java_options(surroundings) {
            Some(JavaOptions::Broken(words)) => resolver.problems.push(Problem::new(words)),
            Some(JavaOptions::Torn(words)) => resolver.warnings.push(words),
            None => {}
        }
        resolver.warnings.extend(docker_agent::neither_true_nor_false(surroundings));
        resolver.warnings.extend(docker_agent::unexpanded(surroundings));
    }
    if resolver.problems.is_empty() {
        resolver.problems.extend(refused::problems(&command, cli).into_iter().map(Problem::new));
    }
    resolver.warnings.extend(refused::warnings(&command));
    resolver.warnings.extend(refused::doubts(&command, cli));
    resolver.warnings.extend(two_secrets::warning(&command, cli, surroundings, secret_of_file.as_ref()));
    resolver.warnings.extend(settings.as_ref().and_then(|settings| unknown_zone(settings.drain, surroundings)));
    let completes = |settings: &Settings| standalone && !settings.stdio;
    if settings.as_ref().is_some_and(completes) {
        match missing::unasked(&resolver.values, &command, cli) {
            Some(Unasked::Warning(words)) => resolver.warnings.push(words),
            Some(Unasked::Problem(problem)) => resolver.problems.push(problem),
            None => {}
        }
    }
    match settings {
        Some(settings) if resolver.problems.is_empty() => {
            Ok(Loaded { settings, warnings: resolver.warnings, values: resolver.values })
        }
        Some(_) | None => {
            let log_format =
                resolver.values.get(Key::LogFormat).and_then(|given| log_format(given.text.to_str()?).ok());
            let known = print(&resolver.values, &cli.command);
            Err(SettingsError::new(resolver.problems, known, log_format.unwrap_or(LogFormat::Auto)))
        }
    }
}

/// A moment of `--drain until=` by a clock whose zone the C library does not find.
fn unknown_zone(drain: Drain, surroundings: &Surroundings) -> Option<String> {
    let zone = surroundings.variable("TZ").filter(|_| drain.is_of_zone())?;
    (!wall::knows(zone, surroundings.variable("TZDIR"))).then(|| {
        format!(
            "the zone {} (TZ), by which --drain until= goes, is not known here, and UTC is taken: install tzdata, or write \
             the moment with its day and Z",
            quoted(zone)
        )
    })
}

#[derive(Default)]
struct Resolver {
    values: Values,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Resolver {
    /// What systemd and the usual places of a user add.
    fn infer_from_surroundings(&mut self, surroundings: &Surroundings) {
        if let Some(folder) = surroundings.variable("CREDENTIALS_DIRECTORY") {
            for setting in &SETTINGS {
                let path = setting.credential.map(|name| Path::new(folder).join(name));
                if let Some(path) = path.filter(|path| self.values.get(setting.key).is_none() && is_given(path)) {
                    self.values.set(setting.key, Given::new(path.clone(), Origin::Credential(path)));
                }
            }
        }
        if self.values.get(Key::StateDir).is_none() {
            let folder = if surroundings.root {
                Some(PathBuf::from("/var/lib/agent-wrap"))
            } else if let Some(state) = surroundings.variable("XDG_STATE_HOME") {
                Some(Path::new(state).join("agent-wrap"))
            } else {
                surroundings.variable("HOME").map(|home| Path::new(home).join(".local/state/agent-wrap"))
            };
            if let Some(folder) = folder {
                self.values.set(Key::StateDir, Given::new(folder, Origin::Default));
            }
        }
    }

    /// What the agent is told, the wrapper need not be told again; where both are told, they have to agree.
    fn infer_from_command(&mut self, command: &AgentCommand) {
        let urls: Vec<_> = command.urls().into_iter().map(|(url, option)| (self.plain(&url, option), option)).collect();
        match (self.values.get(Key::Url), urls.first()) {
            (None, Some((url, option))) => {
                self.values.set(Key::Url, Given::new(url, Origin::Command(option)));
                if urls.len() > 1 {
                    self.warnings.push(format!(
                        "the agent's command names {} controllers; agent-wrap asks the first, {} (--url chooses another)",
                        urls.len(),
                        shown(url)
                    ));
                }
            }
            (Some(ours), Some((theirs, option))) => {
                let root = |text: &str| parse::root_url(text).ok();
                let known = ours.text.to_str().and_then(root);
                if known.is_some() && !urls.iter().any(|(url, _)| root(url) == known) {
                    self.warnings.push(format!(
                        "{} is {}, but the agent connects to {} ({option}); this is right only if both are the same controller",
                        ours.origin,
                        ours.text.display(),
                        shown(theirs)
                    ));
                }
            }
            (_, None) => {}
        }
        match (self.values.get(Key::Node), command.node()) {
            (None, Some((node, option))) => self.values.set(Key::Node, Given::new(node, Origin::Command(option))),
            (Some(ours), Some((theirs, option))) if ours.text != *theirs => {
                self.problems.push(Problem::new(format!(
                    "the node is {} ({}), but the agent's command says {} ({option}); agent-wrap would mark \
                     another node than the agent's: make them equal, or leave one out",
                    quoted(&ours.text),
                    ours.origin,
                    quoted(&theirs)
                )));
            }
            (_, _) => {}
        }
    }

    /// An agent that is told its name, and by us alone where to connect to.
    fn infer_node(&mut self, command: &AgentCommand) {
        if let (None, Some((node, option))) = (self.values.get(Key::Node), command.node()) {
            self.values.set(Key::Node, Given::new(node, Origin::Command(option)));
        }
    }

    /// What an agent speaks to over stdin and stdout is gone with it: another one would find nobody there.
    fn infer_from_stdio(&mut self) {
        let is_on = |given: &Given| given.text.to_str().is_some_and(|text| parse::switch(text) == Ok(true));
        let is_default = |given: &Given| given.origin == Origin::Default;
        if self.values.get(Key::Stdio).is_some_and(is_on) && self.values.get(Key::Restart).is_some_and(is_default) {
            self.values.set(Key::Restart, Given::new("no", Origin::Flag(Setting::of(Key::Stdio).name)));
        }
    }

    /// A URL of the agent's command as we use it. The agent gets the command as it is.
    fn plain(&mut self, url: &str, option: &str) -> String {
        let (plain, changed) = parse::without_user_information(url);
        if changed {
            self.warnings.push(format!(
                "the URL of {option} holds credentials, which everybody on this machine can read (ps), builds included; \
                 agent-wrap does not use them: leave them out, and give the agent the node's secret, and agent-wrap \
                 --user and --token-file"
            ));
        }
        plain
    }

    /// What is said of the controller. It may be said in part where the controller is not asked, and has to be right
    /// all the same.
    fn controller(
        &mut self,
        standalone: bool,
        command: &AgentCommand,
        cli: &Cli,
        file: &Path,
    ) -> Option<ControllerSettings> {
        // A fault that is known already may well be the reason why nothing was found.
        if !standalone && self.problems.is_empty() {
            for (key, noun) in [(Key::Url, "controller"), (Key::Node, "node")] {
                if self.values.get(key).is_none() {
                    self.problems.push(missing::setting(key, noun, command, cli, file));
                }
            }
        }
        let url = self.optional(Key::Url, parse::root_url);
        let node = self.optional(Key::Node, parse::node_name);
        let credentials = self.credentials(standalone, cli);
        let ca_file = self.path(Key::CaFile);
        let request_timeout = self.required(Key::RequestTimeout, parse::positive_time);
        Some(ControllerSettings { url: url?, node: node?, credentials, ca_file, request_timeout: request_timeout? })
    }

    fn credentials(&mut self, standalone: bool, cli: &Cli) -> Option<Credentials> {
        let user = self.optional(Key::User, parse::user);
        let token = self.secret(Key::TokenFile);
        if let (false, Some(user), None) = (standalone, &user, &token) {
            self.problems.push(missing::token(user, cli));
        }
        let variable = self.values.get(Key::TokenFile).and_then(|given| match &given.origin {
            Origin::Environment(name) if given.literal => Some(name.clone()),
            _ => None,
        });
        token.map(|token| Credentials { user, token, variable })
    }

    fn secret(&mut self, key: Key) -> Option<SecretSource> {
        let given = self.values.get(key)?;
        if !given.literal {
            return self.path(key).inspect(|path| self.warn_if_open(path)).map(SecretSource::File);
        }
        match given.text.to_str() {
            // The node's secret is written like that for agent.jar too; the token is whatever it is.
            Some(text) => Some(match text.strip_prefix('@').filter(|_| key == Key::SecretFile) {
                Some(path) => SecretSource::File(PathBuf::from(path)),
                None => SecretSource::Literal(SecretString::from(text)),
            }),
            None => {
                self.problems.push(Problem::of(&given.origin, "is not UTF-8"));
                None
            }
        }
    }

    fn warn_if_open(&mut self, path: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o004 != 0) {
            self.warnings.push(format!("{} can be read by everybody, builds included; chmod 600 it", path.display()));
        }
    }

    fn settings(&mut self, controller: Option<ControllerSettings>, cli: &Cli) -> Option<Settings> {
        let online = self.required(Key::Online, online);
        let backoff = self.backoff();
        let online_method = self.required(Key::OnlineMethod, |text| {
            let choices = [("auto", OnlineMethod::Auto), ("cli", OnlineMethod::Cli), ("toggle", OnlineMethod::Toggle)];
            parse::choice(text, &choices)
        });
        let start_timeout = self.required(Key::StartTimeout, parse::time);
        let if_refused = self.required(Key::IfRefused, |text| {
            parse::choice(text, &[("exit", IfRefused::Exit), ("start", IfRefused::Start)])
        });
        let takeover = self.required(Key::TakeOver, |text| {
            parse::choice(text, &[("auto", TakeOver::Auto), ("never", TakeOver::Never)])
        });
        let hold_file = self.path(Key::HoldFile);
        let offline = self.required(Key::Offline, |text| {
            parse::choice(text, &[("always", OfflinePolicy::Always), ("never", OfflinePolicy::Never)])
        });
        let offline_reason = self.required(Key::OfflineReason, ReasonTemplate::parse);
        let offline_timeout = self.required(Key::OfflineTimeout, parse::positive_time);
        let drain = self.required(Key::Drain, Drain::parse);
        let drain_warn = self.required(Key::DrainWarn, parse::time);
        let grace = self.required(Key::Grace, parse::time);
        let leftovers = self.required(Key::Leftovers, |text| {
            parse::choice(text, &[("kill", Leftovers::Kill), ("leave", Leftovers::Leave)])
        });
        let restart = self.required(Key::Restart, |text| {
            let choices =
                [("always", RestartMode::Always), ("on-failure", RestartMode::OnFailure), ("no", RestartMode::No)];
            parse::choice(text, &choices)
        });
        let stdio = self.required(Key::Stdio, parse::switch);
        let poll = self.required(Key::Poll, parse::time);
        let disconnect_timeout = self.required(Key::DisconnectTimeout, parse::positive_time);
        let log_format = self.required(Key::LogFormat, log_format);
        let log_level = self.required(Key::LogLevel, |text| {
            let choices = [
                ("error", LogLevel::Error),
                ("warn", LogLevel::Warn),
                ("info", LogLevel::Info),
                ("debug", LogLevel::Debug),
                ("trace", LogLevel::Trace),
            ];
            parse::choice(text, &choices)
        });
        let jar_update = self.required(Key::JarUpdate, |text| {
            parse::choice(text, &[("restart", JarUpdate::Restart), ("idle", JarUpdate::Idle)])
        });
        let status_line = self.required(Key::StatusLine, |text| {
            parse::choice(text, &[("auto", StatusLine::Auto), ("never", StatusLine::Never)])
        });
        let ready = self.required(Key::Ready, |text| {
            parse::choice(text, &[("connected", Ready::Connected), ("started", Ready::Started)])
        });
        let secret = self.secret(Key::SecretFile);
        let agent_user = self.optional(Key::AgentUser, parse::line);
        let agent_oom_score_adj = self.optional(Key::AgentOomScoreAdj, parse::oom_score_adj);
        let state_dir = self.path(Key::StateDir);
        let signals = self.signals();
        let (online, online_match) = online?;
        Some(Settings {
            controller,
            unasked: None,
            online,
            online_match,
            online_method: online_method?,
            start_timeout: start_timeout?,
            if_refused: if_refused?,
            takeover: takeover?,
            hold_file,
            offline: offline?,
            offline_reason: offline_reason?,
            offline_timeout: offline_timeout?,
            drain: drain?,
            drain_warn: drain_warn?,
            grace: grace?,
            leftovers: leftovers?,
            restart: restart?,
            backoff: backoff?,
            jar_update: jar_update?,
            secret,
            agent_user,
            agent_oom_score_adj,
            stdio: stdio?,
            poll: poll?,
            disconnect_timeout: disconnect_timeout?,
            log_format: log_format?,
            log_level: log_level?,
            status_line: status_line?,
            state_dir,
            ready: ready?,
            signals,
            command: cli.command.clone(),
            entry_point: cli.entry_point,
        })
    }

    fn backoff(&mut self) -> Option<Backoff> {
        let first = self.required(Key::RestartDelay, parse::positive_time);
        let max = self.required(Key::RestartDelayMax, parse::positive_time);
        let forget_after = self.required(Key::RestartResetAfter, parse::positive_time);
        let quick = self.required(Key::RestartQuick, parse::time);
        let slow_after = self.required(Key::RestartSlowAfter, |text| match parse::count(text)? {
            0 => Err("must be at least 1".to_owned()),
            count => Ok(count),
        });
        let slow = self.required(Key::RestartSlowDelay, parse::positive_time);
        let limit = self.required(Key::RestartLimit, parse::count);
        let (first, max) = (first?, max?);
        if first > max {
            let [delay, longest] = [Key::RestartDelay, Key::RestartDelayMax].map(|key| self.values.get(key));
            if let (Some(delay), Some(longest)) = (delay, longest) {
                let words =
                    format!("{} is longer than restart-delay-max, {}", delay.text.display(), longest.text.display());
                self.problems.push(Problem::of(&delay.origin, words));
            }
        }
        Some(Backoff {
            first,
            max,
            forget_after: forget_after?,
            quick: quick?,
            slow_after: slow_after?,
            slow: slow?,
            limit: Some(limit?).filter(|limit| *limit > 0),
        })
    }

    fn signals(&mut self) -> Vec<crate::signals::Setting> {
        let mut signals = Vec::new();
        for (name, given) in &self.values.signals {
            match parse::signal(name, &given.text.to_string_lossy()) {
                Ok(setting) => signals.push(setting),
                Err(words) => self.problems.push(Problem::of(&given.origin, words)),
            }
        }
        signals
    }

    /// The value of a setting that has a default.
    fn required<T>(&mut self, key: Key, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if self.values.get(key).is_none() {
            self.problems.push(Problem::new(format!("{} has no value and no default", Setting::of(key).name)));
        }
        self.optional(key, parse)
    }

    /// The value of a setting, if it is given and right.
    fn optional<T>(&mut self, key: Key, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let given = self.values.get(key)?;
        let parsed = given.text.to_str().ok_or_else(|| "is not UTF-8".to_owned()).and_then(parse);
        match parsed {
            Ok(value) => Some(value),
            Err(words) => {
                self.problems.push(Problem::of(&given.origin, words));
                None
            }
        }
    }

    fn path(&mut self, key: Key) -> Option<PathBuf> {
        let given = self.values.get(key)?;
        if given.text.is_empty() {
            self.problems.push(Problem::of(&given.origin, "is empty; it must be a path"));
            return None;
        }
        Some(PathBuf::from(&given.text))
    }
}

/// A URL for the log: one that is no proper root may have a password in it.
fn shown(url: &str) -> String {
    parse::root_url(url).unwrap_or_else(|_| "another URL".to_owned())
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    let choices = [
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
        ("journal", LogFormat::Journal),
    ];
    parse::choice(text, &choices)
}

fn online(text: &str) -> Result<(OnlinePolicy, Option<String>), String> {
    if let Some(expression) = text.strip_prefix("match=") {
        if expression.is_empty() {
            return Err(
                "the regular expression after match= is empty, and would match every reason; write always".to_owned()
            );
        }
        regex_lite::Regex::new(expression)
            .map_err(|error| format!("{} is not a regular expression: {error}", quoted(expression)))?;
        return Ok((OnlinePolicy::Match, Some(expression.to_owned())));
    }
    if text == "match" {
        return Err("match needs a regular expression; write it like match=^maintenance".to_owned());
    }
    let choices = [("always", OnlinePolicy::Always), ("own", OnlinePolicy::Own), ("never", OnlinePolicy::Never)];
    parse::choice(text, &choices)
        .map(|policy| (policy, None))
        .map_err(|words| words.replace("own, never", "own, match=REGEX, never"))
}

/// Whether there is such a credential. One with nothing in it is what the units give for a file that is not there
/// (`SetCredential=`), so that it is we who say that a token is missing.
fn is_given(credential: &Path) -> bool {
    match std::fs::read(credential) {
        Ok(bytes) => !bytes.trim_ascii().is_empty(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
