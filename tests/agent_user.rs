//! The agent of another user: its ids, groups and home, and a token that it cannot read.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use agent_wrap_testbed::skip;
use common::AGENT_WRAP;

fn said(user: &str, script: &str) -> Output {
    let mut command = Command::new(AGENT_WRAP);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/root").env("USER", "root").current_dir("/");
    command.args(["--standalone", "--restart", "no", "--agent-user", user, "sh", "-c", script]);
    command.stdin(Stdio::null()).output().expect("the wrapper runs")
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
fn an_unknown_user_is_a_fault_of_the_settings() {
    let output = said("no-such-user", "true");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-user"));
}
