//! A controller with one node: setter and toggle semantics, old and new persistence of the mark.

use agent_wrap_supervisor::{
    Build, FailureKind, Generation, LiftMethod, Mark, MarkMethod, NodeView, Owner, RequestNumber,
};

/// What a request asks of the controller.
#[derive(Clone, Debug)]
pub enum Wish {
    Read,
    Lift(LiftMethod),
    Mark(MarkMethod),
    Disconnect,
}

/// What the controller answers once it has looked at a request.
#[derive(Clone, Debug)]
pub enum Reply {
    View(NodeView),
    Done,
    Unsupported,
    Refused(FailureKind),
}

#[derive(Clone, Debug)]
pub struct Controller {
    pub mark: Option<Mark>,
    /// Before 2.482 a persisted mark is applied again when the agent connects, and a restart forgets it until then.
    pub old_persistence: bool,
    pub persisted: Option<Mark>,
    /// The agent whose channel is up, or is still held although it is dead.
    pub channel: Option<Generation>,
    /// Does not tell the channel's state while the node is marked.
    pub hides_channel: bool,
    pub has_cli: bool,
    pub has_change_cause: bool,
    pub down: bool,
    pub refuses_reads: Option<FailureKind>,
    pub refuses_writes: Option<FailureKind>,
    /// Accepts writes and does nothing.
    pub is_deaf: bool,
    pub builds: u8,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            mark: None,
            old_persistence: false,
            persisted: None,
            channel: None,
            hides_channel: false,
            has_cli: true,
            has_change_cause: true,
            down: false,
            refuses_reads: None,
            refuses_writes: None,
            is_deaf: false,
            builds: 0,
        }
    }
}

/// A mark as somebody set it.
pub fn mark_of(owner: Owner, reason: &str) -> Mark {
    Mark { owner, reason: reason.into(), matches: reason.contains("nightly") }
}

impl Controller {
    pub fn set(&mut self, mark: Option<Mark>) {
        self.persisted.clone_from(&mark);
        self.mark = mark;
    }

    pub fn carry_out(&mut self, request: RequestNumber, wish: &Wish) -> Reply {
        let refusal = if matches!(wish, Wish::Read) { self.refuses_reads } else { self.refuses_writes };
        if self.down {
            return Reply::Refused(FailureKind::Unavailable);
        }
        if let Some(kind) = refusal {
            return Reply::Refused(kind);
        }
        if self.is_deaf && !matches!(wish, Wish::Read) {
            return Reply::Done;
        }
        if let Wish::Disconnect = wish {
            self.channel = None;
            self.builds = 0;
            return Reply::Done;
        }
        let nonce = mark_of(Owner::ThisRun, &format!("nonce {}", request.0));
        match wish {
            Wish::Read | Wish::Disconnect => return Reply::View(self.view()),
            Wish::Lift(LiftMethod::Cli) if !self.has_cli => return Reply::Unsupported,
            Wish::Mark(MarkMethod::ChangeCause) if !self.has_change_cause => return Reply::Unsupported,
            Wish::Lift(LiftMethod::Cli) => self.set(None),
            Wish::Mark(MarkMethod::ChangeCause) => self.set(Some(nonce)),
            Wish::Lift(LiftMethod::Toggle) | Wish::Mark(MarkMethod::Toggle) => {
                self.set(if self.mark.is_some() { None } else { Some(nonce) });
            }
        }
        Reply::Done
    }

    pub fn view(&self) -> NodeView {
        let connected = if self.mark.is_some() && self.hides_channel { None } else { Some(self.channel.is_some()) };
        NodeView {
            mark: self.mark.clone(),
            connected,
            idle: self.builds == 0,
            builds: (1..=self.builds).map(|n| Build { name: Some(format!("job #{n}")), ..Build::default() }).collect(),
            has_cli: self.has_cli,
        }
    }

    /// The agent's channel comes up; false when another is still held.
    pub fn connect(&mut self, generation: Generation) -> bool {
        if self.channel.is_some() {
            return false;
        }
        self.channel = Some(generation);
        if self.old_persistence && self.persisted.is_some() {
            self.mark.clone_from(&self.persisted);
        }
        true
    }

    pub fn disconnect(&mut self, generation: Generation) {
        if self.channel == Some(generation) {
            self.channel = None;
            self.builds = 0;
        }
    }

    /// Goes down; what runs on the node is lost with the channel.
    pub fn go_down(&mut self) {
        self.down = true;
        self.channel = None;
        self.builds = 0;
    }

    pub fn come_up(&mut self) {
        self.down = false;
        if self.old_persistence {
            self.mark = None;
        }
    }
}
