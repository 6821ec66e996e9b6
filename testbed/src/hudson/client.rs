//! Its HTTP interface, as an administrator.

use std::{fs::File, io, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

/// User and password of the account that may do everything.
pub(super) const ADMINISTRATOR: (&str, &str) = ("admin", "admin-of-the-testbed");
/// User and password of the account that may only look.
pub(super) const VIEWER: (&str, &str) = ("viewer", "viewer-of-the-testbed");

const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    root: String,
    authorization: Option<String>,
}

impl Client {
    pub(super) fn new(address: SocketAddr, account: Option<(&str, &str)>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self {
            agent: config.into(),
            root: format!("http://{address}/"),
            authorization: account.map(|(user, password)| basic(user, password)),
        }
    }

    /// The root URL, with a slash at the end.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// The status of a GET; `None` when there is no answer.
    pub(super) fn status(&self, path: &str) -> Result<Option<u16>> {
        match self.get(path, self.authorization.as_deref()) {
            Ok(response) => Ok(Some(response.status().as_u16())),
            Err(ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_)) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}{path}", self.root)),
        }
    }

    /// The JSON that a GET answers.
    pub(super) fn get_json(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.get_text(path)?).with_context(|| format!("GET {}{path}", self.root))
    }

    /// The text that a GET answers.
    pub(super) fn get_text(&self, path: &str) -> Result<String> {
        let what = || format!("GET {}{path}", self.root);
        let mut response = self.get(path, self.authorization.as_deref()).with_context(what)?;
        let status = response.status();
        let text = response.body_mut().read_to_string().with_context(what)?;
        if status != 200 {
            bail!("{}: {status}", what());
        }
        Ok(text)
    }

    /// Saves what a GET answers.
    pub(super) fn download(&self, path: &str, file: &Path) -> Result<()> {
        let what = || format!("cannot fetch {}{path} to {}", self.root, file.display());
        let mut response = self.get(path, self.authorization.as_deref()).with_context(what)?;
        if response.status() != 200 {
            bail!("{}: {}", what(), response.status());
        }
        io::copy(&mut response.body_mut().as_reader(), &mut File::create(file).with_context(what)?)
            .with_context(what)?;
        Ok(())
    }

    /// POSTs a form. Done is a 200 or the redirect to the next page; a body is not looked at.
    pub(super) fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Result<()> {
        let form: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", segment(name), segment(value))).collect();
        self.post(path, "application/x-www-form-urlencoded", &form.join("&"))
    }

    /// POSTs a definition.
    pub(super) fn post_xml(&self, path: &str, xml: &str) -> Result<()> {
        self.post(path, "application/xml; charset=UTF-8", xml)
    }

    /// Whether both accounts exist; creates them, once it is up far enough.
    pub(super) fn has_accounts(&self) -> Result<bool> {
        for (user, password) in [ADMINISTRATOR, VIEWER] {
            let authorization = basic(user, password);
            let known = self.get("api/json", Some(&authorization));
            match known.map(|response| response.status().as_u16()) {
                Ok(200) => {}
                Ok(401) => {
                    self.create_account(user, password)?;
                    return Ok(false);
                }
                // It still starts.
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Signs up, as a browser without an account does.
    fn create_account(&self, user: &str, password: &str) -> Result<()> {
        let page = self.get("signup", None)?.body_mut().read_to_string()?;
        let Some(crumb) = page.split("crumb.init(\".crumb\", \"").nth(1).and_then(|rest| rest.split('"').next()) else {
            // The page of a controller that still starts has none.
            return Ok(());
        };
        let form =
            format!("username={user}&password1={password}&password2={password}&fullname={user}&email=a@b.invalid");
        self.agent
            .post(format!("{}securityRealm/createAccount", self.root))
            .header(".crumb", crumb)
            .content_type("application/x-www-form-urlencoded")
            .send(&form)
            .with_context(|| format!("cannot create the account {user}"))?;
        Ok(())
    }

    fn get(&self, path: &str, authorization: Option<&str>) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(self.locate(path));
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        request.call()
    }

    fn post(&self, path: &str, kind: &str, body: &str) -> Result<()> {
        let what = || format!("POST {}{path}", self.root);
        let mut request = self.agent.post(self.locate(path)).content_type(kind);
        if let Some(authorization) = &self.authorization {
            let crumb = self.get_json("crumbIssuer/api/json")?;
            let crumb = crumb["crumb"].as_str().context("no crumb in the answer of crumbIssuer")?.to_owned();
            request = request.header("Authorization", authorization).header(".crumb", crumb);
        }
        let response = request.send(body).with_context(what)?;
        match response.status().as_u16() {
            200 | 302 => Ok(()),
            status => bail!("{}: {status}", what()),
        }
    }

    /// The URL of a path; the brackets of a `tree` are the one thing in our paths that a URL may not hold.
    fn locate(&self, path: &str) -> String {
        format!("{}{}", self.root, path.replace('[', "%5B").replace(']', "%5D"))
    }
}

/// Text as one path segment or form value, percent-encoded.
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_keeps_only_what_is_unreserved() {
        assert_eq!(segment("my node/ä~"), "my%20node%2F%C3%A4~");
    }
}
