//! The agent as the operating system sees it.

use agent_wrap_supervisor::Generation;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Asked for; `given_up` once the driver was told that it is not wanted any more.
    Spawning {
        given_up: bool,
    },
    Alive,
    /// Ended, not reaped.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub generation: Generation,
    pub life: Life,
    /// Its channel is up.
    pub connected: bool,
    pub termed: bool,
    pub killed: bool,
    /// Time has gone by while it was being forked, or after its TERM: one disturbance has been paid.
    pub slow: bool,
    /// It is what an agent has left in the background.
    pub is_remains: bool,
    /// It lives and will never be connected again.
    pub hung: bool,
    /// Time has gone by while it could have connected.
    pub dawdling: bool,
    /// Time has gone by after its KILL.
    pub unkillable: bool,
    /// Time has gone by before it was there: a fork that hangs may come too late to be waited for.
    pub late: bool,
}

impl Process {
    pub fn spawning(generation: Generation) -> Self {
        Self { life: Life::Spawning { given_up: false }, ..Self::alive(generation) }
    }

    pub fn alive(generation: Generation) -> Self {
        Self {
            generation,
            life: Life::Alive,
            connected: false,
            termed: false,
            killed: false,
            slow: false,
            is_remains: false,
            hung: false,
            dawdling: false,
            unkillable: false,
            late: false,
        }
    }

    pub fn is_alive(&self) -> bool {
        self.life == Life::Alive
    }
}
