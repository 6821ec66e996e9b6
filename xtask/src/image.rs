//! A whole image that the agent really runs in: Debian with java, made once by debootstrap.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use agent_wrap_testbed::{cache, skip};
use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use crate::run;

const SCRIPT: &str = "xtask/src/image.sh";

/// Makes the image, unless it is there. A failure is said; what needs it says so then.
pub(crate) fn debian() {
    if skip::need_debian_image().is_err()
        && let Err(error) = make()
    {
        eprintln!("warning: no image with java: {error:#}");
    }
}

fn make() -> Result<()> {
    if skip::need_root().is_err() {
        bail!("only root may make it");
    }
    for program in ["debootstrap", "podman", "unshare"] {
        skip::need_program(program).map_err(anyhow::Error::msg)?;
    }
    let (release, mirror) = source()?;
    let folder = cache::directory().join(format!("making-{}", Pid::this()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let made = run::check(
        run::program("unshare")
            .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "sh", SCRIPT])
            .args([&release, &mirror])
            .arg(&folder)
            .arg(cache::DEBIAN_IMAGE)
            // debootstrap says a line for each package.
            .stdout(Stdio::null()),
    );
    // Only a whole store ever has the final name.
    let moved = made.and_then(|()| {
        let store = cache::image_store();
        remove(&store)?;
        fs::rename(folder.join("store"), &store).with_context(|| format!("cannot make {}", store.display()))?;
        fs::write(store.join("image"), cache::DEBIAN_IMAGE)
            .with_context(|| format!("cannot write to {}", store.display()))
    });
    remove(&folder)?;
    moved
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if folder.exists() => Err(error).with_context(|| format!("cannot remove {}", folder.display())),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// The release of this Debian, and the mirror that it is kept up to date from itself.
fn source() -> Result<(String, String)> {
    let words = run::output(Command::new("sh").args(["-c", ". /etc/os-release && echo \"$ID $VERSION_CODENAME\""]))?;
    let Some(("debian", release)) = words.split_once(' ') else { bail!("this is no Debian: {words}") };
    let wanted = "$(ORIGIN) $(LABEL) $(CODENAME) $(COMPONENT) $(SITE)";
    let targets =
        run::output(run::program("apt-get").args(["indextargets", "--format", wanted, "Created-By: Packages"]))?;
    let prefix = format!("Debian Debian {release} main ");
    let mirror = targets.lines().find_map(|line| line.strip_prefix(&prefix));
    let mirror = mirror.with_context(|| format!("apt has no source for main of {release}"))?;
    Ok((release.to_owned(), mirror.to_owned()))
}
