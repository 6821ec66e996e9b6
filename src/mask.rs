//! What must not be read in a log or in a terminal's history: the user and the password of a URL.

use std::borrow::Cow;

use reqwest::Url;

/// What stands in for a secret.
pub(crate) const MASK: &str = "********";

/// A text that is, or was meant to be, one URL, its user information masked. One that cannot be read as a URL is masked
/// up to its last `@`: nobody knows how far the password goes.
pub(crate) fn url(text: &str) -> Cow<'_, str> {
    let Some(at) = text.rfind('@') else { return Cow::Borrowed(text) };
    let scheme = text[..at].find("://").filter(|end| is_scheme(&text[..*end]));
    match scheme {
        Some(_) if Url::parse(text).is_ok_and(|url| !has_user_information(&url)) => Cow::Borrowed(text),
        Some(end) => Cow::Owned(format!("{}://{MASK}{}", &text[..end], &text[at..])),
        None => Cow::Owned(format!("{MASK}{}", &text[at..])),
    }
}

/// A text that may have URLs in it, the user information of each masked.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    let mut masked = String::new();
    let mut done = 0;
    while let Some(found) = text[done..].find("://") {
        let start = done + found + "://".len();
        let run = run(&text[start..]);
        masked.push_str(&text[done..start]);
        done = start;
        if let Some(at) = end_of_user_information(scheme_before(&text[..start]), run) {
            masked.push_str(MASK);
            done += at;
        }
    }
    if masked.is_empty() {
        return Cow::Borrowed(text);
    }
    masked.push_str(&text[done..]);
    Cow::Owned(masked)
}

/// Whether a URL names a user or a password.
pub(crate) fn has_user_information(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The scheme that this text ends with, with its `://`.
fn scheme_before(text: &str) -> &str {
    let bare = text.trim_end_matches("://");
    let start = bare.rfind(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let start = start.map_or(0, |at| at + bare[at..].chars().next().map_or(1, char::len_utf8));
    &text[start..]
}

/// As far as a URL can go within a text, which may be JSON.
fn run(text: &str) -> &str {
    let end = text.find(|c: char| c.is_whitespace() || c.is_control() || "\"'`<>\\".contains(c));
    &text[..end.unwrap_or(text.len())]
}

/// Where the user information ends, at its `@`, in what follows the `://`.
fn end_of_user_information(scheme: &str, run: &str) -> Option<usize> {
    let authority = &run[..run.find(['/', '?', '#']).unwrap_or(run.len())];
    authority.rfind('@').or_else(|| {
        // A slash in a password ends the authority early, and what is left of it is no port.
        let at = run.rfind('@')?;
        Url::parse(&format!("{scheme}{run}")).is_err().then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_without_a_user_stays() {
        for written in [
            "https://ci.example/jenkins/",
            "https://ci/computer/linux@host/slave-agent.jnlp",
            "http://ci:8080/@x?mail=a@b",
            "http://[::1]:8080/",
            "",
            "ci.example",
        ] {
            assert_eq!(url(written), written);
            assert_eq!(text(written), written);
        }
    }

    #[test]
    fn a_user_and_a_password_are_masked() {
        for (written, shown) in [
            ("https://me:hush@ci/x", "https://********@ci/x"),
            ("https://hush@ci", "https://********@ci"),
            ("https://me:h@hush@ci/", "https://********@ci/"),
            ("https://me:hu/hush@ci/", "https://********@ci/"),
            ("https://me:hu?hush@ci/", "https://********@ci/"),
            ("HTTPS://me:%68ush@ci/a@b", "HTTPS://********@b"),
            ("me:hush@ci", "********@ci"),
            ("https:me:hush@ci", "********@ci"),
            ("me:hush://x@ci", "********@ci"),
        ] {
            assert_eq!(url(written), shown);
            assert_eq!(url(shown), shown, "twice");
        }
    }

    #[test]
    fn urls_are_found_in_a_text() {
        for (written, shown) in [
            (
                "see http://me:hush@a/, http://b/ and ftp://hush@c",
                "see http://********@a/, http://b/ and ftp://********@c",
            ),
            ("(http://me:hu/hush@ci/)", "(http://********@ci/)"),
            (r#"{"url":"http://me:hush@ci","node":"a@b"}"#, r#"{"url":"http://********@ci","node":"a@b"}"#),
            (r#"{"url":"http://ci","node":"a@b"}"#, r#"{"url":"http://ci","node":"a@b"}"#),
            ("http://ci\na@b", "http://ci\na@b"),
            ("é://me:hush@ci", "é://********@ci"),
            ("://", "://"),
            ("a@b: no URL", "a@b: no URL"),
        ] {
            assert_eq!(text(written), shown);
            assert_eq!(text(shown), shown, "twice");
        }
    }

    proptest! {
        #[test]
        fn no_password_gets_through(user in "[^\\s/?#:@]{0,5}", password in "[a-z0-9:/?#@!$&()*+,;=%é]{0,8}") {
            let written = format!("https://{user}:zq{password}zq@ci.example/x");
            // Whoever reads such a URL may take a part of the password for the host; then the rest is no secret of theirs.
            let read = Url::parse(&written).is_ok_and(|url| url.host_str() != Some("ci.example"));
            if !read {
                prop_assert!(!url(&written).contains("zq"), "{}", url(&written));
            }
        }

        #[test]
        fn any_text_can_be_masked(written in any::<String>()) {
            let (masked, once) = (text(&written).into_owned(), url(&written).into_owned());
            prop_assert_eq!(text(&masked), masked.as_str());
            prop_assert_eq!(url(&once), once.as_str());
        }
    }
}
