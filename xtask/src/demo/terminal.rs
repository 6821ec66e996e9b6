//! A program at a terminal of its own, as a person has it: lines are read from it, and Ctrl-C is pressed on it.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    process::{Command, ExitStatus},
    thread::{self, JoinHandle},
    time::Duration,
};

use agent_wrap_testbed::spawner::{self, Process};
use anyhow::{Context as _, Result, anyhow};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    libc,
    pty::{Winsize, openpty},
    sys::termios::{self, LocalFlags, SetArg},
    unistd::setsid,
};

const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// What Ctrl-C sends.
const INTERRUPT: u8 = 0x03;

/// A program at its terminal; killed when dropped.
pub(crate) struct AtTerminal {
    process: Process,
    keyboard: File,
    reader: Option<JoinHandle<()>>,
}

impl AtTerminal {
    /// Starts it, with `heard` for each line that it or a child of it prints.
    pub(crate) fn start(mut command: Command, mut heard: impl FnMut(&str) + Send + 'static) -> Result<Self> {
        let pty = openpty(&SIZE, None).context("cannot open a terminal")?;
        for side in [&pty.master, &pty.slave] {
            fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("cannot keep a terminal to ourselves")?;
        }
        let mut modes = termios::tcgetattr(&pty.slave).context("cannot read a terminal's modes")?;
        // The narrator says it when a key is pressed.
        modes.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(&pty.slave, SetArg::TCSANOW, &modes).context("cannot set a terminal's modes")?;
        command.stdin(pty.slave.try_clone()?).stdout(pty.slave.try_clone()?).stderr(pty.slave);
        let take_terminal = || {
            setsid()?;
            // SAFETY: the ioctl takes an integer, and descriptor 0 is the terminal here.
            if unsafe { libc::ioctl(io::stdin().as_raw_fd(), libc::TIOCSCTTY, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: setsid and ioctl are safe between fork and exec, and nothing is allocated.
        unsafe { command.pre_exec(take_terminal) };
        let process = spawner::spawn(command)?;
        let keyboard = File::from(pty.master);
        let screen = BufReader::new(keyboard.try_clone().context("cannot read from a terminal")?);
        let reader = thread::spawn(move || {
            // It ends with an error when the last process at the terminal has ended.
            for line in screen.split(b'\n').map_while(io::Result::ok) {
                heard(String::from_utf8_lossy(&line).trim_end_matches('\r'));
            }
        });
        Ok(Self { process, keyboard, reader: Some(reader) })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Presses Ctrl-C.
    pub(crate) fn press_ctrl_c(&mut self) -> Result<()> {
        self.keyboard.write_all(&[INTERRUPT]).context("cannot press Ctrl-C")
    }

    /// Waits until it has ended and every line has been heard.
    pub(crate) fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let status = self.process.wait(bound)?;
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| anyhow!("the reader of the terminal has panicked"))?;
        }
        Ok(status)
    }

    /// Asks it to end, and kills it after `bound`.
    pub(crate) fn stop(&mut self, bound: Duration) -> Result<ExitStatus> {
        self.process.stop(bound)
    }
}
