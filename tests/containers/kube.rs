//! The Kubernetes manifest that comes with us, as it is, played by podman.

use std::sync::Arc;

use agent_wrap_testbed::simulated::{Options, Simulated};
use agent_wrap_testbed::stage::Stage as _;

use crate::Test;
use crate::common::eventually;
use crate::container::Container;
use crate::machine::{BARE, Machine, Network};

pub const TESTS: &[(&str, Test)] = &[("the_manifest_that_comes_with_us", the_manifest_that_comes_with_us)];

const MANIFEST: &str = include_str!("../../packaging/kubernetes/agent-wrap.yaml");

/// The name that podman gives to the one pod of a Deployment.
const POD: &str = "linux-pod-0";

/// What is not as it is shipped: podman knows no StatefulSets and plays one pod of a Deployment; the image is the bare one;
/// the controller is ours; and the log is for tests to read.
fn substituted(url: &str) -> String {
    let mut manifest = MANIFEST.to_owned();
    for (shipped, instead) in [
        ("kind: StatefulSet", "kind: Deployment"),
        ("replicas: 2", "replicas: 1"),
        (
            "image: registry.example.org/inbound-agent:latest",
            &format!("image: {BARE}:latest\n          imagePullPolicy: Never"),
        ),
        ("value: https://ci.example.org/", &format!("value: {url}")),
        ("          env:\n", "          env:\n            - name: AGENT_WRAP_LOG_FORMAT\n              value: json\n"),
    ] {
        assert_eq!(manifest.matches(shipped).count(), 1, "{shipped}");
        manifest = manifest.replace(shipped, instead);
    }
    manifest
}

/// The secret, as `kubectl create secret` makes it, in the form that podman 4.3 reads.
fn put_secret(machine: &Machine, controller: &Simulated) {
    let (user, token) = controller.credentials().expect("security is on");
    let encoded = |text: &str| {
        let output = machine.to_execute(["sh", "-c", "printf %s \"$1\" | base64 -w 0", "sh", text]).output();
        String::from_utf8(output.expect("it is encoded").stdout).expect("text")
    };
    let text = format!("{{\"user\":\"{}\",\"token\":\"{}\"}}", encoded(&user), encoded(&token));
    machine.put("/run/test/secret", &text);
    machine.podman(&["secret", "create", "agent-wrap", "/run/test/secret"]);
}

fn the_manifest_that_comes_with_us(machine: &Arc<Machine>) {
    // The port has to be known before the pod is: its network comes with it, and the controller then goes in there.
    let options = Options { port: 8080, ..Options::jenkins("2.578") };
    machine.put("/run/test/pod.yaml", &substituted("http://127.0.0.1:8080/"));
    let spare = Network::new(machine, "spare");
    put_secret(machine, &spare.within(|| Simulated::start(options.clone()).expect("a controller")));
    let _pod = Pod(Arc::clone(machine));
    machine.podman(&["kube", "play", "--network=none", "/run/test/pod.yaml"]);
    let container = Container::found(machine, &format!("{POD}-agent"));
    let space = format!("/proc/{}/ns/net", container.process());
    let controller = Network::within_file(&space, || Simulated::start(options).expect("a controller"));
    controller.create_node(POD, 1).expect("the node is created");
    container.await_event("agent_connected");
    let state = controller.node(POD).expect("a node");
    assert!(!state.marked && state.connected == Some(true), "{state:?}\n{}", container.log());
    // Nothing of what it may not do is missed; podman is what it runs under here.
    let warnings = container.warnings();
    let words: Vec<_> = warnings.iter().map(|(event, _)| event.as_str()).collect();
    assert!(words.iter().all(|event| ["waiting", "longest_stop", "state"].contains(event)), "{warnings:?}");
    assert!(warnings.iter().any(|(_, words)| words.contains("--stop-timeout 3645")), "{warnings:?}");
    assert_eq!(container.inspect("{{.Config.User}}"), "1000:1000");
    // `kube down` of podman 4.3 gives a pod no time at all, whatever the manifest says: nobody could mark anything then.
    machine.podman(&["pod", "stop", "--time", "60", POD]);
    container.expect_code(0);
    machine.podman(&["kube", "down", "/run/test/pod.yaml"]);
    eventually("the agent's channel is down", || controller.node(POD).is_ok_and(|state| state.connected != Some(true)));
    let state = controller.node(POD).expect("a node");
    assert!(state.marked && state.reason.contains(&format!("[agent-wrap {POD} ")), "{state:?}");
}

/// The pod, to be removed whatever comes.
struct Pod(Arc<Machine>);

impl Drop for Pod {
    fn drop(&mut self) {
        self.0.try_podman(&["pod", "rm", "--force", "--time", "0", POD]);
        self.0.try_podman(&["secret", "rm", "agent-wrap"]);
    }
}
