//! How readily the kernel ends a process when memory runs out.

use std::fs;
use std::io;

/// Sets the `oom_score_adj` of a child of ours that has not been reaped.
///
/// The file is its owner's alone: root's as long as the child cannot be dumped, so up to its exec, and its user's
/// from then on.
pub(super) fn adjust(pid: u32, wanted: i16) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/oom_score_adj"), wanted.to_string())
}

/// The same, with a warning where it cannot be: the agent runs all the same.
pub(super) fn adjust_or_warn(pid: u32, wanted: i16) {
    let Err(error) = adjust(pid, wanted) else { return };
    let cause = match error.kind() {
        io::ErrorKind::PermissionDenied => match current(pid) {
            Some(current) if wanted < current => {
                format!("it has {current}, and less than that takes CAP_SYS_RESOURCE; ask for {current} or more")
            }
            Some(_) | None => "is the command one that nobody may read (its mode), or one with set-uid?".to_owned(),
        },
        io::ErrorKind::NotFound => return,
        _ => error.to_string(),
    };
    tracing::warn!(
        target: "agent_wrap",
        event = "complaint",
        "--agent-oom-score-adj {wanted} cannot be given to the agent: {cause}"
    );
}

fn current(pid: u32) -> Option<i16> {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?.trim().parse().ok()
}
