//! Flags = help = manual pages = keys of the file = defaults file, and exit codes = manual page = systemd unit.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use agent_wrap::exit::ExitCode;
use agent_wrap::{cli, config};
use agent_wrap_supervisor::Policy;
use agent_wrap_testbed::skip;

const MANUAL: &str = include_str!("../man/agent-wrap.1");
const FILE_MANUAL: &str = include_str!("../man/agent-wrap.toml.5");
const UNIT: &str = include_str!("../packaging/systemd/agent-wrap.service");
const INSTANCE: &str = include_str!("../packaging/systemd/agent-wrap@.service");

const README: &str = include_str!("../README.md");

/// Flags that choose what is done and are no settings.
const NO_SETTINGS: [&str; 4] = ["config", "print-config", "help", "version"];

fn flags() -> BTreeSet<String> {
    let mut command = cli::command();
    command.build();
    command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

fn settings() -> BTreeSet<String> {
    flags().into_iter().filter(|flag| !NO_SETTINGS.contains(&flag.as_str())).collect()
}

/// The keys of the defaults file, commented out or not, with the defaults they have.
fn keys() -> BTreeMap<String, Option<String>> {
    let mut keys = BTreeMap::new();
    for line in config::DEFAULTS.lines().take_while(|line| *line != "[signal]") {
        let (set, line) = line.strip_prefix('#').map_or((true, line), |line| (false, line));
        let Some((key, value)) = line.split_once(" = ") else { continue };
        if !key.contains(' ') {
            keys.insert(key.to_owned(), set.then(|| value.trim_matches('"').to_owned()));
        }
    }
    assert!(config::DEFAULTS.contains("\n[signal]\n"));
    keys.insert("signal".to_owned(), None);
    keys
}

/// The items of a manual page that begin with a macro, and the lines of each up to the next.
fn items(page: &str, start: &str) -> BTreeMap<String, String> {
    let mut items = BTreeMap::new();
    let mut current: Option<(String, String)> = None;
    for line in page.lines() {
        let name = line.strip_prefix(start).and_then(|rest| rest.split(' ').next());
        if name.is_some() || line.starts_with(".It ") || line.starts_with(".El") {
            items.extend(current.take());
        }
        match (&mut current, name) {
            (_, Some(name)) => current = Some((name.to_owned(), format!("{line}\n"))),
            (Some((_, text)), None) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    items
}

/// The lines of the help that belong to one flag, as one line.
fn help_of(flag: &str, help: &str) -> String {
    let starts = |line: &str| {
        let words = line.trim_start();
        words.starts_with("--") || words.starts_with("-h,") || words.starts_with("-V,")
    };
    let first = |line: &str| {
        let name: String = line.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        name == format!("--{flag}")
    };
    let mut lines = help.lines().skip_while(|line| !first(line));
    let head = lines.next().unwrap_or_else(|| panic!("--{flag} is not in the help"));
    let rest = lines.take_while(|line| !starts(line) && !line.is_empty());
    [head].into_iter().chain(rest).map(str::trim).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_flag_is_a_key_and_every_key_a_flag() {
    let keys: BTreeSet<String> = keys().into_keys().collect();
    assert_eq!(settings(), keys);
}

#[test]
fn both_manual_pages_know_all_of_them_and_no_others() {
    let mut documented: BTreeSet<String> = items(MANUAL, ".It Fl -").into_keys().collect();
    for (short, long) in [("h", "help"), ("V", "version")] {
        assert!(MANUAL.contains(&format!("\n.It Fl {short} , -{long}\n")));
        documented.insert(long.to_owned());
    }
    assert_eq!(documented, flags());
    let documented: BTreeSet<String> = items(FILE_MANUAL, ".It Ic ").into_keys().collect();
    assert_eq!(documented, settings());
}

#[test]
fn the_usage_is_the_manuals_synopsis() {
    let synopsis = MANUAL.split("\n.Sh SYNOPSIS\n").nth(1).and_then(|rest| rest.split("\n.Sh ").next()).unwrap();
    let lines = |from: &str| from.lines().map(str::to_owned).collect::<Vec<_>>();
    let command = [".Op Fl -", ".Ar command", ".Op Ar argument ..."];
    let asked = [".Fl -print-config", ".Op Ar command Op Ar argument ..."];
    let start = [".Nm", ".Op Ar option ..."];
    assert_eq!(lines(synopsis), [&start[..], &command, &start, &asked].concat());
    let help = cli::command().render_help().to_string();
    assert!(help.contains("\nUsage: agent-wrap [OPTIONS] COMMAND [ARGUMENT...]\n"), "{help}");
    assert!(help.contains("\nCOMMAND is the agent, ") && !help.contains("[COMMAND]"), "{help}");
}

#[test]
fn a_switch_may_have_its_value_everywhere() {
    let help = cli::command().render_help().to_string();
    let switches: Vec<_> = keys().into_iter().filter(|(_, default)| default.as_deref() == Some("false")).collect();
    assert!(!switches.is_empty());
    for (switch, _) in switches {
        assert!(help_of(&switch, &help).starts_with(&format!("--{switch}[=<BOOL>] ")), "{help}");
        assert!(MANUAL.contains(&format!("\n.It Fl -{switch} Ns Op = Ns Ar bool\n")), "{switch}");
    }
}

#[test]
fn what_is_no_key_is_said_to_be_none() {
    // One of them is a variable all the same.
    let options: Vec<_> =
        NO_SETTINGS.iter().filter(|name| **name != "config").map(|name| format!("--{name}")).collect();
    let [all @ .., last] = options.as_slice() else { panic!("there are some") };
    let help = cli::command().render_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let words = format!(
        "Every option but {} and {last} is also a variable of the environment (AGENT_WRAP_DRAIN) and, but for --config, a \
         key of the settings file",
        all.join(", ")
    );
    assert!(help.contains(&words), "{help}");
    let manual: Vec<_> = options.iter().map(|option| option[1..].to_owned()).collect();
    let [all @ .., last] = manual.as_slice() else { panic!("there are some") };
    for goes_on in ["is also a variable of the environment,", "can be given as"] {
        let words = format!("Every option but\n.Fl {}\nand\n.Fl {last}\n{goes_on}", all.join(" , "));
        assert!(MANUAL.contains(&words), "{words}");
    }
    assert_eq!(MANUAL.matches("Every option").count(), 2);
}

#[test]
fn the_defaults_are_where_the_manual_says() {
    let (before, _) = FILE_MANUAL.split_once("\nin the sources.\n").unwrap();
    let path = before.rsplit_once(".Pa ").unwrap().1;
    let defaults = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    assert_eq!(defaults, config::DEFAULTS);
}

#[test]
fn the_defaults_are_told_everywhere() {
    let help = cli::command().render_help().to_string();
    let (options, file_keys) = (items(MANUAL, ".It Fl -"), items(FILE_MANUAL, ".It Ic "));
    for (key, default) in keys() {
        let help = help_of(&key, &help);
        let heading = file_keys[&key].lines().next().unwrap();
        let Some(default) = default else {
            assert!(!help.contains("[default"), "{help}");
            assert!(!heading.contains("default"), "{heading}");
            continue;
        };
        let quoted = if default.contains(' ') { format!("{default:?}") } else { default.clone() };
        assert!(heading.ends_with(&format!(" , No default Li {quoted}")), "{heading}");
        if default == "false" {
            continue;
        }
        assert!(help.ends_with(&format!("[default: {quoted}]")), "{help}");
        let told = [
            format!("The default is {default}"),
            format!("The default, {default},"),
            format!("The default is\n.Dq {default} ."),
            format!("{default}\n.Pq the default"),
        ];
        assert!(told.iter().any(|words| options[&key].contains(words)), "{key}: {}", options[&key]);
    }
}

#[test]
fn every_exit_code_is_in_the_manual() {
    let section = MANUAL.split("\n.Sh EXIT STATUS\n").nth(1).unwrap().split("\n.Sh ").next().unwrap();
    let documented: Vec<u8> =
        section.lines().filter_map(|line| line.strip_prefix(".It ")).map(|code| code.parse().unwrap()).collect();
    assert_eq!(documented, ExitCode::ALL.map(ExitCode::code));
}

/// What the unit makes of an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Done: systemd takes it for success by itself.
    Success,
    /// A stop that was carried out, though not to perfection.
    SuccessBecauseSaid,
    /// What is wrong is wrong on this machine, and a restart cannot mend it.
    Final,
    /// It may be mended elsewhere and is tried again for ever.
    TriedAgain,
}

/// A code that is new does not compile here before it has a fate.
fn fate(code: ExitCode) -> Fate {
    match code {
        ExitCode::Stopped => Fate::Success,
        ExitCode::Unconfirmed | ExitCode::Killed => Fate::SuccessBecauseSaid,
        ExitCode::Usage | ExitCode::Configuration | ExitCode::NotExecutable | ExitCode::NotFound => Fate::Final,
        ExitCode::NoSuchNode
        | ExitCode::Unreachable
        | ExitCode::Internal
        | ExitCode::GaveUp
        | ExitCode::Held
        | ExitCode::Refused
        | ExitCode::Agent(_) => Fate::TriedAgain,
    }
}

/// The lines of a unit that say something.
fn lines_of(unit: &str) -> impl Iterator<Item = &str> {
    unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The last value of a key of the unit; an empty one when it is not set.
fn unit(section: &str, key: &str) -> &'static str {
    let lines = UNIT.lines().skip_while(|line| *line != format!("[{section}]")).skip(1);
    let pairs = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    pairs.filter(|(name, _)| *name == key).last().map(|(_, value)| value).unwrap_or_default()
}

fn unit_time(section: &str, key: &str) -> Duration {
    let value = unit(section, key);
    humantime::parse_duration(value).unwrap_or_else(|error| panic!("{key}={value}: {error}"))
}

#[test]
fn every_exit_code_has_its_fate_in_the_unit() {
    let listed = |key| unit("Service", key).split(' ').map(|code| code.parse().unwrap()).collect::<Vec<u8>>();
    let with = |wanted| ExitCode::ALL.into_iter().filter(move |code| fate(*code) == wanted).map(ExitCode::code);
    assert_eq!(listed("RestartPreventExitStatus"), with(Fate::Final).collect::<Vec<_>>());
    assert_eq!(listed("SuccessExitStatus"), with(Fate::SuccessBecauseSaid).collect::<Vec<_>>());
    assert_eq!(fate(ExitCode::Agent(1)), Fate::TriedAgain);
    // The rest is tried again for ever: whatever the code, slowly, and without systemd giving up.
    assert_eq!(unit("Service", "Restart"), "on-failure");
    assert_eq!(unit("Unit", "StartLimitIntervalSec"), "0");
    assert!(unit_time("Service", "RestartSec") >= Duration::from_secs(10));
    // The manual says the same to who writes a unit of his own.
    let section = MANUAL.split("\n.Sh EXIT STATUS\n").nth(1).unwrap().split("\n.Sh ").next().unwrap();
    for key in ["RestartPreventExitStatus", "SuccessExitStatus"] {
        let words = format!(".Li \"{key}={}\"", unit("Service", key));
        assert!(section.contains(&words), "{words} is not in the manual");
    }
}

/// It asks for more time, but systemd forgets that at a daemon-reload.
#[test]
fn the_unit_waits_for_the_longest_start_and_stop() {
    assert_eq!((unit("Service", "Type"), unit("Service", "NotifyAccess")), ("notify", "main"));
    let policy = Policy::default();
    let longest = Duration::from_millis(policy.longest_stop().0);
    assert_eq!(longest, Duration::from_secs(10 + 300 + 30 + 5));
    assert!(unit_time("Service", "TimeoutStopSec") > longest);
    let start = Duration::from_millis(policy.node.unwrap().start_timeout.0);
    assert!(unit_time("Service", "TimeoutStartSec") > start);
    assert!(unit_time("Service", "WatchdogSec") >= Duration::from_secs(60), "a busy machine is not frozen");
}

#[test]
fn an_instance_is_like_the_only_one_but_for_its_name() {
    let differs = ["Description=", "Environment=AGENT_WRAP_CONFIG=", "LoadCredential=", "RuntimeDirectory="];
    let is_same = |line: &&str| !differs.iter().any(|start| line.starts_with(start));
    let same = |unit| lines_of(unit).filter(is_same).collect::<Vec<_>>();
    assert_eq!(same(INSTANCE), same(UNIT));
    let named = lines_of(INSTANCE).filter(|line| line.contains("%i")).collect::<Vec<_>>();
    assert_eq!(named.len(), differs.len(), "{named:?}");
    assert!(named.iter().all(|line| !is_same(line)), "{named:?}");
}

#[test]
fn systemd_understands_the_units_and_the_examples() {
    if skip::unmet("consistency::systemd_understands_the_units_and_the_examples", skip::need_program("systemd-analyze"))
    {
        return;
    }
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd");
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| folder.path().join(name);
    for (name, unit) in [("agent-wrap.service", UNIT), ("agent-wrap@.service", INSTANCE)] {
        // It looks for the program, which is not installed yet.
        let program = format!("ExecStart={} ", env!("CARGO_BIN_EXE_agent-wrap"));
        let installed = unit.replace("ExecStart=/usr/bin/agent-wrap ", &program);
        assert_ne!(installed, unit);
        std::fs::write(in_folder(name), installed).unwrap();
    }
    let drop_ins = in_folder("agent-wrap.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    let verify = |unit: &str, what: &str, warned: Option<&str>| {
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no", "--recursive-errors=no"]).arg(in_folder(unit));
        let output = verify.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let about_us = said.lines().filter(|line| line.contains("agent-wrap"));
        let (known, unexpected): (Vec<_>, Vec<_>) =
            about_us.partition(|line| warned.is_some_and(|words| line.ends_with(words)));
        assert!(unexpected.is_empty() && (output.status.success() || !known.is_empty()), "{what}: {said}");
    };
    verify("agent-wrap.service", "the unit", None);
    verify("agent-wrap@linux-7.service", "an instance", None);
    let examples = std::fs::read_dir(format!("{sources}/examples")).unwrap();
    let mut count = 0;
    for example in examples.map(|example| example.unwrap().path()) {
        let name = example.file_name().unwrap().to_str().unwrap();
        let drop_in = drop_ins.join(name);
        std::fs::copy(&example, &drop_in).unwrap();
        // systemd before 253 does not know it, as the example says.
        let old = (name == "notify-reload.conf").then_some("ignoring: notify-reload");
        verify("agent-wrap.service", name, old);
        std::fs::remove_file(drop_in).unwrap();
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn the_verbs_of_signals_are_told() {
    let help = cli::command().render_help().to_string();
    let signal = help_of("signal", &help);
    let verbs = items(MANUAL, ".It Cm ").into_keys().collect::<BTreeSet<_>>();
    let expected = ["stop", "stop-now", "drain", "online", "reload", "restart", "forward", "ignore"];
    assert_eq!(verbs, expected.map(str::to_owned).into());
    assert!(signal.ends_with(&expected.join(", ")), "{signal}");
}

#[test]
fn the_help_fits_on_a_screen_of_a_hundred_columns() {
    let help = cli::command().render_help().to_string();
    assert!(help.lines().all(|line| line.chars().count() <= 100));
    assert!(help.lines().count() < 75);
}

#[test]
fn the_manual_pages_are_good_mdoc() {
    for page in ["man/agent-wrap.1", "man/agent-wrap.toml.5"] {
        let page = format!("{}/{page}", env!("CARGO_MANIFEST_DIR"));
        match Command::new("mandoc").args(["-T", "lint", "-W", "warning", &page]).output() {
            Ok(lint) => assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("mandoc is not installed; {page} is not checked");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_the_readme_installs_is_what_the_unit_needs() {
    let value = |text: &'static str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("there is no {key}")).trim_start_matches([' ', '=', '"'])
    };
    let program = value(UNIT, "ExecStart=").split(' ').next().expect("a program");
    let folder = program.strip_suffix("agent-wrap").expect("our own");
    assert!(README.contains(&format!("\ninstall -m 755 target/release/agent-wrap {folder} ")), "{folder}");
    let (_, token) = value(UNIT, "LoadCredential=").split_once(':').expect("a credential and its file");
    assert!(README.contains(&format!("install -m 600 /dev/null {token} ")), "{token}");
    let user = value(README, "agent-user").split('"').next().expect("a user");
    assert!(README.contains(&format!("\nuseradd --system --create-home {user} ")), "{user}");
    let install = |line: &&str| line.starts_with("install ") && line.contains("packaging/");
    let unit = README.lines().find(install).and_then(|line| line.split(' ').nth(3)).expect("the unit's place");
    assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(unit).is_file(), "{unit}");
}
