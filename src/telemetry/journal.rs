//! systemd's journal, in its own protocol: a datagram for each line, with fields that can be asked for
//! (`journalctl NODE=linux-7 PHASE=draining`).
//!
//! On its way through the outlet a record is a line like any other: its fields stand one after the other with a separator
//! in between that no text has, because characters of that kind are escaped.

use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_wrap_supervisor::{Generation, Phase};
use nix::errno::Errno;
use nix::unistd;

use super::format::shown;
use super::outlet::{Sink, is_writable, wait_until_writable, write};
use super::words::phase_word;

/// Where the journal takes datagrams.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

const SEPARATOR: char = '\0';
/// Far below what a datagram may have.
const LONGEST: usize = 32 * 1024;
/// The last field, for what is said where there is no journal any more.
const MESSAGE: &str = "\nMESSAGE=";

/// Where the wrapper stands, for the lines that are told meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Position(Arc<Mutex<Option<(Phase, Generation)>>>);

impl Position {
    pub(super) fn set(&self, phase: Phase, generation: Generation) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((phase, generation));
    }

    fn get(&self) -> Option<(Phase, Generation)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line as a record. `node` and `event` may be empty.
pub(super) fn record(level: tracing::Level, node: &str, event: &str, position: &Position, message: &str) -> String {
    let mut record = format!("PRIORITY={}{SEPARATOR}SYSLOG_IDENTIFIER=agent-wrap{SEPARATOR}", priority(level));
    // Writing to a string does not fail.
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = write!(record, "{name}={}{SEPARATOR}", shown(value));
        }
    };
    add("NODE", node);
    add("EVENT", event);
    if let Some((phase, generation)) = position.get() {
        add("PHASE", phase_word(phase));
        add("GENERATION", &generation.0.to_string());
    }
    let message = shown(message);
    let mut end = message.len().min(LONGEST);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let _ = writeln!(record, "MESSAGE={}", &message[..end]);
    record
}

/// syslog(3)'s numbers.
fn priority(level: tracing::Level) -> u8 {
    match level {
        tracing::Level::ERROR => 3,
        tracing::Level::WARN => 4,
        tracing::Level::INFO => 6,
        tracing::Level::DEBUG | tracing::Level::TRACE => 7,
    }
}

/// The way to the journal.
pub(super) struct Journal {
    path: PathBuf,
    socket: Mutex<UnixDatagram>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Yes,
    /// There is no room for it.
    Full,
    /// Nobody is there.
    Gone,
}

impl Journal {
    /// Connects to the journal's socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), socket: Mutex::new(connected(path)?) })
    }
}

fn connected(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

fn send(socket: &UnixDatagram, record: &[u8], patience: Option<Duration>) -> Sent {
    loop {
        if patience.is_some_and(|patience| !is_writable(socket.as_fd(), patience)) {
            return Sent::Full;
        }
        match unistd::write(socket, record) {
            Ok(_) => return Sent::Yes,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if patience.is_none() => wait_until_writable(socket.as_fd()),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => return Sent::Full,
            Err(_) => return Sent::Gone,
        }
    }
}

impl Sink for Journal {
    /// When the journal's socket is gone and no other has come in its place, the message goes to stderr.
    fn take(&self, record: &mut [u8], patience: Option<Duration>) -> u64 {
        for byte in record.iter_mut().filter(|byte| **byte == SEPARATOR as u8) {
            *byte = b'\n';
        }
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent = send(&socket, record, patience);
        if sent == Sent::Gone
            && let Ok(other) = connected(&self.path)
        {
            *socket = other;
            sent = send(&socket, record, patience);
        }
        match sent {
            Sent::Yes => record.len() as u64,
            Sent::Full => 0,
            Sent::Gone => write(io::stderr().as_fd(), spoken(record).as_bytes(), patience),
        }
    }

    fn takes_more(&self, patience: Duration) -> bool {
        is_writable(self.socket.lock().unwrap_or_else(PoisonError::into_inner).as_fd(), patience)
    }
}

/// The message of a record, as a line of text.
fn spoken(record: &[u8]) -> String {
    let record = String::from_utf8_lossy(record);
    format!("agent-wrap {}", record.split_once(MESSAGE).map_or("", |(_, message)| message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn heard(journal: &UnixDatagram) -> String {
        let mut bytes = [0; 64 * 1024];
        let count = journal.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    fn line(message: &str) -> Vec<u8> {
        let position = Position::default();
        position.set(Phase::BackingOff, Generation(3));
        record(tracing::Level::WARN, "n 1", "waiting", &position, message).into_bytes()
    }

    const FIELDS: &str =
        "PRIORITY=4\nSYSLOG_IDENTIFIER=agent-wrap\nNODE=n 1\nEVENT=waiting\nPHASE=backing-off\nGENERATION=3\nMESSAGE=";

    #[test]
    fn a_record_is_one_datagram_of_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::connect(&path).unwrap();
        let mut record = line("it \0hangs\nPRIORITY=0");
        assert_eq!(record.iter().filter(|byte| **byte == b'\n').count(), 1, "a line of the outlet");
        assert_eq!(journal.take(&mut record, None), record.len() as u64);
        assert_eq!(heard(&listener), format!("{FIELDS}it \\u0000hangs\\nPRIORITY=0\n"));
        let mut long = line(&"é".repeat(100_000));
        journal.take(&mut long, None);
        assert!(heard(&listener).ends_with("éé\n"));
    }

    #[test]
    fn what_is_not_known_has_no_field() {
        let record = record(tracing::Level::INFO, "", "", &Position::default(), "x");
        assert_eq!(record, "PRIORITY=6\0SYSLOG_IDENTIFIER=agent-wrap\0MESSAGE=x\n");
    }

    #[test]
    fn a_journal_that_has_another_socket_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::connect(&path).unwrap();
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        let listener = UnixDatagram::bind(&path).unwrap();
        journal.take(&mut line("again"), None);
        assert_eq!(heard(&listener), format!("{FIELDS}again\n"));
    }

    #[test]
    fn a_journal_that_takes_nothing_is_waited_for_only_as_long_as_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::connect(&path).unwrap();
        let full = (0..100_000).any(|_| journal.take(&mut line("x"), Some(Duration::ZERO)) == 0);
        assert!(full && !journal.takes_more(Duration::ZERO));
        heard(&listener);
        assert!(journal.takes_more(Duration::ZERO));
    }

    #[test]
    fn the_message_is_what_is_said_without_a_journal() {
        let record = String::from_utf8(line("the MESSAGE=x")).unwrap().replace(SEPARATOR, "\n");
        assert_eq!(spoken(record.as_bytes()), "agent-wrap the MESSAGE=x\n");
        assert!(Journal::connect(Path::new("/nowhere/socket")).is_err());
    }
}
