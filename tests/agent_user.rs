//! The agent of another user: its ids, groups and home, and a token that it cannot read.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use agent_wrap_testbed::simulated::{Options, Simulated, agent_program};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage as _;
use common::AGENT_WRAP;
use tempfile::TempDir;

fn said(user: &str, script: &str) -> Output {
    let mut command = common::wrap();
    command.env("RUNTIME_DIRECTORY", common::runtime::directory());
    command.env("PATH", "/usr/bin:/bin").env("HOME", "/root").env("USER", "root").current_dir("/");
    command.args(["--standalone", "--restart", "no", "--agent-user", user, "sh", "-c", script]);
    command.stdout(Stdio::piped()).output().expect("the wrapper runs")
}

#[test]
fn the_agent_is_its_user_with_that_users_groups_and_home() {
    if skip::unmet("agent_user::the_agent_is_its_user_with_that_users_groups_and_home", skip::need_root()) {
        return;
    }
    let output = said("nobody", "id -un; id -gn; id -G; echo $HOME $USER $LOGNAME");
    let expected = "nobody\nnogroup\n65534\n/nonexistent nobody nobody\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", String::from_utf8_lossy(&output.stderr));
    let output = said("54321:54322", "id -u; id -g; id -G; echo $HOME");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "54321\n54322\n54322\n/\n");
}

#[test]
fn it_can_read_neither_the_wrappers_token_nor_its_environment() {
    let test = "agent_user::it_can_read_neither_the_wrappers_token_nor_its_environment";
    if skip::unmet(test, skip::need_root()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("its mode is set");
    let token = dir.path().join("token");
    fs::write(&token, "hush").expect("the token is written");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("its mode is set");
    let script = format!(
        "cat {} || echo no token; cat /proc/$PPID/environ >/dev/null || echo no environment; \
         grep -q 'PPid' /proc/self/status && echo done",
        token.display()
    );
    let output = said("nobody", &script);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "no token\nno environment\ndone\n");
}

#[test]
fn a_fetched_jar_and_a_secret_in_a_file_are_its_to_read() {
    if skip::unmet("agent_user::a_fetched_jar_and_a_secret_in_a_file_are_its_to_read", skip::need_root()) {
        return;
    }
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n", 1).expect("the node is created");
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("its mode is set");
    let java = dir.path().join("java");
    fs::copy(agent_program(), &java).expect("a copy that everybody may execute");
    let open = dir.path().join("open");
    fs::create_dir(&open).expect("a folder for the agent to write to");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("its mode is set");
    let status = open.join("status.json");
    fs::write(dir.path().join("token"), "admin:admin-token").expect("the token is written");
    let mut command = common::wrap_with_state(dir.path().join("state").as_os_str());
    command.current_dir(dir.path()).env("RUNTIME_DIRECTORY", dir.path());
    command.env("MISBEHAVE", format!("--write-status {}", status.display()));
    command.args(["--url", &controller.url(), "--node", "n", "--token-file", "token", "--agent-user", "nobody"]);
    command.arg(&java).args(["-jar", "agent.jar"]);
    // The strictest umask that somebody may have set for root.
    common::standalone::on_fork(&mut command, || {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        Ok(())
    });
    let wrap = common::Wrap::start(command);
    wrap.wait_for("agent_connected");
    let line = fs::read(format!("/proc/{}/cmdline", wrap.agent_pid(1))).expect("the agent is there");
    let line = String::from_utf8(line).expect("a plain command");
    let jar = line.split('\0').find(|word| word.ends_with("/agent.jar")).expect("the jar is in the command");
    assert!(jar.starts_with(dir.path().join("state").to_str().expect("a plain path")), "{jar}");
    let script = format!("cat {jar} > /dev/null && ! cat {}/token", dir.path().display());
    fs::set_permissions(dir.path().join("token"), fs::Permissions::from_mode(0o600)).expect("its mode is set");
    let output = said("nobody", &script);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    wrap.stop().expect_code(0);
    let status = fs::read_to_string(status).expect("what the agent has written");
    assert!(status.contains("65534"), "{status}");
}

/// A place that everybody can enter, with a wrapper in it.
fn open_place() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("its mode is set");
    fs::copy(AGENT_WRAP, dir.path().join("agent-wrap")).expect("a copy that everybody may execute");
    dir
}

/// The wrapper of such a place, run by nobody, who has no rights.
fn of_nobody(place: &TempDir) -> Command {
    let mut command = Command::new(place.path().join("agent-wrap"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("RUNTIME_DIRECTORY", place.path()).current_dir("/");
    common::standalone::on_fork(&mut command, || {
        nix::unistd::setgid(65534.into())?;
        Ok(nix::unistd::setuid(65534.into())?)
    });
    command
}

#[test]
fn who_may_not_become_it_is_told_before_the_controller_is_asked() {
    let test = "agent_user::who_may_not_become_it_is_told_before_the_controller_is_asked";
    if skip::unmet(test, skip::need_root()) {
        return;
    }
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n", 1).expect("the node is created");
    let place = open_place();
    let mut command = of_nobody(&place);
    command.args(["--url", &controller.url(), "--node", "n", "--restart", "no", "--agent-user", "54321", "true"]);
    let outcome = common::Wrap::start(command).outcome();
    outcome.expect_code(78);
    for words in ["--agent-user 54321", "CAP_SETUID, CAP_SETGID, CAP_KILL", "65534"] {
        assert!(outcome.text().contains(words), "{}", outcome.text());
    }
    assert!(controller.requests().is_empty());
}

#[test]
fn to_be_the_user_that_we_are_takes_no_right() {
    if skip::unmet("agent_user::to_be_the_user_that_we_are_takes_no_right", skip::need_root()) {
        return;
    }
    let place = open_place();
    let mut command = of_nobody(&place);
    command.args(["--standalone", "--restart", "no", "--agent-user", "nobody", "sh", "-c", "id -u; id -g"]);
    let output = command.output().expect("the wrapper runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "65534\n65534\n", "{output:?}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_unknown_user_is_a_fault_of_the_settings() {
    let output = said("no-such-user", "true");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-user"));
}
