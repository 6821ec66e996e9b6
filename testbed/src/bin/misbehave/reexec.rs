//! An agent without `-noReconnect` executes itself again after a dropped channel.

use std::env;
use std::ffi::CString;
use std::fs;
use std::io::{Error, Result};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::execve;

/// Set from the second life on.
const SECOND_LIFE: &str = "MISBEHAVE_SECOND_LIFE";

/// Whether this process has executed itself before.
pub(crate) fn is_second_life() -> bool {
    env::var_os(SECOND_LIFE).is_some()
}

/// Executes this program again with the same arguments and without any descriptor above 2; returns only when that
/// fails. Called from a thread that is not the leader, it loses the parent-death signal.
pub(crate) fn again() -> Error {
    match try_again() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_again() -> Result<std::convert::Infallible> {
    let program = CString::new(env::current_exe()?.as_os_str().as_bytes())?;
    let arguments: Vec<CString> = crate::given()
        .iter()
        .map(|argument| CString::new(argument.as_bytes()))
        .collect::<std::result::Result<_, _>>()?;
    let mut variables = Vec::new();
    for (name, value) in env::vars_os().filter(|(name, _)| name != SECOND_LIFE) {
        variables.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    variables.push(CString::new(format!("{SECOND_LIFE}=1"))?);
    for entry in fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_string_lossy().parse().unwrap_or(0);
        if number > 2 {
            // SAFETY: the number was just read from this process's own table, and it is used only for this call; that
            // another thread closes it meanwhile makes the call fail, which is what happens to the listing's own.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok();
        }
    }
    execve(&program, &arguments, &variables).map_err(Error::from)
}
