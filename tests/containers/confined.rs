//! Containers that may do little: each starts, marks and stops with 0, and warns of nothing but what is so, once.

use std::sync::Arc;

use crate::Test;
use crate::container::Site;
use crate::machine::Machine;

pub const TESTS: &[(&str, Test)] = &[
    ("nothing_special", |machine| lives(machine, "plain", &[], false)),
    // The root of an image made FROM scratch can be written by nobody, and root without capabilities is nobody there.
    ("no_capabilities", |machine| lives(machine, "nocaps", &["--cap-drop=all"], true)),
    ("a_read_only_root", |machine| lives(machine, "readonly", &["--read-only"], true)),
    ("a_read_only_root_with_a_place_for_the_state", |machine| {
        lives(machine, "stateful", &["--read-only", "--tmpfs=/var/lib/agent-wrap"], false);
    }),
    ("a_user_that_nobody_knows", |machine| lives(machine, "user", &["--user=1234:1234"], true)),
    ("as_little_as_can_be", |machine| {
        lives(
            machine,
            "least",
            &["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--user=1234:1234", LOCKED],
            true,
        );
    }),
    ("nothing_but_tmpfs", |machine| {
        lives(machine, "tmpfs", &["--read-only", "--tmpfs=/home", "--env=HOME=/home", "--user=1234:1234"], false);
    }),
    ("a_user_namespace", |machine| lives(machine, "userns", &["--uidmap=0:100000:65536"], false)),
    ("a_user_namespace_without_capabilities", |machine| {
        lives(machine, "usernscaps", &["--uidmap=0:100000:65536", "--cap-drop=all", "--read-only"], true);
    }),
];

const LOCKED: &str = "--security-opt=no-new-privileges";

/// A life with these options. `stateless`: there is no place for the state.
fn lives(machine: &Arc<Machine>, name: &str, options: &[&str], stateless: bool) {
    let site = Site::new(machine, name);
    let container = site.run_online(options);
    assert_eq!(container.stop(60), 0, "{}", container.log());
    site.expect_marked();
    let warnings = container.warnings();
    let mut events: Vec<_> = warnings.iter().map(|(event, _)| event.as_str()).collect();
    let expected: &[&str] = if stateless { &["longest_stop", "state"] } else { &["longest_stop"] };
    events.sort_unstable();
    assert_eq!(events, expected, "{warnings:?}");
    let words = |event: &str| warnings.iter().find(|(name, _)| name == event).map(|(_, words)| words.as_str());
    assert_eq!(
        words("longest_stop"),
        Some(
            "a stop may take up to 5m 45s; unless told otherwise podman kills after 10 s: create the container with \
             --stop-timeout 345"
        )
    );
    if let Some(words) = words("state") {
        assert!(words.contains("running without a state file") && words.contains("--state-dir"), "{words}");
    }
}
