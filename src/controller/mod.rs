//! The controller: asks for the node, lifts and sets its mark, and fetches what an agent needs.
//!
//! - [`Settings`] say where and who; [`Controller`] is one node on one controller.
//! - *Reads* go over a kept connection. Everything that can be wrong with an answer is a [`ControllerError`] of its own,
//!   with the likely cause and the cure; the core sees its [kind](ControllerError::kind).
//! - *Writes* go over a connection of their own, follow no redirect and are repeated only after an answer that proves
//!   that nothing was done: a 401 whose credentials have changed since, a 403 that wants a crumb.
//! - *The CLI* (`cli`) is two requests at once: one brings the answer, the other is kept open until it is there.
//! - No operation outlives its future: dropping it closes its connection.

mod cli;
mod client;
mod credentials;
mod crumb;
mod dns;
mod error;
mod http;
mod inbound;
mod jar;
mod mark_clock;
mod marker;
mod proxy;
mod read;
mod resolve;
mod settings;
mod tls;
mod url;
mod write;

#[cfg(test)]
mod cancel_tests;
#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod write_tests;

pub use client::Controller;
pub use credentials::{Account, CredentialSource, ReadAccount};
pub use error::{ControllerError, CredentialError, SetupError};
pub use inbound::Inbound;
pub use jar::Fetched;
pub use marker::Marker;
pub use settings::Settings;
