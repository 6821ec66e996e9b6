//! The protocol that everyone uses today, as scripts of `ExecStartPre=` and `ExecStop=` play it with the usual client:
//! before the start `enable_node()` reads `offline` and toggles if that is true, at the stop `disable_node()` reads it
//! and toggles if that is false. It does not look again.

use std::collections::VecDeque;

use agent_wrap_supervisor::{
    Action, AgentSignal, Ending, Event, Generation, Goal, LiftMethod, MarkMethod, Moment, NodeView, OfflineReason,
    Phase, Request, RequestNumber, Span, StopSource,
};

use stateright::{Checker, Model};

use super::lots::{self, Lot};
use super::properties::{self, Bounds, Exploration};
use super::state::{Aside, Keeper};
use super::trace;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Script {
    Enabling,
    Running,
    Disabling,
    Ending,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Usual {
    script: Script,
    number: Aside<u32>,
    actions: VecDeque<Action>,
}

impl Usual {
    pub fn new() -> Self {
        let mut usual = Self { script: Script::Enabling, number: Aside(0), actions: VecDeque::new() };
        usual.read();
        usual
    }

    fn next_number(&mut self) -> RequestNumber {
        self.number.0 += 1;
        RequestNumber(self.number.0)
    }

    fn read(&mut self) {
        let request = self.next_number();
        self.actions.push_back(Action::ReadNode { request, within: Span::seconds(2) });
    }

    fn seen(&mut self, view: &NodeView) {
        // What the clients test: true for a marked node, and for every node whose agent is not connected yet.
        let offline = view.mark.is_some() || view.connected != Some(true);
        let (request, within) = (self.next_number(), Span::seconds(2));
        match self.script {
            Script::Enabling if offline => {
                self.actions.push_back(Action::LiftMark { request, method: LiftMethod::Toggle, within });
            }
            Script::Disabling if !offline => {
                let (method, reason) = (MarkMethod::Toggle, OfflineReason::Stopping);
                self.actions.push_back(Action::MarkOffline { request, method, reason, within });
            }
            Script::Enabling | Script::Disabling | Script::Running | Script::Ending => self.go_on(),
        }
    }

    fn go_on(&mut self) {
        let generation = Generation(1);
        match self.script {
            Script::Enabling => {
                self.script = Script::Running;
                self.actions.push_back(Action::Spawn { generation });
            }
            Script::Disabling => {
                self.script = Script::Ending;
                self.actions.push_back(Action::SignalAgent { generation, signal: AgentSignal::Terminate });
            }
            Script::Running | Script::Ending => {}
        }
    }
}

impl Keeper for Usual {
    fn handle(&mut self, _: Moment, event: Event) {
        match event {
            Event::NodeRead { outcome: Ok(view), .. } => self.seen(&view),
            Event::NodeRead { .. } | Event::NodeWritten { .. } => self.go_on(),
            Event::AgentExited { generation, .. } => {
                self.actions.push_back(Action::Reap { generation });
                if self.script == Script::Ending {
                    self.actions.push_back(Action::Finish(Ending::Stopped { killed: false, confirmed: true }));
                }
            }
            Event::Requested(Request::Stop(_)) if self.script == Script::Running => {
                self.script = Script::Disabling;
                self.read();
            }
            Event::AgentSpawned { .. }
            | Event::SpawnFailed { .. }
            | Event::AgentUnprepared { .. }
            | Event::JarOffered { .. }
            | Event::RemainsFound { .. }
            | Event::LeftoversCounted { .. }
            | Event::Requested(_)
            | Event::HoldChanged(_)
            | Event::Resumed
            | Event::DrainBounded { .. }
            | Event::PolicyChanged(_) => {}
        }
    }

    fn handle_deadline(&mut self, _: Moment) {}

    fn next_deadline(&self) -> Option<Moment> {
        None
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn stage(&self) -> (Phase, Option<Goal>) {
        (Phase::Running, None)
    }

    fn wants_online(&self) -> bool {
        matches!(self.script, Script::Enabling | Script::Running)
    }
}

/// The shortest life of this protocol on this lot that breaks the property, in words.
fn counter_example(lot: &str, disturbances: u8, broken: &'static str) -> String {
    let bounds = Bounds { disturbances, requests: 1, agents: 1 };
    // The checker reports any life that it finds in a block of states; the least depth at which there is one is the
    // shortest's.
    for depth in 1..30 {
        let asks = vec![Request::Stop(StopSource::Terminate)];
        let mut model = Exploration::new(lots::named(lot), asks, bounds, |_: &Lot| Usual::new());
        model.outcome_only = true;
        let checker = model.checker().target_max_depth(depth).spawn_bfs().join();
        if let Some(life) = checker.discovery(broken) {
            return format!("{broken}\n{}", trace::tell(checker.model(), life));
        }
    }
    panic!("the usual protocol keeps this after all: {broken}");
}

#[test]
fn the_usual_protocol_marks_a_free_node_behind_its_agent() {
    insta::assert_snapshot!(counter_example("Jenkins, a free node", 0, properties::STRAY_MARK));
}

#[test]
fn the_usual_protocol_leaves_a_disconnected_node_free_at_the_stop() {
    insta::assert_snapshot!(counter_example("Jenkins, somebody's mark", 0, properties::EXITED_UNMARKED));
}
