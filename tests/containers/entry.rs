//! As the entry point of an image: its arguments and variables, and what an image that has nothing else makes of it.

use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;

use agent_wrap_testbed::spawner;
use agent_wrap_testbed::stage::Stage as _;

use crate::Test;
use crate::common::eventually;
use crate::container::{Container, Site};
use crate::machine::{BARE, Machine};

pub const TESTS: &[(&str, Test)] = &[
    ("the_arguments_of_docker_agent", the_arguments_of_docker_agent),
    ("the_variables_of_docker_agent", the_variables_of_docker_agent),
    ("there_is_no_shell", there_is_no_shell),
    ("the_agent_says_what_it_is", the_agent_says_what_it_is),
    ("an_image_without_certificates", an_image_without_certificates),
    ("an_image_without_a_resolver", an_image_without_a_resolver),
    ("a_jar_that_has_no_place", a_jar_that_has_no_place),
];

fn the_arguments_of_docker_agent(machine: &Arc<Machine>) {
    let site = Site::new(machine, "arguments");
    let network = format!("--network=ns:{}", site.network.path());
    let mut options = site.variables();
    options.retain(|variable| !variable.starts_with("--env=JENKINS_") || variable.contains("USER_ID"));
    options.push(network);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (url, secret) = (site.controller.url(), site.controller.secret("arguments"));
    let container = Container::run(machine, "arguments", &options, BARE, &["-url", &url, &secret, "arguments"]);
    container.await_event("agent_connected");
    assert!(!container.log().contains(&secret), "{}", container.log());
    assert_eq!(container.stop(60), 0, "{}", container.log());
    site.expect_marked();
}

fn the_variables_of_docker_agent(machine: &Arc<Machine>) {
    let site = Site::new(machine, "variables");
    let container = site.run_online(&[
        "--env=JENKINS_JAVA_BIN=/usr/bin/java",
        "--env=JENKINS_JAVA_OPTS=-Xmx64m -Da=b",
        "--env=JENKINS_AGENT_WORKDIR=/work",
        "--env=REMOTING_OPTS=-text -internalDir 'a folder'",
    ]);
    let start = container.records().into_iter().find(|record| record["event"] == "start").expect("a first line");
    let words = start["message"].as_str().expect("words");
    assert!(
        words.ends_with(
            "/usr/bin/java -Xmx64m -Da=b -jar /usr/share/jenkins/agent.jar -workDir /work -text -internalDir \
             'a folder'"
        ),
        "{words}"
    );
    assert_eq!(container.stop(60), 0, "{}", container.log());
}

/// Runs the bare image to its end, without a network.
fn runs(machine: &Arc<Machine>, options: &[&str], arguments: &[&str]) -> (Option<i32>, String) {
    let words = [&["run", "--rm", "--network=none"][..], options, &[BARE], arguments].concat();
    let output = machine.try_podman(&words);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn there_is_no_shell(machine: &Arc<Machine>) {
    let (code, said) = runs(machine, &[], &["sh"]);
    assert_eq!(code, Some(127), "{said}");
    assert!(said.starts_with("jenkins-agent: \"sh\": there is no such command"), "{said}");
}

fn the_agent_says_what_it_is(machine: &Arc<Machine>) {
    // The stand-in takes it for an option that it does not know, as an agent that is only run would not.
    let (code, said) = runs(machine, &[], &["-version"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("agent-wrap "), "{said}");
}

/// A wrapper that cannot have its controller, at its end.
fn gives_up(site: &Site, url: &str, options: &[&str]) -> Container {
    let url = format!("--env=JENKINS_URL={url}");
    let container = site.run(&[&["--env=AGENT_WRAP_START_TIMEOUT=1s", &url], options].concat());
    container.expect_code(69);
    container
}

fn an_image_without_a_resolver(machine: &Arc<Machine>) {
    let site = Site::new(machine, "nameless");
    let container = gives_up(
        &site,
        "http://ci.example.org/",
        &["--no-hosts", "--dns=none", "--unsetenv=HOME", "--env=AGENT_WRAP_START_TIMEOUT=6s"],
    );
    // A C library that finds nobody to ask asks this machine for ten seconds.
    let log = container.log();
    assert!(log.contains("its name does not resolve (") && log.contains("there is no /etc/resolv.conf"), "{log}");
}

fn a_jar_that_has_no_place(machine: &Arc<Machine>) {
    let options =
        ["--env=JENKINS_URL=http://127.0.0.1/", "--env=JENKINS_AGENT_NAME=n", "--env=JENKINS_AGENT_FILE=agent.jar"];
    let (code, said) = runs(machine, &[&options[..], &["--read-only"]].concat(), &[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("give another --state-dir, or put the jar here"), "{said}");
}

/// A server that speaks TLS, with a certificate of an authority that nobody knows.
const AUTHORITY: &str = r#"
cd "$1"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out request.pem
printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > extensions
openssl x509 -req -in request.pem -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -out cert.pem
exec ip netns exec "$2" openssl s_server -accept 127.0.0.1:8443 -cert cert.pem -key key.pem -www
"#;

fn an_image_without_certificates(machine: &Arc<Machine>) {
    let site = Site::new(machine, "https");
    let folder = "/run/test/https";
    machine.put(&format!("{folder}/here"), "");
    let mut server = machine.to_execute(["sh", "-euc", AUTHORITY, "sh", folder, &site.node]);
    server.stdout(Stdio::null()).stderr(Stdio::null());
    let _server = spawner::spawn(server).expect("it starts");
    let url = "https://127.0.0.1:8443/";
    let accepts = || TcpStream::connect("127.0.0.1:8443").is_ok();
    eventually("the server listens", || site.network.within(accepts));
    {
        let container = gives_up(&site, url, &[]);
        let log = container.log();
        assert!(log.contains("there is no certificate of any authority here"), "{log}");
        assert!(log.contains("SSL_CERT_FILE") && log.contains("/etc/ssl/certs/ca-certificates.crt"), "{log}");
    }
    // Each of the ways that it names.
    let mounted = |place: &str| format!("--volume={folder}/ca.pem:{place}:ro");
    for options in [
        &[mounted("/etc/ssl/certs/ca-certificates.crt").as_str()][..],
        &[mounted("/ca.pem").as_str(), "--env=SSL_CERT_FILE=/ca.pem"],
        &[mounted("/ca.pem").as_str(), "--env=AGENT_WRAP_CA_FILE=/ca.pem"],
    ] {
        let container = gives_up(&site, url, options);
        let log = container.log();
        assert!(log.contains("is no page of a Jenkins") && !log.contains("certificate"), "{options:?}: {log}");
    }
}
