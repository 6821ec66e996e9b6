//! Processes besides the agent: what it leaves behind, orphans, the first process of a container, stopped agents.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use agent_wrap_testbed::skip;
use common::standalone::{
    Ends, children, exists, guard_on_duty, misbehave, on_fork, standalone_script, standalone_with, start_and_listen,
    stat, wait_for_end, without_room_for_a_mark,
};
use common::{AGENT_WRAP, Wrap, eventually, is_alive, wrap};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Pid;

/// An agent with a child in its group that ignores TERM, and one in a session of its own.
const PARENT: [&str; 3] = ["--fork-child", "--setsid-child", "--hang"];

fn with_misbehave<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&[misbehave()], options].concat()
}

#[test]
fn leftovers_are_ended_at_a_stop() {
    let (wrap, said) = start_and_listen(standalone_with(&[], &with_misbehave(&PARENT)));
    let (in_group, in_session) = (said.wait_for_pid("child "), said.wait_for_pid("child "));
    let agent = wrap.agent_pid(1);
    assert_eq!(stat(in_group).unwrap().group, agent);
    assert_ne!(stat(in_session).unwrap().group, agent);
    said.wait_for("hanging");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(outcome.text().contains("left 2 processes behind"), "{}", outcome.text());
    // Reaped as well: their parent is gone, so that they were ours.
    assert!(!exists(in_group) && !exists(in_session), "{:?} {:?}", stat(in_group), stat(in_session));
}

#[test]
fn leftovers_are_left_where_that_is_wanted() {
    let (wrap, said) = start_and_listen(standalone_with(&["--leftovers", "leave"], &with_misbehave(&PARENT)));
    let left = [said.wait_for_pid("child "), said.wait_for_pid("child ")].map(Ends);
    said.wait_for("hanging");
    wrap.signal(Signal::SIGTERM);
    let line = wrap.wait_for("leftovers_found");
    assert!(line["message"].as_str().unwrap().contains("--leftovers=leave"), "{line}");
    wrap.wait_for("stopped");
    wait_for_end(wrap.pid());
    assert!(left.iter().all(|child| is_alive(child.0)));
    // They hold the log open.
    drop(left);
    wrap.outcome().expect_code(0);
}

#[test]
fn leftovers_of_an_agent_that_ends_by_itself_for_good() {
    let script = "sleep 1000 & echo child $!; sleep 1000 & echo child $!; exit 5";
    let (wrap, said) = start_and_listen(standalone_script(&["--restart", "no"], script));
    let children = [said.wait_for_pid("child "), said.wait_for_pid("child ")];
    let outcome = wrap.outcome();
    outcome.expect_code(5);
    assert!(outcome.text().contains("left 2 processes behind"), "{}", outcome.text());
    assert!(children.into_iter().all(|child| !exists(child)));
}

#[test]
fn leftovers_are_left_at_a_mere_restart() {
    let options = ["--restart-delay", "10ms"];
    let (wrap, said) = start_and_listen(standalone_with(&options, &with_misbehave(&PARENT)));
    let first = [said.wait_for_pid("child "), said.wait_for_pid("child ")];
    said.wait_for("hanging");
    kill(wrap.agent_pid(1), Signal::SIGKILL).unwrap();
    let second = [said.wait_for_pid("child "), said.wait_for_pid("child ")];
    said.wait_for("hanging");
    let line = wrap.wait_for("leftovers_left");
    for child in first {
        assert!(line["message"].as_str().unwrap().contains(&format!("misbehave (pid {child})")), "{line}");
    }
    wrap.agent_pid(2);
    for child in first {
        assert!(is_alive(child), "a build may still run in it");
        eventually("the wrapper has taken it up", || stat(child).is_some_and(|stat| stat.parent == wrap.pid()));
    }
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(outcome.text().contains("left 4 processes behind"), "{}", outcome.text());
    assert!(first.into_iter().chain(second).all(|child| !exists(child)));
}

#[test]
fn what_is_left_at_a_restart_is_told_once() {
    let folder = common::standalone::folder();
    let script = "[ -e left ] || { JENKINS_SERVER_COOKIE=durable-1 sleep 1000 & }; : > left; exit 1";
    let mut command = standalone_script(&["--restart-delay", "10ms"], script);
    command.current_dir(folder.path());
    let wrap = Wrap::start(command);
    wrap.agent_pid(4);
    let outcome = wrap.stop();
    let told = outcome.events().into_iter().filter(|event| event == "leftovers_left").count();
    assert_eq!(told, 1, "{}", outcome.text());
    assert!(outcome.text().contains("left 1 process behind"), "{}", outcome.text());
}

#[test]
fn only_what_is_new_is_named_at_each_restart() {
    let script = "JENKINS_SERVER_COOKIE=durable-1 sleep 1000 & echo child $!; exit 1";
    let (wrap, said) = start_and_listen(standalone_script(&["--restart-delay", "10ms"], script));
    for run in 1..=3 {
        let child = said.wait_for_pid("child ");
        let line = wrap.wait_for_nth("leftovers_left", run);
        let message = line["message"].as_str().expect("a message");
        assert!(message.contains(&format!("(pid {child})")) && message.matches("(pid ").count() == 1, "{message}");
        assert_eq!(message.contains("left alone until a stop"), run == 1, "{message}");
        assert_eq!(message.ends_with(&format!("; {run} in all")), run > 1, "{message}");
    }
    wrap.stop().expect_code(0);
}

/// Starts an agent by this script again and again. Each says `pid PID` of what must not be there twice.
#[track_caller]
fn there_is_never_a_second_one(options: &[&str], script: &str, what_ends_it: impl Fn(&Wrap, usize)) {
    let command = standalone_script(&[&["--restart-delay", "10ms"], options].concat(), script);
    there_is_never_a_second_one_of(command, what_ends_it);
}

/// The same with a wrapper of the caller's, whose log it returns.
#[track_caller]
fn there_is_never_a_second_one_of(command: Command, what_ends_it: impl Fn(&Wrap, usize)) -> Vec<String> {
    let (wrap, said) = start_and_listen(command);
    let mut before = None::<Ends>;
    for run in 1..=3 {
        let agent = said.wait_for_pid("pid ");
        if let Some(before) = &before {
            assert!(!is_alive(before.0), "two at once:\n{}", wrap.log().join("\n"));
            let line = wrap.wait_for_nth("remains_found", run - 1);
            let message = line["message"].as_str().unwrap();
            assert!(message.contains(&format!("(pid {})", before.0)), "{message}");
            assert_eq!(message.contains("exec"), run == 2, "explained once: {message}");
        }
        before = Some(Ends(agent));
        what_ends_it(&wrap, run);
    }
    let last = before.unwrap();
    let outcome = wrap.stop();
    assert!(!is_alive(last.0), "{}", outcome.text());
    outcome.log
}

#[test]
fn a_command_that_goes_into_the_background_is_not_started_beside_itself() {
    there_is_never_a_second_one(&[], "setsid sleep 1000 & echo pid $!; exit 0", |_, _| {});
}

#[test]
fn a_script_that_dies_before_its_agent_is_not_started_beside_it() {
    let script = "sleep 1000 & echo pid $!; wait";
    there_is_never_a_second_one(&[], script, |wrap, run| kill(wrap.agent_pid(run), Signal::SIGKILL).unwrap());
}

#[test]
fn what_is_in_the_background_and_ignores_term_is_killed() {
    let script = "trap '' TERM; setsid sleep 1000 & echo pid $!; exit 0";
    there_is_never_a_second_one(&["--grace", "100ms"], script, |_, _| {});
}

#[test]
fn what_has_lost_its_environment_is_not_started_beside_itself() {
    let script = "setsid env -i sleep 1000 & echo pid $!; exit 0";
    there_is_never_a_second_one(&[], script, |_, _| {});
}

#[test]
fn what_has_lost_its_environment_and_has_no_mark_is_not_started_beside_itself() {
    let script = "setsid env -i sleep 1000 & echo pid $!; exit 0";
    let mut command = standalone_script(&["--restart-delay", "10ms"], script);
    on_fork(&mut command, without_room_for_a_mark);
    there_is_never_a_second_one_of(command, |_, _| {});
}

/// Without CAP_SYS_PTRACE the environments of another user's processes are not to be seen.
#[test]
fn what_hides_its_environment_is_not_started_beside_itself() {
    let test = "process_tree::what_hides_its_environment_is_not_started_beside_itself";
    if skip::unmet(test, skip::need_root().and_then(|()| skip::need_program("setpriv"))) {
        return;
    }
    let script = "setsid sleep 1000 & echo pid $!; exit 0";
    let blind = with_capabilities_alone(standalone_script(&["--restart-delay", "10ms", "--agent-user", "1"], script));
    let log = there_is_never_a_second_one_of(blind, |_, _| {});
    let told = log.iter().filter(|line| line.contains("builds_unknown")).collect::<Vec<_>>();
    assert!(told.len() == 1 && told[0].contains("CAP_SYS_PTRACE"), "{told:?}");
    // Who may see them says nothing of it.
    let seeing = standalone_script(&["--restart", "no", "--agent-user", "1"], "exit 0");
    let outcome = Wrap::start(seeing).outcome();
    assert!(outcome.has("agent_started") && !outcome.has("builds_unknown"), "{}", outcome.text());
}

#[test]
fn what_hides_its_environment_does_not_outlive_a_killed_wrapper() {
    let test = "process_tree::what_hides_its_environment_does_not_outlive_a_killed_wrapper";
    if skip::unmet(test, skip::need_root().and_then(|()| skip::need_program("setpriv"))) {
        return;
    }
    let script = "setsid sleep 1000 & echo pid $!; exec sleep 1000";
    let (wrap, said) = start_and_listen(with_capabilities_alone(standalone_script(&["--agent-user", "1"], script)));
    let agent = said.wait_for_pid("pid ");
    let _ends = Ends(agent);
    wrap.kill();
    wait_for_end(agent);
}

/// A daemon that a build has started by `sudo`: waiting for its end would keep the node without an agent.
#[test]
fn what_cannot_be_ended_does_not_keep_the_agent_from_its_restart() {
    let test = "process_tree::what_cannot_be_ended_does_not_keep_the_agent_from_its_restart";
    let folder = common::standalone::folder();
    if skip::unmet(test, need_set_uid(folder.path())) {
        return;
    }
    // For this group alone it may do what `sudo` does.
    let group = 54_321;
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let sudo = folder.path().join("sudo");
    let found = Command::new("sh").args(["-c", "command -v setpriv"]).output().unwrap();
    common::copy_program(String::from_utf8(found.stdout).unwrap().trim_end(), &sudo);
    std::os::unix::fs::chown(&sudo, None, Some(group)).unwrap();
    std::fs::set_permissions(&sudo, Permissions::from_mode(0o4710)).unwrap();
    let change = format!("{} --reuid 1 --regid 1 --clear-groups", sudo.display());
    let script = format!("setsid {change} sh -c 'echo pid $$; exec sleep 1000' & sleep 1000");
    let (wrap, said) = start_and_listen(as_other_user(
        &["--reuid", "65534", "--regid", &group.to_string(), "--clear-groups"],
        &standalone_script(&["--restart-delay", "10ms"], &script),
    ));
    let daemon = said.wait_for_pid("pid ");
    let _ends = Ends(daemon);
    kill(wrap.agent_pid(1), Signal::SIGKILL).unwrap();
    let _second = Ends(said.wait_for_pid("pid "));
    let line = wrap.wait_for("leftovers_left");
    assert!(line["message"].as_str().unwrap().contains(&format!("(pid {daemon})")), "{line}");
    assert!(is_alive(daemon));
    drop(wrap);
}

fn need_set_uid(folder: &Path) -> skip::Need {
    skip::need_root()?;
    skip::need_program("setpriv")?;
    let mount = statvfs(folder).map_err(|error| error.to_string())?;
    if mount.flags().contains(FsFlags::ST_NOSUID) || prctl::get_no_new_privs() == Ok(true) {
        return Err("no set-uid program works here".to_owned());
    }
    Ok(())
}

/// The same wrapper as another user, with what `--agent-user` takes and no more.
fn with_capabilities_alone(inner: Command) -> Command {
    let capabilities = "-all,+setuid,+setgid,+kill";
    let sets = ["--inh-caps", capabilities, "--ambient-caps", capabilities, "--bounding-set", capabilities];
    as_other_user(&[&["--reuid", "65534", "--regid", "65534", "--clear-groups"][..], &sets].concat(), &inner)
}

fn as_other_user(change: &[&str], inner: &Command) -> Command {
    let mut command = Command::new("setpriv");
    command.args(change);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn a_stop_while_the_background_is_being_ended() {
    let script = "trap '' TERM; setsid sleep 1000 & echo pid $!; exit 0";
    let options = ["--grace", "300ms", "--restart-delay", "10ms"];
    let (wrap, said) = start_and_listen(standalone_script(&options, script));
    let agent = said.wait_for_pid("pid ");
    let _ends = Ends(agent);
    wrap.wait_for("remains_found");
    let outcome = wrap.stop();
    outcome.expect_code(137);
    assert!(!exists(agent), "{}", outcome.text());
    assert_eq!(said.rest(), [""; 0], "another was started");
}

#[test]
fn children_older_than_the_wrapper_are_let_alone() {
    // The shell becomes the wrapper, which so has a child that is none of its agent's.
    let command = wrap();
    let line = format!(
        "sleep 1000 >/dev/null 2>&1 & echo child $!; exec {AGENT_WRAP} --standalone --log-format json {} --hang",
        misbehave()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (wrap, said) = start_and_listen(shell);
    let elder = said.wait_for_pid("child ");
    let _ends = Ends(elder);
    said.wait_for("hanging");
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(is_alive(elder) && !outcome.has("leftovers_found"), "{}", outcome.text());
}

#[test]
fn a_thousand_orphans_are_reaped_while_the_agent_runs() {
    let script = "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; echo done; exec sleep 1000";
    let (wrap, said) = start_and_listen(standalone_script(&[], script));
    said.wait_for("done");
    let agent = wrap.agent_pid(1);
    let guard = guard_on_duty(wrap.pid());
    eventually("no child but the agent and its guard", || {
        let mut left = children(wrap.pid());
        left.retain(|pid| ![agent, guard].contains(pid));
        left.is_empty()
    });
    assert!(is_alive(agent));
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(!outcome.has("leftovers_found"), "{}", outcome.text());
}

/// The ended agent is kept until its leftovers are counted; others must be reaped all the same.
#[test]
fn orphans_are_reaped_behind_a_zombie() {
    let (wrap, said) = start_and_listen(standalone_with(&[], &with_misbehave(&["--orphans", "5", "--hang"])));
    let orphans: Vec<Pid> = (0..5).map(|_| said.wait_for_pid("orphan ")).collect();
    said.wait_for("hanging");
    for orphan in &orphans {
        eventually("the wrapper has taken it up", || stat(*orphan).is_some_and(|stat| stat.parent == wrap.pid()));
    }
    kill(orphans[0], Signal::SIGKILL).unwrap();
    eventually("it is reaped while the agent runs", || !exists(orphans[0]));
    let outcome = wrap.stop();
    outcome.expect_code(0);
    assert!(outcome.text().contains("left 4 processes behind"), "{}", outcome.text());
    assert!(orphans.into_iter().all(|orphan| !exists(orphan)));
}

#[test]
fn a_stopped_agent_gets_its_term() {
    let agent = with_misbehave(&["--hang", "--print-signals"]);
    let (wrap, said) = start_and_listen(standalone_with(&["--grace", "1h"], &agent));
    said.wait_for("hanging");
    let agent = wrap.agent_pid(1);
    kill(agent, Signal::SIGSTOP).unwrap();
    eventually("it is stopped", || stat(agent).is_some_and(|stat| stat.state == 'T'));
    wrap.stop().expect_code(0);
    assert!(said.rest().contains(&"signal TERM".to_owned()));
}

#[test]
fn a_stopped_agent_that_ignores_term_is_killed() {
    let agent = with_misbehave(&["--hang", "--ignore-term"]);
    let (wrap, said) = start_and_listen(standalone_with(&["--grace", "200ms"], &agent));
    said.wait_for("hanging");
    let agent = wrap.agent_pid(1);
    kill(agent, Signal::SIGSTOP).unwrap();
    eventually("it is stopped", || stat(agent).is_some_and(|stat| stat.state == 'T'));
    wrap.stop().expect_code(137);
    assert!(!exists(agent));
}

#[test]
fn stopped_leftovers_are_ended_too() {
    let (wrap, said) = start_and_listen(standalone_with(&[], &with_misbehave(&PARENT)));
    let children = [said.wait_for_pid("child "), said.wait_for_pid("child ")];
    said.wait_for("hanging");
    for child in children {
        kill(child, Signal::SIGSTOP).unwrap();
        eventually("it is stopped", || stat(child).is_some_and(|stat| stat.state == 'T'));
    }
    wrap.stop().expect_code(0);
    assert!(children.into_iter().all(|child| !exists(child)));
}

/// Makes what follows the first process of a pid namespace, with `/proc` for it. Not by `--mount-proc`, which wants to
/// change the propagation of `/`, and in a chroot there is no mount there. That of `/proc` alone does: nothing of this
/// reaches the mounts outside.
fn first_process_of_its_own() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--fork", "--pid", "--kill-child", "--mount", "--propagation", "unchanged"]);
    command.args(["sh", "-ec", "mount --make-rprivate /proc; mount -t proc proc /proc; exec \"$@\"", "sh"]);
    command
}

/// A wrapper as the first process of a pid namespace, and `unshare` as its parent outside.
fn first_process(options: &[&str], agent: &[&str]) -> Command {
    let inner = standalone_with(options, agent);
    let mut command = first_process_of_its_own();
    command.arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// The wrapper's process id as it is seen from here.
fn inside(unshare: &Wrap) -> Pid {
    let mut found = None;
    eventually("unshare has a child", || {
        found = children(unshare.pid()).first().copied();
        found.is_some()
    });
    found.unwrap()
}

fn need_first_process() -> skip::Need {
    skip::need_root()?;
    skip::need_program("unshare")?;
    let output = first_process_of_its_own().args(["sh", "-c", "echo $$"]).output();
    match output {
        Ok(output) if output.stdout == b"1\n" => Ok(()),
        Ok(output) => Err(format!("no pid namespace to be had: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// With nothing on `/proc`, as in a chroot that nobody has mounted it in.
#[test]
fn without_proc_it_says_what_will_not_work() {
    let test = "process_tree::without_proc_it_says_what_will_not_work";
    if skip::unmet(test, skip::need_root().and_then(|()| skip::need_program("unshare"))) {
        return;
    }
    let inner = standalone_with(&["--restart", "no"], &["sh", "-c", "exit 7"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(7);
    assert_eq!(outcome.events().iter().filter(|event| *event == "no_proc").count(), 1, "{}", outcome.text());
    assert!(outcome.text().contains("mount -t proc proc /proc"), "{}", outcome.text());
    let outcome = Wrap::start(standalone_with(&["--restart", "no"], &["true"])).outcome();
    assert!(!outcome.has("no_proc"), "{}", outcome.text());
}

#[test]
fn as_the_first_process_it_has_the_same_exit_codes() {
    if skip::unmet("process_tree::as_the_first_process_it_has_the_same_exit_codes", need_first_process()) {
        return;
    }
    for (script, code) in [("exit 7", 7), ("kill -KILL $$", 137)] {
        Wrap::start(first_process(&["--restart", "no"], &["sh", "-c", script])).outcome().expect_code(code);
    }
    Wrap::start(first_process(&[], &["agent-wrap-no-such-command"])).outcome().expect_code(127);
}

#[test]
fn as_the_first_process_it_stops_and_reaps() {
    if skip::unmet("process_tree::as_the_first_process_it_stops_and_reaps", need_first_process()) {
        return;
    }
    let agent = with_misbehave(&["--orphans", "20", "--fork-child", "--setsid-child", "--hang", "--print-signals"]);
    let (wrap, said) = start_and_listen(first_process(&[], &agent));
    said.wait_for("hanging");
    let wrapper = inside(&wrap);
    // Each orphan leads a session of its own, which the agent and its guard do not.
    let orphans = || {
        let mut orphans = children(wrapper);
        orphans.retain(|pid| stat(*pid).is_some_and(|stat| stat.session == *pid));
        orphans
    };
    eventually("the orphans are taken up", || orphans().len() == 20);
    // Nobody could continue it.
    kill(wrapper, Signal::SIGTSTP).unwrap();
    kill(wrapper, Signal::SIGQUIT).unwrap();
    said.wait_for("signal QUIT");
    for orphan in orphans().into_iter().take(5) {
        kill(orphan, Signal::SIGKILL).unwrap();
        eventually("an orphan is reaped", || !exists(orphan));
    }
    kill(wrapper, Signal::SIGTERM).unwrap();
    let outcome = wrap.outcome();
    outcome.expect_code(0);
    assert!(outcome.has("leftovers_found") && outcome.has("stopped"), "{}", outcome.text());
    assert!(outcome.text().contains("SIGTERM from outside this container"), "{}", outcome.text());
    assert!(said.rest().contains(&"signal TERM".to_owned()));
}
