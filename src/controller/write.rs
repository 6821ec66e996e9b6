//! Writes: one request on a connection of its own, and a careful account of what became of it. Only what certainly was
//! not carried out is called failed; everything else is unknown, and a read has to show it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_wrap_supervisor::{Failure, FailureKind, LiftMethod, MarkMethod, RequestNumber, WriteOutcome};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use super::client::Controller;
use super::error::ControllerError;
use super::http::{Answer, shown};
use super::url::percent_encode;

/// The longest reason that is sent, in characters; the marker comes on top.
const REASON_LIMIT: usize = 1000;

/// The pages that change something about the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Toggle,
    ChangeCause,
    Disconnect,
}

impl Page {
    fn name(self) -> &'static str {
        match self {
            Self::Toggle => "toggleOffline",
            Self::ChangeCause => "changeOfflineCause",
            Self::Disconnect => "doDisconnect",
        }
    }
}

/// What an answer to one try means.
enum Verdict {
    Outcome(WriteOutcome),
    /// 404 where the page has to be: the node or the root is wrong.
    Missing,
    /// 401.
    BadCredentials,
    /// A 403 that a crumb may cure.
    NoCrumb,
}

impl Controller {
    /// Lifts the node's mark. Only a later read shows what it did: a toggle that meets an unmarked node marks it, with
    /// this request's number in the reason.
    pub async fn lift_mark(&self, request: RequestNumber, method: LiftMethod, within: Duration) -> WriteOutcome {
        match method {
            LiftMethod::Cli => self.cli_lift(within).await,
            LiftMethod::Toggle => {
                let message = self.message("bringing the node online", request);
                self.post(Page::Toggle, &message, within).await
            }
        }
    }

    /// Marks the node offline. The marker with this request's number is added to the reason.
    pub async fn mark_offline(
        &self,
        request: RequestNumber,
        method: MarkMethod,
        reason: &str,
        within: Duration,
    ) -> WriteOutcome {
        let page = match method {
            MarkMethod::ChangeCause => Page::ChangeCause,
            MarkMethod::Toggle => Page::Toggle,
        };
        let outcome = self.post(page, &self.message(reason, request), within).await;
        if let WriteOutcome::Accepted | WriteOutcome::Unknown(_) = outcome {
            self.set_claimed(true);
        }
        outcome
    }

    /// Closes the channel that the controller holds for the node. The marker goes with it: an old controller shows this
    /// reason in place of that of a mark which the node has.
    pub async fn disconnect(&self, request: RequestNumber, within: Duration) -> WriteOutcome {
        let message = self.message("closing the connection of an agent that was killed", request);
        self.post(Page::Disconnect, &message, within).await
    }

    fn message(&self, reason: &str, request: RequestNumber) -> String {
        let line: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_LIMIT).collect();
        let marker = self.marker.text(request);
        if line.trim().is_empty() { marker } else { format!("{} {marker}", line.trim()) }
    }

    async fn post(&self, page: Page, message: &str, within: Duration) -> WriteOutcome {
        let sent = AtomicBool::new(false);
        match tokio::time::timeout(within, self.post_unbounded(page, message, &sent)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let url = self.shown(&self.root().page(&self.node.page(page.name())));
                let failure = Failure::from(ControllerError::Timeout { url, within });
                if sent.load(Ordering::Relaxed) {
                    WriteOutcome::Unknown(failure)
                } else {
                    WriteOutcome::Failed(failure)
                }
            }
        }
    }

    /// Each repetition follows an answer that proves that nothing was done.
    async fn post_unbounded(&self, page: Page, message: &str, sent: &AtomicBool) -> WriteOutcome {
        if let Err(error) = self.ensure_resolved().await {
            return WriteOutcome::Failed(error.into());
        }
        let (mut new_credentials, mut new_crumb) = (false, false);
        loop {
            let answer = match self.post_once(page, message, sent).await {
                Ok(answer) => answer,
                Err(outcome) => return outcome,
            };
            sent.store(false, Ordering::Relaxed);
            match self.judge(page, &answer) {
                Verdict::Outcome(outcome) => return outcome,
                Verdict::Missing => return WriteOutcome::Failed(self.missing_node(&answer).await.into()),
                Verdict::BadCredentials if !new_credentials && self.credentials_changed().await => {
                    new_credentials = true
                }
                Verdict::BadCredentials => return WriteOutcome::Failed(self.refusal(&answer).into()),
                Verdict::NoCrumb if new_crumb && answer.mentions("crumb") => {
                    return WriteOutcome::Failed(ControllerError::Crumb { url: self.shown(&answer.url) }.into());
                }
                Verdict::NoCrumb if new_crumb => return WriteOutcome::Failed(self.refusal(&answer).into()),
                Verdict::NoCrumb => match self.fetch_crumb().await {
                    Ok(true) => new_crumb = true,
                    Ok(false) => return WriteOutcome::Failed(self.refusal(&answer).into()),
                    Err(error) => return WriteOutcome::Failed(error.into()),
                },
            }
        }
    }

    async fn post_once(&self, page: Page, message: &str, sent: &AtomicBool) -> Result<Answer, WriteOutcome> {
        let url = self.root().page(&self.node.page(page.name()));
        let request = self
            .crumbs
            .sign(self.fresh(Method::POST, url.clone()))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("offlineMessage={}", percent_encode(message)));
        sent.store(true, Ordering::Relaxed);
        let response = request.send().await.map_err(|error| {
            let failure = Failure::from(self.broken(&url, &error));
            // Without a connection nothing can have been sent.
            if error.is_connect() || error.is_builder() {
                WriteOutcome::Failed(failure)
            } else {
                WriteOutcome::Unknown(failure)
            }
        })?;
        let (status, headers) = (response.status(), response.headers().clone());
        match Answer::read(response).await {
            Ok(answer) => Ok(answer),
            // The status says it all; only a 403 has something to say in its body.
            Err(_) => Ok(Answer { url, status, headers, body: Vec::new() }),
        }
    }

    fn judge(&self, page: Page, answer: &Answer) -> Verdict {
        let failed = |error: ControllerError| Verdict::Outcome(WriteOutcome::Failed(error.into()));
        let unknown = |error: ControllerError| Verdict::Outcome(WriteOutcome::Unknown(error.into()));
        let status = answer.status;
        match status {
            StatusCode::UNAUTHORIZED => Verdict::BadCredentials,
            // A controller that knows who is missing what says so in a header; the crumb's filter does not get that far.
            StatusCode::FORBIDDEN if answer.header("x-required-permission").is_none() => Verdict::NoCrumb,
            StatusCode::FORBIDDEN => failed(self.refusal(answer)),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if page == Page::ChangeCause => {
                let words = format!("{} answered {}", shown(&answer.url), status.as_u16());
                Verdict::Outcome(WriteOutcome::Unsupported { words })
            }
            StatusCode::NOT_FOUND => Verdict::Missing,
            StatusCode::METHOD_NOT_ALLOWED => failed(ControllerError::Forbidden {
                url: self.shown(&answer.url),
                who: self.credentials.user(),
                permission: None,
            }),
            _ if status.is_success() => Verdict::Outcome(WriteOutcome::Accepted),
            _ if status.is_redirection() => self.judge_redirect(page, answer),
            // These are said before anything is done, by the controller's HTTP server or by a proxy.
            StatusCode::BAD_REQUEST
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::LENGTH_REQUIRED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::EXPECTATION_FAILED
            | StatusCode::MISDIRECTED_REQUEST
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => failed(self.refusal(answer)),
            // A proxy that gave up waiting says 502 or 504 for a request that it has passed on.
            _ => unknown(self.refusal(answer)),
        }
    }

    fn judge_redirect(&self, page: Page, answer: &Answer) -> Verdict {
        let Some(target) = answer.location() else {
            return Verdict::Outcome(WriteOutcome::Unknown(self.refusal(answer).into()));
        };
        let outcome = if self.node.is_page_of(target.path()) {
            WriteOutcome::Accepted
        } else if self.is_login(&target) {
            WriteOutcome::Failed(self.sent_to_login(&answer.url).into())
        } else if target.path().trim_end_matches('/').ends_with(page.name()) {
            // The same page at another address: what answered has not passed it on.
            self.adopt(answer);
            WriteOutcome::Failed(Failure::new(
                FailureKind::Unavailable,
                format!("{} has moved to {}; correct the controller's URL", shown(&answer.url), shown(&target)),
            ))
        } else {
            WriteOutcome::Unknown(self.refusal(answer).into())
        };
        Verdict::Outcome(outcome)
    }
}
