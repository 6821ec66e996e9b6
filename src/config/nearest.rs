//! The known word that a misspelt one was probably meant to be.

/// The candidate with the fewest edits, if they are few for a word of that length.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let normal = word.to_ascii_lowercase().replace('_', "-");
    candidates
        .into_iter()
        .map(|candidate| (distance(&normal, &candidate.to_ascii_lowercase().replace('_', "-")), candidate))
        .filter(|(edits, candidate)| *edits <= candidate.len().div_ceil(2).min(3))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance in bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = ["drain", "grace", "restart-limit"];
        assert_eq!(nearest("drian", known), Some("drain"));
        assert_eq!(nearest("restart_limit", known), Some("restart-limit"));
        assert_eq!(nearest("colouring", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
