//! Passwords and secrets that were put where they can be read: nothing that the wrapper prints repeats them.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use common::standalone::folder;
use common::{AGENT_WRAP, Outcome, Wrap, wrap};

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Every place in a command where a password could stand, `hush` being its end.
const COMMAND: [&str; 21] = [
    "java",
    "-Dhttp.proxyPassword=hush",
    "-Dproxy=http://me:hush@proxy:3128/",
    "-jar",
    "agent.jar",
    "-url",
    "http://me:hush@127.0.0.1:1/",
    "-url=http://me:hu/hush@127.0.0.1:1/",
    "-jnlpUrl",
    "http://me:hush@127.0.0.1:1/computer/a/slave-agent.jnlp",
    "-name",
    "a",
    "-secret",
    HEX,
    "-credentials",
    "me:hush",
    "-proxyCredentials=me:hush",
    "-webSocketHeader",
    "Authorization=hush",
    "-option",
    "TOKEN=hush",
];

/// A wrapper that says all it can, in this form.
fn talkative(form: &str, folder: &Path) -> Command {
    let mut command = wrap();
    command.current_dir(folder).args(["--log-level", "trace", "--log-format", form, "--state-dir", "."]);
    command.env("XDG_RUNTIME_DIR", folder);
    command
}

#[track_caller]
fn expect_silence(outcome: &Outcome) {
    let text = outcome.text();
    assert!(!text.contains("hush") && !text.contains(HEX), "{text}");
}

#[test]
fn a_command_is_logged_without_them_in_either_form() {
    for form in ["text", "json"] {
        let folder = folder();
        fs::write(folder.path().join("agent.jar"), "a jar").unwrap();
        std::os::unix::fs::symlink("/bin/false", folder.path().join("java")).unwrap();
        let mut command = talkative(form, folder.path());
        command.args(["--standalone", "--restart", "no"]).args(COMMAND).env("PATH", folder.path());
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(1);
        let masked = "-url http://********@127.0.0.1:1/ -url=http://********@127.0.0.1:1/ -jnlpUrl http://********@";
        let lines: Vec<_> = outcome.log.iter().filter(|line| line.contains(masked)).collect();
        // The command as it was given, and as it is started.
        assert_eq!(lines.len(), 2, "{}", outcome.text());
        expect_silence(&outcome);
    }
}

#[test]
fn settings_are_printed_without_them() {
    let folder = folder();
    for more in [&["--standalone"][..], &["--url", "http://127.0.0.1:1/"], &["--url", "http://me:hush@127.0.0.1:1/"]] {
        for command in [&COMMAND[..], &[]] {
            let mut wrapper = talkative("text", folder.path());
            wrapper.arg("--print-config").args(more).args(command).env("AGENT_WRAP_TOKEN", "me:hush");
            let output = wrapper.stdout(Stdio::piped()).output().unwrap();
            let text =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(text.contains("# The settings in force"), "{text}");
            assert!(!text.contains("hush") && !text.contains(HEX), "{text}");
        }
    }
}

#[test]
fn the_old_entry_points_variable_is_refused_without_showing_it() {
    let folder = folder();
    let program = folder.path().join("jenkins-agent");
    std::os::unix::fs::symlink(AGENT_WRAP, &program).unwrap();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("XDG_RUNTIME_DIR", folder.path())
        .env("JENKINS_URL", "http://me:hush@127.0.0.1:1/")
        .args([HEX, "a"]);
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(78);
    assert!(outcome.text().contains("JENKINS_URL in the environment: the URL holds credentials"), "{}", outcome.text());
    expect_silence(&outcome);
}

#[test]
fn a_proxys_password_is_not_told_when_it_fails() {
    for form in ["text", "json"] {
        let folder = folder();
        let mut command = talkative(form, folder.path());
        command.env("HTTP_PROXY", "http://me:hush@127.0.0.1:1/").env("http_proxy", "http://me:hush@127.0.0.1:1/");
        command.args(["--url", "http://controller.invalid/", "--node", "a", "--start-timeout", "1s", "true"]);
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(69);
        assert!(outcome.text().contains("controller.invalid"), "{}", outcome.text());
        expect_silence(&outcome);
    }
}

#[test]
fn an_answer_that_sends_us_to_a_url_with_one_is_told_without_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // It answers until the tests end.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines();
            let _ = lines.map_while(Result::ok).find(String::is_empty);
            let _ = stream.write_all(
                b"HTTP/1.1 302 Found\r\nLocation: http://me:hush@elsewhere.example/x\r\nConnection: close\r\n\
                  Content-Length: 0\r\n\r\n",
            );
        }
    });
    for form in ["text", "json"] {
        let folder = folder();
        let mut command = talkative(form, folder.path());
        command.args(["--url", &url, "--node", "a", "--start-timeout", "1s", "true"]);
        let outcome = Wrap::start(command).outcome();
        outcome.expect_code(69);
        assert!(outcome.text().contains("http://********@elsewhere.example/x"), "{}", outcome.text());
        expect_silence(&outcome);
    }
}
