//! From exec of the wrapper to exec of the agent.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use agent_wrap_testbed::{
    simulated::{Options, Simulated},
    stage::Stage as _,
};
use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    probe::Probe,
    statistics::{Sample, milliseconds, ratio},
    variants::{self, Variant},
};

/// How often each is started.
const STARTS: usize = 60;

const NODE: &str = "measured";

/// Two tables: beside peers, and against the simulated controller.
pub(super) fn report(wrapper: &Path, stamp: &Path) -> Result<String> {
    let controlled = Controlled::prepare(wrapper)?;
    let mut variants = vec![variants::bare()];
    variants.extend(variants::peers());
    variants.push(variants::standalone(wrapper)?);
    let mut times = vec![Vec::new(); variants.len() + 1];
    let mut requests = BTreeMap::<String, usize>::new();
    // In rotating order, so that what else goes on on the machine hits all alike.
    for round in 0..STARTS {
        for turn in 0..=variants.len() {
            let place = (round + turn) % (variants.len() + 1);
            let time = match variants.get(place) {
                Some(variant) => start(variant, stamp)?,
                None => {
                    let (time, made) = controlled.start(stamp)?;
                    *requests.entry(made).or_default() += 1;
                    time
                }
            };
            times[place].push(time);
        }
    }
    let samples: Vec<_> = times.into_iter().map(Sample::new).collect();
    let base = samples[0].median();
    let mut text = format!(
        "### From exec to the agent's `main`\n\nMedian of {STARTS} starts each in rotating order; the agent is a small \
         program that stamps the clock as its first act.\n\n| | median (ms) | 10 % to 90 % (ms) | of nothing |\n\
         |---|---:|---:|---:|\n"
    );
    let names = variants.iter().map(|variant| variant.name).chain(["agent-wrap, simulated controller"]);
    for (name, sample) in names.zip(&samples) {
        text.push_str(&format!(
            "| {name} | {} | {} to {} | {} |\n",
            milliseconds(sample.median()),
            milliseconds(sample.quantile(10)),
            milliseconds(sample.quantile(90)),
            ratio(sample.median(), base)
        ));
    }
    text.push_str("\nHTTP requests before the agent's start, the node not being marked:\n\n");
    for (made, count) in requests {
        text.push_str(&format!("* {made} ({count} of {STARTS} starts)\n"));
    }
    text.push_str(
        "\nThe first asks, without credentials, where an `http://` root leads; an `https://` root saves it. Certificates \
         are loaded in both cases.\n",
    );
    Ok(text)
}

fn start(variant: &Variant, stamp: &Path) -> Result<u64> {
    let mut probe = Probe::start(variant.command(stamp, &[]))?;
    let time = probe.stamp()?.saturating_sub(probe.executed);
    probe.end()?;
    Ok(time)
}

/// A wrapper with a controller.
pub(super) struct Controlled {
    pub(super) controller: Simulated,
    directory: TempDir,
    arguments: Vec<String>,
    wrapper: PathBuf,
}

impl Controlled {
    pub(super) fn prepare(wrapper: &Path) -> Result<Self> {
        let controller = Simulated::start(Options::default())?;
        controller.create_node(NODE, 1)?;
        let directory = tempfile::tempdir().context("no directory")?;
        let token = directory.path().join("token");
        fs::write(&token, "op-token").context("cannot write the token")?;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).context("cannot write the token")?;
        let words = ["--url", &controller.url(), "--node", NODE, "--user", "op", "--token-file"];
        let mut arguments: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        arguments.push(token.display().to_string());
        Ok(Self { controller, directory, arguments, wrapper: wrapper.to_owned() })
    }

    pub(super) fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(&self.wrapper);
        let directory = self.directory.path();
        command.env("STATE_DIRECTORY", directory).env("RUNTIME_DIRECTORY", directory).stderr(Stdio::null());
        command.args(&self.arguments).args(options);
        command
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn agent(&self) -> Vec<String> {
        self.controller.agent_command(NODE)
    }

    /// The time, and the requests until the agent had started.
    fn start(&self, stamp: &Path) -> Result<(u64, String)> {
        let before = self.controller.requests().len();
        let mut command = self.command(&["--offline", "never", "--restart", "no"]);
        command.arg(stamp).arg("wait");
        let mut probe = Probe::start(command)?;
        let time = probe.stamp()?.saturating_sub(probe.executed);
        let requests = self.controller.requests();
        let made = requests.iter().skip(before).map(|request| format!("`{} {}`", request.method, request.path));
        let made = made.collect::<Vec<_>>().join(", ");
        // It obeys TERM from here on.
        probe.stamp()?;
        probe.terminate()?;
        probe.end()?;
        Ok((time, made))
    }
}
