//! The line at the bottom of a terminal, as a person sees it: what it says, whom it makes way for, and that nothing of it
//! is left behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::stage::{BuildState, Stage as _};
use common::screen::{CTRL_C, CTRL_Z, Screen};
use common::standalone::{Ends, folder, misbehave, stat, wait_for_end};
use common::{AGENT_WRAP, PATIENCE, eventually, wait_within, wrap};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A controller with one node, and a place for files.
struct Scene {
    controller: Simulated,
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let controller = Simulated::start(Options::jenkins("2.578")).unwrap();
        controller.create_node("n", 1).unwrap();
        let folder = folder();
        fs::write(folder.path().join("token"), "admin:admin-token").unwrap();
        Self { controller, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command line of a wrapper, without its agent.
    fn words(&self, options: &[&str]) -> Vec<String> {
        let (url, token) = (self.controller.url(), self.path("token"));
        let own = ["--url", &url, "--node", "n", "--token-file", token.to_str().unwrap(), "--poll", "1s"];
        own.iter().chain(options).map(|word| (*word).to_owned()).collect()
    }

    fn wrapper(&self, options: &[&str]) -> Command {
        let mut command = wrap();
        command.env("TERM", "xterm").env("STATE_DIRECTORY", self.folder.path()).args(self.words(options));
        command
    }

    /// The agent's command for a shell.
    fn agent(&self) -> String {
        let words = self.controller.agent_command("n");
        let words = words[1..].iter().map(|word| format!("'{word}'")).collect::<Vec<_>>();
        format!("exec '{}' {}", misbehave(), words.join(" "))
    }

    /// An agent that writes nothing to the terminal.
    fn quiet_agent(&self) -> String {
        format!("{} >'{}' 2>&1", self.agent(), self.path("agent.log").display())
    }

    fn run_build(&self, progress: i8) {
        let build = self.controller.start_build("n", &self.path("gate")).unwrap();
        eventually("the build runs", || self.controller.build(&build).unwrap() == BuildState::Running);
        self.controller.with(|world| world.set_progress("n", progress));
    }

    fn end_builds(&self) {
        fs::write(self.path("gate"), "").unwrap();
    }
}

/// A wrapper at a terminal of its own.
struct AtTerminal {
    screen: Screen,
    child: Child,
}

impl AtTerminal {
    fn start(mut command: Command) -> Self {
        let screen = Screen::of(&mut command);
        Self { screen, child: command.spawn().unwrap() }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Waits for its end with this code, and for its last words, and returns what is seen then.
    #[track_caller]
    fn ends_with(mut self, code: i32) -> Vec<String> {
        let status = wait_within(&mut self.child, PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(code), "{}", self.screen.written());
        let last = format!("exit code {code}");
        let is_over = |rows: &[String]| {
            rows.iter().rev().nth(1).is_some_and(|row| row.contains(&last)) && rows.last().unwrap().is_empty()
        };
        self.screen.wait_until("its last words, and nothing after them", is_over)
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every row is a whole line of the log or of the agent, and none has been drawn over another.
#[track_caller]
fn assert_whole(rows: &[String]) {
    for row in rows.iter().filter(|row| row.contains("agent-wrap")) {
        let at = row.find("agent-wrap ").unwrap_or_else(|| panic!("{row:?} of {rows:#?}"));
        // What was typed may stand before it.
        assert!(row[..at].chars().all(|character| "^CZ".contains(character)), "{row:?} of {rows:#?}");
        let stamp = row[at..].split(' ').nth(1).unwrap_or_default();
        assert_eq!(stamp.matches(':').count(), 2, "{row:?} is no line of the log: {rows:#?}");
    }
}

#[test]
fn a_controller_is_waited_for_in_a_line_that_is_gone_when_it_answers() {
    let mut scene = Scene::new();
    scene.controller.take_down().unwrap();
    let mut command = scene.wrapper(&[]);
    command.args(["sh", "-c", &scene.agent()]);
    let wrap = AtTerminal::start(command);
    let first = wrap.screen.wait_for_bottom("waiting for the controller for ");
    assert!(first.starts_with("agent-wrap waiting for the controller for "), "{first}");
    assert!(first.chars().count() < 80, "{first}");
    wrap.screen.wait_for_bottom("asking again in ");
    wrap.screen.wait_until("the seconds count", |rows| rows.last().is_some_and(|row| row.contains("for 2 s")));
    // A narrower terminal gets a shorter line.
    wrap.screen.resize(40);
    let fits = |rows: &[String]| {
        rows.last().is_some_and(|row| row.starts_with("agent-wrap waiting") && row.chars().count() < 40)
    };
    wrap.screen.wait_until("it fits", fits);
    scene.controller.bring_up().unwrap();
    let connected = |rows: &[String]| rows.iter().any(|row| row.contains("and takes builds"));
    let rows = wrap.screen.wait_until("the agent is connected", connected);
    assert!(!rows.iter().any(|row| row.contains("agent-wrap waiting for")), "{rows:#?}");
    kill(wrap.pid(), Signal::SIGTERM).unwrap();
    assert_whole(&wrap.ends_with(0));
}

#[test]
fn a_drain_is_shown_where_the_agent_writes_elsewhere_and_a_second_ctrl_c_cuts_it() {
    let scene = Scene::new();
    let mut command = scene.wrapper(&["--drain", "1h"]);
    command.args(["sh", "-c", &scene.quiet_agent()]);
    let wrap = AtTerminal::start(command);
    wrap.screen.wait_for("and takes builds", 1);
    wrap.screen
        .wait_until("while all is well there is nothing to see", |rows| rows.last().is_some_and(String::is_empty));
    scene.run_build(43);
    wrap.screen.type_in(CTRL_C);
    let line = wrap.screen.wait_for_bottom("agent-wrap draining 1 build (43%), 59m ");
    assert!(line.contains(" left (Ctrl-C again to stop now)"), "{line}");
    scene.controller.with(|world| world.set_progress("n", 57));
    wrap.screen.wait_for_bottom("(57%)");
    wrap.screen.type_in(CTRL_C);
    let rows = wrap.ends_with(0);
    assert!(rows.iter().any(|row| row.contains("cut off: 1 build: build-1 #1")), "{rows:#?}");
    assert!(!rows.iter().any(|row| row.contains("more for")), "it is not said twice: {rows:#?}");
    assert_whole(&rows);
}

#[test]
fn a_drain_is_told_in_lines_where_the_agent_writes_too() {
    let scene = Scene::new();
    let mut command = scene.wrapper(&["--drain", "1h"]);
    command.args(["sh", "-c", &scene.agent()]);
    let wrap = AtTerminal::start(command);
    wrap.screen.wait_for("and takes builds", 1);
    scene.run_build(43);
    wrap.screen.type_in(CTRL_C);
    wrap.screen.wait_for("for 1 build: build-1 #1 (43%, ", 1);
    wrap.screen.wait_for(") (Ctrl-C again to cut it off)", 1);
    scene.controller.with(|world| world.set_progress("n", 57));
    wrap.screen.wait_for("more for 1 build: build-1 #1 (57%, ", 1);
    wrap.screen.wait_for(") (Ctrl-C again to cut it off)", 2);
    assert!(!wrap.screen.written().contains("\x1b[K"), "{}", wrap.screen.written());
    scene.end_builds();
    assert_whole(&wrap.ends_with(0));
}

#[test]
fn a_pause_counts_down_and_makes_way_for_the_next_agent() {
    let folder = folder();
    let mut command = wrap();
    command.env("TERM", "xterm").args(["--standalone", "--restart-delay", "3s", "--restart-limit", "2", "sh", "-c"]);
    command.arg(format!("printf 'first words\\n'; exit 7 >{}", folder.path().join("x").display()));
    let wrap = AtTerminal::start(command);
    wrap.screen.wait_for_bottom("agent-wrap the agent exited with code 7; it is started again in 2 s");
    wrap.screen.wait_for_bottom("started again in 1 s");
    let rows = wrap.ends_with(71);
    assert_eq!(rows.iter().filter(|row| *row == "first words").count(), 2, "{rows:#?}");
    assert_whole(&rows);
}

#[test]
fn the_last_words_of_an_agent_are_left_whole_however_they_end() {
    for level in ["warn", "error"] {
        let mut command = wrap();
        command.env("TERM", "xterm").args(["--standalone", "--log-level", level, "--restart-delay", "3s"]);
        command.args(["--restart-limit", "2", "sh", "-c", "printf 'no disk left' >&2; exit 3"]);
        let mut wrap = AtTerminal::start(command);
        let rows =
            wrap.screen.wait_until("it waits", |rows| rows.last().is_some_and(|row| row.contains("again in 2 s")));
        assert!(rows.iter().any(|row| row == "no disk left"), "{level}: {rows:#?}");
        let status = wait_within(&mut wrap.child, PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(71), "{}", wrap.screen.written());
        let is_over = |rows: &[String]| rows.iter().any(|row| row.contains("exit code 71"));
        let rows = wrap.screen.wait_until("its last words", is_over);
        assert_eq!(rows.iter().filter(|row| *row == "no disk left").count(), 2, "{level}: {rows:#?}");
        assert_whole(&rows);
    }
}

#[test]
fn a_job_that_comes_into_the_foreground_while_nothing_happens_is_seen() {
    let folder = folder();
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "--noediting", "-i"]).current_dir(folder.path());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("PS1", "$ ").env("TERM", "xterm");
    command.env("HISTFILE", "").env("XDG_RUNTIME_DIR", folder.path()).env("STATE_DIRECTORY", folder.path());
    let shell = AtTerminal::start(command);
    eventually("the shell is in the foreground", || shell.screen.foreground() == shell.pid());
    shell
        .screen
        .type_in(&format!("{AGENT_WRAP} --standalone --restart-delay 1h --restart-delay-max 1h sh -c 'exit 3' &\n"));
    shell.screen.wait_for("starting the agent again in", 1);
    let _end = Ends(wrapper_of(&shell));
    shell.screen.type_in("fg\n");
    shell.screen.wait_for_bottom("it is started again in ");
}

/// Whether a wrapper that waits for its controller for two seconds draws on a terminal of this name.
fn draws(options: &[&str], name: Option<&str>, logs_elsewhere: bool) -> bool {
    let mut scene = Scene::new();
    scene.controller.take_down().unwrap();
    let mut command = scene.wrapper(&[&["--start-timeout", "2s"], options].concat());
    command.arg("true").env_remove("TERM").envs(name.map(|name| ("TERM", name)));
    let screen = Screen::of(&mut command);
    if logs_elsewhere {
        command.stderr(fs::File::create(scene.path("log")).unwrap());
    }
    let mut child = command.spawn().unwrap();
    let status = wait_within(&mut child, PATIENCE).unwrap();
    assert_eq!(status.code(), Some(69), "{}", screen.written());
    if logs_elsewhere {
        drop(command);
        screen.wait_for_end();
    } else {
        screen.wait_for("69", 1);
    }
    let is_plain = name.is_none_or(|name| name == "dumb");
    assert!(!is_plain || !screen.written().contains('\x1b'), "{}", screen.written());
    screen.written().contains("waiting for the controller for")
}

#[test]
fn there_is_a_line_only_where_it_is_wanted_and_can_be_drawn() {
    assert!(draws(&[], Some("xterm"), false));
    assert!(draws(&["--status-line", "auto", "--log-format", "text"], Some("linux"), false));
    for (options, name) in [
        (&["--status-line", "never"][..], Some("xterm")),
        (&["--log-format", "json"], Some("xterm")),
        (&[], Some("dumb")),
        (&[], None),
    ] {
        assert!(!draws(options, name, false), "{options:?} {name:?}");
    }
    assert!(!draws(&[], Some("xterm"), true), "whoever redirects stderr wants to see nothing");
}

/// A shell with job control, and a wrapper in it that waits for its controller.
fn shell(scene: &Scene, how: &str) -> AtTerminal {
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "--noediting", "-i"]).current_dir(scene.folder.path());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("PS1", "$ ").env("TERM", "xterm");
    command.env("HISTFILE", "").env("XDG_RUNTIME_DIR", scene.folder.path()).env("STATE_DIRECTORY", scene.folder.path());
    let shell = AtTerminal::start(command);
    eventually("the shell is in the foreground", || shell.screen.foreground() == shell.pid());
    let line = format!("{AGENT_WRAP} {} sleep 1000 {how}\n", scene.words(&[]).join(" "));
    shell.screen.type_in(&line);
    shell
}

fn wrapper_of(shell: &AtTerminal) -> Pid {
    let is_ours = |pid: &Pid| common::standalone::name(*pid) == "agent-wrap";
    eventually("the wrapper is there", || common::standalone::children(shell.pid()).iter().any(is_ours));
    common::standalone::children(shell.pid()).into_iter().find(is_ours).unwrap()
}

#[test]
fn a_key_that_stops_us_erases_the_line_and_fg_brings_it_back() {
    let mut scene = Scene::new();
    scene.controller.take_down().unwrap();
    let shell = shell(&scene, "");
    shell.screen.wait_for_bottom("waiting for the controller for ");
    let wrapper = wrapper_of(&shell);
    let _end = Ends(wrapper);
    for _ in 1..=2 {
        shell.screen.type_in(CTRL_Z);
        eventually("it is stopped", || stat(wrapper).is_some_and(|stat| stat.state == 'T'));
        let rows = shell.screen.wait_until("the prompt", |rows| rows.last().is_some_and(|row| row == "$"));
        assert!(!rows.iter().any(|row| row.contains("waiting for the controller for")), "{rows:#?}");
        shell.screen.type_in("fg\n");
        shell.screen.wait_for_bottom("waiting for the controller for ");
    }
    shell.screen.type_in(CTRL_C);
    wait_for_end(wrapper);
    let rows = shell.screen.wait_until("the prompt", |rows| rows.last().is_some_and(|row| row == "$"));
    assert!(
        !rows.iter().any(|row| row.contains("agent-wrap waiting") || row.contains("agent-wrap stopping,")),
        "{rows:#?}"
    );
}

/// How often a process has waited for something.
fn switches(process: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn in_the_background_nothing_is_drawn_and_tostop_stops_nobody() {
    let mut scene = Scene::new();
    scene.controller.take_down().unwrap();
    let shell = shell(&scene, "& stty tostop");
    let wrapper = wrapper_of(&shell);
    let _end = Ends(wrapper);
    // It waits, and writes its log there all the same.
    shell.screen.wait_for("(asking again in", 1);
    // It has asked again and again by then, each time with a chance to draw.
    let before = switches(wrapper);
    eventually("it goes on", || switches(wrapper) > before + 10);
    assert_ne!(stat(wrapper).unwrap().state, 'T');
    assert!(!shell.screen.written().contains("waiting for the controller for"), "{}", shell.screen.written());
    shell.screen.type_in("fg\n");
    shell.screen.wait_for_bottom("waiting for the controller for ");
    shell.screen.type_in(CTRL_C);
    wait_for_end(wrapper);
}

#[test]
fn in_the_background_of_a_script_nothing_is_drawn() {
    let mut scene = Scene::new();
    scene.controller.take_down().unwrap();
    let mut command = Command::new("sh");
    let line = format!(
        "{AGENT_WRAP} {} true & wait $!; echo ended with $?,",
        scene.words(&["--start-timeout", "2s"]).join(" ")
    );
    command.args(["-c", &line]).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm");
    command.env("XDG_RUNTIME_DIR", scene.folder.path()).env("STATE_DIRECTORY", scene.folder.path());
    let script = AtTerminal::start(command);
    let written = script.screen.wait_for("ended with 69,", 1);
    assert!(!written.contains("\x1b[K"), "{written}");
}

#[test]
fn a_terminal_that_is_held_holds_up_nobody() {
    let mut scene = Scene::new();
    scene.controller.take_down().unwrap();
    let mut command = scene.wrapper(&["--offline-timeout", "1s"]);
    command.arg("true");
    let mut wrap = AtTerminal::start(command);
    wrap.screen.wait_for_bottom("waiting for the controller for ");
    wrap.screen.type_in("\x13");
    kill(wrap.pid(), Signal::SIGTERM).unwrap();
    let status = wait_within(&mut wrap.child, PATIENCE).expect("it ends although its terminal takes nothing");
    assert_eq!(status.code(), Some(74));
}

#[test]
fn a_kill_leaves_a_terminal_that_works() {
    let mut scene = Scene::new();
    scene.controller.take_down().unwrap();
    let shell = shell(&scene, "");
    shell.screen.wait_for_bottom("waiting for the controller for ");
    let modes = shell.screen.modes();
    let wrapper = wrapper_of(&shell);
    kill(wrapper, Signal::SIGKILL).unwrap();
    shell.screen.wait_until("the prompt", |rows| rows.last().is_some_and(|row| row.ends_with('$')));
    shell.screen.type_in("echo it'' works\n");
    shell.screen.wait_until("the shell works", |rows| rows.iter().any(|row| row == "it works"));
    assert_eq!(shell.screen.modes(), modes);
}
