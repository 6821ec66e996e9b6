//! Proxies that the environment names: used, named where they fail, and given no more than they need.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use agent_wrap_testbed::simulated::Options;
use agent_wrap_testbed::skip;
use libtest_mimic::Trial;

use crate::common::{Outcome, Wrap};
use crate::place::{Place, expect_words};
use crate::proxies::place_behind;
use crate::trials::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("forward_proxies::lead_to_the_controller", || {
            let name = "forward_proxies::lead_to_the_controller";
            if !skip::unmet(name, skip::need_program("nginx").and_then(|()| skip::need_program("openssl"))) {
                leads_to_the_controller();
            }
        }),
        trial("forward_proxies::that_are_not_there_are_named", not_there),
        trial("forward_proxies::that_are_not_for_this_host", not_for_this_host),
        trial("forward_proxies::get_no_credentials_for_https", no_credentials_for_https),
        trial("forward_proxies::that_speak_no_http", speaks_no_http),
    ]
}

/// A wrapper that comes to its end before it starts an agent, with this root and these variables.
fn without_a_start(url: &str, variables: &[(&str, &str)], code: i32) -> Outcome {
    let mut place = Place::new(Options::jenkins("2.578"));
    place.url = url.to_owned();
    let mut command = place.command(&["--start-timeout", "2s"]);
    command.envs(variables.iter().copied());
    let outcome = Wrap::start(command).outcome();
    outcome.expect_code(code);
    assert!(place.controller.requests().is_empty());
    outcome
}

/// The address of a port on which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

fn leads_to_the_controller() {
    let (mut place, nginx) =
        place_behind("proxy_pass CONTROLLER; proxy_http_version 1.1; proxy_request_buffering off;");
    place.url = "http://ci.invalid/".to_owned();
    let mut command = place.command(&[]);
    command.env("http_proxy", format!("http://me:hunter2@127.0.0.1:{}/", nginx.plain));
    let wrap = Wrap::start(command);
    wrap.wait_for("agent_connected");
    place.wait_until_free();
    let outcome = place.expect_good_stop(wrap);
    expect_words(&outcome, &[&format!("asked through the proxy http://127.0.0.1:{}", nginx.plain)]);
    assert!(!outcome.text().contains("hunter2"), "{}", outcome.text());
}

fn not_there() {
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        let proxy = nobody();
        let outcome = without_a_start("http://ci.invalid/", &[(variable, &proxy)], 69);
        expect_words(&outcome, &["is the proxy running", &format!("through the proxy {proxy}"), "NO_PROXY"]);
        assert!(!outcome.text().contains("is the controller running"), "{}", outcome.text());
    }
    let unknown = without_a_start("http://ci.invalid/", &[("http_proxy", "http://proxy.invalid:3128")], 69);
    expect_words(&unknown, &["the proxy's name does not resolve"]);
}

fn not_for_this_host() {
    let proxy = nobody();
    for (name, hosts) in [("NO_PROXY", "ci.invalid"), ("no_proxy", "elsewhere.example, .invalid")] {
        let outcome = without_a_start("http://ci.invalid/", &[("http_proxy", &proxy), (name, hosts)], 69);
        expect_words(&outcome, &["its name does not resolve"]);
        assert!(!outcome.has("proxy") && !outcome.text().contains(&proxy), "{}", outcome.text());
    }
    let secure = without_a_start("http://ci.invalid/", &[("https_proxy", &proxy)], 69);
    expect_words(&secure, &["its name does not resolve"]);
}

fn no_credentials_for_https() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = format!("http://{}", listener.local_addr().expect("an address"));
    let heads = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a whole head");
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").expect("it takes an answer");
        String::from_utf8(head).expect("text")
    });
    let outcome = without_a_start("https://ci.invalid/", &[("https_proxy", &proxy)], 69);
    expect_words(&outcome, &["does the proxy let us through", &proxy]);
    let head = heads.join().expect("somebody came");
    assert!(head.starts_with("CONNECT ci.invalid:443 "), "{head}");
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
}

fn speaks_no_http() {
    let outcome = without_a_start("http://ci.invalid/", &[("ALL_PROXY", "socks5://me:hunter2@127.0.0.1:9")], 78);
    expect_words(&outcome, &["socks5://127.0.0.1:9", "NO_PROXY"]);
    assert!(!outcome.text().contains("hunter2"), "{}", outcome.text());
}
