//! Readers of every kind, and what becomes of lines on their way to them.

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

/// A terminal that is always in our foreground, or never.
struct Terminal {
    writes: std::sync::mpsc::Sender<String>,
    room: Option<usize>,
}

impl Sink for Terminal {
    fn take(&self, text: &mut [u8], _: Option<Duration>) -> u64 {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let length = text.len() as u64;
        self.writes.send(text).unwrap();
        length
    }

    fn takes_more(&self, _: Duration) -> bool {
        true
    }

    fn room(&self) -> Option<usize> {
        self.room
    }
}

fn terminal(room: Option<usize>) -> (Outlet, BottomLine, std::sync::mpsc::Receiver<String>) {
    let (writes, written) = std::sync::mpsc::channel();
    let outlet = Outlet::new(Terminal { writes, room }, lost_words());
    let line = BottomLine::of(&outlet, "me".to_owned()).unwrap();
    (outlet, line, written)
}

#[test]
fn lines_and_the_line_at_the_bottom_are_one_write() {
    let (outlet, line, written) = terminal(Some(80));
    line.show(Some("waiting"));
    assert_eq!(written.recv().unwrap(), "\r\x1b[Kme waiting\r");
    say(&outlet, "one");
    assert_eq!(written.recv().unwrap(), "\r\x1b[Kone\nme waiting\r");
    line.show(Some("waiting"));
    line.erase();
    assert_eq!(written.try_recv().as_deref(), Ok("\r\x1b[K"), "it is waited for");
    say(&outlet, "two");
    assert_eq!(written.recv().unwrap(), "two\n");
}

#[test]
fn what_stands_at_the_bottom_is_gone_at_the_end() {
    let (outlet, line, written) = terminal(Some(80));
    line.show(Some("waiting"));
    assert_eq!(written.recv().unwrap(), "\r\x1b[Kme waiting\r");
    line.show(None);
    outlet.flush();
    assert_eq!(written.try_recv().as_deref(), Ok("\r\x1b[K"));
}

#[test]
fn where_there_is_no_room_only_lines_are_written() {
    let (outlet, line, written) = terminal(None);
    line.show(Some("waiting"));
    say(&outlet, "one");
    line.erase();
    outlet.flush();
    assert_eq!(written.try_iter().collect::<String>(), "one\n");
}

#[test]
fn a_terminal_that_takes_nothing_holds_up_no_line_at_the_bottom() {
    let (reader, writer, _) = full_pipe();
    let outlet = Outlet::new(writer, lost_words());
    let line = BottomLine::of(&outlet, "me".to_owned()).unwrap();
    say(&outlet, "never read");
    for second in 0..100_000 {
        line.show(Some(&second.to_string()));
    }
    line.erase();
    assert!(outlet.shared.queue().waiting.len() < 20, "what is shown is not queued");
    drop(reader);
}
