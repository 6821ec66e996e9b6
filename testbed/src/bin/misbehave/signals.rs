//! Signals as a JVM takes them.

use std::io::Result;
use std::sync::mpsc::Sender;
use std::thread;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use crate::arguments::Options;
use crate::{Exit, say, status};

/// Takes signals from now on. One that was ignored at the start stays ignored, which makes a JVM immune to it.
pub(crate) fn obey(options: &Options, ends: Sender<Exit>) -> Result<()> {
    let ignored = status::ignored()?;
    let is_ignored = |signal: &i32| ignored >> (signal - 1) & 1 == 1;
    let mut wanted: Vec<i32> = [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|signal| !is_ignored(signal)).collect();
    wanted.extend([SIGQUIT, SIGPIPE]);
    if options.print_signals {
        wanted.extend([SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH]);
    }
    let mut signals = Signals::new(wanted)?;
    let (print, ignore_term) = (options.print_signals, options.ignore_term);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if print && signal != SIGPIPE {
                let name = signal_name(signal).unwrap_or_default();
                say(&format!("signal {}", name.trim_start_matches("SIG")));
            }
            let code = match signal {
                SIGTERM if ignore_term => continue,
                SIGTERM => 143,
                SIGINT => 130,
                SIGHUP => 129,
                SIGQUIT => {
                    say("Full thread dump of an agent that misbehaves");
                    continue;
                }
                _ => continue,
            };
            // The receiver lives until the process ends.
            ends.send(Exit(code)).ok();
        }
    })?;
    Ok(())
}
