//! A thread for what may hang (a file on a mount that does not answer), so that the turn never does.
//!
//! It is started before the agent: builds that use up the processes must not keep a token from being read. There is
//! one, whatever hangs: what is asked for meanwhile waits behind it, and gives up in its turn.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread. It ends with the last of these, or with what hangs in it.
#[derive(Clone, Debug)]
pub struct Beside {
    jobs: mpsc::Sender<Job>,
}

/// Nothing has come back in time. What hangs goes on hanging, and its result is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing came within {} s; is the file on a mount that does not answer?", .0.as_secs())]
pub struct Late(pub(crate) Duration);

impl Beside {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn start(name: &str) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new().name(name.to_owned()).spawn(move || inbox.into_iter().for_each(|job| job()))?;
        Ok(Self { jobs })
    }

    /// Has something done; whoever wants to know when has to see to that. It is lost when an earlier one has panicked.
    pub fn submit(&self, work: impl FnOnce() + Send + 'static) {
        let _ = self.jobs.send(Box::new(work));
    }

    /// Has something done, and waits for it without holding up anybody else. What nobody waits for any more is not
    /// begun.
    ///
    /// # Errors
    /// It takes longer than `patience`.
    pub async fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Late> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            if !answer.is_closed() {
                // Whoever asked may have given up meanwhile.
                let _ = answer.send(work());
            }
        };
        self.jobs.send(Box::new(job)).map_err(|_| Late(patience))?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) | Err(_) => Err(Late(patience)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    const AMPLE: Duration = Duration::from_secs(60);

    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "the lock is what hangs")]
    async fn what_hangs_holds_up_nobody_and_what_nobody_waits_for_is_not_begun() {
        static GATE: Mutex<()> = Mutex::new(());
        let beside = Beside::start("test").unwrap();
        assert_eq!(beside.run(AMPLE, || 1).await, Ok(1));
        let shut = GATE.lock().unwrap();
        let (entered, has_entered) = tokio::sync::oneshot::channel();
        let hanging = beside.run(AMPLE, move || {
            entered.send(()).unwrap();
            drop(GATE.lock());
        });
        tokio::select! {
            biased;
            result = hanging => panic!("it does not hang: {result:?}"),
            begun = has_entered => begun.unwrap(),
        }
        let begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&begun);
        let behind = beside.run(Duration::ZERO, move || begins.store(true, Ordering::SeqCst)).await;
        assert_eq!(behind, Err(Late(Duration::ZERO)));
        drop(shut);
        assert_eq!(beside.run(AMPLE, || 2).await, Ok(2));
        assert!(!begun.load(Ordering::SeqCst));
    }
}
