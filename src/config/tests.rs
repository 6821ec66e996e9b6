use std::ffi::OsString;
use std::path::Path;

use agent_wrap_supervisor::{OnlinePolicy, Policy, Span};

use super::table::{Holds, Key, Kind, SETTINGS, Setting};
use super::*;
use crate::cli::{self, Cli};
use crate::exit::ExitCode;
use crate::signals::{self, Verb};

/// A world with a settings file, an environment and a command line.
pub(super) struct World {
    folder: tempfile::TempDir,
    pub(super) surroundings: Surroundings,
    arguments: Vec<OsString>,
    pub(super) command: Vec<OsString>,
}

impl World {
    /// The given arguments, and as little else as makes settings complete.
    pub(super) fn new(arguments: &[&str], command: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let surroundings =
            Surroundings { variables: Vec::new(), default_file: folder.path().join("agent-wrap.toml"), root: true };
        let arguments = arguments.iter().map(OsString::from).collect();
        Self { folder, surroundings, arguments, command: command.split_whitespace().map(OsString::from).collect() }
    }

    pub(super) fn file(self, text: &str) -> Self {
        std::fs::write(&self.surroundings.default_file, text).unwrap();
        self
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.surroundings.variables.push((name.into(), value.into()));
        self
    }

    pub(super) fn cli(&self) -> Cli {
        let words = ["agent-wrap".into()].into_iter().chain(self.arguments.clone()).chain(self.command.clone());
        cli::parse(words, false).unwrap()
    }

    pub(super) fn load(&self) -> Result<Loaded, SettingsError> {
        load(&self.cli(), &self.surroundings)
    }

    pub(super) fn settings(&self) -> Settings {
        self.load().unwrap().settings
    }

    /// The error, with the temporary folder called `DIR`.
    pub(super) fn error(&self) -> (String, ExitCode) {
        let error = self.load().expect_err("these settings are wrong");
        (self.unplaced(&error.problems().collect::<Vec<_>>().join("\n")), error.exit_code())
    }

    pub(super) fn unplaced(&self, text: &str) -> String {
        text.replace(self.folder.path().to_str().unwrap(), "DIR")
    }
}

pub(super) const AGENT: &str = "java -jar agent.jar";
pub(super) const COMPLETE: [&str; 4] = ["--url", "https://ci.example.org/", "--node", "a"];

/// Four good values of a setting that differ from its default and from each other, as words.
fn samples(setting: &Setting) -> [&'static str; 4] {
    match (setting.key, setting.kind) {
        (Key::Url, _) => ["https://a/", "https://b/", "https://c/", "https://d/"],
        (Key::Online, _) => ["own", "never", "match=x", "match=y"],
        (Key::OnlineMethod, _) => ["cli", "toggle", "cli", "toggle"],
        (Key::IfRefused, _) => ["start", "exit", "start", "exit"],
        (Key::TakeOver, _) => ["never", "auto", "never", "auto"],
        (Key::Offline, _) => ["never", "always", "never", "always"],
        (Key::Leftovers, _) => ["leave", "kill", "leave", "kill"],
        (Key::Restart, _) => ["no", "on-failure", "no", "on-failure"],
        (Key::JarUpdate, _) => ["idle", "restart", "idle", "restart"],
        (Key::Ready, _) => ["started", "connected", "started", "connected"],
        (Key::StatusLine, _) => ["never", "auto", "never", "auto"],
        (Key::LogFormat, _) => ["text", "json", "journal", "json"],
        (Key::LogLevel, _) => ["error", "warn", "debug", "trace"],
        (Key::RestartDelayMax, _) => ["2m", "3m", "4m", "5m"],
        (_, Kind::Signals) => ["HUP=stop", "HUP=ignore", "HUP=drain", "HUP=forward"],
        (_, Kind::Text) => ["a", "b", "c", "d"],
        (_, Kind::Path) => ["/a", "/b", "/c", "/d"],
        (_, Kind::Time) => ["21s", "22s", "23s", "24s"],
        (Key::AgentOomScoreAdj, _) => ["-1000", "0", "21", "1000"],
        (_, Kind::Count) => ["21", "22", "23", "24"],
        (_, Kind::Switch) => ["true", "false", "true", "false"],
    }
}

fn in_file(setting: &Setting, words: &str) -> String {
    match setting.kind {
        Kind::Signals => format!("[signal]\nHUP = {:?}\n", words.strip_prefix("HUP=").unwrap()),
        Kind::Count | Kind::Switch => format!("{} = {words}\n", setting.name),
        Kind::Text | Kind::Path | Kind::Time => format!("{} = {words:?}\n", setting.name),
    }
}

/// What else has to be there for a setting to have an effect and for the settings to be complete.
fn companions(setting: &Setting) -> Vec<&'static str> {
    let mut arguments = COMPLETE.to_vec();
    if setting.key == Key::Url {
        arguments = vec!["--node", "a"];
    } else if setting.key == Key::Node {
        arguments = vec!["--url", "https://ci/"];
    } else if setting.key == Key::User {
        arguments.extend(["--token-file", "/token"]);
    } else if setting.key == Key::RestartDelay {
        arguments.extend(["--restart-delay-max", "1h"]);
    }
    arguments
}

/// Settings with the words given on the command line alone, as the yardstick for every other way to give them.
fn by_flag(setting: &Setting, words: &str) -> Settings {
    let flag = format!("--{}={words}", setting.name);
    let mut arguments = companions(setting);
    arguments.push(&flag);
    World::new(&arguments, AGENT).settings()
}

#[test]
fn every_setting_has_an_effect() {
    for setting in &SETTINGS {
        let [first, second, ..] = samples(setting);
        assert_ne!(by_flag(setting, first), by_flag(setting, second), "{}", setting.name);
    }
}

#[test]
fn a_reload_changes_every_setting_or_names_it() {
    for setting in &SETTINGS {
        let [first, second, ..] = samples(setting);
        let (running, wanted) = (by_flag(setting, first), by_flag(setting, second));
        for (running, wanted) in [(&running, &wanted), (&wanted, &running)] {
            let expected = match setting.holds {
                Holds::AtOnce | Holds::NextStart => (wanted.clone(), vec![]),
                Holds::Restart => (running.clone(), vec![setting.name]),
            };
            assert_eq!(reload(running, wanted.clone()), expected, "{}", setting.name);
        }
        assert_eq!(reload(&running, running.clone()), (running.clone(), vec![]));
    }
}

#[test]
fn for_every_setting_flags_beat_variables_beat_the_file_beats_the_defaults() {
    for setting in &SETTINGS {
        let [file, low, high, flag] = samples(setting);
        let arguments = companions(setting);
        let text = in_file(setting, file);
        let world = || World::new(&arguments, AGENT).file(&text);
        assert_eq!(world().settings(), by_flag(setting, file), "{} in the file", setting.name);

        let mut aliases =
            setting.aliases.iter().filter(|alias| !alias.literal).map(|alias| alias.name).collect::<Vec<_>>();
        for alias in &aliases {
            let settings = world().variable(alias, low).settings();
            assert_eq!(settings, by_flag(setting, low), "{} by {alias}", setting.name);
        }
        aliases.push("AGENT_WRAP_UNRELATED");
        let with_variables = || {
            let world = world().variable(&setting.variable(), high);
            aliases.iter().fold(world, |world, alias| world.variable(alias, low))
        };
        assert_eq!(with_variables().settings(), by_flag(setting, high), "{} by its variable", setting.name);

        let mut world = with_variables();
        world.arguments.push(format!("--{}={flag}", setting.name).into());
        assert_eq!(world.settings(), by_flag(setting, flag), "{} by its flag", setting.name);
    }
}

#[test]
fn jenkins_name_overrides_the_agents_name() {
    let world = World::new(&["--url=https://ci/"], AGENT);
    let world = world.variable("JENKINS_AGENT_NAME", "agent").variable("JENKINS_NAME", "name");
    assert_eq!(world.settings().controller.unwrap().node, "name");
}

#[test]
fn an_empty_variable_is_no_variable() {
    for setting in &SETTINGS {
        let words = samples(setting)[0];
        let world = World::new(&companions(setting), AGENT).file(&in_file(setting, words));
        let world = world.variable(&setting.variable(), "");
        assert_eq!(world.settings(), by_flag(setting, words), "{}", setting.name);
    }
}

#[test]
fn the_defaults_are_the_cores() {
    let settings = World::new(&COMPLETE, AGENT).settings();
    assert_eq!(settings.policy(), Policy::default());
    assert_eq!(World::new(&COMPLETE, AGENT).file(DEFAULTS).settings(), settings);
}

#[test]
fn every_line_of_the_example_may_be_uncommented() {
    let lines = DEFAULTS.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| !first.is_whitespace()) => rest,
        Some(_) | None => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let settings = World::new(&[], AGENT).file(&text).settings();
    let controller = settings.controller.unwrap();
    assert_eq!((controller.url.as_str(), controller.node.as_str()), ("https://jenkins.example.org/", "linux-7"));
    assert_eq!(settings.signals, [signals::Setting { signal: 1, verb: Verb::Stop }]);
    for setting in &SETTINGS {
        let name = if setting.kind == Kind::Signals { "[signal]".to_owned() } else { format!("{} = ", setting.name) };
        assert!(text.lines().any(|line| line.starts_with(&name)), "{name}");
    }
}

#[test]
fn the_command_fills_in_what_is_missing() {
    let world = World::new(&[], "java -jar agent.jar -url https://ci/x -name n -secret s");
    let controller = world.settings().controller.unwrap();
    assert_eq!((controller.url.as_str(), controller.node.as_str()), ("https://ci/x/", "n"));
    let world =
        World::new(&["--node", "a b"], "java -jar agent.jar -jnlpUrl https://ci/computer/a%20b/jenkins-agent.jnlp");
    let loaded = world.load().unwrap();
    assert_eq!(loaded.settings.controller.unwrap().url, "https://ci/");
    assert_eq!(loaded.warnings, [""; 0]);
}

#[test]
fn another_node_in_the_command_is_an_error_and_another_url_a_warning() {
    let world = World::new(&COMPLETE, "java -jar agent.jar -url https://other/ -name a");
    assert_eq!(
        world.load().unwrap().warnings,
        [
            "--url is https://ci.example.org/, but the agent connects to https://other/ (-url); this is right only if both \
          are the same controller"
        ]
    );
    let world = World::new(&COMPLETE, "java -jar agent.jar -url https://other -url https://ci.example.org -name a");
    assert_eq!(world.load().unwrap().warnings, [""; 0]);
    let world = World::new(&COMPLETE, "java -jar agent.jar -url https://ci.example.org/ -name b");
    assert_eq!(
        world.error(),
        (
            "the node is \"a\" (--node), but the agent's command says \"b\" (-name); agent-wrap would mark another node \
             than the agent's: make them equal, or leave one out"
                .to_owned(),
            ExitCode::Configuration
        )
    );
    World::new(&["--standalone", "--node", "a"], "java -jar agent.jar -name b").settings();
    World::new(&COMPLETE, "find / -name b").settings();
}

#[test]
fn a_zone_that_is_not_here_is_warned_of_where_it_matters() {
    let warned = |drain: &str, zone: &str| {
        let world = World::new(&[&COMPLETE[..], &["--drain", drain]].concat(), AGENT).variable("TZ", zone);
        let warnings = world.load().unwrap().warnings;
        warnings.len() == 1 && warnings[0].starts_with(&format!("the zone \"{zone}\" (TZ)"))
    };
    assert!(warned("until=02:00", "Nowhere/Land") && warned("until=2026-11-27T02:00", "Nowhere/Land"));
    for (drain, zone) in [("until=02:00", "EST5"), ("until=2026-11-27T02:00Z", "Nowhere/Land"), ("5m", "Nowhere/Land")]
    {
        assert!(!warned(drain, zone), "{drain} {zone}");
    }
}

#[test]
fn a_missing_url_names_every_place() {
    insta::assert_snapshot!(World::new(&["--node", "a"], AGENT).error().0, @r##"
    no controller is given. Looked for in: --url; AGENT_WRAP_URL; JENKINS_URL; url in DIR/agent-wrap.toml (there is no such file); -url and -jnlpUrl of the agent's command. Give it in one of these places, or --standalone to run without a controller
    "##);
    insta::assert_snapshot!(World::new(&[], "./start.sh").file("").error().0, @r##"
    no controller is given. Looked for in: --url; AGENT_WRAP_URL; JENKINS_URL; url in DIR/agent-wrap.toml; -url and -jnlpUrl of the agent's command, which does not look like agent.jar. Give it in one of these places, or --standalone to run without a controller
    no node is given. Looked for in: --node; AGENT_WRAP_NODE; JENKINS_NAME; JENKINS_AGENT_NAME; node in DIR/agent-wrap.toml; -name and -jnlpUrl of the agent's command, which does not look like agent.jar. Give it in one of these places, or --standalone to run without a controller
    "##);
    insta::assert_snapshot!(World::new(&["--node", "a"], "java -jar agent.jar -direct ci:50000").error().0, @r##"
    no controller is given. Looked for in: --url; AGENT_WRAP_URL; JENKINS_URL; url in DIR/agent-wrap.toml (there is no such file); -url and -jnlpUrl of the agent's command, which has -direct, and that names no controller. Give it in one of these places, or --standalone to run without a controller
    "##);
    let words = World::new(&["--node", "a", "--print-config"], "").error().0;
    assert!(words.starts_with("no controller is given") && !words.contains("the agent's command"), "{words}");
    assert_eq!(World::new(&[], AGENT).error().1, ExitCode::Configuration);
    assert_eq!(World::new(&["--standalone"], AGENT).settings().controller, None);
    assert_eq!(World::new(&["--standalone"], AGENT).settings().policy().node, None);
}

#[test]
fn where_no_option_can_be_given_none_is_advised() {
    let words = |world: &World| {
        let cli = Cli { entry_point: Some(0), ..world.cli() };
        world.unplaced(&load(&cli, &world.surroundings).unwrap_err().to_string())
    };
    insta::assert_snapshot!(words(&World::new(&["--node", "a"], AGENT)), @r##"
    no controller is given. Looked for in: AGENT_WRAP_URL; JENKINS_URL; url in DIR/agent-wrap.toml (there is no such file); -url and -jnlpUrl of the agent's command. Give it in one of these places, or AGENT_WRAP_STANDALONE=true to run without a controller
    "##);
    insta::assert_snapshot!(words(&World::new(&COMPLETE, AGENT).variable("JENKINS_USER_ID", "me")), @r##"
    the user me is given, but no token. Looked for in: AGENT_WRAP_TOKEN_FILE; AGENT_WRAP_TOKEN; JENKINS_API_TOKEN; token-file in the settings file; agent-wrap.token in $CREDENTIALS_DIRECTORY
    "##);
}

#[test]
fn without_a_controller_the_agent_is_still_told_of_it() {
    let standalone = |more: &[&'static str]| World::new(&[&["--standalone"], more].concat(), AGENT);
    let settings = standalone(&COMPLETE).settings();
    assert_eq!(settings.controller, None);
    let told = settings.unasked.as_ref().unwrap();
    assert_eq!((told.url.as_str(), told.node.as_str()), ("https://ci.example.org/", "a"));
    assert_eq!(standalone(&["--url", "https://ci/"]).settings().unasked, None);
    let other = standalone(&["--url", "https://other/", "--node", "a"]).settings();
    assert_eq!(reload(&settings, other), (settings.clone(), vec!["url"]));
    assert_eq!(reload(&settings, standalone(&[]).settings()), (settings.clone(), vec!["url", "node"]));
}

#[test]
fn what_makes_no_sense_is_an_error_without_a_controller_too() {
    let text = "url = 'ci'\nnode = 'a/b'\nuser = 'a:b'\nca-file = ''\nrequest-timeout = 0\n";
    let (words, code) = World::new(&["--standalone"], AGENT).file(text).error();
    assert_eq!((words.lines().count(), code), (5, ExitCode::Configuration), "{words}");
    World::new(&["--standalone", "--user", "me"], AGENT).settings();
}

#[test]
fn every_fault_of_a_file_is_named_with_its_place() {
    let text = "drian = 5\ngrace = []\n\nrestart-limit = \"3\"\ntoken = \"hush\"\nstandalone = \"yes\"\nurl = 5\n\
                poll = \"5x\"\nca-file = \"\"\nrequest-timeout = 0\nrestart-delay = \"2m\"\ncolouring = 1\n\
                [signal]\nhup = \"stpo\"\nUSR1 = 1\nkill = \"stop\"\n";
    let (words, code) = World::new(&COMPLETE, AGENT).file(text).error();
    insta::assert_snapshot!(words, @r##"
    DIR/agent-wrap.toml:1: drian: there is no such setting; is drain meant?
    DIR/agent-wrap.toml:2: grace: expected a length of time such as "5m", or whole seconds, found an array
    DIR/agent-wrap.toml:4: restart-limit: expected a whole number without quotes, found a string
    DIR/agent-wrap.toml:5: token: a secret has no place in this file; write it to a file of its own and name that as token-file
    DIR/agent-wrap.toml:6: standalone: expected true or false without quotes, found a string
    DIR/agent-wrap.toml:7: url: expected a string, found an integer
    DIR/agent-wrap.toml:12: colouring: there is no such setting; agent-wrap.toml(5) lists them
    DIR/agent-wrap.toml:15: signal.USR1: expected a verb such as "stop", found an integer
    DIR/agent-wrap.toml:9: ca-file: is empty; it must be a path
    DIR/agent-wrap.toml:10: request-timeout: must be longer than 0
    DIR/agent-wrap.toml:11: restart-delay: 2m is longer than restart-delay-max, 1m
    DIR/agent-wrap.toml:8: poll: "5x" is not a length of time; write it like 90s, 5m or 1h 30m, or as whole seconds
    DIR/agent-wrap.toml:14: signal.hup: "stpo" is not known; is stop meant?
    DIR/agent-wrap.toml:16: signal.kill: SIGKILL cannot be caught by any program; take another signal, such as USR1 or RTMIN+3
    "##);
    assert_eq!(code, ExitCode::Configuration);
    assert!(!words.contains("hush"));
    let (words, code) = World::new(&COMPLETE, AGENT).file("a = 1\nb = = 2\n").error();
    assert_eq!(words, "DIR/agent-wrap.toml:2: this is not TOML: extra `=`, expected nothing");
    assert_eq!(code, ExitCode::Configuration);
}

#[test]
fn faults_of_flags_alone_are_a_wrong_use() {
    let flags = [
        "--drain=5x",
        "--online=allways",
        "--online=match=",
        "--online=match=(",
        "--restart=nope",
        "--restart-limit=-1",
        "--agent-oom-score-adj=1001",
        "--restart-slow-after=0",
        "--offline-timeout=0",
        "--request-timeout=0",
        "--disconnect-timeout=0s",
        "--offline-reason={why}",
        "--signal=HUP",
        "--signal=HUP=jump",
        "--standalone=maybe",
        "--log-level=loud",
        "--agent-user=",
        "--state-dir=",
    ];
    let errors = flags.map(|flag| {
        let (words, code) = World::new(&[&COMPLETE[..], &[flag]].concat(), AGENT).error();
        assert_eq!(code, ExitCode::Usage, "{words}");
        words
    });
    insta::assert_snapshot!(errors.join("\n"), @r##"
    --drain: "5x" is not a length of time; write it like 90s, 5m or 1h 30m, or as whole seconds
    --online: "allways" is not known; is always meant?
    --online: the regular expression after match= is empty, and would match every reason; write always
    --online: "(" is not a regular expression: found open group without closing ')'
    --restart: "nope" is not known; it is one of always, on-failure, no
    --restart-limit: "-1" is not a whole number from 0 to 4294967295
    --agent-oom-score-adj: "1001" is not a whole number from -1000 to 1000
    --restart-slow-after: must be at least 1
    --offline-timeout: must be longer than 0
    --request-timeout: must be longer than 0
    --disconnect-timeout: must be longer than 0
    --offline-reason: {why} is not known; there are {host}, {node} and {cause}
    --signal: "HUP" is not NAME=VERB; write it like HUP=stop
    --signal: "jump" is not known; it is one of stop, stop-now, drain, online, reload, restart, forward, ignore
    --standalone: "maybe" is neither true nor false
    --log-level: "loud" is not known; it is one of error, warn, info, debug, trace
    --agent-user: is empty
    --state-dir: is empty; it must be a path
    "##);
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let world = World::new(&[&COMPLETE[..], &["--config", "/nonexistent/x.toml"]].concat(), AGENT);
    assert_eq!(
        world.error().0,
        "cannot read the settings file /nonexistent/x.toml: No such file or directory (os error 2)"
    );
    let world = World::new(&COMPLETE, AGENT).variable("AGENT_WRAP_CONFIG", "/nonexistent/y.toml");
    assert!(world.error().0.contains("/nonexistent/y.toml"));
    World::new(&COMPLETE, AGENT).settings();
}

#[test]
fn paths_in_a_file_are_relative_to_it_and_paths_elsewhere_are_not() {
    let world = World::new(&[&COMPLETE[..], &["--ca-file", "ca.pem"]].concat(), AGENT).file("token-file = 'token'\n");
    let controller = world.settings().controller.unwrap();
    assert_eq!(controller.credentials.unwrap().token, SecretSource::File(world.folder.path().join("token")));
    assert_eq!(controller.ca_file.as_deref(), Some(Path::new("ca.pem")));
}

#[test]
fn tokens_come_from_files_variables_and_credentials() {
    let token = |world: World| world.settings().controller.unwrap().credentials.map(|it| (it.user, it.token));
    let literal = |text: &str| SecretSource::Literal(text.into());
    let user = Some("me".to_owned());
    let complete = |more: &[&'static str]| World::new(&[&COMPLETE[..], more].concat(), AGENT);

    assert_eq!(token(complete(&[])), None);
    let jenkins = || complete(&[]).variable("JENKINS_USER_ID", "me").variable("JENKINS_API_TOKEN", "t");
    assert_eq!(token(jenkins()), Some((user.clone(), literal("t"))));
    assert_eq!(token(jenkins().variable("AGENT_WRAP_TOKEN", "u")), Some((user.clone(), literal("u"))));
    let variable = |world: World| world.settings().controller.unwrap().credentials.unwrap().variable;
    assert_eq!(variable(jenkins()).as_deref(), Some("JENKINS_API_TOKEN"));
    assert_eq!(variable(jenkins().variable("AGENT_WRAP_TOKEN_FILE", "/f")), None);
    let named = jenkins().variable("AGENT_WRAP_TOKEN", "u").variable("AGENT_WRAP_TOKEN_FILE", "/f");
    assert_eq!(token(named), Some((user, SecretSource::File("/f".into()))));

    let folder = tempfile::tempdir().unwrap();
    let credential = folder.path().join("agent-wrap.token");
    let managed =
        |more: &[&'static str]| complete(more).variable("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap());
    assert_eq!(token(managed(&[])), None);
    std::fs::write(&credential, "me:t").unwrap();
    assert_eq!(token(managed(&[])), Some((None, SecretSource::File(credential))));
    assert_eq!(token(managed(&["--token-file=/f"])), Some((None, SecretSource::File("/f".into()))));

    let world = World::new(&[&COMPLETE[..], &["--user", "me"]].concat(), AGENT);
    insta::assert_snapshot!(world.error().0, @r##"
    the user me is given, but no token. Looked for in: --token-file; AGENT_WRAP_TOKEN_FILE; AGENT_WRAP_TOKEN; JENKINS_API_TOKEN; token-file in the settings file; agent-wrap.token in $CREDENTIALS_DIRECTORY
    "##);
    let secret = complete(&[]).variable("JENKINS_SECRET", "@/run/s").settings().secret;
    assert_eq!(secret, Some(SecretSource::File("/run/s".into())));
    // A password may begin with it.
    let password = jenkins().variable("AGENT_WRAP_TOKEN", "@pass");
    assert_eq!(token(password), Some((Some("me".to_owned()), literal("@pass"))));
}

#[test]
fn a_token_that_everybody_can_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new(&COMPLETE, AGENT).file("token-file = 'token'\n");
    let path = world.folder.path().join("token");
    std::fs::write(&path, "me:t").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let warning = world.unplaced(&world.load().unwrap().warnings.join(""));
    assert_eq!(warning, "DIR/token can be read by everybody, builds included; chmod 600 it");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(world.load().unwrap().warnings, [""; 0]);
    for other in ["/dev/null", "/"] {
        let flags = [&COMPLETE[..], &["--token-file", other]].concat();
        assert_eq!(World::new(&flags, AGENT).load().unwrap().warnings, [""; 0], "{other}");
    }
}

#[test]
fn signals_of_all_layers_add_up() {
    let world = World::new(&[&COMPLETE[..], &["--signal", "SIGHUP=stop", "--signal", "usr2=ignore"]].concat(), AGENT)
        .file("[signal]\n1 = 'reload'\nQUIT = 'drain'\n")
        .variable("AGENT_WRAP_SIGNAL", "HUP=ignore, USR1=restart");
    let signals = world.settings().signals;
    let signals: Vec<_> = signals.into_iter().map(|it| (signals::signal_name(it.signal), it.verb)).collect();
    let expected = [("HUP", Verb::Stop), ("QUIT", Verb::Drain), ("USR1", Verb::Restart), ("USR2", Verb::Ignore)];
    assert_eq!(signals, expected.map(|(name, verb)| (name.to_owned(), verb)));
    for (first, last) in [("TERM=ignore", "15=drain"), ("15=ignore", "sigterm=drain"), ("TERM=stop", "TERM=drain")] {
        let flags = [&COMPLETE[..], &["--signal", first, "--signal", last]].concat();
        let expected = [signals::Setting { signal: 15, verb: Verb::Drain }];
        assert_eq!(World::new(&flags, AGENT).settings().signals, expected, "{first} {last}");
    }
}

#[test]
fn a_signal_of_the_file_has_one_meaning() {
    let (words, code) = World::new(&COMPLETE, AGENT).file("[signal]\nHUP = 'stop'\nSIGHUP = 'reload'\n").error();
    assert!(
        words.contains("signal.SIGHUP: this is the signal of DIR/agent-wrap.toml:2: signal.HUP once more"),
        "{words}"
    );
    assert_eq!(code, ExitCode::Configuration);
}

#[test]
fn no_option_of_the_program_itself_is_a_setting() {
    for (name, odd) in [("HELP", 1), ("VERSION", 1), ("PRINT_CONFIG", 1), ("CONFIG", 0)] {
        let world = World::new(&COMPLETE, AGENT).file("").variable(&format!("AGENT_WRAP_{name}"), "/dev/null");
        assert_eq!(world.load().unwrap().warnings.len(), odd, "{name}");
    }
}

#[test]
fn signals_that_cannot_mean_anything_are_found_in_every_layer_with_the_other_faults() {
    let world = World::new(&[&COMPLETE[..], &["--signal=CHLD=stop,USR3=drain", "--drain=5x"]].concat(), AGENT)
        .file("[signal]\nsigsegv = 'stop'\n")
        .variable("AGENT_WRAP_SIGNAL", "KILL=stop,13=ignore,33=stop");
    let (words, code) = world.error();
    assert_eq!(code, ExitCode::Configuration);
    insta::assert_snapshot!(words, @r##"
    --drain: "5x" is not a length of time; write it like 90s, 5m or 1h 30m, or as whole seconds
    AGENT_WRAP_SIGNAL in the environment: there is no signal "33": give a name like TERM, SIGTERM or RTMIN+3, or a number
    --signal: SIGCHLD tells agent-wrap that a process has ended and can mean nothing else; take another signal, such as USR1 or RTMIN+3
    AGENT_WRAP_SIGNAL in the environment: SIGKILL cannot be caught by any program; take another signal, such as USR1 or RTMIN+3
    AGENT_WRAP_SIGNAL in the environment: SIGPIPE is always ignored, so that a terminal or a closed log never stops agent-wrap; take another signal, such as USR1 or RTMIN+3
    DIR/agent-wrap.toml:2: signal.sigsegv: SIGSEGV says that a program has a fault, which agent-wrap does not hide; take another signal, such as USR1 or RTMIN+3
    --signal: there is no signal "USR3": give a name like TERM, SIGTERM or RTMIN+3, or a number
    "##);
    let printed = world.load().unwrap_err();
    assert!(printed.print().contains("\nCHLD = \"stop\""), "{}", printed.print());
}

#[test]
fn misspelt_variables_are_warned_about() {
    let world = World::new(&COMPLETE, AGENT).variable("AGENT_WRAP_DRIAN", "1").variable("AGENT_WRAP_TOKEN", "me:t");
    assert_eq!(
        world.load().unwrap().warnings,
        ["AGENT_WRAP_DRIAN in the environment is no setting and is ignored; is AGENT_WRAP_DRAIN meant?"]
    );
}

#[test]
fn the_state_directory_has_its_usual_places() {
    let place = |root: bool, variables: &[(&str, &str)]| {
        let mut world = World::new(&COMPLETE, AGENT);
        world.surroundings.root = root;
        let world = variables.iter().fold(world, |world, (name, value)| world.variable(name, value));
        world.settings().state_dir.map(|path| path.to_str().unwrap().to_owned())
    };
    assert_eq!(place(true, &[("HOME", "/h")]).as_deref(), Some("/var/lib/agent-wrap"));
    assert_eq!(place(true, &[("STATE_DIRECTORY", "/s:/t")]).as_deref(), Some("/s"));
    assert_eq!(place(false, &[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]).as_deref(), Some("/x/agent-wrap"));
    assert_eq!(place(false, &[("HOME", "/h")]).as_deref(), Some("/h/.local/state/agent-wrap"));
    assert_eq!(place(false, &[]), None);
}

#[test]
fn what_is_printed_shows_origins_hides_secrets_and_brings_the_same_about() {
    let arguments = ["--online", "match=a \"b\"\\.c", "--drain=90", "--signal=RTMIN+1=drain", "--stdio=yes"];
    let world = World::new(&arguments, "java -jar agent.jar -name=n -secret 0123")
        .file("url = \"https://ci/\"\ngrace = 5\nrestart-limit = 0x10\n[signal]\nHUP = \"stop\"\n")
        .variable("JENKINS_USER_ID", "me")
        .variable("JENKINS_API_TOKEN", "hush")
        .variable("AGENT_WRAP_POLL", "30s");
    let printed = world.load().unwrap().print();
    insta::assert_snapshot!(world.unplaced(&printed), @r##"
    # The settings in force, and where each came from.

    # --- Controller and node ---
    url = "https://ci/"                              # DIR/agent-wrap.toml:1
    node = "n"                                       # -name in the agent's command
    user = "me"                                      # JENKINS_USER_ID in the environment
    #token-file is not shown: ********  # JENKINS_API_TOKEN in the environment
    #ca-file is not set
    request-timeout = "10s"                          # default
    standalone = false                               # default

    # --- Before the agent starts ---
    online = 'match=a "b"\.c'                        # --online
    online-method = "auto"                           # default
    start-timeout = "5m"                             # default
    if-refused = "exit"                              # default
    takeover = "auto"                                # default
    #hold-file is not set

    # --- At a stop ---
    offline = "always"                               # default
    offline-reason = "agent stops on {host}: {cause}" # default
    offline-timeout = "10s"                          # default
    drain = "90"                                     # --drain
    drain-warn = "1m"                                # default
    grace = "5"                                      # DIR/agent-wrap.toml:2
    leftovers = "kill"                               # default

    # --- The agent ---
    restart = "no"                                   # --stdio
    restart-limit = 16                               # DIR/agent-wrap.toml:3
    restart-delay = "1s"                             # default
    restart-delay-max = "1m"                         # default
    restart-reset-after = "10m"                      # default
    restart-quick = "10s"                            # default
    restart-slow-after = 10                          # default
    restart-slow-delay = "5m"                        # default
    jar-update = "restart"                           # default
    #secret-file is not set
    #agent-user is not set
    #agent-oom-score-adj is not set
    stdio = true                                     # --stdio

    # --- While the agent runs ---
    poll = "30s"                                     # AGENT_WRAP_POLL in the environment
    disconnect-timeout = "5m"                        # default

    # --- agent-wrap itself ---
    log-format = "auto"                              # default
    log-level = "info"                               # default
    status-line = "auto"                             # default
    state-dir = "/var/lib/agent-wrap"                # default
    ready = "connected"                              # default

    # The agent's command:
    #   java -jar agent.jar -name=n -secret ********

    [signal]
    HUP = "stop"                                     # DIR/agent-wrap.toml:5
    "RTMIN+1" = "drain"                              # --signal
    "##);
    let again = World::new(&[], "java -jar agent.jar -name=n -secret 0123")
        .file(&printed)
        .variable("JENKINS_API_TOKEN", "hush");
    assert_eq!(again.settings(), world.settings());
}

#[test]
fn a_fault_shows_what_cannot_be_seen_as_the_log_does() {
    for (argument, shown) in [
        ("--restart=a\u{1b}b", r#"--restart: "a\u001bb" is not known"#),
        ("--grace=\u{9b}", r#"--grace: "\u009b" is not a length of time"#),
        ("--url=\u{7f}", r#"--url: "\u007f" is not the root"#),
        ("--signal=H\u{1b}=stop", r#"there is no signal "H\u001b""#),
        ("--signal=\u{1b}", r#"--signal: "\u001b" is not NAME=VERB"#),
        ("--online=match=\u{1b}(", r#"--online: "\u001b(" is not a regular expression"#),
        ("--offline-reason={", r#"--offline-reason: a brace stands alone in "{""#),
        ("--agent-user=\u{1b}", r#"--agent-user: "\u001b" has a control character"#),
        ("--node=\u{1b}", r#"--node: "\u001b" cannot be a node"#),
    ] {
        let (words, _) = World::new(&[argument], AGENT).error();
        assert!(words.contains(shown), "{words}");
    }
}

#[test]
fn what_is_printed_means_the_same_in_another_directory() {
    let paths = ["--token-file=me/token", "--ca-file", "../ca.pem", "--secret-file=secret", "--state-dir", "./s"];
    let printing = World::new(&[&COMPLETE[..], &paths, &["--user=me"]].concat(), AGENT).load().unwrap();
    let moved = World::new(&[], AGENT).file(&printing.print()).settings();
    let absolute = |path: &str| std::env::current_dir().unwrap().join(path);
    let mut expected = printing.settings;
    let controller = expected.controller.as_mut().unwrap();
    controller.ca_file = Some(absolute("../ca.pem"));
    controller.credentials.as_mut().unwrap().token = SecretSource::File(absolute("me/token"));
    expected.secret = Some(SecretSource::File(absolute("secret")));
    expected.state_dir = Some(absolute("s"));
    assert_eq!(moved, expected);
    // What is no path stays wrong.
    let empty = World::new(&[&COMPLETE[..], &["--ca-file", ""]].concat(), AGENT).load().unwrap_err();
    assert!(empty.print().contains("\nca-file = \"\" "), "{}", empty.print());
}

#[test]
fn incomplete_settings_are_printed_too() {
    let world = World::new(&["--url=https://u:hush@ci/", "--print-config"], "").variable("AGENT_WRAP_TOKEN", "hush");
    let error = world.load().unwrap_err();
    assert!(error.print().contains("#node is not set\n"));
    assert!(error.print().contains("#url is not shown: https://********@ci/  # --url\n"));
    assert!(!format!("{}{error}{error:?}", error.print()).contains("hush"));
}

#[test]
fn no_layer_lets_a_password_be_seen() {
    let shown = |world: World| match world.load() {
        Ok(loaded) => format!("{}{}", loaded.print(), loaded.warnings.join("\n")),
        Err(error) => format!("{}{error}{error:?}", error.print()),
    };
    for url in
        ["https://me:hush@ci/", "https://me:hu/hush@ci/", "me:hush@ci", "ftp://me:hush@ci/", "https://hush@ci?a=b"]
    {
        let flag = format!("--url={url}");
        let node = ["--node=a"];
        let command = |option: &str| format!("java -jar agent.jar {option} {url} -name a");
        for (place, world) in [
            ("a flag", World::new(&["--node=a", &flag], AGENT)),
            ("the file", World::new(&node, AGENT).file(&format!("url = {url:?}\n"))),
            ("no TOML", World::new(&node, AGENT).file(&format!("url = {url}\n"))),
            ("a variable", World::new(&node, AGENT).variable("AGENT_WRAP_URL", url)),
            ("JENKINS_URL", World::new(&node, AGENT).variable("JENKINS_URL", url)),
            ("-url", World::new(&node, &command("-url"))),
            ("-url and ours", World::new(&COMPLETE, &command("-url"))),
            ("-jnlpUrl", World::new(&node, &command("-jnlpUrl"))),
        ] {
            let text = shown(world);
            assert!(!text.contains("hush"), "{url} in {place}: {text}");
        }
    }
    let url = "https://me:hush@ci/";
    let text = shown(World::new(&[&COMPLETE[..], &["--drain", url, "--online", url]].concat(), AGENT));
    assert!(!text.contains("hush"), "{text}");
    let text = shown(World::new(&[&COMPLETE[..], &["--user", "me:hush"]].concat(), AGENT));
    assert!(text.contains("#user is not shown: me:********  # --user\n") && !text.contains("hush"), "{text}");
}

#[test]
fn credentials_in_our_own_url_are_refused_and_in_the_agents_left_out() {
    let refused = "the URL holds credentials, and URLs are shown in logs; use --user and --token-file";
    let with = "https://me:hush@ci.example.org/";
    let node = ["--node=a"];
    let (words, code) = World::new(&["--node=a", "--url", with], AGENT).error();
    assert_eq!((words, code), (format!("--url: {refused}"), ExitCode::Usage));
    for name in ["AGENT_WRAP_URL", "JENKINS_URL"] {
        let (words, code) = World::new(&node, AGENT).variable(name, with).error();
        assert_eq!((words, code), (format!("{name} in the environment: {refused}"), ExitCode::Configuration));
    }
    let command = format!("java -jar agent.jar -name a -url {with}");
    for arguments in [&node[..], &COMPLETE] {
        let loaded = World::new(arguments, &command).load().unwrap();
        assert_eq!(loaded.settings.controller.unwrap().url, "https://ci.example.org/");
        assert_eq!(loaded.settings.command.last().unwrap(), with);
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        assert!(loaded.warnings[0].starts_with("the URL of -url holds credentials"), "{:?}", loaded.warnings);
    }
}

#[test]
fn regular_expressions_and_online_policies_go_together() {
    let settings = |online: &str| World::new(&[&COMPLETE[..], &["--online", online]].concat(), AGENT).settings();
    assert_eq!(settings("match=^disk").online_match.as_deref(), Some("^disk"));
    assert_eq!(settings("match=^disk").online, OnlinePolicy::Match);
    assert_eq!((settings("own").online, settings("own").online_match), (OnlinePolicy::Own, None));
}

#[test]
fn bytes_that_are_no_text_are_fine_in_paths_only() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = |flag: &str| {
        let mut world = World::new(&COMPLETE, AGENT);
        world.arguments.push(flag.into());
        world.arguments.push(OsString::from_vec(b"/\xff".to_vec()));
        world
    };
    assert_eq!(odd("--ca-file").settings().controller.unwrap().ca_file.unwrap().as_os_str().len(), 2);
    assert_eq!(odd("--drain").error().0, "--drain: is not UTF-8");
}

#[test]
fn what_speaks_over_its_streams_is_started_once_unless_somebody_says_otherwise() {
    let restart = |arguments: &[&str]| World::new(&[&COMPLETE[..], arguments].concat(), AGENT).settings().restart;
    assert_eq!(restart(&[]), RestartMode::Always);
    assert_eq!(restart(&["--stdio"]), RestartMode::No);
    assert_eq!(restart(&["--stdio=no"]), RestartMode::Always);
    assert_eq!(restart(&["--stdio", "--restart", "always"]), RestartMode::Always);
}

#[test]
fn zero_means_what_the_reference_says() {
    let zeros = ["--drain=0", "--start-timeout=0", "--grace=0", "--poll=0", "--restart-limit=0"];
    let settings = World::new(&[&COMPLETE[..], &zeros[..]].concat(), AGENT).settings();
    let policy = settings.policy();
    assert_eq!((policy.drain, policy.grace, policy.backoff.limit), (Span::ZERO, Span::ZERO, None));
    let node = policy.node.unwrap();
    assert_eq!((node.start_timeout, node.poll), (Span::ZERO, Span::ZERO));
}
