//! Text in the documentation that a command makes: it stands between two comments that name the command.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// Puts `text` between the markers of `name` in a file.
///
/// # Errors
/// When the file cannot be read or written, or does not have both markers, in this order.
pub(crate) fn fill(file: &Path, name: &str, text: &str) -> Result<()> {
    let old = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let new = replace(&old, name, text).with_context(|| format!("cannot fill {}", file.display()))?;
    fs::write(file, new).with_context(|| format!("cannot write {}", file.display()))
}

/// Whether a file is there and has the first marker of `name`.
pub(crate) fn has(file: &Path, name: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.contains(&begin(name)))
}

fn begin(name: &str) -> String {
    format!("<!-- {name}:begin -->")
}

fn replace(old: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (begin(name), format!("<!-- {name}:end -->"));
    let Some((before, rest)) = old.split_once(&begin) else { bail!("there is no {begin}") };
    let Some((_, after)) = rest.split_once(&end) else { bail!("there is no {end} after {begin}") };
    Ok(format!("{before}{begin}\n{}\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let old = "a\n<!-- t:begin -->\nold\n<!-- t:end -->\nb\n";
        assert_eq!(replace(old, "t", "new\n").unwrap(), "a\n<!-- t:begin -->\nnew\n<!-- t:end -->\nb\n");
        assert!(replace(old, "other", "new").is_err());
        assert!(replace("<!-- t:end --> <!-- t:begin -->", "t", "new").is_err());
    }
}
