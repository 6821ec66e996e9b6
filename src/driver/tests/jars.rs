//! New jars: the driver tells the core of them, and has those put back whose agents die at once.

use agent_wrap_supervisor::{Exit, Span};

use super::agent::AgentPlan;
use super::glue::{STOPPED, TERM, policy, traced};
use super::life::Life;
use super::world::Happening;

/// A life with a controller that is upgraded after half a minute, and what is done in it.
fn upgraded(change: impl FnOnce(Life) -> Life) -> Vec<&'static str> {
    let life = traced(policy()).at(Span::ZERO, Happening::Upgraded(1)).at(Span::seconds(30), Happening::Upgraded(2));
    let lived = change(Life { jar_when_idle: true, ..life }).at(Span::seconds(1000), TERM).live();
    assert_eq!(lived.well("an upgrade"), STOPPED);
    let world = lived.shared.lock();
    let known = [" FORK", " LOOK for a jar"];
    world.trace.iter().filter_map(|line| known.into_iter().find(|deed| line.contains(deed))).collect()
}

#[test]
fn another_version_s_jar_is_looked_for_once_and_taken_when_idle() {
    let (agent, look) = (" FORK", " LOOK for a jar");
    let offers = |offers: &[bool]| offers.iter().copied().collect();
    assert_eq!(upgraded(|life| Life { offers: offers(&[true]), ..life }), [agent, look, agent]);
    assert_eq!(upgraded(|life| Life { offers: offers(&[false]), ..life }), [agent, look]);
    // Not where nobody wants it.
    assert_eq!(upgraded(|life| Life { jar_when_idle: false, offers: offers(&[true]), ..life }), [agent]);
    // Where the controller does not tell, it is asked again after pauses that double, until the agent is started anew.
    let unanswered = upgraded(|life| life.at(Span::seconds(700), Happening::AgentEnds(Exit::Code(1))));
    assert_eq!(unanswered, [agent, look, look, look, look, agent]);
    // What another version has is another question.
    assert_eq!(upgraded(|life| life), [&[agent][..], &[look; 5]].concat());
    let again = upgraded(|life| life.at(Span::seconds(40), Happening::Upgraded(3)));
    assert_eq!(again, [&[agent][..], &[look; 6]].concat());
    // Builds are waited for.
    let busy = upgraded(|life| {
        let life = life.at(Span::seconds(20), Happening::BuildBegins).at(Span::seconds(600), Happening::BuildEnds);
        Life { offers: offers(&[true]), ..life }
    });
    assert_eq!(busy, [agent, look, agent]);
}

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
