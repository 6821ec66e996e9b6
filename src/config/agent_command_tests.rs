//! What an agent's command line says.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::agent_command::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn read(line: &str) -> AgentCommand {
    AgentCommand::read(&words(line), &|path| {
        (path == Path::new("args")).then(|| words("-url https://filed/ -name filed"))
    })
}

#[test]
fn urls_and_names_are_found_where_the_agent_would_find_them() {
    let jnlp = "java -jar agent.jar -jnlpUrl";
    for (line, url, node) in [
        ("java -jar agent.jar -url https://ci/ -name a", Some("https://ci/"), Some("a")),
        ("java -Xmx1g -jar /opt/agent.jar -url=https://ci/x -name=a", Some("https://ci/x"), Some("a")),
        ("nice -n 5 java -jar agent.jar -url https://ci/ -name a", Some("https://ci/"), Some("a")),
        ("java -jar agent.jar -name a -name b -secret x", None, Some("b")),
        ("java -jar agent.jar @args", Some("https://filed/"), Some("filed")),
        ("java -jar agent.jar @missing -name a", None, Some("a")),
        ("java -jar agent.jar -secret -name -name a", None, Some("a")),
        ("java -jar agent.jar -webSocket -url u -protocols JNLP4 JNLP3 -name a", Some("u"), Some("a")),
        ("java -cp agent.jar hudson.remoting.jnlp.Main -headless -url u SECRET a", Some("u"), Some("a")),
        ("/usr/local/bin/jenkins-agent -url u SECRET a", Some("u"), Some("a")),
        ("java -jar agent.jar", None, None),
        ("java -name x -jar agent.jar", None, None),
    ] {
        let command = read(line);
        assert!(command.is_agent, "{line}");
        assert_eq!(command.urls().first().map(|(url, _)| url.as_str()), url, "{line}");
        assert_eq!(command.node().as_ref().map(|(name, _)| name.as_str()), node, "{line}");
    }
    for (url, root, node) in [
        ("https://ci/computer/a/jenkins-agent.jnlp", "https://ci/", "a"),
        ("http://ci:8080/hudson/computer/a%20b%2Bc+d/slave-agent.jnlp", "http://ci:8080/hudson/", "a b+c+d"),
        ("https://ci/computer/Z%C3%BCrich/jenkins-agent.jnlp?x=y", "https://ci/", "Zürich"),
        ("https://ci/computer/computer/jenkins-agent.jnlp", "https://ci/", "computer"),
    ] {
        let command = read(&format!("{jnlp} {url}"));
        assert_eq!(command.urls(), [(root.to_owned(), "-jnlpUrl")]);
        assert_eq!(command.node(), Some((node.to_owned(), "-jnlpUrl")));
    }
    for url in [
        "https://ci/jenkins-agent.jnlp",
        "https://ci/computer/a/other.jnlp",
        "https://ci/xcomputer/a/slave-agent.jnlp",
        "x",
    ] {
        assert_eq!(read(&format!("{jnlp} {url}")).urls(), [], "{url}");
    }
}

#[test]
fn other_programs_options_mean_nothing_to_us() {
    assert!(!read("find / -name core").is_agent);
    assert!(!read("java -jar server.jar -name x").is_agent);
    assert!(read("./start.sh -url https://ci/ -name a").is_agent);
    assert!(!AgentCommand::read(&[], &|_| None).is_agent);
    assert!(!read("java -jar").is_agent);
}

#[test]
fn what_may_run_the_agent_elsewhere() {
    for line in [
        "java -jar agent.jar",
        "java -Xmx1g -cp x --add-opens a=b @opts -jar /opt/agent.jar -url u",
        "nice -n 5 /jdk/bin/java -jar agent.jar",
        "java -cp agent.jar hudson.remoting.jnlp.Main -url u",
        "env A=b jenkins-agent s n",
        "./start.sh -url u -name n",
        "nice ./start.sh -webSocket -url=u -name=n",
        "./start.sh @args -url u -name n",
    ] {
        assert_eq!(read(line).elsewhere, None, "{line}");
    }
    for (line, at) in [
        ("ssh host java -jar agent.jar", 0),
        ("nice -n 5 ssh -t host java -jar agent.jar", 3),
        ("env -C /x java -jar agent.jar", 0),
        ("sudo -u ci java -cp agent.jar hudson.remoting.jnlp.Main", 0),
        ("docker run -i image -url u -name n", 0),
        ("docker --context c run image -url u -name n", 0),
        ("ssh host jenkins-agent -url u -name n", 0),
    ] {
        assert_eq!(read(line).elsewhere, Some(at), "{line}");
        assert!(read(line).is_agent, "{line}");
    }
}

#[test]
fn connections() {
    for line in ["-url u", "-direct h:1", "-jnlpUrl u", "secret name", "-connectTo h:1", "-tcp f", "@args"] {
        assert!(read(&format!("java -jar agent.jar {line}")).has_connection(), "{line}");
    }
    for line in ["", "-webSocket", "-workDir /w", "-name a -secret s", "-cert c -noReconnect"] {
        assert!(!read(&format!("java -jar agent.jar {line}")).has_connection(), "{line}");
    }
}

#[test]
fn names_of_agents_jars() {
    for name in
        ["agent.jar", "/opt/slave.jar", "remoting-3206.v1.jar", "Agent.JAR", "jenkins-agent.jar", "agent_4.13.jar"]
    {
        assert!(is_agent_jar(OsStr::new(name)), "{name}");
    }
    for name in ["agent", "agents.jar", "my-agent.jar", "agent-smith.jar", "swarm-client.jar", ".jar", ""] {
        assert!(!is_agent_jar(OsStr::new(name)), "{name}");
    }
}

#[test]
fn percent_signs_that_encode_nothing_stay() {
    assert_eq!(percent_decode("100%").as_deref(), Some("100%"));
    assert_eq!(percent_decode("%zz%41").as_deref(), Some("%zzA"));
    assert_eq!(percent_decode("%+1é").as_deref(), Some("%+1é"));
    assert_eq!(percent_decode("%ff"), None);
}
