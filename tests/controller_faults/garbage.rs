//! Answers that are none: at the start they are waited out or reported, at the stop they cost no more than their time.

use std::time::Duration;

use agent_wrap_testbed::simulated::{Fault, On, Operation, Options};
use libtest_mimic::Trial;

use crate::place::{Place, expect_words};
use crate::trials::trial;

/// What befalls a request; the exit code when it lasts, and what is said then.
fn faults() -> Vec<(&'static str, Fault, i32, &'static str)> {
    vec![
        ("html", Fault::Html, 69, "HTML page instead of JSON"),
        ("truncated", Fault::Truncated, 69, "before the answer was complete"),
        ("endless", Fault::Endless, 69, "no answer of a controller"),
        ("slow", Fault::Slow(Duration::from_secs(3)), 69, "has not answered within"),
        ("hangs", Fault::HangBefore, 69, "has not answered within"),
        ("reset", Fault::ResetBefore, 69, "before the answer was complete"),
        ("closed", Fault::CloseBefore, 69, "before the answer was complete"),
        ("a_500", Fault::Status(500), 69, "answered 500"),
        ("a_502", Fault::Status(502), 69, "answered 502"),
        ("a_418", Fault::Status(418), 69, "answered 418"),
        ("a_redirect_elsewhere", Fault::Redirect(302, "http://127.0.0.2:9/elsewhere".to_owned()), 69, "sends us on to"),
        ("a_redirect_to_nowhere", Fault::Redirect(302, "http://[".to_owned()), 69, "answered 302"),
        ("a_redirect_to_the_login", Fault::Redirect(302, "/login?from=x".to_owned()), 77, "login page"),
    ]
}

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("garbage::no_redirect_of_a_write_is_followed", no_redirect_of_a_write_is_followed),
        trial("garbage::credentials_stay_on_their_host", credentials_stay_on_their_host),
    ];
    for (name, fault, code, words) in faults() {
        let passing = fault.clone();
        trials.push(trial(format!("garbage::start::{name}_twice"), move || at_the_start(passing)));
        let lasting = fault.clone();
        trials.push(trial(format!("garbage::start::{name}_for_ever"), move || for_ever(lasting, code, words)));
        for operation in [Operation::ChangeCause, Operation::ReadNode] {
            let name = format!("garbage::stop::{name}_for_{operation:?}").to_lowercase();
            let fault = fault.clone();
            trials.push(trial(name, move || at_the_stop(operation, fault)));
        }
    }
    trials
}

fn at_the_start(fault: Fault) {
    let place = Place::new(Options::jenkins("2.578"));
    place.mark("from before");
    place.controller.fault(On::operation(Operation::ReadNode).times(2), fault);
    let wrap = place.online(&["--request-timeout", "1s"]);
    let outcome = place.expect_good_stop(wrap);
    let position = |event: &str| outcome.events().iter().position(|name| name == event);
    assert!(position("waiting") < position("agent_started"), "{}", outcome.text());
    assert!(outcome.has("waiting") && outcome.has("answering"), "{}", outcome.text());
}

fn for_ever(fault: Fault, code: i32, words: &str) {
    let place = Place::new(Options::jenkins("2.578"));
    let (request, start) = match fault {
        // As much as is read of it must have come before the time is over.
        Fault::Endless => ("10s", "12s"),
        // A refusal is believed after five seconds.
        _ if code == 77 => ("1s", "60s"),
        _ => ("1s", "2s"),
    };
    place.controller.fault(On::operation(Operation::ReadNode), fault);
    let outcome = place.expect_no_start(&["--request-timeout", request, "--start-timeout", start], code);
    expect_words(&outcome, &[words]);
}

fn at_the_stop(operation: Operation, fault: Fault) {
    let place = Place::new(Options::jenkins("2.578"));
    let wrap = place.online(&["--request-timeout", "1s", "--offline-timeout", "2s"]);
    let carried_out = matches!(fault, Fault::Truncated | Fault::Slow(_)) && operation == Operation::ChangeCause;
    place.controller.fault(On::operation(operation), fault);
    let outcome = wrap.stop();
    if carried_out {
        // The answer is lost, but the reads show what was done.
        outcome.expect_code(0);
        assert!(place.state().marked);
    } else {
        outcome.expect_code(74);
        assert!(outcome.has("mark_unconfirmed") && outcome.has("terminating"), "{}", outcome.text());
        assert!(!outcome.has("killing"), "{}", outcome.text());
    }
}

fn no_redirect_of_a_write_is_followed() {
    let place = Place::new(Options::jenkins("2.578"));
    let wrap = place.online(&["--offline-timeout", "2s"]);
    let to_login = Fault::Redirect(302, format!("{}login?from=x", place.url));
    place.controller.fault(On::operation(Operation::ChangeCause), to_login);
    let before = place.controller.requests_for(Operation::Login).len();
    let outcome = wrap.stop();
    outcome.expect_code(74);
    expect_words(&outcome, &["login page"]);
    assert_eq!(place.controller.requests_for(Operation::Login).len(), before);
}

fn credentials_stay_on_their_host() {
    let place = Place::new(Options::jenkins("2.578"));
    let other = Place::new(Options::jenkins("2.578"));
    let elsewhere = other.url.replace("127.0.0.1", "localhost");
    place.controller.fault(On::any(), Fault::Redirect(302, elsewhere));
    let outcome = place.expect_no_start(&["--start-timeout", "2s"], 69);
    expect_words(&outcome, &["sends us on to http://localhost:", "gets no credentials"]);
    assert!(other.controller.requests().is_empty());
    let requests = place.controller.requests();
    assert!(requests.iter().all(|request| request.operation == Operation::Login), "{requests:?}");
    assert!(requests.iter().all(|request| request.header("authorization").is_none()), "{requests:?}");
}
