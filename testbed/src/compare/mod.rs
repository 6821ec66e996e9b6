//! The counter-example: the same lives of a service on a real controller, driven the way that units drive them today
//! (python-jenkins' `enable_node` and `disable_node` around a plain agent) and by agent-wrap.

mod scenarios;
mod scene;
mod service;
mod table;
mod unit;
mod wrapper;

use std::path::Path;

use anyhow::{Context as _, Result};

pub use scenarios::ALL;
pub use table::{Side, Table};
pub use unit::{Disable, Enable};

use crate::hudson::Hudson;
use scene::Scene;
use service::Service;
use unit::Unit;
use wrapper::Wrapper;

/// One life of a service.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, one word.
    pub name: &'static str,
    /// What happens, for people.
    pub title: &'static str,
    /// Where the unit calls `enable_node`.
    pub enable: Enable,
    /// Where the unit calls `disable_node`.
    pub disable: Disable,
    play: fn(&mut Scene<'_>, &mut dyn Service) -> Result<Outcome>,
}

/// What the controller said afterwards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// Whether it is what the service's owner wants: online after the start; marked, and no build lost, after the stop.
    pub good: bool,
    /// What it is, for people.
    pub words: String,
}

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|scenario| scenario.name == name)
    }

    /// Plays it as a unit with python-jenkins does, on a new node called `node`.
    ///
    /// # Errors
    /// When something fails that is no part of the comparison: the controller, the agent, python-jenkins is missing.
    pub fn play_unit(&self, hudson: &mut Hudson, node: &str) -> Result<Outcome> {
        let mut scene = Scene::new(hudson, node)?;
        let mut unit = Unit::new(&scene, self.enable, self.disable);
        (self.play)(&mut scene, &mut unit).with_context(|| format!("{} by a unit: {}", self.name, unit.log()))
    }

    /// Plays it with agent-wrap, whose program is `program`, on a new node called `node`.
    ///
    /// # Errors
    /// As [`Scenario::play_unit`].
    pub fn play_wrapper(&self, hudson: &mut Hudson, node: &str, program: &Path) -> Result<Outcome> {
        let mut scene = Scene::new(hudson, node)?;
        let mut wrapper = Wrapper::new(&scene, program)?;
        (self.play)(&mut scene, &mut wrapper).with_context(|| format!("{} by agent-wrap: {}", self.name, wrapper.log()))
    }
}
