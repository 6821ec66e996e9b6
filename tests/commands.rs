//! Commands that cannot be executed: each fault is told with its cause and its cure before the controller hears of us.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage as _;
use common::standalone::{folder, standalone_with, text};
use common::{AGENT_WRAP, Wrap, wrap_with_state};

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn each_fault_has_its_own_sentence_before_the_first_request() {
    let controller = Simulated::start(Options::jenkins("2.578")).unwrap();
    controller.create_node("n", 1).unwrap();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    write(&at("plain"), b"#!/bin/sh\n", 0o644);
    write(&at("tool"), b"#!/bin/sh\n", 0o755);
    write(&at("script"), b"#!/no/such/sh\n", 0o755);
    write(&at("windows"), b"#!/bin/sh\r\nexit 0\r\n", 0o755);
    write(&at("text"), b"exit 0\n", 0o755);
    write(&at("empty"), b"", 0o755);
    symlink("gone", at("link")).unwrap();
    symlink("circle", at("circle")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    let here = text(folder.path());
    let missing = format!("there is no such file in the working directory, which is {here:?}");
    let table: [(&str, i32, &[&str]); 16] = [
        ("./absent", 127, &["\"./absent\"", &missing, "the whole path"]),
        ("directory/absent", 127, &[&missing]),
        ("/opt/agent-wrap/no/such", 127, &["there is no such file; is it installed, and is the path right?"]),
        ("./link", 127, &["symbolic link to \"gone\", which is not there"]),
        ("./plain/x", 127, &["\"./plain\" is not a directory"]),
        ("absent", 127, &["\"absent\"", "no such command in PATH (\"/agent-wrap-bin:/bin\")", "is it installed?"]),
        ("tool", 127, &["write it as ./tool"]),
        ("", 127, &["empty word"]),
        ("./plain", 126, &["no executable bit; chmod +x"]),
        ("./directory", 126, &["this is a directory"]),
        ("./circle", 126, &["lead in a circle"]),
        ("/dev/null", 126, &["no file but a device"]),
        ("./script", 126, &["the script is there", "\"/no/such/sh\"", "install that, or correct the line"]),
        ("./windows", 126, &["end as on Windows", "dos2unix"]),
        ("./text", 126, &["first line names no interpreter", "#!/bin/sh"]),
        ("./empty", 126, &["the file is empty"]),
    ];
    for (program, code, words) in table {
        let mut command = wrap_with_state(folder.path().as_os_str());
        command.current_dir(folder.path()).env("PATH", "/agent-wrap-bin:/bin");
        command.args(["--url", &controller.url(), "--node", "n", "--", program]);
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(code);
        let line = outcome.log.last().cloned().unwrap_or_default();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let message = line["message"].as_str().unwrap();
        assert!(words.iter().all(|words| message.contains(words)), "{program:?}: {message}");
        assert!(message.contains("PATH") != program.contains('/') || program.is_empty(), "{program:?}: {message}");
    }
    assert!(controller.requests().is_empty());
}

#[test]
fn a_program_for_another_machine() {
    let folder = folder();
    let program = folder.path().join("program");
    let mut content = fs::read(AGENT_WRAP).unwrap();
    // The number of MIPS, which no kernel that runs these tests knows.
    content[18..20].copy_from_slice(&8_u16.to_ne_bytes());
    write(&program, &content, 0o755);
    let outcome = Wrap::start(standalone_with(&[], &[&text(&program)])).outcome();
    outcome.expect_code(126);
    assert!(outcome.text().contains("is made for mips, and this machine is"), "{}", outcome.text());
}

#[test]
fn a_file_system_that_is_mounted_noexec() {
    let test = "commands::a_file_system_that_is_mounted_noexec";
    let try_it = || match Command::new("unshare").args(["--mount", "true"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("no mount of its own to be had: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("unshare: {error}")),
    };
    if skip::unmet(test, skip::need_root().and_then(|()| try_it())) {
        return;
    }
    let folder = folder();
    let tool = text(folder.path().join("tool"));
    let inner = standalone_with(&[], &[&tool]);
    let script = "mount -t tmpfs -o noexec tmpfs \"$0\" && cp -p /bin/true \"$0/tool\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(folder.path()).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(126);
    assert!(outcome.text().contains("mounted noexec"), "{}", outcome.text());
}

#[test]
fn a_file_of_somebody_else() {
    if skip::unmet("commands::a_file_of_somebody_else", skip::need_root()) {
        return;
    }
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let tool = folder.path().join("tool");
    write(&tool, b"#!/bin/sh\n", 0o744);
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    write(&closed.join("tool"), b"#!/bin/sh\n", 0o755);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let program = folder.path().join("agent-wrap");
    common::copy_program(AGENT_WRAP, &program);
    for (tool, words) in [
        (tool.clone(), "user 65534 may not execute this file".to_owned()),
        (closed.join("tool"), format!("user 65534 may not enter the directory {closed:?}")),
    ] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
        command.args(["--standalone", "--log-format", "json"]).arg(&tool);
        command.env("XDG_RUNTIME_DIR", folder.path());
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(126);
        assert!(outcome.text().contains(&words.replace('"', "\\\"")), "{}", outcome.text());
    }
}

#[test]
fn what_the_agents_user_may_not_execute_is_told_before_the_first_request() {
    if skip::unmet("commands::what_the_agents_user_may_not_execute_is_told_before_the_first_request", skip::need_root())
    {
        return;
    }
    let controller = Simulated::start(Options::jenkins("2.578")).unwrap();
    controller.create_node("n", 1).unwrap();
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("closed")).unwrap();
    write(&at("closed/tool"), b"#!/bin/sh\n", 0o755);
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("closed/tool", at("link")).unwrap();
    write(&at("mine"), b"#!/bin/sh\n", 0o744);
    write(&at("unread"), b"#!/bin/sh\n", 0o711);
    common::copy_program("/bin/sh", at("sh"));
    fs::set_permissions(at("sh"), fs::Permissions::from_mode(0o700)).unwrap();
    write(&at("script"), format!("#!{}\n", at("sh").display()).as_bytes(), 0o755);
    let table = [
        ("mine", "user 65534 may not execute this file".to_owned()),
        ("closed/tool", format!("user 65534 may not enter the directory {:?}", at("closed"))),
        ("link", format!("user 65534 may not enter the directory {:?}", at("closed"))),
        ("unread", "user 65534 may not read this script".to_owned()),
        ("script", format!("{:?}: user 65534 may not execute this file", at("sh"))),
    ];
    for (name, words) in table {
        let mut command = wrap_with_state(folder.path().as_os_str());
        command.args(["--url", &controller.url(), "--node", "n", "--agent-user", "65534"]).arg(at(name));
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(126);
        assert!(outcome.text().contains(&words.replace('"', "\\\"")), "{}", outcome.text());
    }
    assert!(controller.requests().is_empty());
    write(&at("open"), b"#!/bin/sh\n", 0o755);
    let outcome = Wrap::start(standalone_with(&["--restart", "no", "--agent-user", "65534"], &[&text(at("open"))]));
    outcome.outcome().expect_code(0);
}

#[test]
fn a_program_that_vanishes_between_two_runs_is_named() {
    let folder = folder();
    let tool = folder.path().join("tool");
    write(&tool, b"#!/bin/sh\nexec rm \"$0\"\n", 0o755);
    let wrap = Wrap::start(standalone_with(&["--restart-delay", "10ms"], &[&text(&tool)]));
    let line = wrap.wait_for("not_executed");
    assert_eq!(line["message"], format!("{tool:?}: there is no such file; is it installed, and is the path right?"));
    let line = wrap.wait_for("spawn_failed");
    assert!(!line["message"].as_str().unwrap().contains("PATH"), "{line}");
    write(&tool, b"#!/no/such/sh\n", 0o755);
    wrap.wait_for_words("the script is there, but the interpreter", 1);
    wrap.stop().expect_code(0);
}
