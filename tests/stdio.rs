//! An agent that speaks over its standard streams: what goes through them is what comes out, byte for byte, and nothing of
//! ours is among it.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::thread;

use common::standalone::{lead_session, standalone};
use common::{PATIENCE, pty, wait_within};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

const MEGABYTE: usize = 1024 * 1024;

/// Bytes of every kind, the same in each run.
fn bytes() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(MEGABYTE).collect()
}

const OPTIONS: [&str; 5] = ["--stdio", "--restart", "no", "--log-level", "trace"];

#[test]
fn a_megabyte_goes_through_pipes_each_way() {
    let sent = bytes();
    let mut command = standalone(&OPTIONS);
    command.arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let copy = sent.clone();
    let writer = thread::spawn(move || keyboard.write_all(&copy).unwrap());
    let mut log = child.stderr.take().unwrap();
    let logger = thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text).unwrap()
    });
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
    assert_eq!(wait_within(&mut child, PATIENCE).unwrap().code(), Some(0));
    let log = logger.join().unwrap();
    assert!(log.contains("\"agent_started\""), "{log}");
}

#[test]
fn a_megabyte_goes_through_a_raw_terminal_and_the_log_is_elsewhere() {
    let sent = bytes();
    let (master, terminal) = pty();
    let mut modes = tcgetattr(&terminal).unwrap();
    cfmakeraw(&mut modes);
    tcsetattr(&terminal, SetArg::TCSANOW, &modes).unwrap();
    let (input, mut keyboard) = std::io::pipe().unwrap();
    let mut command = standalone(&OPTIONS);
    command.env("TERM", "xterm").arg("cat").stdout(terminal.try_clone().unwrap()).stderr(Stdio::null());
    // The terminal is made the controlling one by way of standard input, and the agent's input is a pipe.
    command.stdin(terminal);
    lead_session(&mut command);
    let input_of_the_agent = std::os::fd::AsRawFd::as_raw_fd(&input);
    common::standalone::on_fork(&mut command, move || {
        // SAFETY: dup2 takes two integers.
        let done = unsafe { nix::libc::dup2(input_of_the_agent, 0) };
        nix::errno::Errno::result(done).map(drop).map_err(Into::into)
    });
    let mut child = command.spawn().unwrap();
    drop((command, input));
    let copy = sent.clone();
    let writer = thread::spawn(move || keyboard.write_all(&copy).unwrap());
    let mut received = vec![0; sent.len()];
    let mut screen = File::from(master);
    screen.read_exact(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == sent);
    assert_eq!(wait_within(&mut child, PATIENCE).unwrap().code(), Some(0));
    // When nobody holds the other side any more, what was written there has all been read.
    let mut rest = Vec::new();
    assert!(screen.read_to_end(&mut rest).is_err() && rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    let after: nix::Result<_> = tcgetattr(&screen);
    assert!(after.is_err() || after.unwrap().local_flags == modes.local_flags);
}
