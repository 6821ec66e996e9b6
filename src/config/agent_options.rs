//! The options of agent.jar and of java, and which of them have a value in the next word.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::nearest::nearest;

/// Options of agent.jar that take a value.
const WITH_VALUE: [&str; 25] = [
    "-agentLog",
    "-auth",
    "-cert",
    "-classpath",
    "-connectTo",
    "-cp",
    "-credentials",
    "-direct",
    "-directConnection",
    "-instanceIdentity",
    "-internalDir",
    "-jar-cache",
    "-jnlpCredentials",
    "-jnlpUrl",
    "-loggingConfig",
    "-name",
    "-noReconnectAfter",
    "-protocols",
    "-proxyCredentials",
    "-secret",
    "-slaveLog",
    "-tcp",
    "-tunnel",
    "-url",
    "-webSocketHeader",
];

/// Also with a value, but the only one that is no text of a line.
const WORK_DIR: &str = "-workDir";

/// Whether this option of agent.jar has a value.
pub(super) fn takes_value(name: &str) -> bool {
    name == WORK_DIR || WITH_VALUE.contains(&name)
}

/// Options of agent.jar without a value.
const WITHOUT_VALUE: [&str; 10] = [
    "-disableHttpsCertValidation",
    "-failIfWorkDirIsMissing",
    "-headless",
    "-noCertificateCheck",
    "-noKeepAlive",
    "-noReconnect",
    "-noreconnect",
    "-ping",
    "-text",
    "-webSocket",
];

/// What agent.jar only answers.
const QUESTIONS: [&str; 5] = ["-help", "--help", "-version", "--version", "-showVersion"];

/// Whether this is an option of some agent.jar.
pub(super) fn is_known(name: &str) -> bool {
    takes_value(name) || WITHOUT_VALUE.contains(&name) || QUESTIONS.contains(&name)
}

/// The option that a misspelt one was probably meant to be.
pub(super) fn nearest_option(name: &str) -> Option<&'static str> {
    nearest(name, WITH_VALUE.into_iter().chain([WORK_DIR]).chain(WITHOUT_VALUE))
}

/// Whether a word can only be meant for agent.jar.
pub(super) fn is_option(word: &OsStr) -> bool {
    let name = word.to_str().map(|text| text.split_once('=').map_or(text, |(name, _)| name));
    word.as_bytes().starts_with(b"@") || name.is_some_and(|name| takes_value(name) || WITHOUT_VALUE.contains(&name))
}

/// Options of java whose value is the next word.
const JAVA_WITH_VALUE: [&str; 14] = [
    "-cp",
    "-classpath",
    "-p",
    "--add-exports",
    "--add-modules",
    "--add-opens",
    "--add-reads",
    "--class-path",
    "--enable-native-access",
    "--limit-modules",
    "--module-path",
    "--patch-module",
    "--source",
    "--upgrade-module-path",
];

/// Whether java would take all words of a range for options of its own.
pub(super) fn are_java_options(command: &[OsString], from: usize, to: usize) -> bool {
    let mut at = from;
    while at < to {
        let word = &command[at];
        if !word.as_bytes().starts_with(b"-") && !word.as_bytes().starts_with(b"@") {
            return false;
        }
        at += if JAVA_WITH_VALUE.iter().any(|option| word == option) { 2 } else { 1 };
    }
    true
}
