//! A machine of our own: namespaces for processes, mounts, control groups and the host's name, with systemd as process 1.
//! The network is the real one's, so that a controller on the loopback is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use agent_wrap_testbed::simulated::agent_program;
use agent_wrap_testbed::skip::{self, Need};
use agent_wrap_testbed::spawner::{self, Process};
use nix::unistd::Pid;

use crate::common::standalone::children;
use crate::common::{AGENT_WRAP, eventually, is_alive};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// Into a control group of our own, which can be removed afterwards, and then into the namespaces.
const ENTER: &str = r#"
mount -t cgroup2 cgroup2 /mnt
mkdir "/mnt/$1"
echo 0 > "/mnt/$1/cgroup.procs"
umount /mnt
exec unshare --fork --pid --mount --cgroup --uts --mount-proc --kill-child=KILL sh -euc "$2" sh "$3" "$4" "$5"
"#;

/// What systemd or the services write goes to memory: /etc, /var and /usr/bin lie under a layer of it. Without a /tmp of
/// its own systemd-tmpfiles would empty the real one, and without a shared root LoadCredential= stays empty.
const BOOT: &str = r#"
mount -t tmpfs tmpfs /mnt
for folder in /etc /var /usr/bin; do
    mkdir -p "/mnt/upper$folder" "/mnt/work$folder"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=/mnt/upper$folder,workdir=/mnt/work$folder" "$folder"
done
rm -rf /etc/systemd/system/*.wants /etc/systemd/system/default.target /etc/fstab /etc/agent-wrap /var/lib/agent-wrap
rm -f /usr/bin/java
cp "$1" /usr/bin/agent-wrap
cp "$2" /usr/bin/java
cp "$3"/*.service /etc/systemd/system/
echo 'ci:x:9999:9999::/var/ci:/bin/sh' >> /etc/passwd
echo 'ci:x:9999:' >> /etc/group
mkdir /etc/agent-wrap /var/ci
chown 9999:9999 /var/ci
for wants in sysinit basic sockets local-fs multi-user timers; do
    if [ -d "/lib/systemd/system/$wants.target.wants" ]; then
        mount -t tmpfs tmpfs "/lib/systemd/system/$wants.target.wants"
    fi
done
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
umount -R /sys/fs/cgroup || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
mkdir -p /run/systemd/system
printf '[Unit]\nDefaultDependencies=no\nWants=systemd-journald.socket\nAfter=systemd-journald.socket\n' \
    > /run/systemd/system/booted.target
export container=test
exec /lib/systemd/systemd --system --log-target=null --show-status=0 systemd.unit=booted.target
"#;

/// A machine; it ends when this is dropped, and with this process.
pub struct Machine {
    unshare: Option<Process>,
    init: Pid,
    group: String,
}

/// What such a machine needs.
///
/// # Errors
/// The reason, when it is not there.
pub fn need() -> Need {
    skip::need_root()?;
    if !Path::new(SYSTEMD).exists() {
        return Err(format!("{SYSTEMD} is not installed; `cargo xtask test` as root installs it"));
    }
    for program in ["unshare", "nsenter", "systemctl", "journalctl"] {
        skip::need_program(program)?;
    }
    // A container may well be root and yet not be allowed to.
    let mount = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/l /mnt/u /mnt/w && \
        mount -t overlay overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/l && \
        mount -t cgroup2 cgroup2 /mnt && echo > /mnt/cgroup.subtree_control";
    let tried = Command::new("unshare").args(["--mount", "--pid", "--fork", "sh", "-c", mount]).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("no namespaces to be had: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

impl Machine {
    /// Boots it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn boot() -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let group = format!("agent-wrap-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let units = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", ENTER, "sh", &group, BOOT, AGENT_WRAP]).arg(agent_program()).arg(units);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        let mut unshare = spawner::spawn(command).map_err(|error| format!("{error:#}"))?;
        let pid = Pid::from_raw(i32::try_from(unshare.id()).map_err(|error| error.to_string())?);
        let mut init = None;
        eventually("systemd is process 1", || {
            assert_eq!(unshare.ended().expect("it can be waited for"), None, "it does not boot");
            init = children(pid).first().copied().filter(|child| {
                fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|program| program.ends_with("systemd"))
            });
            init.is_some()
        });
        let machine = Self { unshare: Some(unshare), init: init.unwrap_or(pid), group };
        eventually("it has booted", || machine.command(&["systemctl", "is-active", "booted.target"]).status.success());
        Ok(machine)
    }

    /// Whether it is running.
    pub fn is_up(&self) -> bool {
        is_alive(self.init)
    }

    /// Has a command executed on it.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn command(&self, words: &[&str]) -> Output {
        self.to_execute(words).output().expect("nsenter is there")
    }

    /// A command that is to be executed on it.
    pub fn to_execute(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--pid", "--cgroup", "--uts", "--"])
            .args(words);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C").stdin(Stdio::null());
        command
    }

    /// The same, and what it says.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn said(&self, words: &[&str]) -> String {
        let output = self.command(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// One of its files, as we see it.
    pub fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// A process of its, by our number, from its own number there.
    pub fn process(&self, inside: u32) -> Option<Pid> {
        let is_it = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let namespaces = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            let mut numbers = namespaces.split_whitespace().rev();
            numbers.next() == Some(&inside.to_string()) && self.is_ours(*pid)
        };
        let entries = fs::read_dir("/proc").ok()?.flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it).map(Pid::from_raw)
    }

    fn is_ours(&self, pid: i32) -> bool {
        let space = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        space(pid).is_some_and(|found| Some(found) == space(self.init.as_raw()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Everything in its process namespace goes with it.
        drop(self.unshare.take());
        let remove = r#"mount -t cgroup2 cgroup2 /mnt && find "/mnt/$1" -depth -type d -exec rmdir {} +"#;
        let removed = || {
            let command = Command::new("unshare").args(["--mount", "sh", "-c", remove, "sh", &self.group]).output();
            command.is_ok_and(|output| output.status.success())
        };
        eventually("its control groups are empty", removed);
    }
}
