//! From a command to a running agent: what the parent prepares, the fork, and what the child does up to its exec.
//!
//! The process has other threads, so between fork and exec the child may only make calls that are safe in a signal
//! handler: everything that allocates is done before.

use std::ffi::{CString, OsString, c_char};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::ptr;

use agent_wrap_supervisor::SpawnFailure;
use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction};
use nix::sys::stat::Mode;
use nix::sys::termios;
use nix::unistd::{self, ForkResult, Gid, Pid, Uid};

use super::limit::Mark;
use super::procfs;
use crate::shortage::Shortage;
use crate::signals::{HIGHEST_SIGNAL, is_ignored, set_disposition};

/// What the agent is started with. Standard input, output and error are the wrapper's own, but for an input that is our
/// controlling terminal; every other descriptor is closed.
#[derive(Clone, Debug)]
pub struct Command {
    /// The file to execute, as [`resolve`](super::resolve) found it.
    pub program: PathBuf,
    /// The arguments, the program's own name first.
    pub argv: Vec<OsString>,
    /// The whole environment, without what the agent must not see.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; `None` for the wrapper's.
    pub directory: Option<PathBuf>,
    /// The user to become; `None` for the wrapper's.
    pub user: Option<User>,
    /// Its `oom_score_adj`, from -1000 to 1000, see proc(5); `None` for the wrapper's.
    pub oom_score_adj: Option<i16>,
    /// Whether it may lose the parent-death signal (it may execute itself again, or is not the agent itself): a guard
    /// then watches over it.
    pub guarded: bool,
    /// Whether it need not be the agent itself, as a script or `su`: what it starts bears a mark then, and is the agent
    /// where no build is known to have started it.
    pub scripted: bool,
}

/// Whom the agent runs as. Becoming it takes root, or CAP_SETUID and CAP_SETGID; to signal it later, CAP_KILL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

/// A child between its fork and the report of its exec.
pub(super) struct Forked {
    pub(super) pid: i32,
    /// Brings a [`Report`] when something has failed, and its end when the exec has succeeded.
    pub(super) report: OwnedFd,
    pub(super) gate: Gate,
}

/// What a child waits at before it executes its program, so that nothing runs before there is a guard. A parent that
/// ends without opening it takes the child with it.
pub(super) struct Gate {
    parents: OwnedFd,
    /// Kept, so that there is a reader even if the child has been killed.
    _childs: OwnedFd,
}

impl Gate {
    pub(super) fn open(self) -> Result<(), Errno> {
        unistd::write(&self.parents, &[1]).map(drop)
    }
}

/// Dispositions the agent gets whatever we or our parent have set: an ignored TERM, INT or QUIT would make it immune.
const ALWAYS_DEFAULT: [i32; 11] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// The step that failed, which decides what its errno means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Setup = 1,
    Exec = 2,
}

/// What a child that cannot become the agent says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    step: Step,
    errno: i32,
}

impl Report {
    pub(super) const SIZE: usize = 8;

    fn encode(self) -> [u8; Self::SIZE] {
        let [a, b, c, d] = (self.step as i32).to_ne_bytes();
        let [e, f, g, h] = self.errno.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// What a complete report says; anything shorter comes of a child that was killed before its exec.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (step, errno) = bytes.split_at_checked(4)?;
        let step = match i32::from_ne_bytes(step.try_into().ok()?) {
            1 => Step::Setup,
            2 => Step::Exec,
            _ => return None,
        };
        Some(Self { step, errno: i32::from_ne_bytes(errno.try_into().ok()?) })
    }

    /// What it means for a command whose file is (still) there or not.
    pub(super) fn failure(self, program_exists: bool) -> SpawnFailure {
        match (self.step, Errno::from_raw(self.errno)) {
            (_, errno) if is_exhaustion(errno) => SpawnFailure::Exhausted(self.errno),
            // The file is there and yet not found: its interpreter or loader is missing.
            (Step::Exec, Errno::ENOENT) if program_exists => SpawnFailure::NotExecutable,
            (Step::Exec, Errno::ENOENT | Errno::ENOTDIR) => SpawnFailure::NotFound,
            (
                Step::Exec,
                Errno::EACCES
                | Errno::EPERM
                | Errno::ENOEXEC
                | Errno::EISDIR
                | Errno::ELOOP
                | Errno::EINVAL
                | Errno::ELIBBAD,
            ) => SpawnFailure::NotExecutable,
            (Step::Setup | Step::Exec, _) => SpawnFailure::Other(self.errno),
        }
    }
}

fn is_exhaustion(errno: Errno) -> bool {
    Shortage::of(errno).is_some()
}

/// What an errno of the parent's own preparations means.
pub(super) fn parent_failure(errno: Errno) -> SpawnFailure {
    if is_exhaustion(errno) { SpawnFailure::Exhausted(errno as i32) } else { SpawnFailure::Other(errno as i32) }
}

/// Every signal blocked in this thread until dropped.
pub(super) struct AllBlocked(SigSet);

impl AllBlocked {
    pub(super) fn new() -> Result<Self, Errno> {
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        Ok(Self(before))
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        // It can only fail for a bad argument.
        let _ = self.0.thread_set_mask();
    }
}

/// Forks, with one variable besides the command's own, and the mark where the agent may be elsewhere. The caller is the
/// thread whose death kills the child: it must live as long as the process.
pub(super) fn fork(command: &Command, variable: (OsString, OsString), mark: Mark) -> Result<Forked, SpawnFailure> {
    let (report, report_end) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(parent_failure)?;
    let (gate, gate_end) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(parent_failure)?;
    let mark = command.scripted.then_some(mark);
    let prepared = Prepared::new(command, variable, mark).map_err(parent_failure)?;
    let _blocked = AllBlocked::new().map_err(parent_failure)?;
    // SAFETY: the child runs nothing but `Prepared::become_agent`, which keeps to calls that are safe in a process
    // with other threads: it allocates nothing and takes no lock.
    match unsafe { unistd::fork() }.map_err(parent_failure)? {
        ForkResult::Child => {
            // The copy of the parent's own end would keep the gate from telling of the parent's end.
            drop(gate_end);
            prepared.become_agent(report_end.as_fd(), gate.as_fd())
        }
        ForkResult::Parent { child } => {
            // On both sides, so that the group is there for whoever comes first. Here it fails once the child has
            // executed its program, and then the child has done it.
            let _ = unistd::setpgid(child, child);
            Ok(Forked { pid: child.as_raw(), report, gate: Gate { parents: gate_end, _childs: gate } })
        }
    }
}

/// Everything the child needs, allocated while that is still allowed.
struct Prepared {
    program: CString,
    argv: Pointers,
    env: Pointers,
    directory: Option<CString>,
    user: Option<(Uid, Gid, Vec<Gid>)>,
    mark: Option<Mark>,
    /// What stands in for a standard input that would stop the agent.
    input: Option<OwnedFd>,
    highest_descriptor: i32,
    parent: Pid,
}

/// Strings and the null-terminated array of pointers to them that exec wants.
struct Pointers {
    array: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl Pointers {
    fn new(strings: impl IntoIterator<Item = OsString>) -> Result<Self, Errno> {
        let strings = strings.into_iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
        let array = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Ok(Self { array, _strings: strings })
    }
}

fn c_string(string: impl Into<OsString>) -> Result<CString, Errno> {
    CString::new(string.into().into_vec()).map_err(|_| Errno::EINVAL)
}

impl Prepared {
    fn new(command: &Command, variable: (OsString, OsString), mark: Option<Mark>) -> Result<Self, Errno> {
        let env = command.env.iter().chain([&variable]).map(|(name, value)| {
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            entry
        });
        let user = command.user.as_ref().map(|user| {
            let groups = user.groups.iter().map(|&group| Gid::from_raw(group)).collect();
            (Uid::from_raw(user.uid), Gid::from_raw(user.gid), groups)
        });
        Ok(Self {
            program: c_string(&command.program)?,
            argv: Pointers::new(command.argv.iter().cloned())?,
            env: Pointers::new(env)?,
            directory: command.directory.as_ref().map(c_string).transpose()?,
            user,
            mark,
            input: is_controlling_terminal().then(null_device).transpose()?,
            highest_descriptor: procfs::highest_descriptor(),
            parent: unistd::getpid(),
        })
    }

    /// The child's whole life before the agent's.
    fn become_agent(&self, report: BorrowedFd<'_>, gate: BorrowedFd<'_>) -> ! {
        let (step, errno) = match self.set_up().and_then(|()| wait_for_release(gate)) {
            Ok(()) => (Step::Exec, self.exec()),
            Err(errno) => (Step::Setup, errno),
        };
        // A parent that does not listen any more is gone, and so are we.
        let _ = unistd::write(report, &Report { step, errno: errno as i32 }.encode());
        // SAFETY: ends this process at once, without running the destructors of the parent's copies.
        unsafe { libc::_exit(127) }
    }

    fn set_up(&self) -> Result<(), Errno> {
        unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        reset_dispositions()?;
        if let Some(mark) = self.mark {
            mark.bear();
        }
        if let Some((uid, gid, groups)) = &self.user {
            unistd::setgroups(groups)?;
            unistd::setresgid(*gid, *gid, *gid)?;
            unistd::setresuid(*uid, *uid, *uid)?;
        }
        // After the change of user, whose permissions count for it.
        if let Some(directory) = &self.directory {
            unistd::chdir(directory.as_c_str())?;
        }
        if let Some(input) = &self.input {
            unistd::dup2_stdin(input)?;
        }
        close_on_exec(self.highest_descriptor);
        // A change of user would clear it, so it comes after that.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if unistd::getppid() != self.parent {
            // The parent ended before it was set.
            return Err(Errno::ESRCH);
        }
        Ok(())
    }

    fn exec(&self) -> Errno {
        // SAFETY: all three are null-terminated, and the strings behind them live as long as self.
        unsafe { libc::execve(self.program.as_ptr(), self.argv.array.as_ptr(), self.env.array.as_ptr()) };
        Errno::last()
    }
}

/// Waits for the parent's word, still with every signal blocked, then opens the mask as the last thing before the exec.
fn wait_for_release(gate: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut word = [0];
    // No signal interrupts it, and its end without a word is the parent's.
    if unistd::read(gate, &mut word)? == 0 {
        return Err(Errno::ESRCH);
    }
    SigSet::empty().thread_set_mask()
}

/// Whether our standard input is our controlling terminal, of which only its foreground group may read: anybody else is
/// stopped for trying.
fn is_controlling_terminal() -> bool {
    let session = unistd::getsid(None);
    termios::tcgetsid(io::stdin()).is_ok_and(|owner| session == Ok(owner))
}

fn null_device() -> Result<OwnedFd, Errno> {
    fcntl::open(c"/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// No handler of ours may run in the child once its mask is lifted: it would write to the pipe it shares with us. What
/// was ignored when we were started (a nohup'ed HUP) stays so.
fn reset_dispositions() -> Result<(), Errno> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for number in 1..=HIGHEST_SIGNAL {
        let ignored = !ALWAYS_DEFAULT.contains(&number) && is_ignored(number);
        if ignored || number == libc::SIGKILL || number == libc::SIGSTOP {
            continue;
        }
        match Signal::try_from(number) {
            // SAFETY: the default action runs no code of ours.
            Ok(signal) => drop(unsafe { sigaction(signal, &default) }?),
            // A realtime signal, which nix has no name for; some the C library keeps to itself, and would refuse.
            // SAFETY: as above; there is one thread here, so that the library needs none of them.
            Err(_) => unsafe { set_disposition(number, libc::SIG_DFL) }?,
        }
    }
    Ok(())
}

/// What we open ourselves is closed on exec anyway; this is for what our own parent has left open.
fn close_on_exec(highest: i32) {
    // SAFETY: close_range takes three integers; with this flag it closes nothing now.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 {
        return;
    }
    for number in 3..=highest {
        // SAFETY: it takes integers, and a number that is not open is refused.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Ends and reaps a child whose start could not be finished by the parent.
pub(super) fn discard(pid: i32) {
    let pid = Pid::from_raw(pid);
    // It is our unreaped child, so the number is still its own.
    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    while nix::sys::wait::waitpid(pid, None) == Err(Errno::EINTR) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_childs_errno_means() {
        let exec = |errno: Errno, exists| Report { step: Step::Exec, errno: errno as i32 }.failure(exists);
        assert_eq!(exec(Errno::ENOENT, false), SpawnFailure::NotFound);
        assert_eq!(exec(Errno::ENOENT, true), SpawnFailure::NotExecutable);
        assert_eq!(exec(Errno::EACCES, true), SpawnFailure::NotExecutable);
        assert_eq!(exec(Errno::ENOEXEC, true), SpawnFailure::NotExecutable);
        assert_eq!(exec(Errno::ENOMEM, true), SpawnFailure::Exhausted(libc::ENOMEM));
        assert_eq!(exec(Errno::E2BIG, true), SpawnFailure::Other(libc::E2BIG));
        let setup = |errno: Errno| Report { step: Step::Setup, errno: errno as i32 }.failure(true);
        assert_eq!(setup(Errno::ENOENT), SpawnFailure::Other(libc::ENOENT));
        assert_eq!(setup(Errno::EAGAIN), SpawnFailure::Exhausted(libc::EAGAIN));
    }

    #[test]
    fn a_report_survives_the_pipe() {
        let report = Report { step: Step::Exec, errno: libc::EACCES };
        assert_eq!(Report::decode(&report.encode()), Some(report));
        assert_eq!(Report::decode(&report.encode()[..7]), None);
        assert_eq!(Report::decode(&[]), None);
        assert_eq!(Report::decode(&[0; Report::SIZE]), None);
    }
}
