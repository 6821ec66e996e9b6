//! The simulated controller as a stage for scenarios.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Simulated;
use super::options::Flavour;
use super::text::percent_encode;
use crate::stage::{BuildHandle, BuildState, NodeState, Stage};

/// The program that stands in for `java -jar agent.jar`: `misbehave` in the folder of the running program or, for a
/// test, in the one above. It is built by `cargo build -p agent-wrap-testbed`.
#[must_use]
pub fn agent_program() -> PathBuf {
    let running = env::current_exe().unwrap_or_default();
    let folders = running.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join("misbehave"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| PathBuf::from("misbehave"))
}

impl Stage for Simulated {
    fn url(&self) -> String {
        self.look(super::World::root_url)
    }

    fn credentials(&self) -> Option<(String, String)> {
        self.look(|world| {
            let admin = world.options.accounts.iter().find(|account| account.may(super::Permission::Administer));
            let admin = admin.filter(|_| world.options.security)?;
            Some((admin.name.clone(), admin.token.clone().or_else(|| admin.password.clone())?))
        })
    }

    fn viewer(&self) -> Option<(String, String)> {
        use super::Permission::{Connect, Disconnect, Read};
        self.look(|world| {
            let mut accounts = world.options.accounts.iter().filter(|_| world.options.security);
            let viewer =
                accounts.find(|account| account.may(Read) && !account.may(Connect) && !account.may(Disconnect))?;
            Some((viewer.name.clone(), viewer.token.clone().or_else(|| viewer.password.clone())?))
        })
    }

    fn create_node(&self, name: &str, executors: u32) -> Result<()> {
        self.with(|world| world.add_node(name, executors));
        Ok(())
    }

    fn node(&self, name: &str) -> Result<NodeState> {
        self.look(|world| world.node_state(name)).with_context(|| format!("there is no node {name:?}"))
    }

    fn mark(&self, name: &str, reason: &str) -> Result<()> {
        Stage::node(self, name)?;
        self.with(|world| world.mark(name, "somebody", reason));
        Ok(())
    }

    fn clear(&self, name: &str) -> Result<()> {
        Stage::node(self, name)?;
        self.with(|world| world.clear(name, "somebody"));
        Ok(())
    }

    fn save_form(&self, name: &str) -> Result<()> {
        Stage::node(self, name)?;
        self.with(|world| world.save_form(name));
        Ok(())
    }

    fn disconnect(&self, name: &str) -> Result<()> {
        Stage::node(self, name)?;
        self.with(|world| world.lose_channel(name));
        Ok(())
    }

    fn agent_command(&self, name: &str) -> Vec<String> {
        let (flavour, program) = self.look(|world| (world.options.flavour, world.options.agent.clone()));
        let program = program.unwrap_or_else(agent_program).to_string_lossy().into_owned();
        let url = self.url();
        let arguments = match flavour {
            Flavour::Jenkins => {
                let secret = self.secret(name);
                vec!["-url".to_owned(), url, "-name".to_owned(), name.to_owned(), "-secret".to_owned(), secret]
            }
            Flavour::Hudson => {
                let mut arguments =
                    vec!["-jnlpUrl".to_owned(), format!("{url}computer/{}/slave-agent.jnlp", percent_encode(name))];
                if let Some((user, secret)) = self.credentials() {
                    arguments.extend(["-jnlpCredentials".to_owned(), format!("{user}:{secret}")]);
                }
                arguments
            }
        };
        [vec![program], arguments].concat()
    }

    fn start_build(&self, name: &str, gate: &Path) -> Result<BuildHandle> {
        Stage::node(self, name)?;
        Ok(self.with(|world| world.start_build(name, gate.to_owned())))
    }

    fn build(&self, build: &BuildHandle) -> Result<BuildState> {
        self.look(|world| world.build(build)).with_context(|| format!("there is no build of {}", build.job))
    }

    fn take_down(&mut self) -> Result<()> {
        self.down();
        Ok(())
    }

    fn bring_up(&mut self) -> Result<()> {
        // A scripted startup goes on by the requests that come in, so there is nothing to wait for.
        self.up()
    }
}
