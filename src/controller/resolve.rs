//! From the root URL that a person gave to the one that answers: http may turn out to be https. One GET without
//! credentials finds out, because a POST that is redirected is lost and a token sent in the clear is spent.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::client::Controller;
use super::error::ControllerError;
use super::http::{Answer, broken, shown};

impl Controller {
    /// Finds out, once, whether an http:// root redirects to https, and adopts that. An https:// root is left as it is.
    ///
    /// # Errors
    /// When nothing answers there.
    pub async fn resolve_root(&self) -> Result<(), ControllerError> {
        // Every controller has this page, and shows it to anybody.
        let url = self.root().page("login");
        let response = self.clients.reads.get(url.clone()).send().await.map_err(|error| broken(&url, &error))?;
        let answer = Answer::read(response).await?;
        self.adopt(&answer);
        if answer.status.is_server_error() {
            return Err(self.refusal(&answer));
        }
        self.resolved.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn ensure_resolved(&self) -> Result<(), ControllerError> {
        if self.resolved.load(Ordering::Relaxed) { Ok(()) } else { self.resolve_root().await }
    }

    /// Adopts what a redirect says, where that is safe. True if the root is another one now.
    pub(super) fn adopt(&self, answer: &Answer) -> bool {
        let Some(target) = answer.location() else { return false };
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        match root.upgraded(&target) {
            Some(upgraded) => {
                tracing::info!(from = root.as_str(), to = upgraded.as_str(), "the controller wants https");
                *root = upgraded;
                true
            }
            None => {
                if !root.same_host(&target) {
                    tracing::debug!(
                        to = shown(&target),
                        "the controller redirects to another host, which gets no credentials"
                    );
                }
                false
            }
        }
    }
}
