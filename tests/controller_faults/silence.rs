//! Controllers that take connections and say nothing, or next to nothing, or too much.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use agent_wrap_testbed::simulated::{Fault, On, Options};
use libtest_mimic::Trial;

use crate::place::{Place, expect_words};
use crate::trials::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("silence::nobody_accepts", nobody_accepts),
        trial("silence::at_the_start", || answered_by(|_| {}, "has not answered within")),
        trial("silence::a_head_without_an_end", || answered_by(head_without_an_end, "has not answered within")),
        trial("silence::a_body_in_drops", || answered_by(body_in_drops, "has not answered within")),
        trial("silence::three_gigabytes", || answered_by(three_gigabytes, "that is no answer of a controller")),
        trial("silence::no_http", || answered_by(no_http, "before the answer was complete")),
        trial("silence::at_the_stop", at_the_stop),
        trial("silence::slow_answers_at_the_stop", slow_answers_at_the_stop),
        trial("silence::while_the_agent_runs", while_the_agent_runs),
    ]
}

const LIMITS: &[&str] = &["--request-timeout", "500ms", "--start-timeout", "2s"];

/// A server that says what `say` says on each connection and then keeps it open.
fn answered_by(say: fn(&mut TcpStream), words: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                if matches!(stream.read(&mut request), Ok(1..)) {
                    say(&mut stream);
                    // Until the client has had enough.
                    while matches!(stream.read(&mut request), Ok(1..)) {}
                }
            });
        }
    });
    let mut place = Place::new(Options::jenkins("2.578"));
    place.url = format!("http://{address}/");
    let outcome = place.expect_no_start(LIMITS, 69);
    expect_words(&outcome, &[words]);
}

fn nobody_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut place = Place::new(Options::jenkins("2.578"));
    place.url = format!("http://{}/", listener.local_addr().expect("an address"));
    let outcome = place.expect_no_start(LIMITS, 69);
    expect_words(&outcome, &["has not answered within"]);
}

fn head_without_an_end(stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Jenkins: 2.5");
}

/// A byte whenever the client has taken the last one, paced by a socket that nobody writes to.
fn body_in_drops(stream: &mut TcpStream) {
    let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(50)));
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Jenkins: 2.578\r\nContent-Length: 100000\r\n\r\n");
    while stream.write_all(b" ").is_ok() {
        if matches!(stream.read(&mut [0]), Ok(0)) {
            return;
        }
    }
}

fn three_gigabytes(stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Jenkins: 2.578\r\nContent-Length: 3000000000\r\n\r\n");
    let piece = vec![b' '; 1 << 16];
    for _ in 0..64 {
        if stream.write_all(&piece).is_err() {
            return;
        }
    }
}

fn no_http(stream: &mut TcpStream) {
    let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
    let _ = stream.shutdown(std::net::Shutdown::Write);
}

fn at_the_stop() {
    let place = Place::new(Options::jenkins("2.578"));
    let wrap = place.online(&["--offline-timeout", "2s"]);
    place.controller.fault(On::any(), Fault::HangBefore);
    let outcome = wrap.stop();
    outcome.expect_code(74);
    // Neither the requests' own time of ten seconds nor the drain's five minutes were waited for.
    expect_words(&outcome, &["was not read back within 2 s", "not waiting for builds"]);
    assert!(!outcome.has("killing"), "{}", outcome.text());
}

/// A stop takes a read, a write and the read back: each takes less than a third of the time for them.
fn slow_answers_at_the_stop() {
    let place = Place::new(Options::jenkins("2.578"));
    let wrap = place.online(&["--offline-timeout", "6s"]);
    place.controller.fault(On::any(), Fault::Slow(Duration::from_millis(1700)));
    let outcome = wrap.stop();
    place.controller.clear_faults();
    outcome.expect_code(0);
    // The last look has less time than that.
    assert!(outcome.has("marked") && outcome.has("last_look_unanswered"), "{}", outcome.text());
    assert!(place.state().marked);
}

fn while_the_agent_runs() {
    let place = Place::new(Options::jenkins("2.578"));
    let wrap = place.online(&["--request-timeout", "500ms"]);
    place.controller.fault(On::any(), Fault::HangBefore);
    wrap.wait_for("waiting");
    place.controller.clear_faults();
    wrap.wait_for("answering");
    let outcome = place.expect_good_stop(wrap);
    assert_eq!(outcome.events().iter().filter(|event| *event == "agent_started").count(), 1);
}
