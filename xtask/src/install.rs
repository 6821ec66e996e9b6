//! What the checks and tests need beside Rust, and how it comes onto a machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use agent_wrap_testbed::{
    cache,
    skip::{self, Need},
    statics,
};
use anyhow::{Context, Result, bail};

use crate::run;

/// Who needs a package.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Demo,
    Lint,
    Test,
    Compare,
    Bench,
}

struct Package {
    /// Its name in Debian.
    name: &'static str,
    users: &'static [User],
    /// Whether it is there already, from wherever it came.
    is_there: fn() -> Need,
    reason: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "shellcheck",
        users: &[User::Lint],
        is_there: || skip::need_program("shellcheck"),
        reason: "checks the shell scripts",
    },
    Package {
        name: "mandoc",
        users: &[User::Lint, User::Test],
        is_there: || skip::need_program("mandoc"),
        reason: "checks and renders the man pages",
    },
    Package {
        name: "default-jdk-headless",
        users: &[User::Demo, User::Test, User::Compare, User::Bench],
        is_there: skip::need_java,
        reason: "runs the real controller and its agents",
    },
    Package {
        name: "maven",
        users: &[User::Demo, User::Test, User::Compare, User::Bench],
        is_there: || if cache::hudson_war().is_file() { Ok(()) } else { skip::need_program("mvn") },
        reason: "fetches the real controller",
    },
    Package {
        name: "python3-jenkins",
        users: &[User::Test, User::Compare],
        is_there: skip::need_python_jenkins,
        reason: "a client that nobody here wrote: automation, and the counter-example",
    },
    Package {
        name: "nginx-light",
        users: &[User::Test],
        is_there: || skip::need_program("nginx"),
        reason: "a proxy that buffers requests",
    },
    Package {
        name: "tini",
        users: &[User::Bench],
        is_there: || skip::need_program("tini"),
        reason: "an init of containers to measure beside",
    },
    Package {
        name: "dumb-init",
        users: &[User::Bench],
        is_there: || skip::need_program("dumb-init"),
        reason: "an init of containers to measure beside",
    },
    Package {
        name: "catatonit",
        users: &[User::Bench, User::Test],
        is_there: || skip::need_program("catatonit"),
        reason: "an init of containers, to measure beside and to have in front of us",
    },
    Package {
        name: "systemd",
        users: &[User::Test],
        is_there: || skip::need_program("systemd-analyze"),
        reason: "checks the units, and runs them as process 1 of its own namespaces",
    },
    Package {
        name: "podman",
        users: &[User::Test],
        is_there: || skip::need_program("podman"),
        reason: "runs containers",
    },
    Package {
        name: "runc",
        users: &[User::Test],
        is_there: || skip::need_program("runc"),
        reason: "runs containers for podman",
    },
    Package {
        name: "debootstrap",
        users: &[User::Test],
        is_there: || skip::need_debian_image().or_else(|_| skip::need_program("debootstrap")),
        reason: "makes an image with java",
    },
    Package {
        name: "iproute2",
        users: &[User::Test],
        is_there: || skip::need_program("ip"),
        reason: "makes networks for containers",
    },
    Package {
        name: "musl-tools",
        users: &[User::Test],
        is_there: || skip::need_program("musl-gcc"),
        reason: "compiles what the static program has of C",
    },
    Package {
        name: "openssl",
        users: &[User::Test],
        is_there: || skip::need_program("openssl"),
        reason: "makes certificates for a proxy that speaks TLS",
    },
    Package {
        name: "openssh-server",
        users: &[User::Test],
        is_there: || skip::need_program("sshd"),
        reason: "a terminal on the other side, and a connection that is lost",
    },
    Package {
        name: "tmux",
        users: &[User::Test],
        is_there: || skip::need_program("tmux"),
        reason: "a terminal that becomes narrower",
    },
];

/// Installs what `user` needs and is missing. What cannot be installed is said; what needs it says so then.
pub(crate) fn packages(user: User) {
    let missing: Vec<_> =
        PACKAGES.iter().filter(|package| package.users.contains(&user) && (package.is_there)().is_err()).collect();
    if missing.is_empty() {
        return;
    }
    for Package { name, reason, .. } in &missing {
        eprintln!("missing: {name} ({reason})");
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if let Err(error) = debian_packages(&names) {
        eprintln!("warning: {error:#}; going on without");
    }
}

fn debian_packages(names: &[&str]) -> Result<()> {
    skip::need_program("apt-get")
        .map_err(|_| anyhow::anyhow!("no apt-get here: install the like by your own means"))?;
    if skip::need_root().is_err() {
        bail!("only root may install packages: `sudo apt-get install {}` does", names.join(" "));
    }
    let _no_services = NoServices::prepare()?;
    run::check(apt_get().arg("update"))?;
    run::check(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(names))
}

fn apt_get() -> std::process::Command {
    let mut command = run::program("apt-get");
    // Another apt may be at work on a fresh machine.
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

/// As long as it lives, Debian's maintainer scripts start no service.
struct NoServices {
    policy: Option<PathBuf>,
}

impl NoServices {
    fn prepare() -> Result<Self> {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            // The machine's owner has a policy already.
            return Ok(Self { policy: None });
        }
        let what = || format!("cannot write {}", policy.display());
        fs::write(policy, "#!/bin/sh\nexit 101\n").with_context(what)?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).with_context(what)?;
        Ok(Self { policy: Some(policy.to_owned()) })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.policy
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("warning: remove {} yourself: {error}", policy.display());
        }
    }
}

/// Has rustup fetch what static programs are linked with. A failure is said; what needs them says so then.
pub(crate) fn static_target() {
    let target = statics::target();
    let libraries = run::output(run::program("rustc").args(["--print", "target-libdir", "--target", &target]));
    if libraries.is_ok_and(|folder| Path::new(&folder).is_dir()) {
        return;
    }
    let added = skip::need_program("rustup")
        .map_err(|_| anyhow::anyhow!("no rustup here, and the toolchain has not got {target}"))
        .and_then(|()| run::check(run::program("rustup").args(["target", "add", &target])));
    if let Err(error) = added {
        eprintln!("warning: no static programs: {error:#}");
    }
}

/// Fetches the real controller, unless it is there. A failure is said; what needs it says so then.
pub(crate) fn hudson() {
    if !cache::hudson_war().is_file()
        && let Err(error) = fetch_hudson()
    {
        eprintln!("warning: no real controller: {error:#}");
    }
}

fn fetch_hudson() -> Result<()> {
    let war = cache::hudson_war();
    let directory = cache::directory().join("fetching");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    run::check(
        run::program("mvn")
            .args(["--batch-mode", "--quiet", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"])
            .arg(format!("-Dartifact={}", cache::HUDSON_ARTIFACT))
            .arg(format!("-DoutputDirectory={}", directory.display())),
    )?;
    let name = war.file_name().context("the war has no name")?;
    let fetched = directory.join(name);
    let sum = run::program("sha256sum").arg(&fetched).output().context("cannot start sha256sum")?;
    let sum = String::from_utf8_lossy(&sum.stdout);
    if sum.split_whitespace().next() != Some(cache::HUDSON_SHA256) {
        bail!("{} is not the file that was published: its SHA-256 is {sum}", fetched.display());
    }
    // Only a whole file ever has the final name.
    fs::rename(&fetched, &war).with_context(|| format!("cannot move {} to {}", fetched.display(), war.display()))?;
    fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))
}
