//! What the life has to have been like.

use std::time::Duration;

use agent_wrap_testbed::stage::BuildState;

use super::observer::{Look, Sight};

/// Something that was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) words: &'static str,
    pub(crate) kept: bool,
}

/// One life as it was seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) sights: Vec<Sight>,
    /// When Ctrl-C was pressed.
    pub(crate) pressed: Duration,
    /// When the wrapper had ended.
    pub(crate) ended: Duration,
    /// The wrapper's exit code; `None` when a signal has ended it.
    pub(crate) code: Option<i32>,
}

/// Checks each of them.
pub(crate) fn check(life: &Life) -> Vec<Promise> {
    let before = |sight: &&Sight| sight.at < life.pressed;
    let looks = || life.sights.iter().map(|sight| &sight.look);
    let started = life.sights.iter().position(|sight| sight.look.agent);
    let lifted_first = started.is_some_and(|at| {
        let marked_at_first = life.sights.first().is_some_and(|sight| sight.look.mark.is_some());
        let free_since = life.sights[at..].iter().take_while(|sight| before(sight)).all(|sight| is_free(&sight.look));
        marked_at_first && free_since
    });
    let took_the_build = life.sights.iter().filter(before).any(|sight| sight.look.connected && is_running(&sight.look));
    // The agent's TERM would have failed the build.
    let marked_first = looks().any(|look| look.agent && look.mark.is_some() && is_running(look));
    let finished = looks().any(|look| look.build == Some(BuildState::Finished("SUCCESS".to_owned())));
    let outlived = looks().any(|look| look.agent && matches!(look.build, Some(BuildState::Finished(_))));
    let left = looks().next_back().is_some_and(|look| look.mark.is_some() && !look.agent);
    [
        ("the mark was lifted before the agent started", lifted_first),
        ("the agent connected and took the build", took_the_build),
        ("after Ctrl-C the node was marked while the build ran on", marked_first),
        ("the build ended with SUCCESS", finished),
        ("the agent was asked to end only after that", marked_first && finished && outlived),
        ("the agent is gone, the node stays marked", left),
        ("the exit code is 0", life.code == Some(0)),
    ]
    .map(|(words, kept)| Promise { words, kept })
    .to_vec()
}

fn is_free(look: &Look) -> bool {
    look.mark.is_none()
}

fn is_running(look: &Look) -> bool {
    look.build == Some(BuildState::Running)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sight(millis: u64, agent: bool, mark: Option<&str>, build: Option<BuildState>) -> Sight {
        let look = Look { agent, mark: mark.map(str::to_owned), connected: agent, build };
        Sight { at: Duration::from_millis(millis), look }
    }

    fn good() -> Life {
        let success = || Some(BuildState::Finished("SUCCESS".to_owned()));
        let sights = vec![
            sight(0, false, Some("theirs"), None),
            sight(100, false, None, None),
            sight(200, true, None, None),
            sight(300, true, None, Some(BuildState::Running)),
            sight(500, true, Some("[agent-wrap h]"), Some(BuildState::Running)),
            sight(600, true, Some("[agent-wrap h]"), success()),
            sight(700, false, Some("[agent-wrap h]"), success()),
        ];
        let millis = Duration::from_millis;
        Life { sights, pressed: millis(400), ended: millis(710), code: Some(0) }
    }

    fn broken(change: impl FnOnce(&mut Life)) -> Vec<&'static str> {
        let mut life = good();
        change(&mut life);
        check(&life).into_iter().filter(|promise| !promise.kept).map(|promise| promise.words).collect()
    }

    #[test]
    fn a_good_life_keeps_them_all() {
        assert_eq!(broken(|_| {}), Vec::<&str>::new());
    }

    #[test]
    fn each_is_noticed_when_it_is_broken() {
        let lifted = "the mark was lifted before the agent started";
        assert_eq!(broken(|life| life.sights[1].look.agent = true), Vec::<&str>::new());
        assert_eq!(broken(|life| life.sights[0].look.agent = true), [lifted]);
        assert_eq!(broken(|life| life.sights[2].look.mark = Some("theirs".to_owned())), [lifted]);
        assert_eq!(broken(|life| life.sights[0].look.mark = None), [lifted]);
        let took = broken(|life| life.sights[3].look.connected = false);
        assert_eq!(took, ["the agent connected and took the build"]);
        let unmarked = broken(|life| life.sights[4].look.mark = None);
        assert_eq!(
            unmarked,
            ["after Ctrl-C the node was marked while the build ran on", "the agent was asked to end only after that"]
        );
        let failed = broken(|life| {
            for sight in &mut life.sights[5..] {
                sight.look.build = Some(BuildState::Finished("FAILURE".to_owned()));
            }
        });
        assert_eq!(failed, ["the build ended with SUCCESS", "the agent was asked to end only after that"]);
        assert_eq!(broken(|life| life.sights[5].look.agent = false), ["the agent was asked to end only after that"]);
        let gone = "the agent is gone, the node stays marked";
        assert_eq!(broken(|life| life.sights[6].look.mark = None), [gone]);
        assert_eq!(broken(|life| life.sights[6].look.agent = true), [gone]);
        assert_eq!(broken(|life| life.code = Some(74)), ["the exit code is 0"]);
    }
}
