//! The command line. Everything up to the agent's command is ours; from its first word on, or after `--`, every byte
//! is the agent's.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, value_parser};

use crate::config::{self, Flags};
use crate::exit::ExitCode;
use crate::mask;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Cli {
    /// The settings given by flags.
    pub flags: Flags,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--print-config`: show the settings in force and exit.
    pub print_config: bool,
    /// Called as `jenkins-agent`, where all arguments are the agent's and no option can be given: how many of the words at
    /// the command's end were arguments, and not variables.
    pub entry_point: Option<usize>,
    /// The agent's command; empty only with `--print-config`.
    pub command: Vec<OsString>,
}

/// There is nothing to run: a text to print, and how to exit then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// What to print, with its line ends.
    pub text: String,
    /// To stderr, else to stdout.
    pub to_stderr: bool,
    /// How to exit.
    pub code: ExitCode,
}

/// What `agent-wrap` alone prints at a terminal.
pub const GREETING: &str = "\
agent-wrap brings a Jenkins or Hudson node online, runs its agent, and marks
the node offline before the agent stops, so that no build is cut off.

  agent-wrap [OPTIONS] COMMAND [ARGUMENT...]

For example, with the account's API token in a file:

  agent-wrap --url https://jenkins.example.org/ --node linux-7 \\
      --user keeper --token-file ~/.jenkins-token java -jar agent.jar

`agent-wrap --help` lists the options, `man agent-wrap` explains them.
";

/// Parses a command line, the program's own name first. `terminal`: whether stderr is one.
///
/// # Errors
/// Help, version, or a wrong use: the text to print and the exit code.
pub fn parse(arguments: impl IntoIterator<Item = OsString>, terminal: bool) -> Result<Cli, Farewell> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.len() <= 1 && terminal {
        return Err(Farewell { text: GREETING.to_owned(), to_stderr: true, code: ExitCode::Usage });
    }
    let mut matches = command().try_get_matches_from(arguments).map_err(farewell)?;
    let words: Vec<OsString> = matches.remove_many("command").map(Iterator::collect).unwrap_or_default();
    let print_config = matches.get_flag("print-config");
    if words.is_empty() && !print_config {
        let text = "agent-wrap: the agent's command is missing\n\
                    agent-wrap: write it after the options, as in: agent-wrap --node linux-7 java -jar agent.jar\n";
        return Err(Farewell { text: text.to_owned(), to_stderr: true, code: ExitCode::Usage });
    }
    let config = matches.remove_one("config");
    let flags = Flags::from_matches(&mut matches);
    Ok(Cli { flags, config, print_config, entry_point: None, command: words })
}

/// What clap says, each line with our name: it may stand between lines of others.
fn farewell(mut error: clap::Error) -> Farewell {
    if !error.use_stderr() {
        return Farewell { text: error.render().to_string(), to_stderr: false, code: ExitCode::Stopped };
    }
    if error.kind() == ErrorKind::UnknownArgument {
        // Its own tip, to write `--` before it, would make the option the command.
        let tip = "what is meant for the agent stands after the agent's command";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    let rendered = error.render().to_string();
    let masked = mask::text(&rendered);
    let words = masked.strip_prefix("error: ").unwrap_or(&masked);
    let lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
    Farewell { text: lines.map(fault_line).collect(), to_stderr: true, code: ExitCode::Usage }
}

fn fault_line(words: &str) -> String {
    format!("agent-wrap: {words}\n")
}

/// The definition of the command line, for parsing, help and shell completion.
#[must_use]
pub fn command() -> Command {
    Command::new("agent-wrap")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "Bring a Jenkins or Hudson node online, run its agent, mark the node offline before it stops.\n\
             COMMAND is the agent, as in: java -jar agent.jar; how to connect is added where it does not say.",
        )
        .override_usage("agent-wrap [OPTIONS] COMMAND [ARGUMENT...]")
        .max_term_width(100)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new("command")
                // In the words of the usage it stands at the top; these would be others.
                .hide(true)
                .value_parser(value_parser!(OsString))
                .num_args(0..)
                .trailing_var_arg(true),
        )
        .args(config::flag_arguments())
        .next_help_heading(config::OWN_HEADING)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(format!("Settings file [default: {}, if it is there]", config::DEFAULT_PATH)),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print each setting with where it came from, secrets masked, and exit"),
        )
        .arg(Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Print this help and exit"))
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version and exit"),
        )
        .after_help(
            "TIME is written like 90s, 5m or 1h 30m, or as whole seconds. Every option but --print-config, --help and \
             --version is also a variable of the environment (AGENT_WRAP_DRAIN) and, but for --config, a key of the \
             settings file (drain = \"5m\"). Signals and exit codes: agent-wrap(1).\n\n\
             Example: agent-wrap --user keeper --token-file token --url https://ci/ --node a java -jar agent.jar",
        )
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn command_of(arguments: &[&str]) -> Vec<OsString> {
        parse(words(arguments), false).unwrap().command
    }

    #[test]
    fn everything_from_the_first_word_on_is_the_agents() {
        for rest in [
            &["java", "-jar", "agent.jar", "--node", "x", "-h", "--help", "-V"][..],
            &["java", "--", "--url", "--", ""],
            &["./start.sh", "-", "--print-config", "--unknown=1", "-secret=a=b", " ", "@f"],
            &["", "--drain"],
        ] {
            assert_eq!(command_of(&[&["agent-wrap", "--node", "n"][..], rest].concat()), words(rest));
            assert_eq!(command_of(&[&["agent-wrap", "--drain=5m", "--"][..], rest].concat()), words(rest));
            assert_eq!(command_of(&[&["agent-wrap", "--standalone"][..], rest].concat()), words(rest));
        }
        assert_eq!(command_of(&["agent-wrap", "--", "--node", "x"]), words(&["--node", "x"]));
        assert_eq!(command_of(&["agent-wrap", "--", "--", "x"]), words(&["--", "x"]));
    }

    #[test]
    fn bytes_of_the_command_stay_as_they_are() {
        let odd = OsString::from_vec(vec![0xff, b'=', 0x80]);
        let arguments = ["agent-wrap".into(), "java".into(), odd.clone()];
        assert_eq!(parse(arguments, false).unwrap().command, ["java".into(), odd]);
    }

    #[test]
    fn a_wrong_use_is_told_on_stderr_with_64() {
        for arguments in [
            &["agent-wrap"][..],
            &["agent-wrap", "--node", "x"],
            &["agent-wrap", "--"],
            &["agent-wrap", "--unknown", "java"],
            &["agent-wrap", "-x", "java"],
            &["agent-wrap", "--node"],
            &["agent-wrap", "--token", "hush", "java"],
            &["agent-wrap", "--node", "a", "--node", "b", "java"],
            &["agent-wrap", "--print-config=https://me:hush@ci/"],
        ] {
            let farewell = parse(words(arguments), false).unwrap_err();
            assert_eq!((farewell.code, farewell.to_stderr), (ExitCode::Usage, true), "{arguments:?}");
            assert!(farewell.text.lines().all(|line| line.starts_with("agent-wrap: ")), "{}", farewell.text);
            assert!(!farewell.text.contains('\u{1b}') && !farewell.text.contains("hush"));
        }
    }

    #[test]
    fn no_tip_makes_an_option_the_command() {
        for unknown in ["--foo", "-x", "--foo=bar", "--nod"] {
            let text = parse(words(&["agent-wrap", unknown, "java"]), false).unwrap_err().text;
            assert!(!text.contains("-- -") && text.contains("after the agent's command"), "{text}");
            assert_eq!(text.contains("'--node'"), unknown == "--nod", "{text}");
        }
    }

    #[test]
    fn help_and_version_are_what_was_asked_for() {
        for flag in ["-h", "--help", "-V", "--version"] {
            let farewell = parse(words(&["agent-wrap", flag]), false).unwrap_err();
            assert_eq!((farewell.code, farewell.to_stderr), (ExitCode::Stopped, false), "{flag}");
        }
        assert_eq!(parse(words(&["agent-wrap", "-V"]), false).unwrap_err().text, "agent-wrap 0.1.0\n");
    }

    #[test]
    fn alone_at_a_terminal_it_greets() {
        let farewell = parse(words(&["agent-wrap"]), true).unwrap_err();
        assert_eq!((farewell.text.as_str(), farewell.code), (GREETING, ExitCode::Usage));
        assert!(GREETING.lines().count() <= 12 && GREETING.lines().all(|line| line.len() < 80));
    }

    #[test]
    fn nothing_has_to_run_to_print_settings() {
        let cli = parse(words(&["agent-wrap", "--config", "f", "--print-config"]), false).unwrap();
        assert!(cli.print_config && cli.command.is_empty());
        assert_eq!(cli.config.as_deref(), Some(std::path::Path::new("f")));
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }
}
