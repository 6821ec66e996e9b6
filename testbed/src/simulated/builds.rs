//! Builds that keep an executor busy until a file exists.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::log::Entry;
use super::world::World;
use crate::stage::{BuildHandle, BuildState};

/// One build.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) job: String,
    pub(crate) node: String,
    gate: PathBuf,
    pub(crate) stage: Stage,
    started: u64,
    /// How far it is, in percent; -1 where the controller cannot tell.
    progress: i8,
    /// How long it is thought to take, in milliseconds; -1 where the controller cannot tell.
    estimate: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Queued,
    /// On an executor that still looks idle, since then.
    Assigned(Instant),
    Running,
    Finished(&'static str),
}

impl Build {
    pub(crate) fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    fn on_executor(&self) -> bool {
        matches!(self.stage, Stage::Assigned(_) | Stage::Running)
    }
}

impl World {
    /// Queues a build for this node; it is over with SUCCESS once `gate` exists.
    pub fn start_build(&mut self, node: &str, gate: PathBuf) -> BuildHandle {
        let job = format!("build-{}", self.builds.len() + 1);
        self.builds.push(Build {
            job: job.clone(),
            node: node.to_owned(),
            gate,
            stage: Stage::Queued,
            started: 0,
            progress: -1,
            estimate: -1,
        });
        BuildHandle { job, number: 1 }
    }

    /// Says how far the builds on this node are, in percent.
    pub fn set_progress(&mut self, node: &str, percent: i8) {
        for build in self.builds.iter_mut().filter(|build| build.node == node) {
            build.progress = percent;
        }
    }

    /// Says that the builds on this node have been running for so long, and how long each is thought to take.
    pub fn set_times(&mut self, node: &str, gone: Duration, estimate: Duration) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let started = self.time() - millis(gone);
        for build in self.builds.iter_mut().filter(|build| build.node == node) {
            build.started = started;
            build.estimate = i64::try_from(millis(estimate)).unwrap_or(i64::MAX);
        }
    }

    /// How a build stands; `None` when there is no such build.
    #[must_use]
    pub fn build(&self, handle: &BuildHandle) -> Option<BuildState> {
        let build = self.builds.iter().find(|build| build.job == handle.job)?;
        Some(match build.stage {
            Stage::Queued | Stage::Assigned(_) => BuildState::Queued,
            Stage::Running => BuildState::Running,
            Stage::Finished(result) => BuildState::Finished(result.to_owned()),
        })
    }

    /// How many builds sit on an executor of this node that still looks idle.
    #[must_use]
    pub fn assigned(&self, node: &str) -> usize {
        let builds = self.builds.iter().filter(|build| build.node == node);
        builds.filter(|build| matches!(build.stage, Stage::Assigned(_))).count()
    }

    /// Lets builds start and end; whether anything has changed.
    #[expect(clippy::disallowed_methods, reason = "the simulated controller lives in real time")]
    pub(crate) fn advance_builds(&mut self) -> bool {
        let mut changed = false;
        for index in 0..self.builds.len() {
            let build = &self.builds[index];
            let next = match build.stage {
                Stage::Queued if self.has_room(&build.node) => Stage::Assigned(Instant::now()),
                Stage::Assigned(since) if since.elapsed() >= self.options.assign_time => Stage::Running,
                Stage::Running if build.gate.exists() => Stage::Finished("SUCCESS"),
                Stage::Queued | Stage::Assigned(_) | Stage::Running | Stage::Finished(_) => continue,
            };
            changed = true;
            self.enter(index, next);
        }
        changed
    }

    /// The channel of a node is gone: what ran there has failed.
    pub(crate) fn fail_builds(&mut self, node: &str, result: &'static str) {
        for index in 0..self.builds.len() {
            if self.builds[index].node == node && self.builds[index].on_executor() {
                self.enter(index, Stage::Finished(result));
            }
        }
    }

    fn enter(&mut self, index: usize, stage: Stage) {
        let now = self.time();
        let build = &mut self.builds[index];
        let job = build.job.clone();
        let entry = match stage {
            Stage::Running => {
                build.started = now;
                Some(Entry::BuildStarted { node: build.node.clone(), job })
            }
            Stage::Finished(result) => Some(Entry::BuildFinished { job, result: result.to_owned() }),
            Stage::Queued | Stage::Assigned(_) => None,
        };
        build.stage = stage;
        self.timeline.extend(entry);
    }

    fn has_room(&self, node: &str) -> bool {
        let taken = self.builds.iter().filter(|build| build.node == node && build.on_executor()).count();
        self.nodes
            .get(node)
            .is_some_and(|node| !node.offline() && u32::try_from(taken).is_ok_and(|taken| taken < node.executors))
    }

    /// Whether nothing runs on a node, as far as its executors tell.
    pub(crate) fn idle(&self, node: &str) -> bool {
        !self.builds.iter().any(|build| build.node == node && build.is_running())
    }

    /// The executors of a node; what runs on them is told to those who may see jobs.
    pub(crate) fn executors(&self, node: &str, executors: u32, may_see: bool) -> Vec<Value> {
        let running = self.builds.iter().filter(|build| build.node == node && build.is_running());
        let mut all: Vec<Value> = running
            .map(|build| {
                let executable = json!({
                    "_class": "hudson.model.FreeStyleBuild",
                    "url": format!("{}job/{}/1/", self.root_url(), build.job),
                    "fullDisplayName": format!("{} #1", build.job),
                    "displayName": "#1",
                    "number": 1,
                    "timestamp": build.started,
                    "estimatedDuration": build.estimate,
                    "building": true,
                });
                json!({"currentExecutable": may_see.then_some(executable), "idle": false, "progress": build.progress})
            })
            .collect();
        while u32::try_from(all.len()).is_ok_and(|count| count < executors) {
            all.push(json!({"currentExecutable": null, "idle": true, "progress": -1}));
        }
        for (number, executor) in all.iter_mut().enumerate() {
            executor["number"] = number.into();
            executor["likelyStuck"] = false.into();
        }
        all
    }
}
