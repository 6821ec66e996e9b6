//! What an agent needs to connect: its secret, and whether the controller has a port for agents.

use std::time::Duration;

use reqwest::StatusCode;
use secrecy::SecretString;

use super::client::Controller;
use super::error::ControllerError;
use super::http::{header, shown};

/// How long all the questions together may take.
const WITHIN: Duration = Duration::from_secs(30);

/// The file with the secret; the second name is the older one, and Hudson's.
const JNLP_FILES: [&str; 2] = ["jenkins-agent.jnlp", "slave-agent.jnlp"];

/// How an inbound agent of this node connects.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The node's secret, in hexadecimal digits.
    pub secret: SecretString,
    /// The controller is a Hudson: its agent knows `-jnlpUrl` and neither `-url` nor `-webSocket`.
    pub hudson: bool,
    /// The controller has no port for agents, so they have to come by WebSocket.
    pub web_socket: bool,
    /// The URL of the node's jnlp file.
    pub jnlp_url: String,
}

impl Controller {
    /// Asks for everything that an agent's command line needs. Takes half a minute at the most.
    ///
    /// # Errors
    /// Without Agent/Connect, for a node that is launched in another way, and for everything that can go wrong with a
    /// read.
    pub async fn inbound(&self) -> Result<Inbound, ControllerError> {
        let url = || self.shown(&self.root().page(&self.node.page(JNLP_FILES[0])));
        let asked = tokio::time::timeout(WITHIN, self.ask_inbound()).await;
        asked.unwrap_or_else(|_| Err(ControllerError::Timeout { url: url(), within: WITHIN }))
    }

    async fn ask_inbound(&self) -> Result<Inbound, ControllerError> {
        let (jnlp_url, secret) = self.jnlp().await?;
        let hudson = self.is_hudson().await?;
        let web_socket = !hudson && !self.has_agent_port().await?;
        Ok(Inbound { secret, hudson, web_socket, jnlp_url })
    }

    async fn jnlp(&self) -> Result<(String, SecretString), ControllerError> {
        for file in JNLP_FILES {
            let answer = self.get(&self.node.page(file)).await?;
            match answer.status {
                StatusCode::OK => {
                    let url = shown(&answer.url);
                    return match secret(&answer.body) {
                        Some(secret) => Ok((url, secret)),
                        None => Err(ControllerError::Garbage { url, why: "there is no secret in it".to_owned() }),
                    };
                }
                StatusCode::NOT_FOUND => {}
                _ => return Err(self.refusal(&answer)),
            }
        }
        self.get_node("api/json?tree=displayName").await?;
        Err(ControllerError::NotInbound { node: self.node.plain().to_owned() })
    }

    /// A Jenkins says so on every answer, or has classes in its JSON; a Hudson says so on its root page alone.
    async fn is_hudson(&self) -> Result<bool, ControllerError> {
        let root = self.get("api/json?tree=mode").await?;
        if root.header("x-jenkins").is_some() || root.mentions("\"_class\"") {
            return Ok(false);
        }
        let page = self.open("").await?;
        Ok(header(page.headers(), "x-hudson").is_some() && header(page.headers(), "x-jenkins").is_none())
    }

    async fn has_agent_port(&self) -> Result<bool, ControllerError> {
        let answer = self.get("tcpSlaveAgentListener/").await?;
        if answer.status.is_server_error() {
            return Err(self.refusal(&answer));
        }
        let port = answer.header("x-jenkins-jnlp-port").or(answer.header("x-hudson-jnlp-port"));
        Ok(answer.status == StatusCode::OK && port.is_some_and(|port| port.trim().parse::<u16>().is_ok()))
    }
}

/// The first argument in the jnlp file.
fn secret(jnlp: &[u8]) -> Option<SecretString> {
    let text = std::str::from_utf8(jnlp).ok()?;
    let (_, rest) = text.split_once("<argument>")?;
    let (argument, _) = rest.split_once("</argument>")?;
    let argument = argument.trim();
    let is_secret = argument.len() >= 32 && argument.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_secret.then(|| SecretString::from(argument))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::testing::{Server, answer, json};
    use super::*;

    const RECORDING: &str = include_str!("../../testbed/recordings/jenkins-2.578.json");
    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn jnlp() -> String {
        format!("<jnlp><application-desc><argument>{HEX}</argument><argument>n</argument></application-desc></jnlp>")
    }

    #[test]
    fn the_recorded_file_has_its_secret_found() {
        let exchanges: Vec<serde_json::Value> = serde_json::from_str(RECORDING).unwrap();
        let found = exchanges.iter().find(|exchange| exchange["what"] == "jnlp file (secret shortened)").unwrap();
        assert_eq!(secret(found["body"].as_str().unwrap().as_bytes()).unwrap().expose_secret(), HEX);
        for nothing in ["", "<argument>", "<argument>n 1</argument>", "<html>login</html>"] {
            assert!(secret(nothing.as_bytes()).is_none());
        }
    }

    #[tokio::test]
    async fn a_jenkins_with_and_without_a_port_for_agents() {
        for (headers, status, web_socket) in [
            ("X-Jenkins-JNLP-Port: 50000\r\n", "200 OK", false),
            ("X-Hudson-JNLP-Port: 50000\r\n", "200 OK", false),
            ("", "200 OK", true),
            ("", "404 Not Found", true),
        ] {
            let server = Server::start(move |request| match request.split(' ').nth(1) {
                Some("/computer/n%201/jenkins-agent.jnlp") => answer("200 OK", "", &jnlp()),
                Some("/tcpSlaveAgentListener/") => answer(status, headers, ""),
                _ => json("{\"mode\":\"NORMAL\"}"),
            })
            .await;
            let inbound = server.client().inbound().await.unwrap();
            assert_eq!((inbound.hudson, inbound.web_socket), (false, web_socket));
            assert_eq!(inbound.secret.expose_secret(), HEX);
            assert!(inbound.jnlp_url.ends_with("/computer/n%201/jenkins-agent.jnlp"));
            assert!(!format!("{inbound:?}").contains("0123"));
        }
    }

    #[tokio::test]
    async fn a_hudson() {
        let server = Server::start(|request| match request.split(' ').nth(1) {
            Some("/computer/n%201/slave-agent.jnlp") => answer("200 OK", "", &jnlp()),
            Some("/api/json?tree=mode") => answer("200 OK", "", "{\"mode\":\"NORMAL\"}"),
            Some("/") => answer("200 OK", "X-Hudson: 3.0.0\r\n", "<html>"),
            _ => answer("404 Not Found", "", ""),
        })
        .await;
        let inbound = server.client().inbound().await.unwrap();
        assert!(inbound.hudson && !inbound.web_socket);
        assert!(inbound.jnlp_url.ends_with("/slave-agent.jnlp"));
    }

    #[tokio::test]
    async fn a_node_that_is_launched_in_another_way() {
        let server = Server::start(|request| {
            if request.contains(".jnlp") { answer("404 Not Found", "", "") } else { json("{\"displayName\":\"n 1\"}") }
        })
        .await;
        let error = server.client().inbound().await.unwrap_err();
        assert!(matches!(error, ControllerError::NotInbound { .. }), "{error}");
    }

    #[tokio::test]
    async fn without_the_permission() {
        let server =
            Server::start(|_| answer("403 Forbidden", "X-Required-Permission: hudson.model.Computer.Connect\r\n", ""))
                .await;
        let error = server.client().inbound().await.unwrap_err();
        assert!(error.to_string().contains("Agent/Connect"), "{error}");
    }
}
