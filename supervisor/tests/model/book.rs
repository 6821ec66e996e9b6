//! The promise as properties, each named after its sentence. They keep their own books and believe nothing that the
//! keeper says of itself, except which errand it is on.

use agent_wrap_supervisor::{
    Action, AgentSignal, Effect, Ending, Goal, IfRefused, LiftMethod, Mark, MarkMethod, Note, OfflinePolicy,
    OfflineReason, OnlinePolicy, Owner, Phase, Policy, Span, TakeOver,
};

use super::agent::Life;
use super::controller::{Reply, Wish};
use super::network::{Message, Stage};
use super::state::{Keeper, World};

/// A sentence of the promise that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    StartedUnseen,
    WrittenUnseen,
    TouchedEarly,
    ExitedUnmarked,
    FalseAlarm,
    SecondAgent,
    Outlived,
    KilledFirst,
    StopOverdue,
    Stuck,
    TwoRequests,
    OnlineWhileStopping,
    LiftedBeyondPolicy,
    MarkedOver,
    ReplacedEarly,
    Disconnected,
    RejectedUnjustly,
    CutForAJar,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Book {
    broken: u32,
    /// What the last read has shown, unless something was written since.
    known: Option<Option<Mark>>,
    /// The errand that is to end the agent, and for how long it has been under way, as far as that matters.
    errand: Option<(Goal, Span)>,
    marked_since_errand: bool,
    seen_since_errand: bool,
    /// What is left of the time that a stop may take.
    stop_left: Option<Span>,
    hurried: bool,
    start_anyway: bool,
    started_anyway: bool,
    pub generations: u8,
    /// Reads of the first agent as connected and its node as left alone, up to two.
    connected_looks: u8,
    /// For so long yet, from when the first agent is there, a look may show the channel of one before it: no read tells
    /// them apart, and an agent that is shut out ends before that.
    old_channel: Span,
    /// For so long healthy reads have called the agent, which lives, not connected.
    absent: Option<Span>,
    /// The last read has shown a channel, and nothing was written since.
    channel_known: bool,
    /// A request that closes it was sent, and need not have failed.
    disconnected: bool,
    /// The mark has changed since the last read that was answered was carried out.
    touched: bool,
    /// The same since the read under way was carried out.
    touched_since_carried: bool,
    /// A toggle that lifts was sent, and neither its answer nor a read has shown that it was carried out.
    lift_open: bool,
    /// One before the last was never answered.
    lift_lost: bool,
    jar: Jar,
    rejected: bool,
    /// The agent is being started anew for the sake of a new jar, and nobody has asked for anything.
    renewing: bool,
    renewed: bool,
    /// Since the errand began something has gone wrong, or somebody has interfered.
    hindered: bool,
}

/// The new jar of the last agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Jar {
    /// It had none, or was seen connected, or was asked to end, or its jar has been rejected.
    #[default]
    Fine,
    /// It was started with one.
    New,
    /// It has ended by itself.
    Suspect,
}

impl Book {
    pub fn forked(&mut self, new_jar: bool) {
        self.jar = if new_jar { Jar::New } else { Jar::Fine };
    }

    pub fn connected(&mut self) {
        self.jar = Jar::Fine;
    }

    pub fn ended(&mut self, asked: bool) {
        self.jar = if self.jar == Jar::New && !asked { Jar::Suspect } else { Jar::Fine };
    }

    /// An operator has asked for something.
    pub fn asked(&mut self) {
        self.renewing = false;
    }

    pub fn has_renewed(&self) -> bool {
        self.renewed
    }

    pub fn has_rejected(&self) -> bool {
        self.rejected
    }

    pub fn hinder(&mut self) {
        self.hindered = true;
    }

    pub fn started_anyway(&self) -> bool {
        self.started_anyway
    }

    pub fn was_disconnected(&self) -> bool {
        self.disconnected
    }

    /// No answer has come to this.
    pub fn unanswered(&mut self, message: &Message) {
        if message.wish.is_read() {
            self.absent = None;
        }
    }

    pub fn touch(&mut self) {
        self.touched = true;
        self.touched_since_carried = true;
    }

    pub fn read_carried_out(&mut self) {
        self.touched_since_carried = false;
    }

    /// An operator has asked for a stop, whatever the keeper makes of it.
    pub fn stop_asked(&mut self, policy: &Policy) {
        self.stop_left.get_or_insert(policy.longest_stop());
    }

    /// A drain has another limit, and with it a stop that is under way.
    pub fn drain_bounded(&mut self, policy: &Policy) {
        if let Some(left) = &mut self.stop_left {
            *left = policy.longest_stop();
        }
    }

    pub fn elapse(&mut self, span: Span, agent_runs: bool, timeout: Span) {
        if let Some(absent) = &mut self.absent {
            *absent = absent.plus(span).min(timeout);
        }
        if agent_runs {
            self.old_channel = self.old_channel.less(span);
        }
        if let Some((_, age)) = &mut self.errand {
            *age = age.plus(span);
        }
        if let Some(left) = &mut self.stop_left {
            if *left < span {
                self.broken |= 1 << Broken::StopOverdue as u16;
            }
            *left = left.less(span);
        }
    }

    fn violated(&mut self, broken: Broken) {
        self.broken |= 1 << broken as u16;
    }

    pub fn is_broken(&self, broken: Broken) -> bool {
        self.broken & 1 << broken as u16 != 0
    }

    pub fn is_whole(&self) -> bool {
        self.broken == 0
    }

    fn may_lift(mark: Option<&Mark>, policy: &Policy, first: bool) -> bool {
        let (Some(mark), Some(node)) = (mark, &policy.node) else { return false };
        match mark.owner {
            Owner::ThisRun => true,
            Owner::EarlierRun => node.online != OnlinePolicy::Never,
            Owner::Monitor => false,
            Owner::Foreign => {
                first
                    && !node.unclean
                    && match node.online {
                        OnlinePolicy::Always => true,
                        OnlinePolicy::Match => mark.matches,
                        OnlinePolicy::Own | OnlinePolicy::Never => false,
                    }
            }
        }
    }
}

/// Whether a stop marks the node.
fn marks(policy: &Policy) -> bool {
    policy.node.as_ref().is_some_and(|node| node.offline == OfflinePolicy::Always)
}

impl<K: Keeper> World<K> {
    pub fn check_answer(&mut self, message: &Message) {
        if message.wish == Wish::Disconnect {
            // What was certainly not carried out may be tried again.
            self.book.disconnected &= !matches!(message.stage, Stage::CarriedOut(Reply::Refused(_)));
        } else if !message.wish.is_read() {
            self.book.lift_open = self.book.lift_lost;
        }
        let Stage::CarriedOut(Reply::View(view)) = &message.stage else {
            self.book.unanswered(message);
            return;
        };
        self.book.channel_known = view.connected == Some(true) || view.connected.is_none();
        if self.running().is_none() || view.connected != Some(false) {
            self.book.absent = None;
        } else {
            self.book.absent.get_or_insert(Span::ZERO);
        }
        if view.mark.as_ref().is_none_or(|mark| mark.owner == Owner::ThisRun) {
            self.book.lift_open = false;
            self.book.lift_lost = false;
        }
        if self.book.generations == 0 && view.connected == Some(true) {
            self.book.old_channel = self.policy.0.backoff.quick;
        } else if self.book.generations == 0 || view.connected == Some(false) {
            self.book.old_channel = Span::ZERO;
        }
        let first = self.book.generations <= 1 && self.process.is_some();
        let settled = view.connected == Some(true) && !Book::may_lift(view.mark.as_ref(), &self.policy.0, true);
        if first && settled && self.book.old_channel.is_zero() {
            self.book.connected_looks = (self.book.connected_looks + 1).min(2);
        }
        self.book.seen_since_errand |= self.book.errand.is_some();
        self.book.marked_since_errand |= self.book.errand.is_some() && view.mark.is_some();
        self.book.known = Some(view.mark.clone());
        self.book.touched = self.book.touched_since_carried;
    }

    /// Looks at one action before it is performed.
    pub fn check_action(&mut self, action: &Action) {
        match action {
            Action::Spawn { .. } => self.check_spawn(),
            Action::ReadNode { .. } => self.check_request(),
            Action::LiftMark { method, .. } => {
                self.book.lift_lost |= self.book.lift_open;
                self.book.lift_open |= *method == LiftMethod::Toggle;
                self.check_request();
                self.check_lift();
                self.book.known = None;
            }
            Action::MarkOffline { method, reason, .. } => {
                self.check_request();
                let held = matches!(reason, OfflineReason::Held(_));
                match &self.book.known {
                    _ if self.book.errand.is_some() && !self.book.seen_since_errand => {
                        self.book.violated(Broken::WrittenUnseen);
                    }
                    None => self.book.violated(Broken::WrittenUnseen),
                    // Our own mark may get another reason, by what does not lift it.
                    Some(Some(mark)) if mark.owner == Owner::ThisRun && *method == MarkMethod::ChangeCause => {}
                    Some(Some(mark)) if held && mark.owner.is_ours() && *method == MarkMethod::ChangeCause => {}
                    Some(Some(_)) => self.book.violated(Broken::MarkedOver),
                    Some(None) => {}
                }
                self.book.known = None;
            }
            Action::SignalAgent { signal: AgentSignal::Terminate, .. } => self.check_terminate(),
            Action::SignalAgent { signal: AgentSignal::Kill, .. } => {
                if self.process.as_ref().is_some_and(|process| !process.termed) {
                    self.book.violated(Broken::KilledFirst);
                }
            }
            Action::Tell(Note::RenewingJar) => self.book.renewing = true,
            Action::Tell(Note::RenewalPutOff { .. }) => self.book.renewing = false,
            Action::Tell(Note::StartedUnmarked(_)) => self.book.start_anyway = true,
            Action::Tell(Note::RequestTaken { effect: Effect::Killed, .. }) => self.book.hurried = true,
            Action::RejectJar { .. } => {
                if std::mem::take(&mut self.book.jar) != Jar::Suspect {
                    self.book.violated(Broken::RejectedUnjustly);
                }
                self.book.rejected = true;
            }
            Action::Finish(ending) => self.check_ending(ending),
            Action::Disconnect { .. } => {
                self.check_request();
                self.check_disconnect();
            }
            Action::CancelSpawn { .. }
            | Action::CancelRequest { .. }
            | Action::Reap { .. }
            | Action::SignalAgent { .. }
            | Action::SignalGroup { .. }
            | Action::StopSelf
            | Action::SignalLeftovers { .. }
            | Action::Remember(_)
            | Action::Tell(_) => {}
        }
    }

    fn check_disconnect(&mut self) {
        let node = self.policy.0.node.as_ref();
        let ours = node.is_some_and(|node| node.connected_before && node.takeover == TakeOver::Auto);
        let early = self.book.generations == 0 && self.book.stop_left.is_none();
        if !ours || !early || !self.book.channel_known || self.book.disconnected {
            self.book.violated(Broken::Disconnected);
        }
        self.book.disconnected = true;
        self.book.known = None;
        self.book.channel_known = false;
    }

    fn check_spawn(&mut self) {
        self.book.absent = None;
        if self.process.is_some() || self.book.stop_left.is_some() {
            self.book.violated(Broken::SecondAgent);
        }
        let first = self.book.generations == 0;
        self.book.generations += 1;
        if !first {
            self.book.old_channel = Span::ZERO;
        }
        let landed = !self.keeper.wants_online();
        let Some(node) = &self.policy.0.node else { return };
        let anyway = std::mem::take(&mut self.book.start_anyway) && node.if_refused == IfRefused::Start;
        let allowed = match &self.book.known {
            None => false,
            Some(None) => true,
            Some(mark) => !Book::may_lift(mark.as_ref(), &self.policy.0, first),
        };
        self.book.started_anyway |= anyway;
        if !allowed && !landed && !anyway {
            self.book.violated(Broken::StartedUnseen);
        }
    }

    fn check_request(&mut self) {
        if self.awaited().is_some() {
            self.book.violated(Broken::TwoRequests);
        }
    }

    fn check_lift(&mut self) {
        if self.book.stop_left.is_some() {
            self.book.violated(Broken::OnlineWhileStopping);
        }
        let first = self.book.generations <= 1 && self.book.connected_looks < 2;
        match &self.book.known {
            None => self.book.violated(Broken::WrittenUnseen),
            Some(mark) if !Book::may_lift(mark.as_ref(), &self.policy.0, first) => {
                self.book.violated(Broken::LiftedBeyondPolicy);
            }
            Some(_) => {}
        }
    }

    fn check_terminate(&mut self) {
        if std::mem::take(&mut self.book.renewing) {
            self.book.renewed = true;
            // What has changed since the look that was answered last was carried out, nobody can know.
            if self.controller.builds && !self.book.touched {
                self.book.violated(Broken::CutForAJar);
            }
        }
        let Some((goal, age)) = self.book.errand else { return };
        if goal == Goal::Replace {
            return self.check_replace();
        }
        let first = self.process.as_ref().is_some_and(|process| !process.termed);
        let Some(node) = &self.policy.0.node else { return };
        let waited = age >= node.offline_timeout;
        if first && marks(&self.policy.0) && !self.book.hurried && !self.book.marked_since_errand && !waited {
            self.book.violated(Broken::TouchedEarly);
        }
    }

    fn check_replace(&mut self) {
        let timeout = self.policy.0.node.as_ref().map_or(Span::ZERO, |node| node.disconnect_timeout);
        if self.book.absent != Some(timeout) || self.book.stop_left.is_some() || !self.is_watched() {
            self.book.violated(Broken::ReplacedEarly);
        }
    }

    fn check_ending(&mut self, ending: &Ending) {
        if let Some(process) = &self.process {
            let hangs = matches!(process.life, Life::Spawning { .. }) && process.slow;
            let killed = process.killed && (process.unkillable || process.late);
            if !(hangs || killed || process.life == Life::Ended) {
                self.book.violated(Broken::Outlived);
            }
        }
        let (Ending::Stopped { confirmed, .. } | Ending::AgentEnded { confirmed, .. }) = ending else { return };
        if !marks(&self.policy.0) {
            return;
        }
        if *confirmed && self.controller.mark.is_none() && !self.book.touched {
            self.book.violated(Broken::ExitedUnmarked);
        }
        if !self.book.hindered && !self.book.hurried && (!*confirmed || self.controller.mark.is_none()) {
            self.book.violated(Broken::FalseAlarm);
        }
    }

    /// Looks which errand the keeper is on now.
    pub fn check_errand(&mut self) {
        let (_, goal) = self.keeper.stage();
        match (goal, self.book.errand) {
            (None, _) => self.book.errand = None,
            (Some(goal), Some((earlier, age))) if goal == earlier => {
                let longest = self.policy.0.node.as_ref().map_or(Span::ZERO, |node| node.offline_timeout);
                self.book.errand = Some((goal, age.min(longest)));
            }
            (Some(goal), _) => {
                self.book.errand = Some((goal, Span::ZERO));
                self.book.marked_since_errand = false;
                self.book.seen_since_errand = false;
                // A request that is under way already, or a controller that is down already, hinders from the start.
                let controller = &self.controller;
                self.book.hindered = controller.down
                    || controller.refuses.is_some()
                    || self.book.lift_open
                    || self.network.iter().any(|message| !message.wish.is_read())
                    || self.process.as_ref().is_some_and(|process| process.slow);
            }
        }
        if matches!(goal, Some(Goal::Exit(_))) {
            self.book.stop_asked(&self.policy.0);
        }
    }

    /// Looks at how things stand after a step.
    pub fn check_state(&mut self) {
        self.check_errand();
        let (phase, _) = self.keeper.stage();
        let waits = self.awaited().is_some() || self.process.is_some() || self.counting.is_some();
        let rests = matches!(phase, Phase::Running | Phase::Landed) && self.policy.0.node.is_none();
        if self.ending.is_none() && self.keeper.next_deadline().is_none() && !waits && !rests {
            self.book.violated(Broken::Stuck);
        }
    }

    /// A mark that we are bound to lift stands behind a running agent.
    pub fn has_stray_mark(&self) -> bool {
        self.keeper.wants_online()
            && self.keeper.stage().1.is_none()
            && self.book.generations > 0
            && self.running().is_some()
            && self.ending.is_none()
            && self.controller.mark.as_ref().is_some_and(|mark| match mark.owner {
                Owner::ThisRun => true,
                Owner::EarlierRun => self.policy.0.node.as_ref().is_some_and(|node| node.online != OnlinePolicy::Never),
                Owner::Monitor | Owner::Foreign => false,
            })
    }

    /// Nothing presses: the agent is connected, and the keeper has seen the node as it is.
    pub fn is_home(&self) -> bool {
        // Nobody tells that an agent hangs behind a mark that hides its channel.
        let hidden = self.controller.mark.is_some() && !self.controller.version.tells_channel;
        matches!(self.keeper.stage(), (Phase::Running | Phase::Landed, None))
            && self.running().is_some_and(|process| process.connected || hidden && process.hung)
            && self.awaited().is_none()
            && (self.policy.0.node.is_none() || self.book.known.is_some() && !self.book.touched)
            && !self.has_stray_mark()
    }
}
