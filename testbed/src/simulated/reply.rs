//! Answers as the controller and the servlet container before it give them.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::auth::{Caller, open_session, session};
use super::http::{Head, encode_head};
use super::options::{Flavour, Permission, Refusal};
use super::text::{html_escape, percent_encode};
use super::world::World;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) chunked: bool,
}

impl Reply {
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), chunked: false }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn vary(self) -> Self {
        self.with("Vary", "Accept-Encoding")
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// As it goes over the wire; an answer to HEAD lacks the body only.
    pub(crate) fn encode(&self, head_only: bool) -> Vec<u8> {
        let mut headers = self.headers.clone();
        if self.chunked {
            headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
        } else {
            headers.push(("Content-Length".to_owned(), self.body.len().to_string()));
        }
        let mut out = encode_head(self.status, &headers).into_bytes();
        if head_only {
            return out;
        }
        if self.chunked {
            if !self.body.is_empty() {
                out.extend_from_slice(format!("{:x}\r\n", self.body.len()).as_bytes());
                out.extend_from_slice(&self.body);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        } else {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

/// Whose answer it is: the headers by which one knows the controller.
fn signed(world: &World, reply: Reply) -> Reply {
    match world.options.flavour {
        Flavour::Jenkins => {
            reply.with("X-Jenkins", world.options.version.as_str()).with("X-Jenkins-Session", world.session.as_str())
        }
        Flavour::Hudson => reply,
    }
}

/// A page, with a session cookie for those who have none.
pub(crate) fn page(world: &mut World, head: &Head, status: u16, title: &str, content: &str) -> Reply {
    let mut reply = Reply::empty(status).with("Content-Type", "text/html;charset=utf-8");
    if world.options.flavour == Flavour::Jenkins {
        reply = reply.with("X-Hudson", "1.395");
    }
    reply = signed(world, reply);
    if session(world, head).is_none() {
        let (_, cookie) = open_session(world);
        reply.headers.push(cookie);
    }
    reply.chunked = true;
    reply.body(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><title>{}</title></head><body>{content}</body></html>",
        html_escape(title)
    ))
}

/// A JSON answer.
pub(crate) fn json(world: &World, value: &Value) -> Reply {
    let kind = match world.options.flavour {
        Flavour::Jenkins => "application/json;charset=utf-8",
        Flavour::Hudson => "application/javascript;charset=utf-8",
    };
    let reply = signed(world, Reply::empty(200).vary()).with("Content-Type", kind).body(value.to_string());
    if !world.options.tells_time {
        return reply;
    }
    reply.with("Date", httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(world.time())))
}

/// What follows a write that was carried out.
pub(crate) fn to_node(world: &World, name: &str) -> Reply {
    let name = if name.is_empty() { "(built-in)".to_owned() } else { percent_encode(name) };
    let root = match world.options.flavour {
        Flavour::Hudson => world.root_url(),
        Flavour::Jenkins if world.options.context_path.is_empty() => "/".to_owned(),
        Flavour::Jenkins => format!("/{}/", world.options.context_path),
    };
    Reply::empty(302).vary().with("Location", format!("{root}computer/{name}/"))
}

/// An error page of the servlet container, which does not sign with the controller's headers.
pub(crate) fn container_error(status: u16, message: &str) -> Reply {
    Reply::empty(status).with("Content-Type", "text/html;charset=iso-8859-1").body(format!(
        "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n\
         <title>Error {status} {message}</title>\n</head>\n<body><h2>HTTP ERROR {status} {message}</h2></body>\n</html>\n"
    ))
}

/// The credentials are wrong.
pub(crate) fn unauthorized(world: &World) -> Reply {
    let challenge = match world.options.flavour {
        Flavour::Jenkins => "Basic realm=\"Jenkins\", charset=\"UTF-8\"",
        Flavour::Hudson => "Basic realm=\"Hudson\"",
    };
    let reply = container_error(401, "Unauthorized").with("WWW-Authenticate", challenge);
    match world.options.flavour {
        Flavour::Jenkins => {
            reply.with("Set-Cookie", "remember-me=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Lax")
        }
        Flavour::Hudson => reply,
    }
}

/// The credentials are good, but not for this. Somebody anonymous is led to the login page.
pub(crate) fn forbidden(world: &mut World, head: &Head, caller: &Caller, missing: Permission) -> Reply {
    let message = format!("{} is missing the {} permission", caller.name, missing.title());
    let mut reply = page(world, head, 403, "Access Denied", &html_escape(&message)).vary();
    if world.options.flavour == Flavour::Hudson {
        return reply;
    }
    reply = reply
        .with("X-You-Are-Authenticated-As", caller.name.as_str())
        .with("X-You-Are-In-Group-Disabled", GROUPS)
        .with("X-Required-Permission", missing.id());
    if missing == Permission::Read {
        reply = reply.with("X-Permission-Implied-By", "hudson.security.Permission.GenericRead");
    }
    reply = reply.with("X-Permission-Implied-By", Permission::Administer.id());
    if caller.anonymous {
        let from = percent_encode(&head.target);
        reply.body = format!(
            "<html><head><meta http-equiv='refresh' content='1;url=/login?from={from}'/></head>\
             <body>Authentication required</body></html>"
        )
        .into_bytes();
    }
    reply
}

const GROUPS: &str = "JENKINS-39402: use -Dhudson.security.AccessDeniedException2.REPORT_GROUP_HEADERS=true \
                      or use /whoAmI to diagnose";

/// There is no such page, node or command.
pub(crate) fn not_found(world: &mut World, head: &Head) -> Reply {
    page(world, head, 404, "Not Found", "<h1>Oops!</h1>Not found")
}

/// A starting controller's answer.
pub(crate) fn refusal(world: &mut World, head: &Head, refusal: Refusal) -> Reply {
    match refusal {
        Refusal::ServerError => container_error(500, "Server Error"),
        Refusal::GettingReady => {
            let words = "Jenkins is getting ready to work. Your browser will reload automatically when it is ready.";
            let content = format!("<h1>Please wait while {words}</h1>");
            let page =
                format!("<!DOCTYPE html><html><head><title>Starting</title></head><body>{content}</body></html>");
            Reply::empty(503).with("Content-Type", "text/html;charset=utf-8").body(page)
        }
        Refusal::Unauthorized => unauthorized(world),
        Refusal::Forbidden => {
            let caller = Caller::identify(world, head);
            let anonymous = caller.unwrap_or_else(Caller::nobody);
            forbidden(world, head, &anonymous, Permission::Read)
        }
    }
}
