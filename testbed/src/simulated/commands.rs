//! The commands of the command line over HTTP.

use super::auth::Caller;
use super::frames::{Frame, STDERR, STDOUT};
use super::node::{Author, Cause};
use super::options::Permission;
use super::world::World;

/// What a command has said and done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) frames: Vec<Frame>,
    pub(crate) code: i32,
    /// Nodes whose mark was changed in memory and is still to be saved.
    pub(crate) unsaved: Vec<String>,
}

/// Done.
const DONE: i32 = 0;
/// Usage, or no such command.
const USAGE: i32 = 2;
/// No such node.
const NO_SUCH_NODE: i32 = 3;
/// Several nodes, and not all of them could be done.
const PARTLY: i32 = 5;
/// No permission.
const FORBIDDEN: i32 = 6;

/// Runs a command; marks are changed in memory only.
pub(crate) fn run(world: &mut World, caller: &Caller, arguments: &[String]) -> Outcome {
    let Some((command, arguments)) = arguments.split_first() else {
        return said("No such command \n", USAGE);
    };
    let online = match command.as_str() {
        "online-node" => true,
        "offline-node" => false,
        "version" | "who-am-i" => return tell(world, caller, command),
        other => return said(&format!("No such command {other}\n"), USAGE),
    };
    let (names, message) = match parse(arguments, online) {
        Ok(parsed) => parsed,
        Err(words) => return usage(command, &words),
    };
    let needed = if online { Permission::Connect } else { Permission::Disconnect };
    for permission in [Permission::Read, needed] {
        if !caller.may(permission) {
            let words = format!("{} is missing the {} permission", caller.name, permission.title());
            return error(&words, FORBIDDEN);
        }
    }
    let mut outcome = Outcome::default();
    for name in &names {
        if world.node(name).is_none() {
            let words = no_such_node(world, name);
            if names.len() == 1 {
                return error(&words, NO_SUCH_NODE);
            }
            outcome.frames.push(Frame::bytes(STDERR, format!("{name}: {words}\n")));
            outcome.code = PARTLY;
        } else if online {
            world.clear_mark(name, &caller.name, false);
            outcome.unsaved.push(name.clone());
        } else {
            world.set_mark(name, Cause::new(Author::Cli(caller.name.clone()), &message), false);
            outcome.unsaved.push(name.clone());
        }
    }
    if outcome.code == PARTLY {
        let words = "Error occurred while performing this command, see previous stderr output.";
        outcome.frames.extend(error(words, PARTLY).frames);
    }
    outcome
}

fn tell(world: &World, caller: &Caller, command: &str) -> Outcome {
    if !caller.may(Permission::Read) {
        return error(&format!("{} is missing the {} permission", caller.name, Permission::Read.title()), FORBIDDEN);
    }
    let text = if command == "version" {
        format!("{}\n", world.options.version)
    } else {
        format!("Authenticated as: {}\nAuthorities:\n  authenticated\n", caller.name)
    };
    Outcome { frames: vec![Frame::bytes(STDOUT, text)], code: DONE, unsaved: Vec::new() }
}

/// The names and the message.
fn parse(arguments: &[String], online: bool) -> Result<(Vec<String>, String), String> {
    let mut names = Vec::new();
    let mut message = String::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "-m" && !online {
            let value = arguments.next().ok_or("Option \"-m\" takes an operand")?;
            message.clone_from(value);
        } else if argument.starts_with('-') && argument.len() > 1 {
            return Err(format!("\"{argument}\" is not a valid option"));
        } else {
            names.push(argument.clone());
        }
    }
    if names.is_empty() { Err("Argument \"NAME\" is required".to_owned()) } else { Ok((names, message)) }
}

fn said(text: &str, code: i32) -> Outcome {
    Outcome { frames: vec![Frame::bytes(STDERR, text)], code, unsaved: Vec::new() }
}

fn error(words: &str, code: i32) -> Outcome {
    let frames = vec![Frame::bytes(STDERR, "\n"), Frame::bytes(STDERR, format!("ERROR: {words}\n"))];
    Outcome { frames, code, unsaved: Vec::new() }
}

fn usage(command: &str, words: &str) -> Outcome {
    let mut outcome = error(words, USAGE);
    let name = " NAME : Agent name, or empty string for built-in node\n";
    let (signature, about, details) = if command == "online-node" {
        let about = "Resume using a node for performing builds, to cancel out the earlier \"offline-node\" command.\n";
        (" NAME ...", about, vec![name])
    } else {
        let about = "Stop using a node for performing builds temporarily, until the next \"online-node\" command.\n";
        (" NAME ... [-m VAL]", about, vec![" NAME   : Agent name, or empty string for built-in node\n", MESSAGE])
    };
    let lines =
        [format!("java -jar jenkins-cli.jar {command}"), signature.to_owned(), "\n".to_owned(), about.to_owned()];
    outcome.frames.extend(lines.into_iter().map(|line| Frame::bytes(STDERR, line)));
    outcome.frames.extend(details.into_iter().map(|line| Frame::bytes(STDERR, line)));
    outcome
}

const MESSAGE: &str = " -m VAL : Record the reason about why you are disconnecting this node\n";

fn no_such_node(world: &World, name: &str) -> String {
    let nearest = world.nodes.keys().min_by_key(|known| distance(known, name));
    match nearest {
        Some(nearest) => format!("No such agent \"{name}\" exists. Did you mean \"{nearest}\"?"),
        None => format!("No such agent \"{name}\" exists."),
    }
}

/// How many characters have to be changed, added or left out.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, character) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for column in 0..other.len() {
            let change = diagonal + usize::from(character != other[column]);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("n1", "n1"), 0);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn options_and_names_may_come_in_any_order() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parse(&words("-m why n1 n2"), false), Ok((words("n1 n2"), "why".to_owned())));
        assert!(parse(&words("n1 -m"), false).is_err());
        assert!(parse(&words("n1 -m why"), true).is_err());
    }
}
