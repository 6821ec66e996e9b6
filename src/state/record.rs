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
    /// Runs whose agent may still live and is being ended.
    pub earlier: Vec<String>,
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
    /// Its name.
    pub run: String,
    /// Earlier runs whose agent it had not seen the end of.
    pub earlier: Vec<String>,
    /// Its agent, which may be over.
    pub agent: Option<AgentIdentity>,
}

impl Previous {
    /// The runs whose agent may still live.
    pub fn runs(&self) -> impl Iterator<Item = &str> {
        self.earlier.iter().chain([&self.run]).map(String::as_str)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// As in the marker of the run's marks, and in the environment of its agent.
    run: String,
    #[serde(default)]
    earlier: Vec<String>,
    /// The wrapper's pid, for people.
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
            earlier: self.earlier.clone(),
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
            run: stored.run,
            earlier: stored.earlier,
            agent: stored.agent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_to_find_an_agent_is_kept() {
        let agent = AgentIdentity { pid: 7, start_time: 8, boot_id: "b".to_owned(), session: 5 };
        let record = Record {
            run: "r2".to_owned(),
            earlier: vec!["r1".to_owned()],
            agent: Some(agent.clone()),
            memory: Memory::default(),
        };
        let previous = Previous::from_json(&record.to_json()).unwrap();
        assert_eq!(previous.runs().collect::<Vec<_>>(), ["r1", "r2"]);
        assert_eq!(previous.agent, Some(agent));
    }

    #[test]
    fn a_record_of_an_earlier_program_is_understood() {
        let json = r#"{"version":1,"run":"r","wrapper":1,"agent":{"pid":7,"start_time":8,"boot_id":"b"},
                       "memory":{"marked":false,"connected":false,"stopped":true}}"#;
        let previous = Previous::from_json(json.as_bytes()).unwrap();
        assert_eq!(previous.agent.unwrap().session, 0);
        assert_eq!(previous.earlier, [""; 0]);
    }

    #[test]
    fn fields_of_a_later_program_do_no_harm() {
        let json = r#"{"version":1,"run":"r","wrapper":1,"agent":null,"later":[1],
                       "memory":{"marked":false,"connected":false,"stopped":true,"later":2}}"#;
        assert!(!Previous::from_json(json.as_bytes()).unwrap().unclean);
    }
}
