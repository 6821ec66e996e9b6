//! The secret files of wrappers that were killed are removed by the next wrapper of the same user, whatever it runs;
//! those of living ones stay, in whatever pid namespace they live.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage as _;
use common::standalone::{Ends, children, folder, standalone_with, text};
use common::{Wrap, eventually, is_alive, runtime, wrap};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A runtime directory that several wrappers share, and an agent that never ends by itself.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = folder();
        let agent = folder.path().join("agent");
        fs::write(&agent, "#!/bin/sh\nexec sleep 1000\n").expect("a script");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("its mode is set");
        Self { folder }
    }

    fn agent(&self) -> String {
        text(self.folder.path().join("agent"))
    }

    fn shared(&self, mut command: Command) -> Command {
        command.env("XDG_RUNTIME_DIR", self.folder.path());
        command
    }

    /// A wrapper without a controller, whose agent gets its secret in a file.
    fn with_secret(&self) -> Command {
        let agent = self.agent();
        self.shared(standalone_with(&[], &[&agent, "-url", "http://ci/", "-name", "n", "-secret", "hush"]))
    }

    /// The wrapper without a need for a secret file.
    fn without_secret(&self) -> Command {
        self.shared(standalone_with(&["--restart", "no"], &["true"]))
    }

    fn runtime(&self) -> PathBuf {
        self.folder.path().join("agent-wrap")
    }

    /// The names in the runtime directory.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.runtime()) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Starts a wrapper, waits until its agent runs, and kills it.
    fn killed(&self, command: Command) {
        let wrap = Wrap::start(command);
        wrap.wait_for("agent_started");
        wrap.kill();
        self.wait_until_left();
    }

    /// A guard that has just been forked holds what the wrapper held until it has closed it.
    fn wait_until_left(&self) {
        eventually("a secret is left that nobody holds", || self.left().len() == 1);
    }

    fn left(&self) -> Vec<PathBuf> {
        runtime::left_in(&self.runtime())
    }
}

#[test]
fn a_killed_wrapper_without_a_controller_leaves_nothing_for_long() {
    let place = Place::new();
    place.killed(place.with_secret());
    let left = text(place.left().remove(0));
    let next = Wrap::start(place.without_secret()).outcome();
    next.expect_code(0);
    assert!(next.has("secret_removed") && next.text().contains(&left), "{}", next.text());
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn what_several_have_left_is_one_line() {
    let place = Place::new();
    fs::create_dir(place.runtime()).expect("a directory");
    fs::set_permissions(place.runtime(), fs::Permissions::from_mode(0o700)).expect("its mode");
    for name in ["a.0000000a.secret", "b.0000000b.secret", "c.0000000c.secret"] {
        fs::write(place.runtime().join(name), "hush").expect("a secret");
    }
    let next = Wrap::start(place.without_secret()).outcome();
    next.expect_code(0);
    let told: Vec<_> = next.log.iter().filter(|line| line.contains("\"secret_removed\"")).collect();
    assert!(matches!(told[..], [line] if line.contains("a.0000000a.secret and 2 other secrets")), "{}", next.text());
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn nor_does_one_that_can_keep_no_state() {
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n", 1).expect("the node is created");
    let place = Place::new();
    let token = place.folder.path().join("token");
    fs::write(&token, "op:op-token").unwrap();
    let command = |agent: &[&str]| {
        let mut command = place.shared(wrap());
        command.args(["--log-format", "json", "--state-dir", "/dev/null/state", "--node", "n"]);
        command.args(["--url", &controller.url(), "--token-file", &text(&token), "--restart", "no"]).args(agent);
        command
    };
    place.killed(command(&[&place.agent(), "-url", &controller.url(), "-name", "n", "-secret", "hush"]));
    let next = Wrap::start(command(&["true"])).outcome();
    assert!(next.text().contains("running without a state file"), "{}", next.text());
    assert!(next.has("secret_removed"), "{}", next.text());
    assert_eq!(place.names(), Vec::<String>::new());
}

/// Has another wrapper come and go beside this one, whose files have to stay.
fn expect_to_be_left_alone(place: &Place, living: &Wrap) {
    living.wait_for("agent_started");
    let before = place.names();
    assert_eq!(before.len(), 2, "the secret and its lock: {before:?}");
    let other = Wrap::start(place.without_secret()).outcome();
    other.expect_code(0);
    assert!(!other.has("secret_removed"), "{}", other.text());
    assert_eq!(place.names(), before);
}

#[test]
fn a_living_wrapper_keeps_its_file() {
    let place = Place::new();
    place.killed(place.with_secret());
    let living = Wrap::start(place.with_secret());
    expect_to_be_left_alone(&place, &living);
    living.stop().expect_code(0);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn so_does_one_in_another_pid_namespace() {
    if skip::unmet("secret_files::so_does_one_in_another_pid_namespace", skip::need_root()) {
        return;
    }
    let place = Place::new();
    let inner = place.with_secret();
    let mut command = Command::new("unshare");
    command.args(["--fork", "--pid", "--mount-proc", "--kill-child"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let living = Wrap::start(command);
    expect_to_be_left_alone(&place, &living);
    let wrapper = children(living.pid())[0];
    kill(wrapper, Signal::SIGTERM).unwrap();
    living.outcome().expect_code(0);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn what_a_build_has_started_holds_nothing() {
    let place = Place::new();
    let agent = place.folder.path().join("agent");
    fs::write(
        &agent,
        "#!/bin/sh\nJENKINS_SERVER_COOKIE=durable-1 setsid sleep 1000 &\necho $! > survivor\nexec sleep 1000\n",
    )
    .unwrap();
    let mut command = place.with_secret();
    command.current_dir(place.folder.path());
    let wrap = Wrap::start(command);
    let file = place.folder.path().join("survivor");
    let pid = || fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    eventually("the survivor is there", || pid().is_some());
    let survivor = Pid::from_raw(pid().unwrap());
    let _ends = Ends(survivor);
    wrap.kill();
    place.wait_until_left();
    Wrap::start(place.without_secret()).outcome().expect_code(0);
    assert_eq!(place.names(), Vec::<String>::new());
    assert!(is_alive(survivor));
}
