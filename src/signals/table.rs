//! What each signal means.

use std::collections::BTreeMap;
use std::str::FromStr;

use agent_wrap_supervisor::{Request, StopSource};
use nix::libc;
use thiserror::Error;

use super::name::{UnknownSignal, signal_name, signal_number};
use super::terminal::Terminal;
use super::{Received, is_caught};

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

impl FromStr for Verb {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::WORDS.into_iter().find(|(word, _)| *word == text);
        found.map(|(_, verb)| verb).ok_or_else(|| SettingError::UnknownVerb(text.to_owned()))
    }
}

/// One `NAME=VERB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The number of the signal.
    pub signal: i32,
    /// What it shall mean.
    pub verb: Verb,
}

/// Why a `NAME=VERB` is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingError {
    /// No equals sign.
    #[error("{0:?} gives no meaning to a signal: write NAME=VERB, for instance USR1=drain")]
    Shape(String),
    /// No such signal.
    #[error(transparent)]
    UnknownSignal(#[from] UnknownSignal),
    /// No such verb.
    #[error(
        "a signal cannot mean {0:?}: it is one of stop, stop-now, drain, online, reload, restart, forward and ignore"
    )]
    UnknownVerb(String),
    /// A signal whose meaning is fixed.
    #[error("the meaning of SIG{0} cannot be changed: the kernel or agent-wrap itself needs it")]
    Fixed(String),
}

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, verb) = text.split_once('=').ok_or_else(|| SettingError::Shape(text.to_owned()))?;
        let signal = signal_number(name)?;
        if !is_caught(signal) || signal == libc::SIGCHLD {
            return Err(SettingError::Fixed(signal_name(signal)));
        }
        Ok(Self { signal, verb: verb.trim().parse()? })
    }
}

/// What a signal that came is to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A wish for the supervisor.
    Request(Request),
    /// The settings are to be read again.
    Reload,
    /// Some child has ended: a matter of the process shell.
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
        for signal in [libc::SIGQUIT, libc::SIGPWR, libc::SIGALRM, libc::SIGXCPU, libc::SIGRTMIN() + 3] {
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
        let ignored = SignalTable::new(["HUP=ignore".parse().unwrap()]);
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
        let number = libc::SIGRTMIN() + 3;
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
            let table = SignalTable::new([format!("RTMIN+3={word}").parse().unwrap()]);
            assert_eq!(table.meaning(&received(number), false, || false), meaning, "{word}");
        }
    }

    #[test]
    fn a_later_setting_wins() {
        let table = SignalTable::new(["USR1=stop".parse().unwrap(), "10=stop-now".parse().unwrap()]);
        assert_eq!(table.meaning(&received(libc::SIGUSR1), false, || false), Meaning::Request(Request::StopNow));
    }

    #[test]
    fn settings_that_are_none() {
        let parse = |text: &str| text.parse::<Setting>().unwrap_err();
        assert_eq!(parse("USR1"), SettingError::Shape("USR1".to_owned()));
        assert_eq!(parse("USR3=stop"), SettingError::UnknownSignal(UnknownSignal("USR3".to_owned())));
        assert_eq!(parse("USR1=halt"), SettingError::UnknownVerb("halt".to_owned()));
        for name in ["KILL", "STOP", "CHLD", "SEGV", "TTOU", "PIPE"] {
            assert_eq!(parse(&format!("{name}=stop")), SettingError::Fixed(name.to_owned()));
        }
    }
}
