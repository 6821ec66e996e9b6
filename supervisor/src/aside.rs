//! What is needed to measure or to tell things apart, and is no part of the state.

use core::hash::{Hash, Hasher};

/// A value that two states may differ in and be equal all the same: the clock's last reading, and the numbers of
/// requests, of which only counts which one is awaited. So a model checker meets a finite number of states.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Aside<T>(pub(crate) T);

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Aside<T> {}

impl<T> Hash for Aside<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
