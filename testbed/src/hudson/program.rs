//! Its process and its agents' command line.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{Network, home::Home};
use crate::{
    cache, skip,
    spawner::{self, Process},
};

const LAUNCHER: &str = include_str!("../../resources/HudsonLauncher.java");

/// What its XStream and its remoting reach into by reflection.
const OPENED: [&str; 20] = [
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.lang.ref",
    "java.base/java.util",
    "java.base/java.util.zip",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.util.concurrent.locks",
    "java.base/java.text",
    "java.base/java.io",
    "java.base/java.net",
    "java.base/java.security",
    "java.base/java.util.regex",
    "java.base/java.math",
    "java.base/java.nio",
    "java.base/sun.nio.ch",
    "java.desktop/java.awt",
    "java.desktop/java.awt.font",
    "java.desktop/javax.swing",
    "java.desktop/java.beans",
];

/// A small machine's virtual machine: it starts fast and stays small.
const CHEAP: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// Starts it; it answers some seconds later.
pub(super) fn start(home: &Home, port: u16, network: Option<&Network>) -> Result<Process> {
    skip::need_hudson().map_err(anyhow::Error::msg)?;
    let launcher = home.run().join("HudsonLauncher.java");
    fs::write(&launcher, LAUNCHER).with_context(|| format!("cannot write {}", launcher.display()))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(home.log())
        .with_context(|| format!("cannot write {}", home.log().display()))?;
    let address = network.map_or(Ipv4Addr::LOCALHOST, |network| network.address);
    let mut command = match network {
        Some(network) => {
            let mut there = Command::new("nsenter");
            there.arg(format!("--net={}", network.file.display())).args(["--", "java"]);
            there
        }
        None => Command::new("java"),
    };
    command
        .args(opened())
        .args(CHEAP)
        .arg("-Xmx256m")
        .arg("-Djava.awt.headless=true")
        .arg(format!("-Djava.io.tmpdir={}", home.run().display()))
        .arg(format!("-DHUDSON_HOME={}", home.state().display()))
        .arg("-cp")
        .arg(cache::hudson_war())
        .arg(launcher)
        .arg(format!("--httpPort={port}"))
        .arg(format!("--httpListenAddress={address}"))
        .args(["--ajp13Port=-1", "--httpsPort=-1", "--skipInitSetup"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    spawner::spawn(command)
}

/// What an agent is started from.
#[derive(Debug)]
pub(super) struct AgentFiles {
    /// The agent itself, as the controller hands it out.
    pub(super) jar: PathBuf,
    /// What the agent needs to send credentials and does not bring along.
    codec: PathBuf,
}

impl AgentFiles {
    pub(super) fn of(home: &Home) -> Self {
        Self {
            jar: home.run().join("slave.jar"),
            codec: home.state().join("war/webapp/WEB-INF/lib/commons-codec-1.4.jar"),
        }
    }

    /// The command line of an agent that reads its connection from `url`.
    pub(super) fn command(&self, url: &str, credentials: Option<(String, String)>) -> Vec<String> {
        let mut command = vec!["java".to_owned()];
        command.extend(opened());
        command.extend(CHEAP.map(str::to_owned));
        command.push("-Xmx64m".to_owned());
        if credentials.is_some() {
            command.push(format!("-Xbootclasspath/a:{}", self.codec.display()));
        }
        command.extend(["-jar".to_owned(), self.jar.display().to_string(), "-jnlpUrl".to_owned(), url.to_owned()]);
        if let Some((user, password)) = credentials {
            command.extend(["-jnlpCredentials".to_owned(), format!("{user}:{password}")]);
        }
        command
    }
}

fn opened() -> impl Iterator<Item = String> {
    OPENED.iter().map(|package| format!("--add-opens={package}=ALL-UNNAMED"))
}
