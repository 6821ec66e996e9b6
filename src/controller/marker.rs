//! The marker in a reason: how a wrapper recognises its own marks, and which request set one.

use agent_wrap_supervisor::{Owner, RequestNumber};

const OPENING: &str = "[agent-wrap ";

/// Who we are in the reasons that we write: `[agent-wrap HOST RUN.N]`, where N is the request's number. The request's
/// number makes it a nonce: a toggle that met an unmarked node shows up as a mark with the number of that toggle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    host: String,
    run: String,
}

impl Marker {
    /// `host` is for people to read; `run` differs between runs of the wrapper. Characters that a controller would
    /// escape or that would end the marker are replaced.
    #[must_use]
    pub fn new(host: &str, run: &str) -> Self {
        Self { host: plain(host), run: plain(run) }
    }

    /// The marker for this request.
    pub(crate) fn text(&self, request: RequestNumber) -> String {
        format!("{OPENING}{} {}.{}]", self.host, self.run, request.0)
    }

    /// Whose marker is in this text; `None` if there is no marker in it.
    pub(crate) fn owner(&self, text: &str) -> Option<Owner> {
        let mut found = None;
        let mut rest = text;
        while let Some(at) = rest.find(OPENING) {
            rest = &rest[at + OPENING.len()..];
            let inside = rest.split(']').next().unwrap_or_default();
            let run = inside.rsplit(' ').next().unwrap_or_default();
            let run = run.rsplit_once('.').map_or(run, |(run, _)| run);
            if run == self.run {
                return Some(Owner::ThisRun);
            }
            found = Some(Owner::EarlierRun);
        }
        found
    }
}

/// Replaces what is escaped in HTML, what ends a marker and what separates its parts.
fn plain(part: &str) -> String {
    let kept: String = part
        .chars()
        .map(|c| if c.is_whitespace() || c.is_control() || "<>&\"'[]".contains(c) { '-' } else { c })
        .collect();
    if kept.is_empty() { "-".to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_others_are_told_apart() {
        let marker = Marker::new("ci-7", "3f9a");
        let text = format!("stopping {}", marker.text(RequestNumber(4)));
        assert_eq!(text, "stopping [agent-wrap ci-7 3f9a.4]");
        assert_eq!(marker.owner(&text), Some(Owner::ThisRun));
        assert_eq!(Marker::new("ci-7", "0000").owner(&text), Some(Owner::EarlierRun));
        assert_eq!(Marker::new("other-pod", "3f9a").owner(&text), Some(Owner::ThisRun));
        assert_eq!(marker.owner("disk is full"), None);
        assert_eq!(marker.owner("Getrennt von op : x [agent-wrap h r]"), Some(Owner::EarlierRun));
        assert_eq!(marker.owner("[agent-wrap "), Some(Owner::EarlierRun));
        assert_eq!(marker.owner("[agent-wrap a b.1] [agent-wrap ci-7 3f9a.9]"), Some(Owner::ThisRun));
    }

    #[test]
    fn a_marker_survives_html() {
        let marker = Marker::new("a b<c>&\"']", "");
        assert_eq!(marker.text(RequestNumber(1)), "[agent-wrap a-b-c----- -.1]");
    }
}
