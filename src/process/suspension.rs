//! An agent that lives and does not run: the kernel stops a process that wants something of a terminal in whose background
//! it is, and anybody may send it a STOP.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc;
use nix::sys::termios::{LocalFlags, tcgetattr};

/// What has become of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// It has been stopped.
    Begun {
        /// By this signal.
        signal: i32,
        /// Why the kernel has sent it, as a subordinate clause for people; `None` when somebody else has.
        why: Option<&'static str>,
        /// What to do about it.
        cure: String,
    },
    /// It goes on.
    Over,
}

impl Suspension {
    /// A stop of this agent, which leads its process group.
    pub(super) fn begun(agent: i32, signal: i32) -> Self {
        let (why, cure) = match (signal, stops_writers()) {
            (libc::SIGTTIN, Some(_)) => (
                Some(
                    "because it, or what it has started, wanted to read from the terminal, which is for your keys alone",
                ),
                format!(
                    "what asks for a password or an answer there has to be told not to (ssh -o BatchMode=yes, sudo -n, \
                     GIT_TERMINAL_PROMPT=0); `kill -CONT -- -{agent}` has it try again"
                ),
            ),
            (libc::SIGTTOU, Some(true)) => (
                Some(
                    "because it, or what it has started, wrote to the terminal, where `stty tostop` stops what does so from \
                     the background",
                ),
                format!(
                    "send its output elsewhere (>agent.log 2>&1), or set `stty -tostop`, after which `kill -CONT -- \
                     -{agent}` continues it"
                ),
            ),
            (libc::SIGTTOU, Some(false)) => (
                Some(
                    "because it, or what it has started, wanted to change the terminal's modes, as stty and whatever asks \
                     for a password do",
                ),
                format!(
                    "keep it from that, or send its output elsewhere (>agent.log 2>&1), so that it finds no terminal; `kill \
                     -CONT -- -{agent}` has it try again"
                ),
            ),
            _ => (None, format!("`kill -CONT {agent}` continues it")),
        };
        Self::Begun { signal, why, cure }
    }
}

/// Whether our controlling terminal stops what writes there in the background; `None` without one.
fn stops_writers() -> Option<bool> {
    let mut options = OpenOptions::new();
    let terminal = options.read(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open("/dev/tty").ok()?;
    tcgetattr(terminal).ok().map(|modes| modes.local_flags.contains(LocalFlags::TOSTOP))
}
