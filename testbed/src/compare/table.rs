//! The outcomes side by side, in Markdown.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Outcome, Scenario};

/// Who drove the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// A unit with python-jenkins.
    Unit,
    /// agent-wrap.
    Wrapper,
}

/// All outcomes so far.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    title: &'static str,
    counts: BTreeMap<(Side, Outcome), usize>,
}

impl Table {
    /// Counts one outcome in.
    pub fn add(&mut self, scenario: &Scenario, side: Side, outcome: Outcome) {
        let place = self.rows.iter().position(|row| row.name == scenario.name).unwrap_or_else(|| {
            self.rows.push(Row { name: scenario.name, title: scenario.title, counts: BTreeMap::new() });
            self.rows.len() - 1
        });
        *self.rows[place].counts.entry((side, outcome)).or_default() += 1;
    }

    /// The table; each outcome with the number of runs that ended so.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("| scenario | `enable_node` / `disable_node` | agent-wrap |\n|---|---|---|\n");
        for row in &self.rows {
            let (unit, wrapper) = (row.cell(Side::Unit), row.cell(Side::Wrapper));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} | {unit} | {wrapper} |", row.title);
        }
        text
    }
}

impl Row {
    fn cell(&self, side: Side) -> String {
        let mine = || self.counts.iter().filter(|((of, _), _)| *of == side);
        let runs: usize = mine().map(|(_, count)| count).sum();
        let cells: Vec<_> = mine()
            .map(|((_, outcome), count)| {
                let sign = if outcome.good { "✓" } else { "✗" };
                format!("{sign} {} ({count} of {runs})", outcome.words)
            })
            .collect();
        cells.join("<br>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outcomes_are_counted_together() {
        let scenario = Scenario::named("busy-stop").unwrap();
        let outcome = |good, words: &str| Outcome { good, words: words.to_owned() };
        let mut table = Table::default();
        table.add(scenario, Side::Unit, outcome(false, "lost"));
        table.add(scenario, Side::Unit, outcome(true, "kept"));
        table.add(scenario, Side::Unit, outcome(false, "lost"));
        table.add(scenario, Side::Wrapper, outcome(true, "kept"));
        let text = table.markdown();
        let row = text.lines().last().unwrap();
        assert!(row.ends_with("| ✗ lost (2 of 3)<br>✓ kept (1 of 3) | ✓ kept (1 of 1) |"), "{row}");
    }

    #[test]
    fn scenarios_have_names_of_their_own() {
        for (place, scenario) in super::super::ALL.iter().enumerate() {
            assert_eq!(super::super::ALL.iter().position(|other| other.name == scenario.name), Some(place));
        }
    }
}
