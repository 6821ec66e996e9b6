//! The driver with the real supervisor, in paused time: its shells are partners that do as a script or a seed tells
//! them. They keep books of what they see, and the promise is looked at in these.
//!
//! Every call into a partner, and every poll of what it promises, is a *point*. At any of them anything may happen: a
//! signal, the end of the agent, an answer, a jump of the clock. In paused time a wake-up that is lost shows: time goes on
//! while something that has happened is not handled.

#[path = "../../../supervisor/tests/core/world/agent.rs"]
#[expect(dead_code, reason = "the world of the supervisor's own tests has a use for all of it")]
mod agent;
#[path = "../../../supervisor/tests/core/world/controller.rs"]
mod controller;
#[path = "../../../supervisor/tests/core/world/random.rs"]
mod random;

mod announcements;
mod anything;
mod books;
mod glue;
mod jars;
mod life;
mod lives;
mod manager;
mod node;
mod paper;
mod partners;
mod process;
mod refusals;
mod reloads;
mod secret;
mod settings;
mod shown;
mod until;
mod wire;
mod world;
