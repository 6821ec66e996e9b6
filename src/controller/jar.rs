//! The agent's jar, fetched from the controller that it has to match.

use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::{Response, StatusCode};

use super::client::Controller;
use super::error::ControllerError;
use super::http::{Answer, broken, header, shown};
use crate::jar::{Offer, Partial, Place, Taken};

/// The most that is fetched, in bytes. Real ones have one or two million.
const LIMIT: u64 = 64 * 1024 * 1024;

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(120);

/// Jenkins' name for it, and the older one, which is Hudson's too.
const JARS: [&str; 2] = ["jnlpJars/agent.jar", "jnlpJars/slave.jar"];

/// What the controller has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It still hands out what it was asked about.
    Unchanged,
    /// It has handed one out.
    Came {
        /// Where it came from.
        url: String,
        /// Its size in bytes.
        bytes: u64,
        /// What has become of it.
        taken: Taken,
    },
}

impl Controller {
    /// Fetches the agent's jar into its place, unless the controller still hands out the one that is `known`. Takes two
    /// minutes at the most.
    ///
    /// # Errors
    /// When the controller does not hand it out, when what comes is no jar, or when it cannot be written.
    pub async fn fetch_agent_jar(&self, place: &Place, known: Option<&Offer>) -> Result<Fetched, ControllerError> {
        let url = || self.shown(&self.root().page(JARS[0]));
        let fetched = tokio::time::timeout(WITHIN, self.fetch_unbounded(place, known)).await;
        fetched.unwrap_or_else(|_| Err(ControllerError::Timeout { url: url(), within: WITHIN }))
    }

    async fn fetch_unbounded(&self, place: &Place, known: Option<&Offer>) -> Result<Fetched, ControllerError> {
        self.ensure_resolved().await?;
        let [first, second] = JARS;
        let (mut page, mut response) = (first, self.ask_for_jar(first, known).await?);
        if response.status() == StatusCode::UNAUTHORIZED && self.credentials_changed().await {
            response = self.ask_for_jar(first, known).await?;
        }
        // Hudson looks for any name in that folder, and answers 500 for a file that is not there.
        if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::INTERNAL_SERVER_ERROR) {
            let older = self.ask_for_jar(second, known).await?;
            if matches!(older.status(), StatusCode::OK | StatusCode::NOT_MODIFIED) {
                (page, response) = (second, older);
            }
        }
        let url = shown(response.url());
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if of_page(known, page).is_some() => return Ok(Fetched::Unchanged),
            StatusCode::NOT_MODIFIED => {
                let why = "304 (not modified) to a request that did not ask whether it was".to_owned();
                return Err(ControllerError::NoJar { url, why });
            }
            _ => return Err(self.refusal(&Answer::read(response).await?)),
        }
        let sent = |name| header(response.headers(), name).map(str::to_owned);
        let (etag, last_modified) = (sent(ETAG.as_str()), sent(LAST_MODIFIED.as_str()));
        let controller = self.version();
        let partial = receive(response, place.path()).await?;
        let bytes = partial.bytes();
        let target = place.clone();
        // The disk may take its time, and nothing else must wait for it.
        let taken = tokio::task::spawn_blocking(move || {
            let page = page.to_owned();
            target.take(partial, |checksum| Offer { checksum, page, etag, last_modified, controller })
        });
        let failed = |error: io::Error| {
            if error.kind() == io::ErrorKind::InvalidData {
                ControllerError::NoJar { url: url.clone(), why: error.to_string() }
            } else {
                unwritable(place.path(), &error)
            }
        };
        let taken = taken.await.map_err(|error| unwritable(place.path(), &io::Error::other(error)))?.map_err(failed)?;
        Ok(Fetched::Came { url, bytes, taken })
    }

    async fn ask_for_jar(&self, page: &str, known: Option<&Offer>) -> Result<Response, ControllerError> {
        let mut conditions = Vec::new();
        if let Some(offer) = of_page(known, page) {
            conditions.extend(offer.etag.iter().map(|etag| (IF_NONE_MATCH, etag.as_str())));
            conditions.extend(offer.last_modified.iter().map(|date| (IF_MODIFIED_SINCE, date.as_str())));
        }
        self.open_if(page, &conditions).await
    }
}

/// What is known, if it came from this page: another one's dates mean nothing.
fn of_page<'a>(known: Option<&'a Offer>, page: &str) -> Option<&'a Offer> {
    known.filter(|offer| offer.page == page)
}

async fn receive(mut response: Response, to: &Path) -> Result<Partial, ControllerError> {
    let url = response.url().clone();
    let too_large = || ControllerError::TooLarge { url: shown(&url), limit: LIMIT };
    if response.content_length().is_some_and(|length| length > LIMIT) {
        return Err(too_large());
    }
    let mut partial = Partial::create(to).map_err(|error| unwritable(to, &error))?;
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&url, None, true, &error))? {
        if partial.bytes() + chunk.len() as u64 > LIMIT {
            return Err(too_large());
        }
        partial.add(&chunk).map_err(|error| unwritable(to, &error))?;
    }
    Ok(partial)
}

fn unwritable(path: &Path, error: &io::Error) -> ControllerError {
    ControllerError::File { path: path.to_owned(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::{Arc, Mutex};

    use super::super::testing::{Reply, Server, answer};
    use super::*;
    use crate::jar::testing::jar;

    /// What comes with a jar of a real Jenkins.
    const DATE: &str = "Last-Modified: Mon, 23 Nov 2026 02:49:43 GMT\r\n";

    fn zip() -> Vec<u8> {
        jar(&"a class".repeat(10_000))
    }

    fn body(bytes: &[u8]) -> Reply {
        body_with("", bytes)
    }

    fn body_with(headers: &str, bytes: &[u8]) -> Reply {
        let length = bytes.len();
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
        Reply::Bytes([head.as_bytes(), bytes].concat())
    }

    async fn fetch(folder: &Path, reply: impl Fn(&str) -> Reply + Send + 'static) -> Result<Fetched, ControllerError> {
        fetch_twice(folder, 1, reply).await.pop().unwrap()
    }

    /// Fetches so often, each time asking about what is known.
    async fn fetch_twice(
        folder: &Path,
        times: usize,
        reply: impl Fn(&str) -> Reply + Send + 'static,
    ) -> Vec<Result<Fetched, ControllerError>> {
        let server =
            Server::start(
                move |request| {
                    if request.starts_with("GET /login") { answer("200 OK", "", "") } else { reply(request) }
                },
            )
            .await;
        let (client, place) = (server.client(), Place::at(folder.join("agent.jar")));
        let mut all = Vec::new();
        for _ in 0..times {
            all.push(client.fetch_agent_jar(&place, place.known(None).as_ref()).await);
        }
        all
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }

    #[tokio::test]
    async fn a_whole_jar_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("agent.jar"), "the old one").unwrap();
        let fetched = fetch(folder.path(), |request| {
            assert!(request.starts_with("GET /jnlpJars/agent.jar"));
            assert!(!request.to_lowercase().contains("\r\nif-"), "{request}");
            body(&zip())
        })
        .await
        .unwrap();
        assert!(matches!(fetched, Fetched::Came { bytes, taken: Taken::Put(_), .. } if bytes == zip().len() as u64));
        assert_eq!(fs::read(folder.path().join("agent.jar")).unwrap(), zip());
    }

    #[tokio::test]
    async fn it_is_for_everybody_to_read() {
        let folder = tempfile::tempdir().unwrap();
        fetch(folder.path(), |_| body(&zip())).await.unwrap();
        assert_eq!(fs::metadata(folder.path().join("agent.jar")).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[tokio::test]
    async fn it_is_asked_for_once_and_then_asked_about() {
        for (headers, condition) in [
            (DATE, "if-modified-since: Mon, 23 Nov 2026 02:49:43 GMT\r\n"),
            ("ETag: W/\"4711\"\r\n", "if-none-match: W/\"4711\"\r\n"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut all = fetch_twice(folder.path(), 3, move |request| {
                if request.contains(condition) {
                    answer("304 Not Modified", "", "")
                } else {
                    assert!(!request.contains("\r\nif-"), "{request}");
                    body_with(headers, &zip())
                }
            })
            .await;
            assert!(matches!(all.remove(0), Ok(Fetched::Came { .. })));
            assert!(all.iter().all(|fetched| matches!(fetched, Ok(Fetched::Unchanged))), "{all:?}");
            assert_eq!(fs::read(folder.path().join("agent.jar")).unwrap(), zip());
        }
    }

    #[tokio::test]
    async fn without_a_date_it_is_fetched_each_time_and_replaced_only_when_it_differs() {
        let folder = tempfile::tempdir().unwrap();
        let count = Arc::new(Mutex::new(0));
        let all = fetch_twice(folder.path(), 3, move |_| {
            let mut count = count.lock().unwrap();
            *count += 1;
            if *count < 3 { body(&zip()) } else { body(&jar("another")) }
        })
        .await;
        let taken = all.into_iter().map(|fetched| match fetched.unwrap() {
            Fetched::Came { taken, .. } => taken,
            Fetched::Unchanged => panic!("nobody has said so"),
        });
        assert!(matches!(taken.collect::<Vec<_>>().as_slice(), [Taken::Put(_), Taken::Same, Taken::Put(_)]));
    }

    #[tokio::test]
    async fn a_304_that_nobody_asked_for_is_no_jar() {
        let folder = tempfile::tempdir().unwrap();
        let error = fetch(folder.path(), |_| answer("304 Not Modified", "", "")).await.unwrap_err();
        assert!(error.to_string().contains("did not ask"), "{error}");
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[tokio::test]
    async fn hudson_has_it_by_another_name() {
        for status in ["404 Not Found", "500 No such file"] {
            let folder = tempfile::tempdir().unwrap();
            let mut all = fetch_twice(folder.path(), 2, move |request| match request {
                request if !request.contains("slave.jar") => {
                    assert!(!request.contains("if-modified-since"), "it is another page's date: {request}");
                    answer(status, "", "")
                }
                request if request.contains("if-modified-since") => answer("304 Not Modified", "", ""),
                _ => body_with(DATE, &zip()),
            })
            .await;
            assert_eq!(all.pop().unwrap().unwrap(), Fetched::Unchanged);
            assert!(matches!(all.pop().unwrap().unwrap(),
                Fetched::Came { url, .. } if url.ends_with("/jnlpJars/slave.jar")));
        }
    }

    #[tokio::test]
    async fn what_is_no_whole_jar_changes_nothing() {
        type Case = (fn() -> Reply, &'static str);
        let cases: [Case; 6] = [
            (|| answer("200 OK", "", "<html>please log in</html>"), "it is no jar"),
            (|| body(&zip()[..5000]), "only a part of a jar"),
            (|| Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nPK\x03\x04".to_vec()), "broke before"),
            (|| Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\n".to_vec()), "more than 67108864"),
            (|| answer("404 Not Found", "", ""), "no page of a Jenkins"),
            (|| answer("503 Service Unavailable", "", ""), "answered 503"),
        ];
        for (reply, words) in cases {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("agent.jar"), "the old one").unwrap();
            let error = fetch(folder.path(), move |_| reply()).await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(names(folder.path()), ["agent.jar"]);
            assert_eq!(fs::read(folder.path().join("agent.jar")).unwrap(), b"the old one");
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let error = fetch(Path::new("/nonexistent"), |_| body(&zip())).await.unwrap_err();
        assert!(matches!(error, ControllerError::File { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/agent.jar"));
    }
}
