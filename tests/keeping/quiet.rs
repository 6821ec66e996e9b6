//! While nothing changes nothing wakes up, also with an eye on hold files.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;
use nix::unistd::Pid;

use crate::common::eventually;
use crate::common::standalone::guard_on_duty;
use crate::scene::Scene;
use crate::trials::trial;
use crate::{jenkins, simulated};

pub fn trials() -> Vec<Trial> {
    vec![trial("quiet::nothing_wakes_up_between_two_looks", nothing_wakes_up)]
}

/// How often the threads of these processes have waited for something so far.
fn switches(processes: &[Pid]) -> u64 {
    let of_thread = |folder: fs::DirEntry| {
        let status = fs::read_to_string(folder.path().join("status")).unwrap_or_default();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    let threads = |process: &Pid| fs::read_dir(format!("/proc/{process}/task")).expect("it is there");
    processes.iter().flat_map(threads).flatten().map(of_thread).sum()
}

fn nothing_wakes_up() {
    let stage = simulated(jenkins());
    let scene = Scene::new(&stage, "n");
    // Not where the wrapper itself writes.
    let folder = scene.path("operator");
    fs::create_dir(&folder).expect("made");
    let hold = format!("--hold-file={}", folder.join("hold").display());
    let wrap = scene.online(&stage, &[&hold, "--poll", "1h", "--disconnect-timeout", "1h", "--log-level", "debug"]);
    wrap.wait_for("settled");
    let processes = [wrap.pid(), guard_on_duty(wrap.pid())];
    let requests = stage.requests().len();
    // What the last look has left to be done is soon done.
    let mut before = switches(&processes);
    eventually("it is at rest", || {
        let last = std::mem::replace(&mut before, switches(&processes));
        last == before
    });
    assert!(Command::new("sleep").arg("10").status().expect("sleep is there").success());
    assert_eq!(switches(&processes), before, "{}", wrap.log().join("\n"));
    assert_eq!(stage.requests().len(), requests);
    fs::write(folder.join("hold"), "and yet it sees").expect("written");
    scene.wait_until_marked(&stage, "and yet it sees");
    wrap.stop().expect_code(0);
}
