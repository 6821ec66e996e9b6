//! The options of agent.jar, and those of the misbehaviours.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::{Exit, complain, given, say};

/// The options of agent.jar, which begin with one dash and may be written `-option=value`.
const AGENT_OPTIONS: &[&str] = &[
    "url",
    "name",
    "secret",
    "jnlpUrl",
    "jnlpCredentials",
    "credentials",
    "webSocket",
    "noReconnect",
    "noReconnectAfter",
    "workDir",
    "internalDir",
    "tunnel",
    "direct",
    "cert",
    "noCertificateCheck",
    "failIfWorkDirIsMissing",
    "text",
];

/// What kind of process this one is, when it is not the agent itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// A child that was left behind.
    Child,
    /// The parent of an orphan, about to end.
    OrphanMaker,
}

/// An agent that does what it is told.
#[derive(Debug, Parser)]
#[command(name = "misbehave", args_override_self = true)]
pub(crate) struct Options {
    /// The controller's root URL.
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// The node's name.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) name: Option<String>,
    /// The node's secret; `@FILE` reads it from a file.
    #[arg(long)]
    pub(crate) secret: Option<String>,
    /// The URL of the node's jnlp file, which says all the rest.
    #[arg(long = "jnlpUrl")]
    pub(crate) jnlp_url: Option<String>,
    /// USER:PASSWORD for that file.
    #[arg(long, alias = "jnlpCredentials")]
    pub(crate) credentials: Option<String>,
    /// Like a WebSocket: every refusal is a `Handshake error`, tried again for ever.
    #[arg(long = "webSocket")]
    pub(crate) web_socket: bool,
    /// End with 0 when the channel is dropped, with 1 when there is none to be had.
    #[arg(long = "noReconnect")]
    pub(crate) no_reconnect: bool,
    #[arg(long = "noReconnectAfter", hide = true)]
    _no_reconnect_after: Option<String>,
    /// The working directory, which is created.
    #[arg(long = "workDir")]
    pub(crate) work_dir: Option<PathBuf>,
    #[arg(long = "internalDir", hide = true)]
    _internal_dir: Option<String>,
    #[arg(long = "tunnel", hide = true)]
    _tunnel: Option<String>,
    #[arg(long = "direct", hide = true)]
    _direct: Option<String>,
    #[arg(long = "cert", hide = true)]
    _cert: Option<String>,
    #[arg(long = "noCertificateCheck", hide = true)]
    _no_certificate_check: bool,
    #[arg(long = "failIfWorkDirIsMissing", hide = true)]
    _fail_if_work_dir_is_missing: bool,
    #[arg(long = "text", hide = true)]
    _text: bool,
    /// The old way: the secret and the name.
    #[arg(num_args = 0..=2)]
    positional: Vec<String>,

    /// Exit with this code before anything else.
    #[arg(long, value_name = "CODE")]
    pub(crate) exit_at_once: Option<u8>,
    /// Do not end at TERM.
    #[arg(long)]
    pub(crate) ignore_term: bool,
    /// Never connect; say `hanging` on standard output once signals are taken.
    #[arg(long)]
    pub(crate) hang: bool,
    /// Exit with this code once connected.
    #[arg(long, value_name = "CODE")]
    pub(crate) exit_after_connect: Option<u8>,
    /// Leave a child in this process group that ignores TERM; its process id is said as `child PID` on standard output.
    #[arg(long)]
    pub(crate) fork_child: bool,
    /// Leave a child in a session of its own; said as `child PID`.
    #[arg(long)]
    pub(crate) setsid_child: bool,
    /// Leave this many processes whose parent is gone, each in a session of its own; said as `orphan PID`.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) orphans: u32,
    /// Once connected, make this many processes whose parent is gone and that end by themselves; then say `storm over` on
    /// standard output.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) storm: u32,
    /// Say each signal as `signal NAME` on standard output.
    #[arg(long)]
    pub(crate) print_signals: bool,
    /// Send itself STOP once connected.
    #[arg(long)]
    pub(crate) stop_self: bool,
    /// Once connected, drop the connection and execute itself again from a thread that is not the leader, without any
    /// descriptor above 2; then connect again and stay.
    #[arg(long)]
    pub(crate) re_exec: bool,
    /// As long as this file is there, drop the connection a second and a half after it has come up.
    #[arg(long, value_name = "FILE")]
    pub(crate) drop_while: Option<PathBuf>,
    /// Write down argv, environment, signal state, descriptors and identities, as JSON, before anything is changed.
    #[arg(long, value_name = "FILE")]
    pub(crate) write_status: Option<PathBuf>,
    /// How long to wait before connecting again.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 200)]
    reconnect_delay: u64,

    #[arg(long, hide = true)]
    pub(crate) role: Option<Role>,
    #[arg(long, hide = true)]
    pub(crate) own_session: bool,
}

impl Options {
    pub(crate) fn has_controller(&self) -> bool {
        self.url.is_some() || self.jnlp_url.is_some()
    }

    pub(crate) fn reconnect_delay(&self) -> Duration {
        Duration::from_millis(self.reconnect_delay)
    }
}

/// Reads the command line and the variable `MISBEHAVE`. Like agent.jar, it ends with 0 when they make no sense.
pub(crate) fn read() -> Result<Options, Exit> {
    let arguments: Vec<String> = given().iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let more = env::var("MISBEHAVE").unwrap_or_default();
    let (program, arguments) = arguments.split_first().ok_or(Exit(0))?;
    let mut all = vec![program.clone()];
    for argument in skip_java(arguments).iter().cloned().chain(more.split_whitespace().map(str::to_owned)) {
        match expand(&argument) {
            Ok(expanded) => all.extend(expanded.iter().map(|argument| normal(argument))),
            Err(error) => {
                complain(&format!("No such file {argument}: {error}"));
                return Err(Exit(0));
            }
        }
    }
    let mut options = Options::try_parse_from(all).map_err(|error| {
        if error.use_stderr() {
            complain(&error.to_string());
        } else {
            say(&error.to_string());
        }
        Exit(0)
    })?;
    let mut positional = std::mem::take(&mut options.positional).into_iter();
    options.secret = positional.next().or(options.secret);
    options.name = positional.next().or(options.name);
    Ok(options)
}

/// Called as `java`, everything up to the jar is the virtual machine's.
fn skip_java(arguments: &[String]) -> &[String] {
    match arguments.iter().position(|argument| argument == "-jar") {
        Some(at) => arguments.get(at + 2..).unwrap_or_default(),
        None => arguments,
    }
}

/// `@FILE` stands for the lines of the file, in any place.
fn expand(argument: &str) -> std::io::Result<Vec<String>> {
    match argument.strip_prefix('@') {
        Some(file) => Ok(fs::read_to_string(file)?.lines().map(str::to_owned).collect()),
        None => Ok(vec![argument.to_owned()]),
    }
}

/// `-url` becomes `--url`.
fn normal(argument: &str) -> String {
    let name = argument.strip_prefix('-').unwrap_or_default();
    let name = name.split('=').next().unwrap_or_default();
    if AGENT_OPTIONS.contains(&name) { format!("-{argument}") } else { argument.to_owned() }
}
