//! A whole image, Debian with java, that runs the real agent; the real controller is in another network.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use agent_wrap_testbed::cache;
use agent_wrap_testbed::hudson::{self, Hudson, HudsonOptions};
use agent_wrap_testbed::skip;
use agent_wrap_testbed::stage::{BuildState, Stage as _};

use crate::Test;
use crate::common::eventually;
use crate::container::Container;
use crate::machine::{Machine, Network, join};

pub const TESTS: &[(&str, Test)] = &[("a_real_agent_on_a_real_controller", a_real_agent_on_a_real_controller)];

const IMAGE: &str = "localhost/whole";

/// The image is made once, and need not be there although all else is.
fn a_real_agent_on_a_real_controller(machine: &Arc<Machine>) {
    let need = skip::need_hudson().and_then(|()| skip::need_debian_image());
    if !skip::unmet("containers::a_real_agent_on_a_real_controller", need) {
        let (here, there) = (Network::new(machine, "controllers"), Network::new(machine, "agents"));
        join(&here, &there);
        let network = hudson::Network { file: machine.file(&here.path()), address: Ipv4Addr::new(10, 213, 0, 1) };
        // Whoever asks the controller has to be where it is.
        here.within(|| {
            let options = HudsonOptions { security: true, network: Some(network), ..HudsonOptions::default() };
            lives(machine, &Hudson::start(options).expect("Hudson starts"), &there);
        });
    }
}

fn lives(machine: &Arc<Machine>, hudson: &Hudson, network: &Network) {
    let containerfile = format!(
        "FROM {}\nCOPY agent-wrap /usr/local/bin/jenkins-agent\nENTRYPOINT [\"/usr/local/bin/jenkins-agent\"]\n",
        cache::DEBIAN_IMAGE
    );
    machine.build(IMAGE, &containerfile, &[]);
    hudson.create_node("whole", 1).expect("the node is created");
    hudson.mark("whole", "from before").expect("it is marked");
    let (user, password) = hudson.credentials().expect("security is on");
    // What this old agent reaches into by reflection.
    let command = hudson.agent_command("whole");
    let opened: Vec<_> = command.iter().filter(|word| word.starts_with("--add-opens")).map(String::as_str).collect();
    let variables = [
        ("JENKINS_URL", hudson.url()),
        ("JENKINS_AGENT_NAME", "whole".to_owned()),
        ("JENKINS_USER_ID", user),
        ("AGENT_WRAP_TOKEN", password.clone()),
        ("JENKINS_AGENT_FILE", "slave.jar".to_owned()),
        ("JENKINS_JAVA_OPTS", format!("{} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx64m", opened.join(" "))),
        ("AGENT_WRAP_LOG_FORMAT", "json".to_owned()),
        ("AGENT_WRAP_POLL", "1s".to_owned()),
    ];
    let variables = variables.map(|(name, value)| format!("--env={name}={value}"));
    let network = format!("--network=ns:{}", network.path());
    let mut options: Vec<&str> = variables.iter().map(String::as_str).collect();
    options.extend([network.as_str(), "--stop-timeout=345"]);
    let container = Container::run(machine, "whole", &options, IMAGE, &[]);
    container.await_event("agent_connected");
    let state = hudson.node("whole").expect("it answers");
    assert!(!state.marked && state.connected == Some(true), "{state:?}\n{}", container.log());
    // Nobody in there reads what we were given, not even root, which is as much as a build can be.
    let read = machine.try_podman(&["exec", "whole", "cat", "/proc/1/environ"]);
    assert!(!read.status.success() && read.stdout.is_empty(), "{}", String::from_utf8_lossy(&read.stdout));
    assert!(!container.log().contains(&password), "{}", container.log());

    let build = hudson.start_build("whole", "/gate".as_ref()).expect("a build");
    eventually("the build runs", || hudson.build(&build).is_ok_and(|state| state == BuildState::Running));
    let process = container.process();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| container.podman(&["stop"]));
        container.await_event("draining");
        assert!(hudson.node("whole").expect("it answers").marked, "{}", container.log());
        // podman executes nothing in a container that is being stopped.
        fs::write(format!("/proc/{process}/root/gate"), "").expect("written");
        stopping.join().expect("it is stopped");
    });
    container.expect_code(0);
    assert_eq!(hudson.build(&build).expect("it answers"), BuildState::Finished("SUCCESS".to_owned()));
    let state = hudson.node("whole").expect("it answers");
    assert!(state.marked && container.count("marked") == 1, "{state:?}\n{}", container.log());
}
