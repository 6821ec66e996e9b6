//! Formats that the kernel has been taught (binfmt_misc): qemu's programs for other machines, jars, and the like.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const DIRECTORY: &str = "/proc/sys/fs/binfmt_misc";

/// Who would run a file that is neither a script nor a program of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handler {
    /// Nobody.
    None,
    /// Somebody.
    Some,
    /// The list cannot be seen from here, as in most containers; the kernel may have one all the same.
    Hidden,
}

/// Looks for a handler of a file that begins like this.
pub(super) fn handler(file: &Path, head: &[u8]) -> Handler {
    let directory = Path::new(DIRECTORY);
    let Ok(status) = fs::read_to_string(directory.join("status")) else { return Handler::Hidden };
    if status.trim() != "enabled" {
        return Handler::None;
    }
    let Ok(entries) = fs::read_dir(directory) else { return Handler::Hidden };
    let names = entries.flatten().filter(|entry| entry.file_name() != "status" && entry.file_name() != "register");
    let found = names.filter_map(|entry| fs::read_to_string(entry.path()).ok()).any(|entry| takes(&entry, file, head));
    if found { Handler::Some } else { Handler::None }
}

/// Whether an entry of the list is for such a file.
fn takes(entry: &str, file: &Path, head: &[u8]) -> bool {
    let value = |key: &str| entry.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    if entry.lines().next() != Some("enabled") {
        return false;
    }
    if let Some(extension) = value("extension .") {
        return file.extension().is_some_and(|ours| ours.as_bytes() == extension.as_bytes());
    }
    let Some(magic) = value("magic ").and_then(bytes) else { return false };
    let mask = value("mask ").and_then(bytes).unwrap_or_else(|| vec![0xff; magic.len()]);
    let offset = value("offset ").and_then(|offset| offset.parse::<usize>().ok()).unwrap_or_default();
    let Some(ours) = head.get(offset..offset + magic.len()) else { return false };
    ours.iter().zip(&mask).zip(&magic).all(|((ours, mask), magic)| ours & mask == magic & mask)
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let pairs = (0..hexadecimal.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(hexadecimal.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_as_the_kernel_shows_them() {
        let qemu = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
                    magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        let jar = "enabled\ninterpreter /usr/bin/jexec\nflags: \noffset 0\nmagic 504b0304\n";
        let windows = "enabled\ninterpreter /usr/bin/wine\nflags: \nextension .exe\n";
        let head = b"\x7fELF\x02\x01\x01\x03\0\0\0\0\0\0\0\0\x03\0\xb7\0rest";
        let file = |name: &'static str| Path::new(name);
        assert!(takes(qemu, file("x"), head));
        assert!(!takes(&qemu.replace("enabled", "disabled"), file("x"), head));
        assert!(!takes(qemu, file("x"), b"\x7fELF\x02\x01\x01"), "too short");
        assert!(!takes(qemu, file("x"), b"\x7fELF\x02\x01\x01\x03\0\0\0\0\0\0\0\0\x03\0\x3e\0"), "another machine");
        assert!(takes(jar, file("agent.jar"), b"PK\x03\x04") && !takes(jar, file("agent.jar"), head));
        assert!(takes(windows, file("a.exe"), b"") && !takes(windows, file("exe"), b"MZ"));
    }
}
