//! From the root URL that a person gave to the one that answers: http may turn out to be https. One GET without
//! credentials finds out, because a POST that is redirected is lost and a token sent in the clear is spent. Until it has
//! found a place where the credentials may go, nothing is signed.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use reqwest::Url;

use super::client::Controller;
use super::error::ControllerError;
use super::http::{Answer, shown};
use super::url::Redirect;

impl Controller {
    /// Finds out, once, whether an http:// root redirects to https, and adopts that. An https:// root is left as it is.
    ///
    /// # Errors
    /// When nothing answers there, or when what answers sends us where the credentials must not go.
    pub async fn resolve_root(&self) -> Result<(), ControllerError> {
        // Every controller has this page, and shows it to anybody.
        let url = self.root().page("login");
        let response = self.clients.reads.get(url.clone()).send().await.map_err(|error| self.broken(&url, &error))?;
        let answer = Answer::read(response).await?;
        if answer.status.is_server_error() {
            return Err(self.refusal(&answer));
        }
        if answer.status.is_redirection() && !self.adopt(&answer) {
            let target = answer.location().ok_or_else(|| self.refusal(&answer))?;
            if let Some(error) = self.astray(&answer.url, &target) {
                return Err(error);
            }
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
        match root.redirected(&target) {
            Redirect::Upgrade(upgraded) => {
                tracing::info!(from = root.as_str(), to = upgraded.as_str(), "the controller wants https");
                *root = upgraded;
                true
            }
            Redirect::Within => false,
            Redirect::Downgrade | Redirect::Elsewhere => {
                // The next request finds out without credentials whether they may go there at all.
                self.resolved.store(!root.is_plain(), Ordering::Relaxed);
                false
            }
        }
    }

    /// The error for a redirect that leads where our credentials must not go.
    pub(super) fn astray(&self, url: &Url, target: &Url) -> Option<ControllerError> {
        let (url, to) = (self.shown(url), shown(target));
        match self.root().redirected(target) {
            Redirect::Within | Redirect::Upgrade(_) => None,
            Redirect::Downgrade => Some(ControllerError::Downgrade { url, to }),
            Redirect::Elsewhere => Some(ControllerError::Elsewhere { url, to }),
        }
    }
}
