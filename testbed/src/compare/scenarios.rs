//! The lives that are compared.

use std::fs;

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Disable, Enable, Outcome, Scenario,
    scene::Scene,
    service::{Service, Started, Watched, until},
    unit::command,
};
use crate::stage::{BuildState, NodeState, Stage as _};

/// All of them, in the order of the table.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "unmarked-before",
        title: "Start, the node is not marked; `enable_node` before the agent",
        enable: Enable::Before,
        disable: Disable::Before,
        play: unmarked_start,
    },
    Scenario {
        name: "unmarked-after",
        title: "Start, the node is not marked; `enable_node` right after the agent's start",
        enable: Enable::After,
        disable: Disable::Before,
        play: unmarked_start,
    },
    Scenario {
        name: "marked-before",
        title: "Start, the node is marked; `enable_node` before the agent",
        enable: Enable::Before,
        disable: Disable::Before,
        play: marked_start,
    },
    Scenario {
        name: "marked-after",
        title: "Start, the node is marked; `enable_node` right after the agent's start",
        enable: Enable::After,
        disable: Disable::Before,
        play: marked_start,
    },
    Scenario {
        name: "controller-restarted",
        title: "Start of a node that was marked, after a restart of the controller (Hudson shows it again only when the agent connects)",
        enable: Enable::Before,
        disable: Disable::Before,
        play: start_after_a_restart_of_the_controller,
    },
    Scenario {
        name: "controller-down",
        title: "Start while the controller is down; it comes up later",
        enable: Enable::Before,
        disable: Disable::Before,
        play: start_while_the_controller_is_down,
    },
    Scenario {
        name: "idle-stop-before",
        title: "Stop while nothing runs; `disable_node` before TERM",
        enable: Enable::Before,
        disable: Disable::Before,
        play: idle_stop,
    },
    Scenario {
        name: "idle-stop-after",
        title: "Stop while nothing runs; `disable_node` after the agent's end",
        enable: Enable::Before,
        disable: Disable::After,
        play: idle_stop,
    },
    Scenario {
        name: "busy-stop",
        title: "Stop while a build runs; `disable_node` before TERM",
        enable: Enable::Before,
        disable: Disable::Before,
        play: busy_stop,
    },
    Scenario {
        name: "stop-after-kill",
        title: "The agent is killed, then the service is stopped; later an agent connects",
        enable: Enable::Before,
        disable: Disable::Before,
        play: stop_after_the_agent_was_killed,
    },
];

fn unmarked_start(scene: &mut Scene<'_>, service: &mut dyn Service) -> Result<Outcome> {
    start(service)?;
    Ok(after_start(&scene.settled(service)?))
}

fn marked_start(scene: &mut Scene<'_>, service: &mut dyn Service) -> Result<Outcome> {
    scene.mark()?;
    unmarked_start(scene, service)
}

fn start_after_a_restart_of_the_controller(scene: &mut Scene<'_>, service: &mut dyn Service) -> Result<Outcome> {
    scene.mark()?;
    scene.hudson.take_down()?;
    scene.hudson.bring_up()?;
    unmarked_start(scene, service)
}

fn start_while_the_controller_is_down(scene: &mut Scene<'_>, service: &mut dyn Service) -> Result<Outcome> {
    scene.hudson.take_down()?;
    let started = service.start();
    scene.hudson.bring_up()?;
    if started? == Started::Running {
        return Ok(after_start(&scene.settled(service)?));
    }
    // As `Restart=on-failure` does.
    start(service)?;
    let Outcome { good, words } = after_start(&scene.settled(service)?);
    Ok(Outcome { good, words: format!("the start fails; started again with the controller up: {words}") })
}

fn idle_stop(scene: &mut Scene<'_>, service: &mut dyn Service) -> Result<Outcome> {
    bring_online(scene, service)?;
    stop(service)?;
    Ok(after_stop(&scene.state()?))
}

fn busy_stop(scene: &mut Scene<'_>, service: &mut dyn Service) -> Result<Outcome> {
    bring_online(scene, service)?;
    let gate = scene.directory().join("gate");
    let build = scene.hudson.start_build(scene.node(), &gate)?;
    until("the build to run", || Ok(scene.hudson.build(&build)? == BuildState::Running))?;
    service.begin_stop()?;
    until("the service to end or to wait for the build", || Ok(service.is_draining() || service.has_ended()?))?;
    fs::write(&gate, "").with_context(|| format!("cannot write {}", gate.display()))?;
    let mut result = String::new();
    until("the build to be over", || {
        if let BuildState::Finished(word) = scene.hudson.build(&build)? {
            result = word;
        }
        Ok(!result.is_empty())
    })?;
    service.end_stop()?;
    let Outcome { good, words } = after_stop(&scene.state()?);
    Ok(Outcome { good: good && result == "SUCCESS", words: format!("build {result}; {words}") })
}

fn stop_after_the_agent_was_killed(scene: &mut Scene<'_>, service: &mut dyn Service) -> Result<Outcome> {
    bring_online(scene, service)?;
    let agent = Pid::from_raw(i32::try_from(service.agent()?)?);
    kill(agent, Signal::SIGKILL).context("cannot kill the agent")?;
    until("the controller to miss the agent", || Ok(scene.state()?.offline))?;
    stop(service)?;
    let Outcome { good, words } = after_stop(&scene.state()?);
    let next = Watched::start(command(&scene.agent_command()))?;
    let state = scene.with_agent(&next)?;
    let then = if state.offline { "stays offline" } else { "takes builds again as soon as an agent connects" };
    Ok(Outcome { good: good && state.offline, words: format!("{words}; {then}") })
}

fn start(service: &mut dyn Service) -> Result<()> {
    match service.start()? {
        Started::Running => Ok(()),
        Started::Failed => bail!("the start fails although the controller is up"),
    }
}

/// Starts from a mark, where both ways lead to a node that is online.
fn bring_online(scene: &Scene<'_>, service: &mut dyn Service) -> Result<()> {
    scene.mark()?;
    start(service)?;
    let state = scene.settled(service)?;
    if state.offline { bail!("the node should be online: {state:?}") } else { Ok(()) }
}

fn stop(service: &mut dyn Service) -> Result<()> {
    service.begin_stop()?;
    service.end_stop()
}

fn after_start(state: &NodeState) -> Outcome {
    let words = match (state.marked, state.offline) {
        (true, _) => "offline: marked behind a running agent",
        (false, true) => "offline without a mark",
        (false, false) => "online",
    };
    Outcome { good: !state.marked && !state.offline, words: words.to_owned() }
}

fn after_stop(state: &NodeState) -> Outcome {
    let words = if state.marked { "marked" } else { "not marked" };
    Outcome { good: state.marked, words: words.to_owned() }
}
