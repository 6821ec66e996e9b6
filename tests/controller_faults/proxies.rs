//! A real nginx between the wrapper and the controller: one that buffers requests, which starves the CLI, one that does
//! not, and one that speaks TLS.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agent_wrap_testbed::simulated::{Fault, On, Operation, Options};
use agent_wrap_testbed::{ports, skip};
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::common::eventually;
use crate::place::{Place, expect_words};
use crate::trials::trial;

pub fn trials() -> Vec<Trial> {
    let all: [(&'static str, fn()); 7] = [
        ("proxies::that_buffers_starves_the_cli", buffers),
        ("proxies::that_does_not_buffer_lets_the_cli_through", does_not_buffer),
        ("proxies::whose_http_only_redirects_to_https", redirects_to_https),
        ("proxies::that_sends_https_back_to_http", sends_https_back_to_http),
        ("proxies::that_speaks_tls_needs_no_login_page", speaks_tls),
        ("proxies::whose_authority_nobody_knows", unknown_authority),
        ("proxies::that_shows_an_authority_s_certificate", an_authority_as_a_server),
    ];
    let needed = |name: &'static str, test: fn()| {
        trial(name, move || {
            if !skip::unmet(name, skip::need_program("nginx").and_then(|()| skip::need_program("openssl"))) {
                test();
            }
        })
    };
    all.into_iter().map(|(name, test)| needed(name, test)).collect()
}

/// A running nginx; killed when dropped.
pub struct Nginx {
    process: Child,
    dir: TempDir,
    /// The port of its plain server.
    pub plain: u16,
    secure: u16,
}

impl Nginx {
    /// One with this for every path of its plain server; its secure server passes everything on to `controller`, and
    /// shows a certificate that it has signed itself, an `authority`'s or a server's.
    fn start(controller: &str, plain_location: &str, authority: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
            .args([
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-addext",
                &format!("basicConstraints=critical,CA:{}", if authority { "TRUE" } else { "FALSE" }),
                "-keyout",
                &path("key.pem"),
                "-out",
                &path("cert.pem"),
            ])
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl runs").success());
        let (plain, secure) = (ports::free().expect("a port"), ports::free().expect("a port"));
        let plain_location = plain_location.replace("SECURE", &secure.to_string());
        let folder = dir.path().display();
        let configuration = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
             events {{ worker_connections 64; }}
             http {{
               log_format signed '$request_uri $http_authorization';
               access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
               fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
               server {{ listen 127.0.0.1:{plain}; access_log {folder}/plain.log signed; location / {{ {plain_location} }} }}
               server {{ listen 127.0.0.1:{secure} ssl;
                 ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
                 location / {{ proxy_pass {controller}; proxy_http_version 1.1; proxy_request_buffering off; }} }}
             }}"
        );
        fs::write(dir.path().join("nginx.conf"), configuration).expect("the configuration is written");
        // Debian keeps it in a directory that only root's PATH has.
        let program = ["/usr/sbin/nginx", "nginx"].into_iter().find(|program| Path::new(program).exists());
        let process = Command::new(program.unwrap_or("nginx"))
            .args(["-p", &path(""), "-c", &path("nginx.conf")])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx runs");
        let nginx = Self { process, dir, plain, secure };
        eventually("nginx listens", || {
            [plain, secure].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        nginx
    }

    fn certificate(&self) -> String {
        self.dir.path().join("cert.pem").display().to_string()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A controller with a marked node, and an nginx with this for every path of its plain server.
pub fn place_behind(plain_location: &str) -> (Place, Nginx) {
    place_behind_a(false, plain_location)
}

fn place_behind_a(authority: bool, plain_location: &str) -> (Place, Nginx) {
    let place = Place::new(Options::jenkins("2.578"));
    place.mark("from before");
    let nginx = Nginx::start(&place.url, &plain_location.replace("CONTROLLER", &place.url), authority);
    (place, nginx)
}

fn done(place: &Place, operation: Operation) -> usize {
    place.controller.requests_for(operation).iter().filter(|request| request.carried_out).count()
}

fn buffers() {
    let (mut place, nginx) = place_behind("proxy_pass CONTROLLER;");
    place.url = format!("http://127.0.0.1:{}/", nginx.plain);
    let wrap = place.online(&[]);
    assert_eq!((done(&place, Operation::CliDownload), done(&place, Operation::Toggle)), (0, 1));
    place.expect_good_stop(wrap);
}

fn does_not_buffer() {
    let (mut place, nginx) =
        place_behind("proxy_pass CONTROLLER; proxy_http_version 1.1; proxy_request_buffering off;");
    place.url = format!("http://127.0.0.1:{}/", nginx.plain);
    let wrap = place.online(&[]);
    assert_eq!((done(&place, Operation::CliDownload), done(&place, Operation::Toggle)), (1, 0));
    place.expect_good_stop(wrap);
}

fn redirects_to_https() {
    let (mut place, nginx) = place_behind("return 301 https://127.0.0.1:SECURE$request_uri;");
    place.url = format!("http://127.0.0.1:{}/", nginx.plain);
    let wrap = place.online(&["--ca-file", &nginx.certificate()]);
    place.expect_good_stop(wrap);
}

fn sends_https_back_to_http() {
    let (mut place, nginx) = place_behind("return 301 https://127.0.0.1:SECURE$request_uri;");
    place.url = format!("http://127.0.0.1:{}/", nginx.plain);
    let back = Fault::Redirect(302, format!("{}computer/n/api/json", place.url));
    place.controller.fault(On::any(), back);
    let outcome = place.expect_no_start(&["--start-timeout", "3s", "--ca-file", &nginx.certificate()], 69);
    expect_words(&outcome, &["sends us on to http://127.0.0.1:", "X-Forwarded-Proto"]);
    // One look for the way to https, and nothing goes back to http, with or without credentials.
    let plain = fs::read_to_string(nginx.dir.path().join("plain.log")).expect("nginx's log");
    assert_eq!(plain, "/login -\n");
}

fn speaks_tls() {
    let (mut place, nginx) = place_behind("return 404;");
    place.url = format!("https://127.0.0.1:{}/", nginx.secure);
    let wrap = place.online(&["--ca-file", &nginx.certificate()]);
    assert_eq!(place.controller.requests_for(Operation::Login).len(), 0);
    place.expect_good_stop(wrap);
}

fn unknown_authority() {
    let (mut place, nginx) = place_behind("return 404;");
    place.url = format!("https://127.0.0.1:{}/", nginx.secure);
    let outcome = place.expect_no_start(&["--start-timeout", "2s"], 69);
    expect_words(&outcome, &["no secure connection", "--ca-file"]);
    assert!(place.controller.requests().is_empty());
}

fn an_authority_as_a_server() {
    let (mut place, nginx) = place_behind_a(true, "return 404;");
    place.url = format!("https://127.0.0.1:{}/", nginx.secure);
    let outcome = place.expect_no_start(&["--start-timeout", "2s", "--ca-file", &nginx.certificate()], 69);
    expect_words(&outcome, &["no secure connection", "CA:FALSE"]);
}
