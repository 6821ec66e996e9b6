//! Tokens rotate, and users change: whatever file the credentials come from is read again, at a refusal and at a reload.

use std::fs;
use std::path::Path;
use std::process::Command;

use agent_wrap_testbed::simulated::{Account, Options, Permission};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::common::Wrap;
use crate::place::Place;
use crate::trials::trial;

/// A way to hand over credentials that are in a file: what it is called, whether the file has the user too, and the file
/// and what the command needs for it.
struct Way {
    name: &'static str,
    with_user: bool,
    file: &'static str,
    give: fn(&mut Command, &Path),
}

const WAYS: [Way; 4] = [
    Way {
        name: "user_and_token_file",
        with_user: false,
        file: "token",
        give: |command, dir| {
            command.args(["--user", "op", "--token-file"]).arg(dir.join("token"));
        },
    },
    Way {
        name: "token_file_with_the_user",
        with_user: true,
        file: "token",
        give: |command, dir| {
            command.arg("--token-file").arg(dir.join("token"));
        },
    },
    Way {
        name: "token_file_of_the_settings_file",
        with_user: true,
        file: "beside.token",
        give: |command, dir| {
            fs::write(dir.join("agent-wrap.toml"), "token-file = \"beside.token\"\n").expect("written");
            command.arg("--config").arg(dir.join("agent-wrap.toml"));
        },
    },
    Way {
        name: "systemd_credential",
        with_user: true,
        file: "agent-wrap.token",
        give: |command, dir| {
            command.env("CREDENTIALS_DIRECTORY", dir);
        },
    },
];

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("rotation::a_reload_changes_the_account", a_reload_changes_the_account),
        trial("rotation::a_pipe_is_remembered", a_pipe_is_remembered),
    ];
    for way in &WAYS {
        trials.push(trial(format!("rotation::at_a_refusal::{}", way.name), move || way.at_a_refusal()));
        trials.push(trial(format!("rotation::at_a_reload::{}", way.name), move || way.at_a_reload()));
    }
    trials
}

fn place() -> Place {
    Place::new(Options::jenkins("2.578")).used_by(None)
}

/// Makes an account, or gives one another token; the user `op` without one is locked out.
fn account(place: &Place, user: &str, token: Option<&str>) {
    let token = token.map(str::to_owned);
    let account = Account { token, password: None, ..Account::new(user, &[Permission::Administer]) };
    place.controller.with(|world| world.set_account(account));
}

impl Way {
    fn write(&self, place: &Place, user: &str, token: &str) {
        let text = if self.with_user { format!("{user}:{token}\n") } else { format!("{token}\n") };
        fs::write(place.dir().join(self.file), text).expect("the token is written");
    }

    /// The wrapper with its agent on, and the user that comes after `op`.
    fn online(&self) -> (Place, Wrap, &'static str) {
        let place = place();
        self.write(&place, "op", "op-token");
        let mut command = place.command_of(|command| (self.give)(command, place.dir()));
        // A token that is asked for seldom is as old as this at the stop.
        command.env("AGENT_WRAP_POLL", "1h");
        let wrap = Wrap::start(command);
        wrap.wait_for("agent_connected");
        place.wait_until_free();
        (place, wrap, if self.with_user { "heir" } else { "op" })
    }

    fn at_a_refusal(&self) {
        let (place, wrap, heir) = self.online();
        account(&place, "op", None);
        account(&place, heir, Some("another"));
        self.write(&place, heir, "another");
        let outcome = place.expect_good_stop(wrap);
        assert!(!outcome.has("refused"), "{}", outcome.text());
    }

    fn at_a_reload(&self) {
        let (place, wrap, heir) = self.online();
        account(&place, heir, Some("another"));
        self.write(&place, heir, "another");
        wrap.signal(Signal::SIGHUP);
        wrap.wait_for("policy_changed");
        // Whoever has not read it by now never will.
        fs::remove_file(place.dir().join(self.file)).expect("it is there");
        if heir != "op" {
            account(&place, "op", None);
        }
        let outcome = place.expect_good_stop(wrap);
        assert!(!outcome.has("refused"), "{}", outcome.text());
    }
}

fn a_reload_changes_the_account() {
    let place = place();
    account(&place, "heir", Some("another"));
    let [config, first, second] = ["agent-wrap.toml", "first", "second"].map(|name| place.dir().join(name));
    fs::write(&first, "op-token").expect("written");
    fs::write(&second, "another").expect("written");
    fs::write(&config, "user = \"op\"\ntoken-file = \"first\"\n").expect("written");
    let wrap = Wrap::start(place.command_of(|command| {
        command.arg("--config").arg(&config);
    }));
    wrap.wait_for("agent_connected");
    fs::write(&config, "user = \"heir\"\ntoken-file = \"second\"\n").expect("written");
    wrap.signal(Signal::SIGHUP);
    wrap.wait_for("policy_changed");
    account(&place, "op", None);
    let outcome = place.expect_good_stop(wrap);
    assert!(!outcome.has("reload_ignored") && !outcome.has("refused"), "{}", outcome.text());
}

fn a_pipe_is_remembered() {
    use std::io::Write as _;
    let place = place();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(b"op:op-token\n").expect("there is room in it");
    drop(writer);
    let mut command = place.command_of(|command| {
        command.args(["--token-file", "/dev/stdin"]);
    });
    command.stdin(reader);
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    wrap.signal(Signal::SIGHUP);
    wrap.wait_for("policy_changed");
    let outcome = place.expect_good_stop(wrap);
    assert!(!outcome.has("reload_failed"), "{}", outcome.text());
}
