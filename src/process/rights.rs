//! Whether this process may become another user, and signal it then: found out before anything is done for its sake.

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{getegid, geteuid};

use super::spawn::User;

/// A capability, and its number in the kernel's sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Capability {
    name: &'static str,
    number: u32,
}

const DAC_OVERRIDE: Capability = Capability { name: "CAP_DAC_OVERRIDE", number: 1 };
const DAC_READ_SEARCH: Capability = Capability { name: "CAP_DAC_READ_SEARCH", number: 2 };
const KILL: Capability = Capability { name: "CAP_KILL", number: 5 };
const SETGID: Capability = Capability { name: "CAP_SETGID", number: 6 };
const SETUID: Capability = Capability { name: "CAP_SETUID", number: 7 };
const SYS_PTRACE: Capability = Capability { name: "CAP_SYS_PTRACE", number: 19 };

/// Whether the environments of other users' processes may be read, by which builds are known.
#[must_use]
pub fn sees_environments() -> bool {
    capabilities() & SYS_PTRACE.bit() != 0
}

/// A kernel that does not tell has all or nothing.
fn capabilities() -> u64 {
    effective_capabilities().unwrap_or_else(|_| if geteuid().is_root() { u64::MAX } else { 0 })
}

impl Capability {
    fn bit(self) -> u64 {
        1 << self.number
    }
}

/// What it takes to run something as a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it is the user that we are.
    None,
    /// To become it, which we may.
    Allowed,
    /// To become it, for which these capabilities are missing.
    Lacking(Vec<&'static str>),
}

impl User {
    /// What it takes this process to run something as this user.
    #[must_use]
    pub fn change(&self) -> Change {
        let ours = (geteuid().as_raw(), getegid().as_raw());
        self.change_from(ours, capabilities())
    }

    fn change_from(&self, ours: (u32, u32), capabilities: u64) -> Change {
        let needed = if self.uid == ours.0 { &[SETUID, SETGID][..] } else { &[SETUID, SETGID, KILL] };
        let lacking = |capability: &&Capability| capabilities & capability.bit() == 0;
        let lacking: Vec<_> = needed.iter().filter(lacking).map(|capability| capability.name).collect();
        match lacking {
            lacking if lacking.is_empty() => Change::Allowed,
            _ if (self.uid, self.gid) == ours => Change::None,
            lacking => Change::Lacking(lacking),
        }
    }

    /// Whether a process of this user that we start may do with files what we may, whatever their modes are: what we
    /// have without being root is not lost when the user changes.
    pub(super) fn keeps_our_rights(&self) -> bool {
        let ours = [DAC_OVERRIDE, DAC_READ_SEARCH].iter().fold(0, |bits, capability| bits | capability.bit());
        !geteuid().is_root() && capabilities() & ours != 0
    }
}

/// The kernel's `struct __user_cap_header_struct` and `struct __user_cap_data_struct`, of which version 3 takes two.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

fn effective_capabilities() -> Result<u64, Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: capget reads the header, of this thread, and writes two structs for version 3; all of it is ours.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(got)?;
    Ok(u64::from(data[1].effective) << 32 | u64::from(data[0].effective))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes() {
        let user = |uid, gid| User { uid, gid, groups: vec![gid] };
        let bits = |capabilities: &[Capability]| capabilities.iter().map(|capability| 1 << capability.number).sum();
        let all = bits(&[KILL, SETGID, SETUID]);
        let lacking = |names: &[&'static str]| Change::Lacking(names.to_vec());
        for (user, capabilities, expected) in [
            (user(1, 1), all, Change::Allowed),
            (user(7, 7), all, Change::Allowed),
            (user(7, 7), 0, Change::None),
            (user(7, 8), 0, lacking(&["CAP_SETUID", "CAP_SETGID"])),
            (user(7, 8), bits(&[SETGID, SETUID]), Change::Allowed),
            (user(1, 1), 0, lacking(&["CAP_SETUID", "CAP_SETGID", "CAP_KILL"])),
            (user(1, 1), bits(&[SETGID, SETUID]), lacking(&["CAP_KILL"])),
        ] {
            assert_eq!(user.change_from((7, 7), capabilities), expected, "{user:?} with {capabilities:x}");
        }
    }

    #[test]
    fn the_kernel_tells_our_capabilities() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        assert_eq!(effective_capabilities().unwrap(), u64::from_str_radix(line.trim(), 16).unwrap());
    }
}
