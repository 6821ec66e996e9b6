//! Which requests are made, and in which way.

use agent_wrap_testbed::simulated::{Fault, On, Operation, Options};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::place::{Place, expect_words};
use crate::trials::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("ways::an_unmarked_start_on_jenkins", || unmarked_start(Options::jenkins("2.578"))),
        trial("ways::an_unmarked_start_on_hudson", || unmarked_start(Options::hudson())),
        trial("ways::auto_takes_the_cli", || lifts_by("2.578", "auto", (1, 0))),
        trial("ways::cli_takes_the_cli", || lifts_by("2.578", "cli", (1, 0))),
        trial("ways::toggle_takes_the_toggle", || lifts_by("2.578", "toggle", (0, 1))),
        trial("ways::auto_toggles_where_the_cli_is_too_old", || lifts_by("2.53", "auto", (0, 1))),
        trial("ways::auto_without_the_cli_remembers", auto_without_the_cli_remembers),
        trial("ways::cli_without_the_cli", cli_without_the_cli),
        trial("ways::cli_that_never_ends", cli_that_never_ends),
        trial("ways::a_very_old_jenkins_is_marked_by_a_toggle", a_very_old_jenkins),
        trial("ways::a_stale_crumb_is_fetched_again", a_stale_crumb),
    ]
}

fn count(place: &Place, operation: Operation) -> usize {
    place.controller.requests_for(operation).len()
}

fn unmarked_start(options: Options) {
    let place = Place::new(options);
    let wrap = place.start(&[]);
    let asked: Vec<_> = place.requests_before_the_agent().iter().map(|request| request.operation).collect();
    assert_eq!(asked, [Operation::Login, Operation::ReadNode]);
    wrap.wait_for("agent_connected");
    assert!(place.controller.requests().iter().all(|request| request.method == "GET"));
    place.expect_good_stop(wrap);
}

fn lifts_by(version: &str, method: &str, (commands, toggles): (usize, usize)) {
    let place = Place::new(Options::jenkins(version));
    place.mark("from before");
    let wrap = place.online(&["--online-method", method]);
    let done = |operation| {
        let requests = place.controller.requests_for(operation);
        requests.iter().filter(|request| request.carried_out).count()
    };
    // Before 2.96 even a token needs a crumb, for which a first write is refused.
    assert_eq!((done(Operation::CliDownload), done(Operation::Toggle)), (commands, toggles));
    place.expect_good_stop(wrap);
}

fn auto_without_the_cli_remembers() {
    let place = Place::new(Options { cli: false, ..Options::jenkins("2.578") });
    place.mark("from before");
    let wrap = place.online(&[]);
    wrap.signal(Signal::SIGUSR1);
    wrap.wait_for("landed");
    wrap.signal(Signal::SIGUSR2);
    place.wait_until_free();
    assert_eq!((count(&place, Operation::CliDownload), count(&place, Operation::Toggle)), (1, 2));
    let outcome = place.expect_good_stop(wrap);
    assert!(outcome.has("way_changed"), "{}", outcome.text());
}

fn cli_without_the_cli() {
    let place = Place::new(Options { cli: false, ..Options::jenkins("2.578") });
    place.mark("stays");
    let outcome = place.expect_no_start(&["--online-method", "cli", "--start-timeout", "2s"], 69);
    expect_words(&outcome, &["CLI"]);
    assert_eq!(count(&place, Operation::Toggle), 0);
    assert!(place.state().reason.contains("stays"));
}

fn cli_that_never_ends() {
    let place = Place::new(Options::jenkins("2.578"));
    place.mark("from before");
    place.controller.fault(On::operation(Operation::CliDownload), Fault::HangBefore);
    let wrap = place.online(&[]);
    assert_eq!(count(&place, Operation::Toggle), 1);
    place.expect_good_stop(wrap);
}

fn a_very_old_jenkins() {
    let place = Place::new(Options { crumbs: false, ..Options::jenkins("1.480") });
    let wrap = place.online(&[]);
    place.expect_good_stop(wrap);
    assert_eq!((count(&place, Operation::ChangeCause), count(&place, Operation::Toggle)), (1, 1));
}

fn a_stale_crumb() {
    let mut options = Options { security: true, crumbs: true, ..Options::hudson() };
    for account in &mut options.accounts {
        account.password = account.token.take();
    }
    let mut place = Place::new(options);
    place.mark("from before");
    let wrap = place.online(&[]);
    assert_eq!(count(&place, Operation::Crumb), 1);
    // A restarted controller knows none of the crumbs that it has given out.
    place.controller.down();
    wrap.wait_for("waiting");
    place.controller.up().expect("it comes up");
    wrap.wait_for("answering");
    place.expect_good_stop(wrap);
    assert_eq!(count(&place, Operation::Crumb), 2);
}
