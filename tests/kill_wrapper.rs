//! KILL of the wrapper: no agent lives on, whatever it does about signals and however often it has executed itself
//! again. And the guard that sees to it goes when it is not needed any more.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::Stage as _;
use common::standalone::{
    Ends, children, exists, guard, guard_on_duty, marked, misbehave, name, on_fork, standalone, standalone_script,
    standalone_with, start_and_listen, stat, text, wait_for_end, without_room_for_a_mark,
};
use common::{Wrap, eventually, is_alive};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

const NODE: &str = "n1";
/// No other start of the agent comes before the test is over.
const LONG_PAUSE: [&str; 4] = ["--restart-delay", "1h", "--restart-delay-max", "1h"];

/// Kills the wrapper and waits until the agent is no living process any more.
#[track_caller]
fn kill_wrapper(wrap: Wrap, agent: Pid) {
    assert!(is_alive(agent));
    wrap.kill();
    wait_for_end(agent);
    assert!(!is_alive(agent));
}

fn controller() -> Simulated {
    let controller = Simulated::start(Options::jenkins("2.578")).unwrap();
    controller.create_node(NODE, 1).unwrap();
    controller
}

/// An agent that connects, executes itself again from a thread, and connects once more.
fn re_executing(controller: &Simulated, wrapper: &mut Command, more: &[&str]) {
    let agent = controller.agent_command(NODE);
    wrapper.arg(misbehave()).args(&agent[1..]).arg("--re-exec").args(more);
}

/// Starts it and waits for its second life.
fn start_re_executing(wrapper: Command) -> (Wrap, Pid) {
    let wrap = Wrap::start(wrapper);
    let agent = wrap.agent_pid(1);
    wrap.wait_for_words("INFO: Connected", 2);
    (wrap, agent)
}

#[test]
fn a_plain_agent() {
    let wrap = Wrap::start(standalone_with(&[], &["sleep", "1000"]));
    let agent = wrap.agent_pid(1);
    kill_wrapper(wrap, agent);
}

/// A program that is java itself, as far as its file tells.
fn java(folder: &Path) -> String {
    let java = folder.join("java");
    common::copy_program(misbehave(), &java);
    text(java)
}

#[test]
fn java_that_cannot_reconnect_has_no_guard_and_needs_none() {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        eprintln!("SKIPPED: java_that_cannot_reconnect_has_no_guard_and_needs_none: SELinux may take its signal away");
        return;
    }
    let folder = common::standalone::folder();
    let (wrap, said) = start_and_listen(standalone_with(&[], &[&java(folder.path()), "--hang", "-noReconnect"]));
    said.wait_for("hanging");
    let agent = wrap.agent_pid(1);
    assert_eq!(guard(wrap.pid()), None);
    kill_wrapper(wrap, agent);
}

/// The change of user takes the parent-death signal away.
#[test]
fn an_agent_whose_command_changes_the_user() {
    let test = "kill_wrapper::an_agent_whose_command_changes_the_user";
    if skip::unmet(test, skip::need_root().and_then(|()| skip::need_program("setpriv"))) {
        return;
    }
    let setpriv = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"];
    let script = ["sh", "-c", "exec \"$@\"", "sh"];
    for change in [&setpriv[..], &[&script[..], &setpriv[..]].concat()] {
        let agent = ["sh", "-c", "echo pid $$; exec sleep 1000", "sh", "-noReconnect"];
        let (wrap, said) = start_and_listen(standalone_with(&[], &[change, &agent].concat()));
        let agent = said.wait_for_pid("pid ");
        let _ends = Ends(agent);
        kill_wrapper(wrap, agent);
    }
}

/// Only the script is our child, and the others have left its group; but a build may go on until it is asked for.
#[test]
fn an_agent_below_a_script_but_not_its_builds() {
    let script = "sleep 1000 & echo agent $!; setsid sleep 1000 & echo agent $!; \
                  JENKINS_SERVER_COOKIE=durable-1 sleep 1000 & echo build $!; \
                  sh -c 'trap \"\" TERM HUP; echo ready; while :; do sleep 1000; done'; echo never";
    let (wrap, said) = start_and_listen(standalone_script(&[], script));
    let agents = [said.wait_for_pid("agent "), said.wait_for_pid("agent ")];
    let build = said.wait_for_pid("build ");
    let _ends = [agents[0], agents[1], build].map(Ends);
    said.wait_for("ready");
    let guard = guard_on_duty(wrap.pid());
    let leader = wrap.agent_pid(1);
    kill_wrapper(wrap, leader);
    for agent in agents {
        wait_for_end(agent);
    }
    wait_for_end(guard);
    assert!(is_alive(build), "a build is no agent");
    kill(build, Signal::SIGKILL).unwrap();
    assert_eq!(said.rest(), [""; 0], "everything else that could say something is gone");
}

/// The command has gone into the background, so that the agent is nobody's child.
#[test]
fn an_agent_in_the_background() {
    let (wrap, said) =
        start_and_listen(standalone_script(&[], "setsid sh -c 'sleep 1000 & echo pid $!; wait' & exec sleep 1000"));
    let agent = said.wait_for_pid("pid ");
    let _ends = Ends(agent);
    kill_wrapper(wrap, agent);
}

/// Nothing of its environment is left, as behind `su -`; but what a build starts in this way is a build's.
#[test]
fn an_agent_without_its_environment_but_not_a_builds() {
    let script = "env -i sleep 1000 & echo agent $!; setsid env -i sleep 1000 & echo agent $!; \
                  JENKINS_SERVER_COOKIE=durable-1 sh -c 'env -i sleep 1000 & echo build $!; wait' & wait";
    let (wrap, said) = start_and_listen(standalone_script(&[], script));
    let agents = [said.wait_for_pid("agent "), said.wait_for_pid("agent ")];
    let build = said.wait_for_pid("build ");
    let _ends = [agents[0], agents[1], build].map(Ends);
    for pid in [agents[0], agents[1], build] {
        eventually("it has nothing of its environment", || name(pid) == "sleep");
    }
    let guard = guard_on_duty(wrap.pid());
    wrap.kill();
    agents.into_iter().for_each(wait_for_end);
    wait_for_end(guard);
    assert!(is_alive(build), "a build is no agent");
}

#[test]
fn an_agent_behind_su() {
    let test = "kill_wrapper::an_agent_behind_su";
    if skip::unmet(test, skip::need_root().and_then(|()| skip::need_program("su"))) {
        return;
    }
    let su = ["su", "-", "daemon", "-s", "/bin/sh", "-c", "echo pid $$; exec sleep 1000"];
    let (wrap, said) = start_and_listen(standalone_with(&[], &su));
    let agent = said.wait_for_pid("pid ");
    let _ends = Ends(agent);
    eventually("it has executed its program", || name(agent) == "sleep");
    kill_wrapper(wrap, agent);
}

/// Where there is no room for a mark the agent's group tells.
#[test]
fn an_agent_without_environment_and_mark() {
    let mut command = standalone_script(&[], "env -i sleep 1000 & echo pid $!; wait");
    on_fork(&mut command, without_room_for_a_mark);
    let (wrap, said) = start_and_listen(command);
    let agent = said.wait_for_pid("pid ");
    let _ends = Ends(agent);
    eventually("it has nothing of its environment", || name(agent) == "sleep");
    kill_wrapper(wrap, agent);
}

/// The guard's agent is over, and what it has started is not.
#[test]
fn what_is_in_the_background_while_the_next_start_is_waited_for() {
    let script = "setsid sleep 1000 & echo pid $!; exit 1";
    let (wrap, said) = start_and_listen(standalone_script(&LONG_PAUSE, script));
    let agent = said.wait_for_pid("pid ");
    let _ends = Ends(agent);
    wrap.wait_for("restart_planned");
    let guard = guard_on_duty(wrap.pid());
    kill_wrapper(wrap, agent);
    wait_for_end(guard);
}

#[test]
fn a_stop_while_the_next_start_is_waited_for_leaves_what_is_to_be_left() {
    let script = "setsid sleep 1000 >/dev/null 2>&1 & echo pid $!; exit 1";
    let options = [&LONG_PAUSE[..], &["--leftovers", "leave"]].concat();
    let (wrap, said) = start_and_listen(standalone_script(&options, script));
    let left = said.wait_for_pid("pid ");
    let _ends = Ends(left);
    wrap.wait_for("restart_planned");
    let guard = guard_on_duty(wrap.pid());
    wrap.stop().expect_code(0);
    assert!(!exists(guard), "{:?}", stat(guard));
    assert!(is_alive(left), "it was to be left");
}

/// However early the wrapper is killed: at the first word of an agent there is a guard.
#[test]
fn no_agent_runs_before_there_is_a_guard() {
    for _ in 0..20 {
        let script = "echo pid $$; exec sleep 1000";
        let (wrap, said) = start_and_listen(standalone_script(&[], script));
        let agent = said.wait_for_pid("pid ");
        let _ends = Ends(agent);
        let there_is_one = children(wrap.pid()).len() == 2;
        wrap.kill();
        assert!(there_is_one);
        wait_for_end(agent);
    }
}

#[test]
fn an_agent_that_ignores_term() {
    let (wrap, said) = start_and_listen(standalone_with(&[], &[misbehave(), "--hang", "--ignore-term"]));
    said.wait_for("hanging");
    let agent = wrap.agent_pid(1);
    kill_wrapper(wrap, agent);
}

#[test]
fn an_agent_that_is_stopped() {
    let wrap = Wrap::start(standalone_with(&[], &["sleep", "1000"]));
    let agent = wrap.agent_pid(1);
    kill(agent, Signal::SIGSTOP).unwrap();
    eventually("the agent is stopped", || stat(agent).is_some_and(|stat| stat.state == 'T'));
    kill_wrapper(wrap, agent);
}

#[test]
fn an_agent_that_has_executed_itself_again() {
    let controller = controller();
    let mut wrapper = standalone(&[]);
    re_executing(&controller, &mut wrapper, &[]);
    let (wrap, agent) = start_re_executing(wrapper);
    assert_eq!(wrap.agent_pid(1), agent, "it is still the first run");
    let guard = guard_on_duty(wrap.pid());
    kill_wrapper(wrap, agent);
    wait_for_end(guard);
}

/// What the guard is for: without it the same agent lives on.
#[test]
fn without_a_guard_it_would_live_on() {
    let controller = controller();
    let mut wrapper = standalone(&[]);
    re_executing(&controller, &mut wrapper, &[]);
    let (wrap, agent) = start_re_executing(wrapper);
    let _ends = Ends(agent);
    kill(guard_on_duty(wrap.pid()), Signal::SIGKILL).unwrap();
    eventually("the guard is reaped", || guard(wrap.pid()).is_none());
    wrap.kill();
    eventually("the agent is somebody else's child", || {
        stat(agent).is_some_and(|stat| name(stat.parent) != "agent-wrap")
    });
    assert!(is_alive(agent), "then nothing here shows what the guard does");
}

#[test]
fn a_guard_outlives_what_is_sent_to_the_whole_group() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let controller = controller();
        let mut wrapper = standalone(&["--grace", "1h"]);
        wrapper.process_group(0);
        re_executing(&controller, &mut wrapper, &["--ignore-term"]);
        let (wrap, agent) = start_re_executing(wrapper);
        let guard = guard_on_duty(wrap.pid());
        assert_eq!(stat(guard).unwrap().group, wrap.pid(), "it would not be reached at all");
        killpg(wrap.pid(), signal).unwrap();
        wrap.wait_for(if signal == Signal::SIGHUP { "reload" } else { "terminating" });
        assert!(is_alive(guard));
        kill_wrapper(wrap, agent);
        wait_for_end(guard);
    }
}

#[test]
fn nothing_is_left_of_a_guard_after_a_normal_end() {
    let (wrap, said) = start_and_listen(standalone_with(&[], &[misbehave(), "--hang"]));
    said.wait_for("hanging");
    let guard = guard_on_duty(wrap.pid());
    wrap.stop().expect_code(0);
    assert!(!exists(guard), "{:?}", stat(guard));
    assert_eq!(said.rest(), [""; 0], "everybody who held the agent's output is gone");
}

#[test]
fn nothing_is_left_of_a_guard_after_a_failed_exec() {
    let folder = common::standalone::folder();
    let program = folder.path().join("agent");
    std::fs::write(&program, "no program\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = standalone_with(&[], &[program.to_str().unwrap()]);
    command.env("FAILED_EXEC", "guard-after-failed-exec");
    Wrap::start(command).outcome().expect_code(126);
    assert_eq!(marked("guard-after-failed-exec"), []);
}

#[test]
fn a_guard_ends_with_its_agent_and_is_reaped() {
    let (wrap, said) = start_and_listen(standalone_with(&["--restart-delay", "10ms"], &[misbehave(), "--hang"]));
    let mut guards = Vec::new();
    for count in 1..=3 {
        said.wait_for("hanging");
        let agent = wrap.agent_pid(count);
        guards.push(guard_on_duty(wrap.pid()));
        kill(agent, Signal::SIGKILL).unwrap();
    }
    said.wait_for("hanging");
    let agent = wrap.agent_pid(4);
    for guard in guards {
        eventually("the guard is reaped", || !exists(guard));
    }
    let mut left = children(wrap.pid());
    left.sort();
    let mut expected = vec![agent, guard_on_duty(wrap.pid())];
    expected.sort();
    assert_eq!(left, expected);
    wrap.stop().expect_code(0);
}

#[test]
fn a_guard_holds_no_output_open_after_the_wrapper() {
    let (wrap, said) = start_and_listen(standalone_with(&[], &["sh", "-c", "echo ready; exec sleep 1000 >/dev/null"]));
    said.wait_for("ready");
    let guard = guard_on_duty(wrap.pid());
    // A guard that cannot run: were it to hold the pipe, its end would not come.
    kill(guard, Signal::SIGSTOP).unwrap();
    let _ends = Ends(guard);
    wrap.kill();
    assert_eq!(said.rest(), [""; 0]);
}
