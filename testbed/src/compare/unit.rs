//! What units do today: python-jenkins around a plain agent, in the order in which systemd runs a unit's commands.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    scene::Scene,
    service::{Service, Started, Watched},
};
use crate::{cache, skip};

/// Where a unit calls `enable_node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enable {
    /// `ExecStartPre=`: before the agent. A failure fails the start.
    Before,
    /// `ExecStartPost=`: right after the agent's start. A failure ends the agent and fails the start.
    After,
}

/// Where a unit calls `disable_node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disable {
    /// `ExecStop=`: before the agent gets TERM, also when it has ended already.
    Before,
    /// `ExecStopPost=`: after the agent's end.
    After,
}

#[derive(Debug)]
pub(super) struct Unit {
    enable: Enable,
    disable: Disable,
    agent_command: Vec<String>,
    environment: BTreeMap<&'static str, String>,
    agent: Option<Watched>,
}

impl Unit {
    pub(super) fn new(scene: &Scene<'_>, enable: Enable, disable: Disable) -> Self {
        let mut environment =
            BTreeMap::from([("JENKINS_URL", scene.url()), ("JENKINS_AGENT_NAME", scene.node().to_owned())]);
        if let Some((user, password)) = scene.credentials() {
            environment.extend([("JENKINS_USER_ID", user), ("JENKINS_API_TOKEN", password)]);
        }
        Self { enable, disable, agent_command: scene.agent_command(), environment, agent: None }
    }

    /// Whether python-jenkins has done it, as it believes.
    fn python(&self, what: &str) -> Result<bool> {
        let output = Command::new(skip::PYTHON)
            .arg(cache::workspace().join("testbed/python/enable_disable.py"))
            .arg(what)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}: is it installed?", skip::PYTHON))?;
        Ok(output.status.success())
    }

    fn running(&mut self) -> Result<&mut Watched> {
        self.agent.as_mut().context("no agent has been started")
    }

    fn terminate(&mut self) -> Result<()> {
        let agent = self.running()?;
        if agent.process.ended()?.is_none() {
            let pid = Pid::from_raw(i32::try_from(agent.process.id())?);
            kill(pid, Signal::SIGTERM).context("cannot end the agent")?;
        }
        Ok(())
    }
}

impl Service for Unit {
    fn start(&mut self) -> Result<Started> {
        if self.enable == Enable::Before && !self.python("enable")? {
            return Ok(Started::Failed);
        }
        self.agent = Some(Watched::start(command(&self.agent_command))?);
        if self.enable == Enable::After && !self.python("enable")? {
            self.terminate()?;
            self.running()?.await_end()?;
            return Ok(Started::Failed);
        }
        Ok(Started::Running)
    }

    fn has_settled(&mut self) -> Result<bool> {
        Ok(self.running()?.agent_is_connected())
    }

    fn agent(&mut self) -> Result<u32> {
        Ok(self.running()?.process.id())
    }

    fn begin_stop(&mut self) -> Result<()> {
        if self.disable == Disable::Before {
            // systemd goes on with the stop whatever the outcome.
            self.python("disable")?;
        }
        self.terminate()
    }

    fn is_draining(&self) -> bool {
        false
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.running()?.process.ended()?.is_some())
    }

    fn end_stop(&mut self) -> Result<()> {
        self.running()?.await_end()?;
        if self.disable == Disable::After {
            self.python("disable")?;
        }
        Ok(())
    }

    fn log(&self) -> String {
        self.agent.as_ref().map(Watched::log).unwrap_or_default()
    }
}

pub(super) fn command(line: &[String]) -> Command {
    let mut words = line.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words);
    command
}
