//! The settings, read again among partners: how long that takes and what it brings, and the books kept of it.
//!
//! Each reading that succeeds has a number. The credentials, the pattern of `--online match=` and what starts the agent
//! bear it, so that the partners see which settings the driver goes by.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use agent_wrap_supervisor::{Moment, NodePolicy, Policy, Span};

use super::life::table;
use super::partners::Launch;
use super::world::{Shared, World};
use crate::beside::Late;
use crate::clock::duration;
use crate::config::{self, Drain, ReasonTemplate, Settings, Surroundings};
use crate::controller::{CredentialError, CredentialSource};
use crate::driver::{Reload, Reloaded, RunBeside};

/// How one reading of the settings goes.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub takes: Span,
    pub fails: bool,
    pub credentials_take: Span,
    pub credentials_fail: bool,
}

/// What is seen of the reloads.
#[derive(Default)]
pub struct Reloads {
    /// So many were asked for and have not begun: one, and another that came before it began or during it. Since when.
    owed: u32,
    since: Moment,
    /// How the reading goes that is under way.
    reading: Option<Reading>,
    /// The thread for what may hang is busy until then.
    busy_until: Moment,
    /// How often the settings were read; and what came of the last time, by the number of the good ones.
    pub readings: u32,
    last: Option<u32>,
    /// Good settings that have not been taken yet, since when.
    unused: Option<(u32, Moment)>,
    /// The settings in force, since when.
    pub in_force: (u32, Moment),
}

impl Reloads {
    pub fn jumped(&mut self, now: Moment) {
        self.since = now;
        self.unused = self.unused.map(|(number, _)| (number, now));
        self.in_force.1 = now;
    }

    /// They are asked for by a signal.
    pub fn asked(&mut self, now: Moment) {
        self.owed = if self.reading.is_some() { 1 } else { (self.owed + 1).min(2) };
        self.since = now;
    }

    /// Why time must not go by now, if it must not.
    pub fn unhandled(&self, now: Moment) -> Option<&'static str> {
        if self.reading.is_none() && self.owed > 0 && self.since != now {
            Some("a reload was asked for, and the settings are not read")
        } else if self.unused.is_some_and(|(_, since)| since != now) {
            Some("good settings were not taken when they had been read")
        } else {
            None
        }
    }
}

impl World {
    fn begin_reading(&mut self) -> Reading {
        self.point(format_args!("READ the settings"));
        if self.books.reloads.reading.is_some() {
            self.violated("the settings are read twice at a time");
        }
        match self.books.reloads.owed.checked_sub(1) {
            Some(owed) => self.books.reloads.owed = owed,
            None => self.violated("the settings are read, and nobody has asked for it"),
        }
        let reading = self.next_reading();
        self.books.reloads.reading = Some(reading.clone());
        reading
    }

    fn next_reading(&mut self) -> Reading {
        if let Some(reading) = self.readings.pop_front() {
            return reading;
        }
        let Some(chaos) = &mut self.chaos else { return Reading::default() };
        let random = &mut chaos.random;
        let mut takes = |longest| if random.percent(50) { Span::ZERO } else { random.span(longest) };
        let (takes, credentials_take) = (takes(Span::seconds(15)), takes(Span::seconds(3)));
        let (fails, credentials_fail) = (random.percent(20), random.percent(30));
        Reading { takes, fails, credentials_take, credentials_fail }
    }

    /// The answer is on its way. What was asked for meanwhile is to be done from now on.
    fn reading_is_over(&mut self, good: Option<u32>) {
        let now = self.now();
        let reloads = &mut self.books.reloads;
        reloads.reading = None;
        reloads.since = now;
        // Without a controller it does not show when they are taken.
        reloads.unused = good.filter(|_| self.policy.node.is_some()).map(|number| (number, now));
        self.books.answers.push(now);
        self.point(format_args!("the settings have been read"));
    }

    /// The controller's partner is told the pattern, which is the settings' number.
    pub fn take_settings(&mut self, number: u32) {
        self.point(format_args!("settings {number} are in force"));
        let unused = self.books.reloads.unused.take();
        if unused.is_none_or(|(good, _)| good != number) {
            self.violated("settings are taken that were not read last");
        }
        self.books.reloads.in_force = (number, self.now());
    }

    /// An agent is made ready by these settings.
    pub fn check_settings(&mut self, number: u32) {
        let (in_force, since) = self.books.reloads.in_force;
        if self.policy.node.is_some() && number != in_force && since != self.now() {
            self.violated(&format!("an agent is made ready by settings {number}, and those in force are {in_force}"));
        }
    }
}

/// The thread for what may hang. It does one thing at a time, and is busy with it also when nobody waits any more.
pub struct Aside(pub Shared);

impl RunBeside for Aside {
    fn submit(&self, work: impl FnOnce() + Send + 'static) {
        work();
    }

    async fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Late> {
        let shared = self.0.clone();
        let takes = {
            let mut world = shared.lock();
            let reading = world.begin_reading();
            let now = world.now();
            let takes = world.books.reloads.busy_until.since(now).plus(reading.takes);
            world.books.reloads.busy_until = Moment(now.0 + takes.0);
            duration(takes)
        };
        if takes > patience {
            tokio::time::sleep(patience).await;
            shared.lock().reading_is_over(None);
            return Err(Late(patience));
        }
        if takes.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(takes).await;
        }
        let done = work();
        let mut world = shared.lock();
        if world.books.reloads.last.is_none() || world.policy.node.is_none() {
            let good = world.books.reloads.last;
            world.reading_is_over(good);
        }
        Ok(done)
    }
}

/// The credentials of these settings are read.
pub async fn replace_credentials(shared: &Shared, source: Option<CredentialSource>) -> Result<(), CredentialError> {
    let reading = {
        let mut world = shared.lock();
        world.point(format_args!("READ the credentials"));
        let of = source.and_then(|source| source.file?.to_str()?.parse().ok());
        if of != world.books.reloads.last {
            world.violated("credentials are read that are not those of the settings");
        }
        world.books.reloads.reading.clone().unwrap_or_default()
    };
    if !reading.credentials_take.is_zero() {
        tokio::time::sleep(duration(reading.credentials_take)).await;
    }
    let mut world = shared.lock();
    let good = world.books.reloads.last;
    world.reading_is_over(good);
    if reading.credentials_fail { Err(CredentialError::Malformed) } else { Ok(()) }
}

/// Settings from which this policy follows.
pub fn settings(policy: &Policy) -> Settings {
    static BASE: LazyLock<Settings> = LazyLock::new(|| {
        let surroundings = Surroundings { variables: Vec::new(), default_file: "/none.toml".into(), root: false };
        let line = "agent-wrap --url http://c/ --node n java -jar agent.jar";
        let cli = crate::cli::parse(line.split(' ').map(Into::into), false).unwrap();
        config::load(&cli, &surroundings).unwrap().settings
    });
    let mut settings = Settings {
        offline_reason: ReasonTemplate::parse("{node} on {host}: {cause}").unwrap(),
        restart: policy.restart,
        backoff: policy.backoff,
        drain: Drain::For(policy.drain),
        drain_warn: policy.drain_warn,
        grace: policy.grace,
        leftovers: policy.leftovers,
        ..BASE.clone()
    };
    match (&policy.node, &mut settings.controller) {
        (Some(node), Some(controller)) => {
            controller.request_timeout = node.request_timeout;
            settings.online = node.online;
            settings.offline = node.offline;
            settings.online_method = node.online_method;
            settings.if_refused = node.if_refused;
            settings.start_timeout = node.start_timeout;
            settings.offline_timeout = node.offline_timeout;
            settings.poll = node.poll;
            settings.disconnect_timeout = node.disconnect_timeout;
            settings.takeover = node.takeover;
        }
        (_, controller) => *controller = None,
    }
    let follows = settings.policy();
    let same_node = policy.node.as_ref().map(|node| NodePolicy {
        unclean: false,
        marked_before: false,
        connected_before: false,
        hold: None,
        ..node.clone()
    });
    assert_eq!(follows, Policy { node: same_node, terminal: false, survivor: false, seed: 0, ..policy.clone() });
    settings
}

/// Reads them again: they look at the node more or less often each time.
pub fn reloader(shared: Shared) -> Arc<Reload<Launch>> {
    Arc::new(move |running, _| {
        let mut world = shared.lock();
        let reloads = &mut world.books.reloads;
        reloads.readings += 1;
        reloads.last = None;
        if reloads.reading.as_ref().is_none_or(|reading| reading.fails) {
            return Err("a brace stands alone".to_owned());
        }
        let number = reloads.readings;
        reloads.last = Some(number);
        drop(world);
        let settings = Settings {
            offline_reason: ReasonTemplate::parse("reloaded, {cause}").unwrap(),
            poll: Span::seconds(5 + u64::from(number % 20)),
            ..running.clone()
        };
        let read = Arc::new(|| Err(CredentialError::Unreadable("the partner reads them".to_owned())));
        Ok(Reloaded {
            settings,
            launch: Launch { shared: shared.clone(), settings: number },
            table: table(),
            online_match: regex_lite::Regex::new(&number.to_string()).ok(),
            credentials: Some(CredentialSource { file: Some(number.to_string().into()), read }),
            held_back: vec!["log-level"],
            warnings: vec!["a setting is odd".to_owned()],
        })
    })
}
