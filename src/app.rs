//! One start of the program: settings, the lock, the shells, then the driver. Everything that can be wrong without
//! asking the controller is found out before the controller is asked.

mod instead;
mod manager;
mod parts;
mod reload;
mod start;
mod stopper;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_wrap_supervisor::{Memory, OfflinePolicy, Policy, Span};
use nix::libc;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::beside::Beside;
use crate::cli::{self, Cli};
use crate::clock::{self, Clock};
use crate::config::{
    self, Drain, Loaded, LogFormat, LogLevel, SecretSource, Settings, Surroundings, shell_quote, translate_docker_agent,
};
use crate::controller::{self};
use crate::driver::{self, Display, Driver, Ended, Launch, Program, Reasons};
use crate::exit::ExitCode;
use crate::process::{self, Processes};
use crate::quoted::quoted;
use crate::shortage::cause_of;
use crate::signals::{EarlySignals, SignalTable};
use crate::state::Record;
use crate::systemd::NotASocket;
use crate::telemetry::{self, Format, Logging, Story};
use crate::terminal::Screen;

pub use instead::become_program;

use manager::{Failed, Manager};
use parts::vain_meanings;
use start::{Overtaken, Patience, Prepared};
use stopper::{Stopper, Traces};

const NO_THREAD: &str = "cannot start a thread for reading files";
const NO_READING: &str = "cannot read files in a thread";

const SLOW_SETTINGS: &str = "the settings are still being read; is their file on a mount that does not answer, or a \
    pipe that its writer keeps open?";

const OVERTAKEN: &str = "stopped before the settings were read; nothing was started (exit code 74)";

/// How long the end waits for the files of an agent that is not started any more.
const LAST_PATIENCE: Duration = Duration::from_millis(250);

type Variables = Vec<(OsString, OsString)>;

/// Why the driver was never reached.
#[derive(Debug, Error)]
enum StartError {
    #[error("{0}")]
    Controller(#[from] controller::SetupError),
    #[error("{0}")]
    Held(#[from] crate::state::StateError),
    #[error("{0}")]
    Unresolved(#[from] process::Unresolved),
    #[error("{what}: {error}{}", cause_of(.error))]
    System { what: &'static str, error: io::Error },
    #[error("{0}")]
    NotReady(#[from] driver::NotReady),
    #[error("{0}")]
    Settings(String),
}

impl StartError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Controller(error) if error.is_shortage() => ExitCode::Internal,
            Self::NotReady(error) if error.is_shortage() => ExitCode::Internal,
            Self::NotReady(driver::NotReady::Command(_)) => ExitCode::NotExecutable,
            Self::Controller(_) | Self::NotReady(_) | Self::Settings(_) => ExitCode::Configuration,
            Self::Held(_) => ExitCode::Held,
            Self::Unresolved(error) if error.is_not_found() => ExitCode::NotFound,
            Self::Unresolved(_) => ExitCode::NotExecutable,
            Self::System { .. } => ExitCode::Internal,
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System { what, error }
}

/// Runs the program from its arguments, its own name first, to its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: io::Result<EarlySignals>) -> ExitCode {
    process::share_one_heap();
    let (mut manager, deaf) = match manager::find() {
        Ok(manager) => (manager, None),
        Err(error) => (None, Some(error)),
    };
    match attempt(arguments.into_iter().collect(), signals, &mut manager, deaf) {
        Ok(code) => code,
        Err(failed) => {
            failed.tell(&mut manager);
            failed.code
        }
    }
}

fn attempt(
    arguments: Vec<OsString>,
    mut signals: io::Result<EarlySignals>,
    manager: &mut Manager,
    deaf: Option<NotASocket>,
) -> Result<ExitCode, Failed> {
    let clock = Clock::start();
    // Whatever comes of it, the terminal is left as it was.
    let _modes = signals.as_ref().ok().map(EarlySignals::modes);
    let surroundings = Surroundings::of_this_process();
    let entry_point = config::is_docker_agent(&arguments).then(|| arguments.len() - 1);
    let misplaced = entry_point.and_then(|_| instead::misplaced_program(&arguments));
    let arguments = translate_docker_agent(arguments, &surroundings);
    let early = log_format(config::early_log_format(&arguments, &surroundings));
    if let Some(words) = misplaced {
        say(early, "usage", &words);
        return Err(Failed::new(ExitCode::Usage, words));
    }
    let parsed = cli::parse(arguments, io::stderr().is_terminal());
    let cli = match parsed {
        Ok(cli) => Cli { entry_point, ..cli },
        Err(farewell) if farewell.to_stderr && early != Format::Text => {
            let lines = farewell.text.lines().map(|line| line.strip_prefix("agent-wrap: ").unwrap_or(line));
            let words = lines.collect::<Vec<_>>().join("; ");
            say(early, "usage", &words);
            return Err(Failed::new(farewell.code, words));
        }
        Err(farewell) if farewell.to_stderr => {
            let text: String = farewell.text.lines().map(|line| format!("{}\n", telemetry::visible(line))).collect();
            telemetry::say(&text);
            return Err(Failed::new(farewell.code, text.lines().next().unwrap_or_default()));
        }
        Err(farewell) => return Ok(print(early, &farewell.text, farewell.code)),
    };
    let beside = Beside::start("files").map_err(|error| not_started(early, system(NO_THREAD)(error)))?;
    let (asked, default) = (cli.clone(), SignalTable::new([]));
    let patience = Patience { clock, beside: &beside, signals: signals.as_mut().ok(), table: &default };
    let tell = || say(early, "slow_start", SLOW_SETTINGS);
    let read = patience.wait_for(move || config::load(&asked, &surroundings), tell);
    let loaded = match read.map_err(|error| not_started(early, system(NO_READING)(error)))? {
        Ok(Ok(loaded)) => loaded,
        Err(Overtaken) if cli.print_config => return Ok(ExitCode::Stopped),
        Err(Overtaken) => {
            say(early, "stopped", OVERTAKEN);
            return Err(Failed::new(ExitCode::Unconfirmed, OVERTAKEN));
        }
        Ok(Err(error)) => {
            let code = error.exit_code();
            let format = log_format(error.log_format());
            let code = if cli.print_config { print(format, error.print(), code) } else { code };
            let lines: String =
                error.problems().map(|words| telemetry::fault_line(format, "settings", words)).collect();
            telemetry::say(&lines);
            return Err(Failed::new(code, format!("{error} (exit code {})", code.code())));
        }
    };
    if cli.print_config {
        return Ok(print(log_format(loaded.settings.log_format), &loaded.print(), ExitCode::Stopped));
    }
    let format = log_format(loaded.settings.log_format);
    let node = loaded.settings.controller.as_ref().map_or("", |controller| controller.node.as_str());
    let logging = telemetry::install(format, log_level(&loaded.settings), node).map_err(|error| {
        say(format, "settings", &error.to_string());
        Failed::new(ExitCode::Configuration, error.to_string())
    })?;
    if let Some(deaf) = deaf {
        tracing::warn!(target: "agent_wrap", event = "not_announced", "{deaf}");
    }
    let caught = signals.map_err(system("cannot catch signals"));
    caught.and_then(|signals| live(clock, cli, &loaded, signals, beside, &logging, manager)).map_err(|error| {
        let code = error.code();
        tracing::error!(target: "agent_wrap", event = "not_started", "{error} (exit code {})", code.code());
        Failed::from(&error)
    })
}

/// Says why there is no start, as long as there is no log.
fn not_started(format: Format, error: StartError) -> Failed {
    say(format, "not_started", &error.to_string());
    Failed::from(&error)
}

/// Says something as long as there is no log.
fn say(format: Format, event: &str, words: &str) {
    telemetry::say(&telemetry::fault_line(format, event, words));
}

/// Prints what was asked for, and says how to exit then. A reader that has seen enough is none that is missing something.
fn print(format: Format, text: &str, code: ExitCode) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let words = format!("cannot write to stdout: {error}; is its disk full?");
            say(format, "stdout", &words);
            ExitCode::Internal
        }
        Err(_) | Ok(()) => code,
    }
}

fn log_format(format: LogFormat) -> Format {
    match format {
        LogFormat::Auto if telemetry::goes_to_the_journal() => Format::Journal,
        LogFormat::Auto | LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
        LogFormat::Journal => Format::Journal,
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

fn live(
    clock: Clock,
    cli: Cli,
    loaded: &Loaded,
    mut signals: EarlySignals,
    beside: Beside,
    logging: &Logging,
    manager: &mut Manager,
) -> Result<ExitCode, StartError> {
    let settings = &loaded.settings;
    for warning in &loaded.warnings {
        tracing::warn!(target: "agent_wrap", event = "settings", "{warning}");
    }
    let kept_ignored = signals.kept_ignored().to_vec();
    for warning in vain_meanings(settings, &kept_ignored) {
        tracing::warn!(target: "agent_wrap", event = "settings", "{warning}");
    }
    let table = SignalTable::new(settings.signals.iter().copied());
    let asked = settings.clone();
    let patience = Patience { clock, beside: &beside, signals: Some(&mut signals), table: &table };
    let tell = || {
        tracing::warn!(
            target: "agent_wrap",
            event = "slow_start",
            "the files that the settings name are still being read; is one on a mount that does not answer, or a pipe \
             that its writer keeps open?"
        );
    };
    let prepared = match patience.wait_for(move || start::prepare(&asked), tell).map_err(system(NO_READING))? {
        Ok(prepared) => prepared?,
        Err(Overtaken) => {
            let code = start::overtaken(settings);
            tracing::info!(
                target: "agent_wrap",
                event = "stopped",
                "stopped before the files were read: nothing was started, and the node is as it was (exit code {})",
                code.code()
            );
            return Ok(code);
        }
    };
    let Prepared { run, host, launch, state, previous, survivor, mut policy, controller, hold } = prepared;
    policy.terminal = signals.terminal().is_present();
    let stopper = stopper(policy.terminal, manager.is_some());
    announce(settings, &policy, stopper);
    if builds_are_root(settings) {
        tracing::warn!(
            target: "agent_wrap",
            event = "root",
            "the agent and all builds run as root, as agent-wrap does, and can read its token: name another user with \
             --agent-user (or root, if that is meant)"
        );
    }
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
        let connected = previous.connected && previous.unclean;
        record.memory = Memory { marked: previous.marked, connected, stopped: !previous.unclean };
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
    let beside = Arc::new(beside);
    let node = settings.controller.as_ref().map(|controller| controller.node.clone()).unwrap_or_default();
    let terminal = signals.terminal();
    // With Ctrl-C ignored a script has put us into its background, and the terminal is the script's.
    let may_draw = terminal.is_present() && !kept_ignored.contains(&libc::SIGINT);
    let screen = logging.bottom_line().filter(|_| may_draw).and_then(Screen::of_stderr);
    let is_watched = may_draw && logging.is_for_people() && io::stderr().is_terminal();
    let mut story = Story::new(&node, clock.now()).logged_by(logging).watched(is_watched).at_keyboard(may_draw);
    story = story.advising(stopper.more_time());
    story.interrupt_stops(table.interrupt_stops());
    if let Some(policy) = &policy.node {
        story = story.after_unclean_end(policy.unclean);
        story.online(policy.online);
    }
    let driver: Driver<Program> = Driver {
        clock,
        wall: Box::new(crate::clock::wall),
        story,
        terminal,
        signals: signals.into_stream().map_err(system("cannot take the signals over"))?,
        table,
        processes,
        facts,
        controller,
        state,
        record,
        launch: Arc::new(launch),
        reasons: Reasons { template: settings.offline_reason.clone(), host, node },
        reload: Arc::new(move |running: &Settings, launch: &Launch| reload::read(&cli, running, launch, &kept_ignored)),
        settings: settings.clone(),
        beside: Arc::clone(&beside),
        announcer: manager.take(),
        hold,
        display: screen.map(Display::new),
    };
    drop(entered);
    let Ended { ending, mut story, announcer } = runtime.block_on(driver::run(driver, policy));
    *manager = announcer;
    // What a stop has overtaken is finished, so that no secret is left in a file; unless it hangs.
    let _ = runtime.block_on(async { beside.run(LAST_PATIENCE, || ()).await });
    // Nothing that still runs in a thread of its own (a jar on its way to a slow disk) may hold up the end.
    runtime.shutdown_background();
    let code = ExitCode::from(&ending);
    let words = story.end(clock.now(), &ending, code.code());
    manager::farewell(manager, &words, manager::errno_of(&ending), code);
    Ok(code)
}

/// Whether builds can read the token without anybody having decided so. One in our environment takes a capability, which
/// containers seldom have.
fn builds_are_root(settings: &Settings) -> bool {
    let credentials = settings.controller.as_ref().and_then(|controller| controller.credentials.as_ref());
    let is_readable = credentials.is_some_and(|credentials| match credentials.token {
        SecretSource::File(_) => true,
        SecretSource::Literal(_) => process::sees_environments(),
    });
    is_readable && settings.agent_user.is_none() && nix::unistd::geteuid().is_root()
}

/// The first lines: what will be done, and how long a stop may take.
fn announce(settings: &Settings, policy: &Policy, stopper: Stopper) {
    let version = env!("CARGO_PKG_VERSION");
    let command = shell_quote(&settings.command);
    let node = settings.controller.as_ref().map(|controller| controller.node.as_str());
    match (&settings.controller, node) {
        (Some(controller), Some(node)) => tracing::info!(
            target: "agent_wrap",
            event = "start",
            node,
            "version {version} keeps node {} of {} and runs: {command}",
            quoted(node),
            controller.url
        ),
        _ => tracing::info!(
            target: "agent_wrap",
            event = "start",
            "version {version} runs, without a controller: {command}"
        ),
    }
    let mut drain = settings.drain;
    let drains = policy.node.as_ref().is_some_and(|node| node.offline == OfflinePolicy::Always);
    if let Drain::Until(until) = drain
        && drains
        && drain.is_past(clock::wall())
    {
        tracing::warn!(
            target: "agent_wrap",
            event = "past_moment",
            node,
            "{until}, until when a stop would wait for builds (--drain until=), is past: it will not wait for them"
        );
        drain = Drain::For(Span::ZERO);
    }
    let words = stopper.words(policy, drain);
    if stopper.surely_kills(policy) {
        tracing::warn!(target: "agent_wrap", event = "longest_stop", node, "{words}");
    } else {
        tracing::info!(target: "agent_wrap", event = "longest_stop", node, "{words}");
    }
}

/// Who stops us, as far as it can be seen.
fn stopper(terminal: bool, announced: bool) -> Stopper {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    Stopper::find(&Traces {
        has: &|name| variable(name).is_some(),
        is_podman: variable("container").is_some_and(|engine| engine == "podman"),
        exists: &Path::exists,
        terminal,
        announced,
        first: std::process::id() == 1,
    })
}
