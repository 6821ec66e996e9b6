//! What people are told. The core says which fact matters and when; the shell that logs it finds the words.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Build, Exit, Failure, Generation, LiftMethod, Mark, MarkMethod, Request, Span, SpawnFailure, StopSource};

/// One fact worth a log line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// An agent of an earlier run is still alive and is ended first.
    SurvivorFound,
    /// The agent has ended, but something lives that it has started besides builds; it is ended first.
    RemainsFound {
        /// What lives.
        processes: String,
    },
    /// The survivor, or what remained of the agent, is gone.
    SurvivorEnded,
    /// The first read: the node carries no mark, nothing is to be done.
    NodeFree,
    /// The node carries a mark and we lift it.
    Lifting {
        /// The mark.
        mark: Mark,
        /// The way.
        method: LiftMethod,
    },
    /// A read shows the node free after we lifted the mark.
    Lifted,
    /// Our toggle hit a node that somebody had freed in the same moment, and marked it; it is toggled once more.
    RaceLost,
    /// The node stays marked because the policy says so; the agent is started all the same.
    MarkLeft {
        /// The mark.
        mark: Mark,
    },
    /// A way of writing does not work on this controller; another is used from now on.
    WayChanged {
        /// What was tried and what came back.
        words: String,
    },
    /// Nobody can tell whether a write was carried out; reads will show it.
    OutcomeUnknown(Failure),
    /// The controller gave no usable answer; it is asked again. Said at the first and at each change of the failure.
    Waiting {
        /// What it said.
        failure: Failure,
        /// When the next attempt is made.
        retry: Span,
    },
    /// The controller answers again.
    Answering,
    /// The controller has refused us for good, and the agent is started all the same.
    StartedUnmarked(Failure),
    /// The agent is being started.
    AgentStarting {
        /// Which run.
        generation: Generation,
    },
    /// The agent runs.
    AgentStarted {
        /// Which run.
        generation: Generation,
        /// Its process id.
        pid: u32,
    },
    /// The controller reports the agent connected.
    AgentConnected {
        /// Whether the node is marked.
        marked: bool,
        /// Whether it is to be: we land or stop, and the mark is no surprise.
        wished: bool,
    },
    /// The controller reports the agent no longer connected although it runs.
    AgentDisconnected,
    /// The controller reports it connected again.
    AgentReconnected,
    /// It connects and is lost over and over, although it runs. The single turns are not told any more.
    Flapping {
        /// How often it was lost.
        losses: u8,
    },
    /// It stays connected.
    FlappingOver,
    /// The agent lives and was not connected for the whole `--disconnect-timeout`.
    StaysDisconnected {
        /// That time.
        after: Span,
        /// Whether it is started anew; not if it is never started again.
        restarted: bool,
        /// Whether it had ever been seen connected.
        connected: bool,
    },
    /// The agent ended.
    AgentExited {
        /// Which run.
        generation: Generation,
        /// How.
        exit: Exit,
        /// Whether we had asked it to.
        asked: bool,
        /// Whether it had ever been seen connected.
        connected: bool,
    },
    /// The agent could not be started.
    SpawnFailed(SpawnFailure),
    /// The agent is started again after a delay.
    RestartPlanned {
        /// The delay.
        delay: Span,
        /// Failures in a row.
        failures: u32,
    },
    /// The controller still holds the channel of the agent that is gone.
    OldChannelHeld,
    /// It does so for longer than it holds a dead one: an agent elsewhere bears the node's name.
    NameTaken,
    /// Before the first start the controller calls the node connected: a dead channel, or an agent elsewhere. It is not
    /// touched.
    ChannelFound {
        /// Our records say that it is ours, and the policy lets it be.
        ours: bool,
    },
    /// We have closed it, and it is back: an agent elsewhere that lives.
    ChannelReturned,
    /// Nobody has said whether it was closed, and it is there.
    TakeOverDoubtful,
    /// The channel that the run before has left is being closed.
    TakingOver,
    /// It is gone.
    TakenOver,
    /// It cannot be closed; the agent is started all the same.
    TakeOverFailed {
        /// What came back.
        words: String,
    },
    /// An operator's hold file keeps the node offline.
    HoldSet {
        /// What it says.
        words: String,
    },
    /// It is gone.
    HoldLifted,
    /// The agent keeps failing: the node is marked and the pace slows down.
    Slowing {
        /// Failures in a row.
        failures: u32,
    },
    /// The agent keeps failing and the limit is reached.
    GivingUp {
        /// Failures in a row.
        failures: u32,
    },
    /// The start is over (two looks have shown the agent connected, or it does not come): from now on a mark of somebody
    /// else is a wish.
    Settled,
    /// Somebody else has marked the node while the agent runs; it is theirs.
    ForeignMark(Mark),
    /// The foreign mark is gone.
    ForeignMarkGone,
    /// The mark of another wrapper comes back whenever it is lifted: two keep one node. It is theirs.
    RivalMark(Mark),
    /// A mark of ours was found behind a running agent; it is lifted.
    StrayMark(Mark),
    /// Another jar is offered than that of the agent, which is idle: it is started anew with it.
    RenewingJar,
    /// The agent is left alone with the jar that it has.
    RenewalPutOff {
        /// Until it is idle again: a build has begun before the node was marked. Else the mark could not be read back.
        until_idle: bool,
    },
    /// A stop begins.
    Stopping {
        /// Who asked.
        source: StopSource,
        /// Whether an agent runs.
        agent: bool,
    },
    /// A request changed nothing, or changed the course of a stop.
    RequestTaken {
        /// The request.
        request: Request,
        /// What it means now.
        effect: Effect,
    },
    /// The node is being marked.
    Marking {
        /// The way.
        method: MarkMethod,
    },
    /// A read shows the node marked by us.
    Marked,
    /// Somebody else had marked the node: nothing is written, their reason stays.
    MarkedAlready(Mark),
    /// The mark was not read back within the time for it.
    MarkUnconfirmed {
        /// The time for it.
        after: Span,
        /// The last failure, if there was one.
        failure: Option<Failure>,
    },
    /// What the last look before the exit has shown, where it is not what the stop wanted.
    LastLookUnsettled,
    /// The last look before the exit has got no answer; what was read back before it is all that is known.
    LastLookUnanswered,
    /// The mark has vanished and is set again.
    MarkVanished,
    /// The mark has vanished too often; it is not set again.
    MarkLost,
    /// Waiting for running builds. Said at the begin and at every change of what runs.
    Draining {
        /// What runs.
        builds: Vec<Build>,
        /// How much of the time for it is left; `None` without a limit.
        left: Option<Span>,
    },
    /// The time for it is running out: these builds will be cut off.
    DrainEnding {
        /// What runs.
        builds: Vec<Build>,
        /// How much of the time for it is left.
        left: Span,
        /// Whether the drain can still be taken back.
        revocable: bool,
    },
    /// Nothing runs any more.
    Drained,
    /// The time for it is over, or somebody did not want to wait: these builds are cut off.
    DrainCut {
        /// What runs.
        builds: Vec<Build>,
        /// Whether time ran out (else somebody asked).
        timeout: bool,
    },
    /// No drain: the node is not marked, so builds would keep coming.
    NotDrained,
    /// Marked and idle, the agent stays up. Said once a landing.
    Landed,
    /// The mark was lifted by somebody while landed; taken as "taken back".
    TakenBack,
    /// The agent was asked to end.
    Terminating {
        /// How long it has.
        grace: Span,
    },
    /// The agent did not end in time, or somebody asked for it.
    Killing,
    /// The killed agent has not gone away; we do not wait for it any longer.
    Unkillable,
    /// The agent has left processes behind.
    LeftoversFound {
        /// How many.
        alive: u32,
        /// Whether they are ended.
        ended: bool,
    },
    /// Some could not be ended.
    LeftoversRemain {
        /// How many.
        alive: u32,
    },
    /// The settings were read again.
    PolicyChanged,
    /// The settings were read again, but a stop goes by those with which it began.
    PolicyTooLate,
}

/// What a request means in the phase in which it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It is being done already; asking twice is success.
    Already,
    /// It came so soon after the one before that it counts as the same.
    Repeated,
    /// The rest of the drain is skipped.
    DrainSkipped,
    /// The agent is killed.
    Killed,
    /// Too late for it.
    TooLate,
    /// It has no meaning without a controller, or without an agent.
    Meaningless,
    /// The drain is taken back.
    TakenBack,
    /// A hold file keeps the node offline.
    Held,
    /// It is done.
    Done,
}

/// Why the supervisor has ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Stopped as asked. `killed`: the agent had to be. `confirmed`: the mark was read back, or none was to be set.
    Stopped {
        /// The agent had to be killed.
        killed: bool,
        /// The mark was read back, or none was to be set.
        confirmed: bool,
    },
    /// The agent ended and is not started again.
    AgentEnded {
        /// How.
        exit: Exit,
        /// The mark was read back, or none was to be set.
        confirmed: bool,
    },
    /// The agent keeps failing and the limit is reached.
    GaveUp,
    /// The agent could not be started.
    SpawnFailed(SpawnFailure),
    /// The controller was unreachable for the whole start timeout.
    Unreachable(Failure),
    /// The controller refused us for good.
    Refused(Failure),
}
