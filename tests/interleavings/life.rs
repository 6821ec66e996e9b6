//! One life of the wrapper on a simulated controller, and what has to hold in every one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_wrap_testbed::simulated::{Entry, Operation, Options, RequestInfo, Simulated, World};
use agent_wrap_testbed::stage::{NodeState, Stage};
use tempfile::TempDir;

use crate::common::{Outcome, Wrap, wrap_with_state};

/// The node of every life.
pub const NODE: &str = "n";

/// The reason of a mark that somebody else set before we came.
pub const EARLIER: &str = "set before we came";

/// The reason of the third party.
pub const THEIRS: &str = "set by a third party";

/// A controller and the way in which the wrapper writes to it.
#[derive(Clone, Copy)]
pub struct Way {
    /// For the test's name.
    pub name: &'static str,
    options: fn() -> Options,
    arguments: &'static [&'static str],
    /// The request that lifts a mark.
    pub lifts: Operation,
    /// The request that sets one.
    pub marks: Operation,
}

/// The setter over the command line, and `changeOfflineCause`.
pub const JENKINS: Way = Way {
    name: "jenkins_setter",
    options: jenkins,
    arguments: &["--online-method", "cli"],
    lifts: Operation::CliDownload,
    marks: Operation::ChangeCause,
};

/// The toggle where there is more.
pub const JENKINS_TOGGLE: Way = Way {
    name: "jenkins_toggle",
    options: jenkins,
    arguments: &["--online-method", "toggle"],
    lifts: Operation::Toggle,
    marks: Operation::ChangeCause,
};

/// The toggle where there is nothing else.
pub const HUDSON: Way = Way {
    name: "hudson_toggle",
    options: Options::hudson,
    arguments: &[],
    lifts: Operation::Toggle,
    marks: Operation::Toggle,
};

fn jenkins() -> Options {
    Options { security: false, ..Options::jenkins("2.578") }
}

/// A controller with the wrapper on it.
pub struct Life {
    /// The controller.
    pub controller: Simulated,
    /// The wrapper.
    pub wrap: Wrap,
    marked: bool,
    _state: TempDir,
}

impl Way {
    /// A controller with the node on it, marked by somebody or not.
    pub fn controller(&self, marked: bool) -> Simulated {
        let controller = Simulated::start((self.options)()).expect("the controller starts");
        controller.create_node(NODE, 1).expect("the node is created");
        if marked {
            controller.mark(NODE, EARLIER).expect("marked");
        }
        controller
    }

    /// Starts the wrapper. The controller is as it came from [`Way::controller`], but for faults and hooks.
    pub fn live(&self, controller: Simulated, more: &[&str]) -> Life {
        let state = tempfile::tempdir().expect("a directory");
        let marked = controller.node(NODE).expect("it answers").marked;
        let mut command = wrap_with_state(state.path().as_os_str());
        command.args(["--url", &controller.url(), "--node", NODE, "--log-level", "debug", "--poll", "1s"]);
        command.args(["--request-timeout", "500ms"]).args(self.arguments).args(more);
        command.args(controller.agent_command(NODE));
        Life { controller, wrap: Wrap::start(command), marked, _state: state }
    }
}

impl Life {
    /// The node as it is now.
    pub fn node(&self) -> NodeState {
        self.controller.node(NODE).expect("it answers")
    }

    /// Waits until the agent runs and its channel is up.
    pub fn wait_for_agent(&self) {
        self.controller.wait_for_entry("the agent", |entry| matches!(entry, Entry::AgentConnected { .. }));
    }

    /// Waits until the node carries no mark of ours.
    pub fn wait_until_not_marked_by_us(&self) {
        self.controller.wait_for("the node to be free of our mark", |world| {
            let state = world.node_state(NODE).unwrap_or_default();
            !(state.marked && is_ours(&state.reason))
        });
    }

    /// Stops the wrapper and sees that everything was as promised.
    pub fn stop(self) -> (Outcome, History) {
        let outcome = self.wrap.stop();
        let history = History::of(&self.controller, self.marked);
        history.expect_promises(&outcome);
        (outcome, history)
    }
}

/// Whether a mark with this reason is the wrapper's.
pub fn is_ours(reason: &str) -> bool {
    reason.contains("[agent-wrap ")
}

/// Lets `act` happen at this point, counted from 1 and from now on, and tells when it has.
pub fn at_point(
    controller: &Simulated,
    point: usize,
    mut act: impl FnMut(&mut World) + Send + 'static,
) -> Arc<AtomicBool> {
    let acted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&acted);
    let mut passed = 0;
    controller.hook(move |world, _, _| {
        passed += 1;
        if passed == point {
            act(world);
            told.store(true, Ordering::SeqCst);
        }
    });
    acted
}

/// Waits until it has happened.
pub fn wait_until_acted(controller: &Simulated, acted: &AtomicBool) {
    controller.wait_for("the act", |_| acted.load(Ordering::SeqCst));
}

/// What has happened on the controller.
pub struct History {
    timeline: Vec<Entry>,
    requests: Vec<RequestInfo>,
    marked: bool,
}

impl History {
    fn of(controller: &Simulated, marked: bool) -> Self {
        let (timeline, requests) = controller.look(|world| (world.timeline().to_vec(), world.requests().to_vec()));
        Self { timeline, requests, marked }
    }

    /// Whether the node was marked at this place of the timeline.
    fn marked_at(&self, place: usize) -> bool {
        let changes = self.timeline[..place].iter().rev().find_map(|entry| {
            let (set, cleared) = (matches!(entry, Entry::Marked { .. }), matches!(entry, Entry::Cleared { .. }));
            (set || cleared).then_some(set)
        });
        changes.unwrap_or(self.marked)
    }

    /// The places of all reads of the node.
    fn reads(&self) -> Vec<usize> {
        let is_read = |request: usize| self.requests[request - 1].operation == Operation::ReadNode;
        self.places(|entry| matches!(entry, Entry::CarriedOut { request } if is_read(*request)))
    }

    /// What the last read before this place has shown; `None` if there was none.
    fn read_before(&self, place: usize) -> Option<bool> {
        let read = self.reads().into_iter().rev().find(|read| *read < place)?;
        Some(self.marked_at(read))
    }

    fn places(&self, is: impl Fn(&Entry) -> bool) -> Vec<usize> {
        (0..self.timeline.len()).filter(|place| is(&self.timeline[*place])).collect()
    }

    fn told(&self, outcome: &Outcome) -> String {
        format!("{:#?}\n{}", self.timeline, outcome.text())
    }

    /// What holds in every life whose agent is not restarted and whose policy lifts every mark.
    fn expect_promises(&self, outcome: &Outcome) {
        let starts = self.places(|entry| matches!(entry, Entry::AgentAccepted { node } if node == NODE));
        assert_eq!(starts.len(), 1, "one agent\n{}", self.told(outcome));
        let second = self.places(|entry| matches!(entry, Entry::AgentRefused { node, .. } if node == NODE));
        assert!(second.is_empty(), "{}", self.told(outcome));
        if !outcome.has("mark_left") {
            let free = self.read_before(starts[0]) == Some(false);
            assert!(free, "started before a read has shown the node free\n{}", self.told(outcome));
        }
        assert!(matches!(outcome.code(), 0 | 74), "{}", self.told(outcome));
        if outcome.code() == 0 {
            let ends = self.places(|entry| matches!(entry, Entry::AgentLeft { .. }));
            let read = ends.first().and_then(|end| self.read_before(*end));
            assert_eq!(read, Some(true), "the agent was touched before the mark was read back\n{}", self.told(outcome));
            let looked = ends.first().is_some_and(|end| self.reads().last() > Some(end));
            assert!(looked, "no last look after the agent's end\n{}", self.told(outcome));
            let last = self.read_before(self.timeline.len());
            assert_eq!(last, Some(true), "the last look did not show the mark\n{}", self.told(outcome));
        }
    }
}
