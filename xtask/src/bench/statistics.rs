//! Many measurements of one thing.

/// Nanoseconds, sorted.
#[derive(Clone, Debug)]
pub(super) struct Sample(Vec<u64>);

impl Sample {
    /// Takes measurements in any order.
    pub(super) fn new(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        Self(nanoseconds)
    }

    pub(super) fn median(&self) -> u64 {
        self.quantile(50)
    }

    /// The measurement that this many percent do not exceed; 0 of none.
    pub(super) fn quantile(&self, percent: usize) -> u64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// Milliseconds, for people.
pub(super) fn milliseconds(nanoseconds: u64) -> String {
    format!("{}.{:02}", nanoseconds / 1_000_000, nanoseconds % 1_000_000 / 10_000)
}

/// Microseconds, for people.
pub(super) fn microseconds(nanoseconds: u64) -> String {
    (nanoseconds / 1000).to_string()
}

/// How many times as much, for people.
pub(super) fn ratio(one: u64, other: u64) -> String {
    let hundredths = one.saturating_mul(100).checked_div(other).unwrap_or_default();
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measurements() {
        let sample = Sample::new(vec![30, 10, 20]);
        assert_eq!((sample.quantile(0), sample.median(), sample.quantile(90)), (10, 20, 20));
        assert_eq!(Sample::new(Vec::new()).median(), 0);
    }

    #[test]
    fn figures_are_for_people() {
        assert_eq!(milliseconds(12_345_678), "12.34");
        assert_eq!(microseconds(12_345), "12");
        assert_eq!(ratio(3, 2), "1.50");
        assert_eq!(ratio(3, 0), "0.00");
    }
}
