//! `--offline-reason`: a template for what people read beside the node.

use crate::quoted::quoted;

/// A template that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Host,
    Node,
    Cause,
}

/// What is filled in.
#[derive(Clone, Copy, Debug)]
pub struct ReasonFacts<'a> {
    /// The name of this machine.
    pub host: &'a str,
    /// The name of the node.
    pub node: &'a str,
    /// Why the agent stops, such as `SIGTERM`.
    pub cause: &'a str,
}

impl ReasonTemplate {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = super::parse::line(text)?;
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let from = &rest[at..];
            if from.starts_with("{{") || from.starts_with("}}") {
                plain.push_str(&from[..1]);
                rest = &from[2..];
                continue;
            }
            let name = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, after) = name.ok_or_else(|| {
                format!("a brace stands alone in {}; write {{{{ or }}}} for a plain one", quoted(&text))
            })?;
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(match name {
                "host" => Piece::Host,
                "node" => Piece::Node,
                "cause" => Piece::Cause,
                _ => return Err(format!("{{{name}}} is not known; there are {{host}}, {{node}} and {{cause}}")),
            });
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Ok(Self { pieces })
    }

    /// The reason in words.
    #[must_use]
    pub fn render(&self, facts: &ReasonFacts<'_>) -> String {
        let words = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Host => facts.host,
            Piece::Node => facts.node,
            Piece::Cause => facts.cause,
        });
        words.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> Result<String, String> {
        let facts = ReasonFacts { host: "h", node: "n", cause: "{host}" };
        ReasonTemplate::parse(text).map(|template| template.render(&facts))
    }

    #[test]
    fn placeholders_are_filled_in_once() {
        assert_eq!(render("agent stops on {host}: {cause}").as_deref(), Ok("agent stops on h: {host}"));
        assert_eq!(render("{node}").as_deref(), Ok("n"));
        assert_eq!(render("{{host}} é").as_deref(), Ok("{host} é"));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(render("{when}").unwrap_err(), "{when} is not known; there are {host}, {node} and {cause}");
        assert!(render("a { b").unwrap_err().starts_with("a brace stands alone"));
        assert!(render("a } b").is_err());
        assert!(render("").is_err());
        assert!(render("two\nlines").is_err());
    }
}
