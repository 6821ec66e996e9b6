//! The service manager, which wants to know how things stand: sd_notify(3), by datagrams to the socket that
//! `NOTIFY_SOCKET` names. Whoever sets that variable is meant, be it systemd, podman or s6.
//!
//! The notifier says what is to be told and when it wants to be asked again; it knows no socket and no clock. The socket
//! sends, and never waits. Both are the main process's own: a message of a helper that has ended meanwhile is lost.

mod datagram;
mod notifier;
mod socket;

pub use datagram::{Farewell, Life, News};
pub use notifier::{Notifier, Scene};
pub use socket::{ManagerSocket, NotASocket, watchdog_interval};
