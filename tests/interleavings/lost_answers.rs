//! Answers are lost: the request was carried out, was not, or is carried out later.

use std::time::Duration;

use agent_wrap_testbed::simulated::{Fault, On, Operation, World};
use libtest_mimic::Trial;

use crate::life::{HUDSON, JENKINS, JENKINS_TOGGLE, NODE, Way, at_point, wait_until_acted};
use crate::trials::trial;

const POINTS_OF_A_START: usize = 16;
const POINTS_OF_A_STOP: usize = 12;

/// What befalls a write, by name.
fn faults() -> Vec<(&'static str, Fault)> {
    vec![
        ("reset_before", Fault::ResetBefore),
        ("reset_after", Fault::ResetAfter),
        ("closed_before", Fault::CloseBefore),
        ("closed_after", Fault::CloseAfter),
        ("hangs_before", Fault::HangBefore),
        ("hangs_after", Fault::HangAfter),
        ("truncated", Fault::Truncated),
        ("slower_than_we_wait", Fault::Slow(Duration::from_millis(800))),
        ("a_502", Fault::Status(502)),
        ("carried_out_later", Fault::Delayed(Duration::from_millis(700))),
    ]
}

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for way in [JENKINS, JENKINS_TOGGLE, HUDSON] {
        for (name, fault) in faults() {
            for times in [1, 2] {
                let on = On::operation(way.lifts).times(times);
                let name = format!("lost::start::{}::{name}_{times}", way.name);
                let fault = fault.clone();
                trials.push(trial(name, move || lost_at_start(way, on, fault)));
            }
        }
        for point in 1..=POINTS_OF_A_START {
            let name = format!("late::start::{}::carried_out_at_{point}", way.name);
            trials.push(trial(name, move || late_at_start(way, point)));
        }
        for point in 1..=POINTS_OF_A_STOP {
            let name = format!("late::start::{}::carried_out_at_{point}_of_the_stop", way.name);
            trials.push(trial(name, move || late_while_stopping(way, point)));
        }
    }
    for way in [JENKINS, HUDSON] {
        for (name, fault) in faults() {
            for times in [1, 2] {
                let on = On::operation(way.marks).times(times);
                let name = format!("lost::stop::{}::{name}_{times}", way.name);
                let fault = fault.clone();
                trials.push(trial(name, move || lost_at_stop(way, on, fault)));
            }
        }
        for point in 1..=POINTS_OF_A_STOP {
            let name = format!("late::stop::{}::carried_out_at_{point}", way.name);
            trials.push(trial(name, move || late_at_stop(way, point)));
        }
    }
    trials
}

fn lost_at_start(way: Way, on: On, fault: Fault) {
    let controller = way.controller(true);
    controller.fault(on, fault);
    let life = way.live(controller, &[]);
    life.wrap.wait_for("settled");
    life.wait_until_not_marked_by_us();
    let state = life.node();
    assert!(!state.marked, "{state:?}");
    life.stop().0.expect_code(0);
}

fn lost_at_stop(way: Way, on: On, fault: Fault) {
    let life = way.live(way.controller(false), &[]);
    life.wrap.wait_for("agent_connected");
    life.controller.fault(on, fault);
    life.stop().0.expect_code(0);
}

/// Does what the first lost write asked for.
fn carry_out_late(world: &mut World, write: Operation) {
    let lost = world.requests().iter().find(|request| request.operation == write && !request.carried_out);
    let Some(lost) = lost.cloned() else { return };
    let message = lost.field("offlineMessage").unwrap_or_default();
    if write == Operation::Toggle {
        world.toggle(NODE, "anonymous", &message);
    } else if write == Operation::ChangeCause {
        world.mark(NODE, "anonymous", &message);
    } else {
        world.clear(NODE, "anonymous");
    }
}

/// The first write is carried out at a point after its connection was reset, after reads and writes that followed it.
fn late_at_start(way: Way, point: usize) {
    let controller = way.controller(true);
    controller.fault(On::operation(way.lifts).nth(1), Fault::ResetBefore);
    // Four points come before the write: the login page and the read.
    let acted = at_point(&controller, 4 + point, move |world| carry_out_late(world, way.lifts));
    let life = way.live(controller, &[]);
    life.wrap.wait_for("settled");
    wait_until_acted(&life.controller, &acted);
    life.wait_until_not_marked_by_us();
    let state = life.node();
    assert!(!state.marked, "{state:?}");
    life.stop().0.expect_code(0);
}

fn late_while_stopping(way: Way, point: usize) {
    let controller = way.controller(true);
    controller.fault(On::operation(way.lifts).nth(1), Fault::ResetBefore);
    let life = way.live(controller, &[]);
    life.wrap.wait_for("agent_connected");
    at_point(&life.controller, point, move |world| carry_out_late(world, way.lifts));
    life.stop().0.expect_code(0);
}

fn late_at_stop(way: Way, point: usize) {
    let life = way.live(way.controller(false), &[]);
    life.wrap.wait_for("agent_connected");
    life.controller.fault(On::operation(way.marks).nth(1), Fault::ResetBefore);
    // The write comes after the first read; Hudson refuses changeOfflineCause before it.
    let before = if way.marks == Operation::Toggle { 4 } else { 2 };
    at_point(&life.controller, before + point, move |world| carry_out_late(world, way.marks));
    life.stop().0.expect_code(0);
}
