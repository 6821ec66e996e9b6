//! What agent-wrap is tested with: the simulated controller, the driver of a real one, and an agent that misbehaves.

pub mod cache;
pub mod compare;
pub mod hudson;
pub mod ports;
pub mod simulated;
pub mod skip;
pub mod spawner;
pub mod stage;
pub mod statics;
pub mod wait;
