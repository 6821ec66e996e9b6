//! A start that is still being prepared, by a controller that hangs: a stop gives it up and does not wait for it, and
//! nothing is left of it. And by one that does not give what is asked for, where there is another way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use agent_wrap_testbed::simulated::{Fault, On, Operation, Options, agent_program};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};

use crate::common::{Wrap, eventually};
use crate::place::Place;
use crate::trials::trial;

/// What hangs, and how.
type Hang = (&'static str, Operation, Fault);

const HANGS: &[Hang] = &[
    ("the_jnlp_file", Operation::Jnlp, Fault::HangBefore),
    ("the_jar_before_its_body", Operation::Jar, Fault::HangBefore),
    ("the_jar_in_its_middle", Operation::Jar, Fault::HangMidway),
];

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, operation, fault) in HANGS {
        trials.push(trial(format!("preparing::{name}::at_the_start"), || at_the_start(*operation, fault)));
        trials.push(trial(format!("preparing::{name}::at_a_restart"), || at_a_restart(*operation, fault)));
    }
    trials.push(trial("preparing::a_jar_that_was_fetched_before_will_do", a_jar_that_was_fetched_before_will_do));
    trials.push(trial("preparing::a_jar_that_cannot_be_had_is_waited_for", a_jar_that_cannot_be_had_is_waited_for));
    trials.push(trial("preparing::a_jar_that_is_there_is_not_fetched", a_jar_that_is_there_is_not_fetched));
    trials.push(trial("preparing::who_has_the_secret_need_not_be_told_it", who_has_the_secret_need_not_be_told_it));
    trials
}

/// A wrapper whose command lacks the jar, the secret and all else, and that would wait an hour for an agent.
fn start(place: &Place) -> Wrap {
    start_with(place, &[])
}

fn start_with(place: &Place, options: &[&str]) -> Wrap {
    // Not the state directory: a jar that is there would not be fetched.
    let folder = place.dir().join("work");
    fs::create_dir_all(&folder).expect("a folder");
    let java = folder.join("java");
    symlink(agent_program(), &java).expect("a link");
    let mut command = place.command_without_agent(&["--grace", "1h", "--restart-delay", "100ms"]);
    command.args(options).current_dir(folder).arg(java).args(["-jar", "agent.jar"]);
    Wrap::start(command)
}

/// Every file below this folder whose name says that it is not whole.
fn partial_jars(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(partial_jars(&entry.path()));
        } else if entry.file_name().to_string_lossy().starts_with(".agent.jar") {
            found.push(entry.path());
        }
    }
    found
}

/// Waits until the request hangs that nobody has answered; in the middle of a jar, until its first half is on the disk.
fn wait_for_the_hang(place: &Place, operation: Operation, fault: &Fault, before: usize) {
    place.controller.wait_for("the request", |world| {
        world.requests().iter().filter(|request| request.operation == operation).count() > before
    });
    if *fault == Fault::HangMidway {
        eventually("half a jar is there", || {
            let sizes =
                partial_jars(place.dir()).into_iter().map(|path| fs::metadata(path).map_or(0, |file| file.len()));
            sizes.sum::<u64>() > 0
        });
    }
}

fn expect_nothing_left(place: &Place, wrap: Wrap, agents: usize) {
    // The grace is an hour and a jar's own limit two minutes: a stop that waited for either would outlast all patience.
    let outcome = place.expect_good_stop(wrap);
    let started = outcome.events().iter().filter(|event| *event == "agent_started").count();
    assert_eq!(started, agents, "{}", outcome.text());
    // Nor has it waited for the half minute that the jnlp file may take.
    assert!(!outcome.has("not_prepared"), "{}", outcome.text());
    assert_eq!(partial_jars(place.dir()), Vec::<PathBuf>::new());
}

fn at_the_start(operation: Operation, fault: &Fault) {
    let place = Place::new(Options::jenkins("2.578"));
    place.controller.fault(On::operation(operation), fault.clone());
    let wrap = start(&place);
    wait_for_the_hang(&place, operation, fault, 0);
    expect_nothing_left(&place, wrap, 0);
}

fn at_a_restart(operation: Operation, fault: &Fault) {
    // Without a date the jar is sent each time.
    let place = Place::new(Options { agent_jar_dated: false, ..Options::jenkins("2.578") });
    let wrap = start(&place);
    wrap.wait_for("agent_connected");
    let before = place.controller.requests_for(operation).len();
    place.controller.fault(On::operation(operation), fault.clone());
    kill(wrap.agent_pid(1), Signal::SIGKILL).expect("the agent is there");
    wait_for_the_hang(&place, operation, fault, before);
    expect_nothing_left(&place, wrap, 1);
}

fn a_jar_that_was_fetched_before_will_do() {
    let place = Place::new(Options::jenkins("2.578"));
    let wrap = start(&place);
    wrap.wait_for("agent_connected");
    place.controller.fault(On::operation(Operation::Jar), Fault::Status(500));
    kill(wrap.agent_pid(1), Signal::SIGKILL).expect("the agent is there");
    let kept = wrap.wait_for("jar_kept");
    assert!(kept["message"].as_str().expect("words").contains("going on with the one fetched earlier"), "{kept}");
    wrap.wait_for_nth("agent_connected", 2);
    place.expect_good_stop(wrap);
}

fn a_jar_that_cannot_be_had_is_waited_for() {
    let place = Place::new(Options::jenkins("2.578"));
    place.controller.fault(On::operation(Operation::Jar).times(2), Fault::Status(503));
    let wrap = start(&place);
    let told = wrap.wait_for("not_prepared");
    assert!(told["message"].as_str().expect("words").contains("cannot fetch the agent's jar"), "{told}");
    wrap.wait_for("agent_connected");
    assert_eq!(place.controller.requests_for(Operation::Jar).len(), 3);
    place.expect_good_stop(wrap);
}

fn who_has_the_secret_need_not_be_told_it() {
    let place = Place::new(Options::jenkins("2.578"));
    place.controller.fault(On::operation(Operation::Jnlp), Fault::Status(403));
    let file = place.dir().join("secret");
    fs::write(&file, place.controller.secret("n")).expect("a file");
    let wrap = start_with(&place, &["--secret-file", file.to_str().expect("a plain path")]);
    wrap.wait_for("agent_connected");
    assert!(!place.controller.requests_for(Operation::Jnlp).is_empty(), "it is asked for how to connect");
    place.expect_good_stop(wrap);
}

fn a_jar_that_is_there_is_not_fetched() {
    let place = Place::new(Options::jenkins("2.578"));
    fs::create_dir(place.dir().join("work")).expect("a folder");
    fs::write(place.dir().join("work/agent.jar"), "a jar").expect("a file");
    let wrap = start(&place);
    wrap.wait_for("agent_connected");
    assert!(place.controller.requests_for(Operation::Jar).is_empty());
    place.expect_good_stop(wrap);
}
