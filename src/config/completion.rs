//! Completing the agent's command: what `agent-wrap java -jar agent.jar` becomes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::agent_command::{AgentCommand, Place, Word, is_agent_jar, lines_of};
use super::script::commands;
use crate::files::{Inherited, is_stdin};
use crate::quoted::quoted;

/// What a completion depends on besides the command.
#[derive(Clone, Copy)]
pub struct CompletionFacts<'a> {
    /// The controller's root with its slash, and the node; `None` where neither is known, with `--standalone`.
    pub controller: Option<(&'a str, &'a str)>,
    /// The controller is not asked for anything.
    pub standalone: bool,
    /// What kind of controller it is.
    pub kind: ControllerKind,
    /// Where the file with the secret will be.
    pub secret_file: &'a Path,
    /// Whether the settings name the node's secret.
    pub secret_given: bool,
    /// The folder that a jar is fetched to; `None` when there is no place for one.
    pub jar_dir: Option<&'a Path>,
    /// `--stdio`.
    pub stdio: bool,
    /// Whether a file is there; a relative path is relative to the working directory.
    pub exists: &'a dyn Fn(&Path) -> bool,
    /// What the agent finds under a path.
    pub inherited: &'a dyn Fn(&Path) -> Inherited,
}

/// The kinds of controller that agents connect to in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerKind {
    /// Jenkins; `agent_port`: it listens for inbound agents, so that no WebSocket is needed.
    Jenkins {
        /// Whether it listens.
        agent_port: bool,
    },
    /// Hudson.
    Hudson,
}

/// The command to run, and what has to be done before it can be.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The command. It may name [`CompletionFacts::secret_file`].
    pub command: Vec<OsString>,
    /// The secret that the agent reads from the secret file.
    pub secret: NeededSecret,
    /// The jar.
    pub jar: Jar,
    /// The first file that the agent is to read, and that is none it could read.
    pub unfit: Option<PathBuf>,
    /// Whether connection arguments were added; if not, the command is the user's own.
    pub completed: bool,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What has to be in the secret file.
#[derive(Clone, Debug)]
pub enum NeededSecret {
    /// Nothing: the file is not used.
    None,
    /// The node's secret: from the settings, else from the controller.
    OfTheNode,
    /// A jnlp file with the node's secret, for Hudson: see [`local_jnlp`].
    JnlpOfTheNode,
    /// This one, which stood in the command.
    Given(SecretString),
    /// The first line of this pipe or descriptor of ours, which the command names and the agent could not read.
    Piped(PathBuf),
}

/// What has to be done about the jar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jar {
    /// Nothing: it is there, or the command runs none that is known.
    Ready,
    /// It is to be fetched from the controller to this path, which the command names.
    Fetch(PathBuf),
    /// It is not there, and cannot be fetched: an absolute path, `--standalone`, or no state directory.
    Missing(PathBuf),
}

/// Decides how the agent is run. Nothing is read or written but files that the command itself names with `@`.
///
/// Without connection arguments of its own, the command of a known agent's jar is given them; a secret that stands in
/// the command, where every build could see it, is moved into the secret file; a relative jar that is not there is
/// fetched; and a command that says all but the secret gets the one of the settings. Every other byte of the command stays
/// as it is; and so does all of a command that may run the agent elsewhere, where our files are not.
#[must_use]
pub fn plan(command: &[OsString], facts: &CompletionFacts<'_>) -> Completion {
    let is_lasting = |path: &Path| (facts.inherited)(path) == Inherited::Lasting;
    let agent = AgentCommand::read(command, &|path| is_lasting(path).then(|| lines_of(path))?);
    let mut completion = Completion {
        command: command.to_vec(),
        secret: NeededSecret::None,
        jar: Jar::Ready,
        unfit: None,
        completed: false,
        warnings: Vec::new(),
    };
    if !agent.is_agent {
        completion.warnings.extend(scripted(command, facts));
        return completion;
    }
    if let Some(at) = agent.elsewhere {
        completion.warnings.extend(vain_files(command, facts));
        completion.warnings.extend(left_undone(&agent, facts).map(|undone| left_alone(&command[at], &undone)));
        return completion;
    }
    let (agent, kept) = match without_superseded(&agent, command) {
        Some(kept) => {
            completion.warnings.push(SHOWN_SECRET.to_owned());
            (AgentCommand::read(&kept, &|path| is_lasting(path).then(|| lines_of(path))?), kept)
        }
        None => (agent, command.to_vec()),
    };
    completion.command.clone_from(&kept);
    completion.unfit = unfit_file(&agent, &kept, facts);
    hide_secret(&agent, facts, &mut completion);
    let vain = vain_files(&completion.command, facts);
    completion.warnings.extend(vain);
    if let Some(at) = agent.jar {
        completion.jar = find_jar(at, facts, &mut completion.command);
        match lack(&agent, facts) {
            Some(Lack::Connection { url, node }) => complete(&agent, url, node, facts, &mut completion),
            Some(Lack::Secret) => {
                completion.command.extend(["-secret".into(), reference(facts.secret_file)]);
                completion.secret = NeededSecret::OfTheNode;
            }
            None => {}
        }
    } else if let Some(undone) = agent.read_from.and_then(|_| not_said(&agent, facts)) {
        completion.warnings.push(format!(
            "the agent's command is left as it is, because it names the agent's class and not -jar with its jar: {undone}"
        ));
    }
    completion
}

/// What a command does not say, and we know.
enum Lack<'a> {
    Connection { url: &'a str, node: &'a str },
    Secret,
}

fn lack<'a>(agent: &AgentCommand, facts: &CompletionFacts<'a>) -> Option<Lack<'a>> {
    let is_enough = !facts.standalone || facts.secret_given || agent.secret().is_some();
    match facts.controller.filter(|_| is_enough && !facts.stdio && !agent.has_connection()) {
        Some((url, node)) => Some(Lack::Connection { url, node }),
        None => (facts.secret_given && agent.lacks_secret()).then_some(Lack::Secret),
    }
}

/// What would have been done to a command if it ran the agent here, and how to do without.
fn left_undone(agent: &AgentCommand, facts: &CompletionFacts<'_>) -> Option<String> {
    let mut undone: Vec<_> = agent.read_from.and_then(|_| not_said(agent, facts)).into_iter().collect();
    if agent.secrets().chain(agent.secret()).any(is_shown) {
        undone.push(
            "the node's secret in it is not moved to a file, and everybody can read it (ps): write -secret @FILE, a file \
             of there, instead",
        );
    }
    (!undone.is_empty()).then(|| undone.join("; "))
}

/// What would have been added to a command.
fn not_said(agent: &AgentCommand, facts: &CompletionFacts<'_>) -> Option<&'static str> {
    Some(match lack(agent, facts)? {
        Lack::Connection { .. } => {
            "it does not say how to connect, and nothing is added: write -url, -name and -secret @FILE into it"
        }
        Lack::Secret => "the secret of the settings is not handed over: write -secret @FILE, a file of there, into it",
    })
}

/// What is not done to an agent that a shell's script among the arguments starts.
fn scripted(command: &[OsString], facts: &CompletionFacts<'_>) -> Option<String> {
    let scripts = command.iter().filter_map(|word| word.to_str()).filter(|word| word.contains(char::is_whitespace));
    let mut agents = scripts.flat_map(commands).map(|command| AgentCommand::read(&command, &|_| None));
    let undone = agents.find_map(|agent| left_undone(&agent, facts).filter(|_| agent.read_from.is_some()))?;
    Some(format!("the agent's command is left as it is, because a script in it starts the agent: {undone}"))
}

fn left_alone(program: &OsStr, undone: &str) -> String {
    format!(
        "the agent's command is left as it is, because {} may run the agent where no file of ours is: {undone}",
        quoted(program)
    )
}

/// A secret that stands in the command itself.
fn is_shown(word: &Word) -> bool {
    word.place != Place::InFile && is_plain_secret(&word.text)
}

/// A secret itself and no reference to the file that holds it.
fn is_plain_secret(text: &OsStr) -> bool {
    !text.is_empty() && !text.as_bytes().starts_with(b"@")
}

/// What to say of files that the agent is to read its arguments from, and cannot, or not when it is started again.
fn vain_files(command: &[OsString], facts: &CompletionFacts<'_>) -> Vec<String> {
    let of_word = |word: &OsString| {
        let path = file_of(word).filter(|path| *path != facts.secret_file)?;
        let why = match (facts.inherited)(path) {
            Inherited::Lasting | Inherited::Unfit => return None,
            Inherited::Once => {
                "a pipe, which gives its contents once: an agent that is started again finds nothing in it"
            }
            Inherited::Nothing => {
                "a descriptor of agent-wrap's own: the agent gets its three streams only, and finds no \
                                   such file"
            }
        };
        Some(format!("{} in the agent's command is {why}; name a regular file", quoted(word)))
    };
    command.iter().filter_map(of_word).collect()
}

/// The file that an argument names with `@`.
fn file_of(word: &OsStr) -> Option<&Path> {
    let path = word.as_bytes().strip_prefix(b"@").filter(|path| !path.is_empty())?;
    Some(Path::new(OsStr::from_bytes(path)))
}

/// The first file that the agent is to read its arguments from and cannot, because there is none or it is no file.
fn unfit_file(agent: &AgentCommand, command: &[OsString], facts: &CompletionFacts<'_>) -> Option<PathBuf> {
    let secret = agent.secret().and_then(|word| match word.place {
        Place::Whole(at) => Some(at),
        Place::AfterEquals(_) | Place::InFile => None,
    });
    let words = agent.read_from.map_or(0..0, |from| from..command.len());
    let paths = words.chain(secret).filter_map(|at| file_of(&command[at]));
    // What an agent on --stdio reads there is the controller.
    let mut paths = paths.filter(|path| !(facts.stdio && is_stdin(path)));
    paths.find(|path| (facts.inherited)(path) == Inherited::Unfit).map(Path::to_owned)
}

/// The command without the secrets in it that a later one overrules, if there are any: they need not be seen either.
fn without_superseded(agent: &AgentCommand, command: &[OsString]) -> Option<Vec<OsString>> {
    let superseded: Vec<&Word> = agent.secrets().rev().skip(1).filter(|word| is_shown(word)).collect();
    let mut kept = command.to_vec();
    // From the last to the first, so that the others stay where they are.
    for word in &superseded {
        match word.place {
            Place::Whole(at) if kept[at - 1] == *"-secret" => drop(kept.drain(at - 1..=at)),
            // Its option is in a file.
            Place::Whole(at) => kept[at] = OsString::new(),
            Place::AfterEquals(at) => drop(kept.remove(at)),
            Place::InFile => {}
        }
    }
    (!superseded.is_empty()).then_some(kept)
}

const SHOWN_SECRET: &str = "the node's secret stands in the command, where everybody on this machine can read it (ps); the \
    agent gets it in a file instead, but this program's own arguments still show it: use -secret @FILE, --secret-file, or \
    leave it out";

/// Moves a secret that stands in the command, or comes through a pipe, into the secret file.
fn hide_secret(agent: &AgentCommand, facts: &CompletionFacts<'_>, completion: &mut Completion) {
    let Some(word) = agent.secret() else { return };
    if let (Place::Whole(at), Some(path)) = (word.place, file_of(&word.text)) {
        // What an agent on --stdio reads there is the controller.
        let is_its_own = facts.stdio && is_stdin(path);
        if !is_its_own && matches!((facts.inherited)(path), Inherited::Once | Inherited::Nothing) {
            completion.command[at] = reference(facts.secret_file);
            completion.secret = NeededSecret::Piped(path.to_owned());
        }
        return;
    }
    let Some(secret) = word.text.to_str().filter(|_| is_plain_secret(&word.text)) else { return };
    let reference = reference(facts.secret_file);
    match word.place {
        Place::Whole(at) => completion.command[at] = reference,
        // `-secret=@FILE` would not be expanded: only whole arguments that begin with @ are.
        Place::AfterEquals(at) => {
            completion.command.splice(at..=at, ["-secret".into(), reference]);
        }
        Place::InFile => return,
    }
    completion.secret = NeededSecret::Given(SecretString::from(secret));
    if completion.warnings.is_empty() {
        completion.warnings.push(SHOWN_SECRET.to_owned());
    }
}

fn find_jar(at: usize, facts: &CompletionFacts<'_>, command: &mut [OsString]) -> Jar {
    let path = PathBuf::from(&command[at]);
    if (facts.exists)(&path) {
        return Jar::Ready;
    }
    match (facts.jar_dir, path.file_name()) {
        (Some(folder), Some(name)) if path.is_relative() && !facts.standalone => {
            let fetched = folder.join(name);
            command[at] = fetched.clone().into();
            Jar::Fetch(fetched)
        }
        (_, _) => Jar::Missing(path),
    }
}

fn complete(agent: &AgentCommand, url: &str, node: &str, facts: &CompletionFacts<'_>, completion: &mut Completion) {
    let mut add = |option: &str, value: Option<OsString>| {
        if !agent.has(option) {
            completion.command.push(option.into());
            completion.command.extend(value);
        }
    };
    match facts.kind {
        ControllerKind::Jenkins { agent_port } => {
            add("-url", Some(url.into()));
            add("-name", Some(node.into()));
            add("-secret", Some(reference(facts.secret_file)));
            if !agent_port && !agent.has("-tunnel") {
                add("-webSocket", None);
            }
            add("-noReconnect", None);
            if !agent.has("-secret") {
                completion.secret = NeededSecret::OfTheNode;
            }
        }
        ControllerKind::Hudson => {
            let file = facts.secret_file.as_os_str().as_bytes();
            let url = format!("file:{}", encode(file, |byte| byte == b'/'));
            completion.command.extend(["-jnlpUrl".into(), url.into()]);
            completion.secret = NeededSecret::JnlpOfTheNode;
        }
    }
    completion.completed = true;
}

/// `@FILE`, which agent.jar replaces by the lines of the file.
fn reference(path: &Path) -> OsString {
    let mut reference = OsString::from("@");
    reference.push(path);
    reference
}

/// What Hudson's slave.jar reads by `-jnlpUrl`: unlike its command line, such a file can say that a dropped channel
/// ends the agent, and unlike the controller's own, it needs no password when security is on.
#[must_use]
pub fn local_jnlp(url: &str, node: &str, secret: &str) -> String {
    let arguments: String = [secret, node, "-url", url, "-noreconnect"]
        .iter()
        .map(|argument| format!("<argument>{}</argument>", escape(argument)))
        .collect();
    format!("<jnlp><application-desc>{arguments}</application-desc></jnlp>\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// One path segment: everything but RFC 3986's unreserved characters is encoded.
pub(super) fn percent_encode(segment: &str) -> String {
    encode(segment.as_bytes(), |_| false)
}

fn encode(bytes: &[u8], is_kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || is_kept(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Whether a command runs a jar that is known to be an agent's, so that [`plan`] could complete it.
#[must_use]
pub fn runs_agent_jar(command: &[OsString]) -> bool {
    command.windows(2).any(|pair| pair[0] == OsStr::new("-jar") && is_agent_jar(&pair[1]))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

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
            (" -direct h:1 -secret @f", given, ""),
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
            ("java -jar agent.jar -direct h:1", facts()),
            ("java -jar agent.jar -jnlpUrl https://ci/computer/n/jenkins-agent.jnlp", facts()),
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

    #[test]
    fn a_given_secret_is_added_where_only_it_is_missing() {
        let given = CompletionFacts { secret_given: true, ..facts() };
        for line in
            ["-url u -name n", "-direct h:1 -name n -instanceIdentity i", "-jnlpUrl https://ci/computer/n/x.jnlp"]
        {
            let line = format!("java -jar agent.jar {line}");
            let (with, completion) = planned(&line, &given);
            assert_eq!(with, format!("{line} -secret @/run/s"));
            assert!(matches!(completion.secret, NeededSecret::OfTheNode) && !completion.completed);
            assert_eq!(planned(&line, &facts()).0, line);
        }
        let jnlp = "-jnlpUrl https://ci/x.jnlp";
        for line in [
            "-url u -name n -secret @f",
            "-url u s n",
            "-jnlpUrl file:/x.jnlp",
            &format!("{jnlp} -jnlpCredentials me:x"),
            &format!("{jnlp} -secret @f"),
            "-tcp f",
        ] {
            let line = format!("java -jar agent.jar {line}");
            assert!(!matches!(planned(&line, &given).1.secret, NeededSecret::OfTheNode), "{line}");
        }
        let hudson = format!("java -jar lib/slave.jar {jnlp}");
        assert_eq!(planned(&hudson, &given).0, hudson);
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
        let class = "java -cp agent.jar hudson.remoting.jnlp.Main";
        for (line, facts, said) in [
            (
                "sh -c|cd /w; exec java -jar agent.jar".to_owned(),
                facts(),
                Some("a script in it starts the agent: it does"),
            ),
            ("ssh h|java -jar agent.jar -url u -name n".to_owned(), given, Some("secret of the settings")),
            (
                "sh -c|java -jar agent.jar -url u -name n -secret hush".to_owned(),
                facts(),
                Some("everybody can read it"),
            ),
            ("sh -c|java -jar agent.jar -url u -name n -secret @f".to_owned(), given, None),
            ("sh -c|exec java -jar server.jar".to_owned(), facts(), None),
            ("sh -c|exec java -jar agent.jar".to_owned(), stdio, None),
            (class.replace(' ', "|"), facts(), Some("names the agent's class")),
            (class.replace(' ', "|"), stdio, None),
            (format!("{} -url u s n", class).replace(' ', "|"), facts(), None),
        ] {
            // A line with one bar is cut there alone.
            let cut: Vec<&str> = match line.split_once('|') {
                Some((shell, script)) if !script.contains('|') => shell.split(' ').chain([script]).collect(),
                _ => line.split('|').collect(),
            };
            let command: Vec<OsString> = cut.iter().map(OsString::from).collect();
            let completion = plan(&command, &facts);
            let warned: Vec<_> = completion.warnings.iter().filter(|words| words.contains("left as it is")).collect();
            assert_eq!(warned.len(), usize::from(said.is_some()), "{line}: {warned:?}");
            assert!(said.is_none_or(|said| warned[0].contains(said)), "{line}: {warned:?}");
        }
    }

    #[test]
    fn a_relative_jar_that_is_not_there_is_fetched() {
        let absent = CompletionFacts { exists: &|_| false, ..facts() };
        let (line, completion) = planned("java -jar lib/agent.jar -url u -name n", &absent);
        assert_eq!(line, "java -jar /state/ci/agent.jar -url u -name n");
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
}
