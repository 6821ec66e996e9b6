//! How a drain goes on, for a person who sees the log and no line that is rewritten: now and then, not at each look.

use agent_wrap_supervisor::{Build, Moment, Span};

/// After so long how things stand is said anew, whatever has become of them.
const AT_LEAST: Span = Span::seconds(60);
/// Never sooner than this after the last time.
const AT_MOST: Span = Span::seconds(5);

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Progress {
    told: Option<(Moment, Vec<Option<u8>>)>,
}

/// Each build's tens of percents.
fn tens(builds: &[Build]) -> Vec<Option<u8>> {
    builds.iter().map(|build| build.progress.map(|percent| percent / 10)).collect()
}

impl Progress {
    /// These builds have just been named.
    pub(super) fn told(&mut self, now: Moment, builds: &[Build]) {
        self.told = Some((now, tens(builds)));
    }

    /// Nothing is waited for any more.
    pub(super) fn over(&mut self) {
        self.told = None;
    }

    /// Whether it is time to name them again: after ten percents of one of them, or a minute.
    pub(super) fn is_news(&self, now: Moment, builds: &[Build]) -> bool {
        let Some((at, told)) = &self.told else { return false };
        let gone = now.since(*at);
        gone >= AT_LEAST || gone >= AT_MOST && *told != tens(builds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_percents_or_a_minute_are_news() {
        let build = |percent| [Build { name: Some("app #7".to_owned()), progress: Some(percent), ..Build::default() }];
        let mut progress = Progress::default();
        assert!(!progress.is_news(Moment(100_000), &build(40)), "nothing was named yet");
        progress.told(Moment(1_000), &build(41));
        for (at, percent, news) in
            [(6_000, 49, false), (5_999, 50, false), (6_000, 50, true), (60_999, 49, false), (61_000, 41, true)]
        {
            assert_eq!(progress.is_news(Moment(at), &build(percent)), news, "{at} {percent}");
        }
        progress.over();
        assert!(!progress.is_news(Moment(100_000), &build(90)));
    }
}
