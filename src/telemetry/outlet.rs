//! Lines on their way to stderr or the journal. stderr may be a pipe that nobody reads or a terminal held by Ctrl-S. A
//! stop must not wait for it, and to make it non-blocking is not ours: the agent shares the open file.
//!
//! So a thread writes, and whoever logs puts the line into a bounded queue: nothing is done later for being told. As long
//! as the reader keeps up, what a turn has told is waited for at its end, so that it stands before what happens next;
//! once the reader does not, nobody waits any more, and what does not fit is counted and said when writing goes on.
//!
//! The line at the bottom of a terminal ([`bottom`](super::bottom)) is written by the same thread, in one go with the
//! lines that come above it.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::unistd;

use super::bottom::{self, Bottom};

/// So many bytes wait for a reader.
const ROOM: usize = 64 * 1024;
/// How long lines are waited for.
const COURTESY: Duration = Duration::from_millis(10);
/// At the end, how long a reader is waited for that takes nothing ...
const STALLED: Duration = Duration::from_millis(200);
/// ... and how often so long for one that does.
const STALLED_ROUNDS: u32 = 2;
/// How long a piece of a line may take that no thread can be had for.
const ALONE: Duration = Duration::from_millis(100);
/// The thread calls nothing that is deep.
const STACK: usize = 64 * 1024;

/// Words for so many lines that were lost, as a line.
pub(super) type LostWords = Box<dyn Fn(u64) -> String + Send + Sync>;

/// Where lines end up.
pub(super) trait Sink: Send + Sync {
    /// Takes a line, for which there is no other use afterwards, and says how many of its bytes were taken. Without
    /// `patience` it is waited for that all are, else for so long at a time.
    fn take(&self, line: &mut [u8], patience: Option<Duration>) -> u64;

    /// Whether more would be taken, now or within `patience`.
    fn takes_more(&self, patience: Duration) -> bool;

    /// How many columns the terminal has, if a line may be drawn at its bottom now.
    fn room(&self) -> Option<usize> {
        None
    }
}

impl<T: AsFd + Send + Sync> Sink for T {
    fn take(&self, line: &mut [u8], patience: Option<Duration>) -> u64 {
        write(self.as_fd(), line, patience)
    }

    fn takes_more(&self, patience: Duration) -> bool {
        is_writable(self.as_fd(), patience)
    }

    fn room(&self) -> Option<usize> {
        bottom::room(self.as_fd())
    }
}

/// Where lines go.
pub(super) struct Outlet {
    shared: Arc<Shared>,
    /// Without a thread, whoever logs writes.
    threaded: bool,
}

struct Shared {
    sink: Box<dyn Sink>,
    lost_words: LostWords,
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
    /// Bytes that were written, to see whether anybody takes them.
    written: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<u8>,
    /// Lines after those that wait.
    lost: u64,
    /// The line at the bottom, and whether it is another than the thread has seen.
    bottom: Option<String>,
    redraws: bool,
    /// What is there of it may have been written over.
    torn: bool,
    /// Somebody else may have left the terminal's cursor behind his words.
    begins_row: bool,
    /// The thread has taken lines out and not written them all.
    writing: bool,
    /// The reader does not keep up.
    behind: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost == 0 && !self.redraws
    }

    fn is_done(&self) -> bool {
        self.is_empty() && !self.writing
    }
}

impl Outlet {
    /// An outlet to this sink, with a thread if one can be had.
    pub(super) fn new(sink: impl Sink + 'static, lost_words: LostWords) -> Self {
        let mut outlet = Self::alone(sink, lost_words);
        outlet.threaded = start(Arc::clone(&outlet.shared)).is_ok();
        outlet
    }

    fn alone(sink: impl Sink + 'static, lost_words: LostWords) -> Self {
        let shared = Shared {
            sink: Box::new(sink),
            lost_words,
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            written: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), threaded: false }
    }

    fn put(&self, line: &[u8]) {
        let mut queue = self.shared.queue();
        if !self.threaded {
            self.shared.write_alone(&mut queue, line);
            return;
        }
        let is_full = !queue.waiting.is_empty() && queue.waiting.len() + line.len() > ROOM;
        if is_full || queue.lost > 0 {
            queue.lost += 1;
            return;
        }
        queue.waiting.extend_from_slice(line);
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Waits until everything is written, but not for a reader that takes nothing.
    pub(super) fn flush(&self) {
        if !self.threaded {
            return;
        }
        let mut queue = self.shared.queue();
        for _ in 0..STALLED_ROUNDS {
            let before = self.shared.written.load(Ordering::Relaxed);
            let wait = self.shared.emptied.wait_timeout_while(queue, STALLED, |queue| !queue.is_done());
            let waited;
            (queue, waited) = wait.unwrap_or_else(PoisonError::into_inner);
            let moves = self.shared.written.load(Ordering::Relaxed) != before;
            // A sink that takes more may only have to wait for a busy machine.
            if !waited.timed_out() || !moves && !self.shared.sink.takes_more(Duration::ZERO) {
                return;
            }
        }
    }
}

/// The line at the bottom of the terminal that the log is written to.
pub struct BottomLine {
    shared: Arc<Shared>,
    /// What it begins with.
    name: String,
}

impl BottomLine {
    /// For what goes out here; `None` where no thread writes it.
    pub(super) fn of(outlet: &Outlet, name: String) -> Option<Self> {
        outlet.threaded.then(|| Self { shared: Arc::clone(&outlet.shared), name })
    }

    /// Shows these words, or nothing, as soon as the terminal takes them.
    pub fn show(&self, words: Option<&str>) {
        self.shared.set_bottom(words.map(|words| format!("{} {words}", self.name)));
    }

    /// Draws what is shown anew, because something else may have been written there.
    pub fn mend(&self) {
        let mut queue = self.shared.queue();
        queue.redraws = true;
        queue.torn = true;
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// The next that is written begins a row of its own, whatever an agent has written there before.
    pub fn begin_row(&self) {
        self.shared.queue().begins_row = true;
    }

    /// Erases it and waits until that is done, but not for a terminal that takes nothing.
    pub fn erase(&self) {
        self.shared.set_bottom(None);
        let queue = self.shared.queue();
        if queue.redraws || queue.writing {
            self.shared.wait(queue, STALLED);
        }
    }
}

impl io::Write for &Outlet {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for lines on their way, of no log unless it is told of one.
#[derive(Default)]
pub(super) struct Courtesy(Option<Arc<Shared>>);

impl Courtesy {
    /// For what goes out here. Without a thread there is nothing to wait for.
    pub(super) fn to(outlet: &Outlet) -> Self {
        Self(outlet.threaded.then(|| Arc::clone(&outlet.shared)))
    }

    /// Waits until everything is written, unless the reader does not keep up.
    pub(super) fn wait(&self) {
        let Some(shared) = &self.0 else { return };
        shared.wait(shared.queue(), COURTESY);
    }
}

impl fmt::Debug for Courtesy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Courtesy").finish_non_exhaustive()
    }
}

/// Starts the thread. It forks nothing: the agent lives only as long as the thread that forked it.
fn start(shared: Arc<Shared>) -> io::Result<()> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let thread = thread::Builder::new().name("log".to_owned()).stack_size(STACK).spawn(move || shared.write_for_ever());
    before.thread_set_mask()?;
    thread.map(drop)
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything is written, unless the reader does not keep up.
    fn wait(&self, queue: MutexGuard<'_, Queue>, patience: Duration) {
        if !queue.behind {
            let wait = self.emptied.wait_timeout_while(queue, patience, |queue| !queue.is_done());
            let (mut queue, waited) = wait.unwrap_or_else(PoisonError::into_inner);
            queue.behind = waited.timed_out();
        }
    }

    fn set_bottom(&self, line: Option<String>) {
        let mut queue = self.queue();
        if queue.bottom != line {
            queue.bottom = line;
            queue.redraws = true;
            drop(queue);
            self.filled.notify_one();
        }
    }

    fn write_for_ever(&self) {
        let mut lines = Vec::new();
        let mut bottom = Bottom::default();
        loop {
            let queue = self.filled.wait_while(self.queue(), |queue| queue.is_empty());
            let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
            // The two buffers change places, so that this thread allocates nothing.
            mem::swap(&mut queue.waiting, &mut lines);
            let lost = mem::take(&mut queue.lost);
            queue.redraws = false;
            let torn = mem::take(&mut queue.torn);
            if mem::take(&mut queue.begins_row) {
                bottom.begin_row();
            }
            queue.writing = true;
            let line = queue.bottom.clone();
            drop(queue);
            if lost > 0 {
                lines.extend_from_slice((self.lost_words)(lost).as_bytes());
            }
            if line.is_some() || bottom.is_drawn() || bottom.begins_row() {
                let mut text = bottom.compose(&lines, line.as_deref(), self.sink.room(), torn);
                self.write(&mut text, None);
            } else {
                for line in lines.split_inclusive_mut(|byte| *byte == b'\n') {
                    self.write(line, None);
                }
            }
            lines.clear();
            let mut queue = self.queue();
            queue.writing = false;
            if queue.is_done() {
                queue.behind = false;
                self.emptied.notify_all();
            }
        }
    }

    /// What can be done without a thread: nothing is written that would not be taken at once. The agent may take the
    /// room between the look and the write; then this waits for the reader after all.
    fn write_alone(&self, queue: &mut Queue, line: &[u8]) {
        let patience = if queue.lost > 0 { Duration::ZERO } else { ALONE };
        if !self.sink.takes_more(patience) {
            queue.lost += 1;
            return;
        }
        let lost = mem::take(&mut queue.lost);
        if lost > 0 {
            self.write(&mut (self.lost_words)(lost).into_bytes(), Some(ALONE));
        }
        self.write(&mut line.to_vec(), Some(ALONE));
    }

    fn write(&self, line: &mut [u8], patience: Option<Duration>) {
        let written = self.sink.take(line, patience);
        self.written.fetch_add(written, Ordering::Relaxed);
    }
}

/// Writes lines to stderr before there is a log. A reader that takes nothing is waited for once, so what belongs together
/// is one text.
pub fn say(text: &str) {
    let stderr = io::stderr();
    say_lines(text, |line| write(stderr.as_fd(), line, Some(STALLED)));
}

/// Writes line by line, up to the first that is not taken whole; `write` says how much was.
fn say_lines(text: &str, mut write: impl FnMut(&[u8]) -> u64) {
    // `all` ends with the first that is not.
    let _ = text.split_inclusive('\n').all(|line| write(line.as_bytes()) == line.len() as u64);
}

/// Writes a line, in one piece where the system can keep it together, and says how much of it was taken. Whom could an
/// error be told?
pub(super) fn write(stream: BorrowedFd<'_>, line: &[u8], patience: Option<Duration>) -> u64 {
    let mut rest = line;
    while !rest.is_empty() {
        let piece = match patience {
            None => rest,
            Some(patience) if is_writable(stream, patience) => &rest[..rest.len().min(PIPE_BUF)],
            Some(_) => break,
        };
        match unistd::write(stream, piece) {
            Ok(0) => break,
            Ok(count) => rest = &rest[count..],
            Err(Errno::EINTR) => {}
            // Somebody else has made it non-blocking.
            Err(Errno::EAGAIN) if patience.is_none() => wait_until_writable(stream),
            Err(_) => break,
        }
    }
    (line.len() - rest.len()) as u64
}

pub(super) fn is_writable(stream: BorrowedFd<'_>, patience: Duration) -> bool {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    // A broken stream counts as writable: writing tells.
    poll(&mut [PollFd::new(stream, PollFlags::POLLOUT)], timeout).is_ok_and(|ready| ready > 0)
}

pub(super) fn wait_until_writable(stream: BorrowedFd<'_>) {
    // If it fails, the next attempt shows it.
    let _ = poll(&mut [PollFd::new(stream, PollFlags::POLLOUT)], PollTimeout::NONE);
}

#[cfg(test)]
#[path = "outlet_tests.rs"]
mod tests;
