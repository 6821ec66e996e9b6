//! What the manager is told, and when. Pure: time and everything else is an argument.
//!
//! ```text
//!            the agent is connected             the settings are read
//!  Starting ────────────────────────> Ready <────────────────────────> Reloading
//!      │         READY=1                │     RELOADING=1, READY=1         │
//!      └────────────────────────────────┴──────────> Stopping <────────────┘
//!                                         STOPPING=1, and no way back
//! ```
//! It keeps what the manager has been told, and compares: a datagram that found no room is made anew from how things
//! stand by then, and nothing that was told is told again. A reload that is over before it could be told is told all the
//! same, because somebody waits for it.

use agent_wrap_supervisor::{AgentState, Goal, Moment, Phase, Span, Status};

use super::datagram::{Life, News};

/// For so long more time is asked for at once. A wrapper that is frozen ends when it is over.
pub(super) const EXTENSION: Span = Span::seconds(15);
/// So often it is asked for again: a busy machine may be late by the rest.
const RENEWAL: Span = Span::seconds(5);
/// The pause before another attempt, when the manager's socket has no room.
const RETRY: Span = Span::millis(250);

/// How things stand, as far as a manager cares.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// How the supervisor sees it.
    pub status: Status<'a>,
    /// The same in words, on one line.
    pub words: &'a str,
    /// `--ready started`: the start is over when it has begun, whether the controller is there or not.
    pub started_suffices: bool,
    /// How long an agent's connection is waited for at the start; zero for ever.
    pub start_timeout: Span,
    /// How often reading the settings has begun.
    pub reloads: u32,
    /// They are being read.
    pub reloading: bool,
}

/// What the manager has been told, and what it will be told next.
#[derive(Debug)]
pub struct Notifier {
    /// Between two signs of life; half of what the manager waits for one.
    pulse: Option<Span>,
    told: Told,
    words: String,
    /// The last sign of life.
    alive: Option<Moment>,
    /// When more time was asked for last, as long as some is needed.
    extended: Option<Moment>,
    /// Since when the controller is no longer all that the start waits for.
    tried: Option<Moment>,
    /// There was no room; the next attempt.
    retry: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Starting,
    /// Ready, with so many reloads over.
    Ready(u32),
    /// This reload is under way.
    Reloading(u32),
    Stopping,
}

impl Notifier {
    /// A notifier that has told nothing yet. The manager wants a sign of life within each `watchdog`, if that is given.
    #[must_use]
    pub fn new(watchdog: Option<Span>) -> Self {
        Self {
            pulse: watchdog.map(|interval| interval.half().max(Span(1))),
            told: Told::Starting,
            words: String::new(),
            alive: None,
            extended: None,
            tried: None,
            retry: None,
        }
    }

    /// What is to be told now; `None` when there is nothing new. To be asked again after each [`told`](Self::told): what
    /// contradicts itself is told one after the other.
    pub fn news(&mut self, now: Moment, scene: &Scene<'_>) -> Option<News> {
        if !matches!(scene.status.phase, Phase::Evicting | Phase::Enabling) {
            self.tried.get_or_insert(now);
        }
        if self.retry.take_if(|retry| now >= *retry).is_none() && self.retry.is_some() {
            return None;
        }
        let life = self.next_life(scene);
        let asks = self.needs_time(now, scene);
        if !asks {
            self.extended = None;
        }
        let extends = asks && (life == Some(Life::Stopping) || is_due(self.extended, RENEWAL, now));
        let news = News {
            life,
            reload: scene.reloads,
            words: (self.words != scene.words).then(|| scene.words.to_owned()),
            alive: self.pulse.is_some_and(|pulse| is_due(self.alive, pulse, now)),
            extension: extends.then_some(EXTENSION),
        };
        (!news.is_empty()).then_some(news)
    }

    /// The manager has been told.
    pub fn told(&mut self, now: Moment, news: News) {
        self.retry = None;
        match news.life {
            Some(Life::Ready) => {
                self.told = match self.told {
                    Told::Reloading(reload) => Told::Ready(reload),
                    Told::Starting | Told::Ready(_) | Told::Stopping => Told::Ready(news.reload),
                };
            }
            Some(Life::Reloading) => self.told = Told::Reloading(news.reload),
            Some(Life::Stopping) => self.told = Told::Stopping,
            None => {}
        }
        if let Some(words) = news.words {
            self.words = words;
        }
        if news.alive {
            self.alive = Some(now);
        }
        if news.extension.is_some() {
            self.extended = Some(now);
        }
    }

    /// It could not be told now, because there was no room.
    pub fn postponed(&mut self, now: Moment) {
        self.retry = Some(now + RETRY);
    }

    /// When [`news`](Self::news) is to be called, if nothing happens before. Only right after it has said `None`.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        if self.retry.is_some() {
            return self.retry;
        }
        let pulse = self.pulse.map(|pulse| self.alive.map_or(Moment(0), |alive| alive + pulse));
        let renewal = self.extended.map(|extended| extended + RENEWAL);
        pulse.into_iter().chain(renewal).min()
    }

    fn next_life(&self, scene: &Scene<'_>) -> Option<Life> {
        if is_stopping(scene) {
            return (self.told != Told::Stopping).then_some(Life::Stopping);
        }
        match self.told {
            Told::Starting => is_ready(scene).then_some(Life::Ready),
            Told::Ready(over) | Told::Reloading(over) if over < scene.reloads => Some(Life::Reloading),
            Told::Reloading(_) if !scene.reloading => Some(Life::Ready),
            // The one that it became ready in.
            Told::Ready(_) | Told::Reloading(_) | Told::Stopping => None,
        }
    }

    /// Whether what is being done may take longer than the manager waits by itself. An agent that has failed is nothing to
    /// wait for: then the manager's own time counts.
    fn needs_time(&self, now: Moment, scene: &Scene<'_>) -> bool {
        let status = &scene.status;
        if status.phase == Phase::Finished {
            return false;
        }
        if is_stopping(scene) {
            return true;
        }
        let in_time = |since: Moment| scene.start_timeout.is_zero() || now.since(since) < scene.start_timeout;
        self.told == Told::Starting && !is_ready(scene) && status.failures == 0 && self.tried.is_none_or(in_time)
    }
}

/// Nothing takes an exit back.
fn is_stopping(scene: &Scene<'_>) -> bool {
    matches!(scene.status.goal, Some(Goal::Exit(_)))
}

/// Whether the agent does all that can be seen of it: it is connected, or it runs where nobody can tell.
fn is_ready(scene: &Scene<'_>) -> bool {
    let status = &scene.status;
    if scene.started_suffices && status.desired.is_some() {
        return true;
    }
    if status.agent != AgentState::Alive || status.phase == Phase::Evicting {
        return false;
    }
    // A node that stays marked, which hides the channel; or no node, or one that the controller has refused to show.
    let unseen = status.believed.is_none_or(|view| view.connected.is_none());
    status.connected || unseen
}

fn is_due(last: Option<Moment>, interval: Span, now: Moment) -> bool {
    last.is_none_or(|last| now.since(last) >= interval)
}

#[cfg(test)]
#[path = "notifier_tests.rs"]
mod tests;
