//! Every scenario on a real controller, Hudson 3.0.0, with its real java agent; with security on and off.

mod common;
mod scenarios;

use std::sync::{Mutex, PoisonError};

use agent_wrap_testbed::hudson::{Hudson, HudsonOptions};
use agent_wrap_testbed::skip;

/// One controller for all scenarios with security, one for all without: each takes seconds to start. They end with this
/// process.
static CONTROLLERS: [Mutex<Option<Hudson>>; 2] = [Mutex::new(None), Mutex::new(None)];

fn play(security: bool, name: &str) {
    let test = format!("real_controller::{name}::{}", if security { "secured" } else { "open" });
    if skip::unmet(&test, skip::need_hudson()) {
        return;
    }
    let scenario = scenarios::ALL.iter().find(|(known, _)| *known == name).expect("a scenario of this name").1;
    let mut slot = CONTROLLERS[usize::from(security)].lock().unwrap_or_else(PoisonError::into_inner);
    let hudson = slot.get_or_insert_with(|| {
        Hudson::start(HudsonOptions { security, ..HudsonOptions::default() }).expect("Hudson starts")
    });
    scenario(hudson);
}

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        // A module a scenario: in the order of names the two controllers take turns, and so are busy at the same time.
        $(mod $name {
            #[test]
            fn open() { super::play(false, stringify!($name)); }
            #[test]
            fn secured() { super::play(true, stringify!($name)); }
        })+
        #[test]
        fn no_scenario_is_left_out() {
            let played = [$(stringify!($name)),+];
            for (name, _) in scenarios::ALL {
                assert!(played.contains(name), "{name} is not played on the real controller");
            }
        }
    };
}

on_both!(
    unmarked_start_and_idle_stop,
    marked_start_lifts_the_mark_first,
    mark_of_an_earlier_run_is_lifted_by_policy_own,
    mark_of_somebody_else_stays_by_policy_own,
    mark_that_matches_is_lifted,
    marked_by_somebody_else_while_running,
    stop_waits_for_the_build,
    second_interrupt_skips_the_drain,
    second_term_changes_nothing,
    drain_timeout_cuts_the_build,
    landing_waits_for_the_build,
    restart_waits_for_the_build,
    drain_says_what_will_be_cut_off,
    drain_until_a_moment_that_is_past,
    form_saved_during_the_drain,
    controller_restarted_during_the_drain,
    killed_agent_is_started_again,
    agent_that_exits_0_at_once_is_a_failure,
    landing_and_taking_off,
    unknown_node_is_68,
    wrong_password_is_77,
    missing_permission_at_the_stop_is_74,
    command_not_found_leaves_the_node_alone,
    controller_down_at_the_start,
    controller_down_for_the_start_timeout_is_69,
    controller_restarted_under_us,
    controller_down_at_the_stop_is_74,
);
