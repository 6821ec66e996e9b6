//! What `/proc` tells about other processes.

use std::{fs, io};

use super::trail;

/// A line of `/proc/PID/stat` has 52 numbers and a name of at most 64 bytes.
const LONGEST_STAT: usize = 2048;

/// The fields of `/proc/PID/stat` that are of use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) threads: u32,
    /// In clock ticks since the boot; together with the pid it tells processes apart.
    pub(super) start_time: u64,
}

impl Stat {
    /// Whether any of it still runs. A leader that has ended before its threads is a zombie by its state only.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X') || self.threads > 1
    }
}

/// Reads `/proc/PID/stat`; `None` for a process that does not exist or may not be seen.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    // All processes are read at times: a file of /proc has no length, so that the standard library reads it in bits.
    let mut text = [0; LONGEST_STAT];
    let file = trail::open_in_proc(pid, "stat").ok()?;
    let length = trail::read_all(&file, &mut text).ok()?;
    parse(text.get(..length)?)
}

/// The name of a process, as `ps` shows it; it is not to be trusted, and has no control characters.
pub(super) fn name(pid: i32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name).trim_end().replace(char::is_control, "?");
    if name.is_empty() { "a process".to_owned() } else { name }
}

/// Every process that may be seen.
pub(super) fn all() -> io::Result<Vec<Stat>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(stat) = numeric(&entry?.file_name()).and_then(stat) {
            all.push(stat);
        }
    }
    Ok(all)
}

/// Whether this process is in the list of all of them.
fn lists(pid: i32) -> bool {
    fs::read_dir("/proc").is_ok_and(|entries| entries.flatten().any(|entry| numeric(&entry.file_name()) == Some(pid)))
}

/// The children of this process, zombies included, whichever of its threads they belong to.
pub(super) fn children() -> io::Result<Vec<i32>> {
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(task?.path().join("children")) {
            Ok(list) => children.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok())),
            // A kernel without CONFIG_PROC_CHILDREN, or a thread that has just ended.
            Err(_) => return scan_children(),
        }
    }
    Ok(children)
}

fn scan_children() -> io::Result<Vec<i32>> {
    let me = nix::unistd::getpid().as_raw();
    Ok(all()?.into_iter().filter(|stat| stat.parent == me).map(|stat| stat.pid).collect())
}

/// What of all this cannot be had, with its consequence and the cure; `None` when everything can.
pub(super) fn lacking() -> Option<String> {
    let me = nix::unistd::getpid().as_raw();
    let lacks = if stat(me).is_none() {
        "/proc shows no processes"
    } else if !lists(me) {
        "/proc cannot be listed"
    } else if boot_id().is_err() {
        "/proc/sys/kernel/random/boot_id cannot be read"
    } else {
        return None;
    };
    Some(format!(
        "{lacks}: what the agent leaves behind is neither reported nor ended, an agent that goes into the background \
         is started again beside itself, and one that outlives a killed wrapper is not found by the next; mount it (in a \
         container or chroot: mount -t proc proc /proc)"
    ))
}

/// The identifier of this boot: a pid and a start time mean something only within one.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

/// The highest descriptor this process has open, for kernels that cannot close a range.
pub(super) fn highest_descriptor() -> i32 {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return 1023 };
    entries.flatten().filter_map(|entry| numeric(&entry.file_name())).max().unwrap_or(2)
}

fn numeric(name: &std::ffi::OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
}

/// The command's name, the second field, may hold blanks and parentheses: the fields are counted from its end.
fn parse(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let pid = std::str::from_utf8(text.get(..open)?).ok()?.trim().parse().ok()?;
    let fields: Vec<&str> = std::str::from_utf8(text.get(close + 1..)?).ok()?.split_ascii_whitespace().collect();
    Some(Stat {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "42 (a) (b c) S 7 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 10 11 18446744073709551615 0 0";

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = parse(LINE.as_bytes()).unwrap();
        let expected =
            Stat { pid: 42, state: b'S', parent: 7, group: 40, session: 39, threads: 3, start_time: 987_654 };
        assert_eq!(stat, expected);
    }

    #[test]
    fn a_name_that_is_not_text_is_read_all_the_same() {
        let mut line = b"42 (\xff\xfe".to_vec();
        line.extend_from_slice(&LINE.as_bytes()[LINE.rfind(')').unwrap()..]);
        assert_eq!(parse(&line).unwrap().start_time, 987_654);
    }

    #[test]
    fn a_short_line_is_nothing() {
        assert_eq!(parse(b"42 (sh) S 1"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_leader_that_ended_before_its_threads_is_alive() {
        let stat = |state, threads| Stat { state, threads, ..parse(LINE.as_bytes()).unwrap() };
        assert!(stat(b'Z', 2).is_alive());
        assert!(!stat(b'Z', 1).is_alive());
        assert!(!stat(b'X', 0).is_alive());
        assert!(stat(b'T', 1).is_alive());
    }

    #[test]
    fn this_process_is_there() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(stat(me).unwrap().pid, me);
        assert!(all().unwrap().iter().any(|stat| stat.pid == me));
        assert!(highest_descriptor() >= 2);
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
