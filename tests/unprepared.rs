//! What keeps an agent from being started is found out before the controller is asked, and what can be had in another
//! place is had there.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage as _;
use common::standalone::{on_fork, start_and_listen, text};
use common::{AGENT_WRAP, Outcome, Wrap, wrap_with_state};
use tempfile::TempDir;

/// A place that everybody can enter, with an agent and a java that are both a script that shows its secret.
fn place() -> TempDir {
    let place = common::standalone::folder();
    let open = |path: &std::path::Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode is set");
    };
    open(place.path());
    for name in ["agent", "java"] {
        let script = place.path().join(name);
        fs::write(&script, "#!/bin/sh\nid -u\necho $6\ncat ${6#@}\necho\n").expect("a script");
        open(&script);
    }
    place
}

/// Expects that this is told, whatever else is, before the controller is asked.
fn expect_refusal(controller: &Simulated, command: Command, words: &[&str]) {
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(78);
    assert!(controller.requests().is_empty());
    for words in words {
        assert!(outcome.text().contains(words), "{words:?} is not in {}", outcome.text());
    }
}

fn simulated() -> Simulated {
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n", 1).expect("the node is created");
    controller
}

fn with_controller(controller: &Simulated, place: &TempDir, arguments: &[&str]) -> Command {
    let mut command = wrap_with_state(place.path().as_os_str());
    command.current_dir(place.path()).args(["--url", &controller.url(), "--node", "n"]).args(arguments);
    command.args([text(place.path().join("java")).as_str(), "-jar", "agent.jar"]);
    command
}

#[test]
fn a_wrong_secret_file() {
    let (controller, place) = (simulated(), place());
    fs::write(place.path().join("empty"), "\n").expect("a file");
    for (file, words) in [("nope", "No such file"), ("empty", "is empty")] {
        for restart in ["no", "always"] {
            let command = with_controller(&controller, &place, &["--secret-file", file, "--restart", restart]);
            expect_refusal(&controller, command, &["--secret-file", file, words]);
        }
    }
}

#[test]
fn a_state_directory_that_no_jar_can_be_fetched_to() {
    let (controller, place) = (simulated(), place());
    let command = with_controller(&controller, &place, &["--state-dir", "/dev/null/state"]);
    expect_refusal(&controller, command, &["/dev/null/state", "Not a directory", "--state-dir"]);
}

#[test]
fn a_jar_that_is_not_fetched_is_told_with_the_reason() {
    for (options, jar, why) in [
        (&["--standalone"][..], "sub2/agent.jar", "with --standalone none is fetched"),
        (&["--url", "http://127.0.0.1:1/", "--node", "n"], "/nowhere/agent.jar", "only a relative name is fetched"),
    ] {
        let mut command = common::wrap();
        command.args(options).args(["true", "-jar", jar]);
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(78);
        assert!(outcome.text().contains(why), "{}", outcome.text());
    }
}

#[test]
fn a_state_that_cannot_be_written_is_told_once() {
    let (controller, place) = (simulated(), place());
    let state = place.path().join("state");
    let mut command = wrap_with_state(place.path().as_os_str());
    command.env("AGENT_WRAP_TOKEN", "admin:admin-token");
    command.args(["--url", &controller.url(), "--node", "n", "--restart-delay", "10ms", "--restart-delay-max", "10ms"]);
    command.args(["--restart-slow-after", "1000", "--state-dir"]).arg(&state);
    command.args(["sh", "-c", "kill -9 $$"]);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_started");
    fs::rename(&state, place.path().join("elsewhere")).expect("the folder is there");
    wrap.wait_for("complaint");
    let seen = wrap.log().iter().filter(|line| line.contains("\"agent_started\"")).count();
    wrap.wait_for_nth("agent_started", seen + 3);
    let outcome = wrap.stop();
    let told = outcome.log.iter().filter(|line| line.contains("could not write the state file")).count();
    assert_eq!(told, 1, "{}", outcome.text());
}

#[test]
fn a_state_directory_that_is_a_file() {
    let (controller, place) = (simulated(), place());
    let command = with_controller(&controller, &place, &["--state-dir", "/etc/passwd"]);
    expect_refusal(&controller, command, &["/etc/passwd is there and is no directory", "--state-dir"]);
}

#[test]
fn a_runtime_directory_that_cannot_be_made() {
    let (controller, place) = (simulated(), place());
    let mut command = with_controller(&controller, &place, &[]);
    command.env("RUNTIME_DIRECTORY", "/dev/null/run");
    expect_refusal(&controller, command, &["$RUNTIME_DIRECTORY names /dev/null/run", "RuntimeDirectory="]);
}

/// The arguments of a wrapper without a controller whose agent shows its secret.
fn with_secret(command: &mut Command, place: &TempDir, options: &[&str]) {
    command.args(["--standalone", "--log-format", "json", "--restart", "no"]).args(options);
    command.arg(place.path().join("agent")).args(["-url", "http://ci/", "-name", "n", "-secret", "hush"]);
}

/// Runs a wrapper that sees no directories of this machine's but empty ones, as this user; what its agent says, and how
/// it ends.
fn alone(place: &TempDir, user: u32, runtime: &OsStr, options: &[&str]) -> (Vec<String>, Outcome) {
    let program = place.path().join("agent-wrap");
    common::copy_program(AGENT_WRAP, &program);
    let mut command = Command::new("unshare");
    let mounts = "mount -t tmpfs none /run && mount -t tmpfs -o mode=1777 none /dev/shm && exec \"$@\"";
    command.args(["--mount", "--", "sh", "-c", mounts, "sh", "setpriv", "--clear-groups"]);
    command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg(&program);
    with_secret(&mut command, place, options);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("XDG_RUNTIME_DIR", runtime);
    let (wrap, said) = start_and_listen(command);
    (said.rest(), wrap.outcome())
}

#[test]
fn a_runtime_directory_of_somebody_else_or_nobody_is_passed_over() {
    if skip::unmet("unprepared::a_runtime_directory_of_somebody_else_or_nobody_is_passed_over", skip::need_root()) {
        return;
    }
    let place = place();
    let absent = place.path().join("absent");
    let foreign = place.path().join("foreign");
    fs::create_dir(&foreign).expect("a directory");
    std::os::unix::fs::chown(&foreign, Some(54321), None).expect("it is given away");
    // What a login of root's has.
    let closed = place.path().join("closed");
    fs::create_dir(&closed).expect("a directory");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("its mode is set");
    for (user, runtime, options, expected) in [
        (0, &absent, &[][..], "@/run/agent-wrap/"),
        (0, &foreign, &[], "@/run/agent-wrap/"),
        (0, &closed, &["--agent-user", "65534"], "@/run/agent-wrap/"),
        (65534, &absent, &[], "@/dev/shm/agent-wrap-65534/"),
    ] {
        let (said, outcome) = alone(&place, user, runtime.as_os_str(), options);
        outcome.expect_code(0);
        let [id, file, secret] = said.as_slice() else { panic!("{said:?}\n{}", outcome.text()) };
        assert_eq!(id, options.last().map_or(user.to_string().as_str(), |user| user), "{said:?}");
        assert!(file.starts_with(expected) && secret == "hush", "{said:?}\n{}", outcome.text());
        assert!(outcome.has("runtime_directory") && outcome.text().contains(&text(runtime)), "{}", outcome.text());
    }
    let (_, outcome) = alone(&place, 0, closed.as_os_str(), &[]);
    assert!(!outcome.has("runtime_directory"), "{}", outcome.text());
}

#[test]
fn what_is_closed_to_the_agents_user_is_named() {
    if skip::unmet("unprepared::what_is_closed_to_the_agents_user_is_named", skip::need_root()) {
        return;
    }
    let place = place();
    let closed = place.path().join("closed");
    fs::create_dir(&closed).expect("a directory");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("its mode is set");
    let mut command = common::wrap();
    command.env("RUNTIME_DIRECTORY", closed.join("below"));
    fs::create_dir(closed.join("below")).expect("a directory");
    with_secret(&mut command, &place, &["--agent-user", "65534"]);
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(78);
    let named = format!("may not enter {},", closed.display());
    assert!(outcome.text().contains(&named), "{}", outcome.text());
}

#[test]
fn to_hand_the_secret_to_another_user_takes_a_right() {
    if skip::unmet("unprepared::to_hand_the_secret_to_another_user_takes_a_right", skip::need_root()) {
        return;
    }
    let place = place();
    let program = place.path().join("agent-wrap");
    common::copy_program(AGENT_WRAP, &program);
    let runtime = place.path().join("run");
    fs::create_dir(&runtime).expect("a directory");
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o777)).expect("its mode is set");
    let rights = "+setuid,+setgid,+kill";
    for (more, code) in [("", 78), (",+chown", 0)] {
        let mut command = Command::new("setpriv");
        command.args(["--clear-groups", "--reuid=54321", "--regid=54321"]);
        command.arg(format!("--inh-caps={rights}{more}")).arg(format!("--ambient-caps={rights}{more}")).arg(&program);
        with_secret(&mut command, &place, &["--agent-user", "65534"]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("RUNTIME_DIRECTORY", &runtime);
        on_fork(&mut command, || {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
            Ok(())
        });
        let (wrap, said) = start_and_listen(command);
        let outcome = wrap.outcome();
        outcome.expect_code(code);
        assert_eq!(code == 78, outcome.text().contains("CAP_CHOWN"), "{}", outcome.text());
        assert_eq!(said.rest().last().map(String::as_str), (code == 0).then_some("hush"));
    }
}

#[test]
fn what_the_agents_user_cannot_read_is_found_out_first() {
    if skip::unmet("unprepared::what_the_agents_user_cannot_read_is_found_out_first", skip::need_root()) {
        return;
    }
    let (controller, place) = (simulated(), place());
    let at = |name: &str| place.path().join(name);
    for (name, mode) in [("open", 0o755), ("own", 0o755), ("closed", 0o700)] {
        fs::create_dir(at(name)).expect("a directory");
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("its mode is set");
    }
    let jars = [("open/agent.jar", 0o644), ("own/agent.jar", 0o600), ("closed/agent.jar", 0o644)];
    for (name, mode) in jars.into_iter().chain([("key", 0o600), ("open/key", 0o644)]) {
        fs::write(at(name), "secret").expect("a file");
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("its mode is set");
    }
    let [key, open] = ["key", "open/key"].map(|name| format!("@{}", text(at(name))));
    for (jar, secret, words) in [
        ("own/agent.jar", open.as_str(), "user 65534 may not read this file"),
        ("closed/agent.jar", open.as_str(), "user 65534 may not enter the directory"),
        ("open/agent.jar", key.as_str(), "key\\\": user 65534 may not read this file"),
    ] {
        let mut command = wrap_with_state(place.path().as_os_str());
        command.args(["--url", &controller.url(), "--node", "n", "--agent-user", "65534"]).arg(at("java"));
        command.arg("-jar").arg(at(jar)).args(["-url", &controller.url(), "-name", "n", "-secret", secret]);
        expect_refusal(&controller, command, &["the agent has to read a file", words]);
    }
}

#[test]
fn a_root_that_may_not_look_leaves_it_to_the_agents_user() {
    if skip::unmet("unprepared::a_root_that_may_not_look_leaves_it_to_the_agents_user", skip::need_root()) {
        return;
    }
    let place = place();
    let secret = place.path().join("secret");
    fs::write(&secret, "5ec").expect("a file");
    let secret = format!("@{}", text(&secret));
    let home = place.path().join("home");
    fs::create_dir(&home).expect("a directory");
    for name in ["agent.jar", "java"] {
        common::copy_program(place.path().join("java"), home.join(name));
    }
    for path in [&home, &home.join("agent.jar"), &home.join("java")] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("it is given away");
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("its mode is set");
    }
    let wrapper = |java: &std::path::Path, jar: &str| {
        let rights = "-dac_override,-dac_read_search";
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", rights, "--inh-caps", rights, AGENT_WRAP, "--log-format", "json"]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("RUNTIME_DIRECTORY", common::runtime::directory());
        command.args(["--standalone", "--restart", "no", "--agent-user", "65534"]).arg(java).arg("-jar");
        command.arg(home.join(jar)).args(["-url", "http://ci/", "-secret", &secret, "-name", "n"]);
        Wrap::start(command).outcome()
    };
    wrapper(&place.path().join("java"), "agent.jar").expect_code(0);
    // It is the agent that has to say so.
    wrapper(&place.path().join("java"), "none.jar").expect_code(0);
    let outcome = wrapper(&home.join("java"), "agent.jar");
    outcome.expect_code(126);
    let words = format!(
        "root may not enter the directory \\\"{}\\\", because agent-wrap lacks CAP_DAC_READ_SEARCH",
        text(&home)
    );
    assert!(outcome.text().contains(&words), "{}", outcome.text());
}
