//! The agent that misbehaves.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use agent_wrap_testbed::simulated::{Entry, Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::client::Client;
use super::{NODE, controller, jenkins};

struct Agent {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
}

impl Agent {
    fn start(controller: &Simulated, arguments: &[&str]) -> Self {
        let mut command = controller.agent_command(NODE);
        command[0] = env!("CARGO_BIN_EXE_misbehave").to_owned();
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Self::run(&command)
    }

    fn run(command: &[String]) -> Self {
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, log }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    fn wait_for_log(&mut self, words: &str) {
        assert!(self.log.any(|line| line.unwrap().contains(words)), "the log ends without {words:?}");
    }

    fn wait_for_output(&mut self, words: &str) -> String {
        self.out.find_map(|line| line.ok().filter(|line| line.contains(words))).unwrap()
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn it_ends_like_a_virtual_machine() {
    let controller = jenkins();
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGHUP, 129)] {
        let mut agent = Agent::start(&controller, &["-noReconnect"]);
        agent.wait_for_log("INFO: Connected");
        agent.signal(Signal::SIGQUIT);
        agent.wait_for_output("thread dump");
        agent.signal(signal);
        assert_eq!(agent.code(), Some(code));
        controller.wait_for("the goodbye", |world| !world.node(NODE).unwrap().link.is_up());
    }
    let goodbye = Entry::AgentLeft { node: NODE.to_owned(), clean: true };
    assert_eq!(controller.timeline().iter().filter(|entry| **entry == goodbye).count(), 3);
}

#[test]
fn exit_codes_are_those_of_the_real_one() {
    let controller = jenkins();
    let code = |arguments: &[&str]| Agent::start(&controller, arguments).code();
    assert_eq!(code(&["--exit-at-once", "7"]), Some(7));
    assert_eq!(code(&["--exit-after-connect", "3"]), Some(3));
    assert_eq!(code(&["-secret", "@/nonexistent"]), Some(0));
    assert_eq!(code(&["--no-such-option"]), Some(0));
    assert_eq!(code(&["-noReconnect", "-secret", "wrong"]), Some(1));
    assert_eq!(code(&["-noReconnect", "-url", "http://127.0.0.1:1/"]), Some(1));
    let program = env!("CARGO_BIN_EXE_misbehave").to_owned();
    assert_eq!(Agent::run(&[program.clone(), "-url".to_owned(), controller.url()]).code(), Some(0));
    assert_eq!(Agent::run(&[program]).code(), Some(0));
}

#[test]
fn called_as_java_it_skips_what_is_the_machines() {
    let controller = jenkins();
    let mut command = controller.agent_command(NODE);
    command[0] = env!("CARGO_BIN_EXE_misbehave").to_owned();
    command.splice(1..1, ["-Xmx64m", "-jar", "agent.jar"].map(str::to_owned));
    let mut agent = Agent::run(&command);
    agent.wait_for_log("INFO: Connected");
}

#[test]
fn a_dropped_channel_ends_it_or_makes_it_execute_itself_again() {
    let controller = jenkins();
    let mut agent = Agent::start(&controller, &["-noReconnect"]);
    agent.wait_for_log("INFO: Connected");
    controller.with(|world| world.lose_channel(NODE));
    assert_eq!(agent.code(), Some(0));

    let mut agent = Agent::start(&controller, &["--reconnect-delay", "0"]);
    agent.wait_for_log("INFO: Connected");
    controller.with(|world| world.lose_channel(NODE));
    agent.wait_for_log("INFO: Terminated");
    agent.wait_for_log("INFO: Connected");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.code(), Some(143));
}

#[test]
fn by_itself_it_executes_itself_once() {
    let controller = jenkins();
    let mut agent = Agent::start(&controller, &["--re-exec", "--reconnect-delay", "0"]);
    agent.wait_for_log("INFO: Connected");
    agent.wait_for_log("INFO: Terminated");
    agent.wait_for_log("INFO: Connected");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.code(), Some(143));
}

#[test]
fn it_ignores_term_when_told_to() {
    let controller = jenkins();
    let mut agent = Agent::start(&controller, &["--ignore-term", "--print-signals", "--hang"]);
    agent.wait_for_output("hanging");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait_for_output("signal"), "signal TERM");
    agent.signal(Signal::SIGUSR1);
    assert_eq!(agent.wait_for_output("signal"), "signal USR1");
    agent.signal(Signal::SIGINT);
    assert_eq!(agent.code(), Some(130));
    assert_eq!(controller.requests().len(), 0);
}

#[test]
fn it_leaves_processes_behind() {
    let controller = jenkins();
    let mut agent = Agent::start(&controller, &["--fork-child", "--setsid-child", "--orphans", "2"]);
    let pids: Vec<Pid> = (0..4)
        .map(|_| {
            let line = agent.out.next().unwrap().unwrap();
            Pid::from_raw(line.split(' ').nth(1).unwrap().parse().unwrap())
        })
        .collect();
    let sessions: Vec<_> = pids.iter().map(|pid| nix::unistd::getsid(Some(*pid)).unwrap()).collect();
    let own = nix::unistd::getsid(None).unwrap();
    assert_eq!(sessions, [own, pids[1], pids[2], pids[3]]);
    assert_eq!(nix::unistd::getpgid(Some(pids[0])), nix::unistd::getpgid(Some(agent.pid())));
    kill(pids[0], Signal::SIGTERM).unwrap();
    agent.wait_for_log("INFO: Connected");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.code(), Some(143));
    for pid in pids {
        kill(pid, None).unwrap();
        kill(pid, Signal::SIGKILL).unwrap();
    }
}

#[test]
fn it_writes_down_what_it_was_given() {
    let controller = jenkins();
    let file = std::env::temp_dir().join(format!("agent-wrap-testbed-{}-status", std::process::id()));
    let text = file.to_str().unwrap();
    assert_eq!(Agent::start(&controller, &["--write-status", text, "--exit-at-once", "0"]).code(), Some(0));
    let status: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(status["argv"][1], "-url");
    assert_eq!(status["parent"], std::process::id());
    assert_eq!(status["fds"]["0"], "/dev/null");
    assert_eq!(status["blocked"], 0);
    // The test harness ignores SIGPIPE, which a started program does not inherit.
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let own = u64::from_str_radix(own.trim(), 16).unwrap() & !(1 << (Signal::SIGPIPE as i32 - 1));
    // Those above 31 are the C library's.
    let standard = (1 << 31) - 1;
    assert_eq!(status["ignored"].as_u64().unwrap() & standard, own & standard);
}

#[test]
fn executing_itself_again_loses_the_parent_death_signal() {
    let controller = jenkins();
    let file = std::env::temp_dir().join(format!("agent-wrap-testbed-{}-lives", std::process::id()));
    for (misbehaviour, signal) in [("-noReconnect", Some(15)), ("--re-exec", None)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_misbehave"));
        command.args(&controller.agent_command(NODE)[1..]).args(["--reconnect-delay", "0", misbehaviour]);
        command.arg("--write-status").arg(&file).stderr(Stdio::piped());
        // SAFETY: between fork and exec, the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?)) };
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let lives = if signal.is_some() { 1 } else { 2 };
        assert_eq!(log.by_ref().filter(|line| line.as_ref().unwrap().contains("Connected")).take(lives).count(), lives);
        let status: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(status["pid"], child.id());
        assert_eq!(status["parent_death_signal"].as_i64(), signal);
        child.kill().unwrap();
        child.wait().unwrap();
        controller.wait_for("the end", |world| !world.node(NODE).unwrap().link.is_up());
    }
    fs::remove_file(&file).unwrap();
}

#[test]
fn it_stops_itself() {
    let controller = jenkins();
    let agent = Agent::start(&controller, &["--stop-self"]);
    let stopped = waitpid(agent.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(agent.pid(), Signal::SIGSTOP));
}

#[test]
fn a_websocket_is_tried_again_for_ever() {
    let controller = jenkins();
    let mut agent =
        Agent::start(&controller, &["-webSocket", "-noReconnect", "-secret", "wrong", "--reconnect-delay", "1"]);
    for _ in 0..3 {
        agent.wait_for_log("Handshake error");
    }
}

#[test]
fn the_controller_as_a_program_says_where_it_is_and_ends_at_term() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_simulated-controller"))
        .args(["--mode", "hudson", "--node", "a b=2", "--context-path", "/ci/"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let url = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let answer = Client::connect(&url).ask("GET", "/ci/computer/a%20b/api/json?tree=numExecutors", &[], None);
    assert_eq!(answer.json(), serde_json::json!({"numExecutors": 2}));
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn hudsons_agent_reads_its_jnlp_file() {
    let options = Options { security: true, ..Options::hudson() };
    let controller = controller(options);
    let mut agent = Agent::start(&controller, &[]);
    agent.wait_for_log("INFO: Connected");
}
