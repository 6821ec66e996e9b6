//! The signal shell: every signal is caught from the first instruction of `main` on, kept until the driver asks, and
//! given a meaning by a table.
//!
//! | inherited | what becomes of it |
//! |---|---|
//! | ignored HUP (`nohup`) | stays ignored, here and in the agent |
//! | ignored INT (`&` in a script) | stays ignored here: a Ctrl-C for the script is not for us; the agent gets the default |
//! | anything else that is ignored | overridden: a TERM always works, and QUIT always asks for the threads |
//! | blocked | lifted, here and in the agent |
//!
//! TTIN and TTOU are ignored, so that the terminal never stops us without our agent; PIPE is, as in every Rust program.
//! Faults (SEGV, BUS, FPE, ILL, TRAP, SYS, ABRT) keep their default. So does what the C library keeps to itself, but for the
//! RTMIN of others that is among it in musl: it is ignored, because whoever sends it means us.

mod name;
mod table;
mod terminal;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;

pub use name::{UnknownSignal, signal_name, signal_number};
pub use table::{Meaning, Setting, SettingError, SignalTable, Verb, settable};
pub use terminal::{Terminal, stop_self};

use crate::terminal::Modes;

/// The highest signal number of any Linux architecture we run on.
pub(crate) const HIGHEST_SIGNAL: i32 = 64;

/// One signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// Who sent it; `None` when the kernel did, for a key typed at the terminal for instance.
    pub sender: Option<Sender>,
}

/// The process that sent a signal; for a CHLD the child it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its process id; 0 when it is outside our pid namespace, as `docker stop` is.
    pub pid: i32,
    /// Its user id.
    pub uid: u32,
}

impl fmt::Display for Received {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SIG{}", signal_name(self.signal))?;
        match self.sender {
            Some(Sender { pid: 0, uid }) => write!(out, " from outside this container (uid {uid})"),
            Some(Sender { pid, uid }) => write!(out, " from process {pid} (uid {uid})"),
            None if [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGHUP].contains(&self.signal) => {
                write!(out, " from the terminal")
            }
            None => write!(out, " from the kernel"),
        }
    }
}

/// Signals caught before there is a runtime.
pub struct EarlySignals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    kept_ignored: Vec<i32>,
    terminal: Terminal,
    modes: Modes,
    seen: VecDeque<Received>,
}

/// Catches every signal that may mean something. To be called first thing in `main`, once.
///
/// # Errors
/// When there is no descriptor to be had.
pub fn install_early() -> io::Result<EarlySignals> {
    // A signal that comes while its handler is being registered finds the handler and nobody to tell: it would be lost.
    SigSet::all().thread_set_mask()?;
    let installed = install();
    // Not the mask of before: one inherited from a careless parent would make us deaf.
    SigSet::empty().thread_set_mask()?;
    installed
}

fn install() -> io::Result<EarlySignals> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    let kept_ignored: Vec<i32> =
        [libc::SIGHUP, libc::SIGINT].into_iter().filter(|&signal| is_ignored(signal)).collect();
    // The stops first: they are the ones somebody may be sending already.
    let first = [libc::SIGTERM, libc::SIGINT];
    let rest = (1..=HIGHEST_SIGNAL).filter(|signal| !first.contains(signal));
    let caught = first.into_iter().chain(rest).filter(|signal| is_caught(*signal) && !kept_ignored.contains(signal));
    let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), caught)?;
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTTIN, Signal::SIGTTOU] {
        // SAFETY: ignoring runs no code.
        unsafe { sigaction(signal, &ignore) }?;
    }
    for signal in (1..=HIGHEST_SIGNAL).filter(|signal| is_reserved(*signal)) {
        // SAFETY: as above. musl uses it among threads when one of them changes its user, and ignores it afterwards itself.
        unsafe { set_disposition(signal, libc::SIG_IGN) }?;
    }
    let modes = Modes::default();
    // With Ctrl-C ignored a script has put us into its background, and what it does to the terminal is its own.
    if !kept_ignored.contains(&libc::SIGINT) {
        modes.save();
    }
    Ok(EarlySignals { delivery, kept_ignored, terminal: Terminal::detect(), modes, seen: VecDeque::new() })
}

impl EarlySignals {
    /// The signals that were ignored when we were started and stay so; giving one of them a meaning is in vain.
    #[must_use]
    pub fn kept_ignored(&self) -> &[i32] {
        &self.kept_ignored
    }

    /// What is known of the terminal we were started at.
    #[must_use]
    pub fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// The terminal's modes, which are put back when the last who has them lets them go.
    #[must_use]
    pub fn modes(&self) -> Modes {
        self.modes.clone()
    }

    /// All that have come so far. They stay for the driver.
    pub fn look(&mut self) -> impl Iterator<Item = &Received> {
        self.seen.extend(pending(&mut self.delivery));
        self.seen.iter()
    }

    /// Stops this process if one that has come asks for it, as `asks` tells, and comes back when somebody has continued it.
    ///
    /// # Errors
    /// Those of [`stop_self`].
    pub fn suspend(&mut self, asks: impl Fn(&Received) -> bool) -> io::Result<()> {
        self.seen.extend(pending(&mut self.delivery));
        let all = self.seen.len();
        self.seen.retain(|received| !asks(received));
        if self.seen.len() == all {
            return Ok(());
        }
        stop_self()?;
        if !self.kept_ignored.contains(&libc::SIGINT) {
            self.modes.save();
        }
        Ok(())
    }

    /// Hands over to the driver, with all that has come so far. To be called inside the runtime.
    ///
    /// # Errors
    /// When there is no descriptor to be had.
    pub fn into_stream(self) -> io::Result<Signals> {
        let wake = tokio::net::UnixStream::from_std(self.delivery.get_read().try_clone()?)?;
        let Self { delivery, kept_ignored, modes, seen, .. } = self;
        Ok(Signals { delivery, wake, batch: seen, modes: (!kept_ignored.contains(&libc::SIGINT)).then_some(modes) })
    }
}

/// Becomes readable when there is a signal to [look](EarlySignals::look) at.
impl AsFd for EarlySignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

fn pending(delivery: &mut SignalDelivery<UnixStream, WithOrigin>) -> impl Iterator<Item = Received> {
    delivery.pending().map(|origin| Received {
        signal: origin.signal,
        sender: origin.process.map(|process| Sender { pid: process.pid, uid: process.uid }),
    })
}

/// The signals as they come.
pub struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    wake: tokio::net::UnixStream,
    batch: VecDeque<Received>,
    /// Those of a terminal that may be ours.
    modes: Option<Modes>,
}

impl Signals {
    /// The next signal, SIGCHLD among them. Nothing is lost when this is not awaited to its end. Different signals that
    /// come before anybody looks are told in the order of their numbers; of one signal at most five are kept.
    pub async fn next(&mut self) -> Received {
        loop {
            if let Some(received) = self.batch.pop_front() {
                return received;
            }
            self.batch.extend(pending(&mut self.delivery));
            if self.batch.is_empty() {
                // The bytes say only that it is worth looking; reading them all is what makes the runtime wait again.
                let _ = self.wake.readable().await;
                while self.wake.try_read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
            }
        }
    }
}

impl Signals {
    /// Stops this process as Ctrl-Z does, until somebody continues it. The terminal's modes are then those that the shell
    /// has given us.
    ///
    /// # Errors
    /// Those of [`stop_self`].
    pub fn stop_self(&mut self) -> io::Result<()> {
        stop_self()?;
        if let Some(modes) = &self.modes {
            modes.save();
        }
        Ok(())
    }
}

/// Whether a signal is ours to catch: it can be caught, no fault raises it, and nothing better is to be done with it.
fn is_caught(signal: i32) -> bool {
    let left_alone = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGABRT,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGPIPE,
    ];
    // Between the two the C library keeps signals to itself.
    (1..32).contains(&signal) && !left_alone.contains(&signal) || (libc::SIGRTMIN()..=HIGHEST_SIGNAL).contains(&signal)
}

/// Whether others mean a realtime signal by this number, and our C library does not: it lets nobody catch it.
fn is_reserved(signal: i32) -> bool {
    (name::RTMIN..libc::SIGRTMIN()).contains(&signal)
}

/// Gives a signal the default disposition or has it ignored, also where the C library refuses that. Safe to call between
/// fork and exec.
///
/// # Safety
/// `disposition` is `SIG_DFL` or `SIG_IGN`, and whoever else in this process sets it does not mind.
pub(crate) unsafe fn set_disposition(signal: i32, disposition: libc::sighandler_t) -> Result<(), Errno> {
    // The kernel's own structure: the handler, then flags, perhaps a restorer and a mask, which are all zero.
    let mut action = [0 as libc::sighandler_t; 8];
    action[0] = disposition;
    let null = ptr::null_mut::<libc::c_void>();
    // SAFETY: the action is longer than any kernel reads, and the last argument is the length of a mask of 64 signals.
    let set = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), null, 8usize) };
    Errno::result(set).map(drop)
}

/// Whether the signal's disposition in this process is to be ignored. Safe to call between fork and exec.
pub(crate) fn is_ignored(signal: i32) -> bool {
    // SAFETY: a sigaction is plain data, for which all zeroes are a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only asks; the old one is written to valid memory.
    let asked = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_about_a_sender() {
        let said = |signal, sender| Received { signal, sender }.to_string();
        let sender = |pid| Some(Sender { pid, uid: 1000 });
        assert_eq!(said(libc::SIGTERM, sender(7)), "SIGTERM from process 7 (uid 1000)");
        assert_eq!(said(libc::SIGTERM, sender(0)), "SIGTERM from outside this container (uid 1000)");
        assert_eq!(said(libc::SIGINT, None), "SIGINT from the terminal");
        assert_eq!(said(libc::SIGXCPU, None), "SIGXCPU from the kernel");
    }

    #[test]
    fn faults_and_what_the_kernel_keeps_are_left_alone() {
        for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGABRT, libc::SIGTTOU, 0, 32, 33, 65] {
            assert!(!is_caught(signal), "{signal}");
        }
        for signal in [libc::SIGTERM, libc::SIGCHLD, libc::SIGPWR, 35, 64] {
            assert!(is_caught(signal), "{signal}");
        }
    }
}
