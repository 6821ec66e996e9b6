//! The simulated controller as a program, for tries by hand.

use std::io::Write as _;

use agent_wrap_testbed::simulated::{Account, Moment, Options, Permission, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Jenkins,
    Hudson,
}

/// A controller that behaves like Jenkins or Hudson as far as agent-wrap can tell. It says its root URL on standard
/// output once it takes connections, each request on standard error, and ends at TERM or INT.
#[derive(Debug, Parser)]
#[command(name = "simulated-controller")]
struct Arguments {
    /// The port on 127.0.0.1; 0 for any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Which of the twins.
    #[arg(long, value_enum, default_value = "jenkins")]
    mode: Mode,
    /// The version that it claims, which decides what it can do.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// A node, as often as wanted.
    #[arg(long = "node", value_name = "NAME[=EXECUTORS]")]
    nodes: Vec<String>,
    /// A user who may do everything, with an API token; as often as wanted. None: security is off.
    #[arg(long = "user", value_name = "USER:TOKEN")]
    users: Vec<String>,
    /// The context path.
    #[arg(long, default_value = "")]
    context_path: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let controller = Simulated::start(options(&arguments)?)?;
    for node in &arguments.nodes {
        let (name, executors) = node.split_once('=').unwrap_or((node, "1"));
        let executors = executors.parse().with_context(|| format!("{executors:?} is no number of executors"))?;
        controller.create_node(name, executors)?;
    }
    controller.hook(|_, request, moment| {
        if moment == Moment::After {
            let user = request.user.as_deref().unwrap_or("anonymous");
            writeln!(std::io::stderr(), "{user}: {} {} {}", request.method, request.path, request.command.join(" "))
                .ok();
        }
    });
    writeln!(std::io::stdout(), "{}", controller.url())?;
    signals.forever().next();
    Ok(())
}

fn options(arguments: &Arguments) -> Result<Options> {
    let mut options = match (arguments.mode, &arguments.version) {
        (Mode::Jenkins, Some(version)) => Options::jenkins(version),
        (Mode::Jenkins, None) => Options::default(),
        (Mode::Hudson, _) => Options::hudson(),
    };
    if let (Mode::Hudson, Some(version)) = (arguments.mode, &arguments.version) {
        options.version.clone_from(version);
    }
    options.port = arguments.port;
    options.context_path = arguments.context_path.trim_matches('/').to_owned();
    options.security = !arguments.users.is_empty();
    options.accounts.clear();
    for user in &arguments.users {
        let (name, token) = user.split_once(':').with_context(|| format!("{user:?} is not USER:TOKEN"))?;
        let account = Account::new(name, &[Permission::Administer]);
        options.accounts.push(Account { token: Some(token.to_owned()), password: None, ..account });
    }
    Ok(options)
}
