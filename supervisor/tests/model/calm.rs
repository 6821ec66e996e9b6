//! What follows from a state when everything goes well from now on: requests are carried out and answered at once, the
//! controller is up, the agent connects and ends when it is asked to. There is only one such future.

use std::sync::RwLock;

use agent_wrap_supervisor::Exit;
use ahash::{AHashSet, RandomState};

use super::agent::Life;
use super::network::Stage;
use super::state::{Keeper, World};
use super::steps::Step;

/// More steps than the longest way home takes.
const ENOUGH: usize = 400;

impl<K: Keeper> World<K> {
    fn calm_step(&self) -> Option<Step> {
        if let Some(at) = self.awaited() {
            return Some(match self.network[at].stage {
                Stage::Sent => Step::CarryOut(at),
                Stage::CarriedOut(_) => Step::Answer,
            });
        }
        if self.controller.down {
            return Some(Step::ComeUp);
        }
        if self.controller.refuses.is_some() {
            return Some(Step::Accept);
        }
        if self.controller.builds {
            return Some(Step::BuildEnds);
        }
        if self.counting.is_some() {
            return Some(Step::Counted(0));
        }
        let connected = self.process.as_ref().is_some_and(|process| process.connected);
        if self.controller.channel && !connected {
            return Some(Step::ChannelFreed);
        }
        if let Some(process) = &self.process {
            match process.life {
                Life::Spawning { given_up: true } => return Some(Step::GivenUp),
                Life::Spawning { given_up: false } => return Some(Step::Fork),
                Life::Alive if process.killed => return Some(Step::Ends(Exit::Signal(9))),
                Life::Alive if process.termed => return Some(Step::Ends(Exit::Code(143))),
                Life::Alive if process.connected && !self.controller.channel => {
                    return Some(Step::Ends(Exit::Code(0)));
                }
                Life::Alive if !process.connected && !process.is_remains && !process.hung => {
                    return Some(Step::Connect);
                }
                Life::Alive | Life::Ended => {}
            }
        }
        let due = self.until_due()?;
        Some(if due.is_zero() { Step::Fire } else { Step::Elapse })
    }

    /// Whether calm weather leads to `place`; `known` are states from which it does.
    pub fn calm_leads_to(&self, known: &Known, place: impl Fn(&Self) -> bool) -> bool {
        if place(self) {
            return true;
        }
        let mut world = self.clone();
        let mut way = Vec::new();
        for _ in 0..ENOUGH {
            if place(&world) {
                known.insert(&way);
                return true;
            }
            let here = fingerprint(&world);
            if known.contains(here) {
                known.insert(&way);
                return true;
            }
            way.push(here);
            let Some(step) = world.calm_step() else { return false };
            world.take(step);
        }
        false
    }
}

fn fingerprint(world: &World<impl Keeper>) -> u64 {
    RandomState::with_seeds(1, 2, 3, 4).hash_one(world)
}

/// Fingerprints of states from which calm weather is known to lead to a place, so that no way is gone twice.
#[derive(Default)]
pub struct Known(RwLock<AHashSet<u64>>);

impl Known {
    fn contains(&self, state: u64) -> bool {
        self.0.read().unwrap().contains(&state)
    }

    fn insert(&self, way: &[u64]) {
        if !way.is_empty() {
            self.0.write().unwrap().extend(way);
        }
    }
}
