//! The process shell with real processes. Waits for children, the subreaper and dispositions belong to the whole
//! process, so these tests have a program of their own and run one at a time.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes fails the test")]

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_wrap::process::{AgentIdentity, Command, Processes, Survivor, User};
use agent_wrap_supervisor::{AgentSignal, Event, Exit, Generation, LeftoverSignal, SpawnFailure};
use agent_wrap_testbed::skip;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// A bound that is only met by a test that has failed.
const HANG: Duration = Duration::from_secs(60);
const FIRST: Generation = Generation(1);
const RUN: &str = "a-run-of-the-process-shell";

static ALONE: Mutex<()> = Mutex::new(());

/// The driver's part: facts come out, and every SIGCHLD is passed on.
struct Bench {
    processes: Processes,
    facts: UnboundedReceiver<Event>,
    child_changed: UnixStream,
    handler: signal_hook::SigId,
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, write) = UnixStream::pair().expect("a pair of sockets");
        let write = write.into_std().expect("a socket of the standard library");
        let handler = signal_hook::low_level::pipe::register(libc::SIGCHLD, write).expect("a handler");
        let (sender, facts) = unbounded_channel();
        let processes = Processes::new(sender, RUN).expect("a kernel with pidfd");
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { processes, facts, child_changed: read, handler, folder, _alone: alone }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a script with the folder as its working directory.
    fn shell(&self, script: &str) -> Command {
        Command { directory: Some(self.folder.path().to_owned()), ..command("/bin/sh", &["-c", script]) }
    }

    async fn next(&mut self) -> Event {
        timeout(HANG, async {
            loop {
                let mut bytes = [0; 64];
                tokio::select! {
                    fact = self.facts.recv() => break fact.expect("a fact"),
                    _ = self.child_changed.read(&mut bytes) => self.processes.child_changed(),
                }
            }
        })
        .await
        .expect("a fact in time")
    }

    async fn spawned(&mut self, generation: Generation) -> i32 {
        match self.next().await {
            Event::AgentSpawned { generation: told, pid, .. } if told == generation => {
                i32::try_from(pid).expect("a pid")
            }
            other => panic!("not spawned: {other:?}"),
        }
    }

    async fn exited(&mut self, generation: Generation) -> Exit {
        match self.next().await {
            Event::AgentExited { generation: told, exit } if told == generation => exit,
            other => panic!("not exited: {other:?}"),
        }
    }

    async fn counted(&mut self, generation: Generation) -> u32 {
        match self.next().await {
            Event::LeftoversCounted { generation: told, alive } if told == generation => alive,
            other => panic!("not counted: {other:?}"),
        }
    }

    /// Waits until every child has ended and been reaped.
    async fn childless(&mut self) {
        until("no children", || {
            self.processes.child_changed();
            children().is_empty()
        })
        .await;
    }

    /// Starts it, and waits until it has ended and been reaped.
    async fn run(&mut self, command: &Command) -> Exit {
        self.processes.spawn(FIRST, command);
        self.spawned(FIRST).await;
        let exit = self.exited(FIRST).await;
        self.processes.reap(FIRST);
        exit
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What a failed test has left would make the next ones fail as well.
        for pid in children().into_iter().map(Pid::from_raw) {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(pid, None);
        }
        signal_hook::low_level::unregister(self.handler);
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    Command {
        program: program.into(),
        argv: [program].iter().chain(arguments).map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("COLOUR".into(), "green".into())],
        directory: None,
        user: None,
        oom_score_adj: None,
        guarded: false,
        scripted: false,
    }
}

/// The fields of `/proc/PID/stat` behind the name: the state first.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

fn state(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

fn children() -> Vec<i32> {
    let me = std::process::id().to_string();
    let mut children: Vec<i32> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| stat(pid).is_some_and(|fields| fields[1] == me))
        .collect();
    children.sort_unstable();
    children
}

/// Looks again and again, letting others run, until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(HANG, looking).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

fn identity(pid: i32) -> AgentIdentity {
    AgentIdentity::of(pid.unsigned_abs()).expect("a living process")
}

#[tokio::test]
async fn an_exit_is_told_and_the_zombie_stays_until_it_is_reaped() {
    let mut bench = Bench::new();
    let table = [
        ("exit 0", Exit::Code(0)),
        ("exit 7", Exit::Code(7)),
        ("exit 255", Exit::Code(255)),
        ("kill -KILL $$", Exit::Signal(libc::SIGKILL)),
        ("kill -s RTMIN+4 $$ 2>/dev/null || /bin/kill -s RTMIN+4 $$", Exit::Signal(38)),
        (r#"test "$COLOUR" = green && test "$(/bin/pwd)" = "$(cd .; pwd -P)" && test -z "$HOME""#, Exit::Code(0)),
    ];
    for (number, (script, expected)) in (1..).zip(table) {
        let generation = Generation(number);
        let command = bench.shell(script);
        bench.processes.spawn(generation, &command);
        let pid = bench.spawned(generation).await;
        assert_eq!(bench.exited(generation).await, expected, "{script}");
        bench.processes.child_changed();
        assert_eq!(state(pid), Some('Z'), "{script}");
        bench.processes.reap(generation);
        assert_eq!(state(pid), None, "{script}");
        assert_eq!(bench.processes.identity(generation), None);
    }
    assert_eq!(Exit::Signal(libc::SIGKILL).shell_code(), 137);
}

#[tokio::test]
async fn a_failed_exec_is_no_exit() {
    let mut bench = Bench::new();
    let script = bench.file("script");
    fs::write(&script, "#!/nowhere/interpreter\n").expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("permissions");
    let garbage = bench.file("garbage");
    fs::write(&garbage, "\u{1}\u{2}\u{3}").expect("a file");
    fs::set_permissions(&garbage, fs::Permissions::from_mode(0o755)).expect("permissions");
    let at = |path: &Path| command(path.to_str().expect("text"), &[]);
    let nowhere = Command { directory: Some("/nowhere".into()), ..command("/bin/true", &[]) };
    let table = [
        (at(&bench.file("missing")), SpawnFailure::NotFound),
        (at(bench.folder.path()), SpawnFailure::NotExecutable),
        (at(&script), SpawnFailure::NotExecutable),
        (at(&garbage), SpawnFailure::NotExecutable),
        (nowhere, SpawnFailure::Other(libc::ENOENT)),
        (command("/bin/true", &["\0"]), SpawnFailure::Other(libc::EINVAL)),
    ];
    for (command, failure) in table {
        bench.processes.spawn(FIRST, &command);
        assert_eq!(bench.next().await, Event::SpawnFailed { generation: FIRST, failure }, "{command:?}");
        assert_eq!(children(), [0_i32; 0], "{command:?}");
        bench.processes.signal_agent(FIRST, AgentSignal::Kill).expect("a signal that goes nowhere");
        bench.processes.reap(FIRST);
    }
    // Had one of them told an exit as well, it would come before this one's facts.
    assert_eq!(bench.run(&command("/bin/true", &[])).await, Exit::Code(0));
}

#[tokio::test]
async fn without_descriptors_the_spawn_fails_and_may_be_tried_again() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let mut bench = Bench::new();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // From none to spare up to the first number with which it works: each of them fails cleanly or not at all.
    let mut failures = 0;
    for limit in 3.. {
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard).expect("a lower limit");
        bench.processes.spawn(FIRST, &command("/bin/true", &[]));
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit as before");
        match bench.next().await {
            Event::SpawnFailed { failure, .. } => assert_eq!(failure, SpawnFailure::Exhausted(libc::EMFILE)),
            Event::AgentSpawned { .. } => break,
            other => panic!("neither: {other:?}"),
        }
        assert_eq!(children(), [0_i32; 0]);
        failures += 1;
    }
    assert!(failures > 0);
    assert_eq!(bench.exited(FIRST).await, Exit::Code(0));
    bench.processes.reap(FIRST);
}

#[tokio::test]
async fn the_agent_starts_with_a_clean_mask_and_default_dispositions() {
    let mut bench = Bench::new();
    let set = |signal: Signal, handler: SigHandler| {
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        // SAFETY: neither ignoring nor the default runs any code.
        unsafe { sigaction(signal, &action) }.expect("a disposition")
    };
    let ignored = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGTTOU, Signal::SIGUSR1];
    for signal in ignored {
        set(signal, SigHandler::SigIgn);
    }
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR2);
    blocked.add(Signal::SIGTERM);
    blocked.thread_block().expect("a mask");
    let exit = bench.run(&bench.shell("cat /proc/self/status > status")).await;
    assert!(SigSet::thread_get_mask().expect("a mask").contains(Signal::SIGUSR2), "the parent's mask is put back");
    blocked.thread_unblock().expect("a mask");
    for signal in ignored {
        set(signal, SigHandler::SigDfl);
    }
    assert_eq!(exit, Exit::Code(0));
    let status = fs::read_to_string(bench.file("status")).expect("a status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a mask")
    };
    assert_eq!(field("SigBlk"), 0);
    // The C library keeps 32 and 33 to itself: what our own parent did to them nobody can undo through it.
    let internal = 0b11 << 31;
    assert_eq!(field("SigIgn") & !internal, 1 << (libc::SIGHUP - 1), "only what was ignored before and may stay so");
    assert_eq!(field("SigCgt"), 0);
}

#[tokio::test]
async fn the_agent_leads_a_group_of_its_own_with_three_descriptors() {
    let mut bench = Bench::new();
    let open = fs::File::open("/dev/null").expect("a file");
    // SAFETY: it takes integers, and the descriptor is open.
    let inheritable = unsafe { libc::fcntl(open.as_raw_fd(), libc::F_SETFD, 0) };
    assert_eq!(inheritable, 0);
    bench.processes.spawn(FIRST, &command("/bin/sleep", &["1000"]));
    let pid = bench.spawned(FIRST).await;
    let fields = stat(pid).expect("a living agent");
    assert_eq!(fields[2], pid.to_string(), "its group");
    assert_ne!(nix::unistd::getpgrp().as_raw(), pid);
    assert_eq!(bench.processes.identity(FIRST), Some(identity(pid)));
    let mut descriptors: Vec<i32> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("descriptors")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    descriptors.sort_unstable();
    assert_eq!(descriptors, [0, 1, 2]);
    bench.processes.signal_agent(FIRST, AgentSignal::Forward(libc::SIGHUP)).expect("a signal");
    assert_eq!(bench.exited(FIRST).await, Exit::Signal(libc::SIGHUP));
    bench.processes.reap(FIRST);
}

#[tokio::test]
async fn a_signal_right_after_the_spawn_is_not_lost() {
    let mut bench = Bench::new();
    for number in 1..=200 {
        let generation = Generation(number);
        bench.processes.spawn(generation, &command("/bin/sleep", &["1000"]));
        bench.processes.signal_agent(generation, AgentSignal::Terminate).expect("a signal");
        bench.spawned(generation).await;
        assert_eq!(bench.exited(generation).await, Exit::Signal(libc::SIGTERM), "run {number}");
        bench.processes.reap(generation);
    }
}

#[tokio::test]
async fn a_signal_for_an_earlier_agent_goes_nowhere() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(&command("/bin/true", &[])).await, Exit::Code(0));
    let second = Generation(2);
    bench.processes.spawn(second, &command("/bin/sleep", &["1000"]));
    let pid = bench.spawned(second).await;
    for generation in [Generation(0), FIRST, Generation(3)] {
        bench.processes.signal_agent(generation, AgentSignal::Kill).expect("nothing");
        bench.processes.signal_group(generation, false).expect("nothing");
        bench.processes.reap(generation);
    }
    bench.processes.reap(second);
    assert!(matches!(state(pid), Some('S' | 'R')), "it runs, and a running one is not reaped");
    bench.processes.signal_agent(second, AgentSignal::Terminate).expect("a signal");
    assert_eq!(bench.exited(second).await, Exit::Signal(libc::SIGTERM));
    bench.processes.reap(second);
}

#[tokio::test]
async fn a_stopped_agent_is_continued_for_its_term() {
    let mut bench = Bench::new();
    bench.processes.spawn(FIRST, &bench.shell("trap 'exit 9' TERM; echo > ready; while :; do read x < ready; done"));
    let pid = bench.spawned(FIRST).await;
    let ready = bench.file("ready");
    until("the trap", || ready.metadata().is_ok_and(|file| file.len() > 0)).await;
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("a stop");
    until("the stop", || state(pid) == Some('T')).await;
    bench.processes.signal_agent(FIRST, AgentSignal::Terminate).expect("a signal");
    assert_eq!(bench.exited(FIRST).await, Exit::Code(9));
    bench.processes.reap(FIRST);
}

#[tokio::test]
async fn the_group_stops_and_goes_on() {
    let mut bench = Bench::new();
    bench.processes.spawn(FIRST, &bench.shell("sleep 1000 & echo $! > build.new; mv build.new build; wait"));
    let pid = bench.spawned(FIRST).await;
    let file = bench.file("build");
    until("the build", || file.exists()).await;
    let build: i32 = fs::read_to_string(&file).expect("a file").trim().parse().expect("a pid");
    bench.processes.signal_group(FIRST, false).expect("a signal");
    until("both stopped", || state(pid) == Some('T') && state(build) == Some('T')).await;
    bench.processes.signal_group(FIRST, true).expect("a signal");
    until("both going on", || state(pid) == Some('S') && state(build) == Some('S')).await;
    bench.processes.signal_agent(FIRST, AgentSignal::Kill).expect("a signal");
    assert_eq!(bench.exited(FIRST).await, Exit::Signal(libc::SIGKILL));
    assert!(matches!(state(build), Some('S')), "the agent alone was meant");
    bench.processes.signal_leftovers(FIRST, LeftoverSignal::Kill);
    assert_eq!(bench.counted(FIRST).await, 1);
    assert_eq!(bench.counted(FIRST).await, 0);
    bench.processes.reap(FIRST);
}

#[tokio::test]
async fn orphans_are_reaped_behind_an_unreaped_agent() {
    let mut bench = Bench::new();
    let script = "mkfifo gate; n=0; while [ $n -lt 50 ]; do (sh -c 'read x < gate' &); n=$((n+1)); done; exit 3";
    let command = bench.shell(script);
    bench.processes.spawn(FIRST, &command);
    let pid = bench.spawned(FIRST).await;
    assert_eq!(bench.exited(FIRST).await, Exit::Code(3));
    bench.processes.signal_leftovers(FIRST, LeftoverSignal::Count);
    assert_eq!(bench.counted(FIRST).await, 50);
    // Each reader ends with the line it gets or with the end of the file, and one that opens late gets the next.
    let gate = fs::OpenOptions::new().read(true).write(true).open(bench.file("gate")).expect("the gate");
    std::io::Write::write_all(&mut &gate, "go\n".repeat(50).as_bytes()).expect("an open gate");
    assert_eq!(bench.counted(FIRST).await, 0);
    until("the agent alone", || {
        bench.processes.child_changed();
        children() == [pid]
    })
    .await;
    assert_eq!(state(pid), Some('Z'));
    bench.processes.reap(FIRST);
    assert_eq!(children(), [0_i32; 0]);
}

#[tokio::test]
async fn orphans_of_a_running_agent_are_reaped() {
    let mut bench = Bench::new();
    bench
        .processes
        .spawn(FIRST, &bench.shell("(sh -c 'echo $$ > orphan.new; mv orphan.new orphan' &); exec sleep 1000"));
    let pid = bench.spawned(FIRST).await;
    let file = bench.file("orphan");
    until("the orphan", || file.exists()).await;
    let orphan: i32 = fs::read_to_string(&file).expect("a file").trim().parse().expect("a pid");
    // Nothing but the reaper takes it away.
    timeout(HANG, async {
        while state(orphan).is_some() {
            let mut bytes = [0; 64];
            let _ = bench.child_changed.read(&mut bytes).await;
            bench.processes.child_changed();
        }
    })
    .await
    .expect("a reaped orphan");
    assert_eq!(children(), [pid]);
    bench.processes.signal_agent(FIRST, AgentSignal::Kill).expect("a signal");
    bench.exited(FIRST).await;
    bench.processes.reap(FIRST);
}

#[tokio::test]
async fn leftovers_that_ignore_term_in_a_session_of_their_own_are_killed() {
    let mut bench = Bench::new();
    let script = "setsid sh -c 'trap \"\" TERM; sleep 1000 & echo > ready; wait; sleep 1000' & exit 0";
    let command = bench.shell(script);
    bench.processes.spawn(FIRST, &command);
    bench.spawned(FIRST).await;
    assert_eq!(bench.exited(FIRST).await, Exit::Code(0));
    let ready = bench.file("ready");
    until("the leftover", || ready.exists()).await;
    for signal in [LeftoverSignal::Count, LeftoverSignal::Terminate] {
        bench.processes.signal_leftovers(FIRST, signal);
        assert_eq!(bench.counted(FIRST).await, 2, "{signal:?}");
    }
    bench.processes.reap(FIRST);
    bench.processes.signal_leftovers(FIRST, LeftoverSignal::Kill);
    assert_eq!(bench.counted(FIRST).await, 2);
    assert_eq!(bench.counted(FIRST).await, 0);
    bench.childless().await;
}

#[tokio::test]
async fn a_leftover_that_handles_term_is_gone_without_a_kill() {
    let mut bench = Bench::new();
    // Stopped, so that only TERM with CONT ends it.
    let command = bench.shell("(sh -c 'kill -STOP $$' &); exit 0");
    bench.processes.spawn(FIRST, &command);
    bench.spawned(FIRST).await;
    bench.exited(FIRST).await;
    bench.processes.reap(FIRST);
    until("the stop", || children().iter().any(|&pid| state(pid) == Some('T'))).await;
    bench.processes.signal_leftovers(FIRST, LeftoverSignal::Terminate);
    assert_eq!(bench.counted(FIRST).await, 1);
    assert_eq!(bench.counted(FIRST).await, 0);
}

#[tokio::test]
#[expect(clippy::zombie_processes, reason = "the shell under test is to reap it")]
async fn children_from_before_are_not_leftovers() {
    let mut bench = Bench::new();
    let mut elder = std::process::Command::new("/bin/sleep").arg("1000").spawn().expect("an elder");
    let (sender, facts) = unbounded_channel();
    bench.processes = Processes::new(sender, RUN).expect("a kernel with pidfd");
    bench.facts = facts;
    assert_eq!(bench.run(&command("/bin/true", &[])).await, Exit::Code(0));
    bench.processes.signal_leftovers(FIRST, LeftoverSignal::Kill);
    assert_eq!(bench.counted(FIRST).await, 0);
    elder.kill().expect("it lives");
    bench.childless().await;
}

/// What an earlier wrapper has left: three processes of its agent in groups and sessions of their own, and a build in
/// the agent's group. Their pids, the build's last.
async fn survivors(bench: &Bench, run: &str) -> Vec<i32> {
    let mut start = std::process::Command::new("/bin/sh");
    let script = "sleep 1000 & echo $! >> pids; setsid sleep 1000 & echo $! >> pids; echo $$ >> pids
                  JENKINS_SERVER_COOKIE=durable-1 sh -c 'echo $$ >> pids; exec sleep 1000' & exec sleep 1000";
    start.args(["-c", script]).current_dir(bench.folder.path()).process_group(0).env("AGENT_WRAP_RUN", run);
    #[expect(clippy::zombie_processes, reason = "the bench takes its children away")]
    start.spawn().expect("a survivor");
    let pids = || {
        let text = fs::read_to_string(bench.file("pids")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>()
    };
    let sleeps = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    until("all of them", || pids().len() == 4 && pids().iter().all(sleeps)).await;
    pids()
}

#[tokio::test]
async fn everything_that_survives_of_an_agent_is_ended_but_not_its_builds() {
    let mut bench = Bench::new();
    let pids = survivors(&bench, "the-run-before").await;
    let (build, agent) = pids.split_last().expect("a build");
    let survivor = Survivor::find(["another", "the-run-before"], None).expect("it lives");
    bench.processes.adopt_survivor(survivor);
    kill(Pid::from_raw(agent[0]), Signal::SIGKILL).expect("it lives");
    bench.processes.signal_agent(Generation(0), AgentSignal::Terminate).expect("a signal");
    assert_eq!(bench.exited(Generation(0)).await, Exit::Unknown);
    assert!(agent.iter().all(|&pid| matches!(state(pid), None | Some('Z'))), "its end is told too early");
    assert!(matches!(state(*build), Some('S')));
    bench.processes.reap(Generation(0));
    bench.processes.signal_agent(Generation(0), AgentSignal::Kill).expect("nothing");
    assert!(Survivor::find(["another", "the-run-before"], None).is_none());
}

#[tokio::test]
async fn a_survivor_is_known_by_its_pid_and_start_as_well() {
    let mut bench = Bench::new();
    let mut survivor = std::process::Command::new("/bin/sleep").arg("1000").process_group(0).spawn().expect("an agent");
    let pid = i32::try_from(survivor.id()).expect("a pid");
    for heir in [
        AgentIdentity { start_time: identity(pid).start_time - 1, ..identity(pid) },
        AgentIdentity { boot_id: "another boot".to_owned(), ..identity(pid) },
    ] {
        assert!(Survivor::find(["no-such-run"], Some(heir)).is_none());
    }
    let found = Survivor::find(["no-such-run"], Some(identity(pid))).expect("it lives");
    bench.processes.adopt_survivor(found);
    bench.processes.signal_agent(Generation(0), AgentSignal::Kill).expect("a signal");
    assert_eq!(bench.exited(Generation(0)).await, Exit::Unknown);
    drop(survivor.wait());
}

/// In a container root itself may not read the environment of another user.
#[tokio::test]
async fn of_a_survivor_that_hides_the_group_decides() {
    let test = "process::of_a_survivor_that_hides_the_group_decides";
    if skip::unmet(test, skip::need_root().and_then(|()| skip::need_program("setpriv"))) {
        return;
    }
    let bench = Bench::new();
    let mut leader = std::process::Command::new("setpriv");
    leader.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "sh", "-c"]);
    leader.arg("sleep 1000 & echo $!; read x").process_group(0);
    leader.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut leader = leader.spawn().expect("an agent");
    let mut line = String::new();
    let out = leader.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
    let member: i32 = line.trim().parse().expect("a pid");
    let recorded = identity(i32::try_from(leader.id()).expect("a pid"));
    drop(leader.stdin.take());
    leader.wait().expect("nobody else waits now");
    let look = |recorded: AgentIdentity| {
        let recorded = serde_json::to_string(&recorded).expect("JSON");
        let mut look = std::process::Command::new("setpriv");
        // Any of them lets one read another's environment, the last two from Linux 6.16 on.
        look.args(["--bounding-set", "-sys_ptrace,-perfmon,-sys_admin"]);
        look.arg(std::env::current_exe().expect("this program"));
        look.args(["--exact", "a_look_at_a_hidden_survivor", "--ignored"]).env("LEADER", recorded);
        look.output().expect("it runs").status.success()
    };
    assert!(look(recorded.clone()), "it is not found");
    assert!(!look(AgentIdentity { session: recorded.session + 1, ..recorded }), "of another session");
    kill(Pid::from_raw(member), Signal::SIGKILL).expect("it lives");
    drop(bench);
}

/// Not a test by itself: succeeds if the survivor of [`of_a_survivor_that_hides_the_group_decides`] is found.
#[test]
#[ignore = "the part of another test that runs in a process of its own"]
fn a_look_at_a_hidden_survivor() {
    let Ok(leader) = std::env::var("LEADER") else { return };
    let leader = serde_json::from_str(&leader).expect("an identity");
    assert!(Survivor::find(["no-such-run"], Some(leader)).is_some());
}

#[tokio::test]
async fn the_agent_runs_as_another_user_and_still_dies_with_us() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut bench = Bench::new();
    let user = Some(User { uid: 65534, gid: 65534, groups: vec![65534, 60000] });
    bench.processes.spawn(FIRST, &Command { user, ..command("/bin/sleep", &["1000"]) });
    let pid = bench.spawned(FIRST).await;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let ids = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ids("Uid:"), ["65534"; 4]);
    assert_eq!(ids("Gid:"), ["65534"; 4]);
    assert_eq!(ids("Groups:"), ["60000", "65534"]);
    bench.processes.signal_agent(FIRST, AgentSignal::Kill).expect("a signal");
    assert_eq!(bench.exited(FIRST).await, Exit::Signal(libc::SIGKILL));
    bench.processes.reap(FIRST);
}

/// Not a test by itself: the wrapper that [`the_agent_dies_with_its_wrapper`] kills.
#[tokio::test]
#[ignore = "the part of another test that runs in a process of its own"]
async fn a_wrapper_to_be_killed() {
    let Some(file) = std::env::var_os("AGENT_PID_FILE").map(PathBuf::from) else { return };
    let user = nix::unistd::geteuid().is_root().then(|| User { uid: 65534, gid: 65534, groups: Vec::new() });
    let mut bench = Bench::new();
    bench.processes.spawn(FIRST, &Command { user, ..command("/bin/sleep", &["1000"]) });
    let pid = bench.spawned(FIRST).await;
    fs::write(file.with_extension("new"), pid.to_string()).expect("a file");
    fs::rename(file.with_extension("new"), &file).expect("a file");
    bench.exited(FIRST).await;
}

#[tokio::test]
async fn the_agent_dies_with_its_wrapper() {
    let bench = Bench::new();
    let file = bench.file("pid");
    let mut wrapper = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_wrapper_to_be_killed", "--ignored", "--quiet"])
        .env("AGENT_PID_FILE", &file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("a wrapper");
    until("its agent", || file.exists()).await;
    let agent: i32 = fs::read_to_string(&file).expect("a file").parse().expect("a pid");
    assert!(matches!(state(agent), Some('S' | 'R')));
    wrapper.kill().expect("it lives");
    wrapper.wait().expect("nobody else waits now");
    // It is an orphan now, and ours, as we are the subreaper; not reaped here, so that its fate can be read.
    until("the agent's end", || state(agent) == Some('Z')).await;
    let status = nix::sys::wait::waitpid(Pid::from_raw(agent), None).expect("our orphan");
    assert_eq!(status, nix::sys::wait::WaitStatus::Signaled(Pid::from_raw(agent), Signal::SIGKILL, false));
}
