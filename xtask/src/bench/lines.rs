//! Lines of code a crate: neither blank nor comment; and how many of them are tests.

use std::{fs, path::Path};

use agent_wrap_testbed::cache;
use anyhow::{Context, Result};

const CRATES: [(&str, &str); 4] = [
    ("agent-wrap-supervisor", "supervisor"),
    ("agent-wrap", "."),
    ("agent-wrap-testbed", "testbed"),
    ("xtask", "xtask"),
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    shipped: usize,
    tests: usize,
}

/// A table of all crates.
pub(super) fn table() -> Result<String> {
    let mut text = String::from("| crate | lines of code | of its tests |\n|---|---:|---:|\n");
    for (name, directory) in CRATES {
        let directory = cache::workspace().join(directory);
        let mut count = Count::default();
        add(&directory.join("src"), false, &mut count)?;
        add(&directory.join("tests"), true, &mut count)?;
        text.push_str(&format!("| {name} | {} | {} |\n", count.shipped, count.tests));
    }
    Ok(text)
}

fn add(path: &Path, tests: bool, count: &mut Count) -> Result<()> {
    let what = || format!("cannot read {}", path.display());
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(what)? {
            add(&entry?.path(), tests, count)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = fs::read_to_string(path).with_context(what)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // Modules that are declared below `#[cfg(test)]`.
        let tests = tests || name.ends_with("tests") || name == "testing";
        let Count { shipped, tests } = of_text(&text, tests);
        count.shipped += shipped;
        count.tests += tests;
    }
    Ok(())
}

/// A test module at the end of a file counts as tests.
fn of_text(text: &str, tests: bool) -> Count {
    let (code, module) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((text, ""));
    let (code, module) = (lines(code), lines(module));
    if tests { Count { shipped: 0, tests: code + module } } else { Count { shipped: code, tests: module } }
}

fn lines(text: &str) -> usize {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_code_and_a_test_module_is_no_shipped_code() {
        let text = "//! Doc.\n\nfn f() {}\n#[cfg(test)]\nmod tests {\n    // Why.\n    fn t() {}\n}\n";
        assert_eq!(of_text(text, false), Count { shipped: 1, tests: 2 });
        assert_eq!(of_text(text, true), Count { shipped: 0, tests: 3 });
    }
}
