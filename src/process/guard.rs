//! The guard: a process that ends the agent when this one has been killed and the parent-death signal was lost.
//!
//! agent.jar re-executes itself after a dropped channel, from a thread that is not its first; the kernel then forgets
//! the parent-death signal, as it does at a change of user. And what a start script has started never had it. A guard
//! waits for the end of the wrapper (its end of a pipe closes, however it dies) and then kills the process that was
//! started and whatever else is the agent; builds may go on. It shares its memory with the wrapper, never wakes up
//! without a reason, and no signal but KILL reaches it, so that a Ctrl-C or a TERM for the whole group does not take it
//! away before its time.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{self, ForkResult, Pid};

use super::pidfd;
use super::spawn::AllBlocked;
use super::trail::{self, Trail, Whose};

/// How often it looks at most: a process that is stuck in the kernel stays whatever is sent to it.
const LOOKS: u32 = 100;
/// So many looks in a row have to find nothing: a process in the middle of a fork or an exec is overlooked.
const EMPTY_LOOKS: u32 = 3;
/// The milliseconds between two looks.
const PAUSE: u8 = 10;

/// A guard on duty; dropped, it ends, and so does the agent if it still lives.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) pid: Pid,
    pidfd: OwnedFd,
    /// Nobody writes to it: that it closes is the message.
    _life: OwnedFd,
}

impl Guard {
    /// Ends it and takes its zombie away, unless that has been done. For a guard whose agent is over.
    pub(super) fn dismiss(self) {
        // KILL, because a guard that somebody has stopped would keep us waiting for ever.
        let _ = pidfd::send(self.pidfd.as_fd(), libc::SIGKILL);
        pidfd::wait_for_end(self.pidfd.as_fd());
    }
}

/// Forks a guard for the agent of this descriptor and pid, and for what can be found by this trail.
pub(super) fn fork(agent: BorrowedFd<'_>, pid: i32, scripted: bool, trail: &Trail) -> Result<Guard, Errno> {
    let (wait, life) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    let _blocked = AllBlocked::new()?;
    // SAFETY: the child runs nothing but `keep_watch`, which allocates nothing and takes no lock.
    match unsafe { unistd::fork() }? {
        ForkResult::Child => {
            // The copy of our own end would keep the pipe open for ever.
            drop(life);
            let group = Group { leader: agent, number: Pid::from_raw(pid), scripted };
            keep_watch(wait.as_fd(), &group, trail)
        }
        ForkResult::Parent { child } => {
            // Without the descriptor the guard goes as `life` is dropped; its zombie is reaped as any other.
            let pidfd = pidfd::open(child.as_raw())?;
            Ok(Guard { pid: child, pidfd, _life: life })
        }
    }
}

/// The guard's whole life. Every signal stays blocked. That the agent has ended is no reason to go: what it has started
/// may live, and it may have ended with the wrapper. The wrapper dismisses its guard.
fn keep_watch(wrapper: BorrowedFd<'_>, group: &Group<'_>, trail: &Trail) -> ! {
    let _ = SigSet::all().thread_set_mask();
    close_all_but(wrapper.as_raw_fd(), group.leader.as_raw_fd());
    let _ = prctl::set_name(c"agent-wrap-gd");
    let mut watched = [PollFd::new(wrapper, PollFlags::POLLIN)];
    while poll(&mut watched, PollTimeout::NONE) == Err(Errno::EINTR) {}
    let _ = pidfd::send(group.leader, libc::SIGKILL);
    let mut empty_looks = 0;
    for _ in 0..LOOKS {
        match kill_whatever_is_agent(group, trail) {
            Ok(0) => empty_looks += 1,
            Ok(_) => empty_looks = 0,
            Err(_) => {
                // Without /proc a build cannot be told from the agent, and there may be no second agent.
                if group.is_its_own() {
                    let _ = killpg(group.number, Signal::SIGKILL);
                }
                break;
            }
        }
        if empty_looks == EMPTY_LOOKS {
            break;
        }
        let _ = poll(&mut [], PAUSE);
    }
    // SAFETY: ends this process at once, without running the destructors of the parent's copies.
    unsafe { libc::_exit(0) }
}

/// Kills it and says how much of it there was. Of a process without a mark the agent's group decides.
fn kill_whatever_is_agent(group: &Group<'_>, trail: &Trail) -> Result<u32, Errno> {
    let is_agent = |pid: i32| match trail.whose(pid) {
        Whose::Agent => true,
        Whose::Stranger if !group.scripted => false,
        Whose::Stranger | Whose::Hidden => group.has(pid) && !trail.is_in_a_build(pid),
        Whose::Build | Whose::Nobody => false,
    };
    let mut alive = 0;
    trail::each_pid(|pid| {
        // Asked again once there is a descriptor: from there on it means this process and no later one.
        if is_agent(pid)
            && let Ok(process) = pidfd::open(pid)
            && is_agent(pid)
            && pidfd::send(process.as_fd(), libc::SIGKILL).is_ok()
        {
            alive += 1;
        }
    })?;
    Ok(alive)
}

/// The group that the started process has led.
struct Group<'a> {
    leader: BorrowedFd<'a>,
    number: Pid,
    /// Whether it need not have been the agent itself.
    scripted: bool,
}

impl Group<'_> {
    /// The guard of an agent that has ended may wait until the number has come back: a later process that has it leads
    /// another group. The session of both is the wrapper's.
    fn has(&self, pid: i32) -> bool {
        let process = Some(Pid::from_raw(pid));
        unistd::getpgid(process) == Ok(self.number)
            && unistd::getsid(process) == unistd::getsid(None)
            && self.is_its_own()
    }

    fn is_its_own(&self) -> bool {
        unistd::getpgid(Some(self.number)) == Err(Errno::ESRCH) || pidfd::exists(self.leader)
    }
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
