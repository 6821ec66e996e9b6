//! Counting what `cargo test` and the tests themselves say.

use anyhow::{Context, Result};

/// A test that did not run, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Skip {
    pub(crate) test: String,
    pub(crate) reason: String,
}

/// What became of the tests so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// As the test programs count: a test that skipped itself passed.
    passed: usize,
    failed: usize,
    /// The failed tests' names.
    pub(crate) failures: Vec<String>,
    /// The tests that were ignored or skipped themselves.
    pub(crate) skips: Vec<Skip>,
    announced: usize,
}

impl Tally {
    /// Takes in a line of `cargo test`'s standard output.
    ///
    /// # Errors
    /// When a count is none.
    pub(crate) fn read_line(&mut self, line: &str) -> Result<()> {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed").with_context(|| format!("no count in: {line}"))?;
            self.failed += count(counts, "failed").with_context(|| format!("no count in: {line}"))?;
        } else if let Some((test, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            if outcome == "FAILED" {
                self.failures.push(test.to_owned());
            } else if let Some(reason) = outcome.strip_prefix("ignored") {
                let reason = reason.trim_start_matches(", ");
                let reason = if reason.is_empty() { "ignored without a reason" } else { reason };
                self.skips.push(Skip { test: test.to_owned(), reason: reason.to_owned() });
            }
        }
        Ok(())
    }

    /// Takes in the file that tests announce their skips in.
    pub(crate) fn read_announced(&mut self, file: &str) {
        for line in file.lines() {
            let (test, reason) = line.split_once('\t').unwrap_or((line, "without a reason"));
            self.skips.push(Skip { test: test.to_owned(), reason: reason.to_owned() });
            self.announced += 1;
        }
    }

    /// Notes a failure that no test program counted.
    pub(crate) fn fail(&mut self, what: &str) {
        self.failed += 1;
        self.failures.push(what.to_owned());
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    /// The last line of a run.
    pub(crate) fn summary(&self) -> String {
        let passed = self.passed.saturating_sub(self.announced);
        format!("{passed} passed, {} failed, {} skipped", self.failed, self.skips.len())
    }
}

/// The number before `word` in "ok. 12 passed; 0 failed; ...".
fn count(counts: &str, word: &str) -> Option<usize> {
    let mut words = counts.split([' ', ';']).filter(|word| !word.is_empty());
    let mut last = words.next()?;
    for next in words {
        if next == word {
            return last.parse().ok();
        }
        last = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 4 tests
test a ... ok
test slow ... ignored, takes an hour
test b::c ... FAILED
test a::should ... panic ... ok

test result: FAILED. 12 passed; 1 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.20s

test src/lib.rs - f (line 3) ... ignored
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn read(output: &str) -> Tally {
        let mut tally = Tally::default();
        for line in output.lines() {
            tally.read_line(line).unwrap();
        }
        tally
    }

    #[test]
    fn programs_are_added_up() {
        let tally = read(OUTPUT);
        assert_eq!(tally.summary(), "15 passed, 1 failed, 2 skipped");
        assert_eq!(tally.failures, ["b::c"]);
        assert_eq!(tally.skips[0], Skip { test: "slow".to_owned(), reason: "takes an hour".to_owned() });
        assert_eq!(tally.skips[1].test, "src/lib.rs - f (line 3)");
    }

    #[test]
    fn a_test_that_skipped_itself_did_not_pass() {
        let mut tally = read(OUTPUT);
        tally.read_announced("a\tno java\n");
        assert_eq!(tally.summary(), "14 passed, 1 failed, 3 skipped");
    }

    #[test]
    fn a_result_without_a_count_is_an_error() {
        assert!(Tally::default().read_line("test result: ok. many passed; 0 failed").is_err());
    }
}
