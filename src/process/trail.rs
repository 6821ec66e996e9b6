//! Which processes are the agent itself, wherever they have gone: not below a script that has died, nor in a group of
//! their own are they lost, because each bears the name of its run in its environment. So do builds, but those bear
//! what the controller gives to builds alone.
//!
//! Nothing in here allocates or takes a lock once a [`Trail`] is made: the guard, which is forked from a process with
//! other threads, goes by it too.

use std::ffi::{CStr, OsStr, OsString};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd;

/// The variable that holds the name of the run.
const MARKER: &str = "AGENT_WRAP_RUN";
/// What Jenkins and Hudson give to every process of a build, and to no other. The value is no matter: builds that are
/// to outlive theirs change it.
const OF_A_BUILD: [&str; 3] = ["JENKINS_SERVER_COOKIE", "HUDSON_SERVER_COOKIE", "JENKINS_NODE_COOKIE"];
/// As much of a variable is looked at.
const LONGEST: usize = 160;

/// Whose a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// It is the agent, or what the agent's command has started besides builds.
    Agent,
    /// A build's.
    Build,
    /// Somebody else's, or nobody's any more.
    Stranger,
    /// It belongs to a user whose environments we may not read.
    Hidden,
}

/// By what the agent of certain runs is found.
#[derive(Clone, Debug)]
pub(super) struct Trail {
    markers: Vec<Vec<u8>>,
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
        Self {
            markers: runs.into_iter().map(|run| entry(OsStr::new(MARKER), OsStr::new(run))).collect(),
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
        let mut path = [0; 32];
        let opened = path_in_proc(&mut path, pid, "environ")
            .and_then(|path| fcntl::open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()));
        match opened.and_then(|file| self.read(&file)) {
            Ok(whose) => whose,
            Err(Errno::EACCES | Errno::EPERM) => Whose::Hidden,
            // Gone, or hidden altogether.
            Err(_) => Whose::Stranger,
        }
    }

    fn read(&self, environment: &OwnedFd) -> Result<Whose, Errno> {
        let mut entry = [0; LONGEST];
        let mut length = 0;
        let mut marked = false;
        let mut chunk = [0; 1024];
        loop {
            let read = unistd::read(environment, &mut chunk)?;
            if read == 0 {
                return Ok(if marked { Whose::Agent } else { Whose::Stranger });
            }
            for &byte in chunk.get(..read).unwrap_or_default() {
                if byte != 0 {
                    if let Some(place) = entry.get_mut(length) {
                        *place = byte;
                        length += 1;
                    }
                    continue;
                }
                let found = entry.get(..length).unwrap_or_default();
                if self.is_of_a_build(found) {
                    return Ok(Whose::Build);
                }
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

fn path_in_proc<'a>(buffer: &'a mut [u8; 32], pid: i32, file: &str) -> Result<&'a CStr, Errno> {
    write!(&mut buffer[..], "/proc/{pid}/{file}\0").map_err(|_| Errno::ENAMETOOLONG)?;
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::ENAMETOOLONG)
}

/// Hands over every pid that `/proc` shows.
pub(super) fn each_pid(mut act: impl FnMut(i32)) -> Result<(), Errno> {
    let folder = fcntl::open(c"/proc", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut buffer = [0_u8; 4096];
    let mut any = false;
    loop {
        // SAFETY: the kernel writes at most as many bytes as the buffer has, which is ours and borrowed for the call.
        let read =
            unsafe { libc::syscall(libc::SYS_getdents64, folder.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
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
    use std::io::Read as _;
    use std::process::{Child, Command, Stdio};

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
    fn the_dead_are_strangers_and_other_users_are_hidden() {
        let mut ended = Asleep::with(&[(MARKER, "r")]);
        ended.0.kill().unwrap();
        let trail = Trail::of(["r"], []);
        while trail.whose(ended.pid()) == Whose::Agent {
            std::thread::yield_now();
        }
        assert_eq!(trail.whose(ended.pid()), Whose::Stranger);
        assert_eq!(trail.whose(i32::MAX), Whose::Stranger);
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
