//! A node of its own on the controller, and what is seen of it.

use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::service::{Service, Watched, until};
use crate::{
    hudson::Hudson,
    stage::{NodeState, Stage as _},
};

pub(super) struct Scene<'a> {
    pub(super) hudson: &'a mut Hudson,
    node: String,
    directory: TempDir,
}

impl<'a> Scene<'a> {
    pub(super) fn new(hudson: &'a mut Hudson, node: &str) -> Result<Self> {
        hudson.create_node(node, 1)?;
        Ok(Self { hudson, node: node.to_owned(), directory: tempfile::tempdir().context("no directory")? })
    }

    pub(super) fn node(&self) -> &str {
        &self.node
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn url(&self) -> String {
        self.hudson.url()
    }

    pub(super) fn credentials(&self) -> Option<(String, String)> {
        self.hudson.credentials()
    }

    pub(super) fn agent_command(&self) -> Vec<String> {
        self.hudson.agent_command(&self.node)
    }

    pub(super) fn mark(&self) -> Result<()> {
        self.hudson.mark(&self.node, "marked at the last stop")
    }

    /// The node once the service has settled. The agent is connected then, as both it and the controller say, and nobody
    /// is left who would change the mark; so what is read stays.
    pub(super) fn settled(&self, service: &mut dyn Service) -> Result<NodeState> {
        until("the service to settle", || service.has_settled())?;
        self.connected()
    }

    /// The node once a plain agent that was started beside any service is connected.
    pub(super) fn with_agent(&self, agent: &Watched) -> Result<NodeState> {
        until("the agent to connect", || Ok(agent.agent_is_connected()))?;
        self.connected()
    }

    fn connected(&self) -> Result<NodeState> {
        until("the controller to have the agent's channel", || self.hudson.has_connected(&self.node))?;
        let state = self.state()?;
        if !state.marked {
            until("the node to be online or marked", || {
                Ok(self.state().is_ok_and(|state| !state.offline || state.marked))
            })?;
        }
        self.state()
    }

    pub(super) fn state(&self) -> Result<NodeState> {
        self.hudson.node(&self.node)
    }
}
