//! What comes with us for containers, against the settings: a number that is written twice is the same twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use agent_wrap::config::{self, Surroundings};
use agent_wrap::{cli, exit};

const MANIFEST: &str = include_str!("../packaging/kubernetes/agent-wrap.yaml");
const JOB: &str = include_str!("../packaging/nomad/agent-wrap.nomad.hcl");
const CONTAINERFILE: &str = include_str!("../packaging/container/Containerfile");
const GUIDE: &str = include_str!("../docs/containers.md");
const MANUAL: &str = include_str!("../man/agent-wrap.1");

/// The variables with a value of their own in the manifest.
fn of_manifest() -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut name = None;
    for line in MANIFEST.lines().map(str::trim) {
        if let Some(found) = line.strip_prefix("- name: ") {
            name = Some(found.to_owned());
        } else if let Some(value) = line.strip_prefix("value: ") {
            variables.insert(name.take().expect("it has a name"), value.trim_matches('"').to_owned());
        } else if line.starts_with("valueFrom:") {
            variables.insert(name.take().expect("it has a name"), String::new());
        }
    }
    variables
}

/// Those of the job: `NAME = "value"`, and `NAME={{ ... }}` in the template.
fn of_job() -> BTreeMap<String, String> {
    let is_name = |name: &&str| name.starts_with("AGENT_WRAP_") || name.starts_with("JENKINS_");
    let lines = JOB.lines().filter_map(|line| line.trim().split_once('='));
    let named =
        lines.map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))).filter(|(name, _)| is_name(name));
    named.map(|(name, value)| (name.to_owned(), if value.starts_with("{{") { "" } else { value }.to_owned())).collect()
}

/// How long a stop may take with these variables, in seconds.
fn longest_stop(variables: &BTreeMap<String, String>) -> u64 {
    let arguments = ["agent-wrap", "--url=https://ci/", "--node=n", "java"].map(OsString::from);
    let cli = cli::parse(arguments, false).expect("it is understood");
    let variables = variables.iter().filter(|(name, _)| name.starts_with("AGENT_WRAP_"));
    let variables = variables.map(|(name, value)| (name.into(), value.into())).collect();
    let surroundings = Surroundings { variables, default_file: PathBuf::from("/nonexistent"), root: false };
    let loaded = config::load(&cli, &surroundings).expect("the settings are right");
    let unknown: Vec<_> = loaded.warnings.iter().filter(|words| words.contains("is no setting")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    loaded.settings.policy().longest_stop().0.div_ceil(1_000)
}

/// The words after this one, of the only line that has it and is no comment.
fn after<'a>(text: &'a str, word: &str) -> &'a str {
    let mut found =
        text.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(|line| line.split_once(word));
    let first = found.next().unwrap_or_else(|| panic!("no {word}")).1;
    assert!(found.next().is_none(), "{word} is there twice");
    first.trim()
}

#[test]
fn the_grace_periods_are_the_sum_of_the_settings() {
    let seconds = longest_stop(&of_manifest());
    assert_eq!(after(MANIFEST, "terminationGracePeriodSeconds:"), seconds.to_string());
    assert_eq!(after(JOB, "kill_timeout = "), format!("\"{}s\"", longest_stop(&of_job())));
    // What bounds it, and what has to wait for a whole stop.
    let time = |words: &str| humantime::parse_duration(words.trim_matches('"')).expect("a time").as_secs();
    let bound = JOB.lines().find_map(|line| line.strip_prefix("#     max_kill_timeout = ")).expect("it is said");
    assert!(time(bound) >= seconds);
    assert!(time(after(JOB, "healthy_deadline  = ")) > seconds);
    assert!(time(after(JOB, "progress_deadline = ")) > time(after(JOB, "healthy_deadline  = ")));
}

#[test]
fn the_guide_counts_with_the_defaults() {
    let seconds = longest_stop(&BTreeMap::new());
    for words in [
        format!("which is {seconds} s by default"),
        format!("--stop-timeout {seconds}"),
        format!("--time {seconds}`"),
        format!("stop_grace_period: {seconds}s"),
        format!("`terminationGracePeriodSeconds: {seconds}`"),
        format!("`kill_timeout = \"{seconds}s\"`"),
        format!("`podman pod stop --time {}`", longest_stop(&of_manifest())),
    ] {
        assert!(GUIDE.contains(&words), "{words}");
    }
    let short =
        [("AGENT_WRAP_DRAIN", "0"), ("AGENT_WRAP_GRACE", "5s")].map(|(name, value)| (name.into(), value.into()));
    let words =
        format!("`AGENT_WRAP_DRAIN=0` and `AGENT_WRAP_GRACE=5s` need {} s", longest_stop(&BTreeMap::from(short)));
    assert!(GUIDE.contains(&words), "{words}");
    for code in [exit::ExitCode::Stopped, exit::ExitCode::Unconfirmed] {
        assert!(GUIDE.contains(&code.code().to_string()));
    }
}

#[test]
fn both_schedulers_say_what_a_node_needs_and_the_same_of_it() {
    let (manifest, job) = (of_manifest(), of_job());
    let names = |variables: &BTreeMap<String, String>| variables.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&manifest), names(&job));
    for needed in ["JENKINS_URL", "JENKINS_AGENT_NAME", "JENKINS_USER_ID", "AGENT_WRAP_TOKEN", "AGENT_WRAP_DRAIN"] {
        assert!(manifest.contains_key(needed), "{needed}");
    }
    // Neither has a token of anybody's in it, and neither a probe or a hook that the guide says there is none of.
    assert_eq!((manifest["AGENT_WRAP_TOKEN"].as_str(), job["AGENT_WRAP_TOKEN"].as_str()), ("", ""));
    for absent in ["livenessProbe:", "readinessProbe:", "preStop:"] {
        assert!(!MANIFEST.contains(absent), "{absent}");
    }
}

#[test]
fn the_selectors_are_the_label() {
    let label = "app.kubernetes.io/name: agent-wrap";
    // Of the StatefulSet, of its pods, and of the budget.
    assert_eq!(MANIFEST.matches(label).count(), 3);
}

/// The variables of docker-agent that a text has, `JENKINS_...` and the few with other names.
fn of_docker_agent(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    let words = text.split(|letter: char| !is_part(letter));
    words
        .filter(|word| word.starts_with("JENKINS_") && word.len() > "JENKINS_".len() || *word == "REMOTING_OPTS")
        .collect()
}

#[test]
fn the_guide_and_the_manual_know_the_variables_that_are_read() {
    let section = |text: &'static str, start: &str, end: &str| -> &'static str {
        text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).expect("it is there").0
    };
    let manual = of_docker_agent(section(MANUAL, "\n.Ss Called as jenkins-agent\n", "\n.Sh "));
    let guide = of_docker_agent(section(GUIDE, "\n## In the place of docker-agent", "\n## "));
    let read = of_docker_agent(include_str!("../src/config/docker_agent.rs"));
    assert_eq!(guide, read);
    assert_eq!(manual, guide);
}

#[test]
fn the_image_calls_it_by_a_name_that_takes_docker_agents_arguments() {
    let entries: Vec<_> = CONTAINERFILE.lines().filter_map(|line| line.strip_prefix("ENTRYPOINT [\"")).collect();
    let [program, inbound] = entries.as_slice() else { panic!("{entries:?}") };
    let called = |entry: &str| [OsString::from(entry.trim_end_matches("\"]"))];
    assert!(!config::is_docker_agent(&called(program)) && config::is_docker_agent(&called(inbound)), "{entries:?}");
}
