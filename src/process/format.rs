//! What is in an executable file, as far as it decides whether the kernel can run it: a script with its interpreter, or
//! a program for this machine with its loader.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::binfmt::{self, Handler};
use super::modes::Wish;
use super::resolve::{self, Fault, Unresolved};
use super::spawn::User;

/// As much of a file as the kernel looks at.
const HEAD: usize = 256;

/// The kernel follows a script's interpreter that is a script itself this far.
const DEEPEST: u32 = 5;

/// What is believed of formats that the kernel may have been taught where its list cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// It may know them.
    Known,
    /// It does not: it has just refused the file.
    Unknown,
}

/// Looks into a file that may be executed by us, or by this user. One that cannot be read is taken for good.
pub(super) fn check(file: &Path, user: Option<&User>, unseen: Unseen) -> Result<(), Fault> {
    check_within(file, user, unseen, DEEPEST)
}

fn check_within(file: &Path, user: Option<&User>, unseen: Unseen, depth: u32) -> Result<(), Fault> {
    let Ok(opened) = File::open(file) else { return Ok(()) };
    let mut head = [0; HEAD];
    let Ok(length) = read_at(&opened, &mut head, 0) else { return Ok(()) };
    let head = &head[..length];
    let fault = match head {
        [b'#', b'!', line @ ..] => {
            user.map_or(Ok(()), |user| user.permitted(Wish::Read, file))?;
            return script(line, user, unseen, depth);
        }
        [0x7f, b'E', b'L', b'F', ..] => match Elf::read(head) {
            Some(theirs) => match (machine_fault(&theirs), theirs.is_program()) {
                (None, true) => {
                    return theirs.loader(&opened).map_or(Ok(()), |loader| run_by(&loader, true, user, unseen, depth));
                }
                (None, false) => Fault::UnknownFormat,
                (Some(fault), _) => fault,
            },
            None => Fault::UnknownFormat,
        },
        [] => Fault::NoContent,
        [b'P', b'K', 3, 4, ..] => Fault::Jar,
        text if !text.contains(&0) => Fault::NoShebang,
        _ => Fault::UnknownFormat,
    };
    match binfmt::handler(file, head) {
        Handler::None => Err(fault),
        // Handlers for scripts without a first line are unheard of; those for jars and for other machines are not.
        Handler::Hidden if unseen == Unseen::Unknown || matches!(fault, Fault::NoContent | Fault::NoShebang) => {
            Err(fault)
        }
        Handler::Hidden | Handler::Some => Ok(()),
    }
}

/// The line after a script's `#!`.
fn script(line: &[u8], user: Option<&User>, unseen: Unseen, depth: u32) -> Result<(), Fault> {
    let end = line.iter().position(|byte| matches!(byte, b'\n' | 0)).unwrap_or(line.len());
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = line[..end].iter().position(|byte| !is_blank(byte)) else { return Err(Fault::NoShebang) };
    let name = &line[start..end];
    let name = &name[..name.iter().position(is_blank).unwrap_or(name.len())];
    run_by(Path::new(OsStr::from_bytes(name)), false, user, unseen, depth)
}

/// The program that the kernel executes instead.
fn run_by(interpreter: &Path, loader: bool, user: Option<&User>, unseen: Unseen, depth: u32) -> Result<(), Fault> {
    let failing = |fault| Err(Fault::BadInterpreter(Box::new(Unresolved { program: interpreter.to_owned(), fault })));
    match resolve::permitted(interpreter, user) {
        // A loader is a program of a kind of its own, which the kernel maps and does not look into any further.
        Ok(()) if loader => Ok(()),
        Ok(()) if depth == 0 => failing(Fault::TooDeep),
        Ok(()) => check_within(interpreter, user, unseen, depth - 1).or_else(failing),
        Err(Fault::Missing { .. } | Fault::Dangling { .. } | Fault::ThroughAFile(_)) => {
            Err(Fault::NoInterpreter { interpreter: interpreter.to_owned(), loader })
        }
        Err(fault) => failing(fault),
    }
}

/// Whether the program is made for another kind of machine than this program, which runs here.
fn machine_fault(theirs: &Elf) -> Option<Fault> {
    let ours = File::open("/proc/self/exe").ok().and_then(|ours| {
        let mut head = [0; HEAD];
        let length = read_at(&ours, &mut head, 0).ok()?;
        Elf::read(&head[..length])
    })?;
    if theirs.machine == ours.machine || runs_on(theirs.machine, ours.machine) {
        return None;
    }
    Some(Fault::OtherMachine { theirs: machine_name(theirs.machine), ours: machine_name(ours.machine) })
}

/// The parts of an ELF header that matter.
#[derive(Debug, PartialEq, Eq)]
struct Elf {
    wide: bool,
    big_endian: bool,
    kind: u16,
    machine: u16,
    headers: u64,
    header_size: u16,
    header_count: u16,
}

impl Elf {
    fn read(head: &[u8]) -> Option<Self> {
        let wide = match head.get(4)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let big_endian = match head.get(5)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let number = |at: usize, size: usize| number(head, at, size, big_endian);
        let half = |at: usize| u16::try_from(number(at, 2)?).ok();
        Some(Self {
            wide,
            big_endian,
            kind: half(16)?,
            machine: half(18)?,
            headers: if wide { number(32, 8)? } else { number(28, 4)? },
            header_size: half(if wide { 54 } else { 42 })?,
            header_count: half(if wide { 56 } else { 44 })?,
        })
    }

    /// A program, at a fixed address or not, and no object file or core.
    fn is_program(&self) -> bool {
        matches!(self.kind, 2 | 3)
    }

    /// The loader it names, if it names one.
    fn loader(&self, file: &File) -> Option<std::path::PathBuf> {
        const INTERPRETER: u64 = 3;
        let (offset_at, length_at, word) = if self.wide { (8, 32, 8) } else { (4, 16, 4) };
        let mut header = [0; 56];
        for index in 0..self.header_count {
            let at = self.headers.checked_add(u64::from(index) * u64::from(self.header_size))?;
            let length = read_at(file, &mut header, at).ok()?;
            let number = |at: usize, size: usize| number(&header[..length], at, size, self.big_endian);
            if number(0, 4)? != INTERPRETER {
                continue;
            }
            let mut name = vec![0; usize::try_from(number(length_at, word)?).ok().filter(|length| *length <= 4096)?];
            let length = read_at(file, &mut name, number(offset_at, word)?).ok()?;
            let end = name[..length].iter().position(|byte| *byte == 0).unwrap_or(length);
            return Some(OsStr::from_bytes(&name[..end]).into());
        }
        None
    }
}

fn number(bytes: &[u8], at: usize, size: usize, big_endian: bool) -> Option<u64> {
    let bytes = bytes.get(at..at + size)?;
    let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) })
}

/// Fills the buffer as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

const I386: u16 = 3;
const ARM: u16 = 40;
const X86_64: u16 = 62;
const AARCH64: u16 = 183;

/// Whether a kernel of one machine usually runs programs for the other as well.
fn runs_on(program: u16, machine: u16) -> bool {
    // Of 32 and 64 bits under one number (S/390, RISC-V, MIPS) the kernel decides.
    matches!((program, machine), (I386, X86_64) | (X86_64, I386) | (ARM, AARCH64) | (AARCH64, ARM))
}

/// As `uname -m` says it.
fn machine_name(machine: u16) -> String {
    match machine {
        I386 => "i386".to_owned(),
        8 => "mips".to_owned(),
        21 => "ppc64".to_owned(),
        22 => "s390x".to_owned(),
        ARM => "arm".to_owned(),
        X86_64 => "x86_64".to_owned(),
        AARCH64 => "aarch64".to_owned(),
        243 => "riscv64".to_owned(),
        258 => "loongarch64".to_owned(),
        number => format!("a machine that ELF numbers {number}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.at(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        fn fault(&self, content: &[u8]) -> Result<(), Fault> {
            check(&self.file("x", content), None, Unseen::Unknown)
        }
    }

    fn folder() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn missing(interpreter: &str, loader: bool) -> Result<(), Fault> {
        Err(Fault::NoInterpreter { interpreter: interpreter.into(), loader })
    }

    #[test]
    fn scripts() {
        let folder = folder();
        for good in ["#!/bin/sh", "#! /bin/sh -e\nx", "#!\t/bin/sh\t-e x\n"] {
            assert_eq!(folder.fault(good.as_bytes()), Ok(()), "{good:?}");
        }
        assert_eq!(folder.fault(b"#!/no/such/sh -e\n"), missing("/no/such/sh", false));
        assert_eq!(folder.fault(b"#!/bin/sh/x\n"), missing("/bin/sh/x", false));
        assert_eq!(folder.fault(b"#!/bin/sh\r\n"), missing("/bin/sh\r", false));
        assert_eq!(folder.fault(b"#! \n/bin/sh"), Err(Fault::NoShebang));
        let text = folder.at("text");
        fs::write(&text, "x").unwrap();
        for (interpreter, fault) in [(Path::new("/bin"), Fault::Directory), (&text, Fault::NoExecutableBit)] {
            let error = Unresolved { program: interpreter.to_owned(), fault };
            let script = format!("#!{}\n", interpreter.display());
            assert_eq!(folder.fault(script.as_bytes()), Err(Fault::BadInterpreter(Box::new(error))));
        }
    }

    #[test]
    fn scripts_of_scripts() {
        let folder = folder();
        let mut interpreter = PathBuf::from("/bin/sh");
        for depth in 0..5 {
            let script = format!("#!{}\n", interpreter.display());
            interpreter = folder.file(&format!("script{depth}"), script.as_bytes());
            assert_eq!(check(&interpreter, None, Unseen::Known), Ok(()), "{depth}");
        }
        let script = format!("#!{}\n", interpreter.display());
        assert!(check(&folder.file("one too many", script.as_bytes()), None, Unseen::Known).is_err());
        let circle = folder.at("circle");
        folder.file("circle", format!("#!{}\n", circle.display()).as_bytes());
        let mut fault = check(&circle, None, Unseen::Known).unwrap_err();
        while let Fault::BadInterpreter(inner) = fault {
            assert_eq!(inner.program, circle);
            fault = inner.fault;
        }
        assert_eq!(fault, Fault::TooDeep);
    }

    #[test]
    fn what_is_no_program() {
        let folder = folder();
        assert_eq!(folder.fault(b""), Err(Fault::NoContent));
        assert_eq!(folder.fault(b"exit 0\n"), Err(Fault::NoShebang));
        assert_eq!(folder.fault(b"PK\x03\x04"), Err(Fault::Jar));
        assert_eq!(folder.fault(b"MZ\0\0"), Err(Fault::UnknownFormat));
        assert_eq!(folder.fault(b"\x7fELF"), Err(Fault::UnknownFormat));
        // Where we cannot see what the kernel has been taught, it has the last word on these, and on these only.
        let hidden = binfmt::handler(Path::new("x"), b"") == Handler::Hidden;
        let before = |content: &[u8]| check(&folder.file("x", content), None, Unseen::Known);
        assert_eq!(before(b"PK\x03\x04").is_ok(), hidden);
        assert!(before(b"").is_err() && before(b"exit 0").is_err());
    }

    /// A program of this machine with some bytes of its header replaced.
    fn program(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut program = fs::read("/bin/true").unwrap();
        program[at..at + bytes.len()].copy_from_slice(bytes);
        program
    }

    #[test]
    fn programs() {
        let folder = folder();
        assert_eq!(folder.fault(&program(0, b"\x7fELF")), Ok(()));
        match folder.fault(&program(18, &8_u16.to_ne_bytes())) {
            Err(Fault::OtherMachine { theirs, ours }) => assert!(theirs == "mips" && ours != "mips"),
            other => panic!("{other:?}"),
        }
        assert_eq!(folder.fault(&program(16, &1_u16.to_ne_bytes())), Err(Fault::UnknownFormat));
        let mut other = program(0, b"\x7fELF");
        let elf = Elf::read(&other).unwrap();
        let loader = elf.loader(&File::open("/bin/true").unwrap()).unwrap();
        let name = loader.as_os_str().as_bytes();
        let at = other.windows(name.len()).position(|window| window == name).unwrap();
        other[at..at + 4].copy_from_slice(b"/no/");
        let absent = format!("/no/{}", &loader.to_str().unwrap()[4..]);
        assert_eq!(folder.fault(&other), missing(&absent, true));
        // Headers that lead nowhere.
        for at in [32, 54, 56] {
            let _ = folder.fault(&program(at, &[0xff, 0xff]));
        }
    }
}
