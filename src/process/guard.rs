//! The guard: a process that ends the agent when this one has been killed and the parent-death signal was lost.
//!
//! agent.jar re-executes itself after a dropped channel, from a thread that is not its first; the kernel then forgets
//! the parent-death signal. A guard waits for the end of the wrapper (its end of a pipe closes, however it dies) and of
//! the agent, whichever comes first, and kills the agent in the first case. It is forked only for an agent that may
//! re-execute itself, shares its memory with the wrapper, never wakes up without a reason, and no signal but KILL
//! reaches it, so that a Ctrl-C or a TERM for the whole group does not take it away before its time.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::unistd::{self, ForkResult, Pid};

use super::pidfd;
use super::spawn::AllBlocked;

/// A guard on duty; dropped, it ends, and so does the agent if it still lives.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) pid: Pid,
    pidfd: OwnedFd,
    /// Nobody writes to it: that it closes is the message.
    _life: OwnedFd,
}

impl Guard {
    /// Ends it and takes its zombie away, unless that has been done. For a guard whose agent is over: it would end by
    /// itself, but perhaps only after us, and then as somebody else's child.
    pub(super) fn dismiss(self) {
        // KILL, because a guard that somebody has stopped would keep us waiting for ever.
        let _ = pidfd::send(self.pidfd.as_fd(), libc::SIGKILL);
        pidfd::wait_for_end(self.pidfd.as_fd());
    }
}

/// Forks a guard for the agent of this descriptor.
pub(super) fn fork(agent: BorrowedFd<'_>) -> Result<Guard, Errno> {
    let (wait, life) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    let _blocked = AllBlocked::new()?;
    // SAFETY: the child runs nothing but `keep_watch`, which allocates nothing and takes no lock.
    match unsafe { unistd::fork() }? {
        ForkResult::Child => {
            // The copy of our own end would keep the pipe open for ever.
            drop(life);
            keep_watch(wait.as_fd(), agent)
        }
        ForkResult::Parent { child } => {
            // Without the descriptor the guard goes as `life` is dropped; its zombie is reaped as any other.
            let pidfd = pidfd::open(child.as_raw())?;
            Ok(Guard { pid: child, pidfd, _life: life })
        }
    }
}

/// The guard's whole life. Every signal stays blocked.
fn keep_watch(wrapper: BorrowedFd<'_>, agent: BorrowedFd<'_>) -> ! {
    let _ = SigSet::all().thread_set_mask();
    let _ = prctl::set_name(c"agent-wrap-gd");
    close_all_but(wrapper.as_raw_fd(), agent.as_raw_fd());
    let mut watched = [PollFd::new(wrapper, PollFlags::POLLIN), PollFd::new(agent, PollFlags::POLLIN)];
    while poll(&mut watched, PollTimeout::NONE) == Err(Errno::EINTR) {}
    let is_over = |descriptor: &PollFd<'_>| descriptor.revents().is_some_and(|events| !events.is_empty());
    if !is_over(&watched[1]) {
        let _ = pidfd::send(agent, libc::SIGKILL);
    }
    // SAFETY: ends this process at once, without running the destructors of the parent's copies.
    unsafe { libc::_exit(0) }
}

/// Closes everything else, so that the guard holds no pipe, lock or terminal open after the wrapper's end.
fn close_all_but(one: i32, other: i32) {
    let (low, high) = (one.min(other), one.max(other));
    for (first, last) in [(0, low - 1), (low + 1, high - 1), (high + 1, i32::MAX)] {
        if first <= last {
            // SAFETY: close_range takes three integers; nothing in this process uses what it closes.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}
