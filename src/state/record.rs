//! What is kept, and in which shape.

use agent_wrap_supervisor::Memory;
use serde::{Deserialize, Serialize};

use crate::process::AgentIdentity;

/// The shape below; another one is not understood.
const VERSION: u32 = 1;

/// What this run wants known after its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The run's own name, as in the marker of its marks.
    pub run: String,
    /// The agent that runs, if one does.
    pub agent: Option<AgentIdentity>,
    /// What the supervisor wants remembered.
    pub memory: Memory,
}

/// What the run before has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// It was not ended by a stop.
    pub unclean: bool,
    /// It had set a mark and not lifted it.
    pub marked: bool,
    /// It had seen the node connected.
    pub connected: bool,
    /// Its agent, if that very process still runs.
    pub survivor: Option<AgentIdentity>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// As in the marker of the run's marks; like the wrapper's pid, for people.
    run: String,
    wrapper: u32,
    agent: Option<AgentIdentity>,
    memory: StoredMemory,
}

#[derive(Serialize, Deserialize)]
struct StoredMemory {
    marked: bool,
    connected: bool,
    stopped: bool,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Record {
    pub(super) fn to_json(&self) -> Vec<u8> {
        let Memory { marked, connected, stopped } = self.memory;
        let stored = Stored {
            version: VERSION,
            run: self.run.clone(),
            wrapper: std::process::id(),
            agent: self.agent.clone(),
            memory: StoredMemory { marked, connected, stopped },
        };
        // Numbers, strings and booleans under fixed names always have a JSON form.
        let mut json = serde_json::to_vec(&stored).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

impl Previous {
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let told = |error: serde_json::Error| error.to_string();
        let Versioned { version } = serde_json::from_slice(bytes).map_err(told)?;
        if version != VERSION {
            return Err(format!("it has version {version}, this program knows {VERSION}"));
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(told)?;
        Ok(Self {
            unclean: !stored.memory.stopped,
            marked: stored.memory.marked,
            connected: stored.memory.connected,
            survivor: stored.agent.filter(AgentIdentity::is_alive),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor(agent: AgentIdentity) -> Option<AgentIdentity> {
        let record = Record { run: "r".to_owned(), agent: Some(agent), memory: Memory::default() };
        Previous::from_json(&record.to_json()).unwrap().survivor
    }

    #[test]
    fn a_survivor_is_the_very_process_and_alive() {
        let mut agent = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let identity = AgentIdentity::of(agent.id()).unwrap();
        assert_eq!(survivor(identity.clone()), Some(identity.clone()));
        assert_eq!(survivor(AgentIdentity { start_time: identity.start_time - 1, ..identity.clone() }), None);
        assert_eq!(survivor(AgentIdentity { boot_id: "before".to_owned(), ..identity.clone() }), None);
        agent.kill().unwrap();
        // A zombie until it is waited for, which is no survivor either.
        nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(i32::try_from(agent.id()).unwrap())),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        )
        .unwrap();
        assert_eq!(survivor(identity.clone()), None);
        agent.wait().unwrap();
        assert_eq!(survivor(identity), None);
    }

    #[test]
    fn fields_of_a_later_program_do_no_harm() {
        let json = r#"{"version":1,"run":"r","wrapper":1,"agent":null,"later":[1],
                       "memory":{"marked":false,"connected":false,"stopped":true,"later":2}}"#;
        assert!(!Previous::from_json(json.as_bytes()).unwrap().unclean);
    }
}
