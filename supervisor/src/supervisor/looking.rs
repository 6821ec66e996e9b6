//! What a look at the node has shown, and when the next one is made.

use super::{Phase, Supervisor};
use crate::agent::{Absence, jittered};
use crate::errand::Landing;
use crate::node::{Node, Settlement};
use crate::{Deadline, Desired, Note, OnlinePolicy, Owner, Scope, Span};

/// The ends in a row, each followed by a growing delay, after which a channel that the controller still holds is not that
/// of an agent that is dead.
const ENDS_OF_A_DEAD_CHANNEL: u8 = 31;

impl Supervisor {
    /// Takes note of what a read shows besides the mark's being as wanted or not.
    pub(super) fn observe(&mut self) {
        let Some(node) = &self.node else { return };
        let Some(view) = &node.view else { return };
        let (connected, marked) = (view.connected, view.mark.is_some());
        let wished = matches!(node.desired, Desired::Offline(_));
        if connected == Some(false) {
            // No channel is there that a next run could find dead.
            self.memory.connected = false;
        }
        if self.agent.is_alive() && self.phase != Phase::Evicting {
            match connected {
                // The channel of the agent before; a new one that it shuts out ends while it is young.
                Some(true) if self.agent.channel_held && !self.agent.young.is_zero() => {}
                Some(true) if !self.agent.connected => {
                    self.present();
                    self.agent.connected = true;
                    self.agent.told_held = false;
                    self.agent.gone = false;
                    self.memory.connected = true;
                    self.tell(Note::AgentConnected { marked, wished });
                }
                Some(true) => {
                    self.present();
                    self.memory.connected = true;
                    self.agent.looks = 0;
                    if core::mem::take(&mut self.agent.gone) && !self.agent.flaps() {
                        self.tell(Note::AgentReconnected);
                    }
                    if self.agent.is_steady_again() {
                        self.tell(Note::FlappingOver);
                    }
                }
                Some(false) => self.observe_absence(),
                None => self.present(),
            }
        }
        if self.phase == Phase::Enabling && self.agent.ran && connected == Some(true) && self.agent.excuse_failure() {
            // Their delays add up to more than the nine minutes for which a dead channel is held.
            if self.agent.ends == ENDS_OF_A_DEAD_CHANNEL {
                self.tell(Note::NameTaken);
            } else if !core::mem::replace(&mut self.agent.told_held, true) {
                self.tell(Note::OldChannelHeld);
            }
        }
        if self.phase == Phase::Enabling && self.gives_up() {
            self.judge_jar();
            self.give_up();
            return;
        }
        if self.suspended
            && marked
            && let Some(errand) = &mut self.errand
        {
            // Nothing is decided before we go on, but what has been read back has been read back.
            errand.confirmed = true;
        }
        if !self.node.as_ref().is_some_and(|node| node.mark_vanished()) {
            return;
        }
        if let Some(errand) = &mut self.errand {
            errand.confirmed = false;
            errand.told_marked = false;
            errand.idle_reads = 0;
        }
        if self.node.as_mut().is_some_and(|node| node.told_foreign.take().is_some()) {
            self.tell(Note::ForeignMarkGone);
            return;
        }
        let stays = self.errand.is_some() || self.phase == Phase::Landed;
        if stays && self.node.as_ref().is_some_and(|node| node.will_reassert()) {
            self.tell(Note::MarkVanished);
        }
    }

    /// A look has shown that the agent, which lives, is not connected.
    fn observe_absence(&mut self) {
        if !self.agent.connected {
            self.agent.channel_held = false;
        } else if !self.agent.gone {
            let flaps = self.agent.lost();
            if flaps {
                self.tell(Note::Flapping { losses: self.agent.losses });
            } else if !self.agent.flaps() {
                self.tell(Note::AgentDisconnected);
            }
        }
        if !matches!(self.phase, Phase::Running | Phase::Landed) {
            return;
        }
        match self.agent.absence {
            Absence::No => {
                let Some(node) = &self.node else { return };
                let timeout = node.policy.disconnect_timeout;
                self.agent.absence = Absence::Counting;
                self.timers.set(Deadline::DisconnectTimeout, timeout);
                // A run that is not connected is no run of health.
                self.timers.clear(Deadline::FailuresForgotten);
            }
            Absence::Over => self.replace_agent(),
            Absence::Counting | Absence::Told => {}
        }
    }

    /// The agent is connected, or nobody can tell that it is not.
    pub(super) fn present(&mut self) {
        let absence = core::mem::replace(&mut self.agent.absence, Absence::No);
        self.timers.clear(Deadline::DisconnectTimeout);
        if absence != Absence::No && self.agent.is_alive() && self.agent.ends > 0 {
            self.timers.set(Deadline::FailuresForgotten, self.policy.backoff.forget_after);
        }
    }

    pub(super) fn settled(&mut self, settlement: Settlement) {
        match self.phase {
            Phase::Enabling => self.settled_enabling(settlement),
            Phase::Running => self.settled_running(settlement),
            Phase::Landed => self.settled_landed(settlement),
            Phase::BackingOff => {
                if settlement == Settlement::Marked {
                    self.tell_marked();
                }
            }
            Phase::Marking
            | Phase::Draining
            | Phase::Terminating
            | Phase::Killing
            | Phase::Sweeping
            | Phase::Closing => self.settled_in_errand(settlement),
            Phase::Evicting | Phase::Starting | Phase::Finished => {}
        }
    }

    fn settled_enabling(&mut self, settlement: Settlement) {
        if settlement == Settlement::Marked {
            self.tell_marked();
        }
        self.tell_free_or_left(settlement);
        if !self.started_before && self.node.as_ref().is_some_and(Node::is_connected) && !self.told_channel {
            self.told_channel = true;
            let ours = self.node.as_ref().is_some_and(|node| node.policy.connected_before);
            self.tell(Note::ChannelFound { ours });
        }
        self.judge_jar();
        self.start_agent();
    }

    fn settled_running(&mut self, settlement: Settlement) {
        self.tell_free_or_left(settlement);
        let settling = self.agent.connected && !self.agent.settled;
        self.agent.settled = self.agent.connected;
        if let Some(node) = &mut self.node
            && node.desired == Desired::Online(Scope::Start)
            && (self.agent.connected || self.agent.looks >= node.policy.patient_after)
            && !settling
        {
            node.desired = Desired::Online(Scope::Own);
            self.tell(Note::Settled);
        }
        if !settling && self.may_renew(settlement) {
            self.renew();
            return;
        }
        self.schedule_look(settling);
    }

    fn settled_landed(&mut self, settlement: Settlement) {
        if settlement == Settlement::Lost {
            self.landing = Landing::No;
            // The hold file holds no longer, until it says something else.
            self.overruled = true;
            self.phase = Phase::Running;
            self.tell(Note::TakenBack);
            self.wish(Desired::Online(Scope::Own));
        } else {
            self.tell_marked_by_others();
            self.tell_landed();
            self.schedule_look(false);
        }
    }

    /// Where there was nothing to drain, because the agent came after the mark, we have landed when it is there, and
    /// connected if the controller tells that.
    fn tell_landed(&mut self) {
        let Some(view) = self.node.as_ref().and_then(|node| node.view.as_ref()) else { return };
        if self.landing == Landing::Wished && view.idle && (self.agent.connected || view.connected.is_none()) {
            self.landing = Landing::Told;
            self.tell(Note::Landed);
        }
    }

    fn tell_free_or_left(&mut self, settlement: Settlement) {
        let enabling = self.phase == Phase::Enabling;
        let Some(node) = &mut self.node else { return };
        let mark = node.view.as_ref().and_then(|view| view.mark.clone());
        let told = node.told_foreign.take();
        let lifted = node.lifting.take().is_some();
        match (settlement, mark) {
            (Settlement::Left, Some(mark)) => {
                node.told_foreign = Some(mark.reason.clone());
                if told.as_ref() != Some(&mark.reason) {
                    let rival = mark.owner == Owner::EarlierRun && node.policy.online != OnlinePolicy::Never;
                    self.tell(match (rival, enabling) {
                        (true, _) => Note::RivalMark(mark),
                        (false, true) => Note::MarkLeft { mark },
                        (false, false) => Note::ForeignMark(mark),
                    });
                }
            }
            (Settlement::Free, _) if lifted => self.tell(Note::Lifted),
            (Settlement::Free, _) if told.is_some() => self.tell(Note::ForeignMarkGone),
            (Settlement::Free, _) if enabling => self.tell(Note::NodeFree),
            (Settlement::Free | Settlement::Left | Settlement::Marked | Settlement::Lost, _) => {}
        }
    }

    /// Says who marked the node: we, or somebody else before us.
    pub(super) fn tell_marked(&mut self) {
        let Some(node) = &mut self.node else { return };
        let Some(mark) = node.view.as_ref().and_then(|view| view.mark.clone()) else { return };
        node.told_foreign = (!mark.owner.is_ours()).then(|| mark.reason.clone());
        let note = if mark.owner == Owner::ThisRun { Note::Marked } else { Note::MarkedAlready(mark) };
        self.tell(note);
    }

    /// Says that somebody else's mark is there in place of ours, once for each reason.
    fn tell_marked_by_others(&mut self) {
        let Some(node) = &mut self.node else { return };
        let Some(mark) = node.view.as_ref().and_then(|view| view.mark.clone()) else { return };
        if mark.owner.is_ours() {
            node.told_foreign = None;
        } else if node.told_foreign.as_ref() != Some(&mark.reason) {
            self.tell_marked();
        }
    }

    /// Plans the next look: soon while the agent is connecting, seldom in quiet times.
    fn schedule_look(&mut self, settling: bool) {
        let delay = if settling {
            Span::seconds(2)
        } else if self.agent.connected && !self.agent.gone {
            self.look_interval()
        } else {
            let looks = self.agent.looks;
            let patient_after = self.node.as_ref().map_or(0, |node| node.policy.patient_after);
            self.agent.looks = looks.saturating_add(1).min(patient_after);
            if looks >= patient_after {
                self.look_interval()
            } else {
                Span(500 << (looks / 2).min(3)).min(self.look_interval())
            }
        };
        self.timers.set(Deadline::NextLook, delay);
    }

    /// The time between looks in quiet times: the poll interval, and never longer than the disconnect timeout.
    pub(super) fn look_interval(&self) -> Span {
        let Some(node) = &self.node else { return Span::ZERO };
        let longest = node.policy.disconnect_timeout;
        let interval = if node.policy.poll.is_zero() { longest } else { node.policy.poll.min(longest) };
        jittered(interval, self.policy.seed, self.agent.generation.0).max(Span::seconds(1))
    }
}
