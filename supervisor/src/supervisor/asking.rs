//! Asking the controller: which request is sent next, and what its answer means.

use super::{Phase, Supervisor};
use crate::agent::jittered;
use crate::errand::Goal;
use crate::node::{Knowledge, RequestKind, Step, Verdict};
use crate::{
    Action, Deadline, Desired, Failure, FailureKind, IfRefused, LiftMethod, NodeView, Note, Owner, RequestNumber,
    Scope, Span, WriteOutcome,
};

/// The setter over the CLI answers at once or not at all.
const CLI_TIME: Span = Span::seconds(3);

impl Supervisor {
    /// Takes the node's next steps until a request is under way, a pause is being made, or nothing is left to do.
    pub(super) fn pump(&mut self) {
        while self.may_ask() {
            let Some(node) = &mut self.node else { break };
            match node.step() {
                Step::Nothing => break,
                Step::Read => {
                    let request = node.send(RequestKind::Read);
                    let within = self.request_time();
                    self.act(Action::ReadNode { request, within });
                }
                Step::Lift(method) => self.lift(method),
                Step::Mark(method) => {
                    let Desired::Offline(reason) = node.desired.clone() else { break };
                    let request = node.send(RequestKind::Mark(method));
                    let rewords = node.is_rewording();
                    let within = self.request_time();
                    if rewords && let Some(errand) = &mut self.errand {
                        // The mark itself has been read back.
                        errand.confirmed = true;
                    }
                    self.tell(Note::Marking { method });
                    self.act(Action::MarkOffline { request, method, reason, within });
                }
                Step::Disconnect => {
                    let request = node.send(RequestKind::Disconnect);
                    let within = self.request_time();
                    self.tell(Note::TakingOver);
                    self.act(Action::Disconnect { request, within });
                }
                Step::TakenOver { freed: true, .. } => self.tell(Note::TakenOver),
                Step::TakenOver { freed: false, sure } => {
                    self.told_channel = true;
                    self.tell(if sure { Note::ChannelReturned } else { Note::TakeOverDoubtful });
                }
                Step::Pause(pause) => self.timers.set(Deadline::NextLook, pause),
                Step::Settled(settlement) => self.settled(settlement),
            }
        }
        self.remember();
    }

    fn may_ask(&self) -> bool {
        let Some(node) = &self.node else { return false };
        let wants_mark = matches!(node.desired, Desired::Offline(_));
        let active = match self.phase {
            Phase::Evicting | Phase::Starting | Phase::Finished => false,
            Phase::Enabling | Phase::Running | Phase::Landed | Phase::Marking | Phase::Draining | Phase::Closing => {
                true
            }
            Phase::BackingOff | Phase::Terminating | Phase::Killing | Phase::Sweeping => wants_mark,
        };
        active
            && !self.suspended
            && node.in_flight.is_none()
            && !self.timers.is_set(Deadline::NextLook)
            && !self.timers.is_set(Deadline::RetryRequest)
    }

    fn lift(&mut self, method: LiftMethod) {
        let running = self.phase == Phase::Running;
        let Some(node) = &mut self.node else { return };
        let Some(mark) = node.view.as_ref().and_then(|view| view.mark.clone()) else { return };
        let note = if node.race_lost(&mark) {
            Note::RaceLost
        } else if running && node.was_free && mark.owner.is_ours() {
            Note::StrayMark(mark.clone())
        } else {
            Note::Lifting { mark: mark.clone(), method }
        };
        if running && mark.owner == Owner::Foreign {
            node.lifts_after_start = node.lifts_after_start.saturating_add(1);
        }
        let request = node.send(RequestKind::Lift(method));
        node.lifting = Some(mark.reason);
        let within = match method {
            LiftMethod::Cli => self.request_time().min(CLI_TIME),
            LiftMethod::Toggle => self.request_time(),
        };
        self.tell(note);
        self.act(Action::LiftMark { request, method, within });
    }

    /// How long the request that is about to be sent may take: so long that a stop could try once more, but for the read
    /// after which nothing is left to be sent, and for a toggle: one more would undo it if it is only slow.
    fn request_time(&self) -> Span {
        let Some(node) = &self.node else { return Span::ZERO };
        let full = node.policy.request_timeout;
        let is_toggle = node.in_flight.is_some_and(|(_, kind)| kind.is_toggle());
        let is_last = is_toggle || node.is_reading() && node.has_written();
        let bound = match self.phase {
            Phase::Marking => {
                self.timers.left(Deadline::OfflineTimeout).map_or(full, |left| if is_last { left } else { left.half() })
            }
            Phase::Closing => self.timers.left(Deadline::LastLookTimeout).unwrap_or(full),
            Phase::Draining | Phase::Terminating | Phase::Killing | Phase::Sweeping if is_toggle => full,
            Phase::Draining | Phase::Terminating | Phase::Killing | Phase::Sweeping => Span::seconds(5),
            Phase::Evicting
            | Phase::Enabling
            | Phase::Starting
            | Phase::Running
            | Phase::Landed
            | Phase::BackingOff
            | Phase::Finished => full,
        };
        full.min(bound).max(Span::millis(100))
    }

    pub(super) fn node_read(&mut self, request: RequestNumber, outcome: Result<NodeView, Failure>) {
        let Some(node) = &mut self.node else { return };
        let Some(kind) = node.answered(request) else { return };
        match outcome {
            Ok(view) => {
                node.seen(view);
                if node.outage.take().is_some() {
                    self.tell(Note::Answering);
                }
                self.observe();
            }
            Err(failure) => self.request_failed(kind, failure),
        }
    }

    pub(super) fn node_written(&mut self, request: RequestNumber, outcome: WriteOutcome) {
        let Some(node) = &mut self.node else { return };
        let Some(kind) = node.answered(request) else { return };
        self.timers.clear(Deadline::AbandonWrite);
        if kind == RequestKind::Disconnect {
            return self.disconnect_answered(outcome);
        }
        match outcome {
            WriteOutcome::Accepted => node.accepted(),
            WriteOutcome::Unsupported { words } => {
                if node.unsupported(kind) {
                    self.tell(Note::WayChanged { words });
                } else {
                    self.request_failed(kind, Failure::new(FailureKind::Unavailable, words));
                }
            }
            WriteOutcome::Failed(failure) => self.request_failed(kind, failure),
            WriteOutcome::Unknown(failure) => {
                node.doubtful(kind);
                self.tell(Note::OutcomeUnknown(failure));
            }
        }
    }

    /// The channel that the run before has left is closed, or not. Looks will show it.
    fn disconnect_answered(&mut self, outcome: WriteOutcome) {
        let Some(node) = &mut self.node else { return };
        if self.phase != Phase::Enabling {
            // A stop does not care.
            return;
        }
        match outcome {
            WriteOutcome::Accepted => {
                node.accepted();
                node.old_channel_closed();
            }
            WriteOutcome::Failed(failure) if !node.is_final_with(&failure) => {
                node.suspect_old_channel();
                self.request_failed(RequestKind::Disconnect, failure);
            }
            WriteOutcome::Failed(Failure { words, .. }) | WriteOutcome::Unsupported { words } => {
                node.forget_old_channel();
                node.accepted();
                self.told_channel = true;
                self.tell(Note::TakeOverFailed { words });
            }
            WriteOutcome::Unknown(failure) => self.tell(Note::OutcomeUnknown(failure)),
        }
    }

    fn request_failed(&mut self, kind: RequestKind, failure: Failure) {
        let Some(node) = &mut self.node else { return };
        let verdict = node.failed(kind, &failure);
        let told = if kind == RequestKind::Read { &mut node.outage } else { &mut node.write_failure };
        let timeless = failure.timeless();
        let news = told.as_ref() != Some(&timeless);
        *told = Some(timeless);
        let news = core::mem::take(&mut node.retell) || news;
        if kind == RequestKind::Read {
            // Only what a healthy controller says counts against the agent.
            self.present();
        }
        let retry = self.retry_delay(&failure, verdict);
        self.timers.set(Deadline::RetryRequest, retry);
        if matches!(self.phase, Phase::Enabling | Phase::BackingOff) {
            self.agent.jar_suspected = false;
            if failure.kind == FailureKind::Unavailable {
                self.agent.excuse_failure();
            }
        }
        if kind == RequestKind::Read
            && verdict == Verdict::Final
            && self.phase == Phase::Running
            && let Some(node) = &mut self.node
            && node.desired == Desired::Online(Scope::Start)
        {
            // Nobody knows for how long the node is not seen: what is marked meanwhile is not of the past.
            node.desired = Desired::Online(Scope::Own);
            self.tell(Note::Settled);
        }
        if verdict == Verdict::Final && self.phase == Phase::Enabling {
            self.refused(failure);
        } else if news {
            self.tell(Note::Waiting { failure, retry });
        }
    }

    fn refused(&mut self, failure: Failure) {
        let Some(node) = &self.node else { return };
        match node.policy.if_refused {
            IfRefused::Exit => self.end_refused(failure),
            IfRefused::Start if self.gives_up() => self.give_up(),
            IfRefused::Start => {
                let quiet = self.look_interval();
                self.tell(Note::StartedUnmarked(failure));
                self.start_agent();
                self.timers.set(Deadline::RetryRequest, quiet);
            }
        }
    }

    fn retry_delay(&self, failure: &Failure, verdict: Verdict) -> Span {
        let Some(node) = &self.node else { return Span::ZERO };
        let step = node.failures.saturating_sub(1).min(6);
        let lands = self.errand.as_ref().is_some_and(|errand| errand.goal == Goal::Land);
        match self.phase {
            // Nothing presses: nobody waits for an exit or a restart.
            Phase::Marking | Phase::Draining if lands => self.patient_delay(failure, verdict, step),
            // Who is refused again and again is locked out in the end.
            Phase::Marking | Phase::Terminating | Phase::Killing | Phase::Sweeping | Phase::Closing
                if failure.kind != FailureKind::Unavailable =>
            {
                if verdict == Verdict::Final {
                    crate::node::FINAL_AFTER
                } else {
                    crate::node::FINAL_AFTER.half()
                }
            }
            Phase::Marking | Phase::Terminating | Phase::Killing | Phase::Sweeping => {
                if step == 0 {
                    Span::millis(500)
                } else {
                    Span::seconds(1)
                }
            }
            Phase::Closing => Span::millis(250),
            Phase::Draining if failure.kind != FailureKind::Unavailable => crate::node::FINAL_AFTER,
            Phase::Draining => Span(1000 << step).min(Span::seconds(5)),
            Phase::Evicting
            | Phase::Enabling
            | Phase::Starting
            | Phase::Running
            | Phase::Landed
            | Phase::BackingOff
            | Phase::Finished => self.patient_delay(failure, verdict, step),
        }
    }

    /// The pause after a failure when time does not press, and not less than we were asked for. A final refusal is asked about seldom: more tries could lock
    /// an account.
    fn patient_delay(&self, failure: &Failure, verdict: Verdict, step: u8) -> Span {
        let usual = if verdict == Verdict::Final {
            self.look_interval()
        } else if failure.kind == FailureKind::Unavailable {
            jittered(Span(1000 << step).min(Span::seconds(15)), self.policy.seed, u32::from(step))
        } else {
            crate::node::FINAL_AFTER.half()
        };
        usual.max(self.asked_wait(failure))
    }

    /// How long the controller wants to be left alone, as far as we obey: the time between two looks is promised.
    pub(super) fn asked_wait(&self, failure: &Failure) -> Span {
        let longest = self.node.as_ref().map_or(Span::ZERO, |node| node.policy.disconnect_timeout);
        failure.retry_after.unwrap_or(Span::ZERO).min(longest)
    }

    /// Changes what we want of the node; a read that was under way for the old wish is closed.
    pub(super) fn wish(&mut self, desired: Desired) {
        self.timers.clear(Deadline::NextLook);
        self.timers.clear(Deadline::RetryRequest);
        self.cancel_read();
        if let Some(node) = &mut self.node {
            node.wish(desired);
        }
    }

    pub(super) fn cancel_read(&mut self) {
        if let Some(node) = &mut self.node
            && let Some((request, RequestKind::Read)) = node.in_flight
        {
            node.in_flight = None;
            self.act(Action::CancelRequest { request: request.0 });
        }
    }

    /// Closes a write that was under way when the stop began; reads will show what became of it.
    pub(super) fn abandon_write(&mut self) {
        let Some(node) = &mut self.node else { return };
        let Some((request, kind)) = node.in_flight else { return };
        if kind == RequestKind::Read {
            return;
        }
        node.in_flight = None;
        node.doubtful(kind);
        node.knowledge = Knowledge::Stale;
        self.act(Action::CancelRequest { request: request.0 });
        self.tell(Note::OutcomeUnknown(Failure::new(
            FailureKind::Unavailable,
            "the controller has not answered a write in time for the stop",
        )));
    }
}
