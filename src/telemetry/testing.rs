//! What tests of words begin with.

use agent_wrap_supervisor::{AgentState, Desired, Generation, Phase, Scope, Status};

const ONLINE: Desired = Desired::Online(Scope::Start);

/// A wrapper in this phase, whose agent runs and which has not seen its node yet.
pub(crate) fn status(phase: Phase) -> Status<'static> {
    Status {
        phase,
        generation: Generation(1),
        agent: AgentState::Alive,
        connected: false,
        flaps: false,
        failures: 0,
        desired: Some(&ONLINE),
        believed: None,
        in_flight: None,
        goal: None,
        hold: None,
        awaiting: None,
    }
}
