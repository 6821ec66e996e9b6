//! Processes whose parent has gone: whoever is to reap them reaps them, and leaves alone what is not its own.

use std::fs;
use std::sync::Arc;

use nix::unistd::Pid;

use crate::Test;
use crate::common::standalone::{children, every_process, exists, stat};
use crate::common::{eventually, is_alive};
use crate::container::{Container, Site};
use crate::machine::{BARE, Machine};

pub const TESTS: &[(&str, Test)] = &[
    ("process_1_reaps_a_storm_of_orphans", process_1_reaps_a_storm_of_orphans),
    ("under_an_init_it_reaps_its_own_orphans", under_an_init_it_reaps_its_own_orphans),
    ("in_a_shared_pid_namespace_it_leaves_others_alone", in_a_shared_pid_namespace_it_leaves_others_alone),
];

const STORM: &str = "--env=MISBEHAVE=--storm 10000";

/// What a wrapper and its guard may take of memory at most, in kB: a few times what they do take.
const SANE: u64 = 64 * 1024;

/// The most memory that a process has taken so far, in kB.
fn peak(process: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The wrapper itself, from a container that may have an init in front of it.
fn wrapper(container: &Container) -> Pid {
    let first = container.process();
    let is_it = |pid: &Pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("jenkins-agent"));
    let found = std::iter::once(first).chain(children(first)).find(is_it);
    found.unwrap_or_else(|| panic!("no wrapper\n{}", container.log()))
}

/// The agent below a wrapper.
fn agent(wrapper: Pid) -> Pid {
    let is_it = |pid: &Pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("java"));
    children(wrapper).into_iter().find(is_it).expect("there is an agent")
}

fn weathers_the_storm(site: &Site, container: &Container) {
    container.await_words("storm over", 1);
    let wrapper = wrapper(container);
    // What is reaped last may be so a moment later.
    eventually("no zombie is left", || {
        children(wrapper).iter().all(|child| stat(*child).is_none_or(|stat| stat.state != 'Z'))
    });
    assert!(is_alive(agent(wrapper)) && site.is_online(), "{}", container.log());
    assert_eq!((container.count("agent_started"), container.count("agent_ended")), (1, 0), "{}", container.log());
    assert!(peak(wrapper) < SANE, "{} kB", peak(wrapper));
    let lines = container.log().lines().count();
    assert!(lines < 50, "an orphan is not worth a line: {lines}\n{}", container.log());
}

fn process_1_reaps_a_storm_of_orphans(machine: &Arc<Machine>) {
    let site = Site::new(machine, "storm");
    let container = site.run_online(&[STORM]);
    assert_eq!(wrapper(&container), container.process());
    weathers_the_storm(&site, &container);
    assert_eq!(container.stop(60), 0, "{}", container.log());
    site.expect_marked();
}

fn under_an_init_it_reaps_its_own_orphans(machine: &Arc<Machine>) {
    let site = Site::new(machine, "init");
    let container = site.run_online(&["--init", STORM]);
    let init = container.process();
    assert_ne!(wrapper(&container), init, "the init is in front of it");
    weathers_the_storm(&site, &container);
    // None of them has gone past it.
    assert_eq!(children(init), [wrapper(&container)]);
    assert_eq!(container.stop(60), 0, "{}", container.log());
    site.expect_marked();
}

/// A container whose first process has left an orphan, and a wrapper beside it in the same pid namespace.
fn in_a_shared_pid_namespace_it_leaves_others_alone(machine: &Arc<Machine>) {
    let site = Site::new(machine, "shared");
    let first = "--entrypoint=/usr/bin/java";
    let other = Container::run(machine, "neighbour", &["--network=none", first], BARE, &["--hang", "--setsid-child"]);
    other.await_words("hanging", 1);
    let orphan = *children(other.process()).first().expect("it has a child");
    let container = site.run_online(&["--pid=container:neighbour", STORM]);
    let wrapper = container.process();
    assert_ne!(wrapper, other.process());
    weathers_the_storm(&site, &container);
    // Nothing has come to the other's first process, which would not reap it.
    assert_eq!(children(other.process()), [orphan]);
    assert_eq!(container.stop(60), 0, "{}", container.log());
    site.expect_marked();
    assert!(!exists(wrapper));
    assert!(is_alive(orphan) && other.is_running());
    let left = every_process().filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == other.process())).count();
    assert_eq!(left, 1, "nothing of the wrapper's is left with the other");
}
