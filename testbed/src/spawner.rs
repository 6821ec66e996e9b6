//! Starting programs that must not outlive the tests.
//!
//! The parent-death signal follows the thread that forked, and a test's thread ends with its test. So every program is
//! started by one thread that lives as long as the process.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    sync::{
        LazyLock, Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{Pid, getppid},
};

use crate::wait;

type Order = (Command, Sender<io::Result<Child>>);

static SPAWNER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for (mut command, reply) in inbox {
            // The order may have been given up meanwhile; the child then ends by its drop.
            drop(reply.send(command.spawn()));
        }
    });
    Mutex::new(orders)
});

/// Starts a program that gets KILL when this process ends, however it ends.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(mut command: Command) -> Result<Process> {
    let program = command.get_program().to_string_lossy().into_owned();
    let parent = Pid::this();
    // SAFETY: the closure runs between fork and exec; it makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // A parent that ended before the line above sends no signal any more.
            if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
    let (reply, answer) = mpsc::channel();
    SPAWNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply))
        .context("the thread that starts programs has ended")?;
    let child = answer
        .recv()
        .context("the thread that starts programs has ended")?
        .with_context(|| format!("cannot start {program}: is it installed and on the PATH?"))?;
    Ok(Process { program, child })
}

/// A program started by [`spawn`]; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    program: String,
    child: Child,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for {}", self.program))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it has not after `bound`.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {} (pid {})", self.program, self.id());
        wait::until(&what, bound, || self.ended())
    }

    /// Sends TERM and waits; KILL after `bound`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn stop(&mut self, bound: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        let pid = Pid::from_raw(i32::try_from(self.id())?);
        kill(pid, Signal::SIGTERM).with_context(|| format!("cannot end {}", self.program))?;
        if let Ok(status) = self.wait(bound) {
            return Ok(status);
        }
        self.child.kill().with_context(|| format!("cannot kill {}", self.program))?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.program))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error here means that it has been reaped already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const BOUND: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_outlives_the_thread_that_asked_for_it() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut process = thread::spawn(|| spawn(command).unwrap()).join().unwrap();
        assert_eq!(process.ended().unwrap(), None);
        let status = process.stop(BOUND).unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let error = spawn(Command::new("no-such-program")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program"), "{error:#}");
    }
}
