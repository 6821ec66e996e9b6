//! The life that is shown, act by act.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
    thread,
    time::Duration,
};

use agent_wrap_testbed::{
    simulated::agent_program,
    stage::{BuildState, Stage},
};
use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    observer::{Observer, need_children},
    picture,
    promises::{self, Life},
    style::Paint,
    terminal::AtTerminal,
    voice::Voice,
};
use crate::run;

const NODE: &str = "demo";
const JAVA_OPTIONS: &str = "java.options";
const REASON: &str = "nightly clean-up of the disk";

/// No statement about speed: only a life that hangs takes as long.
const BOUND: Duration = Duration::from_secs(90);
/// For whoever reads along.
const READING: Duration = Duration::from_millis(1200);
/// How long the wrapper may take to end when the person has had enough.
const HURRY: Duration = Duration::from_secs(5);

/// A node, and everything that a wrapper for it needs.
pub(crate) struct Scene {
    directory: TempDir,
    command: Command,
}

impl Scene {
    /// The literal `agent-wrap java -jar agent.jar`, with a `java` on the PATH that stands in for the agent.
    pub(crate) fn with_stand_in(stage: &dyn Stage) -> Result<Self> {
        let directory = directory()?;
        let programs = directory.path().join("bin");
        fs::create_dir(&programs)?;
        symlink(agent_program(), programs.join("java")).context("cannot name the stand-in java")?;
        // The stand-in never opens it.
        fs::write(directory.path().join("agent.jar"), "")?;
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([programs].into_iter().chain(env::split_paths(&path)))?;
        let mut scene = Self::new(stage, directory, "agent.jar")?;
        scene.command.env("PATH", path);
        Ok(scene)
    }

    /// The same with the real java. What this old agent asks of a newer one is told it beside its command line.
    pub(crate) fn with_real_agent(stage: &dyn Stage) -> Result<Self> {
        let directory = directory()?;
        let mut scene = Self::new(stage, directory, "slave.jar")?;
        let plain = stage.agent_command(NODE);
        let of_java = plain.iter().skip(1).take_while(|word| *word != "-jar");
        let quoted = of_java.map(|word| format!("\"{}\"\n", word.replace('\\', "\\\\").replace('"', "\\\"")));
        fs::write(scene.directory.path().join(JAVA_OPTIONS), quoted.collect::<String>())?;
        scene.command.env("JDK_JAVA_OPTIONS", format!("@{JAVA_OPTIONS}"));
        Ok(scene)
    }

    fn new(stage: &dyn Stage, directory: TempDir, jar: &str) -> Result<Self> {
        stage.create_node(NODE, 1)?;
        let mut command = Command::new(beside_us("agent-wrap")?);
        command.current_dir(directory.path()).env_clear();
        for name in ["PATH", "JAVA_HOME", "LANG", "LC_ALL", "TERM"] {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("STATE_DIRECTORY", directory.path()).env("RUNTIME_DIRECTORY", directory.path());
        // What is shown of it are the lines that stay.
        command.env("AGENT_WRAP_STATUS_LINE", "never");
        command.args(["--url", &stage.url(), "--node", NODE, "--poll", "1s"]);
        if let Some((user, secret)) = stage.credentials() {
            let file = directory.path().join("token");
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
            file.write_all(secret.as_bytes()).context("cannot write the token")?;
            command.args(["--user", &user, "--token-file", "token"]);
        }
        command.args(["java", "-jar", jar]);
        Ok(Self { directory, command })
    }

    /// The file that lets the build end.
    fn gate(&self) -> PathBuf {
        self.directory.path().join("gate")
    }
}

/// A directory in memory where there is one, for secrets that belong on no disk.
fn directory() -> Result<TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("agent-wrap-demo-");
        builder
    };
    builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir()).context("cannot make a directory")
}

fn beside_us(name: &str) -> Result<PathBuf> {
    let program = env::current_exe().context("cannot find our own program")?.with_file_name(name);
    fs::metadata(&program).with_context(|| format!("{} is not there", program.display()))?;
    Ok(program)
}

/// Plays the life, with pauses for reading or without, draws it, and says whether every promise was kept.
pub(crate) fn play<S: Stage + Sync>(
    stage: &S,
    scene: Scene,
    voice: &Voice,
    pauses: bool,
    interrupted: &AtomicBool,
) -> Result<bool> {
    need_children()?;
    let gate = scene.gate();
    stage.mark(NODE, REASON)?;
    let observer = Observer::new(interrupted, if pauses { READING } else { Duration::ZERO });
    let life = thread::scope(|scope| {
        scope.spawn(|| observer.observe(stage, NODE));
        let life = acts(stage, &observer, scene.command, &gate, *voice);
        observer.end();
        life
    });
    let life = life?;
    voice.print("")?;
    for line in picture::draw(&life, voice.style) {
        voice.print(&line)?;
    }
    voice.print("")?;
    let promises = promises::check(&life);
    for promise in &promises {
        let (paint, word) = if promise.kept { (Paint::Kept, "kept  ") } else { (Paint::Broken, "BROKEN") };
        voice.print(&format!("  {} {}", voice.style.paint(paint, word), promise.words))?;
    }
    Ok(promises.iter().all(|promise| promise.kept))
}

fn acts(stage: &dyn Stage, observer: &Observer<'_>, mut command: Command, gate: &Path, voice: Voice) -> Result<Life> {
    observer.until("the mark", BOUND, |look| look.mark.is_some())?;
    voice.narrate(&format!("an earlier job has marked node {NODE:?} offline: \"{REASON}\""))?;
    observer.linger(1)?;

    if !voice.style.colours {
        command.env("NO_COLOR", "1");
    }
    voice.narrate(&format!("$ {}", as_typed(&command)))?;
    let mut wrapper = AtTerminal::start(command, move |line| {
        // Where standard output is gone, the narrator finds out.
        drop(voice.pass_on(line));
    })?;
    let outcome = under_the_wrapper(stage, observer, &mut wrapper, gate, voice);
    if outcome.is_err() {
        // Nobody else opens the gate now, and the wrapper waits for the build.
        fs::write(gate, "").ok();
        wrapper.stop(HURRY).ok();
    }
    outcome
}

fn under_the_wrapper(
    stage: &dyn Stage,
    observer: &Observer<'_>,
    wrapper: &mut AtTerminal,
    gate: &Path,
    voice: Voice,
) -> Result<Life> {
    observer.watch_wrapper(wrapper.id());
    observer.until("the agent's connection", BOUND, |look| look.connected && look.mark.is_none())?;
    observer.linger(1)?;

    let build = stage.start_build(NODE, gate)?;
    observer.watch_build(build.clone());
    observer.until("the build", BOUND, |look| look.build == Some(BuildState::Running))?;
    voice.narrate(&format!("a build of {} is running on the node", build.job))?;
    observer.linger(1)?;

    voice.narrate("Ctrl-C is pressed at agent-wrap's terminal, in the middle of the build")?;
    let pressed = observer.time();
    wrapper.press_ctrl_c()?;
    observer.until("the mark", BOUND, |look| look.mark.is_some())?;
    observer.linger(2)?;

    voice.narrate("the build has done its work")?;
    fs::write(gate, "").context("cannot let the build end")?;
    observer.let_wrapper_end();
    let status = wrapper.wait(BOUND)?;
    observer.until("the agent's end", BOUND, |look| !look.agent && look.build != Some(BuildState::Running))?;
    let ended = observer.wrapper_end(BOUND)?;
    Ok(Life { sights: observer.sights(), pressed, ended, code: status.code() })
}

/// The command as a person would type it.
fn as_typed(command: &Command) -> String {
    let line = run::line(command);
    line.split_once("agent-wrap ").map_or(line.clone(), |(_, arguments)| format!("agent-wrap {arguments}"))
}
