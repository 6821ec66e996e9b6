//! The same by agent-wrap, with its defaults.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    scene::Scene,
    service::{Service, Started, Watched, until},
};

#[derive(Debug)]
pub(super) struct Wrapper {
    program: PathBuf,
    arguments: Vec<String>,
    state: PathBuf,
    running: Option<Watched>,
}

impl Wrapper {
    pub(super) fn new(scene: &Scene<'_>, program: &Path) -> Result<Self> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut arguments = words(&["--log-format", "json", "--url", &scene.url(), "--node", scene.node()]);
        if let Some((user, password)) = scene.credentials() {
            let file = scene.directory().join("token");
            let what = || format!("cannot write {}", file.display());
            fs::write(&file, password).with_context(what)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).with_context(what)?;
            arguments.extend(words(&["--user", &user, "--token-file", &file.display().to_string()]));
        }
        arguments.extend(scene.agent_command());
        let state = scene.directory().join("state");
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        Ok(Self { program: program.to_owned(), arguments, state, running: None })
    }

    fn running(&mut self) -> Result<&mut Watched> {
        self.running.as_mut().context("the wrapper has not been started")
    }

    fn told(&self, event: &str) -> Option<String> {
        self.running.as_ref()?.line_with(&[&format!("\"event\":\"{event}\"")])
    }
}

impl Service for Wrapper {
    fn start(&mut self) -> Result<Started> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env("STATE_DIRECTORY", &self.state).env("RUNTIME_DIRECTORY", &self.state);
        self.running = Some(Watched::start(command)?);
        until("agent-wrap to start the agent or to wait", || {
            Ok(self.told("agent_started").is_some() || self.told("waiting").is_some())
        })?;
        Ok(Started::Running)
    }

    fn has_settled(&mut self) -> Result<bool> {
        Ok(self.running()?.agent_is_connected() && self.told("agent_connected").is_some())
    }

    fn agent(&mut self) -> Result<u32> {
        let line = self.told("agent_started").context("agent-wrap has not started the agent")?;
        let digits = line.rsplit("pid ").next().unwrap_or_default();
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().with_context(|| format!("no process id in {line}"))
    }

    fn begin_stop(&mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.running()?.process.id())?);
        kill(pid, Signal::SIGTERM).context("cannot stop agent-wrap")
    }

    fn is_draining(&self) -> bool {
        self.told("draining").is_some()
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.running()?.process.ended()?.is_some())
    }

    fn end_stop(&mut self) -> Result<()> {
        self.running()?.await_end()
    }

    fn log(&self) -> String {
        self.running.as_ref().map(Watched::log).unwrap_or_default()
    }
}
