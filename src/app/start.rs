//! What is done before the turn: it reads files, and so may hang; a stop ends the program all the same.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use agent_wrap_supervisor::{Moment, OfflinePolicy, Policy, Request, Span};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::StartError;
use super::parts::{
    agent_user, controller, host_name, open_state, random_hex, random_number, resolve, runtime_directory,
};
use crate::beside::Beside;
use crate::clock::Clock;
use crate::config::Settings;
use crate::controller::Controller;
use crate::driver::Launch;
use crate::exit::ExitCode;
use crate::hold::{HoldFiles, HoldWatch};
use crate::process::Survivor;
use crate::signals::{EarlySignals, Meaning, Received, SignalTable};
use crate::state::{Previous, StateFile};

/// A start that takes longer than this hangs: until then a stop waits for it, to mark the node as it should.
const SLOW: Span = Span::seconds(5);

/// A wait of the start's, with what it needs to know.
pub(super) struct Patience<'a> {
    pub(super) clock: Clock,
    /// Who does what may hang.
    pub(super) beside: &'a Beside,
    /// The signals, if they could be caught.
    pub(super) signals: Option<&'a mut EarlySignals>,
    /// What they mean, as far as it is known.
    pub(super) table: &'a SignalTable,
}

/// A stop came before the work was done.
pub(super) struct Overtaken;

impl Patience<'_> {
    /// Has something done beside and waits for it. If it hangs, `tell` says so, once, and from then on a
    /// stop overtakes it. Signals that have come stay for the driver, but for a Ctrl-Z: the shell's prompt comes back.
    pub(super) fn wait_for<T: Send + 'static>(
        mut self,
        work: impl FnOnce() -> T + Send + 'static,
        tell: impl FnOnce(),
    ) -> io::Result<Result<T, Overtaken>> {
        let (done, held) = UnixStream::pair()?;
        let (answer, answered) = mpsc::sync_channel(1);
        self.beside.submit(move || {
            // A stop may have overtaken us.
            let _ = answer.send(work());
            drop(held);
        });
        let finish = || answered.recv().map(Ok).map_err(|_| io::Error::other("it has panicked"));
        let done = || PollFd::new(done.as_fd(), PollFlags::POLLIN);
        let slow = Moment(self.clock.now().0 + SLOW.0);
        loop {
            let left = slow.0.saturating_sub(self.clock.now().0);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            self.suspend_if_asked()?;
            let mut either = vec![done()];
            either.extend(self.signals.as_ref().map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)));
            match poll(&mut either, timeout) {
                Ok(0) if left == 0 => break,
                Ok(_) if either[0].any().unwrap_or(true) => return finish(),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        tell();
        loop {
            self.suspend_if_asked()?;
            let Some(signals) = &mut self.signals else { return finish() };
            let terminal = signals.terminal();
            let is_stop = |received: &Received| {
                let meaning = self.table.classify(received, terminal);
                matches!(meaning, Meaning::Request(Request::Stop(_) | Request::StopNow))
            };
            if signals.look().any(is_stop) {
                return Ok(Err(Overtaken));
            }
            let mut either = [done(), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut either, PollTimeout::NONE) {
                Ok(_) if either[0].any().unwrap_or(true) => return finish(),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Patience<'_> {
    fn suspend_if_asked(&mut self) -> io::Result<()> {
        let table = self.table;
        let Some(signals) = &mut self.signals else { return Ok(()) };
        let terminal = signals.terminal();
        signals.suspend(|received| matches!(table.classify(received, terminal), Meaning::Request(Request::Suspend)))
    }
}

/// How a program ends that was stopped while it looked at what the settings name: the mark is as it was before.
pub(super) fn overtaken(settings: &Settings) -> ExitCode {
    if settings.controller.is_none() || settings.offline == OfflinePolicy::Never {
        ExitCode::Stopped
    } else {
        ExitCode::Unconfirmed
    }
}

/// The secret files that have been removed, in one line.
fn removed_words(removed: &[PathBuf]) -> Option<String> {
    let (first, others) = removed.split_first()?;
    let first = first.display();
    Some(match others.len() {
        0 => format!("removed {first}, which a killed wrapper had left"),
        1 => format!("removed {first} and 1 other secret, which killed wrappers had left"),
        others => format!("removed {first} and {others} other secrets, which killed wrappers had left"),
    })
}

/// All that a start finds out before the controller is asked.
pub(super) struct Prepared {
    /// The name of this run.
    pub(super) run: String,
    pub(super) host: String,
    pub(super) launch: Launch,
    pub(super) state: StateFile,
    pub(super) previous: Option<Previous>,
    /// What lives of the agent of an earlier run.
    pub(super) survivor: Option<Survivor>,
    pub(super) policy: Policy,
    pub(super) controller: Option<Arc<Controller>>,
    /// Tells of an operator's hold file.
    pub(super) hold: Option<HoldWatch>,
}

/// Looks at everything that the settings name.
pub(super) fn prepare(settings: &Settings) -> Result<Prepared, StartError> {
    let program = resolve(settings)?;
    let user = agent_user(settings)?;
    let run = random_hex()?;
    let runtime = runtime_directory(user.as_ref().map(|(user, _)| user));
    if let Some(words) = removed_words(&runtime.remove_abandoned()) {
        tracing::info!(target: "agent_wrap", event = "secret_removed", "{words}");
    }
    let launch = Launch::new(settings, program, &run, runtime, user);
    let host = host_name();
    let (state, previous) = open_state(settings)?;
    launch.check()?;
    let mut policy = settings.policy();
    policy.seed = random_number()?;
    let survivor = previous.as_ref().and_then(|previous| Survivor::find(previous.runs(), previous.agent.clone()));
    policy.survivor = survivor.is_some();
    let hold = settings
        .controller
        .as_ref()
        .map(|controller| HoldWatch::new(HoldFiles::of(settings.hold_file.as_deref(), &controller.node)));
    if let Some(node) = &mut policy.node {
        node.unclean = previous.as_ref().is_some_and(|previous| previous.unclean);
        node.marked_before = previous.as_ref().is_some_and(|previous| previous.marked);
        node.connected_before = previous.as_ref().is_some_and(|previous| previous.unclean && previous.connected);
        // Watched before it is looked at, so that no change between the two is missed.
        node.hold = hold.as_ref().and_then(|watch| watch.files().look());
    }
    let controller = controller(settings, &host, &run, policy.node.as_ref().is_some_and(|node| node.marked_before))?;
    Ok(Prepared { run, host, launch, state, previous, survivor, policy, controller, hold })
}
