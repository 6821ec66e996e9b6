//! What only the simulated controller shows of a drain: clocks that differ, marks that vanish, builds that begin in the
//! worst moment, and a controller that wants to be left alone.

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use agent_wrap_testbed::simulated::{
    Account, Fault, Moment, On, Operation, Options, Permission, Persistence, Simulated, World,
};
use agent_wrap_testbed::stage::{BuildHandle, BuildState, Stage as _};
use common::{Outcome, Wrap, eventually, wrap_with_state};
use nix::sys::signal::Signal;
use tempfile::TempDir;

struct Scene {
    controller: Simulated,
    dir: TempDir,
}

impl Scene {
    fn new(options: Options) -> Self {
        let controller = Simulated::start(options).expect("a controller");
        controller.create_node("n", 9).expect("the node is created");
        Self { controller, dir: tempfile::tempdir().expect("a directory") }
    }

    fn start_as(&self, account: &str, options: &[&str]) -> Wrap {
        fs::write(self.dir.path().join("token"), format!("{account}:{account}-token")).expect("the token is written");
        let mut command = wrap_with_state(self.dir.path().as_os_str());
        command.current_dir(self.dir.path()).args(["--url", &self.controller.url(), "--node", "n"]);
        command.args(["--token-file", "token"]).args(options).args(self.controller.agent_command("n"));
        let wrap = Wrap::start(command);
        wrap.wait_for("agent_connected");
        wrap
    }

    fn start(&self, options: &[&str]) -> Wrap {
        self.start_as("admin", options)
    }

    fn gate(&self) -> PathBuf {
        self.dir.path().join("gate")
    }

    fn open_gate(&self) {
        fs::write(self.gate(), "").expect("the gate opens");
    }

    fn build(&self) -> BuildHandle {
        let build = self.controller.start_build("n", &self.gate()).expect("the build is queued");
        self.controller.wait_for("the build to run", |world| world.build(&build) == Some(BuildState::Running));
        build
    }

    fn is_marked(&self) -> bool {
        self.controller.node("n").expect("it answers").marked
    }
}

fn words(outcome: &Outcome, event: &str) -> Vec<String> {
    let lines = outcome.log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let lines = lines.filter(|line| line["event"] == event);
    lines.map(|line| line["message"].as_str().expect("a message").to_owned()).collect()
}

/// The clock of the controller is a day ahead or behind. Its answers tell it, or our own mark does; else, on Hudson, only
/// the percents of the estimate.
#[test]
fn a_build_is_told_by_the_controllers_clock() {
    let jenkins = || Options::jenkins("2.578");
    let hudson = || Options { security: true, ..Options::hudson() };
    let timed = "build-1 #1 (41%, running for 5m, about 7m left)";
    for (options, tells_time, clock_ahead, percents, expected) in [
        (jenkins(), true, 86_400, 41, timed),
        (jenkins(), true, -86_400, 41, timed),
        (jenkins(), false, 86_400, 41, timed),
        (jenkins(), false, -86_400, 41, timed),
        (hudson(), true, 86_400, 41, timed),
        (hudson(), false, 86_400, 50, "build-1 #1 (50%, running for 6m, about 6m left)"),
        (hudson(), false, 86_400, 99, "build-1 #1 (99%)"),
    ] {
        let scene = Scene::new(Options { clock_ahead, tells_time, ..options });
        let wrap = scene.start(&["--drain-warn", "0"]);
        scene.build();
        scene.controller.with(|world| {
            world.set_times("n", Duration::from_secs(315), Duration::from_secs(720));
            world.set_progress("n", percents);
        });
        wrap.signal(Signal::SIGTERM);
        wrap.wait_for("draining");
        scene.open_gate();
        let outcome = wrap.outcome();
        outcome.expect_code(0);
        let told = words(&outcome, "draining");
        assert_eq!(
            told[0],
            format!("draining: waiting up to 5m for 1 build: {expected}"),
            "{tells_time} {clock_ahead}"
        );
    }
}

/// The words for what a landing waits for, when so many builds run and this account asks.
fn told_to(account: &str, builds: usize) -> String {
    let scene = Scene::new(Options { security: true, ..Options::hudson() });
    let keeper = Account::new("keeper", &[Permission::Read, Permission::Connect, Permission::Disconnect]);
    scene.controller.with(|world| world.set_account(keeper));
    let wrap = scene.start_as(account, &[]);
    for _ in 0..builds {
        scene.build();
    }
    wrap.signal(Signal::SIGUSR1);
    let told = wrap.wait_for("draining");
    scene.open_gate();
    wrap.wait_for("landed");
    wrap.stop().expect_code(0);
    told["message"].as_str().expect("a message").to_owned()
}

#[test]
fn jobs_that_the_account_may_not_see_and_many_builds_are_counted() {
    for (account, builds, words) in [
        ("keeper", 1, "1 build (job not visible to this account)"),
        ("keeper", 2, "2 builds (jobs not visible to this account)"),
        ("admin", 7, "7 builds: build-1 #1, build-2 #1, build-3 #1, build-4 #1, and 3 more"),
    ] {
        assert_eq!(told_to(account, builds), format!("draining: waiting for {words}"));
    }
}

/// The mark vanishes while a build runs: it is set again, and the build goes on.
fn vanishes(options: Options, act: impl FnOnce(&mut Simulated)) {
    let mut scene = Scene::new(options);
    let wrap = scene.start(&["--drain", "10m"]);
    scene.build();
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("draining");
    act(&mut scene.controller);
    wrap.wait_for("mark_vanished");
    wrap.wait_for_nth("marked", 2);
    assert!(scene.is_marked());
    scene.open_gate();
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert!(scene.is_marked() && outcome.has("drained"), "{}", outcome.text());
}

#[test]
fn a_mark_that_goes_with_the_nodes_form_is_set_again() {
    vanishes(Options::jenkins("2.500"), |controller| controller.save_form("n").expect("it is saved"));
}

#[test]
fn a_mark_that_goes_with_a_reload_of_the_configuration_is_set_again() {
    vanishes(Options::jenkins("2.578"), |controller| controller.with(World::reload_configuration));
}

/// Before 2.482 a restart forgets the mark. The agent comes back by itself, and a pipeline goes on where it was.
#[test]
fn a_mark_that_goes_with_a_restart_of_the_controller_is_set_again() {
    for version in ["2.426", "1.651"] {
        let options = Options { persistence: Persistence::Lost, ..Options::jenkins(version) };
        vanishes(options, |controller| {
            controller.down();
            controller.up().expect("it comes up");
        });
    }
}

/// An executor has been given a build that it has not begun: the first look calls the node idle, the second does not.
#[test]
fn a_build_that_begins_between_the_two_looks_is_waited_for() {
    let scene = Scene::new(Options { assign_time: Duration::from_secs(3600), ..Options::jenkins("2.578") });
    let wrap = scene.start(&[]);
    let build = scene.controller.start_build("n", &scene.gate()).expect("the build is queued");
    scene.controller.wait_for("the build to be assigned", |world| world.assigned("n") == 1);
    // As soon as a look has shown the node marked and idle.
    scene.controller.hook(|world, request, moment| {
        let is_marked = world.node("n").is_some_and(|node| node.mark.is_some());
        if request.operation == Operation::ReadNode && moment == Moment::After && is_marked {
            world.options().assign_time = Duration::ZERO;
        }
    });
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("draining");
    assert_eq!(scene.controller.build(&build).expect("it answers"), BuildState::Running);
    scene.open_gate();
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert_eq!(scene.controller.build(&build).expect("it answers"), BuildState::Finished("SUCCESS".to_owned()));
}

/// The pause is told, and a stop does not keep to it.
#[test]
fn whoever_wants_to_be_left_alone_is_and_no_stop_waits_for_that() {
    let scene = Scene::new(Options::jenkins("2.578"));
    let wrap = scene.start(&["--poll", "100ms"]);
    scene.controller.fault(On::operation(Operation::ReadNode).times(1), Fault::Throttled(503, "120".to_owned()));
    let waiting = wrap.wait_for("waiting");
    let told = waiting["message"].as_str().expect("a message");
    assert!(told.ends_with("(asked to wait 2m; asking again in 2m)"), "{told}");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(scene.is_marked());
    assert_eq!(words(&outcome, "waiting").len(), 1, "{}", outcome.text());
}

/// A time of day that has just gone by is tomorrow's: builds are waited for, and the start says until when.
#[test]
fn a_drain_until_a_time_of_day_is_told_by_it() {
    let scene = Scene::new(Options::jenkins("2.578"));
    let wrap = scene.start(&["--drain", "until=02:00"]);
    scene.build();
    wrap.signal(Signal::SIGTERM);
    wrap.wait_for("draining");
    scene.open_gate();
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    let longest = words(&outcome, "longest_stop");
    assert!(longest[0].starts_with("a stop may take until 02:00 and 45 s more"), "{longest:?}");
    let told = words(&outcome, "draining");
    assert!(told[0].starts_with("draining: waiting up to "), "{told:?}");
    eventually("the node is marked", || scene.is_marked());
}
