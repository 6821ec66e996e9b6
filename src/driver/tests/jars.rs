//! New jars: the driver tells the core of them, and has those put back whose agents die at once.

use agent_wrap_supervisor::{Exit, Span};

use super::agent::AgentPlan;
use super::glue::{STOPPED, TERM, policy, traced};
use super::life::Life;

/// What is done in a life of two agents that die at once, the jars of which are new or not, and of a third one.
fn deeds(new: [bool; 2]) -> Vec<&'static str> {
    let dying = AgentPlan { ends: Some((Span(100), Exit::Code(1))), connects_after: None, ..AgentPlan::default() };
    let life = Life { new_jars: new.into(), plans: vec![dying.clone(), dying].into(), ..traced(policy()) };
    let lived = life.at(Span::seconds(60), TERM).live();
    assert_eq!(lived.well("new jars"), STOPPED);
    let world = lived.shared.lock();
    let known = [" PREPARE", " FORK", " JAR put back"];
    world.trace.iter().filter_map(|line| known.into_iter().find(|deed| line.contains(deed))).collect()
}

#[test]
fn it_is_put_back_before_the_next_agent_is_made_ready() {
    let (agent, back) = ([" PREPARE", " FORK"], [" JAR put back"]);
    assert_eq!(deeds([true, false]), [&agent[..], &back, &agent, &agent].concat());
    assert_eq!(deeds([false, true]), [&agent[..], &agent, &back, &agent].concat());
    assert_eq!(deeds([false, false]), [agent, agent, agent].concat());
}
