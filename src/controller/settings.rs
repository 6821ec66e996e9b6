//! What a client of the controller has to be told.

use std::path::PathBuf;

use regex_lite::Regex;

use super::credentials::CredentialSource;
use super::marker::Marker;

/// Everything about the controller and the node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The controller's root URL, http or https, with its context path; a slash at the end is added.
    pub url: String,
    /// The node's name as the controller shows it.
    pub node: String,
    /// Who we are; `None` asks anonymously.
    pub credentials: Option<CredentialSource>,
    /// The variable of the environment that the token came from, if it came from one.
    pub token_variable: Option<String>,
    /// A PEM file with authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Who we are in the reasons that we write.
    pub marker: Marker,
    /// The pattern of `--online match=REGEX`.
    pub online_match: Option<Regex>,
    /// The state file says that a mark of ours is on the node.
    pub claimed: bool,
    /// The `User-Agent` header.
    pub user_agent: String,
}
