//! The agent as the operating system sees it, and what it is going to do.

use agent_wrap_supervisor::{Exit, FailureKind, Generation, Span, SpawnFailure};

use super::random::Random;

/// How one run of the agent will go.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    pub spawn_takes: Span,
    pub spawn_fails: Option<SpawnFailure>,
    /// It is started with a jar that has replaced another one.
    pub new_jar: bool,
    /// So long after its start the controller offers another jar.
    pub jar_offered: Option<Span>,
    /// What it needs cannot be had from the controller.
    pub unprepared: Option<FailureKind>,
    /// A spawn that is still being prepared can be given up; one whose fork has happened cannot.
    pub cancellable: bool,
    /// From the spawn to the connection; `None` for never.
    pub connects_after: Option<Span>,
    /// So long after that its channel is lost, and it goes on living.
    pub hangs: Option<Span>,
    /// From there to the next connection; `None` for never.
    pub returns: Option<Span>,
    /// Ends by itself.
    pub ends: Option<(Span, Exit)>,
    /// From TERM to its end; `None` when it ignores TERM.
    pub term_takes: Option<Span>,
    pub unkillable: bool,
    /// It is not started, because something of the one before lives; that is what the rest of the plan is about.
    pub remains: bool,
    /// Processes that it leaves behind.
    pub leaves: u32,
    /// They ignore TERM.
    pub leaves_stubborn: bool,
    /// They survive KILL too.
    pub leaves_immortal: bool,
    /// How long counting them takes; `None` when the count never comes.
    pub count_takes: Option<Span>,
    /// The controller holds the dead channel for so long.
    pub channel_held: Span,
}

impl Default for AgentPlan {
    fn default() -> Self {
        Self {
            spawn_takes: Span(10),
            spawn_fails: None,
            new_jar: false,
            jar_offered: None,
            unprepared: None,
            connects_after: Some(Span(2000)),
            hangs: None,
            returns: None,
            ends: None,
            term_takes: Some(Span(300)),
            unkillable: false,
            remains: false,
            leaves: 0,
            leaves_stubborn: false,
            leaves_immortal: false,
            count_takes: Some(Span(10)),
            channel_held: Span::ZERO,
            cancellable: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    Spawning,
    Alive,
    Dead,
}

#[derive(Clone, Debug)]
pub struct Process {
    pub generation: Generation,
    pub state: ProcessState,
    pub plan: AgentPlan,
    /// It was asked to end.
    pub termed: bool,
    pub killed: bool,
}

impl AgentPlan {
    /// An agent that does not do well.
    pub fn random(random: &mut Random) -> Self {
        let exit = random.pick(&[Exit::Code(0), Exit::Code(1), Exit::Signal(9), Exit::Code(255)]);
        Self {
            spawn_takes: random.span(Span::seconds(4)),
            spawn_fails: if random.percent(10) {
                Some(random.pick(&[
                    SpawnFailure::NotFound,
                    SpawnFailure::NotExecutable,
                    SpawnFailure::Exhausted(11),
                    SpawnFailure::Other(5),
                    SpawnFailure::Unprepared,
                ]))
            } else {
                None
            },
            unprepared: random.percent(20).then(|| {
                random.pick(&[
                    FailureKind::Unavailable,
                    FailureKind::Unauthenticated,
                    FailureKind::Forbidden,
                    FailureKind::NoSuchNode,
                ])
            }),
            cancellable: random.percent(50),
            connects_after: random.percent(80).then(|| random.span(Span::seconds(20))),
            hangs: random.percent(30).then(|| random.span(Span::seconds(600))),
            returns: random.percent(60).then(|| random.span(Span::seconds(400))),
            ends: random.percent(50).then(|| (random.span(Span::seconds(2000)), exit)),
            term_takes: random.percent(60).then(|| random.span(Span::seconds(60))),
            unkillable: random.percent(20),
            remains: random.percent(10),
            leaves: u32::try_from(random.below(3)).unwrap(),
            leaves_stubborn: random.percent(60),
            leaves_immortal: random.percent(10),
            count_takes: random.percent(90).then(|| random.pick(&[Span(10), Span(490), Span(600), Span(2000)])),
            new_jar: random.percent(40),
            jar_offered: random.percent(40).then(|| random.span(Span::seconds(300))),
            channel_held: if random.percent(20) { random.span(Span::seconds(540)) } else { Span::ZERO },
        }
    }
}
