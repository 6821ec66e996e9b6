//! Names are resolved by one thread that is started before the agent: builds that use up the processes, or a resolver
//! that is gone at the stop, must not keep the node from being marked. The last good addresses are remembered.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use nix::libc;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// How long a name is looked up before its last good addresses are used instead.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a name without any is looked up: a little less than a connection may take to come about, whose bound would say
/// nothing of the name.
const LONGEST: Duration = Duration::from_millis(4_500);

type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;
type Known = Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>;

struct Question {
    name: String,
    answer: oneshot::Sender<io::Result<Vec<SocketAddr>>>,
}

/// A resolver that needs no new thread for a lookup. Its thread ends with it.
pub(crate) struct Resolver {
    questions: mpsc::Sender<Question>,
    known: Known,
    patience: Duration,
    longest: Duration,
}

impl Resolver {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        Self::with(look_up, PATIENCE, LONGEST)
    }

    fn with(lookup: Lookup, patience: Duration, longest: Duration) -> io::Result<Self> {
        let (questions, inbox) = mpsc::channel::<Question>();
        let known = Known::default();
        let remembered = Arc::clone(&known);
        thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            for Question { name, answer } in inbox {
                if answer.is_closed() {
                    continue;
                }
                let found = lookup(&name);
                if let Ok(addresses) = &found
                    && !addresses.is_empty()
                {
                    remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(name, addresses.clone());
                }
                // Whoever asked may have given up meanwhile.
                let _ = answer.send(found);
            }
        })?;
        Ok(Self { questions, known, patience, longest })
    }
}

fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    match (name, 0).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(no_descriptors().unwrap_or(error)),
    }
}

/// The file that names the servers. Without it the C libraries ask this machine itself.
const SERVERS: &str = "/etc/resolv.conf";

/// What to say of a name that nobody has answered for.
fn silence(servers: bool) -> &'static str {
    if servers {
        "the name servers in /etc/resolv.conf have not answered in time"
    } else {
        "nobody has answered in time, because there is no /etc/resolv.conf here that names a server"
    }
}

/// The system's resolver says that there is no such name when it cannot open its files, or a socket.
fn no_descriptors() -> Option<io::Error> {
    let as_many_as_it_takes: io::Result<Vec<File>> = (0..3).map(|_| File::open("/")).collect();
    let missing = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
    as_many_as_it_takes.err().filter(missing)
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let (answer, answered) = oneshot::channel();
        let asked = self.questions.send(Question { name: name.clone(), answer });
        let last_good = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let patience = if last_good.is_some() { self.patience } else { self.longest };
        Box::pin(async move {
            let gone = || io::Error::other("the resolver's thread has ended");
            asked.map_err(|_| gone())?;
            let found = match tokio::time::timeout(patience, answered).await {
                Ok(found) => found.unwrap_or_else(|_| Err(gone())),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, silence(Path::new(SERVERS).exists()))),
            };
            let addresses = match (found, last_good) {
                (Ok(addresses), _) if !addresses.is_empty() => addresses,
                (found, Some(last_good)) => {
                    let why = found.err().map_or_else(|| "no address".to_owned(), |error| error.to_string());
                    tracing::debug!(name, why, "the name does not resolve now; using its last good addresses");
                    last_good
                }
                (Ok(_), None) => return Err(io::Error::other("the name has no address").into()),
                (Err(error), None) => return Err(error.into()),
            };
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    async fn ask(resolver: &Resolver, name: &str) -> Result<Vec<SocketAddr>, String> {
        let found = resolver.resolve(name.parse().unwrap()).await;
        found.map(Iterator::collect).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_last_good_addresses_outlive_the_name_service() {
        static MOOD: AtomicU8 = AtomicU8::new(0);
        fn moody(name: &str) -> io::Result<Vec<SocketAddr>> {
            match (MOOD.load(Ordering::SeqCst), name) {
                (0, "good") => Ok(vec![([192, 0, 2, 1], 0).into()]),
                (1, _) => Ok(vec![]),
                _ => Err(io::Error::other("no such name")),
            }
        }
        let good = Ok(vec![SocketAddr::from(([192, 0, 2, 1], 0))]);
        let resolver = Resolver::with(moody, PATIENCE, LONGEST).unwrap();
        assert_eq!(ask(&resolver, "bad").await, Err("no such name".to_owned()));
        assert_eq!(ask(&resolver, "good").await, good);
        for mood in [1, 2] {
            MOOD.store(mood, Ordering::SeqCst);
            assert_eq!(ask(&resolver, "good").await, good);
            assert!(ask(&resolver, "bad").await.is_err());
        }
    }

    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "the lock is the hanging name service")]
    async fn a_hanging_name_service_does_not_hold_up_a_known_name() {
        static GATE: Mutex<()> = Mutex::new(());
        fn gated(_: &str) -> io::Result<Vec<SocketAddr>> {
            let _open = GATE.lock().unwrap();
            Ok(vec![([192, 0, 2, 7], 0).into()])
        }
        let resolver = Resolver::with(gated, Duration::ZERO, LONGEST).unwrap();
        let good = Ok(vec![SocketAddr::from(([192, 0, 2, 7], 0))]);
        assert_eq!(ask(&resolver, "name").await, good);
        let _shut = GATE.lock().unwrap();
        assert_eq!(ask(&resolver, "name").await, good);
    }

    #[tokio::test]
    async fn a_name_that_nobody_answers_for_is_told_as_such() {
        static SHUT: Mutex<()> = Mutex::new(());
        fn never(_: &str) -> io::Result<Vec<SocketAddr>> {
            drop(SHUT.lock().unwrap());
            Ok(Vec::new())
        }
        let shut = SHUT.lock();
        let resolver = Resolver::with(never, PATIENCE, Duration::ZERO).unwrap();
        let said = ask(&resolver, "name").await.unwrap_err();
        assert!([true, false].map(silence).contains(&said.as_str()), "{said}");
        assert!(silence(true).contains("the name servers in /etc/resolv.conf"));
        assert!(silence(false).contains("there is no /etc/resolv.conf"));
        drop(shut);
    }

    #[tokio::test]
    async fn the_real_name_service_knows_this_machine() {
        let found = ask(&Resolver::start().unwrap(), "localhost").await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
}
