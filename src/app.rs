//! One start of the program: settings, the lock, the shells, then the driver. Everything that can be wrong without
//! asking the controller is found out before the controller is asked.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use agent_wrap_supervisor::{Memory, Policy, SpawnFailure};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::cli::{self, Cli};
use crate::clock::Clock;
use crate::config::{
    self, Credentials, Loaded, LogFormat, LogLevel, RuntimeDirectory, SecretSource, Settings, Surroundings,
    shell_quote, translate_docker_agent,
};
use crate::controller::{self, Controller, CredentialSource, Marker};
use crate::driver::{self, Driver, Launch, Reasons, Reloaded};
use crate::exit::ExitCode;
use crate::process::{self, Processes, Survivor, User};
use crate::signals::{EarlySignals, SignalTable};
use crate::state::{Opened, Record, StateDir, StateFile};
use crate::telemetry::{self, Format, Story, span_words};

type Variables = Vec<(OsString, OsString)>;

/// Why the driver was never reached.
#[derive(Debug, Error)]
enum StartError {
    #[error("{0}")]
    Controller(#[from] controller::SetupError),
    #[error("{0}")]
    Held(#[from] crate::state::StateError),
    #[error("{0:?}: the command was not found; is it installed, and is its directory in PATH ({1:?})?")]
    NotFound(OsString, OsString),
    #[error("{0:?}: the command cannot be executed; has it the executable bit?")]
    NotExecutable(OsString),
    #[error("{what}: {error}; is a limit on descriptors or processes too low, or the kernel older than 5.4?")]
    System { what: &'static str, error: io::Error },
    #[error(
        "the agent's jar {} is not there, and only a relative name is fetched from the controller, into the state \
         directory", .0.display()
    )]
    MissingJar(PathBuf),
    #[error("{0}")]
    Settings(String),
}

impl StartError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Controller(_) | Self::MissingJar(_) | Self::Settings(_) => ExitCode::Configuration,
            Self::Held(_) => ExitCode::Held,
            Self::NotFound(..) => ExitCode::NotFound,
            Self::NotExecutable(_) => ExitCode::NotExecutable,
            Self::System { .. } => ExitCode::Internal,
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System { what, error }
}

/// Runs the program from its arguments, its own name first, to its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: io::Result<EarlySignals>) -> ExitCode {
    let clock = Clock::start();
    let surroundings = Surroundings::of_this_process();
    let arguments = translate_docker_agent(arguments.into_iter().collect(), &surroundings);
    let parsed = cli::parse(arguments, io::stderr().is_terminal());
    let cli = match parsed {
        Ok(cli) => cli,
        Err(farewell) => {
            print(&farewell.text, farewell.to_stderr);
            return farewell.code;
        }
    };
    let loaded = match config::load(&cli, &surroundings) {
        Ok(loaded) => loaded,
        Err(error) => {
            if cli.print_config {
                print(error.print(), false);
            }
            print(&format!("agent-wrap: {error}\n"), true);
            return error.exit_code();
        }
    };
    if cli.print_config {
        print(&loaded.print(), false);
        return ExitCode::Stopped;
    }
    if let Err(error) = telemetry::install(log_format(&loaded.settings), log_level(&loaded.settings)) {
        print(&format!("agent-wrap: {error}\n"), true);
        return ExitCode::Configuration;
    }
    match signals.map_err(system("cannot catch signals")).and_then(|signals| live(clock, cli, &loaded, signals)) {
        Ok(code) => code,
        Err(error) => {
            let code = error.code();
            tracing::error!(target: "agent_wrap", event = "not_started", "{error} (exit code {})", code.code());
            code
        }
    }
}

fn print(text: &str, to_stderr: bool) {
    // Nobody is left to tell when this fails.
    let _ = if to_stderr { io::stderr().write_all(text.as_bytes()) } else { io::stdout().write_all(text.as_bytes()) };
}

fn log_format(settings: &Settings) -> Format {
    match settings.log_format {
        LogFormat::Auto | LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    }
}

fn log_level(settings: &Settings) -> &'static str {
    match settings.log_level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn live(clock: Clock, cli: Cli, loaded: &Loaded, signals: EarlySignals) -> Result<ExitCode, StartError> {
    let settings = &loaded.settings;
    for warning in &loaded.warnings {
        tracing::warn!(target: "agent_wrap", event = "settings", "{warning}");
    }
    let program = resolve(settings)?;
    let user = agent_user(settings)?;
    let run = random_hex()?;
    let runtime = RuntimeDirectory::choose(&Surroundings::of_this_process());
    let launch = Launch::new(settings, program, &run, runtime, user);
    if let Some(jar) = launch.missing_jar() {
        return Err(StartError::MissingJar(jar));
    }
    let host = host_name();
    let (state, previous) = open_state(settings)?;
    if let Some(previous) = &previous {
        launch.forget_run(&previous.run);
    }
    let mut policy = settings.policy();
    policy.terminal = signals.terminal().is_present();
    policy.seed = random_number()?;
    let survivor = previous.as_ref().and_then(|previous| Survivor::find(previous.runs(), previous.agent.clone()));
    policy.survivor = survivor.is_some();
    if let Some(node) = &mut policy.node {
        node.unclean = previous.as_ref().is_some_and(|previous| previous.unclean);
        node.marked_before = previous.as_ref().is_some_and(|previous| previous.marked);
    }
    let controller = controller(settings, &host, &run, policy.node.as_ref().is_some_and(|node| node.marked_before))?;
    announce(settings, &policy);
    if let Some(warning) = process::lacking() {
        tracing::warn!(target: "agent_wrap", event = "no_proc", "{warning}");
    }
    process::forbid_dumps().map_err(system("cannot keep other processes from reading this one's memory"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("cannot start the event loop"))?;
    let entered = runtime.enter();
    let (told, facts) = mpsc::unbounded_channel();
    let mut processes = Processes::new(told, &run).map_err(system("cannot watch over processes"))?;
    let mut record = Record { run, earlier: Vec::new(), agent: None, memory: Memory::default() };
    if let Some(previous) = previous {
        record.memory = Memory { marked: previous.marked, connected: false, stopped: !previous.unclean };
        if survivor.is_some() {
            // Until it has ended, in case we do not see that.
            record.earlier = previous.runs().map(str::to_owned).collect();
            record.agent = previous.agent;
        }
    } else {
        record.memory.stopped = true;
    }
    if let Some(survivor) = survivor {
        processes.adopt_survivor(survivor);
    }
    let node = settings.controller.as_ref().map(|controller| controller.node.clone()).unwrap_or_default();
    let driver = Driver {
        clock,
        story: Story::new(&node, clock.now()).at_terminal(signals.terminal().is_present()),
        terminal: signals.terminal(),
        signals: signals.into_stream().map_err(system("cannot take the signals over"))?,
        table: signal_table(settings)?,
        processes,
        facts,
        controller,
        state,
        record,
        launch: Arc::new(launch),
        reasons: Reasons { template: settings.offline_reason.clone(), host, node },
        reload: reloader(cli, settings.clone()),
    };
    drop(entered);
    let (ending, mut story) = runtime.block_on(driver::run(driver, policy));
    // Nothing that still runs in a thread of its own (a jar on its way to a slow disk) may hold up the end.
    runtime.shutdown_background();
    let code = ExitCode::from(&ending);
    story.end(clock.now(), &ending, code.code());
    Ok(code)
}

/// The command's file, found before the controller is asked: a typing error must not leave a lifted node behind.
fn resolve(settings: &Settings) -> Result<PathBuf, StartError> {
    let name = settings.command.first().cloned().unwrap_or_default();
    let path = std::env::var_os("PATH");
    process::resolve(&name, path.as_deref()).map_err(|failure| match failure {
        SpawnFailure::NotExecutable => StartError::NotExecutable(name),
        SpawnFailure::NotFound
        | SpawnFailure::Exhausted(_)
        | SpawnFailure::Other(_)
        | SpawnFailure::Unprepared
        | SpawnFailure::Cancelled => StartError::NotFound(name, path.unwrap_or_default()),
    })
}

/// Whom the agent runs as, and the variables that tell it so.
fn agent_user(settings: &Settings) -> Result<Option<(User, Variables)>, StartError> {
    let Some(name) = &settings.agent_user else { return Ok(None) };
    let account = User::lookup(name).map_err(StartError::Settings)?;
    let mut variables = vec![("HOME".into(), account.home.into())];
    if let Some(name) = account.name {
        variables.extend([("USER".into(), name.clone().into()), ("LOGNAME".into(), name.into())]);
    }
    Ok(Some((account.user, variables)))
}

fn open_state(settings: &Settings) -> Result<(StateFile, Option<crate::state::Previous>), StartError> {
    let Some(controller) = &settings.controller else { return Ok((StateFile::nowhere(), None)) };
    let dir = settings.state_dir.clone().map(StateDir::at);
    let Opened { file, previous, warnings } = StateFile::open(dir.as_ref(), &controller.url, &controller.node)?;
    for warning in warnings {
        tracing::warn!(target: "agent_wrap", event = "state", "{warning}");
    }
    Ok((file, previous))
}

fn controller(
    settings: &Settings,
    host: &str,
    run: &str,
    claimed: bool,
) -> Result<Option<Arc<Controller>>, StartError> {
    let Some(about) = &settings.controller else { return Ok(None) };
    let online_match = match &settings.online_match {
        Some(pattern) => Some(regex_lite::Regex::new(pattern).map_err(|error| {
            StartError::Settings(format!("--online match={pattern}: {error}; write a regular expression"))
        })?),
        None => None,
    };
    if about.credentials.is_none() {
        tracing::warn!(
            target: "agent_wrap",
            event = "anonymous",
            "no credentials are given (--user with --token-file, AGENT_WRAP_TOKEN, or a systemd credential): asking \
             the controller as anonymous, who can seldom mark a node"
        );
    }
    let client = Controller::new(controller::Settings {
        url: about.url.clone(),
        node: about.node.clone(),
        credentials: about.credentials.as_ref().map(credentials).transpose()?,
        ca_file: about.ca_file.clone(),
        marker: Marker::new(host, run),
        online_match,
        claimed,
        user_agent: concat!("agent-wrap/", env!("CARGO_PKG_VERSION")).to_owned(),
    })?;
    Ok(Some(Arc::new(client)))
}

fn credentials(credentials: &Credentials) -> Result<CredentialSource, StartError> {
    let (user, secret) = credentials.read().map_err(|error| StartError::Settings(error.to_string()))?;
    let secret = match (&credentials.user, &credentials.token) {
        (Some(_), SecretSource::File(path)) => controller::SecretSource::File(path.clone()),
        // USER:TOKEN in one place, or a literal: there is nothing that the client could read again by itself.
        (_, _) => controller::SecretSource::Literal(secret),
    };
    Ok(CredentialSource { user, secret })
}

fn signal_table(settings: &Settings) -> Result<SignalTable, StartError> {
    let parsed = settings.signals.iter().map(|(name, verb)| format!("{name}={verb}").parse());
    let table: Result<Vec<_>, _> = parsed.collect();
    Ok(SignalTable::new(table.map_err(|error: crate::signals::SettingError| StartError::Settings(error.to_string()))?))
}

/// The first lines: what will be done, and how long a stop may take.
fn announce(settings: &Settings, policy: &Policy) {
    let version = env!("CARGO_PKG_VERSION");
    let command = shell_quote(&settings.command);
    let longest = span_words(policy.longest_stop());
    match &settings.controller {
        Some(controller) => {
            let node = controller.node.as_str();
            tracing::info!(
                target: "agent_wrap",
                event = "start",
                node,
                "version {version} keeps node {node:?} of {} and runs: {command}",
                controller.url
            );
            // At a terminal nobody but the person there stops it.
            let others = if policy.terminal {
                ""
            } else {
                "; unless told otherwise docker kills after 10 s, Kubernetes after 30 s, systemd after 90 s"
            };
            tracing::info!(
                target: "agent_wrap",
                event = "longest_stop",
                node,
                "a stop may take up to {longest}{others}"
            );
        }
        None => {
            tracing::info!(target: "agent_wrap", event = "start", "version {version} runs, without a controller: {command}");
            tracing::info!(target: "agent_wrap", event = "longest_stop", "a stop may take up to {longest}");
        }
    }
}

/// Reads the settings again as at the start. What belongs to the run and not to the policy holds until a restart.
fn reloader(cli: Cli, running: Settings) -> Box<dyn FnMut() -> Result<Reloaded, String>> {
    Box::new(move || {
        let loaded = config::load(&cli, &Surroundings::of_this_process()).map_err(|error| error.to_string())?;
        for warning in &loaded.warnings {
            tracing::warn!(target: "agent_wrap", event = "settings", "{warning}");
        }
        let settings = loaded.settings;
        let mut ignored = Vec::new();
        if settings.controller != running.controller {
            ignored.push("of the controller, the node or the credentials' place".to_owned());
        }
        if settings.online_match != running.online_match {
            ignored.push("--online match=".to_owned());
        }
        if settings.signals != running.signals {
            ignored.push("--signal".to_owned());
        }
        if (settings.log_format, settings.log_level) != (running.log_format, running.log_level) {
            ignored.push("of the log".to_owned());
        }
        Ok(Reloaded { policy: settings.policy(), template: settings.offline_reason, ignored })
    })
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

fn random_number() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::System {
        what: "the system has no random numbers",
        error: io::Error::other(error.to_string()),
    })
}

fn random_hex() -> Result<String, StartError> {
    Ok(format!("{:08x}", random_number()? & 0xffff_ffff))
}
