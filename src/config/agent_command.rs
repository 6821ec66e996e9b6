//! The agent's own command line, as agent.jar reads it.
//!
//! Java's options end with `-jar FILE`; what follows is read by agent.jar: every argument that begins with `@` is
//! replaced by the lines of that file, `-opt value` and `-opt=value` are the same, the last of a repeated option wins
//! (`-url` collects), and what is no option is `SECRET NAME`, in the old way.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::agent_options::{are_java_options, is_known, is_option, takes_value};
use super::transparent;
use crate::files::{self, Inherited};

/// What a command line says about the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentCommand {
    /// It runs an agent, so its options mean what they seem to mean.
    pub(crate) is_agent: bool,
    /// The index of the jar, where there is one that looks like an agent's.
    pub(crate) jar: Option<usize>,
    /// Where the words that agent.jar itself reads begin; `None` where it is not seen to be run.
    pub(crate) read_from: Option<usize>,
    /// The jar has its old name, which is Hudson's.
    is_slave_jar: bool,
    /// The index of a program that may well run the agent on another machine, as another user or in another directory,
    /// where files of ours are not what they are here.
    pub(crate) elsewhere: Option<usize>,
    /// The options after the jar, `@file` expanded.
    options: Vec<AgentOption>,
    /// What is no option.
    positional: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct AgentOption {
    name: String,
    value: Option<Word>,
}

/// How an agent is told where to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Not at all, so that it speaks over stdin and stdout.
    Unsaid,
    /// `-url`.
    Root,
    /// `-direct`, which names no controller.
    Direct,
    /// `-jnlpUrl`; agent.jar takes neither `-name` nor `-webSocket` beside it.
    Jnlp,
    /// `-connectTo` or `-tcp`, where no secret is needed.
    Socket,
}

/// One value, and where in the command it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: OsString,
    pub(crate) place: Place,
}

/// Where a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An argument of its own, at this index.
    Whole(usize),
    /// After the `=` of the argument at this index.
    AfterEquals(usize),
    /// In a file that an argument names with `@`.
    InFile,
}

/// Whether a file of this name is an agent: agent.jar, slave.jar, remoting.jar, and with versions in their names.
pub(crate) fn is_agent_jar(path: &OsStr) -> bool {
    let Some(name) = Path::new(path).file_name().and_then(OsStr::to_str) else { return false };
    let name = name.to_ascii_lowercase();
    let Some(stem) = name.strip_suffix(".jar") else { return false };
    let stem = stem.strip_prefix("jenkins-").or_else(|| stem.strip_prefix("hudson-")).unwrap_or(stem);
    ["agent", "slave", "remoting"].iter().any(|known| {
        stem.strip_prefix(known).is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix(['-', '_', '.']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    })
}

impl AgentCommand {
    /// Reads a command line; `read_lines` gives the lines of a file that an argument names with `@`.
    pub(crate) fn read(command: &[OsString], read_lines: &dyn Fn(&Path) -> Option<Vec<OsString>>) -> Self {
        Self::read_as(command, false, read_lines)
    }

    /// The same; of an `entry_point` the jar is an agent's, whatever its name is.
    pub(crate) fn read_as(
        command: &[OsString],
        entry_point: bool,
        read_lines: &dyn Fn(&Path) -> Option<Vec<OsString>>,
    ) -> Self {
        let mut this = Self::default();
        let jar = command.iter().position(|word| word == "-jar").map(|at| at + 1).filter(|at| *at < command.len());
        let main_class = command
            .iter()
            .position(|word| matches!(word.as_bytes(), b"hudson.remoting.jnlp.Main" | b"hudson.remoting.Launcher"));
        let program = transparent::program(command);
        let script = command.get(program).and_then(|program| Path::new(program).file_name());
        let script = script.is_some_and(|name| name == "jenkins-agent" || name == "jenkins-slave");
        this.jar = jar.filter(|at| entry_point || is_agent_jar(&command[*at]));
        let jar_name = this.jar.and_then(|at| Path::new(&command[at]).file_name());
        this.is_slave_jar = jar_name.is_some_and(|name| name.to_string_lossy().to_ascii_lowercase().contains("slave"));
        this.read_from = this.jar.or(main_class).map(|at| at + 1);
        let start = jar.or(main_class).map_or(program + 1, |at| at + 1);
        this.read_options(command, start.min(command.len()), read_lines);
        let fingerprint = this.option("-jnlpUrl").is_some() || (this.has("-url") && this.has("-name"));
        this.is_agent = this.jar.is_some() || main_class.is_some() || script || fingerprint;
        this.elsewhere = match jar.map(|at| at - 1).or(main_class) {
            Some(end) => !are_java_options(command, program + 1, end),
            // A program of the user's own that takes the agent's options, and not one that runs it with them.
            None => !script && command.get(program + 1).is_none_or(|word| !is_option(word)),
        }
        .then_some(program);
        this
    }

    fn read_options(
        &mut self,
        command: &[OsString],
        start: usize,
        read_lines: &dyn Fn(&Path) -> Option<Vec<OsString>>,
    ) {
        let mut words = Vec::new();
        for (index, word) in command.iter().enumerate().skip(start) {
            let lines = word
                .as_bytes()
                .strip_prefix(b"@")
                .filter(|path| !path.is_empty())
                .and_then(|path| read_lines(Path::new(OsStr::from_bytes(path))));
            match lines {
                Some(lines) => words.extend(lines.into_iter().map(|text| Word { text, place: Place::InFile })),
                None => words.push(Word { text: word.clone(), place: Place::Whole(index) }),
            }
        }
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let bytes = word.text.as_bytes();
            if bytes.len() < 2 || bytes[0] != b'-' {
                self.positional.push(word);
                continue;
            }
            let equals = bytes.iter().position(|byte| *byte == b'=');
            let name = String::from_utf8_lossy(&bytes[..equals.unwrap_or(bytes.len())]).into_owned();
            let value = match equals {
                Some(at) => Some(Word {
                    text: OsStr::from_bytes(&bytes[at + 1..]).to_owned(),
                    place: match word.place {
                        Place::Whole(index) => Place::AfterEquals(index),
                        Place::AfterEquals(_) | Place::InFile => Place::InFile,
                    },
                }),
                None if takes_value(&name) => words.next(),
                None => None,
            };
            let collects = name == "-protocols" && equals.is_none();
            self.options.push(AgentOption { name, value });
            while collects && words.peek().is_some_and(|word| !word.text.as_bytes().starts_with(b"-")) {
                words.next();
            }
        }
    }

    /// Whether an option is there, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|option| option.name == name)
    }

    /// The value of an option that wins.
    pub(crate) fn option(&self, name: &str) -> Option<&Word> {
        self.options.iter().rev().find(|option| option.name == name).and_then(|option| option.value.as_ref())
    }

    fn words(&self, name: &str) -> Option<&str> {
        self.option(name).and_then(|word| word.text.to_str()).filter(|text| !text.is_empty())
    }

    /// It is told without a controller's URL where to connect to, so that none can be inferred.
    pub(crate) fn is_direct(&self) -> bool {
        self.has("-direct") || self.has("-directConnection")
    }

    /// How it is told where to connect to.
    pub(crate) fn way(&self) -> Way {
        match () {
            () if self.has("-connectTo") => Way::Socket,
            () if self.has("-jnlpUrl") => Way::Jnlp,
            () if self.is_direct() => Way::Direct,
            () if self.has("-url") => Way::Root,
            () if self.has("-tcp") => Way::Socket,
            () => Way::Unsaid,
        }
    }

    /// It is told how to connect, in whichever way, or to wait for a connection.
    pub(crate) fn has_connection(&self) -> bool {
        self.way() != Way::Unsaid || self.secret_and_name().is_some()
    }

    /// A file that it reads arguments from could not be read, or a shell has yet to put something in the place of a
    /// variable, so that nobody knows what else it is told.
    pub(crate) fn has_unread(&self) -> bool {
        let unread = |text: &[u8]| (text.len() > 1 && text[0] == b'@') || text.contains(&b'$');
        self.positional.iter().any(|word| unread(word.text.as_bytes()))
    }

    /// The old way: two words that belong to no option. A single one may well be the value of an option that is not
    /// known here.
    fn secret_and_name(&self) -> Option<(&Word, &Word)> {
        match self.positional.as_slice() {
            [secret, name] => Some((secret, name)),
            _ => None,
        }
    }

    /// The names of its options that begin with two dashes.
    pub(crate) fn two_dashed(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(|option| option.name.as_str()).filter(|name| name.starts_with("--"))
    }

    /// The options that no agent.jar is known to have.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(|option| option.name.as_str()).filter(|name| !is_known(name))
    }

    /// An option that stands last and has no value, though it takes one.
    pub(crate) fn without_value(&self) -> Option<&str> {
        let last = self.options.last().filter(|option| option.value.is_none())?;
        takes_value(&last.name).then_some(&last.name)
    }

    /// How many words belong to no option, where that is surely more than the agent takes.
    pub(crate) fn too_many(&self) -> Option<usize> {
        let is_sure = !self.has_unread() && self.unknown().next().is_none();
        Some(self.positional.len()).filter(|count| *count > 2 && is_sure)
    }

    /// A word is empty that would be the secret, or the name.
    pub(crate) fn has_empty_word(&self) -> bool {
        self.positional.iter().any(|word| word.text.is_empty())
    }

    /// What should be the secret comes from a file with nothing in it.
    pub(crate) fn has_empty_secret_file(&self) -> bool {
        self.option("-secret").is_some_and(|word| word.text.is_empty() && word.place == Place::InFile)
    }

    /// This option is there, and has an empty value.
    pub(crate) fn is_empty(&self, name: &str) -> bool {
        self.option(name).is_some_and(|word| word.text.is_empty())
    }

    /// Where the one word stands that belongs to no option, and that the agent surely cannot take.
    pub(crate) fn stray(&self, command: &[OsString]) -> Option<usize> {
        self.read_from.filter(|_| self.elsewhere.is_none() && !self.has_unread())?;
        let [Word { place: Place::Whole(at), .. }] = self.positional.as_slice() else { return None };
        // Else it may well be the value of an option that is not known here.
        let before = &command[at - 1];
        (!before.as_bytes().starts_with(b"-") || is_option(before)).then_some(*at)
    }

    /// Every root URL it names, and by which option.
    pub(crate) fn urls(&self) -> Vec<(String, &'static str)> {
        let urls = self.options.iter().filter(|option| option.name == "-url");
        let urls = urls.filter_map(|option| option.value.as_ref()?.text.to_str());
        let mut urls: Vec<_> = urls.map(|url| (url.to_owned(), "-url")).collect();
        urls.extend(self.jnlp().map(|(root, _)| (root, "-jnlpUrl")));
        urls
    }

    /// The name of the node it names, and by which option.
    pub(crate) fn node(&self) -> Option<(String, &'static str)> {
        if let Some(name) = self.words("-name") {
            return Some((name.to_owned(), "-name"));
        }
        if let Some((_, name)) = self.jnlp() {
            return Some((name, "-jnlpUrl"));
        }
        let name = self.secret_and_name().and_then(|(_, name)| name.text.to_str());
        name.filter(|name| !name.is_empty()).map(|name| (name.to_owned(), "the name after the secret"))
    }

    /// It connects in a way that needs the node's secret, and does not say that.
    pub(crate) fn lacks_secret(&self) -> bool {
        let needed = match self.way() {
            Way::Unsaid | Way::Root | Way::Direct => true,
            Way::Jnlp => self.jnlp_needs_secret(),
            Way::Socket => false,
        };
        needed && self.secret().is_none()
    }

    /// With the secret a controller's `-jnlpUrl` needs no password, and agent.jar does not take both; a local file is not
    /// encrypted with it, and Hudson's slave.jar does not know the option.
    fn jnlp_needs_secret(&self) -> bool {
        let remote =
            self.words("-jnlpUrl").is_some_and(|url| url.starts_with("http://") || url.starts_with("https://"));
        remote && !self.is_slave_jar && !self.has("-jnlpCredentials") && !self.has("-credentials")
    }

    /// Where it names the node's secret: an option's value, or the first word of the old way. An empty one, of a variable
    /// that is not set, is none.
    pub(crate) fn secret(&self) -> Option<&Word> {
        let named = self.option("-secret").filter(|word| !word.text.is_empty() || word.place == Place::InFile);
        named.or_else(|| self.secret_and_name().map(|(secret, _)| secret))
    }

    /// What may well be the node's secret, where it is better to hide a word too many: also the first of whatever other
    /// words agent.jar, or what gets `-url`, is given, unless it is a URL.
    pub(crate) fn doubtful_secret(&self) -> Option<&Word> {
        let is_url = |word: &&Word| word.text.to_string_lossy().contains("://");
        let reads_like_agent_jar = self.read_from.is_some() || self.has("-url");
        let positional = self.positional.first().filter(|word| reads_like_agent_jar && !is_url(word));
        positional.or_else(|| self.secret().filter(|_| self.is_agent))
    }

    /// Every secret that it names by the option, in their order; the last is the one that counts.
    pub(crate) fn secrets(&self) -> impl DoubleEndedIterator<Item = &Word> {
        self.options.iter().filter(|option| option.name == "-secret").filter_map(|option| option.value.as_ref())
    }

    /// Root and node of `-jnlpUrl ROOT/computer/NAME/jenkins-agent.jnlp`.
    fn jnlp(&self) -> Option<(String, String)> {
        let url = self.words("-jnlpUrl")?;
        let url = &url[..url.find(['?', '#']).unwrap_or(url.len())];
        let (page, file) = url.rsplit_once('/')?;
        if !matches!(file, "jenkins-agent.jnlp" | "slave-agent.jnlp") {
            return None;
        }
        let (folder, name) = page.rsplit_once('/')?;
        let root = folder.strip_suffix("computer").filter(|root| root.ends_with('/'))?;
        Some((root.to_owned(), percent_decode(name)?))
    }
}

/// Decodes one path segment; `None` if it is not UTF-8 afterwards.
pub(super) fn percent_decode(segment: &str) -> Option<String> {
    let bytes = segment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = segment.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            Some(_) | None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

/// The most that is read of a file of arguments, in bytes.
const LONGEST: usize = 1024 * 1024;

/// The lines of a file that an argument names with `@`; `None` if the agent cannot read it, or cannot do so after us: what
/// comes only once is left to it.
pub(crate) fn lines_of(path: &Path) -> Option<Vec<OsString>> {
    if files::inherited(path) != Inherited::Lasting {
        return None;
    }
    let text = files::read_regular(path, LONGEST).ok()?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    Some(
        text.split(|byte| *byte == b'\n')
            .map(|line| OsStr::from_bytes(line.strip_suffix(b"\r").unwrap_or(line)).to_owned())
            .collect(),
    )
}
