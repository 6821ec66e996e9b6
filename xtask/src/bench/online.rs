//! How long a real agent takes to be online on a real controller, with the wrapper and without.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use agent_wrap_testbed::{
    hudson::{Hudson, HudsonOptions},
    skip, spawner,
    stage::Stage as _,
    wait,
};
use anyhow::{Context as _, Result};

use super::{
    probe::{BOUND, now},
    statistics::{Sample, milliseconds, ratio},
};

/// How often each is started.
const STARTS: usize = 5;

/// Fine enough for seconds, and leaves the machine to the agent.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) fn report(wrapper: &Path) -> Result<String> {
    if let Err(reason) = skip::need_hudson() {
        return Ok(format!("### Online on the real controller\n\nNot measured: {reason}.\n"));
    }
    let hudson = Hudson::start(HudsonOptions { security: true, ..HudsonOptions::default() })?;
    let directory = tempfile::tempdir().context("no directory")?;
    let (mut plain, mut wrapped) = (Vec::new(), Vec::new());
    for number in 0..=STARTS {
        let node = format!("measured {number}");
        hudson.create_node(&node, 1)?;
        let agent = hudson.agent_command(&node);
        let with = time(&hudson, &node, wrap(wrapper, &hudson, &node, directory.path(), &agent)?)?;
        let without = time(&hudson, &node, command(&agent))?;
        // The first start of all warms the controller and the machine's caches.
        if number > 0 {
            plain.push(without);
            wrapped.push(with);
        }
    }
    let (plain, wrapped) = (Sample::new(plain), Sample::new(wrapped));
    let mut text = format!(
        "### Online on the real controller\n\nFrom exec to the moment at which Hudson 3.0.0 reports the node online, \
         looked at every {} ms; median of {STARTS} each, taking turns.\n\n| | median (ms) | all (ms) | of plain |\n\
         |---|---:|---:|---:|\n",
        LOOK_EVERY.as_millis()
    );
    for (name, sample) in [("plain `java -jar`", &plain), ("agent-wrap", &wrapped)] {
        text.push_str(&format!(
            "| {name} | {} | {} to {} | {} |\n",
            milliseconds(sample.median()),
            milliseconds(sample.quantile(0)),
            milliseconds(sample.quantile(100)),
            ratio(sample.median(), plain.median())
        ));
    }
    Ok(text)
}

fn command(line: &[String]) -> Command {
    let mut words = line.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words);
    command
}

fn wrap(wrapper: &Path, hudson: &Hudson, node: &str, directory: &Path, agent: &[String]) -> Result<Command> {
    let mut command = Command::new(wrapper);
    command.env("STATE_DIRECTORY", directory).env("RUNTIME_DIRECTORY", directory);
    command.args(["--url", &hudson.url(), "--node", node, "--offline", "never"]);
    if let Some((user, password)) = hudson.credentials() {
        let token = directory.join("token");
        fs::write(&token, password).context("cannot write the token")?;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).context("cannot write the token")?;
        command.args(["--user", &user, "--token-file"]).arg(token);
    }
    command.args(agent);
    Ok(command)
}

/// Starts it, and stops it once the node is online; the nanoseconds in between.
fn time(hudson: &Hudson, node: &str, mut command: Command) -> Result<u64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = now()?;
    let mut process = spawner::spawn(command)?;
    let online = || Ok((!hudson.node(node)?.offline).then_some(()));
    wait::until_every(LOOK_EVERY, "the node to be online", BOUND, online)?;
    let time = now()?.saturating_sub(started);
    process.stop(BOUND)?;
    wait::until("the agent to be gone", BOUND, || Ok((hudson.node(node)?.connected == Some(false)).then_some(())))?;
    Ok(time)
}
