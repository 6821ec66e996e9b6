//! What becomes of a command, by its words.

use std::ffi::OsString;
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::completion::*;
use crate::files::Inherited;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

const PORT: ControllerKind = ControllerKind::Jenkins { agent_port: true };

fn facts() -> CompletionFacts<'static> {
    CompletionFacts {
        controller: Some(("https://ci/x/", "a b")),
        standalone: false,
        kind: PORT,
        secret_file: Path::new("/run/s"),
        secret_given: false,
        jar_dir: Some(Path::new("/state/ci")),
        stdio: false,
        entry_point: None,
        exists: &|_| true,
        inherited: &|path| match path.to_str().unwrap() {
            "/dev/stdin" => Inherited::Once,
            "/dev/fd/63" => Inherited::Nothing,
            "/unfit" => Inherited::Unfit,
            _ => Inherited::Lasting,
        },
    }
}

fn planned(line: &str, facts: &CompletionFacts<'_>) -> (String, Completion) {
    let completion = plan(&words(line), facts);
    let joined: Vec<_> = completion.command.iter().map(|word| word.to_str().unwrap()).collect();
    (joined.join(" "), completion)
}

#[test]
fn a_command_without_connection_arguments_gets_them() {
    let web_socket = CompletionFacts { kind: ControllerKind::Jenkins { agent_port: false }, ..facts() };
    let secret_file = Path::new("/run/a%20b.jnlp");
    let hudson = CompletionFacts { kind: ControllerKind::Hudson, secret_file, ..facts() };
    let java = "java -jar agent.jar";
    for (line, facts, added) in [
        ("", facts(), "-url https://ci/x/ -name a b -secret @/run/s -noReconnect"),
        ("-workDir /w", facts(), "-url https://ci/x/ -name a b -secret @/run/s -noReconnect"),
        ("-noReconnect -secret @f", facts(), "-url https://ci/x/ -name a b"),
        ("-name=n", facts(), "-url https://ci/x/ -secret @/run/s -noReconnect"),
        ("", web_socket, "-url https://ci/x/ -name a b -secret @/run/s -webSocket -noReconnect"),
        ("-webSocket", web_socket, "-url https://ci/x/ -name a b -secret @/run/s -noReconnect"),
        ("-tunnel h:1", web_socket, "-url https://ci/x/ -name a b -secret @/run/s -noReconnect"),
        ("", hudson, "-jnlpUrl file:/run/a%2520b.jnlp"),
    ] {
        let line = format!("{java} {line}");
        let (planned, completion) = planned(&line, &facts);
        assert_eq!(planned, format!("{} {added}", line.trim_end()));
        assert!(completion.completed);
        let needed = matches!(completion.secret, NeededSecret::OfTheNode);
        assert_eq!(needed, added.contains("-secret"), "{line}");
        let jnlp = matches!(completion.secret, NeededSecret::JnlpOfTheNode);
        assert_eq!(jnlp, added.contains("-jnlpUrl"), "{line}");
    }
}

#[test]
fn without_a_controller_to_ask_the_settings_have_to_be_enough() {
    let standalone = CompletionFacts { standalone: true, jar_dir: None, ..facts() };
    let given = CompletionFacts { secret_given: true, ..standalone };
    let agent = "java -jar agent.jar";
    for (line, facts, added) in [
        ("", given, " -url https://ci/x/ -name a b -secret @/run/s -noReconnect"),
        (" -webSocket", given, " -url https://ci/x/ -name a b -secret @/run/s -noReconnect"),
        (" -secret @f", standalone, " -url https://ci/x/ -name a b -noReconnect"),
        ("", standalone, ""),
        (" -direct h:1 -secret @f -name n", given, ""),
        (" -direct h:1 -secret @f", standalone, " -name a b -noReconnect"),
        (" -url u", given, " -name a b -secret @/run/s -noReconnect"),
        (" -url u", standalone, ""),
    ] {
        let line = format!("{agent}{line}");
        assert_eq!(planned(&line, &facts).0, format!("{line}{added}"));
    }
    let absent = CompletionFacts { exists: &|_| false, jar_dir: Some(Path::new("/state/ci")), ..given };
    assert_eq!(planned(agent, &absent).1.jar, Jar::Missing("agent.jar".into()));
}

#[test]
fn a_local_jnlp_file_says_what_the_command_line_cannot() {
    assert_eq!(
        local_jnlp("https://ci/?a&b", "<n>", "00ff"),
        "<jnlp><application-desc><argument>00ff</argument><argument>&lt;n&gt;</argument><argument>-url</argument>\
         <argument>https://ci/?a&amp;b</argument><argument>-noreconnect</argument></application-desc></jnlp>\n"
    );
}

#[test]
fn the_name_of_a_node_is_one_argument() {
    let command = plan(&words("java -jar agent.jar"), &facts()).command;
    assert!(command.contains(&OsString::from("a b")));
}

#[test]
fn everything_else_stays_as_it_is() {
    let stdio = CompletionFacts { stdio: true, ..facts() };
    let standalone = CompletionFacts { controller: None, standalone: true, ..facts() };
    for (line, facts) in [
        ("java -jar agent.jar", stdio),
        ("java -jar agent.jar", standalone),
        ("java -jar agent.jar -url https://ci/ -name n -secret @f", facts()),
        ("java -jar agent.jar -direct h:1 -name n -secret @f", facts()),
        ("java -jar agent.jar -jnlpUrl https://ci/computer/n/jenkins-agent.jnlp -secret @f", facts()),
        ("java -jar agent.jar -connectTo h:1", facts()),
        ("java -jar agent.jar -url u @not-there", facts()),
        ("java -jar agent.jar -url u", stdio),
        ("java -jar agent.jar -url u", standalone),
        ("java -jar agent.jar -direct h:1", standalone),
        ("java -jar server.jar", facts()),
        ("./start.sh", facts()),
        ("java -jar", facts()),
        ("sh -c x -secret hush", facts()),
        ("ssh host java -jar agent.jar -url u -name n -secret @f", facts()),
        ("java -jar agent.jar -url u -name n -secret @f -newOption 3", facts()),
    ] {
        let (planned, completion) = planned(line, &facts);
        assert_eq!(planned, line);
        assert!(!completion.completed && completion.warnings.is_empty());
        assert!(matches!((completion.secret, completion.jar), (NeededSecret::None, Jar::Ready)));
    }
    assert!(plan(&[], &facts()).command.is_empty());
}

#[test]
fn a_secret_in_the_command_goes_into_the_file() {
    for (line, expected) in [
        ("java -jar agent.jar -url u -name n -secret hush", "java -jar agent.jar -url u -name n -secret @/run/s"),
        ("java -jar agent.jar -secret=hush -url u -name n", "java -jar agent.jar -secret @/run/s -url u -name n"),
        ("java -jar agent.jar -jnlpUrl u hush n", "java -jar agent.jar -jnlpUrl u @/run/s n"),
        ("jenkins-agent -url u hush n", "jenkins-agent -url u @/run/s n"),
        (
            "java -jar agent.jar -secret hush",
            "java -jar agent.jar -secret @/run/s -url https://ci/x/ -name a b -noReconnect",
        ),
    ] {
        let (planned, completion) = planned(line, &facts());
        assert_eq!(planned, expected);
        let NeededSecret::Given(secret) = &completion.secret else { panic!("{line}") };
        assert_eq!(secret.expose_secret(), "hush");
        assert_eq!(completion.warnings.len(), 1);
        assert!(!format!("{completion:?}").contains("hush"));
    }
}

#[test]
fn a_secret_that_comes_through_a_pipe_goes_into_the_file() {
    let stdio = CompletionFacts { stdio: true, ..facts() };
    for (line, facts, expected, pipe) in [
        ("-url u -name n -secret @/dev/fd/63", facts(), "-url u -name n -secret @/run/s", "/dev/fd/63"),
        ("-jnlpUrl u @/dev/stdin n", facts(), "-jnlpUrl u @/run/s n", "/dev/stdin"),
        ("-secret @/dev/stdin", facts(), "-secret @/run/s -url https://ci/x/ -name a b -noReconnect", "/dev/stdin"),
        ("-secret @/dev/fd/63", stdio, "-secret @/run/s", "/dev/fd/63"),
    ] {
        let (planned, completion) = planned(&format!("java -jar agent.jar {line}"), &facts);
        assert_eq!(planned, format!("java -jar agent.jar {expected}"));
        assert!(matches!(&completion.secret, NeededSecret::Piped(path) if path == Path::new(pipe)), "{line}");
        assert_eq!(completion.warnings, Vec::<String>::new(), "{line}");
    }
}

#[test]
fn a_pipe_that_the_agent_reads_by_itself_is_warned_about() {
    let stdio = CompletionFacts { stdio: true, ..facts() };
    for (line, facts, said) in [
        ("java -jar agent.jar -url u -name n -secret @f @/dev/stdin", facts(), "gives its contents once"),
        ("java @/dev/fd/63 -jar agent.jar -url u -name n -secret @f", facts(), "finds no such file"),
        ("java -jar agent.jar -secret @/dev/stdin", stdio, "gives its contents once"),
        ("ssh host java -jar agent.jar -url u -name n -secret @/dev/fd/63", facts(), "finds no such file"),
    ] {
        let (planned, completion) = planned(line, &facts);
        assert_eq!(planned, line);
        assert!(matches!(completion.secret, NeededSecret::None), "{line}");
        assert!(matches!(completion.warnings.as_slice(), [warning] if warning.contains(said)), "{completion:?}");
    }
    assert_eq!(planned("sh -c x @/dev/fd/63", &facts()).1.warnings, Vec::<String>::new());
}

/// Where a command says a part of how to connect, the rest is the same whoever knows the secret.
#[test]
fn a_command_that_says_a_part_of_how_to_connect_is_given_the_rest() {
    let web_socket = CompletionFacts { kind: ControllerKind::Jenkins { agent_port: false }, ..facts() };
    let hudson = CompletionFacts { kind: ControllerKind::Hudson, ..facts() };
    let secret = "-secret @/run/s -noReconnect";
    let by_web_socket = "-secret @/run/s -webSocket -noReconnect";
    let jnlp = "-jnlpUrl https://ci/computer/n/x.jnlp";
    for (said, facts, added) in [
        ("-url u -name n", facts(), secret),
        ("-url u", facts(), "-name a b -secret @/run/s -noReconnect"),
        ("-url u -secret @f", facts(), "-name a b -noReconnect"),
        ("-url u -secret= -name n", facts(), secret),
        ("-url u -name n", web_socket, by_web_socket),
        ("-url u -name n -webSocket", web_socket, secret),
        ("-url u -name n -tunnel h:1", web_socket, secret),
        ("-url u -name n", hudson, secret),
        ("-direct h:1 -instanceIdentity i", facts(), "-name a b -secret @/run/s -noReconnect"),
        ("-direct h:1 -name n -instanceIdentity i", web_socket, secret),
        ("-noReconnectAfter 1d -url u -name n", facts(), "-secret @/run/s"),
        ("-noreconnect -url u -name n", facts(), "-secret @/run/s"),
        (jnlp, facts(), secret),
        (jnlp, web_socket, secret),
    ] {
        let line = format!("java -jar agent.jar {said}");
        for secret_given in [false, true] {
            let (with, completion) = planned(&line, &CompletionFacts { secret_given, ..facts });
            assert_eq!(with, format!("{line} {added}"));
            assert!(completion.completed && completion.warnings.is_empty(), "{line}: {:?}", completion.warnings);
            let needed = matches!(completion.secret, NeededSecret::OfTheNode);
            assert_eq!(needed, added.contains("-secret"), "{line}");
        }
    }
    assert_eq!(
        planned("java -jar agent.jar @/run/s n", &facts()).0,
        "java -jar agent.jar @/run/s n -url https://ci/x/ -noReconnect"
    );
}

#[test]
fn a_secret_is_not_added_where_it_has_no_use() {
    let hudson = CompletionFacts { kind: ControllerKind::Hudson, ..facts() };
    let jnlp = "-jnlpUrl https://ci/x.jnlp";
    for (line, facts) in [
        ("agent.jar -url u -name n -secret @f".to_owned(), facts()),
        ("agent.jar -url u s n".to_owned(), facts()),
        ("agent.jar -jnlpUrl file:/x.jnlp".to_owned(), facts()),
        (format!("agent.jar {jnlp} -jnlpCredentials me:x"), facts()),
        (format!("agent.jar {jnlp} -credentials me:x"), facts()),
        (format!("agent.jar {jnlp} -secret @f"), facts()),
        ("agent.jar -tcp f".to_owned(), facts()),
        (format!("lib/slave.jar {jnlp}"), facts()),
        (format!("agent.jar {jnlp}"), hudson),
    ] {
        for secret_given in [false, true] {
            let line = format!("java -jar {line}");
            let (_, completion) = planned(&line, &CompletionFacts { secret_given, ..facts });
            assert!(!completion.completed, "{line}");
            assert!(!matches!(completion.secret, NeededSecret::OfTheNode), "{line}");
        }
    }
}

#[test]
fn what_agent_jar_takes_no_web_socket_beside_is_told() {
    let web_socket = CompletionFacts { kind: ControllerKind::Jenkins { agent_port: false }, ..facts() };
    for option in ["-credentials me:x", "-noKeepAlive"] {
        let (line, completion) = planned(&format!("java -jar agent.jar {option}"), &web_socket);
        assert!(!line.contains("-webSocket"), "{line}");
        assert!(matches!(&completion.warnings[..], [warning] if warning.contains("no port")), "{completion:?}");
    }
}

#[test]
fn variables_with_secrets_are_kept_from_an_agent_that_is_java_itself() {
    for (line, withheld) in [
        ("java -jar agent.jar", true),
        ("java -jar agent.jar -url u -name n -secret @f", true),
        ("nice java -cp agent.jar hudson.remoting.jnlp.Main -url u s n", true),
        ("jenkins-agent -url u hush n", true),
        ("jenkins-agent -url u -name n", false),
        ("./start.sh", false),
        ("ssh host java -jar agent.jar", false),
    ] {
        let names: &[&str] = if withheld { &["JENKINS_SECRET"] } else { &[] };
        assert_eq!(planned(line, &facts()).1.withheld, names, "{line}");
        let entry = CompletionFacts { entry_point: Some(0), ..facts() };
        assert_eq!(planned(line, &entry).1.withheld, ["JENKINS_SECRET", "REMOTING_OPTS"], "{line}");
    }
}

#[test]
fn the_jar_of_the_entry_point_is_an_agents_whatever_its_name_is() {
    let line = "java -jar /opt/our-own.jar";
    assert_eq!(planned(line, &facts()).0, line);
    let (line, completion) = planned(line, &CompletionFacts { entry_point: Some(0), ..facts() });
    assert!(completion.completed && line.contains("-secret @/run/s"), "{line}");
}

#[test]
fn a_secret_out_of_a_variable_is_not_in_our_arguments() {
    let line = "java -jar agent.jar -url u -name n -secret hush -webSocket";
    for (ours, warned) in [(None, true), (Some(2), true), (Some(9), true), (Some(1), false), (Some(0), false)] {
        let (planned, completion) = planned(line, &CompletionFacts { entry_point: ours, ..facts() });
        assert_eq!(planned, line.replace("hush", "@/run/s"));
        assert_eq!(completion.warnings.len(), usize::from(warned), "{ours:?}");
    }
}

#[test]
fn a_file_that_the_agent_cannot_read_is_found() {
    let stdio = CompletionFacts { stdio: true, inherited: &|_| Inherited::Unfit, ..facts() };
    let agent = "java -jar agent.jar";
    for (line, facts, unfit) in [
        (format!("{agent} -url u -name n -secret @/unfit"), facts(), true),
        (format!("{agent} @/fit @/unfit"), facts(), true),
        ("java -cp agent.jar hudson.remoting.jnlp.Main @/unfit".to_owned(), facts(), true),
        ("./start.sh -url u -name n -secret @/unfit".to_owned(), facts(), true),
        ("./start.sh -url u -name n -x @/unfit".to_owned(), facts(), false),
        ("java @/unfit -jar agent.jar -secret @/fit".to_owned(), facts(), false),
        (format!("ssh host {agent} -secret @/unfit"), facts(), false),
        (format!("{agent} -secret @/dev/stdin"), stdio, false),
    ] {
        let completion = planned(&line, &facts).1;
        assert_eq!(completion.unfit, unfit.then(|| "/unfit".into()), "{line}");
        assert!(matches!(completion.secret, NeededSecret::None | NeededSecret::OfTheNode), "{line}");
    }
}

#[test]
fn of_several_secrets_none_stays_in_sight() {
    let agent = "java -jar agent.jar -url u -name n";
    for (secrets, left) in [
        ("-secret abc -secret def", "-secret @/run/s"),
        ("-secret=abc -secret def -noReconnect", "-secret @/run/s -noReconnect"),
        ("-secret abc -webSocket -secret=def", "-webSocket -secret @/run/s"),
        ("-secret abc -secret @f", "-secret @f"),
        ("-secret abc -secret=def -secret @/dev/stdin", "-secret @/run/s"),
        ("-secret @f -secret abc", "-secret @f -secret @/run/s"),
    ] {
        let (planned, completion) = planned(&format!("{agent} {secrets}"), &facts());
        assert_eq!(planned, format!("{agent} {left}"), "{secrets}");
        assert_eq!(completion.warnings.len(), 1, "{secrets}: {:?}", completion.warnings);
        match completion.secret {
            NeededSecret::Given(secret) => {
                assert_eq!(secret.expose_secret(), if secrets.contains("def") { "def" } else { "abc" });
            }
            NeededSecret::Piped(_) | NeededSecret::None => assert!(secrets.contains('@')),
            other => panic!("{other:?}"),
        }
    }
    let warned = planned(&format!("ssh host {agent} -secret abc -secret @f"), &facts()).1.warnings;
    assert!(warned[0].contains("everybody can read it"), "{warned:?}");
}

#[test]
fn a_command_that_may_run_the_agent_elsewhere_stays_as_it_is_and_that_is_said() {
    let absent = CompletionFacts { exists: &|_| false, secret_given: true, ..facts() };
    let standalone = CompletionFacts { controller: None, standalone: true, secret_given: false, ..absent };
    let agent = "java -jar /opt/agent.jar";
    for (line, facts, said) in [
        (format!("ssh host {agent}"), absent, &["how to connect"][..]),
        (format!("ssh host {agent}"), standalone, &[]),
        (format!("env -C /opt {agent} -url u -name n -secret hush"), absent, &["env", "everybody can read it"]),
        (format!("ssh host {agent} -url u -name n"), absent, &["secret of the settings"]),
        (format!("ssh host {agent} -secret=hush"), absent, &["how to connect", "everybody"]),
        ("nice docker run x -url u -name n -secret hush".to_owned(), absent, &["docker", "everybody"]),
        (format!("ssh host {agent} -url u -name n -secret @f"), absent, &[]),
    ] {
        let (planned, completion) = planned(&line, &facts);
        assert_eq!(planned, line);
        assert!(matches!((completion.secret, completion.jar), (NeededSecret::None, Jar::Ready)), "{line}");
        assert_eq!(completion.warnings.len(), usize::from(!said.is_empty()), "{line}: {:?}", completion.warnings);
        let warning = completion.warnings.join("");
        assert!(said.iter().all(|words| warning.contains(words)) && !warning.contains("hush"), "{line}: {warning}");
    }
}

#[test]
fn what_a_script_or_a_class_starts_stays_as_it_is_and_that_is_said() {
    let given = CompletionFacts { secret_given: true, ..facts() };
    let stdio = CompletionFacts { stdio: true, ..facts() };
    let class = ["java", "-cp", "agent.jar", "hudson.remoting.jnlp.Main"];
    let connected = [&class[..], &["-url", "u", "s", "n"]].concat();
    let agent = "exec java -jar agent.jar";
    let said = |line: &str| format!("{agent} -url u -name n {line}");
    for (command, facts, words) in [
        (
            &["sh", "-c", &format!("cd /w; {agent}")][..],
            facts(),
            Some("a script in it starts the agent: it does not say"),
        ),
        (&["ssh", "h", &said("")], given, Some("secret of the settings")),
        (&["sh", "-c", &said("-secret hush")], facts(), Some("everybody can read it")),
        (&["sh", "-c", &said("-secret @f")], given, None),
        (&["sh", "-c", "exec java -jar server.jar"], facts(), None),
        (&["sh", "-c", agent], stdio, None),
        (&class, facts(), Some("names the agent's class")),
        (&class, stdio, None),
        (&connected, facts(), None),
    ] {
        let command: Vec<_> = command.iter().map(OsString::from).collect();
        let completion = plan(&command, &facts);
        let warned: Vec<_> = completion.warnings.iter().filter(|said| said.contains("left as it is")).collect();
        assert_eq!(warned.len(), usize::from(words.is_some()), "{command:?}: {warned:?}");
        assert!(words.is_none_or(|words| warned[0].contains(words)), "{command:?}: {warned:?}");
    }
}

#[test]
fn a_relative_jar_that_is_not_there_is_fetched() {
    let absent = CompletionFacts { exists: &|_| false, ..facts() };
    let (line, completion) = planned("java -jar lib/agent.jar -url u -name n -secret @f", &absent);
    assert_eq!(line, "java -jar /state/ci/agent.jar -url u -name n -secret @f");
    assert_eq!(completion.jar, Jar::Fetch("/state/ci/agent.jar".into()));
    for (line, facts) in [
        ("java -jar /opt/agent.jar", absent),
        ("java -jar agent.jar", CompletionFacts { jar_dir: None, ..absent }),
        ("java -jar agent.jar", CompletionFacts { controller: None, standalone: true, ..absent }),
    ] {
        let (planned, completion) = planned(line, &facts);
        assert!(planned.starts_with(line));
        assert!(matches!(completion.jar, Jar::Missing(_)), "{line}");
    }
    assert_eq!(plan(&words("java -jar server.jar"), &absent).jar, Jar::Ready);
}

#[test]
fn names_are_encoded_as_one_segment() {
    assert_eq!(percent_encode("a b+c/ü~"), "a%20b%2Bc%2F%C3%BC~");
}
