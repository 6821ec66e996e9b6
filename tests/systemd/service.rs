//! One service on the machine, with a node and a controller of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::Arc;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;
use nix::unistd::Pid;

use crate::common::eventually;
use crate::machine::Machine;

/// `agent-wrap@NAME.service`, or `agent-wrap.service`.
pub struct Service {
    machine: Arc<Machine>,
    pub unit: String,
    /// The node, and the name of the settings file.
    pub name: String,
    /// The name of the token's file.
    token: String,
    pub controller: Simulated,
}

impl Service {
    /// The instance of this name, installed and not started.
    pub fn instance(machine: &Arc<Machine>, name: &str) -> Self {
        Self::new(machine, name, &format!("agent-wrap@{name}.service"), &format!("{name}.token"))
    }

    /// The one service of a machine that has only one.
    pub fn single(machine: &Arc<Machine>) -> Self {
        Self::new(machine, "agent-wrap", "agent-wrap.service", "token")
    }

    fn new(machine: &Arc<Machine>, name: &str, unit: &str, token: &str) -> Self {
        let controller = Simulated::start(Options::jenkins("2.578")).expect("a controller");
        controller.create_node(name, 1).expect("the node is created");
        let (unit, name, token) = (unit.to_owned(), name.to_owned(), token.to_owned());
        let service = Self { machine: Arc::clone(machine), unit, name, token, controller };
        service.install();
        service
    }

    fn install(&self) {
        let (_, secret) = self.controller.credentials().expect("security is on");
        let file = self.machine.file(&format!("/etc/agent-wrap/{}", self.token));
        fs::write(&file, secret).expect("the token is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode is set");
        self.settings("");
        self.be_remembered();
    }

    /// The same node and controller on another machine; the service is installed there and not started.
    pub fn move_to(&mut self, machine: &Arc<Machine>) {
        self.machine = Arc::clone(machine);
        self.install();
    }

    /// Writes the settings: what is needed, and these lines.
    pub fn settings(&self, more: &str) {
        let (user, _) = self.controller.credentials().expect("security is on");
        let (url, node) = (self.controller.url(), &self.name);
        let text =
            format!("url = {url:?}\nnode = {node:?}\nuser = {user:?}\nagent-user = \"ci\"\npoll = \"1s\"\n{more}");
        let file = self.machine.file(&format!("/etc/agent-wrap/{node}.toml"));
        fs::write(file, text).expect("the settings are written");
    }

    /// systemd forgets a unit that is inactive and that no other names: then nobody can ask how it has ended.
    fn be_remembered(&self) {
        let folder = self.machine.file("/run/systemd/system/booted.target.d");
        fs::create_dir_all(&folder).expect("a folder");
        let named = format!("[Unit]\nAfter={}\n", self.unit);
        fs::write(folder.join(format!("{}.conf", self.name)), named).expect("written");
        self.machine.said(&["systemctl", "daemon-reload"]);
    }

    /// Adds lines to the unit's section [Service].
    pub fn drop_in(&self, lines: &str) {
        let folder = self.machine.file(&format!("/run/systemd/system/{}.d", self.unit));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("test.conf"), format!("[Service]\n{lines}\n")).expect("written");
        self.machine.said(&["systemctl", "daemon-reload"]);
    }

    /// Has systemctl do something with it.
    pub fn systemctl(&self, verb: &str) -> Output {
        self.machine.command(&["systemctl", verb, &self.unit])
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the start fails.
    #[track_caller]
    pub fn start(&self) {
        let output = self.systemctl("start");
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
    }

    /// Has systemctl begin something, and does not wait for its end.
    #[track_caller]
    pub fn begin(&self, verb: &str) {
        self.machine.said(&["systemctl", "--no-block", verb, &self.unit]);
    }

    /// A property of the unit.
    pub fn show(&self, property: &str) -> String {
        let argument = format!("--property={property}");
        self.machine.said(&["systemctl", "show", "--value", &argument, &self.unit]).trim_end().to_owned()
    }

    /// Waits until a property has a value that pleases.
    ///
    /// # Panics
    /// When patience ends.
    #[track_caller]
    pub fn await_that(&self, property: &str, mut pleases: impl FnMut(&str) -> bool) -> String {
        let mut last = String::new();
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(property, || {
                last = self.show(property);
                pleases(&last)
            });
        }));
        assert!(looked.is_ok(), "{property}={last}\n{}", self.log());
        last
    }

    /// Waits until a property has this value.
    #[track_caller]
    pub fn await_value(&self, property: &str, value: &str) {
        self.await_that(property, |found| found == value);
    }

    /// What `systemctl status` shows.
    pub fn status(&self) -> String {
        String::from_utf8_lossy(&self.systemctl("status").stdout).into_owned()
    }

    /// Its lines in the journal.
    pub fn log(&self) -> String {
        let output = self.machine.command(&["journalctl", "--no-pager", "--output=cat", "--unit", &self.unit]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The wrapper's process, by our number.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn main_process(&self) -> Pid {
        let inside = self.show("MainPID").parse().expect("a number");
        self.machine.process(inside).unwrap_or_else(|| panic!("no process {inside}\n{}", self.log()))
    }

    /// Whether the node's agent is connected and the node free.
    pub fn is_online(&self) -> bool {
        self.controller.node(&self.name).is_ok_and(|node| node.connected == Some(true) && !node.marked)
    }
}

impl Drop for Service {
    /// Nothing of it disturbs another test.
    fn drop(&mut self) {
        self.machine.command(&["systemctl", "kill", "--signal=KILL", &self.unit]);
        self.machine.command(&["systemctl", "stop", &self.unit]);
        let _ = fs::remove_dir_all(self.machine.file(&format!("/run/systemd/system/{}.d", self.unit)));
    }
}
