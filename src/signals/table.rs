//! What each signal means.

use std::collections::BTreeMap;

use agent_wrap_supervisor::{Request, StopSource};
use nix::libc;
use thiserror::Error;

use super::name::{UnknownSignal, signal_name, signal_number};
use super::terminal::Terminal;
use super::{Received, is_caught, is_reserved};

/// A meaning that `--signal NAME=VERB` can give to a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Stop gracefully.
    Stop,
    /// Stop without waiting for running builds.
    StopNow,
    /// Land: mark, drain, stay up.
    Drain,
    /// Take off: lift our mark again.
    Online,
    /// Read the settings again.
    Reload,
    /// Mark, drain, start the agent anew.
    Restart,
    /// Pass it on to the agent.
    Forward,
    /// Nothing.
    Ignore,
}

impl Verb {
    /// All of them, with the words for them.
    pub const WORDS: [(&'static str, Self); 8] = [
        ("stop", Self::Stop),
        ("stop-now", Self::StopNow),
        ("drain", Self::Drain),
        ("online", Self::Online),
        ("reload", Self::Reload),
        ("restart", Self::Restart),
        ("forward", Self::Forward),
        ("ignore", Self::Ignore),
    ];
}

/// The meaning that the settings give to one signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The number of the signal.
    pub signal: i32,
    /// What it shall mean.
    pub verb: Verb,
}

/// Why a signal cannot be given a meaning.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingError {
    /// No such signal.
    #[error(transparent)]
    Unknown(#[from] UnknownSignal),
    /// The kernel carries it out itself.
    #[error("SIG{0} cannot be caught by any program; take another signal, such as USR1 or RTMIN+3")]
    Uncatchable(String),
    /// We need it ourselves.
    #[error(
        "SIG{0} tells agent-wrap that a process has ended and can mean nothing else; take another signal, such as USR1 \
         or RTMIN+3"
    )]
    Needed(String),
    /// It means that a program is broken.
    #[error(
        "SIG{0} says that a program has a fault, which agent-wrap does not hide; take another signal, such as USR1 or \
         RTMIN+3"
    )]
    Fault(String),
    /// Ignored from the start to the end.
    #[error(
        "SIG{0} is always ignored, so that a terminal or a closed log never stops agent-wrap; take another signal, such \
         as USR1 or RTMIN+3"
    )]
    Ignored(String),
    /// This program's C library has it for itself.
    #[error(
        "SIG{0} is kept by this program's C library (musl) for itself, and does nothing here; take the next one, {next}, \
         which is the same signal for everybody", next = signal_name(libc::SIGRTMIN())
    )]
    Reserved(String),
}

/// The number of a signal that may be given a meaning, by its name or number.
///
/// # Errors
/// There is no such signal, or its meaning is fixed.
pub fn settable(name: &str) -> Result<i32, SettingError> {
    let signal = signal_number(name)?;
    let fixed: fn(String) -> SettingError = match signal {
        libc::SIGKILL | libc::SIGSTOP => SettingError::Uncatchable,
        libc::SIGCHLD => SettingError::Needed,
        libc::SIGTTIN | libc::SIGTTOU | libc::SIGPIPE => SettingError::Ignored,
        _ if is_caught(signal) => return Ok(signal),
        _ if is_reserved(signal) => SettingError::Reserved,
        _ => SettingError::Fault,
    };
    Err(fixed(signal_name(signal)))
}

/// What a signal that came is to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A wish for the supervisor.
    Request(Request),
    /// The settings are to be read again.
    Reload,
    /// Some child has ended, was stopped or goes on: a matter of the process shell.
    ChildChanged,
    /// Nothing.
    Nothing,
}

/// The meaning of every signal: the defaults and what the settings have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalTable {
    changed: BTreeMap<i32, Verb>,
}

impl SignalTable {
    /// The defaults with these changes; a later one for the same signal wins.
    #[must_use]
    pub fn new(settings: impl IntoIterator<Item = Setting>) -> Self {
        Self { changed: settings.into_iter().map(|setting| (setting.signal, setting.verb)).collect() }
    }

    /// What this signal means here and now.
    #[must_use]
    pub fn classify(&self, received: &Received, terminal: Terminal) -> Meaning {
        self.meaning(received, terminal.has_job_control(), || terminal.has_hung_up())
    }

    /// Whether an interrupt, Ctrl-C, asks for a stop as it does by default.
    #[must_use]
    pub fn interrupt_stops(&self) -> bool {
        self.changed.get(&libc::SIGINT).is_none_or(|verb| *verb == Verb::Stop)
    }

    fn meaning(&self, received: &Received, job_control: bool, hung_up: impl FnOnce() -> bool) -> Meaning {
        let signal = received.signal;
        let verb = self.changed.get(&signal).copied();
        let verb = match (signal, verb) {
            (libc::SIGCHLD, _) => return Meaning::ChildChanged,
            (_, Some(verb)) => verb,
            (libc::SIGTERM | libc::SIGINT, None) => Verb::Stop,
            (libc::SIGHUP, None) if hung_up() => return Meaning::Request(Request::Stop(StopSource::Hangup)),
            (libc::SIGHUP, None) => Verb::Reload,
            (libc::SIGUSR1, None) => Verb::Drain,
            (libc::SIGUSR2, None) => Verb::Online,
            (libc::SIGTSTP, None) if job_control => return Meaning::Request(Request::Suspend),
            (libc::SIGTSTP, None) => Verb::Ignore,
            // The agent's group is continued by us when we have been; a window and urgent data are no news to it.
            (libc::SIGCONT | libc::SIGWINCH | libc::SIGURG | libc::SIGIO, None) => Verb::Ignore,
            // What the kernel raises about our own timers and limits is not about the agent.
            (libc::SIGALRM | libc::SIGVTALRM | libc::SIGPROF | libc::SIGXCPU | libc::SIGXFSZ, None)
                if received.sender.is_none() =>
            {
                Verb::Ignore
            }
            (_, None) => Verb::Forward,
        };
        match verb {
            Verb::Stop if signal == libc::SIGINT => Meaning::Request(Request::Stop(StopSource::Interrupt)),
            Verb::Stop => Meaning::Request(Request::Stop(StopSource::Terminate)),
            Verb::StopNow => Meaning::Request(Request::StopNow),
            Verb::Drain => Meaning::Request(Request::Land),
            Verb::Online => Meaning::Request(Request::TakeOff),
            Verb::Restart => Meaning::Request(Request::Restart),
            Verb::Forward => Meaning::Request(Request::Forward(signal)),
            Verb::Reload => Meaning::Reload,
            Verb::Ignore => Meaning::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sender;
    use super::super::name::RTMIN;
    use super::*;

    fn received(signal: i32) -> Received {
        Received { signal, sender: Some(Sender { pid: 1, uid: 0 }) }
    }

    #[test]
    fn the_defaults() {
        let table = SignalTable::default();
        let meaning = |signal| table.meaning(&received(signal), false, || false);
        let request = Meaning::Request;
        assert_eq!(meaning(libc::SIGTERM), request(Request::Stop(StopSource::Terminate)));
        assert_eq!(meaning(libc::SIGINT), request(Request::Stop(StopSource::Interrupt)));
        assert_eq!(meaning(libc::SIGUSR1), request(Request::Land));
        assert_eq!(meaning(libc::SIGUSR2), request(Request::TakeOff));
        assert_eq!(meaning(libc::SIGCHLD), Meaning::ChildChanged);
        for signal in [libc::SIGQUIT, libc::SIGPWR, libc::SIGALRM, libc::SIGXCPU, 37] {
            assert_eq!(meaning(signal), request(Request::Forward(signal)), "{signal}");
        }
        for signal in [libc::SIGCONT, libc::SIGWINCH, libc::SIGURG, libc::SIGIO] {
            assert_eq!(meaning(signal), Meaning::Nothing, "{signal}");
        }
    }

    #[test]
    fn a_hangup_and_a_reload_are_told_apart_by_the_terminal() {
        let table = SignalTable::default();
        let hangup = Meaning::Request(Request::Stop(StopSource::Hangup));
        assert_eq!(table.meaning(&received(libc::SIGHUP), true, || true), hangup);
        assert_eq!(table.meaning(&received(libc::SIGHUP), true, || false), Meaning::Reload);
        let ignored = SignalTable::new([Setting { signal: libc::SIGHUP, verb: Verb::Ignore }]);
        assert_eq!(ignored.meaning(&received(libc::SIGHUP), true, || true), Meaning::Nothing);
    }

    #[test]
    fn a_stop_from_the_terminal_needs_somebody_to_continue_us() {
        let table = SignalTable::default();
        assert_eq!(table.meaning(&received(libc::SIGTSTP), true, || false), Meaning::Request(Request::Suspend));
        assert_eq!(table.meaning(&received(libc::SIGTSTP), false, || false), Meaning::Nothing);
    }

    #[test]
    fn noise_of_the_kernel_is_not_forwarded() {
        let table = SignalTable::default();
        for signal in [libc::SIGXCPU, libc::SIGXFSZ, libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF] {
            assert_eq!(table.meaning(&Received { signal, sender: None }, true, || false), Meaning::Nothing);
        }
        let typed = Received { signal: libc::SIGQUIT, sender: None };
        assert_eq!(table.meaning(&typed, true, || false), Meaning::Request(Request::Forward(libc::SIGQUIT)));
    }

    #[test]
    fn every_verb_for_a_realtime_signal() {
        let stop = Meaning::Request(Request::Stop(StopSource::Terminate));
        let number = 37;
        let expected = [
            ("stop", stop),
            ("stop-now", Meaning::Request(Request::StopNow)),
            ("drain", Meaning::Request(Request::Land)),
            ("online", Meaning::Request(Request::TakeOff)),
            ("reload", Meaning::Reload),
            ("restart", Meaning::Request(Request::Restart)),
            ("forward", Meaning::Request(Request::Forward(number))),
            ("ignore", Meaning::Nothing),
        ];
        assert_eq!(expected.map(|(word, _)| word), Verb::WORDS.map(|(word, _)| word));
        for (word, meaning) in expected {
            let verb = Verb::WORDS.into_iter().find(|(known, _)| *known == word).unwrap().1;
            let table = SignalTable::new([Setting { signal: number, verb }]);
            assert_eq!(table.meaning(&received(number), false, || false), meaning, "{word}");
        }
    }

    #[test]
    fn a_later_setting_wins() {
        let usr1 = |verb| Setting { signal: libc::SIGUSR1, verb };
        let table = SignalTable::new([usr1(Verb::Stop), usr1(Verb::StopNow)]);
        assert_eq!(table.meaning(&received(libc::SIGUSR1), false, || false), Meaning::Request(Request::StopNow));
    }

    #[test]
    fn signals_whose_meaning_is_fixed() {
        let name = |name: &str| name.to_owned();
        assert_eq!(settable("USR3"), Err(SettingError::Unknown(UnknownSignal(name("USR3")))));
        type Fixed = fn(String) -> SettingError;
        let fixed: [(_, Fixed); 13] = [
            ("KILL", SettingError::Uncatchable),
            ("STOP", SettingError::Uncatchable),
            ("CHLD", SettingError::Needed),
            ("SEGV", SettingError::Fault),
            ("BUS", SettingError::Fault),
            ("FPE", SettingError::Fault),
            ("ILL", SettingError::Fault),
            ("TRAP", SettingError::Fault),
            ("SYS", SettingError::Fault),
            ("ABRT", SettingError::Fault),
            ("TTIN", SettingError::Ignored),
            ("TTOU", SettingError::Ignored),
            ("PIPE", SettingError::Ignored),
        ];
        for (signal, error) in fixed {
            assert_eq!(settable(signal), Err(error(name(signal))));
        }
        // Every other signal may mean something, the realtime ones too.
        let numbers = (1..32).chain(libc::SIGRTMIN()..=64);
        let free = numbers.filter(|signal| !fixed.iter().any(|(name, _)| *name == signal_name(*signal)));
        for signal in free {
            assert_eq!(settable(&signal.to_string()), Ok(signal));
        }
        // But where the C library is musl: there the first of them is its own.
        for signal in RTMIN..libc::SIGRTMIN() {
            let error = settable(&signal.to_string()).unwrap_err();
            assert_eq!(error, SettingError::Reserved(name("RTMIN")));
            assert!(error.to_string().contains("take the next one, RTMIN+1,"), "{error}");
        }
    }
}
