//! Called as `jenkins-agent` with a single word, as in `docker run -it IMAGE bash`: that program runs in our place.

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use agent_wrap_testbed::hudson::{Hudson, HudsonOptions};
use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage as _;
use common::standalone::{Said, folder, lead_session, text};
use common::{Outcome, PATIENCE, Wrap, pty, wait_within, wrap, write_script};

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

#[test]
fn the_agent_that_is_asked_what_it_is_answers_itself() {
    let folder = folder();
    let java = folder.path().join("java");
    write_script(&java, "#!/bin/sh\necho $$ $0 $*\nexit 5\n");
    let mut command = jenkins_agent("-version");
    command.env("JENKINS_JAVA_BIN", &java).env("JENKINS_AGENT_FILE", "/a.jar").stdout(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let pid = child.id();
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("{pid} {} -jar /a.jar -version\n", text(&java)));
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn without_a_controller_to_ask_the_agent_connects_all_the_same() {
    let folder = folder();
    let java = folder.path().join("java");
    write_script(&java, "#!/bin/sh\necho $*\ncat \"${10#@}\"\nenv\n");
    let jar = text(folder.path().join("agent.jar"));
    fs::write(&jar, "").expect("a jar");
    let mut command = wrap();
    command.arg0("jenkins-agent").stdout(Stdio::piped()).args(["-workDir", "/w"]);
    for (name, value) in [
        ("AGENT_WRAP_STANDALONE", "true"),
        ("AGENT_WRAP_RESTART", "no"),
        ("JENKINS_URL", "http://ci/x"),
        ("JENKINS_SECRET", "5ec\n"),
        ("JENKINS_AGENT_NAME", "n1"),
        ("JENKINS_AGENT_FILE", &jar),
        ("JENKINS_JAVA_BIN", &text(&java)),
    ] {
        command.env(name, value);
    }
    let output = command.output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with(&format!("-jar {jar} -workDir /w -url http://ci/x/ -name n1 -secret @/")), "{said}");
    assert!(lines[0].ends_with(".secret -noReconnect"), "{said}");
    assert!(lines[1].starts_with("5ec") && !said.contains("JENKINS_SECRET"), "{said}");
}

/// A wrapper in the place of the entry point, for a node of this controller, and what its agent is started with: its
/// arguments, the contents of the file that holds its secret, and its environment.
fn started_with(controller: &Simulated, arguments: &[&str], variables: &[(&str, &str)]) -> (String, Outcome) {
    let folder = folder();
    let java = folder.path().join("java");
    let script = "#!/bin/sh\necho $*\nfor word; do case $word in @*) cat ${word#@}; echo;; esac; done\nenv\n";
    write_script(&java, script);
    fs::write(folder.path().join("agent.jar"), "a jar").expect("a jar");
    let (user, token) = controller.credentials().expect("an account");
    let mut command = wrap();
    command.arg0("jenkins-agent").args(arguments).current_dir(folder.path());
    for (name, value) in [
        ("AGENT_WRAP_RESTART", "no"),
        ("AGENT_WRAP_LOG_FORMAT", "json"),
        ("AGENT_WRAP_STATE_DIR", "."),
        ("JENKINS_URL", &controller.url()),
        ("JENKINS_AGENT_NAME", "n 1"),
        ("JENKINS_AGENT_FILE", "agent.jar"),
        ("JENKINS_JAVA_BIN", &text(&java)),
        ("JENKINS_USER_ID", &user),
        ("JENKINS_API_TOKEN", &token),
    ] {
        command.env(name, value);
    }
    command.envs(variables.iter().copied());
    let said = Said::by(&mut command);
    let wrap = Wrap::start(command);
    let outcome = wrap.outcome();
    (said.rest().join("\n"), outcome)
}

#[test]
fn arguments_that_say_a_part_of_how_to_connect_are_given_the_rest() {
    let controller =
        Simulated::start(Options { agent_port: false, ..Options::jenkins("2.578") }).expect("a controller");
    controller.create_node("n 1", 1).expect("the node is created");
    let secret = controller.secret("n 1");
    let url = controller.url();
    let root = ["-url", &url];
    let direct = [("JENKINS_DIRECT_CONNECTION", "h:1"), ("JENKINS_INSTANCE_IDENTITY", "i")];
    for (arguments, variables, said) in [
        (&root[..], &[][..], " -webSocket -noReconnect"),
        (&["-name", "n 1"], &[("REMOTING_OPTS", "-noKeepAlive -noReconnectAfter 1d")], " -noReconnectAfter 1d -name"),
        (&[], &direct, "-direct h:1 -instanceIdentity i -name n 1 -secret @"),
    ] {
        let (seen, outcome) = started_with(&controller, arguments, variables);
        let mut lines = seen.lines();
        let words = lines.next().unwrap_or_else(|| panic!("{}", outcome.text()));
        assert!(words.contains(said) && words.contains("-name n 1"), "{words}");
        assert_eq!(lines.next(), Some(secret.as_str()), "{seen}");
        assert!(!lines.any(|line| line.contains(&secret)), "{seen}");
        assert!(!outcome.text().contains(&secret), "{}", outcome.text());
    }
}

#[test]
fn no_variable_with_a_secret_in_it_gets_to_the_builds() {
    let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
    controller.create_node("n 1", 1).expect("the node is created");
    let folder = folder();
    let file = folder.path().join("secret");
    fs::write(&file, "from-a-file\n").expect("a file");
    let in_file = format!("@{}", text(&file));
    let in_options = ("REMOTING_OPTS", "-secret in-the-options -webSocket");
    let variable = ("JENKINS_SECRET", "in-the-variable");
    for (arguments, variables, secret, warned) in [
        (&[][..], &[variable][..], "in-the-variable", None),
        (&[], &[in_options], "in-the-options", None),
        (&["-secret", &in_file], &[variable], "from-a-file", Some("that of -secret in the agent's command is used")),
        (&["-secret", "in-the-arguments"], &[], "in-the-arguments", Some("own arguments still show it")),
        (
            &[],
            &[in_options, variable],
            "in-the-options",
            Some("that of REMOTING_OPTS in the environment is used, and not"),
        ),
    ] {
        let (seen, outcome) = started_with(&controller, arguments, variables);
        let mut lines = seen.lines();
        let words = lines.next().unwrap_or_else(|| panic!("{}", outcome.text()));
        assert!(words.contains("-secret @") && !words.contains(secret), "{words}");
        assert_eq!(lines.next(), Some(secret), "{seen}");
        for name in ["in-the-", "from-a-file", "JENKINS_SECRET", "REMOTING_OPTS", "JENKINS_API_TOKEN"] {
            assert!(!lines.clone().any(|line| line.contains(name)), "{name}: {seen}");
        }
        let others = ["\"secret_on_disk\"", "\"secret_differs\"", "does not look like one"];
        let is_other = |line: &str| others.iter().any(|event| line.contains(event));
        let about = |line: &&String| line.contains("secret") && line.contains("WARN") && !is_other(line);
        let told: Vec<_> = outcome.log.iter().filter(about).collect();
        assert_eq!(told.len(), usize::from(warned.is_some()), "{told:?}");
        assert!(warned.is_none_or(|words| told[0].contains(words)), "{told:?}");
        assert!(!outcome.text().contains("in-the-"), "{}", outcome.text());
    }
}

#[test]
fn a_real_agent_needs_no_secret_and_no_jar() {
    if skip::unmet("docker_agent::a_real_agent_needs_no_secret_and_no_jar", skip::need_hudson()) {
        return;
    }
    let hudson = Hudson::start(HudsonOptions { security: true, ..HudsonOptions::default() }).expect("Hudson starts");
    hudson.create_node("a (real) agent", 1).expect("the node is created");
    let dir = folder();
    let plain = hudson.agent_command("x");
    let options: Vec<_> = plain.iter().skip(1).take_while(|word| *word != "-jar").map(String::as_str).collect();
    let (user, token) = hudson.credentials().expect("an account");
    let mut command = wrap();
    command.arg0("jenkins-agent").current_dir(dir.path());
    for (name, value) in [
        ("AGENT_WRAP_LOG_FORMAT", "json"),
        ("AGENT_WRAP_STATE_DIR", "."),
        ("JENKINS_URL", hudson.url().trim_end_matches('/')),
        ("JENKINS_AGENT_NAME", "a (real) agent"),
        ("JENKINS_AGENT_FILE", "slave.jar"),
        ("JENKINS_JAVA_BIN", "nice -n 1 java"),
        ("JENKINS_JAVA_OPTS", &options.join("  ")),
        ("JENKINS_USER_ID", &user),
        ("JENKINS_API_TOKEN", &token),
    ] {
        command.env(name, value);
    }
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    wrap.stop().expect_code(0);
    assert!(hudson.node("a (real) agent").expect("the controller answers").marked);
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
    write_script(&script, "#!/bin/sh\necho $0; env | sort; grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status\n");
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
    let secret = "0123456789abcdef".repeat(4);
    let Output { status, stderr, .. } = jenkins_agent(&secret).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(127), "{stderr}");
    assert!(stderr.contains("-secret") && !stderr.contains(&secret), "{stderr}");
}

#[test]
fn a_program_with_arguments_is_told_from_an_agents_arguments() {
    let said = |words: &[&str]| {
        let mut command = wrap();
        command.arg0("jenkins-agent").args(words).env("JENKINS_URL", "http://ci/").env("JENKINS_AGENT_NAME", "n");
        let Output { status, stderr, .. } = command.output().expect("it runs");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    for words in [["sh", "-c", "exit 3"], ["/bin/sh", "-l", "x"], ["env", "-jar", "agent.jar"]] {
        let (code, stderr) = said(&words);
        assert_eq!(code, Some(64), "{stderr}");
        assert!(stderr.contains("stands alone") && stderr.contains("--entrypoint"), "{stderr}");
    }
    for words in [["no-such-program", "--bar"], ["-webSocket", "hush"]] {
        let (code, stderr) = said(&words);
        assert_eq!(code, Some(78), "{stderr}");
        assert!(stderr.contains("one word that is no option") && !stderr.contains("hush"), "{stderr}");
    }
}

#[test]
fn options_for_java_that_are_torn_are_told() {
    let mut command = jenkins_agent("-noReconnect");
    command.env("JENKINS_URL", "http://ci/").env("JENKINS_AGENT_NAME", "n");
    command.env("JENKINS_JAVA_OPTS", "-Da='hush b' -Xmx1g");
    let Output { status, stderr, .. } = command.output().expect("it runs");
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("JENKINS_JAVA_OPTS") && stderr.contains("@FILE") && !stderr.contains("hush"), "{stderr}");
}
