//! The system calls that take a process for itself and not for its number, and the one that waits.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use agent_wrap_supervisor::Exit;
use nix::errno::Errno;
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::shortage::Shortage;

/// Opens a descriptor of the process; it is closed on exec. Sure for a child of ours that has not been reaped.
pub(super) fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just handed this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal; one for a process that is over goes nowhere, and that is no error.
pub(super) fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means what kill would send; the descriptor is borrowed and so open.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    match Errno::result(sent) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether the process, or its zombie, is still there.
pub(super) fn exists(pidfd: BorrowedFd<'_>) -> bool {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: as above; signal 0 only asks.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, info, 0) };
    Errno::result(sent) != Err(Errno::ESRCH)
}

/// Whose end is asked for.
#[derive(Clone, Copy)]
pub(super) enum Whose<'a> {
    /// Any child's.
    Any,
    /// This child's; the number must be that of an unreaped child.
    Pid(i32),
    /// This child's.
    Pidfd(BorrowedFd<'a>),
}

/// What happens to the zombie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zombie {
    /// It keeps its pid and group.
    Kept,
    /// It is gone.
    Reaped,
}

/// Asks, without waiting, whether a child has ended. `None` when it (or all) still runs or there is none.
pub(super) fn wait(whose: Whose<'_>, zombie: Zombie) -> Option<(i32, Exit)> {
    let keep = if zombie == Zombie::Kept { libc::WNOWAIT } else { 0 };
    let news = ask(whose, libc::WEXITED | keep)?;
    let exit = match news.code {
        libc::CLD_EXITED => Exit::Code(u8::try_from(news.status & 0xff).unwrap_or(u8::MAX)),
        libc::CLD_KILLED | libc::CLD_DUMPED => Exit::Signal(news.status),
        _ => return None,
    };
    Some((news.pid, exit))
}

/// What job control has made of a child that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// This signal has stopped it.
    Stopped(i32),
    /// It goes on.
    Continued,
}

/// Asks, without waiting, whether a child has been stopped or continued since it was asked for last. A stop that is over
/// by then is not told; neither is one by a debugger, which the kernel keeps between the two.
pub(super) fn halt(child: BorrowedFd<'_>) -> Option<Halt> {
    let news = ask(Whose::Pidfd(child), libc::WSTOPPED | libc::WCONTINUED)?;
    match news.code {
        libc::CLD_STOPPED => Some(Halt::Stopped(news.status)),
        libc::CLD_CONTINUED => Some(Halt::Continued),
        _ => None,
    }
}

/// What `waitid` says of a child.
struct News {
    pid: i32,
    code: i32,
    status: i32,
}

/// Asks for news of these kinds, without waiting.
fn ask(whose: Whose<'_>, kinds: i32) -> Option<News> {
    let (kind, id) = match whose {
        Whose::Any => (libc::P_ALL, 0),
        Whose::Pid(pid) => (libc::P_PID, libc::id_t::try_from(pid).ok()?),
        Whose::Pidfd(fd) => (libc::P_PIDFD, libc::id_t::try_from(fd.as_raw_fd()).ok()?),
    };
    // SAFETY: a siginfo_t is plain data, for which all zeroes are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: info is valid for writing during the call.
    let done = unsafe { libc::waitid(kind, id, &raw mut info, libc::WNOHANG | kinds) };
    Errno::result(done).ok()?;
    // SAFETY: waitid has filled in the fields of a SIGCHLD, or left the zeroes.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    (pid != 0).then_some(News { pid, code: info.si_code, status })
}

/// Waits until a child has ended and takes its zombie away; at once if that has been done. For one that has got KILL.
pub(super) fn wait_for_end(child: BorrowedFd<'_>) {
    let Ok(id) = libc::id_t::try_from(child.as_raw_fd()) else { return };
    loop {
        // SAFETY: a null siginfo is allowed; the descriptor is borrowed and so open.
        let done = unsafe { libc::waitid(libc::P_PIDFD, id, ptr::null_mut(), libc::WEXITED) };
        if Errno::result(done) != Err(Errno::EINTR) {
            return;
        }
    }
}

/// Whether this kernel (5.4 or later) and this sandbox allow all of the above.
pub(super) fn probe() -> io::Result<()> {
    let told = |errno: Errno| match Shortage::of(errno) {
        Some(_) => io::Error::from(errno),
        None => io::Error::other(format!(
            "pidfd_open fails ({errno}): the kernel is older than 5.4, or a seccomp filter of the container forbids it; \
             update the container runtime's profile"
        )),
    };
    let me = open(nix::unistd::getpid().as_raw()).map_err(told)?;
    send(me.as_fd(), 0).map_err(told)
}

/// The end of a process, to be awaited in the runtime's thread.
pub(super) struct End(AsyncFd<OwnedFd>);

impl End {
    /// To be called inside the runtime.
    pub(super) fn of(process: OwnedFd) -> io::Result<Self> {
        // SAFETY: an OwnedFd names the same open descriptor until it is dropped, and here it is never exchanged.
        Ok(Self(unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }?))
    }

    /// Comes back when every thread of the process has ended, the zombie may still be there.
    pub(super) async fn come(&self) {
        // An error means that the runtime is going away, and then nobody listens any more.
        let _ = self.0.readable().await;
    }
}
