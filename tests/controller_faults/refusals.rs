//! Refusals: those of a starting controller pass, those that stay have an exit code and words for the cure.

use std::time::Duration;

use agent_wrap_testbed::simulated::{Account, Lasting, Options, Permission, Refusal, startup_as_seen};
use agent_wrap_testbed::stage::Stage as _;
use libtest_mimic::Trial;

use crate::common::eventually;
use crate::place::{Place, expect_words};
use crate::trials::trial;

fn jenkins() -> Options {
    Options::jenkins("2.578")
}

fn hudson() -> Options {
    Options { security: true, crumbs: true, ..Options::hudson() }
}

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("refusals::a_starting_controller_at_the_stop", a_starting_controller_at_the_stop),
        trial("refusals::a_restart_with_refusals_under_us", a_restart_with_refusals_under_us),
        trial("refusals::a_revoked_token", a_revoked_token),
        trial("refusals::a_token_that_was_replaced_in_its_file", a_token_that_was_replaced_in_its_file),
        trial("refusals::no_permission_at_all", no_permission_at_all),
        trial("refusals::may_not_connect_by_toggle", || may_not_connect("toggle", "Agent/Connect")),
        trial("refusals::may_not_connect_by_cli", || may_not_connect("cli", "Agent/Connect")),
        trial("refusals::may_not_disconnect", may_not_disconnect),
        trial("refusals::the_wrong_root", the_wrong_root),
        trial("refusals::anonymous_may", anonymous_may),
        trial("refusals::anonymous_may_not", anonymous_may_not),
        trial("refusals::if_refused_start", if_refused_start),
        trial("refusals::if_refused_start_and_mended_later", if_refused_start_and_mended_later),
        trial("refusals::if_refused_start_without_the_node", if_refused_start_without_the_node),
    ];
    for (name, options) in [("jenkins", jenkins as fn() -> Options), ("hudson", hudson)] {
        for (lasting, how_long) in
            [(Lasting::Requests(1), "one_each"), (Lasting::Time(Duration::from_millis(700)), "700_ms_each")]
        {
            trials.push(trial(format!("refusals::a_starting_{name}_{how_long}"), move || {
                a_starting_controller(options(), lasting);
            }));
        }
        for (refusal, code) in [(Refusal::Unauthorized, 77), (Refusal::Forbidden, 77)] {
            trials.push(trial(format!("refusals::{refusal:?}_for_ever_on_{name}").to_lowercase(), move || {
                let place = Place::new(Options { startup: vec![(refusal, Lasting::Forever)], ..options() });
                place.expect_no_start(&[], code);
            }));
        }
        trials.push(trial(format!("refusals::getting_ready_for_ever_on_{name}"), move || {
            let startup = vec![(Refusal::GettingReady, Lasting::Forever)];
            let outcome = Place::new(Options { startup, ..options() }).expect_no_start(&["--start-timeout", "2s"], 69);
            expect_words(&outcome, &["starting up"]);
        }));
    }
    trials
}

fn a_starting_controller(options: Options, lasting: Lasting) {
    let place = Place::new(Options { startup: startup_as_seen(lasting), ..options });
    place.mark("from before");
    let wrap = place.online(&[]);
    let outcome = place.expect_good_stop(wrap);
    assert!(outcome.has("waiting") && outcome.has("lifted"), "{}", outcome.text());
}

fn a_starting_controller_at_the_stop() {
    let place = Place::new(jenkins());
    let wrap = place.online(&[]);
    place.controller.with(|world| world.set_startup(startup_as_seen(Lasting::Requests(1))));
    place.expect_good_stop(wrap);
}

fn a_restart_with_refusals_under_us() {
    let mut place = Place::new(Options { startup: startup_as_seen(Lasting::Requests(0)), ..jenkins() });
    let wrap = place.online(&[]);
    place.controller.with(|world| world.options().startup = startup_as_seen(Lasting::Requests(2)));
    place.controller.take_down().expect("it goes down");
    wrap.wait_for("waiting");
    place.controller.bring_up().expect("it comes up");
    wrap.wait_for("answering");
    eventually("the agent is back", || !place.state().offline);
    place.expect_good_stop(wrap);
}

fn a_revoked_token() {
    let place = Place::new(jenkins());
    place.mark("stays");
    place.controller.with(|world| world.set_account(Account { token: None, ..Account::new("op", &[]) }));
    let outcome = place.expect_no_start(&[], 77);
    expect_words(&outcome, &["\\\"op\\\"", "revoked", "token"]);
    assert!(place.state().reason.contains("stays"));
}

fn a_token_that_was_replaced_in_its_file() {
    let place = Place::new(jenkins());
    let wrap = place.online(&[]);
    let rotated = Account { token: Some("another".to_owned()), ..Account::new("op", &[Permission::Administer]) };
    place.controller.with(|world| world.set_account(rotated));
    place.write_token("another");
    let outcome = place.expect_good_stop(wrap);
    assert!(!outcome.has("refused"), "{}", outcome.text());
}

fn no_permission_at_all() {
    let place = Place::new(jenkins()).used_by(Some("nobody"));
    let outcome = place.expect_no_start(&[], 77);
    expect_words(&outcome, &["\\\"nobody\\\"", "Overall/Read"]);
}

fn may_not_connect(method: &str, permission: &str) {
    let place = Place::new(jenkins()).used_by(Some("viewer"));
    place.mark("stays");
    let outcome = place.expect_no_start(&["--online-method", method], 77);
    expect_words(&outcome, &["\\\"viewer\\\"", permission]);
    assert!(place.state().reason.contains("stays"));
}

fn may_not_disconnect() {
    let place = Place::new(jenkins()).used_by(Some("viewer"));
    let wrap = place.online(&["--offline-timeout", "2s"]);
    let outcome = wrap.stop();
    outcome.expect_code(74);
    expect_words(&outcome, &["\\\"viewer\\\"", "Agent/Disconnect"]);
    assert!(!place.state().marked);
}

fn the_wrong_root() {
    let mut place = Place::new(Options { context_path: "jenkins".to_owned(), ..jenkins() });
    place.url = place.url.replace("jenkins/", "hudson/");
    let outcome = place.expect_no_start(&["--start-timeout", "2s"], 69);
    expect_words(&outcome, &["context path"]);
}

fn anonymous_may() {
    let anonymous = vec![Permission::Read, Permission::Connect, Permission::Disconnect];
    let place = Place::new(Options { anonymous, crumbs: false, ..jenkins() }).used_by(None);
    place.mark("from before");
    let wrap = place.online(&[]);
    let outcome = place.expect_good_stop(wrap);
    assert!(outcome.has("anonymous"), "{}", outcome.text());
}

fn anonymous_may_not() {
    let place = Place::new(jenkins()).used_by(None);
    let outcome = place.expect_no_start(&[], 77);
    expect_words(&outcome, &["anonymous", "Overall/Read", "--token-file"]);
}

fn if_refused_start() {
    let place = Place::new(jenkins()).used_by(Some("nobody"));
    place.mark("stays");
    let wrap = place.start(&["--if-refused", "start", "--offline-timeout", "2s"]);
    wrap.wait_for("agent_started");
    let outcome = wrap.stop();
    outcome.expect_code(74);
    assert!(outcome.has("started_unmarked") && outcome.has("mark_unconfirmed"), "{}", outcome.text());
    assert!(place.state().reason.contains("stays"));
}

fn if_refused_start_and_mended_later() {
    let place = Place::new(jenkins()).used_by(Some("nobody"));
    place.mark("from before");
    let wrap = place.start(&["--if-refused", "start"]);
    wrap.wait_for("agent_started");
    let mended = Account::new("nobody", &[Permission::Read, Permission::Connect, Permission::Disconnect]);
    place.controller.with(|world| world.set_account(mended));
    // What was wanted at the start is done as soon as it may be.
    place.wait_until_free();
    place.expect_good_stop(wrap);
}

fn if_refused_start_without_the_node() {
    let place = Place::new(jenkins());
    let mut command = place.command(&["--if-refused", "start", "--offline-timeout", "2s"]);
    place.controller.with(|world| world.remove_node("n"));
    command.arg("-webSocket");
    let wrap = crate::common::Wrap::start(command);
    wrap.wait_for("agent_started");
    let outcome = wrap.stop();
    outcome.expect_code(74);
    expect_words(&outcome, &["no node"]);
}
