//! Waiting for a condition that can only be asked for.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(100);

/// Looks until `look` finds something, at least once.
///
/// # Errors
/// `look`'s own, at once; or, after `bound`, that `what` was waited for in vain.
pub fn until<T>(what: &str, bound: Duration, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_every(PAUSE, what, bound, look)
}

/// As [`until`], with a pause of this length between two looks: for measuring.
///
/// # Errors
/// As [`until`].
#[expect(clippy::disallowed_methods, reason = "the one place of the testbed that polls a state nobody announces")]
pub fn until_every<T>(
    pause: Duration,
    what: &str,
    bound: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > bound {
            bail!("waited {} s in vain for {what}", bound.as_secs());
        }
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_again_until_it_finds() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(60), || {
            looks += 1;
            Ok((looks == 3).then_some("found"))
        });
        assert_eq!(found.unwrap(), "found");
    }

    #[test]
    fn names_what_did_not_come() {
        let error = until::<()>("the tide", Duration::ZERO, || Ok(None)).unwrap_err();
        assert!(error.to_string().contains("the tide"), "{error}");
    }
}
