//! Which parts of a command are secret: the values of options that say so by their names, the node's secret wherever it
//! stands, and the user information of URLs.

use std::ffi::{OsStr, OsString};

use super::agent_command::{AgentCommand, Place};
use super::script::{Piece, pieces, unquoted};
use crate::mask::{self, MASK};

/// How names of options, properties and variables end whose value is secret.
const ENDINGS: [&str; 7] = ["secret", "password", "passwd", "passphrase", "token", "credentials", "apikey"];

/// Options of agent.jar, and of Swarm's client, whose value is a URL.
const URLS: [&str; 4] = ["-url", "-jnlpUrl", "-master", "--url"];

/// The option of agent.jar whose value is a header: `NAME=VALUE`.
const HEADER: &str = "-webSocketHeader";

/// Each argument as it may be shown; `None` where it may be shown as it is.
pub(super) fn conceal(arguments: &[OsString]) -> Vec<Option<String>> {
    let agent = AgentCommand::read(arguments, &|_| None);
    let secret = agent.doubtful_secret().map(|word| word.place);
    let mut follows = Follows::Anything;
    let concealed = arguments.iter().enumerate().map(|(index, argument)| {
        let text = argument.to_string_lossy();
        // The program's own name is no value, whatever it looks like.
        let masked = match text.as_ref() {
            text if secret == Some(Place::Whole(index)) => hidden(text),
            text if text.contains(char::is_whitespace) && follows == Follows::Anything => {
                // A value with blanks in it, and not a script that begins with an assignment.
                let assigns = text.split_once('=').filter(|(name, _)| names_a_secret(name));
                match assigns.filter(|_| index == 0 || !takes_a_script(&arguments[index - 1])) {
                    Some((name, value)) => format!("{name}={}", hidden(value)),
                    None => script(text),
                }
            }
            text => word(text, follows),
        };
        follows = Follows::after(&text);
        (masked != text).then_some(masked)
    });
    concealed.collect()
}

/// What the word before says about a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    Anything,
    Secret,
    Url,
    Header,
}

impl Follows {
    fn after(word: &str) -> Self {
        match word {
            HEADER => Self::Header,
            option if URLS.contains(&option) => Self::Url,
            option if option.starts_with('-') && !option.starts_with("-D") && names_a_secret(option) => Self::Secret,
            _ => Self::Anything,
        }
    }
}

fn word(text: &str, follows: Follows) -> String {
    match (follows, text.split_once('=')) {
        (Follows::Secret, _) => hidden(text),
        (Follows::Url, _) => mask::url(text).into_owned(),
        (Follows::Header, Some((name, _))) => format!("{name}={MASK}"),
        (Follows::Header, None) => MASK.to_owned(),
        (Follows::Anything, Some((name, value))) if names_a_secret(name) => format!("{name}={}", hidden(value)),
        (Follows::Anything, Some((name, value))) if URLS.contains(&name) => format!("{name}={}", mask::url(value)),
        (Follows::Anything, Some((name, value))) if name == HEADER => {
            format!("{name}={}", word(value, Follows::Header))
        }
        (Follows::Anything, Some((name, value))) if is_name(name) && value.contains("://") => {
            format!("{name}={}", whole(value))
        }
        (Follows::Anything, _) => whole(text),
    }
}

/// `-c` of a shell, also among its other letters.
fn takes_a_script(option: &OsStr) -> bool {
    let letters = option.to_str().and_then(|option| option.strip_prefix('-'));
    letters.is_some_and(|letters| letters.ends_with('c') && !letters.starts_with('-'))
}

/// A word of its own: a URL from its first character on, or something with URLs or secrets in it.
fn whole(text: &str) -> String {
    let scheme = text.find("://").is_some_and(|end| text[..end].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let masked = if scheme { mask::url(text) } else { mask::text(text) };
    without_hexadecimals(&masked)
}

/// A secret, unless it is only the name of the file that holds it, or nothing at all.
fn hidden(text: &str) -> String {
    if text.is_empty() || text.starts_with('@') { text.to_owned() } else { MASK.to_owned() }
}

/// A shell's script: the words of each of its commands as if they were arguments of ours.
fn script(text: &str) -> String {
    let pieces = pieces(text);
    let mut shown = String::with_capacity(text.len());
    for command in pieces.split_inclusive(|piece| matches!(piece, Piece::End(_))) {
        let words = command.iter().filter_map(|piece| match piece {
            Piece::Word(word) => Some(OsString::from(unquoted(word))),
            Piece::Aside(_) | Piece::End(_) | Piece::Between(_) => None,
        });
        let mut concealed = conceal(&words.collect::<Vec<_>>()).into_iter();
        for piece in command {
            match piece {
                Piece::Word(word) => match concealed.next().flatten() {
                    Some(masked) => shown.push_str(&requoted(word, masked)),
                    None => shown.push_str(word),
                },
                Piece::Aside(words) | Piece::End(words) | Piece::Between(words) => shown.push_str(&whole(words)),
            }
        }
    }
    shown
}

/// In the quotation marks that the word had as a whole, unless nothing is left of it.
fn requoted(word: &str, masked: String) -> String {
    let mark = word.chars().next().filter(|mark| matches!(mark, '"' | '\''));
    match mark {
        Some(mark) if masked != MASK => format!("{mark}{masked}{mark}"),
        Some(_) | None => masked,
    }
}

/// The node's secret has 64 hexadecimal digits; so have a few things that are none, and are not missed.
fn without_hexadecimals(text: &str) -> String {
    const LENGTH: usize = 64;
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let digits = rest[start..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - start);
        let (before, run) = (&rest[..start], &rest[start..start + digits]);
        shown.push_str(before);
        shown.push_str(if digits == LENGTH { MASK } else { run });
        rest = &rest[start + digits..];
    }
    shown.push_str(rest);
    shown
}

/// `-secret`, `--api-token`, `-Dhttp.proxyPassword`, `JENKINS_API_TOKEN`.
fn names_a_secret(name: &str) -> bool {
    let name = name.trim_start_matches(['"', '\'']);
    let bare = name.strip_prefix("-D").unwrap_or(name).trim_start_matches('-');
    let folded = bare.to_ascii_lowercase();
    is_name(name) && (folded == "auth" || ENDINGS.iter().any(|ending| folded.ends_with(ending)))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arguments: &[&str]) -> String {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        let concealed = conceal(&arguments).into_iter().zip(&arguments);
        concealed
            .map(|(masked, plain)| masked.unwrap_or_else(|| plain.to_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn of(line: &str) -> String {
        shown(&line.split(' ').collect::<Vec<_>>())
    }

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn nothing_is_no_secret() {
        assert_eq!(
            shown(&["java", "-jar", "agent.jar", "-secret", "", "-auth="]),
            "java -jar agent.jar -secret  -auth="
        );
    }

    #[test]
    fn every_way_to_give_a_password() {
        let java = "java -jar agent.jar";
        for (arguments, expected) in [
            ("-url http://me:hush@ci/", "-url http://********@ci/"),
            ("-url=http://me:hush@ci/", "-url=http://********@ci/"),
            ("-url me:hush@ci", "-url ********@ci"),
            ("-url http://me:hu/hush@ci/", "-url http://********@ci/"),
            ("-url http://me:hu'hush@ci/", "-url http://********@ci/"),
            (
                "-jnlpUrl http://me:hush@ci/computer/a/slave-agent.jnlp",
                "-jnlpUrl http://********@ci/computer/a/slave-agent.jnlp",
            ),
            ("-credentials me:hush", "-credentials ********"),
            ("-credentials=me:hush", "-credentials=********"),
            ("-jnlpCredentials me:hush", "-jnlpCredentials ********"),
            ("-proxyCredentials me:hush", "-proxyCredentials ********"),
            ("-auth me:hush", "-auth ********"),
            ("-secret hush", "-secret ********"),
            ("-webSocketHeader Authorization=hush", "-webSocketHeader Authorization=********"),
            ("-webSocketHeader=Cookie=hush", "-webSocketHeader=Cookie=********"),
            ("-url u hush name", "-url u ******** name"),
            ("-workDir /w http://me:hush@elsewhere/", "-workDir /w http://********@elsewhere/"),
        ] {
            assert_eq!(of(&format!("{java} {arguments}")), format!("{java} {expected}"));
        }
        for (line, expected) in [
            ("java -Dhttp.proxyPassword=hush -jar agent.jar", "java -Dhttp.proxyPassword=******** -jar agent.jar"),
            ("java -Dx=http://me:hush@p:3128/ -jar x", "java -Dx=http://********@p:3128/ -jar x"),
            ("env JENKINS_API_TOKEN=hush ./agent", "env JENKINS_API_TOKEN=******** ./agent"),
            (
                "java -jar swarm-client.jar -master http://me:hush@ci -password hush",
                "java -jar swarm-client.jar -master http://********@ci -password ********",
            ),
        ] {
            assert_eq!(of(line), expected);
        }
        assert_eq!(shown(&["env", "A_TOKEN=hush hush", "x"]), "env A_TOKEN=******** x");
        assert_eq!(
            of(&format!("./agent {HEX} a{HEX} =sha256:{HEX}")),
            format!("./agent ******** a{HEX} =sha256:********")
        );
    }

    #[test]
    fn scripts_are_looked_into() {
        for (script, expected) in [
            (
                "exec java -jar agent.jar -url http://me:hush@ci/ -secret hush",
                "exec java -jar agent.jar -url http://********@ci/ -secret ********",
            ),
            ("TOKEN='hush and hush' ./agent \"-secret\" 'hush' x", "TOKEN=******** ./agent \"-secret\" ******** x"),
            ("A_TOKEN=hush\ncurl 'http://me:hush@ci/' | x", "A_TOKEN=********\ncurl 'http://********@ci/' | x"),
            ("x --token \" hush\"  y", "x --token ********  y"),
            ("true -secret \\\n  hush\n-x", "true -secret \\\n  ********\n-x"),
            ("exec java -jar agent.jar -url http://h/ hush n", "exec java -jar agent.jar -url http://h/ ******** n"),
            ("cd /w && java -jar agent.jar hush n 2>&1 | x", "cd /w && java -jar agent.jar ******** n 2>&1 | x"),
            ("java -jar agent.jar -url u hush", "java -jar agent.jar -url u ********"),
            ("java -jar $JAR -url u hush n", "java -jar $JAR -url u ******** n"),
            ("x --token=$(echo hush; cat hush) y", "x --token=******** y"),
            ("x --token=`echo hush` y", "x --token=******** y"),
            ("x --token hush\\ hush y", "x --token ******** y"),
            ("A_TOKEN=\"$(echo 'hush hush')\" x", "A_TOKEN=******** x"),
            ("A_TOKEN=hu\\\nsh x", "A_TOKEN=******** x"),
            ("sh -c 'x --token \"hush hush\"' z", "sh -c 'x --token ********' z"),
            (
                "curl -o 'a b' http://me:hush@ci/ >http://me:hush@ci/ x",
                "curl -o 'a b' http://********@ci/ >http://********@ci/ x",
            ),
            ("x --token 'hush hush", "x --token ********"),
        ] {
            assert_eq!(shown(&["sh", "-c", script]), format!("sh -c {expected}"));
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for line in [
            "java -jar agent.jar -url https://ci:8443/x/ -name linux@host -secret @/run/s -tunnel h:1",
            "java -jar agent.jar -jnlpUrl https://ci/computer/a@b/slave-agent.jnlp -secret=@/run/s -webSocket",
            "java -Dfoo.secret -jar agent.jar -cert @c -workDir /w/token -instanceIdentity MIIB",
            "./token --token-file /etc/t -passwordEnvVariable P",
            "find / -name x@y",
        ] {
            assert_eq!(of(line), line);
        }
    }
}
