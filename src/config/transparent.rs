//! Which program a command really runs on this machine: programs such as `nice` only change something about the process
//! and execute the rest of their arguments in their place, as the same user and in the same directory. What runs a
//! program anywhere else (ssh, docker, sudo, chroot, `env -C`) is none of them: its files are not ours.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A program that runs the rest of its arguments, and the options of it that do not change where.
struct Transparent {
    name: &'static str,
    /// Letters of options without a value.
    flags: &'static str,
    /// Letters of options with one.
    valued: &'static str,
    /// Long options without a value, or with one after `=`.
    long: &'static [&'static str],
    /// Long options whose value may be the next word.
    long_valued: &'static [&'static str],
    operands: Operands,
}

/// What stands between the options and the program that is run.
#[derive(Clone, Copy)]
enum Operands {
    None,
    One,
    /// One, if it is a number.
    Number,
    /// `NAME=VALUE`, as often as there are.
    Variables,
}

const fn transparent(name: &'static str, flags: &'static str, valued: &'static str) -> Transparent {
    Transparent { name, flags, valued, long: &[], long_valued: &[], operands: Operands::None }
}

impl Transparent {
    const fn long(mut self, long: &'static [&'static str], long_valued: &'static [&'static str]) -> Self {
        self.long = long;
        self.long_valued = long_valued;
        self
    }

    const fn operands(mut self, operands: Operands) -> Self {
        self.operands = operands;
        self
    }
}

#[rustfmt::skip]
static KNOWN: [Transparent; 19] = [
    transparent("nice", "0123456789", "n").long(&[], &["adjustment"]),
    transparent("ionice", "t", "cn").long(&["ignore"], &["class", "classdata"]),
    transparent("env", "iv", "u").long(&["ignore-environment", "debug"], &["unset"]).operands(Operands::Variables),
    transparent("timeout", "fpv", "ks").long(&["foreground", "preserve-status", "verbose"], &["kill-after", "signal"])
        .operands(Operands::One),
    transparent("stdbuf", "", "ioe").long(&[], &["input", "output", "error"]),
    transparent("taskset", "ac", "").long(&["all-tasks", "cpu-list"], &[]).operands(Operands::One),
    transparent("chrt", "abdfioRrv", "DPT").long(
        &["batch", "deadline", "fifo", "idle", "other", "rr", "reset-on-fork", "verbose"],
        &["sched-deadline", "sched-period", "sched-runtime"],
    ).operands(Operands::Number),
    transparent("numactl", "abl", "CNimp").long(
        &["all", "balancing", "localalloc"],
        &["cpunodebind", "interleave", "membind", "physcpubind", "preferred"],
    ),
    transparent("nohup", "", ""),
    transparent("setsid", "cfw", "").long(&["ctty", "fork", "wait"], &[]),
    transparent("setpriv", "", "").long(
        &["no-new-privs", "nnp"],
        &["ambient-caps", "apparmor-profile", "bounding-set", "inh-caps", "pdeathsig", "securebits", "selinux-label"],
    ),
    transparent("prlimit", "", "").long(
        &[
            "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
            "rtprio", "rttime", "sigpending", "stack",
        ],
        &[],
    ),
    transparent("choom", "", "n").long(&[], &["adjust"]),
    transparent("cgexec", "", "g").long(&["sticky"], &[]),
    transparent("time", "apqv", "fo").long(&["append", "portability", "quiet", "verbose"], &["format", "output"]),
    transparent("ssh-agent", "", "aEtP"),
    transparent("xvfb-run", "al", "efnpsw").long(
        &["auto-display", "auto-servernum", "listen-tcp"],
        &["auth-file", "error-file", "server-args", "server-num", "wait", "xauth-protocol"],
    ),
    transparent("tini", "gsvw", "ep"),
    transparent("dumb-init", "cv", "r").long(&["single-child", "verbose"], &["rewrite"]),
];

/// The index of the program that a command runs, behind whatever stands before it transparently.
pub(super) fn program(command: &[OsString]) -> usize {
    let mut at = 0;
    while let Some(rest) = command.get(at..).and_then(skipped) {
        at += rest;
    }
    at
}

/// How many words the first program and its own arguments are; `None` if it is not known to be transparent as it is
/// called, or runs nothing.
fn skipped(command: &[OsString]) -> Option<usize> {
    let name = Path::new(command.first()?).file_name()?;
    let known = KNOWN.iter().find(|known| name == known.name)?;
    let mut at = 1 + options(known, &command[1..])?;
    let is_variable = |word: &OsString| word.as_bytes().iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0);
    let is_number = |word: &OsString| !word.is_empty() && word.as_bytes().iter().all(u8::is_ascii_digit);
    match known.operands {
        Operands::None => {}
        Operands::One => at += 1,
        Operands::Number => at += usize::from(command.get(at).is_some_and(is_number)),
        Operands::Variables => at += command[at..].iter().take_while(|word| is_variable(word)).count(),
    }
    (at < command.len()).then_some(at)
}

/// How many words the options are; `None` if one of them is not known.
fn options(known: &Transparent, words: &[OsString]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()) {
        if word == "--" {
            return Some(at + 1);
        }
        let value_follows = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(long), _) => known.long_option(long)?,
            // `env - PROGRAM` is `env -i PROGRAM`.
            (None, Some("")) if known.name == "env" => false,
            (None, Some(letters)) if !letters.is_empty() => known.letters(letters)?,
            (None, _) => return Some(at),
        };
        at += 1 + usize::from(value_follows);
    }
    Some(at.min(words.len()))
}

impl Transparent {
    /// Whether the next word is this long option's value; `None` if it is not known.
    fn long_option(&self, option: &str) -> Option<bool> {
        let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        if self.long_valued.contains(&name) {
            return Some(value.is_none());
        }
        self.long.contains(&name).then_some(false)
    }

    /// The same for a cluster of letters.
    fn letters(&self, letters: &str) -> Option<bool> {
        for (index, letter) in letters.char_indices() {
            if self.valued.contains(letter) {
                return Some(index + letter.len_utf8() == letters.len());
            }
            if !self.flags.contains(letter) {
                return None;
            }
        }
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> String {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        words.get(program(&words)).map(|word| word.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn what_only_changes_the_process_is_looked_through() {
        for prefix in [
            "",
            "nice",
            "/usr/bin/nice -n 5",
            "nice -n5",
            "nice -10",
            "nice --adjustment=5",
            "nice --adjustment 5",
            "ionice -c2 -n 7 -t",
            "env",
            "env -i - -u HOME A=b C= --unset=X",
            "env - PATH=/bin",
            "timeout -k 5 --foreground 1h",
            "stdbuf -oL -e 0",
            "taskset 3",
            "taskset -c 0,1",
            "chrt -r 10",
            "chrt --idle",
            "numactl --cpunodebind=0 --localalloc -m 1",
            "nohup",
            "setsid -w",
            "setpriv --nnp --pdeathsig KILL --",
            "prlimit --nofile=1024:2048",
            "choom -n 500 --",
            "xvfb-run -a -s x",
            "tini -g --",
            "nice -n 5 ionice -c3 env A=b nohup",
        ] {
            assert_eq!(found(&format!("{prefix} java -jar agent.jar")), "java", "{prefix}");
        }
    }

    #[test]
    fn what_runs_it_elsewhere_is_the_program() {
        for line in [
            "ssh host java",
            "docker run image java",
            "sudo -u ci java",
            "env -C /elsewhere java",
            "env -iC /elsewhere java",
            "env --chdir=/elsewhere java",
            "env -S java",
            "setpriv --reuid ci java",
            "nice --unknown java",
            "chroot /x java",
        ] {
            assert_eq!(found(line), line.split(' ').next().unwrap());
        }
        assert_eq!(found("nice -n 5 ssh host java"), "ssh");
    }

    #[test]
    fn what_runs_nothing_is_the_program_itself() {
        for line in ["nice", "nice -n", "nice -n 5", "env A=b", "timeout 5", "timeout"] {
            assert_eq!(found(line), line.split(' ').next().unwrap(), "{line}");
        }
        assert_eq!(found(""), "");
    }
}
