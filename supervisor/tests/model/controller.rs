//! A controller with one node: setters or the toggle alone, old or new persistence of the mark.

use agent_wrap_supervisor::{Build, FailureKind, LiftMethod, Mark, MarkMethod, NodeView, Owner, Span};

/// What a request asks of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    Read,
    Lift(LiftMethod),
    Mark(MarkMethod),
    Disconnect,
}

impl Wish {
    pub fn is_read(self) -> bool {
        self == Self::Read
    }
}

/// What the controller answers once it has looked at a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    View(NodeView),
    Done,
    Unsupported,
    Refused(FailureKind),
    /// There is no answer now, and whoever says so wants to be left alone for so long.
    Throttled(Span),
}

/// What a controller's version can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// The CLI over HTTP, whose `online-node` is a setter.
    pub has_cli: bool,
    /// `changeOfflineCause`, a setter.
    pub has_change_cause: bool,
    /// Whether an answer tells of a marked node's channel.
    pub tells_channel: bool,
    /// Before 2.482 a restart forgets the mark until the agent connects, which applies it again.
    pub old_persistence: bool,
    /// A proxy before it that says, while it is down, for how long it wants to be left alone.
    pub proxy_asks: Option<Span>,
}

impl Version {
    pub const JENKINS: Self =
        Self { has_cli: true, has_change_cause: true, tells_channel: true, old_persistence: false, proxy_asks: None };
    pub const OLD_JENKINS: Self =
        Self { has_cli: true, has_change_cause: true, tells_channel: true, old_persistence: true, proxy_asks: None };
    /// With a proxy before it that speaks for it while it is down.
    pub const BEHIND_A_PROXY: Self = Self { proxy_asks: Some(Span::seconds(60)), ..Self::JENKINS };
    /// Only the toggle.
    pub const HUDSON: Self =
        Self { has_cli: false, has_change_cause: false, tells_channel: false, old_persistence: true, proxy_asks: None };
}

/// What the controller does not let us do for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    pub kind: FailureKind,
    pub writes_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    pub version: Version,
    pub mark: Option<Mark>,
    persisted: Option<Mark>,
    /// A channel of the node is up, or held although its agent is dead.
    pub channel: bool,
    pub down: bool,
    pub refuses: Option<Refusal>,
    pub builds: bool,
}

pub fn mark_of(owner: Owner) -> Mark {
    let reason = match owner {
        Owner::ThisRun => "this run",
        Owner::EarlierRun => "earlier run",
        Owner::Monitor => "monitor",
        Owner::Foreign => "somebody",
    };
    Mark { owner, reason: reason.into(), matches: owner == Owner::Foreign }
}

impl Controller {
    pub fn new(version: Version, mark: Option<Owner>, channel: bool) -> Self {
        let mark = mark.map(mark_of);
        Self { version, persisted: mark.clone(), mark, channel, down: false, refuses: None, builds: false }
    }

    pub fn set(&mut self, mark: Option<Mark>) {
        self.persisted.clone_from(&mark);
        self.mark = mark;
    }

    pub fn carry_out(&mut self, wish: Wish) -> Reply {
        if self.down {
            return self.version.proxy_asks.map_or(Reply::Refused(FailureKind::Unavailable), Reply::Throttled);
        }
        if let Some(refusal) = self.refuses
            && !(refusal.writes_only && wish.is_read())
        {
            return Reply::Refused(refusal.kind);
        }
        match wish {
            Wish::Read => return Reply::View(self.view()),
            Wish::Disconnect => self.disconnect(),
            Wish::Lift(LiftMethod::Cli) if !self.version.has_cli => return Reply::Unsupported,
            Wish::Mark(MarkMethod::ChangeCause) if !self.version.has_change_cause => return Reply::Unsupported,
            Wish::Lift(LiftMethod::Cli) => self.set(None),
            Wish::Mark(MarkMethod::ChangeCause) => self.set(Some(mark_of(Owner::ThisRun))),
            Wish::Lift(LiftMethod::Toggle) | Wish::Mark(MarkMethod::Toggle) => {
                self.set(if self.mark.is_some() { None } else { Some(mark_of(Owner::ThisRun)) });
            }
        }
        Reply::Done
    }

    fn view(&self) -> NodeView {
        NodeView {
            mark: self.mark.clone(),
            connected: (self.version.tells_channel || self.mark.is_none()).then_some(self.channel),
            idle: !self.builds,
            builds: if self.builds {
                vec![Build { name: Some("job #1".into()), ..Build::default() }]
            } else {
                Vec::new()
            },
            has_cli: self.version.has_cli,
        }
    }

    /// The agent's channel comes up. True if that has changed the mark.
    pub fn connect(&mut self) -> bool {
        self.channel = true;
        let applies = self.version.old_persistence && self.persisted.is_some() && self.mark != self.persisted;
        if applies {
            self.mark.clone_from(&self.persisted);
        }
        applies
    }

    pub fn disconnect(&mut self) {
        self.channel = false;
        self.builds = false;
    }

    pub fn go_down(&mut self) {
        self.down = true;
        self.disconnect();
    }

    /// Comes up again. True if that has changed the mark.
    pub fn come_up(&mut self) -> bool {
        self.down = false;
        self.version.old_persistence && self.mark.take().is_some()
    }
}
