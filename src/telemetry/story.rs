//! The story: each note of the supervisor as a line of text, with the times that people want to know.

mod lines;

use agent_wrap_supervisor::{Build, Ending, Moment, Note, OnlinePolicy, Phase, Span, Status};

use super::explained::Explained;
use super::format::{Logging, shown};
use super::journal::Position;
use super::keys::Keys;
use super::line::{Line, info};
use super::outlet::Courtesy;
use super::picture::{Picture, builds_of};
use super::progress::Progress;
use super::standing::Standing;
use super::words::span_words;

/// Keeps the moments from which times are counted. It decides nothing.
#[derive(Debug)]
pub struct Story {
    node: String,
    /// What the last signal or request was, and who sent it.
    asked_by: Option<String>,
    /// Since when a mark is being lifted.
    lifting: Option<Moment>,
    outage: Option<Moment>,
    agent: Moment,
    stopping: Option<Moment>,
    draining: Option<Moment>,
    /// Somebody may type Ctrl-C, and it means what people are told of it.
    at_keyboard: bool,
    interrupt_stops: bool,
    /// Whoever reads the log sits there and is told how a drain goes on.
    is_watched: bool,
    /// What gives builds more time at the next stop.
    more_time: &'static str,
    online: OnlinePolicy,
    /// The run before did not end by a stop.
    unclean: bool,
    /// An agent was started.
    started: bool,
    /// One is being started or lives.
    agent_lives: bool,
    keys: Keys,
    progress: Progress,
    kill_asked: bool,
    explained: Explained,
    standing: Standing,
    position: Position,
    log: Courtesy,
}

impl Story {
    /// The story of a wrapper for this node ("" without one), begun at `now`.
    #[must_use]
    pub fn new(node: &str, now: Moment) -> Self {
        Self {
            node: node.to_owned(),
            asked_by: None,
            lifting: None,
            outage: None,
            agent: now,
            stopping: None,
            draining: None,
            at_keyboard: false,
            interrupt_stops: true,
            is_watched: false,
            more_time: "raise --drain",
            online: OnlinePolicy::Always,
            unclean: false,
            started: false,
            agent_lives: false,
            keys: Keys::default(),
            progress: Progress::default(),
            kill_asked: false,
            explained: Explained::default(),
            standing: Standing::default(),
            position: Position::default(),
            log: Courtesy::default(),
        }
    }

    /// Its lines are written by this log.
    #[must_use]
    pub fn logged_by(mut self, logging: &Logging) -> Self {
        self.log = logging.courtesy();
        self.position = logging.position();
        self
    }

    /// Somebody at a terminal reads it as it is written, and is told how a drain goes on.
    #[must_use]
    pub fn watched(mut self, is_watched: bool) -> Self {
        self.is_watched = is_watched;
        self
    }

    /// What gives builds more time at the next stop, in the imperative.
    #[must_use]
    pub fn advising(mut self, more_time: &'static str) -> Self {
        self.more_time = more_time;
        self
    }

    /// Somebody at a keyboard may type Ctrl-C, and is told what another one would do.
    #[must_use]
    pub fn at_keyboard(mut self, at_keyboard: bool) -> Self {
        self.at_keyboard = at_keyboard;
        self
    }

    /// Whether Ctrl-C stops, as it does by default.
    pub fn interrupt_stops(&mut self, interrupt_stops: bool) {
        self.interrupt_stops = interrupt_stops;
    }

    /// Takes note of a time in which we were stopped.
    pub fn was_away(&mut self, time: Span) {
        self.standing.away(time);
    }

    /// The run before did not end by a stop.
    #[must_use]
    pub fn after_unclean_end(mut self, unclean: bool) -> Self {
        self.unclean = unclean;
        self
    }

    /// Which marks are lifted from now on.
    pub fn online(&mut self, online: OnlinePolicy) {
        self.online = online;
    }

    /// Takes note of who is about to ask for something, for the line that says what comes of it.
    pub fn asked_by(&mut self, sender: String) {
        self.asked_by = Some(sender);
    }

    /// Takes note of what the agent lacks that is about to fail, for the line that says when it is tried again.
    pub fn agent_lacks(&mut self, words: String) {
        self.standing.lacks(&words);
        self.explained.lacks(words);
    }

    /// Everything that was decided has been told and done: logs what it would have gone with, and lets what was said be
    /// read before anything new happens.
    pub fn told_all(&mut self) {
        if let Some(line) = self.explained.not_tried_again() {
            line.log(&self.node);
        }
        self.be_read();
    }

    /// Lets what was said be read, if somebody does.
    pub fn be_read(&self) {
        self.log.wait();
    }

    /// Logs what an agent that has ended has left behind.
    pub fn left_behind(&mut self, processes: &str) {
        self.explained.left(processes).log(&self.node);
    }

    /// Logs that the agent was stopped by this signal, without being asked to end. `why` the kernel has done it, or nothing
    /// where somebody else has.
    pub fn agent_suspended(&mut self, now: Moment, signal: i32, why: Option<&str>, cure: &str) {
        self.standing.suspended(now, signal, cure);
        self.suspended_line(signal, why, cure).log(&self.node);
    }

    /// Logs that it goes on, if the stop has been told.
    pub fn agent_resumed(&mut self, now: Moment) {
        if let Some(after) = self.standing.resumed(now) {
            info("agent_resumed", format!("the agent goes on, after {}", span_words(after))).log(&self.node);
        }
    }

    /// Logs a note.
    pub fn tell(&mut self, now: Moment, note: &Note) {
        self.standing.hear(now, note);
        let line = self.line(now, note);
        line.log(&self.node);
    }

    /// Logs how it ended, and with which exit code, and says it again.
    pub fn end(&mut self, now: Moment, ending: &Ending, code: u8) -> String {
        let line = self.ending_line(now, ending, code);
        line.log(&self.node);
        shown(&line.text)
    }

    /// Takes note of where the wrapper stands, for the lines to come.
    pub fn comes_to(&self, status: &Status<'_>) {
        self.position.set(status.phase, status.generation);
    }

    /// How things stand, in one line that changes when they do.
    #[must_use]
    pub fn stands(&self, now: Moment, status: &Status<'_>) -> String {
        self.standing.words(now, status)
    }

    /// The same for a person at the terminal, as long as something is awaited. `drains`: a stop would wait for builds.
    #[must_use]
    pub fn picture(&self, now: Moment, status: &Status<'_>, drains: bool) -> Option<Picture> {
        let keys = (self.at_keyboard && self.interrupt_stops).then_some((self.keys, drains));
        self.standing.picture(now, status, keys)
    }

    /// Logs how a drain goes on, for a person who does not see it otherwise.
    pub fn tell_progress(&mut self, now: Moment, status: &Status<'_>) {
        let (builds, _) = builds_of(status);
        if !self.is_watched || status.phase != Phase::Draining || !self.progress.is_news(now, builds) {
            return;
        }
        self.progress.told(now, builds);
        self.progress_line(now, builds).log(&self.node);
        self.be_read();
    }

    pub(super) fn progress_line(&self, now: Moment, builds: &[Build]) -> Line {
        let hint = self.drain_hint();
        info("drain_progress", format!("{}{hint}", self.standing.progress_words(now, builds)))
    }
}
