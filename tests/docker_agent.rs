//! Called as `jenkins-agent` with a single word, as in `docker run -it IMAGE bash`: that program runs in our place.

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use common::standalone::{folder, lead_session, text};
use common::{PATIENCE, pty, wait_within, wrap};

fn jenkins_agent(word: &str) -> Command {
    let mut command = wrap();
    command.arg0("jenkins-agent").arg(word);
    command
}

#[test]
fn a_shell_has_the_terminal() {
    let (master, terminal) = pty();
    let stream = || Stdio::from(terminal.try_clone().expect("a copy"));
    let mut command = jenkins_agent("sh");
    command.stdin(stream()).stdout(stream()).stderr(stream());
    lead_session(&mut command);
    let mut shell = command.spawn().expect("it starts");
    drop((command, terminal));
    let mut screen = File::from(master);
    screen.write_all(b"echo $((6*7)) $$; exit 3\n").expect("it is typed");
    let status = wait_within(&mut shell, PATIENCE).expect("the shell ends");
    let mut shown = Vec::new();
    // It fails when the last holder of the other side is gone.
    let _ = screen.read_to_end(&mut shown);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(shown.contains(&format!("42 {}", shell.id())), "{shown}");
    assert_eq!(status.code(), Some(3), "{shown}");
}

/// What a script says when it is run by this command.
fn said(mut command: Command) -> String {
    command.env("AGENT_WRAP_TOKEN", "t").env("JENKINS_SECRET", "s").env("CREDENTIALS_DIRECTORY", "/c");
    let output = command.stdout(Stdio::piped()).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn it_gets_everything_as_if_we_had_never_been_there() {
    let folder = folder();
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\necho $0; env | sort; grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status\n")
        .expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its mode is set");
    let script = text(script);
    let mut instead = jenkins_agent(&script);
    instead.env("XDG_RUNTIME_DIR", "/r");
    let mut plain = Command::new(&script);
    plain.env_clear().envs(instead.get_envs().filter_map(|(name, value)| Some((name, value?))));
    plain.stdin(Stdio::null());
    let plain = said(plain);
    assert!(plain.contains("AGENT_WRAP_TOKEN=t\n"), "{plain}");
    assert_eq!(said(instead), plain);
}

#[test]
fn what_cannot_be_executed_is_told_as_a_shell_would() {
    let folder = folder();
    let plain = folder.path().join("plain");
    fs::write(&plain, "").expect("a file");
    for (word, code) in [("no-such-program", 127), (text(&plain).as_str(), 126)] {
        let Output { status, stderr, .. } = jenkins_agent(word).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(code), "{stderr}");
        assert!(stderr.starts_with("jenkins-agent: ") && stderr.contains(word), "{stderr}");
    }
}
