//! Which processes are the agent itself, wherever they have gone: not below a script that has died, nor in a group of
//! their own are they lost, because each bears the name of its run in its environment, and the run's [`Mark`] where its
//! environment was made anew. So do builds, but those, or who has started them, bear what the controller gives to
//! builds alone.
//!
//! Nothing in here allocates or takes a lock once a [`Trail`] is made: the guard, which is forked from a process with
//! other threads, goes by it too.

use std::ffi::{CStr, OsStr, OsString};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::str::SplitAsciiWhitespace;

use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::libc;
use nix::sys::signal;
use nix::sys::stat::Mode;
use nix::unistd::{self, Pid};

use super::limit::{self, Mark};

/// The variable that holds the name of the run.
const MARKER: &str = "AGENT_WRAP_RUN";
/// What Jenkins and Hudson give to every process of a build, and to no other. The value is no matter: builds that are
/// to outlive theirs change it.
const OF_A_BUILD: [&str; 3] = ["JENKINS_SERVER_COOKIE", "HUDSON_SERVER_COOKIE", "JENKINS_NODE_COOKIE"];
/// As much of a variable is looked at.
const LONGEST: usize = 160;
/// So far up a process is looked for that is known to be a build's.
const GENERATIONS: u32 = 64;

/// Whose a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// It is the agent, or what the agent's command has started besides builds.
    Agent,
    /// A build's.
    Build,
    /// Somebody else's, as far as it can be seen.
    Stranger,
    /// It belongs to a user whose environments we may not read, and bears no mark.
    Hidden,
    /// It has ended, or executes another program at this moment and will have to be asked again.
    Nobody,
}

/// What the environment of a process tells.
#[derive(Clone, Copy, Debug)]
enum Environment {
    Shown { marked: bool, of_a_build: bool },
    Hidden,
    Gone,
}

/// By what the agent of certain runs is found.
#[derive(Clone, Debug)]
pub(super) struct Trail {
    markers: Vec<Vec<u8>>,
    marks: Vec<Mark>,
    /// What we have been given as a part of a build ourselves: our agent has it too.
    inherited: Vec<Vec<u8>>,
}

/// The variable for the agent's environment.
pub(super) fn marker(run: &str) -> (OsString, OsString) {
    (MARKER.into(), run.into())
}

impl Trail {
    /// That of these runs, as seen by a process with these variables.
    pub(super) fn of<'a>(
        runs: impl IntoIterator<Item = &'a str>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let entry = |name: &OsStr, value: &OsStr| [name.as_bytes(), b"=", value.as_bytes()].concat();
        let of_a_build = |(name, _): &(OsString, OsString)| OF_A_BUILD.iter().any(|known| name == known);
        let (markers, marks) =
            runs.into_iter().map(|run| (entry(OsStr::new(MARKER), OsStr::new(run)), Mark::of(run))).unzip();
        Self {
            markers,
            marks,
            inherited: variables
                .into_iter()
                .filter(of_a_build)
                .map(|(name, value)| {
                    let mut entry = entry(&name, &value);
                    entry.truncate(LONGEST);
                    entry
                })
                .collect(),
        }
    }

    /// Whose the process with this pid is now.
    pub(super) fn whose(&self, pid: i32) -> Whose {
        let unnamed = match self.environment(pid) {
            Environment::Gone => return Whose::Nobody,
            Environment::Shown { of_a_build: true, .. } => return Whose::Build,
            Environment::Shown { marked: true, .. } => return Whose::Agent,
            Environment::Shown { .. } => Whose::Stranger,
            Environment::Hidden => Whose::Hidden,
        };
        if !limit::bears(pid, &self.marks) || is_out_of_reach(pid) {
            unnamed
        } else if self.is_in_a_build(pid) {
            Whose::Build
        } else {
            Whose::Agent
        }
    }

    /// Whether a process that is ours (it is below us, or in the agent's group) is the agent: there may be no second
    /// one, so it is whatever is not known to be a build's.
    pub(super) fn is_agent_of_ours(&self, pid: i32) -> bool {
        match self.whose(pid) {
            Whose::Agent => true,
            Whose::Stranger | Whose::Hidden => !self.is_in_a_build(pid) && !is_out_of_reach(pid),
            Whose::Build | Whose::Nobody => false,
        }
    }

    /// Whether a process that shows no origin has been started by a build (`sudo` in a step), as far as its ancestors
    /// and the leaders of its group and session tell.
    pub(super) fn is_in_a_build(&self, pid: i32) -> bool {
        let process = Pid::from_raw(pid);
        let leaders = [unistd::getpgid(Some(process)), unistd::getsid(Some(process))];
        if leaders.into_iter().flatten().any(|leader| leader != process && self.is_build_of_ours(leader.as_raw())) {
            return true;
        }
        let me = unistd::getpid().as_raw();
        let mut ancestor = pid;
        for _ in 0..GENERATIONS {
            match parent(ancestor) {
                Some(parent) if parent > 1 && parent != me => ancestor = parent,
                _ => return false,
            }
            if self.is_build_of_ours(ancestor) {
                return true;
            }
        }
        false
    }

    fn is_build_of_ours(&self, pid: i32) -> bool {
        match self.environment(pid) {
            Environment::Shown { of_a_build: true, marked } => marked || limit::bears(pid, &self.marks),
            _ => false,
        }
    }

    fn environment(&self, pid: i32) -> Environment {
        // In the middle of its exec a process shows neither variables nor arguments; without variables, arguments.
        for _ in 0..2 {
            match open_in_proc(pid, "environ").and_then(|file| self.read(&file)) {
                Ok(Some(environment)) => return environment,
                Ok(None) => {}
                // What has ended belongs to root, and an ordinary user may not open its files.
                Err(Errno::EACCES | Errno::EPERM) if has_ended(pid) => return Environment::Gone,
                Err(Errno::EACCES | Errno::EPERM) => return Environment::Hidden,
                // Gone, or hidden altogether.
                Err(_) => return Environment::Gone,
            }
            if open_in_proc(pid, "cmdline").and_then(|file| unistd::read(&file, &mut [0])).unwrap_or_default() == 0 {
                return Environment::Gone;
            }
        }
        Environment::Shown { marked: false, of_a_build: false }
    }

    /// `None` for an empty one.
    fn read(&self, environment: &OwnedFd) -> Result<Option<Environment>, Errno> {
        let mut entry = [0; LONGEST];
        let mut length = 0;
        let (mut marked, mut of_a_build, mut any) = (false, false, false);
        let mut chunk = [0; 1024];
        loop {
            let read = unistd::read(environment, &mut chunk)?;
            if read == 0 {
                return Ok(any.then_some(Environment::Shown { marked, of_a_build }));
            }
            any = true;
            for &byte in chunk.get(..read).unwrap_or_default() {
                if byte != 0 {
                    if let Some(place) = entry.get_mut(length) {
                        *place = byte;
                        length += 1;
                    }
                    continue;
                }
                let found = entry.get(..length).unwrap_or_default();
                of_a_build |= self.is_of_a_build(found);
                marked |= self.markers.iter().any(|marker| marker == found);
                length = 0;
            }
        }
    }

    fn is_of_a_build(&self, entry: &[u8]) -> bool {
        let named = |name: &str| entry.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
        OF_A_BUILD.iter().any(|name| named(name)) && !self.inherited.iter().any(|ours| ours == entry)
    }
}

/// Opens a file of this process.
pub(super) fn open_in_proc(pid: i32, file: &str) -> Result<OwnedFd, Errno> {
    let mut path = [0; 32];
    write!(&mut path[..], "/proc/{pid}/{file}\0").map_err(|_| Errno::ENAMETOOLONG)?;
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::ENAMETOOLONG)?;
    fcntl::open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Fills the buffer as far as the file goes, and says how far that is.
pub(super) fn read_all(file: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0;
    loop {
        match unistd::read(file, buffer.get_mut(length..).unwrap_or_default())? {
            0 => return Ok(length),
            read => length += read,
        }
    }
}

/// Whether it is neither ours to end nor java: a daemon that a build has started by `sudo`, for which an agent would be
/// waited for ever.
fn is_out_of_reach(pid: i32) -> bool {
    let is_java = || {
        let mut name = [0; 16];
        open_in_proc(pid, "comm").and_then(|file| read_all(&file, &mut name)).is_ok() && name.starts_with(b"java\n")
    };
    signal::kill(Pid::from_raw(pid), None) == Err(Errno::EPERM) && !is_java()
}

/// The parent, which is the second field after the name in `/proc/PID/stat`.
fn parent(pid: i32) -> Option<i32> {
    fields_of_stat(pid, |mut fields| fields.nth(1)?.parse().ok())
}

/// Whether it waits to be reaped and no thread of it runs any more.
fn has_ended(pid: i32) -> bool {
    let ended = fields_of_stat(pid, |mut fields| {
        let state = fields.next()?;
        let threads: u32 = fields.nth(16)?.parse().ok()?;
        Some(matches!(state, "Z" | "X") && threads <= 1)
    });
    ended == Some(true)
}

/// Hands over the fields after the name in `/proc/PID/stat`. Allocates nothing.
fn fields_of_stat<T>(pid: i32, read: impl FnOnce(SplitAsciiWhitespace<'_>) -> Option<T>) -> Option<T> {
    let mut text = [0; 512];
    let length = read_all(&open_in_proc(pid, "stat").ok()?, &mut text).ok()?;
    let text = text.get(..length)?;
    let after_name = text.get(text.iter().rposition(|&byte| byte == b')')? + 1..)?;
    read(std::str::from_utf8(after_name).ok()?.split_ascii_whitespace())
}

/// Hands over every pid that `/proc` shows.
pub(super) fn each_pid(mut act: impl FnMut(i32)) -> Result<(), Errno> {
    let folder = fcntl::open(c"/proc", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut buffer = [0_u8; 4096];
    let mut any = false;
    loop {
        let (number, room, length) = (folder.as_raw_fd(), buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the kernel writes at most as many bytes as the buffer has, which is ours and borrowed for the call.
        let read = unsafe { libc::syscall(libc::SYS_getdents64, number, room, length) };
        let read = usize::try_from(Errno::result(read)?).unwrap_or_default();
        if read == 0 {
            return if any { Ok(()) } else { Err(Errno::ENOENT) };
        }
        let mut rest = buffer.get(..read).unwrap_or_default();
        while let Some((name, after)) = next_entry(rest) {
            if let Some(pid) = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) {
                any = true;
                act(pid);
            }
            rest = after;
        }
    }
}

/// One `linux_dirent64`: 16 bytes of numbers, its length, its kind, its name.
fn next_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u16::from_ne_bytes(bytes.get(16..18)?.try_into().ok()?);
    let (entry, after) = bytes.split_at_checked(usize::from(length))?;
    let name = entry.get(19..)?.split(|&byte| byte == 0).next()?;
    Some((name, after))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Child, Command, Stdio};

    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    use super::*;

    struct Asleep(Child);

    impl Asleep {
        /// Waits until it runs: in the middle of its exec a process shows no environment.
        fn with(variables: &[(&str, &str)]) -> Self {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "echo; read x"]).env_clear().envs(variables.iter().copied());
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            Self(child)
        }

        fn pid(&self) -> i32 {
            self.0.id().try_into().unwrap()
        }
    }

    impl Drop for Asleep {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_agent_is_told_from_builds_and_strangers() {
        let long = "x".repeat(5000);
        let trail = Trail::of(["r1", "r2"], []);
        let table: [(&[(&str, &str)], Whose); 7] = [
            (&[("A", &long), (MARKER, "r1"), ("B", &long)], Whose::Agent),
            (&[(MARKER, "r2")], Whose::Agent),
            (&[(MARKER, "r11")], Whose::Stranger),
            (&[("X", "AGENT_WRAP_RUN=r1")], Whose::Stranger),
            (&[(MARKER, "r1"), ("JENKINS_SERVER_COOKIE", "durable-1")], Whose::Build),
            (&[("HUDSON_SERVER_COOKIE", &long), (MARKER, "r1")], Whose::Build),
            (&[], Whose::Stranger),
        ];
        for (variables, expected) in table {
            assert_eq!(trail.whose(Asleep::with(variables).pid()), expected, "{variables:.40?}");
        }
    }

    #[test]
    fn what_we_have_been_given_ourselves_makes_no_build() {
        let long = "x".repeat(5000);
        let ours = [("JENKINS_SERVER_COOKIE".into(), OsString::from(&long)), ("PATH".into(), "p".into())];
        let trail = Trail::of(["r"], ours);
        let agent = Asleep::with(&[(MARKER, "r"), ("JENKINS_SERVER_COOKIE", &long)]);
        let build = Asleep::with(&[(MARKER, "r"), ("JENKINS_SERVER_COOKIE", "another")]);
        assert_eq!((trail.whose(agent.pid()), trail.whose(build.pid())), (Whose::Agent, Whose::Build));
    }

    #[test]
    fn the_dead_are_nobodys_and_other_users_are_hidden() {
        dead_and_hidden();
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        // And as an ordinary user, in a process of its own, whose program that user can get at.
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let program = place.path().join("tests");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut look = Command::new("setpriv");
        look.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program).current_dir("/");
        look.args(["--exact", "process::trail::tests::the_dead_are_nobodys_and_other_users_are_hidden"]);
        let mut output = look.output().unwrap();
        // A child that another test has just forked may hold the copy open for writing until it executes its program.
        while String::from_utf8_lossy(&output.stderr).contains("Text file busy") {
            output = look.output().unwrap();
        }
        let words = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && words.contains("1 passed"), "{words}");
    }

    fn dead_and_hidden() {
        let mut ended = Asleep::with(&[(MARKER, "r")]);
        ended.0.kill().unwrap();
        let trail = Trail::of(["r"], []);
        let ended_pid = Id::Pid(Pid::from_raw(ended.pid()));
        waitid(ended_pid, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        assert_eq!(trail.whose(ended.pid()), Whose::Nobody);
        assert_eq!(trail.whose(i32::MAX), Whose::Nobody);
        let first = trail.whose(1);
        assert!(matches!(first, Whose::Stranger | Whose::Hidden), "{first:?}");
    }

    #[test]
    fn every_process_is_handed_over_once() {
        let others: Vec<Asleep> = (0..200).map(|_| Asleep::with(&[])).collect();
        let mut seen = Vec::new();
        each_pid(|pid| seen.push(pid)).unwrap();
        for other in &others {
            assert_eq!(seen.iter().filter(|&&pid| pid == other.pid()).count(), 1);
        }
    }
}
