//! Lines on their way to stderr or the journal. stderr may be a pipe that nobody reads or a terminal held by Ctrl-S. A
//! stop must not wait for it, and to make it non-blocking is not ours: the agent shares the open file.
//!
//! So a thread writes, and whoever logs puts the line into a bounded queue: nothing is done later for being told. As long
//! as the reader keeps up, what a turn has told is waited for at its end, so that it stands before what happens next;
//! once the reader does not, nobody waits any more, and what does not fit is counted and said when writing goes on.

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
}

impl<T: AsFd + Send + Sync> Sink for T {
    fn take(&self, line: &mut [u8], patience: Option<Duration>) -> u64 {
        write(self.as_fd(), line, patience)
    }

    fn takes_more(&self, patience: Duration) -> bool {
        is_writable(self.as_fd(), patience)
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
    /// The thread has taken lines out and not written them all.
    writing: bool,
    /// The reader does not keep up.
    behind: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost == 0
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
        let queue = shared.queue();
        if !queue.behind {
            let wait = shared.emptied.wait_timeout_while(queue, COURTESY, |queue| !queue.is_done());
            let (mut queue, waited) = wait.unwrap_or_else(PoisonError::into_inner);
            queue.behind = waited.timed_out();
        }
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

    fn write_for_ever(&self) {
        let mut lines = Vec::new();
        loop {
            let queue = self.filled.wait_while(self.queue(), |queue| queue.is_empty());
            let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
            // The two buffers change places, so that this thread allocates nothing.
            mem::swap(&mut queue.waiting, &mut lines);
            let lost = mem::take(&mut queue.lost);
            queue.writing = true;
            drop(queue);
            for line in lines.split_inclusive_mut(|byte| *byte == b'\n') {
                self.write(line, None);
            }
            lines.clear();
            if lost > 0 {
                self.write(&mut (self.lost_words)(lost).into_bytes(), None);
            }
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
mod tests {
    use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Write as _};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    fn lost_words() -> LostWords {
        Box::new(|lost| format!("{lost} lost\n"))
    }

    fn say(mut outlet: &Outlet, line: &str) {
        outlet.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn set_blocking(stream: impl AsFd, blocking: bool) {
        let flags = if blocking { OFlag::empty() } else { OFlag::O_NONBLOCK };
        fcntl(stream, FcntlArg::F_SETFL(flags)).unwrap();
    }

    /// A pipe that takes nothing more until somebody reads its `length` bytes.
    fn full_pipe() -> (PipeReader, PipeWriter, usize) {
        let (reader, writer) = io::pipe().unwrap();
        set_blocking(&writer, false);
        let length = std::iter::from_fn(|| (&writer).write(&[b'.'; PIPE_BUF]).ok()).sum();
        set_blocking(&writer, true);
        (reader, writer, length)
    }

    fn read_lines(reader: &mut PipeReader, until: &str) -> Vec<String> {
        let mut text = String::new();
        while !text.ends_with(until) {
            let mut bytes = [0; 4096];
            let count = reader.read(&mut bytes).unwrap();
            assert!(count > 0, "{text}");
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        text.lines().map(str::to_owned).collect()
    }

    fn skip(reader: &mut PipeReader, length: usize) {
        reader.read_exact(&mut vec![0; length]).unwrap();
    }

    #[test]
    fn a_reader_that_takes_nothing_holds_up_nobody_and_is_told_what_was_lost() {
        let (mut reader, writer, length) = full_pipe();
        let outlet = Outlet::new(writer, lost_words());
        for number in 0..10_000 {
            say(&outlet, &format!("line {number} {}", "x".repeat(90)));
        }
        outlet.flush();
        skip(&mut reader, length);
        // What is lost is said where it is missing: once or twice, and at the end or before it, as the thread came by.
        let (mut lost, mut next) = (0, 0);
        for line in BufReader::new(&mut reader).lines().map_while(Result::ok) {
            if let Some(missing) = line.strip_suffix(" lost") {
                let missing: usize = missing.parse().unwrap();
                lost += missing;
                next += missing;
            } else {
                assert!(line.starts_with(&format!("line {next} x")), "{line}");
                next += 1;
            }
            if next >= 10_000 {
                break;
            }
        }
        assert!(next == 10_000 && 5_000 < lost && lost < 10_000, "{lost} of {next}");
        // And it is as before.
        say(&outlet, "more");
        assert_eq!(read_lines(&mut reader, "more\n"), ["more"]);
    }

    #[test]
    fn the_end_waits_for_what_can_be_written() {
        let (mut reader, writer, length) = full_pipe();
        let outlet = Outlet::new(writer, lost_words());
        for number in 0..100 {
            say(&outlet, &format!("{number}"));
        }
        skip(&mut reader, length);
        outlet.flush();
        assert!(outlet.shared.queue().is_done());
        let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(read_lines(&mut reader, "\n99\n"), expected);
    }

    #[test]
    fn a_text_is_written_by_lines_up_to_the_first_that_is_not_taken() {
        let mut asked = Vec::new();
        say_lines("one\ntwo\nthree\n", |line| {
            asked.push(line.to_owned());
            if line == b"two\n" { 3 } else { line.len() as u64 }
        });
        assert_eq!(asked, [b"one\n", b"two\n"]);
    }

    #[test]
    fn a_line_is_one_write() {
        let (reader, writer) = UnixDatagram::pair().unwrap();
        let outlet = Outlet::new(writer, lost_words());
        let lines = ["one", &"y".repeat(PIPE_BUF - 1), "three"];
        for line in lines {
            say(&outlet, line);
        }
        let mut bytes = [0; 2 * PIPE_BUF];
        for line in lines {
            let count = reader.recv(&mut bytes).unwrap();
            assert_eq!(std::str::from_utf8(&bytes[..count]).unwrap(), format!("{line}\n"));
        }
    }

    #[test]
    fn a_stream_that_somebody_made_non_blocking_loses_nothing() {
        let (mut reader, writer, length) = full_pipe();
        set_blocking(&writer, false);
        let outlet = Outlet::new(writer, lost_words());
        say(&outlet, "late");
        skip(&mut reader, length);
        assert_eq!(read_lines(&mut reader, "late\n"), ["late"]);
    }

    #[test]
    fn a_reader_that_is_gone_is_harmless() {
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        for outlet in
            [Outlet::new(writer.try_clone().unwrap(), lost_words()), Outlet::alone(OwnedFd::from(writer), lost_words())]
        {
            say(&outlet, "to nobody");
            outlet.flush();
            assert!(outlet.shared.queue().is_done());
        }
    }

    #[test]
    fn without_a_thread_a_full_pipe_is_not_waited_for() {
        let (mut reader, writer, length) = full_pipe();
        let outlet = Outlet::alone(writer, lost_words());
        for number in 0..100 {
            say(&outlet, &format!("line {number}"));
        }
        skip(&mut reader, length);
        say(&outlet, "more");
        assert_eq!(read_lines(&mut reader, "more\n"), ["100 lost", "more"]);
    }
}
