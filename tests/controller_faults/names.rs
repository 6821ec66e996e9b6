//! Names of nodes and paths of controllers that have to be quoted somewhere on their way.

use agent_wrap_testbed::simulated::{Options, Permission};
use agent_wrap_testbed::stage::Stage as _;
use libtest_mimic::Trial;

use crate::place::Place;
use crate::trials::trial;

/// What has to be quoted, and what it must not be taken for.
const NAMES: &[(&str, &str)] = &[
    ("a b", "a+b"),
    ("a+b", "a b"),
    ("a%20b", "a b"),
    ("c(1)", "c"),
    ("50%", "50"),
    ("é ü 日本 🙂", "e"),
    ("-m", "m"),
    ("it's \"quoted\" & <b>", "it"),
    ("n;x?y#z", "n"),
    ("login", "log"),
    ("toggleOffline", "toggle"),
];

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("names::of_one_controller_are_one", of_one_controller)];
    for (name, other) in NAMES {
        for (controller, options) in [("jenkins", Options::jenkins("2.578")), ("hudson", Options::hudson())] {
            for method in ["auto", "toggle"] {
                if controller == "hudson" && method == "toggle" {
                    continue;
                }
                let options = options.clone();
                trials.push(trial(format!("names::{controller}::{method}::{name:?}"), move || {
                    named(options, name, other, method);
                }));
            }
        }
    }
    for path in ["jenkins", "ci/jenkins", "ci%20x"] {
        trials.push(trial(format!("names::context_path::{path}"), move || {
            let anonymous = vec![Permission::Read];
            let place = Place::new(Options { context_path: path.to_owned(), anonymous, ..Options::jenkins("2.578") });
            through_a_life(&place, "auto");
        }));
    }
    trials
}

fn named(options: Options, name: &str, other: &str, method: &str) {
    let place = Place::with_node(options, name);
    place.controller.create_node(other, 1).expect("the node is created");
    place.controller.mark(other, "not yours").expect("marked");
    through_a_life(&place, method);
    assert_eq!(place.controller.node(other).expect("it answers").reason, "not yours");
}

fn through_a_life(place: &Place, method: &str) {
    place.mark("from before");
    let wrap = place.online(&["--online-method", method]);
    place.expect_good_stop(wrap);
}

fn of_one_controller() {
    let mut place = Place::new(Options::jenkins("2.578"));
    let wrap = place.online(&[]);
    let written = place.url.clone();
    let port = written.trim_end_matches('/').rsplit(':').next().expect("a port").to_owned();
    for other in [
        written.trim_end_matches('/').to_owned(),
        format!("http://localhost:{port}/"),
        format!("HTTP://LocalHost:{port}//"),
        format!("http://[::1]:{port}"),
    ] {
        place.url = other;
        place.expect_no_start(&[], 75);
    }
    place.expect_good_stop(wrap);
}
