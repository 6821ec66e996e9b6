//! What the settings say of how the agent connects, where nobody can be asked for the rest.

use super::load::{Loaded, load};
use super::tests::{AGENT, COMPLETE, World};
use crate::cli::Cli;
use crate::exit::ExitCode;

fn standalone(options: &[&'static str], command: &str) -> World {
    World::new(&[&["--standalone"], options].concat(), command)
}

/// As the entry point of docker-agent's images, all of whose arguments are the agent's.
fn as_entry_point(world: &World) -> Result<Loaded, (String, ExitCode)> {
    let cli = Cli { entry_point: Some(0), ..world.cli() };
    load(&cli, &world.surroundings).map_err(|error| (world.unplaced(&error.to_string()), error.exit_code()))
}

#[test]
fn half_a_connection_is_warned_about() {
    let warned =
        |options: &[&'static str], command: &str| standalone(options, command).load().unwrap().warnings.join("");
    insta::assert_snapshot!(warned(&COMPLETE, AGENT), @"the agent's command does not say how to connect, and nothing is added: with --standalone the controller is not asked, and of url, node and secret-file there is url, node, but not secret-file");
    assert!(warned(&["--secret-file", "/s"], AGENT).ends_with("there is secret-file, but not url, node"));
    assert!(warned(&["--secret-file", "/s"], "java -jar agent.jar -name a").ends_with("not url"));
    insta::assert_snapshot!(warned(&[], "java -jar agent.jar -jnlpUrl http://ci/computer/a/jenkins-agent.jnlp"), @"the agent's command has -jnlpUrl, but the node's secret is not given, and without a controller to ask (--standalone) nobody else knows it. Looked for in: -secret of the agent's command; --secret-file; AGENT_WRAP_SECRET_FILE; AGENT_WRAP_SECRET; JENKINS_SECRET; secret-file in the settings file; agent-wrap.secret in $CREDENTIALS_DIRECTORY. Give it in one of these places, or let the controller be asked for it");
    let all = [&COMPLETE[..], &["--secret-file", "/s"]].concat();
    for (options, command) in [
        (&all[..], AGENT),
        (&[], AGENT),
        (&COMPLETE, "java -jar agent.jar -secret @/s"),
        (&["--url", "https://ci/"], "java -jar agent.jar @/s a"),
        (&COMPLETE, "java -jar agent.jar -direct ci:1 -instanceIdentity i -secret @/s"),
        (&["--secret-file", "/s"], "java -jar agent.jar -url https://ci/ -name a"),
        (&[], "java -jar agent.jar -url https://ci/ @/not-there"),
        (&[], "java -jar agent.jar -jnlpUrl file:/a.jnlp"),
        (&[], "java -jar agent.jar -connectTo ci:1"),
        (&[&COMPLETE[..], &["--stdio"]].concat(), AGENT),
        (&["--stdio"], "java -jar agent.jar -url https://ci/"),
        (&COMPLETE, "ssh host java -jar agent.jar -url https://ci/"),
        (&COMPLETE, "./start.sh -url https://ci/ -name a"),
    ] {
        assert_eq!(warned(options, command), "", "{options:?} {command}");
    }
}

#[test]
fn an_agent_that_surely_cannot_connect_is_not_started() {
    let (words, code) = standalone(&[], "java -jar agent.jar -url https://ci/ -name a").error();
    assert_eq!(code, ExitCode::Configuration);
    insta::assert_snapshot!(words, @"the agent's command has -url, but the node's secret is not given, and without a controller to ask (--standalone) nobody else knows it. Looked for in: -secret of the agent's command; --secret-file; AGENT_WRAP_SECRET_FILE; AGENT_WRAP_SECRET; JENKINS_SECRET; secret-file in the settings file; agent-wrap.secret in $CREDENTIALS_DIRECTORY. Give it in one of these places, or let the controller be asked for it");
    let (words, _) = standalone(&["--node", "a"], "java -jar agent.jar -direct ci:1 -secret @/s").error();
    insta::assert_snapshot!(words, @"the agent's command has -direct, but no -name, without which the agent cannot connect: write it there");
    let (words, _) = standalone(&["--secret-file", "/s"], "java -jar agent.jar -url=https://ci/").error();
    assert!(words.contains("no -name") && !words.contains("secret is not given"), "{words}");
    standalone(&COMPLETE, "java -jar agent.jar -url https://ci/ -secret @/s").settings();
}

#[test]
fn the_entry_point_is_told_which_variables_are_missing() {
    let world = World::new(&[], AGENT).variable("AGENT_WRAP_STANDALONE", "true").variable("JENKINS_URL", "https://ci/");
    let (words, code) = as_entry_point(&world).unwrap_err();
    assert_eq!(code, ExitCode::Configuration);
    insta::assert_snapshot!(words, @"the agent's command does not say how to connect, and nothing is added: with AGENT_WRAP_STANDALONE=true the controller is not asked, and of url, node and secret-file there is url, but not node, secret-file: set AGENT_WRAP_NODE or JENKINS_NAME or JENKINS_AGENT_NAME, and AGENT_WRAP_SECRET_FILE or AGENT_WRAP_SECRET or JENKINS_SECRET");
    let complete = world.variable("JENKINS_AGENT_NAME", "a").variable("JENKINS_SECRET", "s");
    assert_eq!(as_entry_point(&complete).unwrap().warnings, Vec::<String>::new());
    let world = World::new(&[], "java -jar agent.jar -url https://ci/ -name a").variable("AGENT_WRAP_STANDALONE", "1");
    let (words, _) = as_entry_point(&world).unwrap_err();
    insta::assert_snapshot!(words, @"the agent's command has -url, but the node's secret is not given, and without a controller to ask (AGENT_WRAP_STANDALONE=true) nobody else knows it. Looked for in: -secret of the agent's command; AGENT_WRAP_SECRET_FILE; AGENT_WRAP_SECRET; JENKINS_SECRET; secret-file in the settings file; agent-wrap.secret in $CREDENTIALS_DIRECTORY. Give it in one of these places, or let the controller be asked for it");
}

#[test]
fn two_secrets_that_differ_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (abc, def) = (path("1", "abc\n"), path("2", "def"));
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = fifo.to_str().unwrap().to_owned();
    let (in_command, variable) = ("-secret in the agent's command", "JENKINS_SECRET in the environment");
    for (said, variables, used, left) in [
        ("-secret abc", &[("JENKINS_SECRET", "def")][..], in_command, variable),
        ("-secret abc", &[("JENKINS_SECRET", &format!("@{def}"))], in_command, variable),
        (&format!("-secret @{abc}"), &[("JENKINS_SECRET", "def")], in_command, variable),
        ("abc n", &[("JENKINS_SECRET", "def")], in_command, variable),
        (
            "",
            &[("JENKINS_SECRET", "abc"), ("AGENT_WRAP_SECRET", "def")],
            "AGENT_WRAP_SECRET in the environment",
            variable,
        ),
        ("", &[("JENKINS_SECRET", "abc"), ("AGENT_WRAP_SECRET_FILE", &def)], "AGENT_WRAP_SECRET_FILE", variable),
        ("-secret abc", &[("JENKINS_SECRET", "abc")], "", ""),
        (&format!("-secret @{abc}"), &[("JENKINS_SECRET", "abc")], "", ""),
        (&format!("-secret @{fifo}"), &[("JENKINS_SECRET", "abc")], "", ""),
        ("-secret abc", &[("AGENT_WRAP_SECRET_FILE", "/not/there")], "", ""),
        ("", &[("JENKINS_SECRET", "abc")], "", ""),
        ("-secret abc", &[], "", ""),
    ] {
        let world = World::new(&["--url", "https://ci/", "--node", "n"], &format!("{AGENT} {said}"));
        let world = variables.iter().fold(world, |world, (name, value)| world.variable(name, value));
        let warned = world.load().unwrap().warnings.join("");
        assert_eq!(warned.is_empty(), used.is_empty(), "{said} {variables:?}: {warned}");
        let words = warned.split_once("is used, and not that of ").unwrap_or_default();
        assert!(words.0.contains(used) && words.1.contains(left), "{said} {variables:?}: {warned}");
        assert!(!warned.contains("abc") && !warned.contains("def"), "{warned}");
    }
    let file = format!("url = 'https://ci/'\nnode = 'n'\nsecret-file = '{def}'\n");
    let world = World::new(&["--secret-file", &abc], AGENT).file(&file);
    let warned = world.load().unwrap().warnings.join("");
    assert!(warned.contains("that of --secret-file is used") && warned.contains("agent-wrap.toml:3"), "{warned}");
}

#[test]
fn a_word_that_the_agent_cannot_take_is_an_error() {
    let fault = |said: &str| {
        let command = format!("java -Xmx1g -jar agent.jar {said}");
        World::new(&["--url", "https://ci/", "--node", "n"], &command).load().err().map(|error| error.to_string())
    };
    for stray in ["hush", "-webSocket hush", "-url https://ci/ hush", "-secret @/s hush -name n"] {
        let words = fault(stray).unwrap_or_else(|| panic!("{stray}"));
        assert!(words.contains("one word that is no option") && !words.contains("hush"), "{words}");
    }
    for many in ["hush hush n", "-noReconnect hush my node", "-url https://ci/ a b c d"] {
        let words = fault(many).unwrap_or_else(|| panic!("{many}"));
        assert!(words.contains("words that are no options") && !words.contains("hush"), "{words}");
    }
    for last in ["-url", "-noReconnect -workDir", "-url https://ci/ -secret"] {
        assert!(fault(last).unwrap_or_else(|| panic!("{last}")).contains("without a value"), "{last}");
    }
    for empty in ["-url=", "-jnlpUrl= -secret @/s"] {
        assert!(fault(empty).unwrap_or_else(|| panic!("{empty}")).contains("empty value"), "{empty}");
    }
    let ours = fault("-webSocket --drain 5s").unwrap();
    assert!(ours.contains("--drain") && ours.contains("before the command"), "{ours}");
    for fine in [
        "",
        "hush n",
        "-newOption 3",
        "-url https://ci/ -newOption 3",
        "@/args",
        "-url https://ci/ @/args",
        "-newOption a b c",
    ] {
        assert_eq!(fault(fine), None, "{fine}");
    }
}

#[test]
fn an_empty_word_is_that_of_a_variable_that_is_not_set() {
    let mut world = World::new(&["--url", "https://ci/", "--node", "n"], AGENT);
    for empty in [&["", "n"][..], &["hush", ""], &[""]] {
        world.command.truncate(3);
        world.command.extend(empty.iter().map(Into::into));
        assert!(world.load().unwrap_err().to_string().contains("is empty"), "{empty:?}");
    }
}

#[test]
fn an_empty_file_is_no_secret() {
    for options in [&["--url", "https://ci/", "--node", "n"][..], &["--standalone"]] {
        let world = World::new(options, "java -jar agent.jar -secret @/dev/null -name n -url https://ci/");
        let words = world.load().unwrap_err().to_string();
        assert_eq!(words, "the file that -secret names in the agent's command is empty; it must hold the secret");
    }
}

#[test]
fn the_entry_point_knows_no_options_of_ours() {
    let world = World::new(&["--url", "https://ci/", "--node", "n"], "java -jar agent.jar --drain=5s");
    let (words, _) = as_entry_point(&world).unwrap_err();
    assert!(words.contains("set AGENT_WRAP_DRAIN"), "{words}");
    for unknown in ["--", "--print-config", "--foo=x"] {
        let world = World::new(&["--url", "https://ci/", "--node", "n"], &format!("{AGENT} {unknown}"));
        assert!(as_entry_point(&world).is_err_and(|(words, _)| words.contains("leave it out")), "{unknown}");
    }
}

#[test]
fn the_jar_of_the_entry_point_may_have_any_name() {
    let world = World::new(&["--url", "https://ci/"], "java -jar /opt/our-own.jar -name n");
    assert_eq!(as_entry_point(&world).unwrap().settings.controller.unwrap().node, "n");
    assert!(world.load().is_err());
}

#[test]
fn what_agent_jar_does_not_take_together_is_told() {
    let warned = |said: &str| {
        let command = format!("{AGENT} {said}");
        World::new(&["--url", "https://ci/", "--node", "n"], &command).load().unwrap().warnings.join("")
    };
    for (said, words) in [
        ("-webSocket -tunnel h:1", "does not take -webSocket beside -tunnel"),
        ("-webSocket -directConnection h:1 -instanceIdentity i", "does not take -webSocket beside -direct"),
        ("-noreconnect -noReconnectAfter 1d", "does not take -noReconnectAfter beside -noReconnect"),
        ("-direct h:1", "takes -direct only beside -instanceIdentity"),
        ("-internalDir x", "only beside -workDir"),
    ] {
        assert!(warned(said).contains(words), "{said}: {}", warned(said));
    }
    for fine in
        ["-webSocket -url https://ci/", "-direct h:1 -instanceIdentity i -protocols a b", "-workDir /w -internalDir x"]
    {
        assert_eq!(warned(fine), "", "{fine}");
    }
}

#[test]
fn an_option_that_agent_jar_is_not_known_to_have_is_told() {
    let warned = |said: &str| {
        let command = format!("{AGENT} {said}");
        World::new(&["--url", "https://ci/", "--node", "n"], &command).load().unwrap().warnings.join("")
    };
    for (said, words) in [
        ("-workdir /x", "has \"-workdir\", which agent.jar is not known to have, and one that"),
        ("-workdir /x", "is -workDir meant?"),
        ("-websocket", "is -webSocket meant?"),
        ("-noReconect", "is -noReconnect meant?"),
        ("-somethingOfItsOwn=3", "is it misspelt?"),
    ] {
        assert!(warned(said).contains(words), "{said}: {}", warned(said));
    }
    for fine in ["-noKeepAlive", "-webSocketHeader a=b -loggingConfig /l", "-version", "-ping -text"] {
        assert_eq!(warned(fine), "", "{fine}");
    }
}

#[test]
fn a_secret_among_the_entry_points_arguments_that_is_none_is_told() {
    let right = "0123456789abcdef".repeat(4);
    let warned = |said: &str| {
        let world = World::new(&["--url", "https://ci/", "--node", "n"], &format!("{AGENT} {said}"));
        let warned = as_entry_point(&world).unwrap().warnings.join("");
        assert!(!warned.contains("1234abcd"), "{warned}");
        warned
    };
    for wrong in
        ["-url https://ci/ 1234abcd n", "-secret 1234abcd -name n", "-secret=1234abcd", &right.replace('7', "x")]
    {
        let said = if wrong.contains(' ') || wrong.contains('=') { wrong.to_owned() } else { format!("{wrong} n") };
        assert!(warned(&said).contains("64 hexadecimal digits"), "{said}: {}", warned(&said));
    }
    for unexpanded in ["-secret $(JENKINS_SECRET)", "-url https://ci/ $(JENKINS_SECRET) n", "-secret ${SECRET}"] {
        assert!(warned(unexpanded).contains("nobody has expanded"), "{unexpanded}");
    }
    for fine in
        [format!("{right} n"), format!("-secret {right}"), format!("-secret {}", &right[..32]), "-secret @/s".into()]
    {
        assert_eq!(warned(&fine), "", "{fine}");
    }
}
