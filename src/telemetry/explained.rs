//! What is explained at length once, and only named when it comes again.

use agent_wrap_supervisor::Span;

use super::line::{Line, warn};
use super::words::span_words;

/// Keeps what people have been told already.
#[derive(Debug, Default)]
pub(super) struct Explained {
    /// Why the agent could not be got ready, where people have not been told yet that it is tried again.
    lacks: Option<String>,
    /// What they were told last that it lacks.
    told: Option<String>,
    remains: bool,
    left: bool,
    /// Why the kernel has stopped an agent last.
    suspended: Option<String>,
}

impl Explained {
    /// The agent cannot be started, because it lacks something.
    pub(super) fn lacks(&mut self, words: String) {
        self.lacks = Some(words);
    }

    /// The agent has got all that it needs.
    pub(super) fn lacks_nothing(&mut self) {
        (self.lacks, self.told) = (None, None);
    }

    /// One that lacked something is tried again after `delay`. `None` if it was not for that.
    pub(super) fn tried_again(&mut self, delay: Span, failures: u32) -> Option<Line> {
        let words = self.lacks.take()?;
        let delay = span_words(delay);
        let again = match failures {
            0 => format!("trying again in {delay}"),
            _ => format!("attempt {} in {delay}", failures + 1),
        };
        let text = if self.told.as_ref() == Some(&words) {
            format!("what the agent needs (jar, secret) still cannot be got ready, for the same reason ({again})")
        } else {
            format!("{words} ({again})")
        };
        self.told = Some(words);
        Some(warn("not_prepared", text))
    }

    /// It is not tried again, or not yet: what it lacked is said, if that is news.
    pub(super) fn not_tried_again(&mut self) -> Option<Line> {
        let words = self.lacks.take().filter(|words| self.told.as_ref() != Some(words))?;
        self.told = Some(words.clone());
        Some(warn("not_prepared", words))
    }

    /// The kernel has stopped the agent for this reason: whether that is what people have been told last.
    pub(super) fn suspended(&mut self, why: &str) -> bool {
        self.suspended.replace(why.to_owned()).as_deref() == Some(why)
    }

    /// The agent has ended, and yet something of it lives.
    pub(super) fn remains(&mut self, processes: &str) -> Line {
        let advice = if std::mem::replace(&mut self.remains, true) {
            ""
        } else {
            ". Does the command go into the background, or is it a script that starts the agent without exec? Keep it in \
             the foreground, and let a script end with exec java ..."
        };
        warn(
            "remains_found",
            format!(
                "the agent has ended, but what it has started lives on and belongs to no build: {processes}; it is ended \
                 before the agent is started again{advice}"
            ),
        )
    }

    /// The agent that has ended has left these processes besides.
    pub(super) fn left(&mut self, processes: &str) -> Line {
        let what = if std::mem::replace(&mut self.left, true) {
            "the agent that has ended has left more processes behind"
        } else {
            "the agent that has ended has left processes behind, which look like builds' and are left alone until a stop"
        };
        warn("leftovers_left", format!("{what}: {processes}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_explained_when_it_changes() {
        let mut explained = Explained::default();
        let mut tell = |words: &str, failures| {
            explained.lacks(words.to_owned());
            explained.tried_again(Span(2_500), failures).unwrap().text
        };
        let same = "what the agent needs (jar, secret) still cannot be got ready, for the same reason";
        assert_eq!(tell("it answered 403", 0), "it answered 403 (trying again in 2.5 s)");
        assert_eq!(tell("it answered 403", 0), format!("{same} (trying again in 2.5 s)"));
        assert_eq!(tell("it answered 404", 1), "it answered 404 (attempt 2 in 2.5 s)");
        assert_eq!(tell("it answered 404", 2), format!("{same} (attempt 3 in 2.5 s)"));
        assert_eq!(explained.tried_again(Span(1), 1), None, "another failure");
    }

    #[test]
    fn what_is_lacking_is_said_where_nothing_is_tried_again() {
        let mut explained = Explained::default();
        assert_eq!(explained.not_tried_again(), None);
        let mut tell = |words: &str| {
            explained.lacks(words.to_owned());
            explained.not_tried_again().map(|line| line.text)
        };
        assert_eq!(tell("it answered 403").as_deref(), Some("it answered 403"));
        assert_eq!(tell("it answered 403"), None);
        explained.lacks_nothing();
        explained.lacks("it answered 403".to_owned());
        assert!(explained.not_tried_again().is_some(), "an agent has been started since");
    }

    #[test]
    fn leftovers_are_named_each_time_and_explained_once() {
        let mut explained = Explained::default();
        let [first, second] = ["a (pid 7)", "b (pid 8)"].map(|processes| explained.remains(processes).text);
        assert!(first.contains("a (pid 7)") && first.contains("without exec?"), "{first}");
        assert!(second.contains("b (pid 8)") && second.ends_with("before the agent is started again"), "{second}");
        let [first, second] = ["a (pid 7)", "b (pid 8)"].map(|processes| explained.left(processes).text);
        assert!(first.contains("until a stop: a (pid 7)"), "{first}");
        assert_eq!(second, "the agent that has ended has left more processes behind: b (pid 8)");
    }
}
