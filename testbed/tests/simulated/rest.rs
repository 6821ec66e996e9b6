//! Pages, permissions, credentials, names.

use agent_wrap_testbed::simulated::{Account, Operation, Options, Permission, Persistence};
use agent_wrap_testbed::stage::Stage as _;
use serde_json::json;

use super::{NODE, OP, ask, ask_with, controller, jenkins};

#[test]
fn a_toggle_flips_and_a_setter_sets() {
    let controller = jenkins();
    for marked in [true, false, true] {
        assert_eq!(ask(&controller, OP, "POST", "computer/n1/toggleOffline?offlineMessage=nonce+1").status, 302);
        assert_eq!(controller.node(NODE).unwrap().marked, marked);
    }
    assert_eq!(controller.node(NODE).unwrap().reason, "nonce 1");
    for reason in ["a", "b"] {
        ask(&controller, OP, "POST", &format!("computer/n1/changeOfflineCause?offlineMessage={reason}"));
        assert_eq!(controller.node(NODE).unwrap().reason, reason);
    }
    assert_eq!(controller.requests_for(Operation::Toggle).len(), 3);
    assert!(controller.requests().iter().all(|request| request.carried_out && request.user.as_deref() == Some("op")));
}

#[test]
fn marking_and_lifting_need_different_permissions() {
    let controller = jenkins();
    controller.with(|world| {
        world.set_account(Account::new("lifter", &[Permission::Read, Permission::Connect]));
        world.set_account(Account::new("marker", &[Permission::Read, Permission::Disconnect]));
    });
    let toggle = |user: &str| ask(&controller, user, "POST", "computer/n1/toggleOffline");
    let refused = toggle("lifter:lifter-token");
    assert_eq!(refused.header("X-Required-Permission"), Some("hudson.model.Computer.Disconnect"));
    assert_eq!(toggle("marker:marker-token").status, 302);
    let refused = toggle("marker:marker-token");
    assert_eq!(refused.header("X-Required-Permission"), Some("hudson.model.Computer.Connect"));
    assert_eq!(toggle("lifter:lifter-token").status, 302);
    assert_eq!(ask(&controller, "lifter:lifter-token", "GET", "computer/n1/jenkins-agent.jnlp").status, 200);
    assert_eq!(ask(&controller, "marker:marker-token", "GET", "computer/n1/jenkins-agent.jnlp").status, 403);
    assert_eq!(ask(&controller, "lifter:lifter-token", "GET", "computer/n1/markOffline").status, 403);
    assert!(ask(&controller, "marker:marker-token", "GET", "computer/n1/markOffline").text().contains("<form"));
}

#[test]
fn names_are_one_percent_encoded_segment() {
    let controller = jenkins();
    for (name, segment) in [("a b", "a%20b"), ("a+b", "a+b"), ("(x)", "%28x%29"), ("käse", "k%C3%A4se")] {
        controller.create_node(name, 1).unwrap();
        let answer = ask(&controller, OP, "GET", &format!("computer/{segment}/api/json?tree=displayName"));
        assert_eq!(answer.json()["displayName"], *name);
        let answer = ask(&controller, OP, "POST", &format!("computer/{segment}/toggleOffline"));
        let location = answer.header("location").unwrap().to_owned();
        assert_eq!(ask(&controller, OP, "POST", &format!("{}toggleOffline", &location[1..])).status, 302);
        assert!(!controller.node(name).unwrap().marked, "{location}");
    }
    assert_eq!(ask(&controller, OP, "GET", "computer/a%2Bc/api/json").status, 404);
    assert_eq!(ask(&controller, OP, "GET", "computer/(built-in)/api/json").json()["displayName"], "Built-In Node");
}

#[test]
fn the_context_path_is_kept_and_nothing_is_outside_of_it() {
    let controller = controller(Options { context_path: "ci/x".to_owned(), ..Options::default() });
    assert!(controller.url().ends_with("/ci/x/"));
    let answer = ask(&controller, OP, "POST", "computer/n1/toggleOffline");
    assert_eq!(answer.header("location"), Some("/ci/x/computer/n1/"));
    let mut client = super::Client::connect(&controller.url());
    for path in ["/", "/computer/n1/api/json", "/ci/xy/api/json"] {
        let answer = client.ask("GET", path, &[], None);
        assert_eq!((answer.status, answer.header("x-jenkins")), (404, None), "{path}");
    }
}

#[test]
fn a_password_needs_the_crumb_of_its_session_and_of_this_run() {
    let mut controller = jenkins();
    let user = "op:op-password";
    let issued = ask(&controller, user, "GET", "crumbIssuer/api/json");
    let cookie = issued.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let crumb = issued.json()["crumb"].as_str().unwrap().to_owned();
    let headers = [("Jenkins-Crumb", crumb.as_str()), ("Cookie", cookie.as_str())];
    let session = issued.header("x-jenkins-session").unwrap().to_owned();
    assert_eq!(ask_with(&controller, user, "POST", "computer/n1/toggleOffline", &headers).unwrap().status, 302);
    controller.down();
    controller.up().unwrap();
    let stale = ask_with(&controller, user, "POST", "computer/n1/toggleOffline", &headers).unwrap();
    assert_eq!(stale.status, 403);
    assert!(stale.text().contains("No valid crumb"));
    let login = ask(&controller, "", "GET", "login");
    assert_ne!(login.header("x-jenkins-session"), Some(session.as_str()));
}

#[test]
fn without_crumbs_there_is_no_issuer() {
    let controller = controller(Options { crumbs: false, ..Options::default() });
    assert_eq!(ask(&controller, OP, "GET", "crumbIssuer/api/json").status, 404);
    assert_eq!(ask(&controller, "op:op-password", "POST", "computer/n1/toggleOffline").status, 302);
}

#[test]
fn a_rotated_token_is_refused() {
    let controller = jenkins();
    let everything = Account { token: Some("new".to_owned()), ..Account::new("op", &[Permission::Administer]) };
    controller.with(|world| world.set_account(everything));
    assert_eq!(ask(&controller, OP, "GET", "whoAmI/api/json").status, 401);
    assert_eq!(ask(&controller, "op:new", "GET", "whoAmI/api/json").status, 200);
}

#[test]
fn anonymous_sees_the_same_for_nodes_that_exist_and_nodes_that_do_not() {
    let controller = jenkins();
    for node in [NODE, "nope"] {
        assert_eq!(ask(&controller, "", "GET", &format!("computer/{node}/api/json")).status, 403);
    }
    controller.with(|world| world.options().anonymous = vec![Permission::Read]);
    assert_eq!(ask(&controller, "", "GET", "computer/n1/api/json").status, 200);
    assert_eq!(ask(&controller, "", "GET", "computer/nope/api/json").status, 404);
}

#[test]
fn without_security_anybody_may_do_anything() {
    let controller = controller(Options { security: false, crumbs: false, ..Options::default() });
    assert_eq!(ask(&controller, "", "POST", "computer/n1/toggleOffline?offlineMessage=x").status, 302);
    let answer = ask(&controller, "", "GET", "computer/n1/api/json?tree=offlineCause[description]");
    assert_eq!(answer.json()["offlineCause"]["description"], "Disconnected by anonymous : x");
}

#[test]
fn hudson_lacks_what_it_lacks() {
    let controller = controller(Options::hudson());
    let root = ask(&controller, "", "GET", "");
    assert_eq!((root.header("x-hudson"), root.header("x-jenkins")), (Some("3.0.0"), None));
    for (method, path) in [
        ("POST", "computer/n1/changeOfflineCause"),
        ("GET", "whoAmI/api/json"),
        ("POST", "cli?remoting=false"),
        ("GET", "jnlpJars/agent.jar"),
    ] {
        assert_eq!(ask(&controller, "", method, path).status, 404, "{path}");
    }
    assert_eq!(ask(&controller, "", "GET", "jnlpJars/slave.jar").status, 200);
    assert_eq!(ask(&controller, "", "POST", "computer/n1/toggleOffline?offlineMessage=why").status, 302);
    let read = ask(
        &controller,
        "",
        "GET",
        "computer/n1/api/json?tree=displayName,temporarilyOffline,offlineCauseReason,absoluteRemotePath,\
         offlineCause[description]",
    );
    assert_eq!(read.header("content-type"), Some("application/javascript;charset=utf-8"));
    assert_eq!((read.header("x-hudson"), read.header("x-jenkins")), (None, None));
    assert_eq!(
        read.json(),
        json!({"displayName": "n1", "temporarilyOffline": true,
            "offlineCause": {"description": "Disconnected by anonymous : why"}})
    );
}

#[test]
fn hudson_with_security_refuses_the_unknown_and_the_anonymous() {
    let controller = controller(Options { security: true, crumbs: true, ..Options::hudson() });
    assert_eq!(ask(&controller, "", "GET", "computer/n1/api/json").status, 403);
    assert_eq!(ask(&controller, "op:wrong", "GET", "computer/n1/api/json").status, 401);
    assert_eq!(ask(&controller, "op:op-password", "POST", "computer/n1/toggleOffline").status, 403);
    let issued = ask(&controller, "op:op-password", "GET", "crumbIssuer/api/json").json();
    let crumb = (issued["crumbRequestField"].as_str().unwrap(), issued["crumb"].as_str().unwrap());
    let answer = ask_with(&controller, "op:op-password", "POST", "computer/n1/toggleOffline", &[crumb]).unwrap();
    assert_eq!(answer.status, 302);
}

#[test]
fn the_version_decides_what_there_is() {
    let old = controller(Options::jenkins("2.100"));
    assert_eq!(old.look(|world| world.node(NODE).unwrap().mark.clone()), None);
    let read = ask(&old, OP, "GET", "computer/n1/api/json?tree=offline,absoluteRemotePath");
    assert_eq!(read.json().get("absoluteRemotePath"), None);
    assert_eq!(Options::jenkins("2.481").persistence, Persistence::AtConnect);
    assert_eq!(Options::jenkins("2.482").persistence, Persistence::Node);
    let oldest = controller(Options::jenkins("1.480"));
    assert_eq!(ask(&oldest, OP, "POST", "computer/n1/toggleOffline").status, 403);
    let issued = ask(&oldest, OP, "GET", "crumbIssuer/api/json").json();
    let crumb = [("Jenkins-Crumb", issued["crumb"].as_str().unwrap())];
    let answer = ask_with(&oldest, OP, "POST", "computer/n1/changeOfflineCause", &crumb).unwrap();
    assert_eq!(answer.status, 404);
}

#[test]
fn monitors_mark_with_their_own_class() {
    let controller = jenkins();
    controller.with(|world| world.mark_by_monitor(NODE, "DiskSpaceMonitor", "Disk space is too low"));
    let read =
        ask(&controller, OP, "GET", "computer/n1/api/json?tree=offlineCauseReason,offlineCause[description]").json();
    assert!(read["offlineCause"]["_class"].as_str().unwrap().starts_with("hudson.node_monitors.DiskSpaceMonitor"));
    assert_eq!(read["offlineCauseReason"], "Disk space is too low");
}

#[test]
fn the_jar_is_not_sent_twice() {
    let controller = jenkins();
    let first = ask(&controller, "", "GET", "jnlpJars/agent.jar");
    assert_eq!(first.body, Options::default().agent_jar);
    let since = [("If-Modified-Since", first.header("last-modified").unwrap())];
    assert_eq!(ask_with(&controller, "", "GET", "jnlpJars/agent.jar", &since).unwrap().status, 304);
}
