//! The counter-example's key rows, on a real controller with its real java agent: `enable_node` on a node that carries no
//! mark leaves it offline behind a running agent, and the stop of a killed agent's unit leaves it unmarked.

use std::path::Path;

use agent_wrap_testbed::compare::{Outcome, Scenario};
use agent_wrap_testbed::hudson::{Hudson, HudsonOptions};
use agent_wrap_testbed::skip;

#[test]
fn a_unit_leaves_a_node_offline_that_agent_wrap_brings_online() {
    let test = "a_unit_leaves_a_node_offline_that_agent_wrap_brings_online";
    if skip::unmet(test, skip::need_hudson().and_then(|()| skip::need_python_jenkins())) {
        return;
    }
    let options = HudsonOptions { security: true, ..HudsonOptions::default() };
    let mut hudson = Hudson::start(options).expect("Hudson starts");
    let scenario = |name| Scenario::named(name).expect("a scenario of this name");
    let outcome = |good, words: &str| Outcome { good, words: words.to_owned() };
    let program = Path::new(env!("CARGO_BIN_EXE_agent-wrap"));

    let start = scenario("unmarked-before");
    let by_unit = start.play_unit(&mut hudson, "start by a unit").expect("it is played");
    assert_eq!(by_unit, outcome(false, "offline: marked behind a running agent"));
    let by_wrapper = start.play_wrapper(&mut hudson, "start by agent-wrap", program).expect("it is played");
    assert_eq!(by_wrapper, outcome(true, "online"));

    let stop = scenario("stop-after-kill");
    let by_unit = stop.play_unit(&mut hudson, "stop by a unit").expect("it is played");
    assert_eq!(by_unit, outcome(false, "not marked; takes builds again as soon as an agent connects"));
    let by_wrapper = stop.play_wrapper(&mut hudson, "stop by agent-wrap", program).expect("it is played");
    assert_eq!(by_wrapper, outcome(true, "marked; stays offline"));
}
