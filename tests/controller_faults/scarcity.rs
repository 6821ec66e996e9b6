//! What has run out on this machine is not blamed on the controller.

use std::net::TcpListener;

use agent_wrap_testbed::simulated::Options;
use libtest_mimic::Trial;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use crate::common::Wrap;
use crate::common::standalone::on_fork;
use crate::place::{Place, expect_words};
use crate::trials::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("scarcity::no_descriptor_for_the_mark", no_descriptor_for_the_mark),
        trial("scarcity::no_descriptor_for_the_resolver", no_descriptor_for_the_resolver),
    ]
}

fn no_descriptor_for_the_mark() {
    let place = Place::new(Options::jenkins("2.578"));
    let wrap = place.online(&["--offline-timeout", "2s"]);
    let none = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
    // SAFETY: the limits are read from a live value, and the old ones are not asked for.
    let set = unsafe { libc::prlimit(wrap.pid().as_raw(), libc::RLIMIT_NOFILE, &none, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    let outcome = wrap.stop();
    outcome.expect_code(74);
    expect_words(&outcome, &["no descriptor left", "ulimit -n"]);
    assert!(!outcome.text().contains("check the address"), "{}", outcome.text());
}

fn no_descriptor_for_the_resolver() {
    let mut place = Place::new(Options::jenkins("2.578"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    // Nobody listens there in a moment, so that each of them comes to an end.
    place.url = format!("http://localhost:{}/", listener.local_addr().expect("an address").port());
    drop(listener);
    // How many it takes for what is no test's business; with some of these there are too few for the resolver.
    let starved = (8..16).filter(|limit| {
        let limit = *limit;
        let mut command = place.command(&["--start-timeout", "1s"]);
        on_fork(&mut command, move || Ok(setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?));
        let outcome = Wrap::start(command).outcome();
        assert!(!outcome.text().contains("does not resolve"), "{limit}\n{}", outcome.text());
        outcome.text().contains("no descriptor left")
    });
    assert!(starved.count() > 0);
}
