//! The manager's socket.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use agent_wrap_supervisor::Span;
use thiserror::Error;

use crate::quoted::quoted;

/// A way to tell the manager something.
#[derive(Debug)]
pub struct ManagerSocket {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// Why there is none although a manager wants one.
#[derive(Debug, Error)]
pub enum NotASocket {
    /// It is neither a path nor an abstract name.
    #[error("NOTIFY_SOCKET is {}, which is neither an absolute path nor @ and a name; the service manager is told nothing", quoted(.0))]
    Address(std::ffi::OsString),
    /// The system gives none.
    #[error("no socket can be had for NOTIFY_SOCKET ({0}); the service manager is told nothing")]
    System(#[from] io::Error),
}

impl ManagerSocket {
    /// A socket to this address: a path, or `@` and a name in the abstract namespace. Nobody has to be there yet.
    ///
    /// # Errors
    /// When it is no such address, or the system has no descriptor to spare.
    pub fn new(name: &OsStr) -> Result<Self, NotASocket> {
        let wrong = |_| NotASocket::Address(name.to_owned());
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name).map_err(wrong)?,
            [b'@', rest @ ..] if !rest.is_empty() => SocketAddr::from_abstract_name(rest).map_err(wrong)?,
            _ => return Err(NotASocket::Address(name.to_owned())),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    /// Sends one datagram, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the manager has not read enough of what came before; anything else when nobody is there.
    pub fn send(&self, datagram: &str) -> io::Result<()> {
        self.socket.send_to_addr(datagram.as_bytes(), &self.address).map(drop)
    }
}

/// The longest time that the manager waits for a sign of life of the process `own`; `None` when it waits for none.
#[must_use]
pub fn watchdog_interval(microseconds: Option<&OsStr>, process: Option<&OsStr>, own: u32) -> Option<Span> {
    // Inherited from a service that has started us for its own purposes.
    if process.is_some_and(|process| process.to_str() != Some(&own.to_string())) {
        return None;
    }
    let microseconds: u64 = microseconds?.to_str()?.parse().ok()?;
    (microseconds > 0).then(|| Span((microseconds / 1000).max(2)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn heard(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let count = listener.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        ManagerSocket::new(path.as_os_str()).unwrap().send("READY=1\n").unwrap();
        assert_eq!(heard(&listener), "READY=1\n");

        let name = format!("agent-wrap-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        ManagerSocket::new(OsStr::new(&format!("@{name}"))).unwrap().send("WATCHDOG=1\n").unwrap();
        assert_eq!(heard(&listener), "WATCHDOG=1\n");
    }

    #[test]
    fn nothing_else_is() {
        let long = format!("/{}", "x".repeat(200));
        for name in ["", "@", "relative", "vsock:2:1234", &long] {
            let error = ManagerSocket::new(OsStr::new(name)).unwrap_err();
            assert!(matches!(error, NotASocket::Address(_)), "{name}: {error}");
            assert!(error.to_string().starts_with("NOTIFY_SOCKET is \""), "{error}");
        }
    }

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for_and_one_that_is_gone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let socket = ManagerSocket::new(path.as_os_str()).unwrap();
        let refusal = (0..1_000_000).find_map(|_| socket.send("WATCHDOG=1\n").err()).expect("its room is limited");
        assert_eq!(refusal.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(heard(&listener), "WATCHDOG=1\n");
        socket.send("there is room again").unwrap();
        drop(listener);
        assert_eq!(socket.send("READY=1\n").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn the_watchdog_is_ours_only_if_it_names_us() {
        let interval = |microseconds: Option<&str>, process: Option<&str>| {
            let (microseconds, process) = (microseconds.map(OsString::from), process.map(OsString::from));
            watchdog_interval(microseconds.as_deref(), process.as_deref(), 7)
        };
        assert_eq!(interval(Some("30000000"), Some("7")), Some(Span::seconds(30)));
        assert_eq!(interval(Some("30000000"), None), Some(Span::seconds(30)));
        assert_eq!(interval(Some("1"), Some("7")), Some(Span(2)), "more often than each millisecond is not to be had");
        for (microseconds, process) in [
            (Some("30000000"), Some("8")),
            (Some("30000000"), Some("")),
            (Some("0"), None),
            (Some("x"), None),
            (None, Some("7")),
        ] {
            assert_eq!(interval(microseconds, process), None, "{microseconds:?} {process:?}");
        }
    }
}
