//! Who is asking, and whether a request that writes carries its crumb.

use super::http::Head;
use super::options::{Flavour, Permission};
use super::request::basic_credentials;
use super::text::{form_fields, random_hex};
use super::world::World;

/// The name of the session cookie; a real one has digits of its own after the dot.
pub(crate) const COOKIE: &str = "JSESSIONID.5b1d7e02";

/// Who sent a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The user; "anonymous" without credentials.
    pub(crate) name: String,
    pub(crate) anonymous: bool,
    by_token: bool,
    permissions: Option<Vec<Permission>>,
}

impl Caller {
    /// Somebody without credentials and permissions.
    pub(crate) fn nobody() -> Self {
        Self::anonymous(Some(Vec::new()))
    }

    fn anonymous(permissions: Option<Vec<Permission>>) -> Self {
        Self { name: "anonymous".to_owned(), anonymous: true, by_token: false, permissions }
    }

    /// Who it is; `None` when the credentials are wrong.
    pub(crate) fn identify(world: &World, head: &Head) -> Option<Self> {
        if !world.options.security {
            return Some(Self::anonymous(None));
        }
        if head.header("authorization").is_none() {
            return Some(Self::anonymous(Some(world.options.anonymous.clone())));
        }
        let (name, secret) = basic_credentials(head)?;
        let account = world.options.accounts.iter().find(|account| account.name == name)?;
        let by_token = account.token.as_ref() == Some(&secret);
        if !by_token && account.password.as_ref() != Some(&secret) {
            return None;
        }
        Some(Self { name, anonymous: false, by_token, permissions: Some(account.permissions.clone()) })
    }

    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.permissions
            .as_ref()
            .is_none_or(|held| held.contains(&permission) || held.contains(&Permission::Administer))
    }
}

/// The session of this request, when it is one of this controller run.
pub(crate) fn session(world: &World, head: &Head) -> Option<String> {
    let cookies = head.header("cookie")?;
    cookies
        .split(';')
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
        .find(|session| world.crumbs.contains_key(*session))
        .map(str::to_owned)
}

/// A fresh session and the header that sets its cookie.
pub(crate) fn open_session(world: &mut World) -> (String, (String, String)) {
    let session = format!("node0{}.node0", random_hex(12));
    world.crumbs.insert(session.clone(), random_hex(32));
    let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Lax");
    (session, ("Set-Cookie".to_owned(), cookie))
}

/// Where the crumb goes.
pub(crate) fn crumb_field(world: &World) -> &'static str {
    match world.options.flavour {
        Flavour::Jenkins => "Jenkins-Crumb",
        Flavour::Hudson => ".crumb",
    }
}

/// The crumb that came with a request.
pub(crate) fn sent_crumb(world: &World, head: &Head, body: &str) -> Option<String> {
    let name = crumb_field(world);
    let field = || form_fields(body).into_iter().find(|(key, _)| key == name).map(|(_, value)| value);
    head.header(name).map(str::to_owned).or_else(field)
}

/// Whether a request that writes may go on.
pub(crate) fn crumb_is_good(world: &World, caller: &Caller, head: &Head, body: &str) -> bool {
    if !world.options.crumbs || (caller.by_token && world.options.jenkins_since((2, 96))) {
        return true;
    }
    let Some(crumb) = sent_crumb(world, head, body) else { return false };
    if world.options.jenkins_since((2, 176)) {
        session(world, head).is_some_and(|session| world.crumbs.get(&session) == Some(&crumb))
    } else {
        world.crumbs.values().any(|known| *known == crumb)
    }
}
