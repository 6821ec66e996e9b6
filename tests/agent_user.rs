//! The agent of another user: its ids, groups and home, and a token that it cannot read; and how readily the kernel ends
//! it.

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
    common::copy_program(agent_program(), &java);
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
    common::copy_program(AGENT_WRAP, dir.path().join("agent-wrap"));
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

#[test]
fn builds_of_root_that_can_read_the_token_are_told_of_unless_root_was_meant() {
    let test = "agent_user::builds_of_root_that_can_read_the_token_are_told_of_unless_root_was_meant";
    if skip::unmet(test, skip::need_root()) {
        return;
    }
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n", 1).expect("the node is created");
    let told = |arguments: &[&str], token: Option<&str>| {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = common::wrap_with_state(dir.path().as_os_str());
        command.args(["--restart", "no"]).args(arguments).arg("true");
        command.envs(token.map(|token| ("AGENT_WRAP_TOKEN", token)));
        let outcome = common::Wrap::start(command).outcome();
        outcome.expect_code(0);
        outcome.has("root")
    };
    let url = controller.url();
    let node = ["--url", &url, "--node", "n"];
    let token = Some("admin:admin-token");
    assert!(told(&node, token));
    for user in ["root", "nobody"] {
        assert!(!told(&[&node[..], &["--agent-user", user]].concat(), token), "{user}");
    }
    assert!(!told(&["--standalone"], None), "there is no token");
}

/// The wrapper's own value, and the agent's once it has the one that it is to have.
const ADJUSTED: &str = "cat /proc/$PPID/oom_score_adj; \
    until read value < /proc/self/oom_score_adj && [ $value = 321 ]; do :; done; echo $value";

#[test]
fn the_agent_is_ended_first_when_memory_runs_out_if_so_wished() {
    if skip::unmet("agent_user::the_agent_is_ended_first_when_memory_runs_out_if_so_wished", skip::need_root()) {
        return;
    }
    // As root without the right to write other users' files, which is how the unit has it, for an agent of another user.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-dac_override", "--inh-caps", "-dac_override", AGENT_WRAP]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("RUNTIME_DIRECTORY", common::runtime::directory());
    command.args(["--standalone", "--restart", "no", "--agent-user", "nobody", "--agent-oom-score-adj", "321"]);
    // It has it before it executes its program, so the first look shows it.
    command.args(["sh", "-c", "cat /proc/self/oom_score_adj"]);
    let output = command.current_dir("/").output().expect("the wrapper runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "321\n", "{output:?}");

    // As a user without any right.
    let place = open_place();
    let mut command = of_nobody(&place);
    command.args(["--standalone", "--restart", "no", "--agent-oom-score-adj=321", "sh", "-c", ADJUSTED]);
    let output = command.output().expect("the wrapper runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.ends_with("\n321\n") && !said.starts_with("321"), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("WARN"), "{output:?}");
}

#[test]
fn a_protection_from_the_kernel_that_we_may_not_give_is_said() {
    let test = "agent_user::a_protection_from_the_kernel_that_we_may_not_give_is_said";
    if skip::unmet(test, skip::need_root()) {
        return;
    }
    let place = open_place();
    let mut command = Command::new("choom");
    command.args(["-n", "500", "--", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg("--bounding-set=-sys_resource").arg(place.path().join("agent-wrap"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("RUNTIME_DIRECTORY", place.path()).current_dir("/");
    command.args(["--standalone", "--restart", "no", "--agent-oom-score-adj", "-7", "sh", "-c", "exit 3"]);
    let output = command.output().expect("the wrapper runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let words = "--agent-oom-score-adj -7 cannot be given to the agent: it has 500, and less than that takes \
                 CAP_SYS_RESOURCE; ask for 500 or more";
    assert!(said.contains(words), "{said}");
    assert_eq!(output.status.code(), Some(3), "{said}");
}
