//! Ports that stay ours although nobody listens on them for a while.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use std::{fs, process};

use anyhow::Result;

use crate::wait;

/// The ports that are tried: below those that the kernel gives to outgoing connections.
const FIRST: u16 = 10_240;
/// The bound for a port to be given back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on a port of 127.0.0.1 that no outgoing connection is given by the kernel: a server that is taken down and
/// comes up again finds it free.
///
/// # Errors
/// When none can be had.
pub fn listen() -> Result<TcpListener> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = first_ephemeral().saturating_sub(FIRST).max(1);
    // Tests run in several programs at once, so each begins somewhere else.
    let offset = (process::id().wrapping_mul(2_654_435_761) >> 16) as u16;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..256 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + offset.wrapping_add(step) % range;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

/// Listens on the port of a listener that was closed. A program that was being started at that moment may hold it a
/// little longer, until it is executed.
///
/// # Errors
/// When somebody else holds it.
pub fn listen_again(port: u16) -> Result<TcpListener> {
    let bound = || match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        result => Ok(Some(result?)),
    };
    wait::until("the port to be free again", PATIENCE, bound)
}

/// The same for a program that is told its port.
///
/// # Errors
/// When none can be had.
pub fn free() -> Result<u16> {
    Ok(listen()?.local_addr()?.port())
}

fn first_ephemeral() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_below_those_of_outgoing_connections_and_nobody_elses() {
        let (first, second) = (listen().unwrap(), listen().unwrap());
        let (first, second) = (first.local_addr().unwrap().port(), second.local_addr().unwrap().port());
        assert_ne!(first, second);
        assert!(first < first_ephemeral() && second < first_ephemeral());
    }

    #[test]
    fn a_port_that_another_holds_for_a_moment_is_waited_for() {
        let held = listen().unwrap();
        let port = held.local_addr().unwrap().port();
        let waiting = std::thread::spawn(move || listen_again(port).unwrap().local_addr().unwrap().port());
        drop(held);
        assert_eq!(waiting.join().unwrap(), port);
    }
}
