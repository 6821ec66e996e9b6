//! An agent that says when things happen to it, for measuring.
//!
//! It writes the monotonic clock to its standard output, eight bytes of nanoseconds in the machine's order: as its first
//! act; and with the argument `wait`, once it obeys TERM, and once more when TERM has come.
#![no_main]

use std::os::fd::BorrowedFd;

use nix::{
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    time::{ClockId, clock_gettime},
    unistd,
};

// SAFETY: this is the only function of that name, and it has the signature that the C library's start code expects.
// Without the Rust runtime's own `main`, the first stamp is the first act.
#[unsafe(no_mangle)]
extern "C" fn main(count: i32, _arguments: *const *const u8) -> i32 {
    stamp();
    if count < 2 {
        return 0;
    }
    let action = SigAction::new(SigHandler::Handler(terminated), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler makes system calls only, all of them safe in a handler.
    if unsafe { sigaction(Signal::SIGTERM, &action) }.is_err() {
        return 1;
    }
    stamp();
    loop {
        unistd::pause();
    }
}

extern "C" fn terminated(_signal: i32) {
    stamp();
    // SAFETY: it ends the process without running anything else.
    unsafe { libc::_exit(0) }
}

fn stamp() {
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return };
    let nanoseconds = now.tv_sec().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec());
    // SAFETY: standard output is open for as long as this program runs; when it is not, the write fails.
    let output = unsafe { BorrowedFd::borrow_raw(1) };
    // Who measures misses what cannot be written.
    let _ = unistd::write(output, &nanoseconds.to_ne_bytes());
}
