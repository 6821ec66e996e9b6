//! A machine for containers: namespaces for processes, mounts and the network's names, with places of its own for what
//! podman keeps. Everything that runs on it, is mounted or named there goes with its first process, and that with us,
//! also when a test panics or is killed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent_wrap_testbed::skip::{self, Need};
use agent_wrap_testbed::spawner::{self, Process};
use agent_wrap_testbed::statics;
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;

use crate::common::eventually;
use crate::common::standalone::{children, every_process, stat};

/// What podman is told instead of the machine's own settings. A container may not raise the limits that we have here.
const SETTINGS: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
init_path = "/usr/bin/catatonit"
"#;

/// What podman keeps goes to memory. Images that were made once come from a store in the test cache, read only.
const BOOT: &str = r#"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /var/lib/containers
mount -t tmpfs -o mode=755 tmpfs /var/lib/containers
mkdir /run/test
printf '%s' "$1" > /run/test/containers.conf
printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers"\ngraphroot = "/var/lib/containers"\n' \
    > /run/test/storage.conf
printf '[storage.options]\nadditionalimagestores = [%s]\n' "$2" >> /run/test/storage.conf
exec catatonit -P
"#;

/// Nothing but the programs themselves: no shell, no C library, no /etc. An agent that does what it is told is in the
/// place of java, and the jar is only looked for.
const CONTAINERFILE: &str = r#"
FROM scratch
COPY agent-wrap /usr/local/bin/agent-wrap
COPY agent-wrap /usr/local/bin/jenkins-agent
COPY misbehave /usr/bin/java
COPY agent.jar /usr/share/jenkins/agent.jar
ENTRYPOINT ["/usr/local/bin/jenkins-agent"]
"#;

/// The image that is made of it.
pub const BARE: &str = "localhost/bare";

/// How long a single command of podman's may take, in seconds: no statement about speed.
const PATIENCE: &str = "120";

/// A machine; it ends when this is dropped, and with this process.
pub struct Machine {
    unshare: Option<Process>,
    init: Pid,
    /// Whether podman had control groups already when it was started.
    found_groups: bool,
}

/// What such a machine needs.
///
/// # Errors
/// The reason, when it is not there.
pub fn need() -> Need {
    skip::need_root()?;
    for program in ["unshare", "nsenter", "podman", "runc", "catatonit", "ip"] {
        skip::need_program(program)?;
    }
    statics::need()?;
    // A container may well be root and yet not be allowed to.
    let tried = Command::new("unshare")
        .args(["--mount", "--pid", "--net", "--fork", "sh", "-c", "mount -t tmpfs tmpfs /run && mkdir /run/l"])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("no namespaces to be had: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

impl Machine {
    /// Starts it, and makes the image [`BARE`]. `images`: a store of further images, if there is one.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn boot(images: Option<PathBuf>) -> Result<Arc<Self>, String> {
        let found_groups = !groups().is_empty();
        let images = images.map_or_else(String::new, |path| format!("{path:?}"));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "sh", "-euc", BOOT, "sh"]);
        command.args([SETTINGS, &images]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        let mut unshare = spawner::spawn(command).map_err(|error| format!("{error:#}"))?;
        let pid = Pid::from_raw(i32::try_from(unshare.id()).map_err(|error| error.to_string())?);
        let mut init = None;
        eventually("catatonit is process 1", || {
            assert_eq!(unshare.ended().expect("it can be waited for"), None, "it does not start");
            init = children(pid).first().copied().filter(|child| {
                fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|program| program.ends_with("catatonit"))
            });
            init.is_some()
        });
        let machine = Self { unshare: Some(unshare), init: init.unwrap_or(pid), found_groups };
        machine.build(BARE, CONTAINERFILE, &[]);
        Ok(Arc::new(machine))
    }

    /// Removes the empty control groups that podman leaves, unless another podman may be using them.
    pub fn sweep(&self) {
        if !self.found_groups {
            for group in groups() {
                drop(
                    Command::new("find")
                        .arg(group)
                        .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                        .output(),
                );
            }
        }
    }

    /// Builds an image of the static programs, an empty jar, and these files.
    ///
    /// # Panics
    /// When that fails.
    pub fn build(&self, image: &str, containerfile: &str, files: &[(&str, &str)]) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let folder = format!("/run/test/image-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.put(&format!("{folder}/Containerfile"), containerfile);
        for (name, text) in files.iter().copied().chain([("agent.jar", "")]) {
            self.put(&format!("{folder}/{name}"), text);
        }
        for program in ["agent-wrap", "misbehave"] {
            fs::copy(statics::program(program), self.file(&format!("{folder}/{program}"))).expect("copied");
        }
        self.podman(&["build", "--quiet", "--tag", image, &folder]);
    }

    /// Writes a file, and makes its folder.
    ///
    /// # Panics
    /// When that fails.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.file(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
    }

    /// A command that is to be executed on it.
    pub fn to_execute(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init)).args(["--mount", "--pid", "--", "timeout", PATIENCE]);
        command.args(words).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C");
        command.env("CONTAINERS_CONF", "/run/test/containers.conf");
        command.env("CONTAINERS_STORAGE_CONF", "/run/test/storage.conf").stdin(Stdio::null());
        command
    }

    /// Has podman do something.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn try_podman(&self, words: &[&str]) -> Output {
        self.to_execute(std::iter::once("podman").chain(words.iter().copied())).output().expect("nsenter is there")
    }

    /// The same, and what it says on its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn podman(&self, words: &[&str]) -> String {
        said(words, &self.try_podman(words))
    }

    /// Has iproute2 do something.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ip(&self, line: &str) {
        let words: Vec<_> = std::iter::once("ip").chain(line.split(' ')).collect();
        said(&words, &self.to_execute(&words).output().expect("nsenter is there"));
    }

    /// One of its files, as we see it.
    pub fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// A process of its, by our number, from its own number there.
    pub fn process(&self, inside: i32) -> Option<Pid> {
        let numbers = |pid: i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            numbers.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        // Where in the row of numbers those of the machine stand, however deep we are ourselves.
        let level = numbers(self.init.as_raw()).len().checked_sub(1)?;
        let is_it = |pid: &Pid| numbers(pid.as_raw()).get(level) == Some(&inside.to_string());
        every_process().filter(is_it).find(|pid| self.is_below(*pid))
    }

    /// Whether a process is a descendant of the machine's first one.
    fn is_below(&self, pid: Pid) -> bool {
        let parent = |pid: &Pid| stat(*pid).map(|stat| stat.parent).filter(|parent| parent.as_raw() > 1);
        std::iter::successors(Some(pid), parent).any(|pid| pid == self.init)
    }
}

#[track_caller]
fn said(words: &[&str], output: &Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {}: {complaint}", output.status);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// The control groups that podman has for all of its containers, one in each hierarchy.
fn groups() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = std::iter::once(root.to_owned()).chain(hierarchies).map(|path| path.join("libpod_parent"));
    all.filter(|path| path.exists()).collect()
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.unshare.take());
    }
}

/// Joins two networks of one machine by a cable, the first of them with the address 10.213.0.1 and the other with 10.213.0.2.
pub fn join(one: &Network, other: &Network) {
    let machine = &one.machine;
    machine.ip(&format!("-n {} link add cable type veth peer name cable netns {}", one.name, other.name));
    for (network, address) in [(one, "10.213.0.1/24"), (other, "10.213.0.2/24")] {
        machine.ip(&format!("-n {} address add {address} dev cable", network.name));
        machine.ip(&format!("-n {} link set cable up", network.name));
    }
}

/// A network namespace on a machine, with nothing but its loopback.
pub struct Network {
    machine: Arc<Machine>,
    name: String,
}

impl Network {
    /// A new one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(machine: &Arc<Machine>, name: &str) -> Self {
        machine.ip(&format!("netns add {name}"));
        machine.ip(&format!("-n {name} link set lo up"));
        Self { machine: Arc::clone(machine), name: name.to_owned() }
    }

    /// Its file on the machine.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Has something done in it, by a thread of its own. What that thread opens, and the threads that it starts, stay there.
    ///
    /// # Panics
    /// When it cannot be entered, or that panics.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        Self::within_file(self.machine.file(&self.path()), act)
    }

    /// The same in the network that this file stands for, as we see it.
    ///
    /// # Panics
    /// As above.
    pub fn within_file<T: Send>(file: impl AsRef<Path>, act: impl FnOnce() -> T + Send) -> T {
        let file = File::open(file).expect("it is there");
        let there = move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("we may enter it");
            act()
        };
        std::thread::scope(|scope| scope.spawn(there).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.machine.to_execute(["ip", "netns", "del", &self.name]).output());
    }
}
