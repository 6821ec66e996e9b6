//! In the place of docker-agent's entry point: called as `jenkins-agent` we take its arguments and its environment.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::agent_command::{AgentCommand, lines_of};
use super::agent_options::are_java_options;
use super::table::Key;
use super::{Surroundings, environment, script};

/// Variables that stand for an option with a value.
const OPTIONS: [(&str, &str); 5] = [
    ("JENKINS_TUNNEL", "-tunnel"),
    ("JENKINS_AGENT_WORKDIR", "-workDir"),
    ("JENKINS_DIRECT_CONNECTION", "-direct"),
    ("JENKINS_PROTOCOLS", "-protocols"),
    ("JENKINS_INSTANCE_IDENTITY", "-instanceIdentity"),
];

/// What the agent answers and ends: no node need be brought online for that.
const QUESTIONS: [&str; 4] = ["-help", "--help", "-version", "--version"];

/// Whether these arguments, the program's own name first, are meant for docker-agent's entry point.
#[must_use]
pub fn is_docker_agent(arguments: &[OsString]) -> bool {
    let called = arguments.first().and_then(|name| Path::new(name).file_name());
    called.is_some_and(|name| name == "jenkins-agent" || name == "jenkins-slave")
}

/// The command that is to run in our place: the argument of `jenkins-agent` where there is one alone that is no option,
/// which is how people look around in an image (`docker run -it IMAGE bash`); and the agent itself where it is only asked
/// what it is.
#[must_use]
pub fn instead_of_an_agent(arguments: &[OsString], surroundings: &Surroundings) -> Option<Vec<OsString>> {
    match arguments {
        _ if !is_docker_agent(arguments) => None,
        [_, first, ..] if first.as_encoded_bytes().starts_with(b"-") && asks(arguments) => {
            let words = translate_docker_agent(arguments.to_vec(), surroundings).into_iter();
            Some(words.skip_while(|word| word != "--").skip(1).collect())
        }
        [_, program] if !program.as_encoded_bytes().starts_with(b"-") => Some(vec![program.clone()]),
        _ => None,
    }
}

/// Whether the agent only answers, whatever else it is told.
fn asks(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).any(|word| QUESTIONS.iter().any(|known| word == known))
}

/// The arguments of `agent-wrap` that do what these arguments of `jenkins-agent` say; others come back as they are.
///
/// All arguments are the agent's then, and our own settings come from file and environment. Controller, name and secret
/// are not repeated here: a command without them is completed with what `JENKINS_URL`, `JENKINS_AGENT_NAME` and
/// `JENKINS_SECRET` say.
#[must_use]
pub fn translate_docker_agent(arguments: Vec<OsString>, surroundings: &Surroundings) -> Vec<OsString> {
    if !is_docker_agent(&arguments) {
        return arguments;
    }
    let mut theirs = arguments.into_iter().skip(1).collect();
    let mut words: Vec<OsString> = vec!["agent-wrap".into(), "--".into()];
    words.extend(java(surroundings));
    words.extend(split(java_options(surroundings).map(|(_, options)| options)));
    let jar = surroundings.variable("JENKINS_AGENT_FILE").unwrap_or(OsStr::new("/usr/share/jenkins/agent.jar"));
    words.extend(["-jar".into(), jar.to_owned()]);
    let mut remoting = quoted(surroundings.variable("REMOTING_OPTS"));
    remoting.append(&mut theirs);
    words.extend(connection(&remoting, surroundings));
    words.append(&mut remoting);
    words
}

/// The options for java, and the variable that they are in.
fn java_options(surroundings: &Surroundings) -> Option<(&'static str, &OsStr)> {
    ["JENKINS_JAVA_OPTS", "JAVA_OPTS"].into_iter().find_map(|name| Some((name, surroundings.variable(name)?)))
}

/// What java does not get as it is meant.
pub(super) enum JavaOptions {
    /// It would take a word for the class to run.
    Broken(String),
    /// Words are torn where quotation marks seem to hold them together.
    Torn(String),
}

/// Looks at the options for java, which have to be divided as the script divides them: whoever has them for it has
/// written them so.
pub(super) fn look_at_java_options(surroundings: &Surroundings) -> Option<JavaOptions> {
    let (name, options) = java_options(surroundings)?;
    let (words, held) = (split(Some(options)), quoted(Some(options)));
    let is_torn = words.len() != held.len();
    let how = "is divided at each blank, as the entry point of docker-agent's images does it, and quotation marks in it are \
        letters like others; for a value with blanks write @FILE into it: java reads its options from that file, and \
        understands quotation marks there";
    if !are_java_options(&words, 0, words.len()) {
        return Some(JavaOptions::Broken(format!(
            "{name} in the environment: not each of its words is an option, and java would take one for the class to run; \
             it {how}"
        )));
    }
    is_torn.then(|| JavaOptions::Torn(format!("{name} in the environment {how}")))
}

/// That a variable asks for a WebSocket in words that the script does not know either.
pub(super) fn neither_true_nor_false(surroundings: &Surroundings) -> Option<String> {
    let value = surroundings.variable("JENKINS_WEB_SOCKET").filter(|value| *value != "true" && *value != "false")?;
    Some(format!(
        "JENKINS_WEB_SOCKET in the environment is {}, and only true asks for -webSocket; it is added all the same where the \
         controller has no port for agents",
        crate::quoted::quoted(value)
    ))
}

/// That a variable counts on a shell, which the script has and we have not.
pub(super) fn unexpanded(surroundings: &Surroundings) -> Option<String> {
    let options = surroundings.variable("REMOTING_OPTS")?.to_string_lossy().into_owned();
    let mut expanded = options.match_indices('$').filter(|(at, _)| {
        let next = options[at + 1..].chars().next();
        next.is_some_and(|next| next.is_ascii_alphabetic() || "_{(".contains(next))
    });
    (expanded.next().is_some() || options.contains('`')).then(|| {
        "REMOTING_OPTS in the environment has $ or ` in it, which the entry point of docker-agent's images has a shell expand; \
         here they stay as they are: write what is meant itself"
            .to_owned()
    })
}

/// Java, and what the script would run before it; a path may have blanks in it, though not for the script.
fn java(surroundings: &Surroundings) -> Vec<OsString> {
    let binary = surroundings.variable("JENKINS_JAVA_BIN").filter(|java| !split(Some(java)).is_empty());
    match (binary, surroundings.variable("JAVA_HOME")) {
        (Some(java), _) if Path::new(java).exists() => vec![java.to_owned()],
        (Some(java), _) => split(Some(java)),
        (None, Some(home)) => vec![Path::new(home).join("bin/java").into()],
        (None, None) => vec!["java".into()],
    }
}

/// The options that the environment asks for and neither the arguments nor `REMOTING_OPTS` have.
fn connection(theirs: &[OsString], surroundings: &Surroundings) -> Vec<OsString> {
    let as_command: Vec<OsString> =
        [OsString::from("jenkins-agent")].into_iter().chain(theirs.iter().cloned()).collect();
    let given = AgentCommand::read(&as_command, &lines_of);
    let mut words = Vec::new();
    for (variable, option) in OPTIONS {
        if let Some(value) = surroundings.variable(variable).filter(|_| !given.has(option)) {
            words.extend([option.into(), value.to_owned()]);
        }
    }
    if surroundings.variable("JENKINS_WEB_SOCKET").is_some_and(|value| value == "true") && !given.has("-webSocket") {
        words.push("-webSocket".into());
    }
    // What is completed later is what the settings say; where the controller is not asked, they need not say it all.
    let direct = given.is_direct() || words.iter().any(|word| word == "-direct");
    if (direct || given.has_connection()) && !given.has("-jnlpUrl") {
        if let Some(url) = environment::value(Key::Url, surroundings).filter(|_| !direct && given.urls().is_empty()) {
            words.extend(["-url".into(), url.text]);
        }
        if let Some(name) = environment::value(Key::Node, surroundings).filter(|_| given.node().is_none()) {
            words.extend(["-name".into(), name.text]);
        }
    }
    words
}

/// The words of a variable, each as it is between blanks.
fn split(words: Option<&OsStr>) -> Vec<OsString> {
    let words = words.map(OsStr::to_string_lossy).unwrap_or_default();
    words.split_whitespace().map(OsString::from).collect()
}

/// The words of a variable, which are quoted as for a shell where blanks are in them. Nothing else that a shell knows has
/// a meaning: an `&` in a password is an `&`.
fn quoted(words: Option<&OsStr>) -> Vec<OsString> {
    let words = words.map(OsStr::to_string_lossy).unwrap_or_default();
    let (mut found, mut rest) = (Vec::new(), words.trim_start());
    while !rest.is_empty() {
        let (word, others) = rest.split_at(end_of_word(rest));
        found.push(script::unquoted(word).into());
        rest = others.trim_start();
    }
    found
}

/// How far it is to the first blank that is not quoted, in bytes.
fn end_of_word(text: &str) -> usize {
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (letter, quote) {
            (mark, Some(open)) if mark == open => quote = None,
            ('\'' | '"', None) => quote = Some(letter),
            ('\\', None | Some('"')) => drop(letters.next()),
            (blank, None) if blank.is_whitespace() => return at,
            (_, _) => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Surroundings { variables: variables.collect(), default_file: "/".into(), root: true }
    }

    fn translated(arguments: &str, variables: &[(&str, &str)]) -> String {
        let arguments = arguments.split_whitespace().map(OsString::from).collect();
        let words = translate_docker_agent(arguments, &surroundings(variables));
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_arguments_of_the_entry_point_become_ours() {
        let jar = "-jar /usr/share/jenkins/agent.jar";
        let identity = [("JENKINS_URL", "https://ci/"), ("JENKINS_AGENT_NAME", "n"), ("JENKINS_SECRET", "hush")];
        for (arguments, variables, expected) in [
            ("jenkins-agent", &identity[..], format!("agent-wrap -- java {jar}")),
            (
                "/usr/local/bin/jenkins-agent -url u s n",
                &[("JENKINS_URL", "v"), ("JENKINS_NAME", "m")],
                format!("agent-wrap -- java {jar} -url u s n"),
            ),
            ("jenkins-slave -url u", &identity, format!("agent-wrap -- java {jar} -name n -url u")),
            ("jenkins-agent s n", &identity, format!("agent-wrap -- java {jar} -url https://ci/ s n")),
            // What beats a variable among the settings does so here.
            (
                "jenkins-agent -noKeepAlive -url u",
                &[("JENKINS_NAME", "m"), ("AGENT_WRAP_NODE", "n"), ("JENKINS_AGENT_NAME", "o")],
                format!("agent-wrap -- java {jar} -name n -noKeepAlive -url u"),
            ),
            (
                "jenkins-agent s n",
                &[("JENKINS_URL", "v"), ("AGENT_WRAP_URL", "u")],
                format!("agent-wrap -- java {jar} -url u s n"),
            ),
            (
                "jenkins-agent -workDir /mine",
                &[
                    ("JENKINS_TUNNEL", "h:1"),
                    ("JENKINS_AGENT_WORKDIR", "/w"),
                    ("JENKINS_WEB_SOCKET", "true"),
                    ("REMOTING_OPTS", "-noKeepAlive"),
                    ("JENKINS_AGENT_FILE", "/a.jar"),
                    ("JAVA_HOME", "/jdk"),
                    ("JENKINS_JAVA_OPTS", "-Xmx1g  -Da=b"),
                    ("JAVA_OPTS", "-Xmx2g"),
                ],
                "agent-wrap -- /jdk/bin/java -Xmx1g -Da=b -jar /a.jar -tunnel h:1 -webSocket -noKeepAlive -workDir /mine"
                    .to_owned(),
            ),
            (
                "jenkins-agent -jnlpUrl https://ci/x.jnlp",
                &[("JENKINS_URL", "https://ci/"), ("JENKINS_AGENT_NAME", "n")],
                format!("agent-wrap -- java {jar} -jnlpUrl https://ci/x.jnlp"),
            ),
            (
                "jenkins-agent",
                &[
                    ("JENKINS_DIRECT_CONNECTION", "h:2"),
                    ("JENKINS_INSTANCE_IDENTITY", "i"),
                    ("JENKINS_PROTOCOLS", "JNLP4-connect"),
                    ("JENKINS_URL", "https://ci/"),
                    ("JENKINS_AGENT_NAME", "n"),
                    ("JENKINS_NAME", "m"),
                    ("JENKINS_WEB_SOCKET", "false"),
                    ("JENKINS_JAVA_BIN", "/j"),
                ],
                format!("agent-wrap -- /j {jar} -direct h:2 -protocols JNLP4-connect -instanceIdentity i -name m"),
            ),
        ] {
            assert_eq!(translated(arguments, variables), expected);
        }
    }

    #[test]
    fn what_remoting_opts_says_counts_as_said() {
        let jar = "-jar /usr/share/jenkins/agent.jar";
        // It says where to connect to and not as whom: that has to be said as well then.
        let variables =
            [("REMOTING_OPTS", "-url u -tunnel h:1"), ("JENKINS_AGENT_NAME", "n"), ("JENKINS_TUNNEL", "h:2")];
        assert_eq!(
            translated("jenkins-agent", &variables),
            format!("agent-wrap -- java {jar} -name n -url u -tunnel h:1")
        );
        let variables = [("REMOTING_OPTS", "-direct h:1 -webSocket -workDir /w"), ("JENKINS_URL", "u")];
        let more = [("JENKINS_AGENT_WORKDIR", "/v"), ("JENKINS_WEB_SOCKET", "true")];
        let said = translated("jenkins-agent -name m", &[&variables[..], &more].concat());
        assert_eq!(said, format!("agent-wrap -- java {jar} -direct h:1 -webSocket -workDir /w -name m"));
    }

    #[test]
    fn the_words_of_remoting_opts_may_be_quoted() {
        let variables = [("REMOTING_OPTS", r#"-name "my node" -webSocketHeader 'A: b' -workDir /a\ b $HOME"#)];
        let words = translate_docker_agent(vec!["jenkins-agent".into()], &surroundings(&variables));
        assert_eq!(words[5..], ["-name", "my node", "-webSocketHeader", "A: b", "-workDir", "/a b", "$HOME"]);
        let variables = [("REMOTING_OPTS", " -proxyCredentials user:p&ss;|<(x)  -x a#b\n-y 'it''s' \"un closed")];
        let words = translate_docker_agent(vec!["jenkins-agent".into()], &surroundings(&variables));
        assert_eq!(words[5..], ["-proxyCredentials", "user:p&ss;|<(x)", "-x", "a#b", "-y", "its", "un closed"]);
    }

    #[test]
    fn a_single_word_is_a_program_in_our_place() {
        let instead = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            let command = instead_of_an_agent(&words, &surroundings(&[("JAVA_HOME", "/j"), ("JAVA_OPTS", "-Xmx1g")]));
            command.map(|words| words.join(" ".as_ref()).into_string().unwrap())
        };
        assert_eq!(instead("/usr/local/bin/jenkins-agent bash").as_deref(), Some("bash"));
        for question in QUESTIONS {
            let expected = format!("/j/bin/java -Xmx1g -jar /usr/share/jenkins/agent.jar {question}");
            assert_eq!(instead(&format!("jenkins-agent {question}")), Some(expected.clone()));
            assert_eq!(
                instead(&format!("jenkins-agent -noKeepAlive {question}")),
                Some(expected.replace(".jar ", ".jar -noKeepAlive "))
            );
            assert_eq!(instead(&format!("jenkins-agent bash {question}")), None);
        }
        for line in
            ["jenkins-agent", "jenkins-agent -url", "jenkins-agent s n", "agent-wrap bash", "agent-wrap -help", ""]
        {
            assert_eq!(instead(line), None, "{line}");
        }
    }

    #[test]
    fn options_for_java_are_divided_as_the_script_divides_them() {
        let found = |name: &str, options: &str| match look_at_java_options(&surroundings(&[(name, options)])) {
            Some(JavaOptions::Broken(words)) => format!("broken: {words}"),
            Some(JavaOptions::Torn(words)) => format!("torn: {words}"),
            None => String::new(),
        };
        for fine in ["", "-Xmx1g -Da=b", "-Da=\"b\"", "-cp x --add-opens a=b @f", "-Da=it's", "-XX:X=\\n"] {
            assert_eq!(found("JENKINS_JAVA_OPTS", fine), "", "{fine}");
        }
        assert!(found("JENKINS_JAVA_OPTS", "-Da=\"b -Dc\"").starts_with("torn: JENKINS_JAVA_OPTS"));
        for broken in ["-Da=\"b c\"", "\"-Xmx1g\"", "-Xmx1g x", "-XX:OnOutOfMemoryError='kill -9 %p'"] {
            assert!(found("JAVA_OPTS", broken).starts_with("broken: JAVA_OPTS"), "{broken}");
        }
    }

    #[test]
    fn what_runs_java_may_be_several_words_or_a_path_with_blanks() {
        let folder = tempfile::tempdir().unwrap();
        let java = folder.path().join("my java");
        std::fs::write(&java, "").unwrap();
        let java = java.to_str().unwrap();
        for (binary, words) in
            [("nice -n 5  java", &["nice", "-n", "5", "java"][..]), (java, &[java]), (" ", &["java"])]
        {
            let variables = surroundings(&[("JENKINS_JAVA_BIN", binary)]);
            let translated = translate_docker_agent(vec!["jenkins-agent".into()], &variables);
            let end = translated.iter().position(|word| word == "-jar").unwrap();
            assert_eq!(translated[2..end], *words, "{binary}");
        }
    }

    #[test]
    fn what_a_shell_would_expand_is_told() {
        let told = |value: &str| unexpanded(&surroundings(&[("REMOTING_OPTS", value)])).is_some();
        assert!(["-name $HOSTNAME", "-name ${A}", "-name `hostname`", "-x 'a' $(b)"].into_iter().all(told));
        assert!(!["", "-noKeepAlive", "-proxyCredentials me:p$1$", "-x $"].into_iter().any(told));
    }

    #[test]
    fn what_is_neither_true_nor_false_is_told() {
        let told = |value: &str| neither_true_nor_false(&surroundings(&[("JENKINS_WEB_SOCKET", value)]));
        assert!(["true", "false", ""].iter().all(|value| told(value).is_none()));
        assert!(told("1").unwrap().contains("\"1\""));
    }

    #[test]
    fn under_our_own_name_nothing_changes() {
        assert_eq!(
            translated("agent-wrap --node n jenkins-agent", &[("JAVA_HOME", "/j")]),
            "agent-wrap --node n jenkins-agent"
        );
        assert_eq!(translated("", &[]), "");
    }
}
