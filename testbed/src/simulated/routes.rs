//! What each request that fits into one answer is answered with.

use serde_json::json;

use super::auth::{Caller, crumb_field, crumb_is_good, open_session, sent_crumb, session};
use super::http::Head;
use super::node::{Author, Cause};
use super::options::{Flavour, Permission};
use super::reply::{Reply, container_error, forbidden, json as json_reply, not_found, page, to_node, unauthorized};
use super::request::{Operation, Target};
use super::text::{form_fields, html_escape};
use super::tree::Tree;
use super::world::World;

/// The fields of a node without a tree; nested objects show little.
const PLAIN_NODE: &str = "actions,assignedLabels[name],description,displayName,executors,icon,iconClassName,idle,\
    jnlpAgent,launchSupported,loadStatistics,manualLaunchAllowed,monitorData[*],numExecutors,offline,offlineCause,\
    offlineCauseReason,oneOffExecutors,temporarilyOffline,absoluteRemotePath";

/// The fields of a node that Hudson shows only when they are asked for by name.
const PLAIN_HUDSON_NODE: &str = "actions,displayName,executors,icon,idle,jnlpAgent,launchSupported,loadStatistics,\
    manualLaunchAllowed,monitorData[*],numExecutors,offline,oneOffExecutors,temporarilyOffline";

/// A request to answer.
pub(crate) struct Question<'a> {
    pub(crate) head: &'a Head,
    pub(crate) target: &'a Target,
    pub(crate) operation: Operation,
    pub(crate) node: Option<&'a str>,
    pub(crate) body: &'a str,
}

impl Question<'_> {
    fn field(&self, name: &str) -> Option<String> {
        let fields = [form_fields(self.body), form_fields(&self.target.query)].concat();
        fields.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// The checks that come before every page: the context path, the credentials, the crumb.
pub(crate) fn admit(world: &mut World, question: &Question<'_>) -> Result<Caller, Reply> {
    if question.target.segments.is_none() {
        return Err(container_error(404, "Not Found"));
    }
    let Some(caller) = Caller::identify(world, question.head) else { return Err(unauthorized(world)) };
    let needs_crumb = question.head.method == "POST" && question.target.segments().first() != Some(&"cli");
    if needs_crumb && !crumb_is_good(world, &caller, question.head, question.body) {
        let mut reply = container_error(403, "No valid crumb was included in the request");
        if sent_crumb(world, question.head, question.body).is_some() && session(world, question.head).is_none() {
            let (_, cookie) = open_session(world);
            reply.headers.push(cookie);
        }
        return Err(reply);
    }
    Ok(caller)
}

/// The answer; the world is changed by the way.
pub(crate) fn answer(world: &mut World, question: &Question<'_>) -> Reply {
    match admit(world, question) {
        Ok(caller) => route(world, question, &caller),
        Err(reply) => reply,
    }
}

fn route(world: &mut World, question: &Question<'_>, caller: &Caller) -> Reply {
    let head = question.head;
    let jenkins = world.options.flavour == Flavour::Jenkins;
    match question.operation {
        Operation::Login => page(world, head, 200, "Sign in", "<form name=\"login\" method=\"post\"></form>").vary(),
        Operation::WhoAmI if jenkins => who_am_i(world, caller),
        Operation::Listener => listener(world, head),
        Operation::Jar => jar(world, question),
        Operation::Jnlp => with_node(world, question, caller, jnlp),
        _ if !caller.may(Permission::Read) => forbidden(world, head, caller, Permission::Read),
        Operation::Root => {
            let reply = page(world, head, 200, "Dashboard", "<h1>Dashboard</h1>").vary();
            if jenkins { reply } else { reply.with("X-Hudson", world.options.version.clone()) }
        }
        Operation::RootJson => root_json(world, question),
        Operation::Crumb => crumb(world, head),
        Operation::ReadNode => with_node(world, question, caller, read_node),
        Operation::Toggle => with_node(world, question, caller, toggle),
        Operation::ChangeCause if world.options.jenkins_since((1, 481)) => {
            with_node(world, question, caller, change_cause)
        }
        Operation::Disconnect => with_node(world, question, caller, disconnect),
        Operation::MarkPage => with_node(world, question, caller, mark_page),
        Operation::Other if question.target.segments() == ["computer", "api", "json"] => {
            let nodes = world.nodes_json(|permission| caller.may(permission));
            picked(world, question, &nodes, "busyExecutors,computer,displayName,totalExecutors")
        }
        Operation::WhoAmI
        | Operation::ChangeCause
        | Operation::CliDownload
        | Operation::CliUpload
        | Operation::Connect
        | Operation::Other => not_found(world, head),
    }
}

fn with_node(
    world: &mut World,
    question: &Question<'_>,
    caller: &Caller,
    page: fn(&mut World, &Question<'_>, &Caller, &str) -> Reply,
) -> Reply {
    match question.node.and_then(|name| world.node(name)).map(|node| node.name.clone()) {
        Some(name) => page(world, question, caller, &name),
        None => not_found(world, question.head),
    }
}

fn picked(world: &World, question: &Question<'_>, value: &serde_json::Value, plain: &str) -> Reply {
    let depth = question.field("depth").and_then(|depth| depth.parse::<u32>().ok()).unwrap_or(0);
    let tree = match question.field("tree") {
        Some(tree) => tree,
        None if depth > 0 => "*[*[*[*]]]".to_owned(),
        None => plain.to_owned(),
    };
    match Tree::parse(&tree) {
        Some(tree) => json_reply(world, &tree.pick(value)),
        None => container_error(400, "Bad Request"),
    }
}

fn read_node(world: &mut World, question: &Question<'_>, caller: &Caller, name: &str) -> Reply {
    let Some(node) = world.node(name) else { return not_found(world, question.head) };
    let value = world.node_json(node, |permission| caller.may(permission));
    let plain = if world.options.flavour == Flavour::Jenkins { PLAIN_NODE } else { PLAIN_HUDSON_NODE };
    picked(world, question, &value, plain)
}

/// Jenkins takes writes by POST only.
fn needs_post(world: &mut World, question: &Question<'_>) -> Option<Reply> {
    if question.head.method == "POST" || world.options.flavour == Flavour::Hudson {
        return None;
    }
    let content = "<h1>This URL requires POST</h1>";
    Some(page(world, question.head, 405, "Method Not Allowed", content).vary().with("Allow", "POST"))
}

fn toggle(world: &mut World, question: &Question<'_>, caller: &Caller, name: &str) -> Reply {
    if let Some(reply) = needs_post(world, question) {
        return reply;
    }
    let marked = world.node(name).is_some_and(|node| node.mark.is_some());
    let needed = if marked { Permission::Connect } else { Permission::Disconnect };
    if !caller.may(needed) {
        return forbidden(world, question.head, caller, needed);
    }
    world.toggle(name, &caller.name, &question.field("offlineMessage").unwrap_or_default());
    to_node(world, name)
}

fn change_cause(world: &mut World, question: &Question<'_>, caller: &Caller, name: &str) -> Reply {
    if let Some(reply) = needs_post(world, question) {
        return reply;
    }
    if !caller.may(Permission::Disconnect) {
        return forbidden(world, question.head, caller, Permission::Disconnect);
    }
    let message = question.field("offlineMessage").unwrap_or_default();
    world.set_mark(name, Cause::new(Author::User(caller.name.clone()), &message), true);
    to_node(world, name)
}

fn disconnect(world: &mut World, question: &Question<'_>, caller: &Caller, name: &str) -> Reply {
    if let Some(reply) = needs_post(world, question) {
        return reply;
    }
    if !caller.may(Permission::Disconnect) {
        return forbidden(world, question.head, caller, Permission::Disconnect);
    }
    world.lose_channel(name);
    to_node(world, name)
}

fn mark_page(world: &mut World, question: &Question<'_>, caller: &Caller, name: &str) -> Reply {
    if !caller.may(Permission::Disconnect) {
        return forbidden(world, question.head, caller, Permission::Disconnect);
    }
    let title = format!("Taking {name} offline");
    let form = "<form method=\"post\" action=\"toggleOffline\"><textarea name=\"offlineMessage\"></textarea></form>";
    page(world, question.head, 200, &title, form).vary()
}

fn jnlp(world: &mut World, question: &Question<'_>, caller: &Caller, name: &str) -> Reply {
    if !caller.may(Permission::Connect) {
        return forbidden(world, question.head, caller, Permission::Connect);
    }
    let Some(node) = world.node(name) else { return not_found(world, question.head) };
    let root = world.root_url();
    let arguments = [&node.secret, name, "-workDir", &node.remote_path, "-internalDir", "remoting", "-url", &root];
    let arguments: String =
        arguments.iter().map(|argument| format!("<argument>{}</argument>", html_escape(argument))).collect();
    let mut reply = Reply::empty(200)
        .vary()
        .with("Content-Type", "application/x-java-jnlp-file")
        .body(format!("<jnlp><application-desc>{arguments}</application-desc></jnlp>"));
    reply.chunked = true;
    reply
}

fn jar(world: &mut World, question: &Question<'_>) -> Reply {
    let name = question.target.segments().last().copied().unwrap_or_default().to_owned();
    let known = match world.options.flavour {
        Flavour::Jenkins => ["agent.jar", "slave.jar", "remoting.jar"].contains(&name.as_str()),
        Flavour::Hudson => name == "slave.jar",
    };
    if !known {
        return not_found(world, question.head);
    }
    let disposition = format!("attachment; filename={name}");
    let date = world.options.agent_jar_date.clone();
    let dated = world.options.agent_jar_dated;
    // Whoever has a later one is told that it is not modified too.
    if dated && question.head.header("if-modified-since").is_some_and(|since| later(since) >= later(&date)) {
        return Reply::empty(304).with("Content-Disposition", disposition);
    }
    let reply = Reply::empty(200);
    let reply = if dated { reply.with("Last-Modified", date) } else { reply };
    reply
        .with("Content-Disposition", disposition)
        .with("Accept-Ranges", "bytes")
        .with("Content-Type", "application/java-archive")
        .body(world.options.agent_jar.clone())
}

/// What a date of HTTP ("Mon, 23 Nov 2026 02:49:43 GMT") is ordered by.
fn later(date: &str) -> Option<(u32, usize, u32, &str)> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = date.split_once(", ")?.1.split(' ');
    let day = words.next()?.parse().ok()?;
    let month = MONTHS.find(words.next()?)?;
    Some((words.next()?.parse().ok()?, month, day, words.next()?))
}

fn listener(world: &mut World, head: &Head) -> Reply {
    if !world.options.agent_port {
        return not_found(world, head);
    }
    let port = world.port.to_string();
    let mut reply = Reply::empty(200).vary().with("Content-Type", "text/plain;charset=utf-8");
    reply = reply.with("X-Hudson-JNLP-Port", port.as_str());
    if world.options.flavour == Flavour::Jenkins {
        reply = reply
            .with("X-Jenkins-JNLP-Port", port)
            .with("X-Jenkins-Agent-Protocols", "JNLP4-connect, Ping")
            .with("X-Remoting-Minimum-Version", "3176.v207ec082a_8c0");
    }
    reply.chunked = true;
    let name = if world.options.flavour == Flavour::Jenkins { "Jenkins" } else { "Hudson" };
    reply.body(format!("\n\n  {name}\n"))
}

fn who_am_i(world: &World, caller: &Caller) -> Reply {
    let authority = if caller.anonymous { "anonymous" } else { "authenticated" };
    json_reply(
        world,
        &json!({"_class": "hudson.security.WhoAmI", "anonymous": caller.anonymous,
        "authenticated": true, "authorities": [authority], "name": caller.name}),
    )
}

fn root_json(world: &World, question: &Question<'_>) -> Reply {
    let mut value = json!({"_class": "hudson.model.Hudson", "mode": "NORMAL", "nodeDescription": "the built-in node",
        "nodeName": "", "numExecutors": 0, "description": null, "jobs": [], "quietingDown": false, "slaveAgentPort": 0,
        "url": world.root_url(), "useCrumbs": world.options.crumbs, "useSecurity": world.options.security, "views": []});
    if world.options.flavour == Flavour::Hudson
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove("_class");
        fields.remove("url");
    }
    picked(world, question, &value, "*")
}

fn crumb(world: &mut World, head: &Head) -> Reply {
    if !world.options.crumbs {
        return not_found(world, head);
    }
    let known = session(world, head);
    let (session, cookie) = match known {
        Some(session) => (session, None),
        None => {
            let (session, cookie) = open_session(world);
            (session, Some(cookie))
        }
    };
    let crumb = world.crumbs.get(&session).cloned().unwrap_or_default();
    let mut reply = json_reply(
        world,
        &json!({"_class": "hudson.security.csrf.DefaultCrumbIssuer", "crumb": crumb,
        "crumbRequestField": crumb_field(world)}),
    );
    reply.headers.extend(cookie);
    reply
}
