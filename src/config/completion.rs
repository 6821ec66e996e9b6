//! Completing the agent's command: what `agent-wrap java -jar agent.jar` becomes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::agent_command::{AgentCommand, Place, Way, Word, lines_of};
use super::undone::{left_alone, left_undone, not_said, scripted};
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
    /// Called as `jenkins-agent`: how many words at the command's end stood in our own arguments; `None`: all did.
    pub entry_point: Option<usize>,
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
    /// The files that are there and that the agent will read: those that it is to read arguments from, and its jar.
    pub reads: Vec<PathBuf>,
    /// Whether connection arguments were added; if not, the command is the user's own.
    pub completed: bool,
    /// Variables that the agent does not get, because what they say reaches it in another way, or is none of its business.
    pub withheld: &'static [&'static str],
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
/// The command of a known agent's jar is given what it does not say of how to connect: all of it, or the name and the
/// secret beside a `-url` or `-direct` of its own; a secret that stands in the command, where every build could see it, is
/// moved into the secret file; and a relative jar that is not there is fetched. Every other byte of the command stays as it
/// is; and so does all of a command that may run the agent elsewhere, where our files are not.
#[must_use]
pub fn plan(command: &[OsString], facts: &CompletionFacts<'_>) -> Completion {
    let is_lasting = |path: &Path| (facts.inherited)(path) == Inherited::Lasting;
    let read = |command: &[OsString]| {
        AgentCommand::read_as(command, facts.entry_point.is_some(), &|path| is_lasting(path).then(|| lines_of(path))?)
    };
    let agent = read(command);
    let mut completion = Completion {
        command: command.to_vec(),
        secret: NeededSecret::None,
        jar: Jar::Ready,
        unfit: None,
        reads: Vec::new(),
        completed: false,
        withheld: withheld(&agent, facts),
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
    if agent.secrets().chain(agent.secret()).any(|word| is_in_our_arguments(word, command, facts)) {
        completion.warnings.push(SHOWN_SECRET.to_owned());
    }
    let (agent, kept) = match without_superseded(&agent, command) {
        Some(kept) => (read(&kept), kept),
        None => (agent, command.to_vec()),
    };
    completion.command.clone_from(&kept);
    for path in argument_files(&agent, &kept, facts) {
        match (facts.inherited)(path) {
            Inherited::Unfit if completion.unfit.is_none() => completion.unfit = Some(path.to_owned()),
            Inherited::Lasting if path != facts.secret_file => completion.reads.push(path.to_owned()),
            Inherited::Unfit | Inherited::Lasting | Inherited::Once | Inherited::Nothing => {}
        }
    }
    hide_secret(&agent, facts, &mut completion);
    let vain = vain_files(&completion.command, facts);
    completion.warnings.extend(vain);
    if let Some(at) = agent.jar {
        completion.jar = find_jar(at, facts, &mut completion.command);
        if completion.jar == Jar::Ready {
            completion.reads.push(PathBuf::from(&completion.command[at]));
        }
        if let Some(lack) = lack(&agent, facts) {
            complete(&agent, &lack, facts, &mut completion);
        }
    } else if let Some(undone) = agent.read_from.and_then(|_| not_said(&agent, facts)) {
        completion.warnings.push(format!(
            "the agent's command is left as it is, because it names the agent's class and not -jar with its jar: {undone}"
        ));
    }
    if completion.withheld.is_empty() && !matches!(completion.secret, NeededSecret::None) {
        completion.withheld = &["JENKINS_SECRET"];
    }
    completion
}

/// What a command does not say, and we know or can ask for.
pub(super) struct Lack<'a> {
    pub(super) url: Option<&'a str>,
    pub(super) node: Option<&'a str>,
    pub(super) secret: bool,
}

pub(super) fn lack<'a>(agent: &AgentCommand, facts: &CompletionFacts<'a>) -> Option<Lack<'a>> {
    let secret = agent.lacks_secret();
    if facts.stdio || (secret && facts.standalone && !facts.secret_given) {
        return None;
    }
    let (url, node) = facts.controller.unzip();
    let node = node.filter(|_| agent.node().is_none());
    match agent.way() {
        Way::Unsaid => url.map(|url| Lack { url: Some(url), node, secret }),
        // What is not known may well say it.
        _ if agent.has_unread() => None,
        Way::Root | Way::Direct => (secret || node.is_some()).then_some(Lack { url: None, node, secret }),
        Way::Jnlp => secret.then_some(Lack { url: None, node: None, secret }),
        Way::Socket => None,
    }
}

/// What an agent that is java itself has no use for, and every build could read. A script may well have, as long as it is
/// not handed the secret in another way.
fn withheld(agent: &AgentCommand, facts: &CompletionFacts<'_>) -> &'static [&'static str] {
    if facts.entry_point.is_some() {
        return &["JENKINS_SECRET", "REMOTING_OPTS"];
    }
    if agent.read_from.is_some() && agent.elsewhere.is_none() { &["JENKINS_SECRET"] } else { &[] }
}

/// A secret that stands in the command itself.
pub(super) fn is_shown(word: &Word) -> bool {
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

/// What the agent is to read its arguments from.
fn argument_files<'a>(
    agent: &AgentCommand,
    command: &'a [OsString],
    facts: &CompletionFacts<'_>,
) -> impl Iterator<Item = &'a Path> {
    let secret = agent.secret().and_then(|word| match word.place {
        Place::Whole(at) => Some(at),
        Place::AfterEquals(_) | Place::InFile => None,
    });
    let words = agent.read_from.map_or(0..0, |from| from..command.len());
    let stdio = facts.stdio;
    let paths = words.chain(secret).filter_map(|at| file_of(&command[at]));
    // What an agent on --stdio reads there is the controller.
    paths.filter(move |path| !(stdio && is_stdin(path)))
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

/// A secret that stands in the arguments that we were started with, and not in a variable that they were made from.
fn is_in_our_arguments(word: &Word, command: &[OsString], facts: &CompletionFacts<'_>) -> bool {
    let (Place::Whole(at) | Place::AfterEquals(at)) = word.place else { return false };
    is_shown(word) && facts.entry_point.is_none_or(|ours| at + ours >= command.len())
}

const SHOWN_SECRET: &str = "the node's secret stands in the command, where everybody on this machine can read it (ps); the \
    agent gets it in a file instead, but this program's own arguments still show it: use -secret @FILE, --secret-file or \
    JENKINS_SECRET in the environment, or leave it out";

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

fn complete(agent: &AgentCommand, lack: &Lack<'_>, facts: &CompletionFacts<'_>, completion: &mut Completion) {
    let way = agent.way();
    match (facts.kind, way) {
        (ControllerKind::Hudson, Way::Unsaid) => {
            let file = facts.secret_file.as_os_str().as_bytes();
            let url = format!("file:{}", encode(file, |byte| byte == b'/'));
            completion.command.extend(["-jnlpUrl".into(), url.into()]);
            completion.secret = NeededSecret::JnlpOfTheNode;
            completion.completed = true;
            return;
        }
        // Its slave.jar, under whatever name, has no use for the secret.
        (ControllerKind::Hudson, Way::Jnlp) => return,
        (ControllerKind::Hudson | ControllerKind::Jenkins { .. }, _) => {}
    }
    let mut add = |option: &str, value: Option<OsString>| {
        completion.command.push(option.into());
        completion.command.extend(value);
    };
    if let Some(url) = lack.url {
        add("-url", Some(url.into()));
    }
    if let Some(node) = lack.node {
        add("-name", Some(node.into()));
    }
    if lack.secret {
        add("-secret", Some(reference(facts.secret_file)));
        completion.secret = NeededSecret::OfTheNode;
    }
    let has_any = |options: &[&str]| options.iter().any(|option| agent.has(option));
    let needs_web_socket = facts.kind == (ControllerKind::Jenkins { agent_port: false })
        && matches!(way, Way::Unsaid | Way::Root)
        && !has_any(&["-tunnel", "-webSocket"]);
    if needs_web_socket && has_any(&NOT_BY_WEB_SOCKET) {
        completion.warnings.push(NO_WEB_SOCKET.to_owned());
    } else if needs_web_socket {
        completion.command.push("-webSocket".into());
    }
    // agent.jar does not take the last beside the first.
    if !has_any(&["-noReconnect", "-noreconnect", "-noReconnectAfter"]) {
        completion.command.push("-noReconnect".into());
    }
    completion.completed = true;
}

/// What agent.jar does not take beside `-webSocket`.
const NOT_BY_WEB_SOCKET: [&str; 3] = ["-credentials", "-jnlpCredentials", "-noKeepAlive"];

const NO_WEB_SOCKET: &str = "the controller has no port for agents, and -webSocket is not added, because agent.jar does \
    not take -credentials or -noKeepAlive beside it: leave these out of the agent's command";

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
