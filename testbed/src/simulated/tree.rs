//! `tree=` of the JSON interface: which fields of an object are wanted.

use serde_json::{Map, Value};

/// The wanted fields of one level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    fields: Vec<(String, Self)>,
}

impl Tree {
    /// Parses `a,b[c,d[e]]`; ranges such as `{0,5}` are skipped. `None` when the brackets do not match.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let tree = Self::level(&mut rest)?;
        rest.is_empty().then_some(tree)
    }

    fn level(rest: &mut &str) -> Option<Self> {
        let mut fields = Vec::new();
        loop {
            let end = rest.find([',', '[', ']', '{']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            *rest = after;
            let mut below = Self::default();
            if let Some(after) = rest.strip_prefix('[') {
                *rest = after;
                below = Self::level(rest)?;
                *rest = rest.strip_prefix(']')?;
            }
            if rest.starts_with('{') {
                *rest = rest.split_once('}')?.1;
            }
            if !name.trim().is_empty() {
                fields.push((name.trim().to_owned(), below));
            }
            match rest.strip_prefix(',') {
                Some(after) => *rest = after,
                None => return Some(Self { fields }),
            }
        }
    }

    /// The part of `value` that is wanted; `_class` always is. `*` stands for every field.
    pub(crate) fn pick(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => Value::Array(items.iter().map(|item| self.pick(item)).collect()),
            Value::Object(object) => {
                let mut picked = Map::new();
                for (name, field) in object {
                    if name == "_class" {
                        picked.insert(name.clone(), field.clone());
                    } else if let Some((_, below)) = self.fields.iter().find(|(want, _)| want == name || want == "*") {
                        picked.insert(name.clone(), below.pick(field));
                    }
                }
                Value::Object(picked)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pick(tree: &str) -> Value {
        let node = json!({"_class": "C", "offline": true, "cause": {"_class": "U", "text": "x", "when": 1},
            "executors": [{"idle": true, "progress": -1}]});
        Tree::parse(tree).expect("a tree").pick(&node)
    }

    #[test]
    fn fields_that_do_not_exist_are_left_out() {
        assert_eq!(pick("offline,nothing"), json!({"_class": "C", "offline": true}));
    }

    #[test]
    fn nested_levels_are_filtered() {
        assert_eq!(
            pick("cause[text],executors[idle]"),
            json!({"_class": "C", "cause": {"_class": "U", "text": "x"},
            "executors": [{"idle": true}]})
        );
    }

    #[test]
    fn an_object_without_brackets_shows_its_class_only() {
        assert_eq!(pick("cause,executors{0,1}"), json!({"_class": "C", "cause": {"_class": "U"}, "executors": [{}]}));
    }

    #[test]
    fn unmatched_brackets_are_no_tree() {
        for text in ["a[b", "a]", "a[b]]", "a{1"] {
            assert_eq!(Tree::parse(text), None, "{text}");
        }
    }
}
