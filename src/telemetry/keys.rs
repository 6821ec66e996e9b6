//! What Ctrl-C does next. The core counts the interrupts of a stop; this follows it by what it tells, so that a person at
//! the keyboard is promised what will happen and nothing else.

use agent_wrap_supervisor::{AgentState, Effect, Goal, Note, Phase, Request, Status, StopSource};

/// The interrupts that the stop under way has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    interrupts: u8,
    /// Builds are not waited for any more.
    skips_drain: bool,
}

impl Keys {
    /// Takes note of what is told.
    pub(super) fn hear(&mut self, note: &Note) {
        match note {
            Note::Stopping { source, .. } => {
                *self = Self { interrupts: u8::from(*source == StopSource::Interrupt), skips_drain: false };
            }
            Note::RequestTaken { request, effect } => {
                if *request == Request::Stop(StopSource::Interrupt) && *effect != Effect::Repeated {
                    self.interrupts = (self.interrupts + 1).min(3);
                }
                self.skips_drain |= *effect == Effect::DrainSkipped;
            }
            _ => {}
        }
    }

    /// The next one is the second: it cuts off a drain.
    fn cuts(self) -> bool {
        self.interrupts == 1 && !self.skips_drain
    }

    /// What the key does to the drain of a stop, for a line that tells of it.
    pub(super) fn drain_words(self) -> Option<&'static str> {
        match self.interrupts {
            0 if !self.skips_drain => Some("Ctrl-C twice to cut it off"),
            1 if !self.skips_drain => Some("Ctrl-C again to cut it off"),
            2 => Some("Ctrl-C once more kills the agent"),
            _ => None,
        }
    }

    /// What the key does to an agent that has been asked to end, for the line that says so.
    pub(super) fn grace_words(self) -> Option<&'static str> {
        match self.interrupts {
            1 => Some("Ctrl-C twice kills it"),
            2 => Some("Ctrl-C once more kills it"),
            _ => None,
        }
    }

    /// The next one is the third: it ends everything.
    pub(super) fn kills(self) -> bool {
        self.interrupts == 2
    }

    /// What the key does now, if anything. `drains`: builds would be waited for.
    pub(super) fn words(self, status: &Status<'_>, drains: bool) -> Option<&'static str> {
        if !matches!(status.goal, Some(Goal::Exit(_))) {
            return None;
        }
        let agent = matches!(status.agent, AgentState::Spawning | AgentState::Alive);
        match status.phase {
            Phase::Marking if self.cuts() && drains && agent => Some("Ctrl-C again not to wait for builds"),
            Phase::Draining if self.cuts() => Some("Ctrl-C again to stop now"),
            // A stop that was not typed: the first one only counts.
            Phase::Draining if self.interrupts == 0 && !self.skips_drain => Some("Ctrl-C twice to stop now"),
            Phase::Marking | Phase::Closing if self.interrupts == 1 && !agent => Some("Ctrl-C twice to end at once"),
            Phase::Marking | Phase::Draining | Phase::Terminating if self.kills() && agent => {
                Some("Ctrl-C once more to kill the agent")
            }
            Phase::Marking | Phase::Closing if self.kills() => Some("Ctrl-C once more to end at once"),
            Phase::Terminating if self.interrupts == 1 => Some("Ctrl-C twice to kill the agent"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_wrap_supervisor::{Cause, Event, Exit, Generation, Moment, Policy, Supervisor};

    use super::*;

    /// What a real supervisor, whose agent runs without a controller or is being marked, tells of these interrupts.
    fn follow(interrupts: &[u64], keys: &mut Keys) -> (Vec<Effect>, bool) {
        let mut supervisor = Supervisor::new(Moment(0), Policy { node: None, terminal: true, ..Policy::default() });
        let (mut effects, mut killed) = (Vec::new(), false);
        let mut pump = |supervisor: &mut Supervisor| {
            while let Some(action) = supervisor.poll_action() {
                if let agent_wrap_supervisor::Action::Tell(note) = action {
                    keys.hear(&note);
                    match note {
                        Note::RequestTaken { effect, .. } => effects.push(effect),
                        Note::Killing => killed = true,
                        _ => {}
                    }
                }
            }
        };
        pump(&mut supervisor);
        supervisor.handle(Moment(1), Event::AgentSpawned { generation: Generation(1), pid: 7, new_jar: false });
        for at in interrupts {
            supervisor.handle(Moment(*at), Event::Requested(Request::Stop(StopSource::Interrupt)));
            pump(&mut supervisor);
        }
        (effects, killed)
    }

    #[test]
    fn the_core_is_followed() {
        for (interrupts, counted, killed) in [
            (&[1_000][..], 1, false),
            (&[1_000, 1_100], 1, false),
            (&[1_000, 2_000], 2, false),
            (&[1_000, 2_000, 2_100], 2, false),
            (&[1_000, 2_000, 3_000], 3, true),
        ] {
            let mut keys = Keys::default();
            let (effects, was_killed) = follow(interrupts, &mut keys);
            assert_eq!((keys.interrupts, was_killed), (counted, killed), "{interrupts:?}: {effects:?}");
            assert_eq!(keys.kills(), counted == 2);
        }
    }

    fn status(phase: Phase, agent: AgentState) -> Status<'static> {
        Status {
            phase,
            generation: Generation(1),
            agent,
            flaps: false,
            connected: true,
            failures: 0,
            desired: None,
            believed: None,
            in_flight: None,
            goal: Some(Goal::Exit(Cause::Stopped)),
            hold: None,
            awaiting: None,
        }
    }

    #[test]
    fn what_is_promised_is_what_the_key_does() {
        let gone = AgentState::Exited(Exit::Code(0));
        let of = |interrupts, phase, agent, drains| {
            Keys { interrupts, skips_drain: false }.words(&status(phase, agent), drains)
        };
        let alive = AgentState::Alive;
        assert_eq!(of(0, Phase::Draining, alive, true), Some("Ctrl-C twice to stop now"), "nobody has typed yet");
        for interrupts in [0, 3] {
            for phase in [Phase::Marking, Phase::Draining, Phase::Terminating, Phase::Closing] {
                if (interrupts, phase) == (0, Phase::Draining) {
                    continue;
                }
                assert_eq!(of(interrupts, phase, alive, true), None, "{interrupts} {phase:?}");
            }
        }
        assert_eq!(of(1, Phase::Marking, alive, true), Some("Ctrl-C again not to wait for builds"));
        assert_eq!(of(1, Phase::Marking, alive, false), None);
        assert_eq!(of(1, Phase::Marking, gone, true), Some("Ctrl-C twice to end at once"));
        assert_eq!(of(1, Phase::Draining, alive, true), Some("Ctrl-C again to stop now"));
        assert_eq!(of(1, Phase::Terminating, alive, true), Some("Ctrl-C twice to kill the agent"));
        assert_eq!(of(2, Phase::Terminating, alive, true), Some("Ctrl-C once more to kill the agent"));
        assert_eq!(of(2, Phase::Marking, gone, true), Some("Ctrl-C once more to end at once"));
        assert_eq!(of(2, Phase::Killing, alive, true), None);
        let skipped = Keys { interrupts: 1, skips_drain: true };
        assert_eq!(skipped.words(&status(Phase::Draining, alive), true), None);
        let lands = Status { goal: Some(Goal::Land), ..status(Phase::Draining, alive) };
        assert_eq!(Keys { interrupts: 1, skips_drain: false }.words(&lands, true), None);
    }
}
