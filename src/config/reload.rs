//! Which settings a reload changes. Every field of the settings is named here, so that none can be forgotten.

use super::{Connection, ControllerSettings, Settings};

/// What the settings `wanted` become while the wrapper runs on: the settings in force from now on, and the names of those
/// that have changed and hold only after a restart. The others hold at once, or from the agent's next start on.
#[must_use]
pub fn reload(running: &Settings, wanted: Settings) -> (Settings, Vec<&'static str>) {
    let Settings {
        controller,
        unasked,
        online,
        online_match,
        online_method,
        start_timeout,
        if_refused,
        takeover,
        hold_file,
        offline,
        offline_reason,
        offline_timeout,
        drain,
        drain_warn,
        grace,
        leftovers,
        restart,
        backoff,
        jar_update,
        secret,
        agent_user,
        agent_oom_score_adj,
        stdio,
        poll,
        disconnect_timeout,
        log_format,
        log_level,
        status_line,
        state_dir,
        ready,
        signals,
        command,
        entry_point,
    } = wanted;
    let mut held_back = HeldBack::default();
    let settings = Settings {
        unasked: held_back.unasked(running, controller.is_none(), unasked),
        controller: held_back.controller(running.controller.as_ref(), controller),
        log_format: held_back.keep("log-format", &running.log_format, &log_format),
        log_level: held_back.keep("log-level", &running.log_level, &log_level),
        hold_file: held_back.keep("hold-file", &running.hold_file, &hold_file),
        state_dir: held_back.keep("state-dir", &running.state_dir, &state_dir),
        // Arguments of ours, as they were: they cannot change.
        command: held_back.keep("command", &running.command, &command),
        entry_point,
        online,
        online_match,
        online_method,
        start_timeout,
        if_refused,
        takeover,
        offline,
        offline_reason,
        offline_timeout,
        drain,
        drain_warn,
        grace,
        leftovers,
        restart,
        backoff,
        jar_update,
        poll,
        disconnect_timeout,
        status_line,
        ready,
        signals,
        // From the agent's next start on.
        secret,
        agent_user,
        agent_oom_score_adj,
        stdio,
    };
    (settings, held_back.names)
}

#[derive(Default)]
struct HeldBack {
    names: Vec<&'static str>,
}

impl HeldBack {
    fn keep<T: Clone + PartialEq>(&mut self, name: &'static str, running: &T, wanted: &T) -> T {
        if running != wanted {
            self.names.push(name);
        }
        running.clone()
    }

    /// What is only told to the agent stays as what is asked for itself.
    fn unasked(&mut self, running: &Settings, is_standalone: bool, wanted: Option<Connection>) -> Option<Connection> {
        // Of another kind of run that alone is told.
        if running.controller.is_none() && is_standalone {
            let both = |connection: Option<&Connection>| {
                connection.map(|connection| (connection.url.clone(), connection.node.clone())).unzip()
            };
            let ((url, node), wanted) = (both(running.unasked.as_ref()), both(wanted.as_ref()));
            self.keep("url", &url, &wanted.0);
            self.keep("node", &node, &wanted.1);
        }
        running.unasked.clone()
    }

    /// Which node it is stays as it is: its lock is held and its mark is ours to care for.
    fn controller(
        &mut self,
        running: Option<&ControllerSettings>,
        wanted: Option<ControllerSettings>,
    ) -> Option<ControllerSettings> {
        match (running, wanted) {
            (Some(running), Some(ControllerSettings { url, node, credentials, ca_file, request_timeout })) => {
                Some(ControllerSettings {
                    url: self.keep("url", &running.url, &url),
                    node: self.keep("node", &running.node, &node),
                    ca_file: self.keep("ca-file", &running.ca_file, &ca_file),
                    credentials,
                    request_timeout,
                })
            }
            (None, None) => None,
            (running, _) => {
                self.names.push("standalone");
                running.cloned()
            }
        }
    }
}
