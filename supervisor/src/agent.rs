//! What is known of the agent, and when it is started again.

use alloc::vec::Vec;

use crate::{Backoff, Exit, Generation, LastEnd, Span};

/// Ends in a row beyond these make no difference to the delay.
const ENDS_COUNTED: u8 = 32;

/// Whether there is an agent. There is never more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentState {
    /// None, or the last one has been reaped.
    Absent,
    /// Asked for, not there yet.
    Spawning,
    /// Running, or stopped by job control.
    Alive,
    /// Ended but not reaped: its process id and group are still its own.
    Exited(Exit),
}

/// How long an agent that lives has been seen not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Absence {
    /// It is connected, or nobody can tell.
    No,
    /// `--disconnect-timeout` runs.
    Counting,
    /// It is over; the next read decides.
    Over,
    /// People were told, and nothing more is to be done about it.
    Told,
}

/// So many losses of the connection in one run, with nothing steady between them, are called flapping.
pub(crate) const FLAPPING_AFTER: u8 = 3;
/// So many looks in a row have to show it connected before it is steady.
const STEADY_AFTER: u8 = 3;

/// Whether another jar is offered than that of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JarOffer {
    None,
    /// The agent is to be started anew with it.
    Open,
    /// That was tried and taken back; the next start takes it.
    Over,
}

/// The agent and the history of its failures.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Agent {
    pub(crate) state: AgentState,
    pub(crate) generation: Generation,
    pub(crate) pid: u32,
    /// The controller has reported this run connected.
    pub(crate) connected: bool,
    /// This run's process has been there.
    pub(crate) ran: bool,
    /// It was started with a jar that has replaced another one, and that nobody was seen connected with.
    pub(crate) new_jar: bool,
    /// Its jar is to blame for its end, unless the next read shows that the controller is.
    pub(crate) jar_suspected: bool,
    /// Whether another jar than its own is offered.
    pub(crate) jar_offer: JarOffer,
    /// People were told that the controller holds the channel of one that is gone; until one is connected.
    pub(crate) told_held: bool,
    /// When it was started the controller still held the channel of the agent before.
    pub(crate) channel_held: bool,
    /// The controller has reported it connected and then no longer.
    pub(crate) gone: bool,
    /// How long it has been seen not connected.
    pub(crate) absence: Absence,
    /// So often the connection was lost, with nothing steady between.
    pub(crate) losses: u8,
    /// Looks in a row that show it connected since it was lost last.
    steady: u8,
    /// The second look after the connection has been made.
    pub(crate) settled: bool,
    /// Looks for the connection since it was up last, which slow down.
    pub(crate) looks: u8,
    /// We have asked it to end.
    pub(crate) asked: bool,
    /// We have sent it KILL.
    pub(crate) killed: bool,
    /// What is left of the time in which an end is a failure whatever its code.
    pub(crate) young: Span,
    /// Ends in a row without a healthy run between them.
    pub(crate) failures: u32,
    /// The same with those that do not count as failures: the delay grows with all of them.
    pub(crate) ends: u8,
    /// The last end has been taken out of the count, because it was the controller's doing.
    pub(crate) excused: bool,
    /// How it ended last.
    pub(crate) exit: Option<Exit>,
    /// Signals to pass on that came while it was being started.
    pub(crate) pending: Vec<i32>,
}

impl Agent {
    pub(crate) fn new(survivor: bool) -> Self {
        Self {
            state: if survivor { AgentState::Alive } else { AgentState::Absent },
            generation: Generation(0),
            pid: 0,
            connected: false,
            ran: false,
            new_jar: false,
            jar_suspected: false,
            jar_offer: JarOffer::None,
            told_held: false,
            channel_held: false,
            gone: false,
            absence: Absence::No,
            losses: 0,
            steady: 0,
            settled: false,
            looks: 0,
            asked: false,
            killed: false,
            young: Span::ZERO,
            failures: 0,
            ends: 0,
            excused: false,
            exit: None,
            pending: Vec::new(),
        }
    }

    /// Begins a new run.
    pub(crate) fn begin(&mut self, channel_held: bool) -> Generation {
        self.generation = Generation(self.generation.0.saturating_add(1));
        self.state = AgentState::Spawning;
        self.pid = 0;
        self.connected = false;
        self.ran = false;
        self.new_jar = false;
        self.jar_suspected = false;
        self.jar_offer = JarOffer::None;
        self.channel_held = channel_held;
        self.gone = false;
        self.absence = Absence::No;
        self.losses = 0;
        self.steady = 0;
        self.settled = false;
        self.looks = 0;
        self.asked = false;
        self.killed = false;
        self.young = Span::ZERO;
        self.exit = None;
        self.pending.clear();
        self.generation
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.state == AgentState::Alive
    }

    /// Whether there is, or will be in a moment, a process to end.
    pub(crate) fn exists(&self) -> bool {
        matches!(self.state, AgentState::Alive | AgentState::Spawning)
    }

    /// Whether this end, which nobody asked for, is a failure. agent.jar exits 0 for bad options and a missing secret:
    /// a short run that never connected is a failure whatever the code.
    pub(crate) fn failed(&self, exit: Exit) -> bool {
        exit != Exit::Code(0) || (!self.connected && !self.young.is_zero())
    }

    /// The connection was lost. True if that is flapping from now on.
    pub(crate) fn lost(&mut self) -> bool {
        let flapped = self.flaps();
        self.gone = true;
        self.steady = 0;
        self.losses = (self.losses + 1).min(FLAPPING_AFTER);
        self.flaps() && !flapped
    }

    /// Whether it connects and is lost over and over.
    pub(crate) fn flaps(&self) -> bool {
        self.losses >= FLAPPING_AFTER
    }

    /// Another look has shown it connected. True if it flapped and is steady now.
    pub(crate) fn is_steady_again(&mut self) -> bool {
        if self.losses == 0 {
            return false;
        }
        self.steady += 1;
        if self.steady < STEADY_AFTER {
            return false;
        }
        let flapped = self.flaps();
        (self.losses, self.steady) = (0, 0);
        flapped
    }

    /// What has become of this run, for the person who finds the node marked.
    pub(crate) fn last_end(&self) -> LastEnd {
        match self.exit {
            None => LastEnd::NotStarted,
            Some(_) if self.asked && self.absence == Absence::Told => LastEnd::Hung,
            Some(exit) => LastEnd::Exited { exit, connected: self.connected },
        }
    }

    /// Whether this end, which nobody asked for, looks as if its new jar were no good: at once, never seen connected, and not
    /// by a signal, which a JVM reports as 129, 130 or 143 where it has a handler.
    pub(crate) fn suspects_jar(&self, exit: Exit) -> bool {
        let by_signal = matches!(exit, Exit::Signal(_) | Exit::Code(129 | 130 | 143));
        self.new_jar && !self.connected && !self.asked && !self.channel_held && !self.young.is_zero() && !by_signal
    }

    /// Counts an end.
    pub(crate) fn count_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.ends = (self.ends + 1).min(ENDS_COUNTED);
        self.excused = false;
    }

    /// After a run of health.
    pub(crate) fn forget_failures(&mut self) {
        self.failures = 0;
        self.ends = 0;
    }

    /// Takes the last end out of the count, once; true if it was in it.
    pub(crate) fn excuse_failure(&mut self) -> bool {
        self.jar_suspected = false;
        if self.excused || self.failures == 0 {
            return false;
        }
        self.excused = true;
        self.failures -= 1;
        true
    }
}

/// The delay after so many failures and ends in a row: doubling, capped, less up to a quarter of jitter, so that a fleet does
/// not come back in one moment.
pub(crate) fn restart_delay(backoff: &Backoff, failures: u32, ends: u8, seed: u64) -> Span {
    if failures >= backoff.slow_after {
        return jittered(backoff.slow, seed, failures);
    }
    let doublings = ends.saturating_sub(1);
    let delay = Span(backoff.first.0.saturating_mul(1_u64 << doublings)).min(backoff.max);
    jittered(delay, seed, u32::from(ends))
}

/// `span` less up to a quarter, the same for the same seed and step (splitmix64).
pub(crate) fn jittered(span: Span, seed: u64, step: u32) -> Span {
    let mut mixed = seed.wrapping_add(u64::from(step).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let quarter = span.0 / 4;
    if quarter == 0 { span } else { Span(span.0 - mixed % (quarter + 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_to_its_cap_and_then_slows_down() {
        let backoff = Backoff::default();
        let bounds = |failures| {
            let delays: Vec<Span> =
                (0..200).map(|seed| restart_delay(&backoff, failures, failures as u8, seed)).collect();
            (*delays.iter().min().unwrap(), *delays.iter().max().unwrap())
        };
        for (failures, full) in [(0, 1000), (1, 1000), (2, 2000), (3, 4000), (7, 60_000), (9, 60_000), (10, 300_000)] {
            let (min, max) = bounds(failures);
            assert!(max <= Span(full), "{failures} failures: {max:?}");
            assert!(min >= Span(full / 4 * 3), "{failures} failures: {min:?}");
            assert!(min < max, "{failures} failures: no jitter");
        }
    }

    #[test]
    fn an_early_end_without_a_connection_is_a_failure_even_with_code_0() {
        let mut agent = Agent::new(false);
        agent.begin(false);
        agent.young = Span::seconds(10);
        assert!(agent.failed(Exit::Code(0)));
        agent.connected = true;
        assert!(!agent.failed(Exit::Code(0)));
        agent.connected = false;
        agent.young = Span::ZERO;
        assert!(!agent.failed(Exit::Code(0)));
        assert!(agent.failed(Exit::Code(1)));
        assert!(agent.failed(Exit::Signal(9)));
    }

    #[test]
    fn a_new_jar_is_suspected_only_when_nothing_else_is() {
        let mut fresh = Agent::new(false);
        fresh.begin(false);
        (fresh.young, fresh.new_jar) = (Span::seconds(10), true);
        assert!(fresh.suspects_jar(Exit::Code(1)) && fresh.suspects_jar(Exit::Code(0)));
        for exit in [Exit::Signal(9), Exit::Code(143), Exit::Code(129), Exit::Code(130)] {
            assert!(!fresh.suspects_jar(exit), "{exit:?}");
        }
        let others: [fn(&mut Agent); 5] = [
            |agent| agent.new_jar = false,
            |agent| agent.connected = true,
            |agent| agent.asked = true,
            |agent| agent.channel_held = true,
            |agent| agent.young = Span::ZERO,
        ];
        for other in others {
            let mut agent = fresh.clone();
            other(&mut agent);
            assert!(!agent.suspects_jar(Exit::Code(1)), "{agent:?}");
        }
    }

    #[test]
    fn an_end_is_excused_only_once() {
        let mut agent = Agent::new(false);
        agent.count_failure();
        agent.count_failure();
        assert!(agent.excuse_failure());
        assert!(!agent.excuse_failure());
        assert_eq!(agent.failures, 1);
    }
}
