//! The literal `agent-wrap java -jar agent.jar`: what is missing is asked from the controller, on the real one and on the
//! simulated one, and the secret stays out of sight.

mod common;

use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_wrap_testbed::hudson::{Hudson, HudsonOptions};
use agent_wrap_testbed::simulated::{Entry, Fault, On, Operation, Options, Simulated, agent_program};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage;
use common::standalone::{on_fork, standalone_with, start_and_listen};
use common::{Wrap, eventually, is_alive, wrap, wrap_with_state};
use nix::libc;
use nix::sys::signal::{Signal, kill};

/// A wrapper that knows the controller, the node and the account, and nothing of the agent's connection.
fn wrapper(stage: &dyn Stage, node: &str, dir: &Path) -> Command {
    let mut command = wrap_with_state(dir.as_os_str());
    command.current_dir(dir).args(["--url", &stage.url(), "--node", node, "--poll", "1s"]);
    if let Some((user, secret)) = stage.credentials() {
        fs::write(dir.join("token"), secret).expect("the token is written");
        command.args(["--user", &user, "--token-file", "token"]);
    }
    command
}

/// The command that the agent was really started with.
fn command_line(pid: nix::unistd::Pid) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).expect("the agent is there");
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// A `java` that is the stand-in agent, in a folder of its own.
fn stand_in_java(dir: &Path) -> String {
    let java = dir.join("java");
    std::os::unix::fs::symlink(agent_program(), &java).expect("a link");
    java.to_str().expect("a plain path").to_owned()
}

fn a_real_agent_needs_only_its_jar(security: bool) {
    if skip::unmet(&format!("completion::a_real_agent_needs_only_its_jar({security})"), skip::need_hudson()) {
        return;
    }
    let hudson = Hudson::start(HudsonOptions { security, ..HudsonOptions::default() }).expect("Hudson starts");
    hudson.create_node("a (real) agent", 1).expect("the node is created");
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = wrapper(&hudson, "a (real) agent", dir.path());
    command.args(["--log-level", "debug", "java", "-Xmx64m"]);
    let plain = hudson.agent_command("x");
    command.args(plain.iter().skip(1).take_while(|word| *word != "-jar").filter(|word| !word.starts_with("-X")));
    command.args(["-jar", "slave.jar"]);
    let wrap = Wrap::start(command);
    wrap.wait_for("jar_fetched");
    wrap.wait_for("agent_connected");
    let first = wrap.agent_pid(1);
    assert!(command_line(first).contains("-jnlpUrl file:"), "{}", command_line(first));
    // The secret was read once and is gone.
    eventually("the secret's file is gone", || {
        !fs::read_dir(dir.path())
            .expect("a directory")
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().ends_with(".secret"))
    });
    // A dropped channel ends the agent, and it is started anew: with a parent-death signal, and with a fresh secret.
    hudson.disconnect("a (real) agent").expect("disconnected");
    let second = wrap.agent_pid(2);
    wrap.wait_for_nth("agent_connected", 2);
    // The same jar, which was not sent again.
    wrap.wait_for_words("answers that its jar has not changed", 1);
    assert!(!is_alive(first) && is_alive(second));
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!is_alive(second));
    assert!(hudson.node("a (real) agent").expect("the controller answers").marked);
}

#[test]
fn a_real_agent_needs_only_its_jar_with_security_off() {
    a_real_agent_needs_only_its_jar(false);
}

#[test]
fn a_real_agent_needs_only_its_jar_with_security_on() {
    a_real_agent_needs_only_its_jar(true);
}

fn simulated(options: Options) -> Simulated {
    let controller = Simulated::start(options).expect("a controller");
    controller.create_node("n 1", 1).expect("the node is created");
    controller
}

#[test]
fn on_jenkins_the_command_is_completed_and_the_secret_is_nowhere_to_be_seen() {
    let controller = simulated(Options::jenkins("2.578"));
    let dir = tempfile::tempdir().expect("a directory");
    let secret = controller.secret("n 1");
    let mut command = wrapper(&controller, "n 1", dir.path());
    let status = dir.path().join("status.json");
    command.env("MISBEHAVE", format!("--write-status {}", status.display()));
    command.args([stand_in_java(dir.path()).as_str(), "-jar", "agent.jar"]);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    let line = command_line(wrap.agent_pid(1));
    assert!(line.contains(&format!("-url {} -name n 1 -secret @", controller.url())), "{line}");
    assert!(line.contains("-noReconnect") && !line.contains("-webSocket"), "{line}");
    let status = fs::read_to_string(status).expect("what the agent was started with");
    for place in [line.as_str(), status.as_str(), wrap.log().join("\n").as_str()] {
        assert!(!place.contains(&secret), "{place}");
    }
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.text().contains(&secret), "{}", outcome.text());
    let left: Vec<_> = fs::read_dir(dir.path()).expect("a directory").flatten().map(|entry| entry.path()).collect();
    for path in left.iter().filter(|path| path.is_file() && !path.ends_with("java")) {
        let bytes = fs::read(path).expect("a file");
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", path.display());
    }
}

#[test]
fn without_an_agent_port_it_goes_by_web_socket() {
    let controller = simulated(Options { agent_port: false, ..Options::jenkins("2.578") });
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = wrapper(&controller, "n 1", dir.path());
    command.args([stand_in_java(dir.path()).as_str(), "-jar", "agent.jar"]);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    let line = command_line(wrap.agent_pid(1));
    assert!(line.contains("-webSocket"), "{line}");
    wrap.stop().expect_code(0);
}

#[test]
fn a_command_that_says_where_to_connect_and_not_as_whom_is_given_the_secret_of_the_controller() {
    let controller = simulated(Options { agent_port: false, ..Options::jenkins("2.578") });
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = wrapper(&controller, "n 1", dir.path());
    command.args([stand_in_java(dir.path()).as_str(), "-jar", "agent.jar", "-url", &controller.url()]);
    command.env("JENKINS_SECRET", "");
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    let line = command_line(wrap.agent_pid(1));
    assert!(line.contains("-name n 1 -secret @") && line.contains("-webSocket -noReconnect"), "{line}");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.text().contains(&controller.secret("n 1")), "{}", outcome.text());
}

#[test]
fn a_secret_that_is_not_the_controllers_is_told() {
    let controller = simulated(Options::jenkins("2.578"));
    let dir = tempfile::tempdir().expect("a directory");
    for (secret, code) in [(controller.secret("n 1"), 0), ("00ff".to_owned(), 1)] {
        let mut command = wrapper(&controller, "n 1", dir.path());
        command.env("JENKINS_SECRET", secret).env("MISBEHAVE", "--exit-after-connect 0");
        command.args(["--restart", "no", &stand_in_java(dir.path()), "-jar", "agent.jar"]);
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(code);
        assert_eq!(outcome.has("secret_differs"), code == 1, "{}", outcome.text());
        fs::remove_file(dir.path().join("java")).expect("the link");
    }
}

#[test]
fn an_account_that_may_not_know_the_secret_need_not_where_the_command_says_it() {
    let controller = simulated(Options::jenkins("2.578"));
    let dir = tempfile::tempdir().expect("a directory");
    controller.fault(On::operation(Operation::Jnlp), Fault::Status(403));
    fs::write(dir.path().join("secret"), controller.secret("n 1")).expect("a file");
    let mut command = wrapper(&controller, "n 1", dir.path());
    command.args([stand_in_java(dir.path()).as_str(), "-jar", "agent.jar", "-secret", "@secret"]);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    wrap.stop().expect_code(0);
}

#[test]
fn a_secret_in_the_command_is_moved_out_of_sight_and_warned_about() {
    let controller = simulated(Options::jenkins("2.578"));
    let dir = tempfile::tempdir().expect("a directory");
    let secret = controller.secret("n 1");
    let mut command = wrapper(&controller, "n 1", dir.path());
    let java = stand_in_java(dir.path());
    fs::write(dir.path().join("agent.jar"), "a jar").expect("a jar");
    command.args([java.as_str(), "-jar", "agent.jar", "-url", &controller.url(), "-name", "n 1", "-secret", &secret]);
    let wrap = Wrap::start(command);
    for event in ["command", "command_completed", "agent_connected"] {
        assert_eq!(wrap.wait_for(event)["node"], "n 1", "{event}");
    }
    let line = command_line(wrap.agent_pid(1));
    assert!(!line.contains(&secret) && line.contains("-secret @"), "{line}");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.text().contains(&secret), "{}", outcome.text());
    assert!(controller.requests_for(Operation::Jar).is_empty(), "a jar that is there is not fetched");
}

/// What `-secret @PATH` of an agent's command says, with the secret on a pipe at the wrapper's descriptor 0 or 63.
fn secret_through_a_pipe(number: i32, path: &str) {
    let controller = simulated(Options::jenkins("2.578"));
    let dir = tempfile::tempdir().expect("a directory");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writeln!(writer, "{}", controller.secret("n 1")).expect("there is room in it");
    drop(writer);
    let mut command = wrapper(&controller, "n 1", dir.path());
    fs::write(dir.path().join("agent.jar"), "a jar").expect("a jar");
    command.args(["--restart-delay", "100ms", &stand_in_java(dir.path()), "-jar", "agent.jar"]);
    command.args(["-url", &controller.url(), "-name", "n 1", "-secret", &format!("@{path}")]);
    if number == 0 {
        command.stdin(reader);
    } else {
        on_fork(&mut command, move || {
            // SAFETY: it takes integers; the copy is for the program that is about to be executed.
            if unsafe { libc::dup2(reader.as_raw_fd(), number) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    let line = command_line(wrap.agent_pid(1));
    assert!(line.contains(".secret") && !line.contains(path), "{line}");
    // The pipe is empty now.
    kill(wrap.agent_pid(1), Signal::SIGKILL).expect("the agent is there");
    wrap.wait_for_nth("agent_connected", 2);
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("command"), "{}", outcome.text());
}

#[test]
fn a_secret_from_a_shells_pipe_is_handed_over_at_each_start() {
    secret_through_a_pipe(63, "/dev/fd/63");
}

#[test]
fn a_secret_from_standard_input_is_handed_over_at_each_start() {
    secret_through_a_pipe(0, "/dev/stdin");
}

#[test]
fn a_secret_that_does_not_come_through_its_pipe_is_told_before_the_node_is_touched() {
    let controller = simulated(Options::jenkins("2.578"));
    let dir = tempfile::tempdir().expect("a directory");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(writer);
    let mut command = wrapper(&controller, "n 1", dir.path());
    fs::write(dir.path().join("agent.jar"), "a jar").expect("a jar");
    command.args([&stand_in_java(dir.path()), "-jar", "agent.jar", "-secret", "@/dev/stdin"]).stdin(reader);
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(78);
    assert!(outcome.text().contains("/dev/stdin is empty"), "{}", outcome.text());
    assert!(controller.requests().is_empty());
}

#[test]
fn a_secret_file_that_the_agent_cannot_read_is_told_before_the_node_is_touched() {
    let controller = simulated(Options::jenkins("2.578"));
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    fs::write(dir.path().join("agent.jar"), "a jar").expect("a jar");
    let java = stand_in_java(dir.path());
    for (path, words) in [
        (fifo.as_path(), "it is a FIFO"),
        (dir.path(), "it is a directory"),
        (Path::new("/nosuch/secret"), "No such file or directory"),
    ] {
        let mut command = wrapper(&controller, "n 1", dir.path());
        command.args([&java, "-jar", "agent.jar", "-url", &controller.url(), "-name", "n 1"]);
        command.args(["-secret", &format!("@{}", path.display())]);
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(78);
        assert!(outcome.text().contains(words), "{}", outcome.text());
    }
    assert!(controller.requests().is_empty());
}

/// A wrapper with an account that may look at the node, but not know its secret; another machine's agent is connected
/// as that node. Its own agent can never be started.
fn one_that_may_only_look(options: &[&str]) -> (Simulated, common::Outcome) {
    let controller = simulated(Options::jenkins("2.578"));
    let mut elsewhere = wrap();
    elsewhere.args(["--standalone", "--log-format", "json"]).args(controller.agent_command("n 1"));
    let elsewhere = Wrap::start(elsewhere);
    controller.wait_for_entry("the other agent", |entry| matches!(entry, Entry::AgentAccepted { .. }));
    let dir = tempfile::tempdir().expect("a directory");
    let (user, token) = controller.viewer().expect("an account that may only look");
    fs::write(dir.path().join("token"), token).expect("the token is written");
    let mut viewer = wrap_with_state(dir.path().as_os_str());
    viewer.current_dir(dir.path()).args(["--url", &controller.url(), "--node", "n 1", "--user", &user]);
    viewer.args(["--token-file", "token", "--restart-delay", "100ms"]).args(options);
    viewer.args([&stand_in_java(dir.path()), "-jar", "agent.jar"]);
    let outcome = Wrap::start(viewer).outcome();
    assert!(outcome.text().contains("Agent/Connect"), "{}", outcome.text());
    assert!(!outcome.has("agent_started") && !outcome.has("old_channel_held"), "{}", outcome.text());
    drop(elsewhere);
    (controller, outcome)
}

#[test]
fn an_account_that_may_not_know_the_secret_is_told_what_is_missing() {
    let (controller, outcome) = one_that_may_only_look(&["--restart-limit", "1"]);
    outcome.expect_code(77);
    assert!(outcome.has("refused"), "{}", outcome.text());
    let count = |words: &str| outcome.log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(count("Agent/Connect"), 2, "once when it is tried again and once at the end\n{}", outcome.text());
    assert_eq!(count("\"not_prepared\""), 2, "{}", outcome.text());
    assert_eq!((count("\"ERROR\""), count("log says why")), (1, 0), "{}", outcome.text());
    let node = controller.node("n 1").expect("the controller answers");
    assert!(!node.marked, "the node of another machine's agent is left alone");
    assert!(controller.requests_for(Operation::Jnlp).len() >= 3);
}

#[test]
fn a_secret_that_is_refused_counts_where_the_agent_is_to_be_started_all_the_same() {
    let (_, outcome) =
        one_that_may_only_look(&["--restart-limit", "1", "--if-refused", "start", "--offline-timeout", "1s"]);
    outcome.expect_code(71);
    assert!(outcome.has("giving_up"), "{}", outcome.text());
}

#[test]
fn a_controller_that_is_out_of_reach_for_the_secret_is_not_held_against_the_agent() {
    let controller = simulated(Options::jenkins("2.578"));
    controller.fault(On::operation(Operation::Jnlp).times(3), Fault::Status(503));
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = wrapper(&controller, "n 1", dir.path());
    command.args(["--restart-limit", "1", "--restart-delay", "100ms"]);
    command.args([stand_in_java(dir.path()).as_str(), "-jar", "agent.jar"]);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert_eq!(outcome.events().iter().filter(|event| *event == "not_prepared").count(), 3, "{}", outcome.text());
}

#[test]
fn a_node_without_a_secret_is_held_against_the_agent() {
    let controller = simulated(Options::jenkins("2.578"));
    controller.fault(On::operation(Operation::Jnlp), Fault::Status(404));
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = wrapper(&controller, "n 1", dir.path());
    command.args(["--restart-limit", "2", "--restart-delay", "100ms"]);
    command.args([stand_in_java(dir.path()).as_str(), "-jar", "agent.jar"]);
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(71);
    assert!(outcome.text().contains("launch method"), "{}", outcome.text());
}

#[test]
fn a_jar_that_is_missing_for_good_is_said_before_the_controller_is_asked() {
    let controller = simulated(Options::jenkins("2.578"));
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = wrapper(&controller, "n 1", dir.path());
    command.args([stand_in_java(dir.path()).as_str(), "-jar", "/no/such/agent.jar"]);
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(78);
    assert!(outcome.text().contains("/no/such/agent.jar"), "{}", outcome.text());
    assert!(controller.requests().is_empty());
}

#[test]
fn a_command_that_runs_java_elsewhere_is_left_alone_and_that_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    let java = dir.path().join("java");
    fs::write(&java, "#!/bin/sh\necho $PWD: $*\n").expect("a script");
    fs::set_permissions(&java, fs::Permissions::from_mode(0o755)).expect("its mode is set");
    let java = java.to_str().expect("a plain path");
    let elsewhere = elsewhere.to_str().expect("a plain path");
    let command = ["env", "-C", elsewhere, java, "-jar", "agent.jar", "-url", "u", "-name", "n", "-secret", "hush"];
    let (wrap, said) = start_and_listen(standalone_with(&["--restart", "no"], &command));
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert_eq!(said.rest(), [format!("{elsewhere}: {}", command[4..].join(" "))]);
    assert_eq!(outcome.events().iter().filter(|event| *event == "command").count(), 1, "{}", outcome.text());
}

#[test]
fn each_run_of_the_agent_gets_its_secret_again() {
    let controller = simulated(Options::jenkins("2.578"));
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = wrapper(&controller, "n 1", dir.path());
    command.args(["--restart-delay", "100ms", stand_in_java(dir.path()).as_str(), "-jar", "agent.jar"]);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    kill(wrap.agent_pid(1), Signal::SIGKILL).expect("the agent is there");
    wrap.wait_for_nth("agent_connected", 2);
    wrap.stop().expect_code(0);
}

/// The jar that the agent was started with.
fn jar_of(wrap: &Wrap) -> PathBuf {
    let line = fs::read(format!("/proc/{}/cmdline", wrap.agent_pid(1))).expect("the agent is there");
    let line = String::from_utf8(line).expect("a plain command");
    line.split('\0').find(|word| word.ends_with("/agent.jar")).expect("the jar is in the command").into()
}

#[test]
fn each_controller_has_its_own_jar_and_its_nodes_share_it() {
    let plain = Options::jenkins("2.578").agent_jar;
    let other_jar = [plain.as_slice(), b"of another version"].concat();
    let one = simulated(Options::jenkins("2.578"));
    let other = simulated(Options { agent_jar: other_jar.clone(), ..Options::jenkins("2.401") });
    one.create_node("n 2", 1).expect("the node is created");
    let dir = tempfile::tempdir().expect("a directory");
    let java = stand_in_java(dir.path());
    let start = |controller: &Simulated, node: &str| {
        let mut command = wrapper(controller, node, dir.path());
        command.args([java.as_str(), "-jar", "agent.jar"]);
        let wrap = Wrap::start(command);
        wrap.wait_for("agent_connected");
        wrap
    };
    let wrappers = [start(&one, "n 1"), start(&other, "n 1"), start(&one, "n 2")];
    let jars = [jar_of(&wrappers[0]), jar_of(&wrappers[1]), jar_of(&wrappers[2])];
    assert_ne!(jars[0], jars[1]);
    assert_eq!(jars[0], jars[2]);
    assert_eq!(fs::read(&jars[0]).expect("the jar"), plain);
    assert_eq!(fs::read(&jars[1]).expect("the jar"), other_jar);
    for (jar, controller) in jars.iter().zip([&one, &other]) {
        let folder = jar.parent().expect("a folder");
        assert_eq!(folder.parent(), Some(dir.path()));
        let place = controller.url().trim_end_matches('/').replace("http://127.0.0.1:", "localhost_");
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.starts_with(&format!("{place}+")), "{name} is not {place}'s");
        let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["agent.jar", "agent.jar.json", "agent.jar.lock"]);
    }
    assert_eq!([&one, &other].map(|controller| controller.requests_for(Operation::Jar).len()), [2, 1]);
    for wrap in wrappers {
        wrap.stop().expect_code(0);
    }
}
