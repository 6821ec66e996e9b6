//! From the settings' command to what is executed: what it still lacks is fetched from the controller, beside the turn,
//! before each run of the agent.

mod check;
mod jar;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_wrap_supervisor::{Event, Generation, SpawnFailure};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Agents as _, Answer, NodeClient as _, Prepare as _, RejectingJar, RunBeside, Shells, Turn, Unprepared};
use crate::beside::Late;
use crate::config::{
    self, Completion, CompletionFacts, ControllerKind, Jar, NeededSecret, RuntimeDirectory, SecretFile, SecretSource,
    Settings, child_environment, local_jnlp, shell_quote,
};
use crate::controller::{Controller, Inbound};
use crate::files;
use crate::process::{self, Command, User, keeps_death_signal};
use crate::quoted::quoted;
use crate::state::StateDir;

use jar::ControllersJar;

pub use check::NotReady;

/// How long it may take to look at the files that the agent needs, and to read and write its secret.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the agent is started, the same for each of its runs.
#[derive(Debug)]
pub struct Launch {
    program: PathBuf,
    /// This run of the wrapper.
    run: String,
    command: Vec<OsString>,
    /// The controller and the node that the agent is told.
    connection: Option<(String, String)>,
    /// Nobody is asked for what the agent lacks.
    standalone: bool,
    secret: Option<SecretSource>,
    /// Where this controller's jar is kept.
    jar_dir: Option<PathBuf>,
    runtime: RuntimeDirectory,
    stdio: bool,
    entry_point: Option<usize>,
    user: Option<User>,
    oom_score_adj: Option<i16>,
    /// Variables that the agent gets instead of ours.
    variables: Vec<(OsString, OsString)>,
    /// What is odd about the command has been said.
    told: AtomicBool,
    /// That builds cannot be told from the agent has been said.
    blind: AtomicBool,
}

/// One run's command, and what belongs to it.
pub struct Launched {
    pub(super) command: Command,
    secret_file: Option<SecretFile>,
    /// The agent reads its secret once: it never executes itself again.
    reads_secret_once: bool,
    /// The jar, where it is the controller's.
    jar: Option<ControllersJar>,
}

/// How far the preparation has come.
enum Step {
    Ready(Launched),
    /// The controller is asked first, or the jar fetched.
    Lacking(Completion, Option<Inbound>),
}

impl Launch {
    /// Takes what the settings say. `program` is the command's file, `run` the name of this run; `user`, with the
    /// variables that go with it, is whom the agent runs as.
    #[must_use]
    pub fn new(
        settings: &Settings,
        program: PathBuf,
        run: &str,
        runtime: RuntimeDirectory,
        user: Option<(User, Vec<(OsString, OsString)>)>,
    ) -> Self {
        let controller = settings.controller.as_ref();
        let (user, variables) = user.unzip();
        Self {
            program,
            run: run.to_owned(),
            command: settings.command.clone(),
            connection: match (controller, &settings.unasked) {
                (Some(about), _) => Some((about.url.clone(), about.node.clone())),
                (None, Some(about)) => Some((about.url.clone(), about.node.clone())),
                (None, None) => None,
            },
            standalone: controller.is_none(),
            secret: settings.secret.clone(),
            jar_dir: controller.and_then(|controller| {
                let state = StateDir::at(settings.state_dir.clone()?);
                Some(state.of_controller(&controller.url))
            }),
            runtime,
            stdio: settings.stdio,
            entry_point: settings.entry_point,
            user,
            oom_score_adj: settings.agent_oom_score_adj,
            variables: variables.unwrap_or_default(),
            told: AtomicBool::new(false),
            blind: AtomicBool::new(false),
        }
    }

    /// The same run of the wrapper and the same command, with other settings.
    #[must_use]
    pub fn changed(
        &self,
        settings: &Settings,
        runtime: RuntimeDirectory,
        user: Option<(User, Vec<(OsString, OsString)>)>,
    ) -> Self {
        let changed = Self::new(settings, self.program.clone(), &self.run, runtime, user);
        let same = (&changed.secret, changed.stdio) == (&self.secret, self.stdio);
        changed.told.store(same && self.told.load(Ordering::Relaxed), Ordering::Relaxed);
        changed.blind.store(self.blind.load(Ordering::Relaxed), Ordering::Relaxed);
        changed
    }

    /// Why the kernel has just refused to execute the command, which could be executed when we were started.
    pub(super) fn why_not_executed(&self, failure: SpawnFailure) -> String {
        match process::explain(&self.program, self.user.as_ref()) {
            Err(error) => error.to_string(),
            Ok(()) if failure == SpawnFailure::NotFound => {
                format!(
                    "{}: the file was not there just now, and is again; is it being replaced?",
                    quoted(&self.program)
                )
            }
            Ok(()) if self.user.is_some() => format!(
                "{}: agent-wrap may execute this file, but the agent's user (--agent-user) may not; look at its mode, at \
                 its interpreter's, and at those of the directories on the way to it",
                quoted(&self.program)
            ),
            Ok(()) => format!(
                "{}: the system refuses to execute this file; is it damaged, or made for another machine, or is there a \
                 security module (SELinux, AppArmor) that forbids it?",
                quoted(&self.program)
            ),
        }
    }

    fn secret_path(&self) -> PathBuf {
        self.secret_path_of(&self.run)
    }

    fn secret_path_of(&self, run: &str) -> PathBuf {
        let node = self.connection.as_ref().map_or("standalone", |(_, node)| node.as_str());
        self.runtime.secret_file(node, run)
    }

    fn plan(&self, kind: ControllerKind) -> Completion {
        let facts = CompletionFacts {
            controller: self.connection.as_ref().map(|(url, node)| (url.as_str(), node.as_str())),
            standalone: self.standalone,
            kind,
            secret_file: &self.secret_path(),
            secret_given: self.secret.is_some(),
            jar_dir: self.jar_dir.as_deref(),
            stdio: self.stdio,
            entry_point: self.entry_point,
            exists: &|path| !files::is_absent(path),
            inherited: &files::inherited,
        };
        config::plan(&self.command, &facts)
    }

    /// Gets everything ready. Files are looked at beside the turn, in as few goes as can be: each costs the start two
    /// changes of threads.
    pub(super) async fn prepare(
        self: Arc<Self>,
        controller: Option<Arc<Controller>>,
        beside: &impl RunBeside,
    ) -> Result<Launched, Unprepared> {
        let usual = ControllerKind::Jenkins { agent_port: true };
        let fetches = |plan: &Completion| matches!(plan.jar, Jar::Fetch(_));
        let asked = controller.is_some();
        let lacks = move |plan: &Completion| asked && (plan.completed || fetches(plan));
        let (mut plan, mut inbound) = match self.go_on(usual, None, lacks, beside).await? {
            Step::Ready(launched) => return Ok(launched),
            Step::Lacking(plan, inbound) => (plan, inbound),
        };
        let mut jar = None;
        if let Some(controller) = &controller {
            if plan.completed {
                let told = self.ask(controller, &plan).await?;
                (plan, inbound) = match self.go_on(told.as_ref().map_or(usual, kind), told, fetches, beside).await? {
                    Step::Ready(launched) => return Ok(launched),
                    Step::Lacking(plan, inbound) => (plan, inbound),
                };
            }
            if let Jar::Fetch(path) = &plan.jar {
                jar = jar::fetch(controller, path, beside).await?;
            }
        }
        let finished = beside.run(PATIENCE, move || self.finish(plan, inbound.as_ref())).await;
        let launched = finished.map_err(|late| not_read(&late))?.map_err(Unprepared::Other)?;
        Ok(Launched { jar, ..launched })
    }

    /// Plans with what is known, and finishes the plan unless it lacks something.
    async fn go_on(
        self: &Arc<Self>,
        kind: ControllerKind,
        inbound: Option<Inbound>,
        lacks: impl FnOnce(&Completion) -> bool + Send + 'static,
        beside: &impl RunBeside,
    ) -> Result<Step, Unprepared> {
        let this = Arc::clone(self);
        let work = move || {
            let plan = this.plan(kind);
            if lacks(&plan) {
                return Ok(Step::Lacking(plan, inbound));
            }
            this.finish(plan, inbound.as_ref()).map(Step::Ready)
        };
        beside.run(PATIENCE, work).await.map_err(|late| not_read(&late))?.map_err(Unprepared::Other)
    }

    /// Hands over the secret, and says what is executed.
    fn finish(&self, plan: Completion, inbound: Option<&Inbound>) -> Result<Launched, String> {
        let first = !self.told.swap(true, Ordering::Relaxed);
        if first {
            for warning in &plan.warnings {
                tracing::warn!(target: "agent_wrap", event = "command", "{warning}");
            }
            if plan.command != self.command {
                let command = shell_quote(&plan.command);
                tracing::info!(target: "agent_wrap", event = "command_completed", "the agent's command is: {command}");
            }
        }
        let contents = self.secret_contents(&plan, inbound)?;
        if first && is_another(&plan, contents.as_ref(), inbound) {
            tracing::warn!(
                target: "agent_wrap",
                event = "secret_differs",
                "the controller says that the node has another secret than the one that is given, and will hardly take the \
                 agent: correct what the settings or the command say (--secret-file, AGENT_WRAP_SECRET, JENKINS_SECRET, \
                 -secret), or leave it out"
            );
        }
        let secret_file = contents.map(|contents| self.write_secret(&contents)).transpose()?;
        let local_jnlp = matches!(plan.secret, NeededSecret::JnlpOfTheNode);
        let stays = local_jnlp || plan.command.iter().any(|word| word == "-noReconnect" || word == "-noreconnect");
        let scripted = !keeps_death_signal(&self.program);
        if scripted && self.user.is_some() && !process::sees_environments() && !self.blind.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                target: "agent_wrap",
                event = "builds_unknown",
                "agent-wrap lacks CAP_SYS_PTRACE and so cannot tell builds from the agent, because the command is not java \
                 itself and its user is another: what it leaves behind counts as the agent, and is ended before the agent is \
                 started again, also a build that would have gone on; give agent-wrap this capability \
                 (AmbientCapabilities= in the unit, --cap-add in a container), or let java be the command"
            );
        }
        let mut env = child_environment(std::env::vars_os(), plan.withheld);
        env.retain(|(name, _)| !self.variables.iter().any(|(ours, _)| ours == name));
        env.extend(self.variables.iter().cloned());
        let command = Command {
            program: self.program.clone(),
            argv: plan.command,
            env,
            directory: None,
            user: self.user.clone(),
            oom_score_adj: self.oom_score_adj,
            guarded: !stays || scripted,
            scripted,
        };
        Ok(Launched { command, secret_file, reads_secret_once: stays, jar: None })
    }

    /// What the controller tells an inbound agent. With a secret of the settings' or the command's own it need not tell.
    async fn ask(&self, controller: &Controller, plan: &Completion) -> Result<Option<Inbound>, Unprepared> {
        let needs_secret = matches!(plan.secret, NeededSecret::OfTheNode | NeededSecret::JnlpOfTheNode);
        match controller.inbound().await {
            Ok(inbound) => Ok(Some(inbound)),
            Err(error) if self.secret.is_some() || !needs_secret => {
                tracing::debug!(target: "agent_wrap", event = "inbound", "{error}");
                Ok(None)
            }
            Err(error) => Err(Unprepared::from_controller(
                &error,
                "cannot ask the controller how the agent is to connect",
                ". Or give the node's secret (--secret-file), or the whole command line of the agent",
            )),
        }
    }

    fn secret_contents(&self, plan: &Completion, inbound: Option<&Inbound>) -> Result<Option<SecretString>, String> {
        let of_the_node = || match (&self.secret, inbound) {
            (Some(source), _) => source.read().map_err(|error| error.to_string()),
            (None, Some(inbound)) => Ok(inbound.secret.clone()),
            (None, None) => Err("the node's secret is not known; give --secret-file".to_owned()),
        };
        match (&plan.secret, &self.connection) {
            (NeededSecret::None, _) => Ok(None),
            (NeededSecret::Given(secret), _) => Ok(Some(secret.clone())),
            (NeededSecret::Piped(path), _) => {
                let source = SecretSource::File(path.clone());
                source.read().map(Some).map_err(|error| error.to_string())
            }
            (NeededSecret::JnlpOfTheNode, Some((url, node))) => {
                Ok(Some(SecretString::from(local_jnlp(url, node, of_the_node()?.expose_secret()))))
            }
            (NeededSecret::OfTheNode | NeededSecret::JnlpOfTheNode, _) => of_the_node().map(Some),
        }
    }

    fn write_secret(&self, contents: &SecretString) -> Result<SecretFile, String> {
        self.runtime.prepare(self.user.is_some()).map_err(|error| error.to_string())?;
        let owner = self.user.as_ref().map(|user| (user.uid, user.gid));
        let file = SecretFile::create(self.secret_path(), contents, owner).map_err(|error| error.to_string())?;
        if !file.is_in_memory() {
            tracing::warn!(
                target: "agent_wrap",
                event = "secret_on_disk",
                "the node's secret is handed over in {}, which is on a disk and not in memory; set RuntimeDirectory= in \
                 the unit, or XDG_RUNTIME_DIR to a tmpfs",
                file.path().display()
            );
        }
        Ok(file)
    }
}

/// Whether the agent is to get another secret than the controller says that its node has.
fn is_another(plan: &Completion, contents: Option<&SecretString>, inbound: Option<&Inbound>) -> bool {
    let plain = contents.filter(|_| !matches!(plan.secret, NeededSecret::JnlpOfTheNode));
    plain.zip(inbound).is_some_and(|(given, told)| given.expose_secret() != told.secret.expose_secret())
}

fn not_read(late: &Late) -> Unprepared {
    Unprepared::Other(format!("the files that the agent needs (jar, secret) cannot be read: {late}"))
}

fn kind(inbound: &Inbound) -> ControllerKind {
    if inbound.hudson { ControllerKind::Hudson } else { ControllerKind::Jenkins { agent_port: !inbound.web_socket } }
}

impl Launched {
    /// The agent is connected: the secret has been read, and where it is read only once its file may go; and its jar is
    /// good.
    pub(super) fn connected(&mut self, beside: &impl RunBeside) {
        if self.reads_secret_once {
            self.secret_file = None;
        }
        if let Some(prove) = self.jar.as_mut().and_then(ControllersJar::proving) {
            beside.submit(prove);
        }
    }

    pub(super) fn has_new_jar(&self) -> bool {
        self.jar.as_ref().is_some_and(ControllersJar::is_new)
    }

    pub(super) fn jar(&self) -> Option<ControllersJar> {
        self.jar.clone()
    }

    pub(super) fn rejecting_jar(&self) -> Option<RejectingJar> {
        self.jar.as_ref().map(ControllersJar::rejecting)
    }
}

impl<S: Shells> Turn<S> {
    /// Gets ready what the agent needs, beside the turn.
    pub(super) fn prepare_agent(&mut self, generation: Generation) {
        let launch = Arc::clone(&self.driver.launch);
        let controller = self.driver.controller.clone();
        let (answers, beside) = (self.answers.clone(), Arc::clone(&self.driver.beside));
        let task = tokio::spawn(async move {
            let launched = launch.prepare(controller, beside).await;
            // The turn is over when nobody takes it any more.
            let _ = answers.send(Answer::Launched(generation, launched.map(Box::new)));
        });
        self.launching = Some((generation, task.abort_handle()));
    }

    /// Forks the agent, here in the main thread.
    pub(super) fn agent_prepared(&mut self, generation: Generation, launched: Result<Box<S::Launched>, Unprepared>) {
        if self.launching.take_if(|(number, _)| *number == generation).is_none() {
            return;
        }
        match launched {
            Ok(launched) => {
                if let Some(processes) = self.driver.processes.left_behind() {
                    self.driver.story.left_behind(&processes);
                }
                self.leave_terminal();
                // What has been said of it stands before its own first words.
                self.driver.story.be_read();
                self.driver.processes.spawn(generation, &launched);
                self.jar = S::Launch::rejecting_jar(&launched).map(|reject| (generation, reject));
                self.jar_look.began(self.driver.controller.as_deref().and_then(S::Controller::version));
                self.launched = Some((generation, launched));
            }
            Err(Unprepared::Controller(failure)) => {
                self.driver.story.agent_lacks(failure.words.clone());
                self.handle(Event::AgentUnprepared { generation, failure });
            }
            Err(Unprepared::Other(words)) => {
                self.driver.story.agent_lacks(words);
                self.handle(Event::SpawnFailed { generation, failure: SpawnFailure::Unprepared });
            }
        }
    }

    /// Gives up an agent that has not been forked yet. For one that has, its spawn is about to be told.
    pub(super) fn cancel_spawn(&mut self, generation: Generation) {
        if let Some((_, task)) = self.launching.take_if(|(number, _)| *number == generation) {
            task.abort();
            let event = Event::SpawnFailed { generation, failure: SpawnFailure::Cancelled };
            // As an answer, not at once: the supervisor is in the middle of its decision.
            let _ = self.answers.send(Answer::Event(event));
        }
    }
}
