//! The driver of a real controller: Hudson 3.0.0, which has the same nodes, marks, builds and agents as Jenkins.
//!
//! It lacks `changeOfflineCause`, `whoAmI` and the CLI over HTTP, and forgets a node's mark when it restarts: what only
//! Jenkins has is played on the simulated controller.

mod client;
mod home;
mod program;
mod templates;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::{client::Client, home::Home};
use crate::{
    ports,
    spawner::Process,
    stage::{BuildHandle, BuildState, NodeState, Stage},
    wait,
};

/// Jetty alone takes several seconds to end in good order.
const STOP_BOUND: Duration = Duration::from_secs(30);
const START_BOUND: Duration = Duration::from_secs(180);
const MARK_BOUND: Duration = Duration::from_secs(60);

const NODE_FIELDS: &str = "offline,temporarilyOffline,offlineCause[description],idle";

/// How to start a [`Hudson`].
#[derive(Clone, Debug, Default)]
pub struct HudsonOptions {
    /// With accounts: one that may do everything, [`Stage::credentials`], and one that may only look,
    /// [`Stage::viewer`]; nobody else may do anything. Without: everybody may do everything. Counts for a new home.
    pub security: bool,
    /// The port on 127.0.0.1; a free one without.
    pub port: Option<u16>,
    /// Its persistent state; an empty one, removed again afterwards, without.
    pub home: Option<PathBuf>,
    /// A network of its own instead of the machine's. Whoever starts it, or asks it something, has to be in there.
    pub network: Option<Network>,
}

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Network {
    /// The file that stands for it.
    pub file: PathBuf,
    /// The address to listen on in there, instead of 127.0.0.1.
    pub address: Ipv4Addr,
}

/// A running Hudson on 127.0.0.1; killed when dropped, and when this process ends.
#[derive(Debug)]
pub struct Hudson {
    security: bool,
    port: u16,
    network: Option<Network>,
    client: Client,
    jobs: AtomicU32,
    agent: program::AgentFiles,
    // The process before its home: it must have ended when the files go.
    process: Option<Process>,
    home: Home,
}

impl Hudson {
    /// Starts one and waits until it answers; that takes about ten seconds.
    ///
    /// # Errors
    /// When Java or the war is missing (see [`crate::skip::need_hudson`]), or it does not come up; with the end of its log.
    pub fn start(options: HudsonOptions) -> Result<Self> {
        let HudsonOptions { security, port, home, network } = options;
        let home = Home::prepare(home, security)?;
        let port = match port {
            Some(port) => port,
            None => ports::free().context("no free port on 127.0.0.1")?,
        };
        let address = network.as_ref().map_or(Ipv4Addr::LOCALHOST, |network| network.address);
        let mut hudson = Self {
            security,
            port,
            network,
            client: Client::new((address, port).into(), security.then_some(client::ADMINISTRATOR)),
            jobs: AtomicU32::new(0),
            agent: program::AgentFiles::of(&home),
            process: None,
            home,
        };
        hudson.bring_up()?;
        let jobs = hudson.client.get_json("api/json?tree=jobs[name]")?;
        *hudson.jobs.get_mut() = u32::try_from(jobs["jobs"].as_array().map_or(0, Vec::len))?;
        hudson.client.download("jnlpJars/slave.jar", &hudson.agent.jar)?;
        Ok(hudson)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id; `None` while it is taken down.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Whether the node's agent has got through to the controller's side, mark or not, by the controller's own log of the
    /// node. The log begins anew with each connection.
    ///
    /// # Errors
    /// When the controller does not answer.
    pub fn has_connected(&self, name: &str) -> Result<bool> {
        let log = self.client.get_text(&format!("{}/logText/progressiveText?start=0", node_path(name)))?;
        Ok(log.contains("Slave successfully connected and online"))
    }

    /// Whether it is up: `Err` when it has ended instead.
    fn is_up(&mut self) -> Result<Option<()>> {
        let Some(process) = self.process.as_mut() else { bail!("Hudson has not been started") };
        if let Some(status) = process.ended()? {
            bail!("Hudson ended while it started: {status}");
        }
        if self.security && !self.client.has_accounts()? {
            return Ok(None);
        }
        Ok((self.client.status("api/json")? == Some(200)).then_some(()))
    }

    /// Sets the mark to `wanted`, in spite of others who toggle it at the same time.
    fn set_mark(&self, name: &str, wanted: bool, reason: &str) -> Result<()> {
        let toggle = format!("{}/toggleOffline", node_path(name));
        wait::until(&format!("the mark of {name} to be {wanted}"), MARK_BOUND, || {
            if self.node(name)?.marked == wanted {
                return Ok(Some(()));
            }
            self.client.post_form(&toggle, &[("offlineMessage", reason)])?;
            Ok((self.node(name)?.marked == wanted).then_some(()))
        })
    }
}

impl Stage for Hudson {
    fn url(&self) -> String {
        self.client.root().to_owned()
    }

    fn credentials(&self) -> Option<(String, String)> {
        self.security.then(|| owned(client::ADMINISTRATOR))
    }

    /// Unlike Jenkins, Hudson hands a node's jnlp file to whoever may look at it.
    fn viewer(&self) -> Option<(String, String)> {
        self.security.then(|| owned(client::VIEWER))
    }

    fn create_node(&self, name: &str, executors: u32) -> Result<()> {
        let files = self.home.agent_files(name)?;
        let json = templates::node(name, executors, &files);
        let kind = templates::NODE_KIND;
        self.client
            .post_form("computer/doCreateItem", &[("name", name), ("type", kind), ("json", &json)])
            .with_context(|| format!("cannot create the node {name}"))
    }

    fn node(&self, name: &str) -> Result<NodeState> {
        let answer = self.client.get_json(&format!("{}/api/json?tree={NODE_FIELDS}", node_path(name)))?;
        let field = |field: &str| {
            answer[field].as_bool().with_context(|| format!("no {field} in what Hudson says of {name}: {answer}"))
        };
        let (offline, marked) = (field("offline")?, field("temporarilyOffline")?);
        let description = answer["offlineCause"]["description"].as_str().unwrap_or_default();
        Ok(NodeState {
            offline,
            marked,
            reason: if marked { templates::reason(description) } else { String::new() },
            idle: field("idle")?,
            connected: (!marked).then_some(!offline),
        })
    }

    fn mark(&self, name: &str, reason: &str) -> Result<()> {
        if self.node(name)?.marked {
            // Hudson has no way to change a reason: the mark is cleared in between.
            self.clear(name)?;
        }
        self.set_mark(name, true, reason)
    }

    fn clear(&self, name: &str) -> Result<()> {
        self.set_mark(name, false, "")
    }

    fn save_form(&self, name: &str) -> Result<()> {
        let executors = self.client.get_json(&format!("{}/api/json?tree=numExecutors", node_path(name)))?;
        let executors = executors["numExecutors"].as_u64().and_then(|count| u32::try_from(count).ok());
        let executors = executors.with_context(|| format!("Hudson does not say how many executors {name} has"))?;
        let json = templates::node(name, executors, &self.home.agent_files(name)?);
        self.client
            .post_form(&format!("{}/configSubmit", node_path(name)), &[("json", &json)])
            .with_context(|| format!("cannot save the form of the node {name}"))
    }

    fn disconnect(&self, name: &str) -> Result<()> {
        self.client.post_form(&format!("{}/doDisconnect", node_path(name)), &[])
    }

    fn agent_command(&self, name: &str) -> Vec<String> {
        let url = format!("{}{}/slave-agent.jnlp", self.client.root(), node_path(name));
        self.agent.command(&url, self.credentials())
    }

    fn start_build(&self, name: &str, gate: &Path) -> Result<BuildHandle> {
        let job = format!("gated-{}", self.jobs.fetch_add(1, Ordering::Relaxed) + 1);
        let definition = templates::job(name, gate)?;
        self.client
            .post_xml(&format!("createItem?name={job}"), &definition)
            .with_context(|| format!("cannot create the job {job}"))?;
        self.client
            .post_form(&format!("job/{job}/build?delay=0sec"), &[])
            .with_context(|| format!("cannot start a build of {job}"))?;
        Ok(BuildHandle { job, number: 1 })
    }

    fn build(&self, build: &BuildHandle) -> Result<BuildState> {
        let path = format!("job/{}/{}/api/json?tree=building,result", client::segment(&build.job), build.number);
        if self.client.status(&path)? == Some(404) {
            return Ok(BuildState::Queued);
        }
        let answer = self.client.get_json(&path)?;
        Ok(match (&answer["building"], &answer["result"]) {
            (Value::Bool(false), Value::String(result)) => BuildState::Finished(result.clone()),
            _ => BuildState::Running,
        })
    }

    fn take_down(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(STOP_BOUND)?;
        }
        Ok(())
    }

    fn bring_up(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("Hudson is up already");
        }
        self.process = Some(program::start(&self.home, self.port, self.network.as_ref())?);
        wait::until("Hudson to answer", START_BOUND, || self.is_up())
            .with_context(|| format!("Hudson does not come up; the end of its log:\n{}", self.home.log_tail()))
    }
}

fn node_path(name: &str) -> String {
    format!("computer/{}", client::segment(name))
}

fn owned((user, password): (&str, &str)) -> (String, String) {
    (user.to_owned(), password.to_owned())
}
