//! The agent's jar, fetched from the controller that it has to match.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use reqwest::{Response, StatusCode};

use super::client::Controller;
use super::error::ControllerError;
use super::http::{Answer, broken, shown};
use crate::held::Held;

/// The most that is fetched, in bytes. Real ones have one or two million.
const LIMIT: u64 = 64 * 1024 * 1024;

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(120);

/// Jenkins' name for it, and the older one, which is Hudson's too.
const JARS: [&str; 2] = ["jnlpJars/agent.jar", "jnlpJars/slave.jar"];

/// What a zip file begins with.
const ZIP_BEGIN: &[u8] = b"PK\x03\x04";

/// What the last record of a zip file begins with; after it come 18 bytes and a comment.
const ZIP_END: &[u8] = b"PK\x05\x06";

/// A jar that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its size in bytes.
    pub bytes: u64,
    /// Where it came from.
    pub url: String,
}

impl Controller {
    /// Fetches the agent's jar into this file, which is replaced only by a whole one. Takes two minutes at the most.
    ///
    /// # Errors
    /// When the controller does not hand it out, when what comes is no jar, or when it cannot be written.
    pub async fn fetch_agent_jar(&self, to: &Path) -> Result<Fetched, ControllerError> {
        let url = || self.shown(&self.root().page(JARS[0]));
        let fetched = tokio::time::timeout(WITHIN, self.fetch_unbounded(to)).await;
        fetched.unwrap_or_else(|_| Err(ControllerError::Timeout { url: url(), within: WITHIN }))
    }

    async fn fetch_unbounded(&self, to: &Path) -> Result<Fetched, ControllerError> {
        self.ensure_resolved().await?;
        let [first, second] = JARS;
        let mut response = self.open(first).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.credentials_changed().await {
            response = self.open(first).await?;
        }
        // Hudson looks for any name in that folder, and answers 500 for a file that is not there.
        if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::INTERNAL_SERVER_ERROR) {
            let older = self.open(second).await?;
            if older.status() == StatusCode::OK {
                response = older;
            }
        }
        if response.status() != StatusCode::OK {
            return Err(self.refusal(&Answer::read(response).await?));
        }
        let url = shown(response.url());
        let partial = receive(response, to).await?;
        let target = to.to_owned();
        // The disk may take its time, and nothing else must wait for it.
        let kept = tokio::task::spawn_blocking(move || partial.keep(&target)).await;
        let failed = |error: io::Error| {
            if error.kind() == io::ErrorKind::InvalidData {
                ControllerError::NoJar { url: url.clone(), why: error.to_string() }
            } else {
                unwritable(to, &error)
            }
        };
        let bytes = kept.map_err(|error| unwritable(to, &io::Error::other(error)))?.map_err(failed)?;
        Ok(Fetched { bytes, url })
    }
}

async fn receive(mut response: Response, to: &Path) -> Result<Partial, ControllerError> {
    let url = response.url().clone();
    let too_large = || ControllerError::TooLarge { url: shown(&url), limit: LIMIT };
    if response.content_length().is_some_and(|length| length > LIMIT) {
        return Err(too_large());
    }
    let mut partial = Partial::create(to).map_err(|error| unwritable(to, &error))?;
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&url, None, true, &error))? {
        partial.bytes += chunk.len() as u64;
        if partial.bytes > LIMIT {
            return Err(too_large());
        }
        partial.held.file().write_all(&chunk).map_err(|error| unwritable(to, &error))?;
    }
    Ok(partial)
}

fn unwritable(path: &Path, error: &io::Error) -> ControllerError {
    ControllerError::File { path: path.to_owned(), why: error.to_string() }
}

/// The file while it is incomplete. It is removed unless it is kept; and when we are killed, by the next fetch that
/// sees that nobody holds it.
struct Partial {
    held: Held,
    bytes: u64,
}

impl Partial {
    /// In the same folder, because a rename does not cross file systems; under a name that no other wrapper has, in
    /// whatever pid namespace.
    fn create(to: &Path) -> io::Result<Self> {
        let name = to.file_name().ok_or_else(|| io::Error::other("it is no name of a file"))?;
        let hidden = format!(".{}.", name.to_string_lossy());
        remove_abandoned(folder(to), &hidden);
        let random = getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?;
        let held = Held::take(&to.with_file_name(format!("{hidden}{random:08x}")))?;
        // An agent of another user has to read it, whatever the umask.
        held.file().set_permissions(Permissions::from_mode(0o644))?;
        Ok(Self { held, bytes: 0 })
    }

    /// Puts the whole file in its place, and gives its size.
    fn keep(self, to: &Path) -> io::Result<u64> {
        self.check()?;
        self.held.file().sync_all()?;
        fs::rename(self.held.path(), to)?;
        File::open(folder(to))?.sync_all()?;
        Ok(self.bytes)
    }

    /// A login page, or half a jar, is no jar.
    fn check(&self) -> io::Result<()> {
        let no_jar = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let mut begin = Vec::new();
        let mut file = self.held.file();
        file.rewind()?;
        file.take(ZIP_BEGIN.len() as u64).read_to_end(&mut begin)?;
        if begin != ZIP_BEGIN {
            return Err(no_jar("it is no jar"));
        }
        let longest_tail = 22 + u64::from(u16::MAX);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(self.bytes.saturating_sub(longest_tail)))?;
        file.read_to_end(&mut tail)?;
        let ends = tail.windows(ZIP_END.len()).any(|window| window == ZIP_END);
        if ends { Ok(()) } else { Err(no_jar("it is only a part of a jar")) }
    }
}

fn folder(of: &Path) -> &Path {
    of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes the incomplete files of those who were killed.
fn remove_abandoned(folder: &Path, hidden: &str) {
    // What cannot be removed takes space and does no other harm.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(hidden)) {
        let _ = Held::try_take(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Reply, Server, answer};
    use super::*;

    fn zip() -> Vec<u8> {
        [ZIP_BEGIN, &[7; 100_000], ZIP_END, &[0; 18]].concat()
    }

    fn body(bytes: &[u8]) -> Reply {
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len());
        Reply::Bytes([head.as_bytes(), bytes].concat())
    }

    async fn fetch(folder: &Path, reply: impl Fn(&str) -> Reply + Send + 'static) -> Result<Fetched, ControllerError> {
        let server =
            Server::start(
                move |request| {
                    if request.starts_with("GET /login") { answer("200 OK", "", "") } else { reply(request) }
                },
            )
            .await;
        server.client().fetch_agent_jar(&folder.join("agent.jar")).await
    }

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_whole_jar_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("agent.jar"), "the old one").unwrap();
        let fetched = fetch(folder.path(), |request| {
            assert!(request.starts_with("GET /jnlpJars/agent.jar"));
            body(&zip())
        })
        .await
        .unwrap();
        assert_eq!(fetched.bytes, zip().len() as u64);
        assert_eq!(fs::read(folder.path().join("agent.jar")).unwrap(), zip());
        assert_eq!(names(folder.path()), ["agent.jar"]);
    }

    #[tokio::test]
    async fn it_is_for_everybody_to_read() {
        let folder = tempfile::tempdir().unwrap();
        fetch(folder.path(), |_| body(&zip())).await.unwrap();
        assert_eq!(fs::metadata(folder.path().join("agent.jar")).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[tokio::test]
    async fn what_a_killed_wrapper_left_is_removed_and_what_another_one_fetches_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [jar, other] = ["agent.jar", "remoting.jar"].map(|name| folder.path().join(name));
        let (mut living, of_another_name) =
            (Partial::create(&jar).unwrap(), folder.path().join(".remoting.jar.0000000a"));
        for left in [".agent.jar.0000000b", ".agent.jar.4711"] {
            fs::write(folder.path().join(left), ZIP_BEGIN).unwrap();
        }
        fs::write(&of_another_name, ZIP_BEGIN).unwrap();
        fetch(folder.path(), |_| body(&zip())).await.unwrap();
        let hidden = living.held.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut found = names(folder.path());
        found.sort();
        let mut expected = [hidden.as_str(), ".remoting.jar.0000000a", "agent.jar"];
        expected.sort_unstable();
        assert_eq!(found, expected);
        // And each publishes its own bytes.
        let longer = [zip(), vec![0; 10]].concat();
        living.held.file().write_all(&longer).unwrap();
        living.bytes = longer.len() as u64;
        living.keep(&jar).unwrap();
        assert_eq!(fs::read(&jar).unwrap(), longer);
        drop(Partial::create(&other).unwrap());
        assert_eq!(names(folder.path()), ["agent.jar"]);
    }

    #[tokio::test]
    async fn hudson_has_it_by_another_name() {
        for status in ["404 Not Found", "500 No such file"] {
            let folder = tempfile::tempdir().unwrap();
            let fetched =
                fetch(
                    folder.path(),
                    move |request| {
                        if request.contains("slave.jar") { body(&zip()) } else { answer(status, "", "") }
                    },
                )
                .await
                .unwrap();
            assert!(fetched.url.ends_with("/jnlpJars/slave.jar"));
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
