//! From words to values. Every error is the end of a sentence that begins with where the value was given.

use agent_wrap_supervisor::Span;

use super::nearest::nearest;
use crate::quoted::quoted;
use crate::{mask, signals};

const LONGEST: Span = Span::seconds(365 * 24 * 60 * 60);

/// A length of time: `90s`, `5m`, `1h 30m`, `500ms`, or plain seconds.
pub(crate) fn time(text: &str) -> Result<Span, String> {
    let text = text.trim();
    let wrong =
        || format!("{} is not a length of time; write it like 90s, 5m or 1h 30m, or as whole seconds", quoted(text));
    let span = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Span::seconds(text.parse().map_err(|_| wrong())?)
    } else {
        let duration = humantime::parse_duration(text).map_err(|_| wrong())?;
        if !duration.is_zero() && duration.as_millis() == 0 {
            return Err(format!("{} is less than a millisecond", quoted(text)));
        }
        Span::millis(u64::try_from(duration.as_millis()).map_err(|_| wrong())?)
    };
    if span > LONGEST { Err(format!("{} is longer than a year", quoted(text))) } else { Ok(span) }
}

/// A length of time that has to be longer than nothing.
pub(crate) fn positive_time(text: &str) -> Result<Span, String> {
    match time(text)? {
        Span::ZERO => Err("must be longer than 0".to_owned()),
        span => Ok(span),
    }
}

/// A whole number from 0 on.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("{} is not a whole number from 0 to {}", quoted(text), u32::MAX))
}

/// What the kernel adds to how likely it is to end a process when memory runs out.
pub(crate) fn oom_score_adj(text: &str) -> Result<i16, String> {
    let number = text.trim().parse().ok().filter(|number| (-1000..=1000).contains(number));
    number.ok_or_else(|| format!("{} is not a whole number from -1000 to 1000", quoted(text)))
}

/// True or false.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false", quoted(text))),
    }
}

/// One of some words.
pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    Err(match nearest(text, words.iter().copied()) {
        Some(word) => format!("{} is not known; is {word} meant?", quoted(text)),
        None => format!("{} is not known; it is one of {}", quoted(text), words.join(", ")),
    })
}

/// The root of a controller: http or https, nothing secret in it, a slash at its end.
pub(crate) fn root_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = |why: &str| format!("{} is not the root of a controller: {why}", quoted(&*mask::url(text)));
    let mut url = reqwest::Url::parse(text).map_err(|error| {
        wrong(&format!("{error}; write it like https://jenkins.example.org/ with its context path"))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it must begin with https:// or http://"));
    }
    if mask::has_user_information(&url) {
        return Err("the URL holds credentials, and URLs are shown in logs; use --user and --token-file".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("there must be no ? and no # in it"));
    }
    if url.path().contains("/computer/") {
        return Err(wrong("this is the page of a node; leave out everything from /computer/ on"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url.into())
}

/// A URL without the user and the password that it may have; whether it had them.
pub(crate) fn without_user_information(text: &str) -> (String, bool) {
    match reqwest::Url::parse(text.trim()) {
        Ok(mut url) if mask::has_user_information(&url) => {
            let removed = url.set_username("").and_then(|()| url.set_password(None)).is_ok();
            if removed { (url.into(), true) } else { (text.to_owned(), false) }
        }
        Ok(_) | Err(_) => (text.to_owned(), false),
    }
}

/// The name of a user. The token beside it has its own place.
pub(crate) fn user(text: &str) -> Result<String, String> {
    if text.contains(':') {
        return Err(
            "there is a colon in it, which no user name can have; a token does not belong here, where others can \
                    read it: write it, or USER:TOKEN, to the file that --token-file names"
                .to_owned(),
        );
    }
    line(text)
}

/// The name of a node.
pub(crate) fn node_name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("the name is empty".to_owned());
    }
    if text.chars().any(|c| c.is_control() || c == '/') {
        return Err(format!("{} cannot be a node: its name has a slash or a control character", quoted(text)));
    }
    if matches!(text, "(built-in)" | "(master)") {
        return Err(format!("{text} is the controller's own node, which has no agent"));
    }
    Ok(text.to_owned())
}

/// A text of at least one character, on one line.
pub(crate) fn line(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{} has a control character in it", quoted(text)));
    }
    Ok(text.to_owned())
}

/// A signal and its verb.
pub(crate) fn signal(name: &str, verb: &str) -> Result<signals::Setting, String> {
    let signal = signals::settable(name).map_err(|error| error.to_string())?;
    Ok(signals::Setting { signal, verb: choice(verb.trim(), &signals::Verb::WORDS)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("90", 90_000),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            (" 2s ", 2_000),
        ] {
            assert_eq!(time(text), Ok(Span::millis(millis)), "{text}");
        }
        for text in ["", "5x", "-1", "1.5", "m", "10us", "99999999999999999999", "2years", "never"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(positive_time("0"), Err("must be longer than 0".to_owned()));
    }

    #[test]
    fn roots_of_controllers() {
        for (text, root) in [
            ("https://ci.example.org", "https://ci.example.org/"),
            ("https://ci.example.org/jenkins", "https://ci.example.org/jenkins/"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
            ("http://[::1]:8080/x", "http://[::1]:8080/x/"),
            ("HTTPS://CI.Example.org:443/a%20b/", "https://ci.example.org/a%20b/"),
        ] {
            assert_eq!(root_url(text).as_deref(), Ok(root), "{text}");
        }
        for text in [
            "",
            "ci.example.org",
            "ftp://ci/",
            "https://me:secret@ci/",
            "https://me:se/secret@ci/",
            "me:secret@ci/",
            "ftp://me:secret@ci/",
            "https://me:secret@ci/?a=b",
            "https://ci/?a=b",
            "https://ci/#x",
            "https://ci/computer/a/",
        ] {
            let error = root_url(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn credentials_are_taken_out_of_a_url() {
        let with = |text: &str| (text.to_owned(), true);
        let without = |text: &str| (text.to_owned(), false);
        assert_eq!(without_user_information("https://me:hush@ci:8443/x"), with("https://ci:8443/x"));
        assert_eq!(without_user_information("https://me@ci"), with("https://ci/"));
        assert_eq!(without_user_information("https://ci/a@b"), without("https://ci/a@b"));
        assert_eq!(without_user_information("u"), without("u"));
    }

    #[test]
    fn a_user_is_no_place_for_a_token() {
        assert_eq!(user("me").as_deref(), Ok("me"));
        assert!(user("").is_err());
        let error = user("me:hush").unwrap_err();
        assert!(error.contains("--token-file") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn names_of_nodes() {
        assert_eq!(node_name("linux 7").as_deref(), Ok("linux 7"));
        assert_eq!(node_name("Zürich").as_deref(), Ok("Zürich"));
        for name in ["", "  ", "a/b", "a\nb", "(built-in)", "(master)"] {
            assert!(node_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn signals_and_verbs() {
        let stop = signals::Verb::Stop;
        assert_eq!(signal("HUP", "stop"), Ok(signals::Setting { signal: 1, verb: stop }));
        assert_eq!(signal("SIGRTMAX", " stop "), Ok(signals::Setting { signal: 64, verb: stop }));
        assert_eq!(signal("HUP", "stpo"), Err("\"stpo\" is not known; is stop meant?".to_owned()));
        for name in ["", "H P", "KILL", "CHLD", "32"] {
            assert!(signal(name, "stop").is_err(), "{name}");
        }
    }
}
