//! An agent that does what it is told, and worse.
//!
//! It stands in for `java -jar agent.jar`: it takes the same options, connects to the simulated controller (by the
//! protocol of `simulated::agents`), says `INFO: Connected` on its standard error and obeys signals as a JVM does. Its
//! misbehaviours are options with two dashes, which may also come in the variable `MISBEHAVE`, separated by blanks.
#![no_main]

mod arguments;
mod channel;
mod children;
mod reexec;
mod signals;
mod status;

use std::ffi::{CStr, OsString, c_char};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use arguments::{Options, Role};
use channel::Line;

/// Where musl is the C library, the standard library learns of them only by its own `main`.
static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();

/// The arguments, its own name first.
pub(crate) fn given() -> &'static [OsString] {
    ARGUMENTS.get().map(Vec::as_slice).unwrap_or_default()
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

// SAFETY: this is the only function of that name, and it has the signature that the C library's start code expects.
// The Rust runtime's own `main` is not wanted: it would open descriptors 0 to 2 and change the disposition of SIGPIPE
// before they can be written down.
#[unsafe(no_mangle)]
extern "C" fn main(count: i32, arguments: *const *const c_char) -> i32 {
    let each = (0..usize::try_from(count).unwrap_or_default()).map(|at| {
        // SAFETY: there are so many pointers.
        let place = unsafe { arguments.add(at) };
        // SAFETY: it is one of them.
        let word = unsafe { *place };
        // SAFETY: each leads to a string that ends with a zero and stays for as long as the process.
        let word = unsafe { CStr::from_ptr(word) };
        OsString::from_vec(word.to_bytes().to_vec())
    });
    // It is called once.
    ARGUMENTS.set(each.collect()).ok();
    let code = run().0;
    drop(std::io::stdout().flush());
    i32::from(code)
}

fn run() -> Exit {
    let options = match arguments::read() {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    if let Some(file) = &options.write_status
        && let Err(error) = status::write(file)
    {
        complain(&format!("SEVERE: cannot write {}: {error}", file.display()));
        return Exit(1);
    }
    match options.role {
        Some(Role::Child) => return children::be_child(&options),
        Some(Role::OrphanMaker) => return children::make_orphan(),
        None => {}
    }
    let (sender, ends) = channel();
    let line = Line::default();
    if let Err(error) = signals::obey(&options, sender.clone()) {
        complain(&format!("SEVERE: cannot handle signals: {error}"));
        return Exit(1);
    }
    if let Some(code) = options.exit_at_once {
        return Exit(code);
    }
    if let Err(error) = children::leave(&options) {
        complain(&format!("SEVERE: cannot start a child: {error}"));
        return Exit(1);
    }
    live(options, sender, &ends, line)
}

/// Works in another thread and waits here for an end.
fn live(options: Options, sender: Sender<Exit>, ends: &Receiver<Exit>, line: Line) -> Exit {
    let work_line = line.clone();
    let worker = thread::Builder::new().name("channel".to_owned()).spawn(move || {
        if options.hang {
            say("hanging");
            return keep(sender);
        }
        let exit = if options.has_controller() { channel::work(&options, &work_line) } else { until_end_of_input() };
        // The receiver lives until the process ends.
        sender.send(exit).ok();
    });
    if worker.is_err() {
        return Exit(1);
    }
    let exit = ends.recv().unwrap_or(Exit(0));
    line.say_goodbye();
    exit
}

/// Keeps the sender for ever, so that only a signal can end the process.
fn keep(sender: Sender<Exit>) {
    std::mem::forget(sender);
}

/// Without a controller to connect to, an agent speaks over its standard input and output.
fn until_end_of_input() -> Exit {
    drop(std::io::stdin().read_to_end(&mut Vec::new()));
    Exit(0)
}

/// Says something on standard error, where an agent's log goes. In one write, because a signal may end us between two.
pub(crate) fn complain(words: &str) {
    drop(std::io::stderr().write_all(format!("{words}\n").as_bytes()));
}

/// Says something on standard output, at once.
pub(crate) fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{words}"));
    drop(out.flush());
}
