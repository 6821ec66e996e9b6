//! What it is configured with, and how it words a mark's reason.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::client;

/// The `type` of an inbound node.
pub(super) const NODE_KIND: &str = "hudson.slaves.DumbSlave$DescriptorImpl";

/// The `config.xml` of a new controller. It builds nothing itself.
pub(super) fn configuration(security: bool) -> String {
    let security = if security { secured() } else { "<useSecurity>false</useSecurity>".to_owned() };
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>
<hudson>
  <version>3.0.0</version>
  <numExecutors>0</numExecutors>
  <mode>NORMAL</mode>
  {security}
  <slaves/>
  <slaveAgentPort>0</slaveAgentPort>
</hudson>
"
    )
}

fn secured() -> String {
    let ((administrator, _), (viewer, _)) = (client::ADMINISTRATOR, client::VIEWER);
    format!(
        "<useSecurity>true</useSecurity>
  <authorizationStrategy class=\"hudson.security.GlobalMatrixAuthorizationStrategy\">
    <permission>hudson.model.Hudson.Administer:{administrator}</permission>
    <permission>hudson.model.Hudson.Read:{viewer}</permission>
    <permission>hudson.model.Item.Read:{viewer}</permission>
  </authorizationStrategy>
  <securityRealm class=\"hudson.security.HudsonPrivateSecurityRealm\">
    <disableSignup>false</disableSignup>
  </securityRealm>
  <crumbIssuer class=\"hudson.security.csrf.DefaultCrumbIssuer\">
    <excludeClientIPFromCrumb>false</excludeClientIPFromCrumb>
  </crumbIssuer>"
    )
}

/// The form of a new inbound node. Every node has a label of its own name without being given one.
pub(super) fn node(name: &str, executors: u32, files: &Path) -> String {
    json!({
        "name": name,
        "nodeDescription": "",
        "numExecutors": executors.to_string(),
        "remoteFS": files,
        "labelString": "",
        "mode": "NORMAL",
        "launcher": {"stapler-class": "hudson.slaves.JNLPLauncher"},
        "retentionStrategy": {"stapler-class": "hudson.slaves.RetentionStrategy$Always"},
        "nodeProperties": {"stapler-class-bag": "true"},
        "type": NODE_KIND,
    })
    .to_string()
}

/// A job for this node alone whose build runs until the file `gate` exists.
pub(super) fn job(node: &str, gate: &Path) -> Result<String> {
    let gate = gate.to_str().context("the gate's path is not UTF-8")?;
    if node.contains('"') || gate.contains('\'') {
        bail!("a quote in the node's name or the gate's path: {node}, {gate}");
    }
    let script = format!("while [ ! -e '{gate}' ]; do sleep 0.2; done");
    Ok(format!(
        "<?xml version='1.0' encoding='UTF-8'?>
<project>
  <assignedNode>{}</assignedNode>
  <canRoam>false</canRoam>
  <builders><hudson.tasks.Shell><command>{}</command></hudson.tasks.Shell></builders>
  <publishers/>
  <buildWrappers/>
</project>
",
        escape(&format!("\"{node}\"")),
        escape(&script)
    ))
}

/// The text that somebody marked the node with, of "Disconnected by USER : TEXT", which is HTML.
pub(super) fn reason(description: &str) -> String {
    let text = match description.strip_prefix("Disconnected by ") {
        Some(by) => by.split_once(" : ").map_or("", |(_, text)| text),
        None => description,
    };
    unescape(text)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    let quotes = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#039;", "'");
    quotes.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_what_was_typed() {
        assert_eq!(reason("Disconnected by admin : a &amp; b : &lt;c&gt;"), "a & b : <c>");
        assert_eq!(reason("Disconnected by anonymous"), "");
        assert_eq!(reason("Disk space is too low"), "Disk space is too low");
    }
}
