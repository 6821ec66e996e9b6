//! The words of each note.

use agent_wrap_supervisor::{
    Effect, Ending, Failure, Mark, Moment, Note, OnlinePolicy, Owner, Request, Span, SpawnFailure, StopSource,
};

use super::Story;
use crate::telemetry::builds::builds_words;
use crate::telemetry::line::{Line, debug, error, info, warn};
use crate::telemetry::words::{
    exit_words, is_broken_pipe, lift_words, mark_words, owner_words, processes_words, quoted, quoted_whole,
    signal_name, source_words, span_words, spawn_failure_words, term_of_others_words, times_words,
};

impl Story {
    /// One note as a line.
    pub(in crate::telemetry) fn line(&mut self, now: Moment, note: &Note) -> Line {
        self.keys.hear(note);
        match note {
            Note::AgentStarting { .. } => self.agent_lives = true,
            Note::Stopping { agent, .. } => self.agent_lives = *agent,
            Note::AgentExited { .. } | Note::SpawnFailed(_) => self.agent_lives = false,
            _ => {}
        }
        match note {
            Note::SurvivorFound => warn(
                "survivor_found",
                "an agent that an earlier wrapper left behind still runs; it is ended before another is started",
            ),
            Note::RemainsFound { processes } => self.explained.remains(processes),
            Note::SurvivorEnded => info("survivor_ended", "the agent that was left behind has ended"),
            Note::NodeFree => info("node_free", "the node is not marked offline"),
            Note::Lifting { mark, method } => {
                self.lifting.get_or_insert(now);
                let text = format!(
                    "the node is marked offline {} ({}); lifting it by {}",
                    owner_words(mark.owner),
                    quoted(&mark.reason),
                    lift_words(*method)
                );
                if mark.owner == Owner::Foreign { warn("lifting", text) } else { info("lifting", text) }
            }
            Note::Lifted => {
                let took = self.lifting.take().map(|since| format!(" after {}", span_words(now.since(since))));
                info("lifted", format!("the mark is lifted{}", took.unwrap_or_default()))
            }
            Note::RaceLost => warn(
                "race_lost",
                "somebody else lifted the mark in the same moment, so that our toggle set it; toggling again",
            ),
            Note::MarkLeft { mark } => {
                self.lifting = None;
                warn(
                    "mark_left",
                    format!(
                        "the node stays marked offline {} ({}): {}; the agent is started and gets no builds",
                        owner_words(mark.owner),
                        quoted(&mark.reason),
                        self.why_left(mark)
                    ),
                )
            }
            Note::WayChanged { words } => info("way_changed", format!("{words}; trying another way")),
            Note::OutcomeUnknown(failure) => warn(
                "outcome_unknown",
                format!("{}; whether it was carried out, the next read will show", failure.words),
            ),
            Note::Waiting { failure, retry } => {
                self.outage.get_or_insert(now);
                let asked = failure.retry_after.map(|wait| format!("asked to wait {}; ", span_words(wait)));
                let asked = asked.unwrap_or_default();
                warn("waiting", format!("{} ({asked}asking again in {})", failure.words, span_words(*retry)))
            }
            Note::Answering => {
                let after = self.outage.take().map_or(Span::ZERO, |since| now.since(since));
                info("answering", format!("the controller answers again, after {}", span_words(after)))
            }
            Note::StartedUnmarked(failure) => warn(
                "started_unmarked",
                format!("{}; the agent is started all the same, as --if-refused=start says", failure.words),
            ),
            Note::AgentStarting { generation } => {
                self.started = true;
                self.agent = now;
                debug("agent_starting", format!("starting the agent (run {})", generation.0))
            }
            Note::AgentStarted { generation, pid } => {
                self.explained.lacks_nothing();
                let again = if generation.0 > 1 { " again" } else { "" };
                info("agent_started", format!("the agent is started{again}, pid {pid}"))
            }
            Note::AgentConnected { marked, wished } => {
                let text = format!("the agent is connected after {}", span_words(now.since(self.agent)));
                match (marked, wished) {
                    (true, false) => warn("agent_connected", format!("{text}, but its node is marked offline")),
                    (true, true) => info("agent_connected", format!("{text}; its node stays marked offline")),
                    (false, false) if self.stopping.is_none() => {
                        info("agent_connected", format!("{text} and takes builds"))
                    }
                    (false, _) => info("agent_connected", text),
                }
            }
            Note::AgentDisconnected => {
                warn("agent_disconnected", "the agent runs, but the controller reports it disconnected")
            }
            Note::Flapping { losses } => warn(
                "flapping",
                format!(
                    "the agent runs, but its connection has come and gone {losses} times: a Java too old for the controller \
                     does that, a second agent with this node's name elsewhere, or the network; its own output says more"
                ),
            ),
            Note::FlappingOver => info("flapping_over", "the agent's connection is steady again"),
            Note::StaysDisconnected { after, restarted, connected } => {
                let never = if *connected { "" } else { " and never was" };
                let then = if *restarted {
                    "starting it anew"
                } else {
                    "it is left alone, because --restart=no never starts it again"
                };
                warn(
                    "stays_disconnected",
                    format!(
                        "the agent runs, but the controller has not seen it connected for {}{never} \
                         (--disconnect-timeout): {then}",
                        span_words(*after)
                    ),
                )
            }
            Note::NameTaken => error(
                "name_taken",
                "the controller holds a connection of this node for longer than it holds a dead one: an agent elsewhere \
                 bears the node's name; end it, or give this one a node of its own",
            ),
            Note::ChannelFound { ours: true } => warn(
                "channel_found",
                "the controller still holds the connection of our last run, which was killed; it is left alone, as \
                 --takeover says, and the agent may be refused for some minutes",
            ),
            Note::TakeOverDoubtful => warn(
                "takeover_failed",
                "the controller has not said whether it closes the dead connection of our last run, and still holds it: the \
                 agent may be refused for some minutes",
            ),
            Note::ChannelFound { ours: false } => warn(
                "channel_found",
                "the controller calls the node connected although its agent is not started yet: the connection of one that \
                 is gone, which the controller notices within some minutes, or an agent elsewhere with this node's name; \
                 nothing here says that it is ours, so it is left alone",
            ),
            Note::ChannelReturned => error(
                "channel_returned",
                "the connection was closed, and the node is connected again although its agent is not started yet: an agent \
                 elsewhere bears the node's name; end it, or give this one a node of its own",
            ),
            Note::TakingOver => info(
                "taking_over",
                "the controller still holds the connection of our last run, which was killed; closing it (--takeover)",
            ),
            Note::TakenOver => info("taken_over", "that connection is closed"),
            Note::TakeOverFailed { words } => warn(
                "takeover_failed",
                format!(
                    "the dead connection of our last run cannot be closed, so that the agent may be refused for some minutes: \
                     {words}"
                ),
            ),
            Note::HoldSet { words } => warn(
                "hold",
                format!(
                    "an operator holds the node offline ({}); no new builds until the hold file is gone",
                    quoted(words)
                ),
            ),
            Note::HoldLifted => info("hold_lifted", "the hold file is gone"),
            Note::AgentReconnected => info("agent_reconnected", "the controller reports the agent connected again"),
            Note::AgentExited { exit, asked, connected, .. } => {
                let ran = span_words(now.since(self.agent));
                let others = self.stopping.map_or("", |_| term_of_others_words(*exit));
                let (ended, exit) = (exit, exit_words(*exit));
                if *asked {
                    return info("agent_exited", format!("the agent {exit}, as asked"));
                }
                let is_unread = is_broken_pipe(*ended);
                let never = if is_unread {
                    self.unread_words()
                } else if *connected || self.node.is_empty() {
                    ""
                } else {
                    ", never seen connected; its own output above may say why"
                };
                warn("agent_exited", format!("the agent {exit} after {ran}{never}{others}"))
            }
            // Why is said where it is said when it is tried again.
            Note::SpawnFailed(SpawnFailure::Unprepared) => debug(
                "spawn_failed",
                format!("the agent could not be started: {}", spawn_failure_words(SpawnFailure::Unprepared)),
            ),
            Note::SpawnFailed(failure) => {
                error("spawn_failed", format!("the agent could not be started: {}", spawn_failure_words(*failure)))
            }
            Note::RestartPlanned { delay, failures } => {
                if let Some(line) = self.explained.tried_again(*delay, *failures) {
                    return line;
                }
                // What is not held against the agent is not counted as an attempt either.
                let attempt = if *failures == 0 { String::new() } else { format!(" (attempt {})", failures + 1) };
                info("restart_planned", format!("starting the agent again in {}{attempt}", span_words(*delay)))
            }
            Note::OldChannelHeld => warn(
                "old_channel_held",
                "the controller still holds the connection of the agent that is gone and may refuse the new one for \
                 some minutes; such refusals do not count as failures",
            ),
            Note::Slowing { failures } => {
                let marks = if self.node.is_empty() { "" } else { "the node is marked offline and " };
                error(
                    "slowing",
                    format!(
                        "the agent failed {}; {marks}the pace slows down, for as long as it takes",
                        times_words(*failures)
                    ),
                )
            }
            Note::GivingUp { failures } => error(
                "giving_up",
                format!("the agent failed {}: giving up, as --restart-limit says", times_words(*failures)),
            ),
            Note::ForeignMark(mark) => {
                self.lifting = None;
                warn(
                    "foreign_mark",
                    format!(
                        "the node was marked offline {} ({}): {}",
                        owner_words(mark.owner),
                        quoted(&mark.reason),
                        if mark.owner == Owner::Foreign { "it is theirs to lift" } else { self.why_left(mark) }
                    ),
                )
            }
            Note::ForeignMarkGone => info("foreign_mark_gone", "the mark that somebody else had set is gone"),
            Note::RivalMark(mark) => {
                self.lifting = None;
                error(
                    "rival_mark",
                    format!(
                        "another agent-wrap marks the node offline again and again ({}): two keep one node, and its mark is \
                         left to the other from now on; end one of them (the node's page names its host), and take off with \
                         USR2 if it is not this one",
                        quoted_whole(&mark.reason)
                    ),
                )
            }
            Note::StrayMark(mark) => {
                self.lifting.get_or_insert(now);
                warn(
                    "stray_mark",
                    format!(
                        "the node carries a mark {} although it should be online ({}); lifting it",
                        owner_words(mark.owner),
                        quoted(&mark.reason)
                    ),
                )
            }
            Note::Settled => {
                debug("settled", "the start is over: a mark of somebody else counts as a wish from now on")
            }
            Note::RenewingJar => info("renewing_jar", "a new agent.jar is offered; restarting the idle agent into it"),
            Note::RenewalPutOff { until_idle: true } => info(
                "renewal_put_off",
                "a build has begun: the agent is restarted into the new agent.jar when it is idle again",
            ),
            Note::RenewalPutOff { until_idle: false } => warn(
                "renewal_given_up",
                "the node could not be marked in time, so that the agent is not restarted into the new agent.jar; its next start \
                 takes it",
            ),
            Note::PolicyChanged => info("policy_changed", "the settings were read again and hold from now on"),
            Note::PolicyTooLate => {
                warn("policy_too_late", "the settings were read again, but a stop goes by those with which it began")
            }
            Note::Stopping { source, agent } => {
                self.stopping = Some(now);
                self.lifting = None;
                let what = if *agent { "" } else { " (no agent runs)" };
                let who = self.asked_by.take().unwrap_or_else(|| source_words(*source).to_owned());
                info("stopping", format!("stopping{what}: {who}"))
            }
            Note::RequestTaken { request, effect } => self.request_line(*request, *effect),
            Note::Marking { method } => {
                self.lifting = None;
                debug("marking", format!("marking the node offline by {}", mark_words(*method)))
            }
            Note::Marked => info(
                "marked",
                match self.stopping {
                    Some(since) => {
                        format!("the node is marked offline, confirmed after {}", span_words(now.since(since)))
                    }
                    None => "the node is marked offline".to_owned(),
                },
            ),
            Note::MarkedAlready(mark) => info(
                "marked_already",
                format!(
                    "the node is already marked offline {} ({}); that reason stays",
                    owner_words(mark.owner),
                    quoted(&mark.reason)
                ),
            ),
            Note::MarkUnconfirmed { after, failure } => error(
                "mark_unconfirmed",
                format!(
                    "going on although the mark was not read back within {} (--offline-timeout){}",
                    span_words(*after),
                    failure.as_ref().map(|failure| format!(": {}", failure.words)).unwrap_or_default()
                ),
            ),
            Note::LastLookUnsettled => error(
                "last_look_unsettled",
                "the last look has not shown the node marked offline, so that it may be sent builds: look at it on the controller",
            ),
            Note::LastLookUnanswered => warn(
                "last_look_unanswered",
                "the last look at the node got no answer; when it was looked at before, it was marked offline",
            ),
            Note::MarkVanished => warn("mark_vanished", "the mark has vanished from the node; setting it again"),
            Note::MarkLost => warn("mark_lost", "the mark keeps vanishing; it is not set again"),
            Note::Draining { builds, left } => {
                let hint = self.drain_hint();
                self.draining.get_or_insert(now);
                self.progress.told(now, builds);
                let left = left.map(|left| format!("up to {} ", span_words(left))).unwrap_or_default();
                info("draining", format!("draining: waiting {left}for {}{hint}", builds_words(builds)))
            }
            Note::DrainEnding { builds, left, revocable } => {
                self.progress.told(now, builds);
                let cure = if *revocable {
                    "USR2 takes the restart back, and lets them go on".to_owned()
                } else {
                    format!("nothing prolongs this stop; for the next one {}", self.more_time)
                };
                let builds = builds_words(builds);
                warn("drain_ending", format!("draining: cut off in {}: {builds} ({cure})", span_words(*left)))
            }
            Note::Drained => {
                self.progress.over();
                let took = self.draining.take().map_or(Span::ZERO, |since| now.since(since));
                info("drained", format!("drained: no build runs any more, after {}", span_words(took)))
            }
            Note::DrainCut { builds, timeout } => {
                self.progress.over();
                let why = if *timeout { "the time for draining (--drain) is over" } else { "not waiting any longer" };
                let text = if builds.is_empty() {
                    why.to_owned()
                } else {
                    format!("{why}; cut off: {}", builds_words(builds))
                };
                warn("drain_cut", text)
            }
            Note::NotDrained => warn(
                "not_drained",
                "not waiting for builds: a node that may not be marked would be sent new ones all the time",
            ),
            Note::Landed => {
                info("landed", "landed: the node is marked and idle, the agent stays up (USR2 takes off again)")
            }
            Note::TakenBack => {
                info("taken_back", "somebody lifted our mark on the controller: taken as a wish to take off")
            }
            Note::Terminating { grace } => {
                let words = self.keys.grace_words();
                let hint = self.hint(words.is_some(), words.unwrap_or_default());
                info("terminating", format!("asking the agent to end (TERM); it has {}{hint}", span_words(*grace)))
            }
            Note::Killing if self.kill_asked => warn("killing", "killing the agent"),
            Note::Killing => warn("killing", "the agent did not end in time; killing it"),
            Note::Unkillable => error(
                "unkillable",
                "the agent does not go away even after KILL; is its disk or network file system stuck?",
            ),
            Note::LeftoversFound { alive, ended } => {
                let what = if *ended { "ending them" } else { "leaving them, as --leftovers=leave says" };
                warn("leftovers_found", format!("the agent left {} behind; {what}", processes_words(*alive)))
            }
            Note::LeftoversRemain { alive } => {
                warn("leftovers_remain", format!("{} could not be ended", processes_words(*alive)))
            }
        }
    }

    fn request_line(&mut self, request: Request, effect: Effect) -> Line {
        let what = match request {
            Request::Stop(source) => source_words(source),
            Request::StopNow => "stop without draining",
            Request::Land => "land",
            Request::TakeOff => "take off",
            Request::Restart => "restart the agent",
            Request::Suspend => "suspend",
            Request::Forward(signal) => {
                let signal = signal_name(signal);
                return debug("forward", format!("{signal} came, but there is no agent to pass it on to"));
            }
        };
        let text = match effect {
            Effect::Already => match request {
                Request::Stop(source) => {
                    let kills = source == StopSource::Interrupt && self.keys.kills();
                    format!("already stopping{}", self.hint(kills, self.third()))
                }
                _ => format!("{what}: is being done already"),
            },
            Effect::Repeated => return debug("request", format!("{what}: once more in a moment counts as once")),
            // While draining, the next line says what is cut off.
            Effect::DrainSkipped if self.draining.is_some() => return debug("request", format!("{what}: no drain")),
            Effect::DrainSkipped if !self.agent_lives => {
                let kills = request == Request::Stop(StopSource::Interrupt) && self.keys.kills();
                format!("{what}: no agent runs, there is nothing to cut off{}", self.hint(kills, self.third()))
            }
            Effect::DrainSkipped => format!("{what}: builds will not be waited for"),
            Effect::Killed => {
                self.kill_asked = true;
                format!("{what}: ending at once")
            }
            Effect::TooLate => format!("{what}: too late, a stop is under way"),
            Effect::Meaningless => format!("{what}: has no meaning without a controller"),
            Effect::TakenBack => format!("{what}: the drain is taken back"),
            Effect::Held => format!("{what}: a hold file keeps the node offline; it stays so until the file is gone"),
            Effect::Done => format!("asked to {what}"),
        };
        info("request", text)
    }

    /// Why a mark is not lifted.
    fn why_left(&self, mark: &Mark) -> &'static str {
        match (mark.owner, self.online) {
            (Owner::Monitor, _) => "no --online lifts that, it goes when the monitor finds the node well again",
            (Owner::ThisRun | Owner::EarlierRun, _) | (Owner::Foreign, OnlinePolicy::Never | OnlinePolicy::Own) => {
                "--online says so"
            }
            (Owner::Foreign, OnlinePolicy::Match) if !mark.matches => "its reason does not match --online",
            (Owner::Foreign, _) if self.started => "only our own marks are lifted when the agent is started again",
            (Owner::Foreign, _) if self.unclean => {
                "the run before did not end by a stop, and only our own marks are lifted then"
            }
            (Owner::Foreign, OnlinePolicy::Always | OnlinePolicy::Match) => "it is set again and again",
        }
    }

    /// Why an agent has ended that could not write.
    fn unread_words(&self) -> &'static str {
        if self.stopping.is_some() && self.draining.is_some() {
            ": whoever read its output has gone, as after Ctrl-C the tee of `2>&1 | tee log` has (`tee -i` would stay); the \
             builds that it ran are cut off with it"
        } else {
            ": whoever read its output has gone, as after Ctrl-C the tee of `2>&1 | tee log` has (`tee -i` would stay)"
        }
    }

    /// What a person at the terminal can do now.
    pub(super) fn hint(&self, useful: bool, words: &str) -> String {
        if useful && self.at_keyboard && self.interrupt_stops { format!(" ({words})") } else { String::new() }
    }

    /// What he can do about builds that are waited for. Those of a landing are cut off by no key.
    pub(super) fn drain_hint(&self) -> String {
        let words = self.keys.drain_words().filter(|_| self.stopping.is_some());
        self.hint(words.is_some(), words.unwrap_or_default())
    }

    /// An agent that lives and does not run, as a line.
    pub(in crate::telemetry) fn suspended_line(&mut self, signal: i32, why: Option<&str>, cure: &str) -> Line {
        let name = signal_name(signal);
        let Some(why) = why else {
            return info("agent_suspended", format!("the agent has been stopped by {name}{}; {cure}", self.offline()));
        };
        if self.explained.suspended(why) {
            return warn("agent_suspended", format!("the agent has been stopped by {name} again, for the same reason"));
        }
        warn("agent_suspended", format!("the agent has been stopped by {name}, {why}{}; {cure}", self.offline()))
    }

    /// What becomes of an agent that does not run, unless it is ended anyway.
    fn offline(&self) -> &'static str {
        if self.node.is_empty() || self.stopping.is_some() {
            ""
        } else {
            "; if it stays so, the controller will call it offline"
        }
    }

    /// What the third interrupt of a stop does.
    fn third(&self) -> &'static str {
        if self.agent_lives { "the third Ctrl-C kills the agent" } else { "the third Ctrl-C ends at once" }
    }

    /// How it has ended, as a line.
    pub(super) fn ending_line(&mut self, now: Moment, ending: &Ending, code: u8) -> Line {
        let took = self.stopping.map(|since| format!(" after {}", span_words(now.since(since)))).unwrap_or_default();
        match ending {
            Ending::Stopped { killed: false, confirmed: true } => {
                info("stopped", format!("stopped{took}; exit code {code}"))
            }
            Ending::Stopped { killed, confirmed } => {
                let mut why = Vec::new();
                if *killed {
                    why.push("the agent had to be killed");
                }
                if !confirmed {
                    why.push("the mark is not confirmed");
                }
                warn("stopped", format!("stopped{took}, but {}; exit code {code}", why.join(" and ")))
            }
            Ending::AgentEnded { confirmed, .. } => {
                let mark = if *confirmed { "" } else { ", and the mark is not confirmed" };
                info("agent_ended", format!("ending with the agent{mark}; exit code {code}"))
            }
            Ending::GaveUp => error("gave_up", format!("gave up: {}; exit code {code}", self.standing.end_of_agent())),
            Ending::SpawnFailed(failure) => {
                let words = spawn_failure_words(*failure);
                error("spawn_failed", format!("the agent could not be started: {words}; exit code {code}"))
            }
            Ending::Unreachable(failure) => unusable("unreachable", "giving up after --start-timeout", failure, code),
            Ending::Refused(failure) => unusable("refused", "giving up", failure, code),
        }
    }
}

fn unusable(event: &'static str, why: &str, failure: &Failure, code: u8) -> Line {
    error(event, format!("{why}, the agent was not started (exit code {code}): {}", failure.words))
}
