//! What this process was given when it was started.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{Error, Result};
use std::path::Path;

use serde_json::{Value, json};

/// Writes it down as JSON; the file appears as a whole.
pub(crate) fn write(file: &Path) -> Result<()> {
    let argv: Vec<String> = crate::given().iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let environ: BTreeMap<String, String> = env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let mut fds = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // The listing's own descriptor is gone by the time it is looked at.
        if let Ok(target) = fs::read_link(Path::new("/proc/self/fd").join(entry.file_name()))
            && !target.starts_with("/proc/")
        {
            fds.insert(entry.file_name().to_string_lossy().into_owned(), target.to_string_lossy().into_owned());
        }
    }
    let death = nix::sys::prctl::get_pdeathsig()?.map(|signal| signal as i32);
    let process_status = fs::read_to_string("/proc/self/status")?;
    let status: BTreeMap<&str, &str> = process_status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let text = json!({
        "argv": argv,
        "environ": environ,
        "pid": std::process::id(),
        "parent": nix::unistd::getppid().as_raw(),
        "group": nix::unistd::getpgrp().as_raw(),
        "session": nix::unistd::getsid(None)?.as_raw(),
        "directory": env::current_dir()?.to_string_lossy(),
        "blocked": mask(&process_status, "SigBlk")?,
        "ignored": mask(&process_status, "SigIgn")?,
        "parent_death_signal": death,
        "fds": fds,
        "status": Value::from_iter(status),
    });
    let draft = file.with_extension("draft");
    fs::write(&draft, text.to_string())?;
    fs::rename(draft, file)
}

/// The signals that are ignored: bit N-1 for signal N.
pub(crate) fn ignored() -> Result<u64> {
    mask(&fs::read_to_string("/proc/self/status")?, "SigIgn")
}

fn mask(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .ok_or_else(|| Error::other(format!("/proc/self/status has no {name}")))
}
