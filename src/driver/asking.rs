//! Requests to the controller: each a task beside the turn, at most one at a time.

use std::future::Future;
use std::sync::Arc;

use agent_wrap_supervisor::{Event, LiftMethod, MarkMethod, OfflineReason, RequestNumber, Span};

use super::{Answer, NodeClient as _, Shells, Turn};
use crate::clock::duration;
use crate::config::ReasonFacts;
use crate::telemetry::offline_reason;

impl<S: Shells> Turn<S> {
    pub(super) fn read_node(&mut self, request: RequestNumber, within: Span) {
        self.ask(request, async move |controller| Event::NodeRead {
            request,
            outcome: controller.read_node(duration(within)).await,
        });
    }

    pub(super) fn lift_mark(&mut self, request: RequestNumber, method: LiftMethod, within: Span) {
        self.ask(request, async move |controller| Event::NodeWritten {
            request,
            outcome: controller.lift_mark(request, method, duration(within)).await,
        });
    }

    pub(super) fn mark_offline(
        &mut self,
        request: RequestNumber,
        method: MarkMethod,
        reason: &OfflineReason,
        within: Span,
    ) {
        let reasons = &self.driver.reasons;
        let facts = ReasonFacts { host: &reasons.host, node: &reasons.node, cause: &self.cause };
        let text = offline_reason(reason, &reasons.host, || reasons.template.render(&facts));
        self.ask(request, async move |controller| Event::NodeWritten {
            request,
            outcome: controller.mark_offline(request, method, &text, duration(within)).await,
        });
    }

    pub(super) fn disconnect(&mut self, request: RequestNumber, within: Span) {
        self.ask(request, async move |controller| Event::NodeWritten {
            request,
            outcome: controller.disconnect(request, duration(within)).await,
        });
    }

    /// Closes the request's connection: dropping the task drops it.
    pub(super) fn cancel(&mut self, request: RequestNumber) {
        if let Some((_, handle)) = self.in_flight.take_if(|(number, _)| *number == request) {
            handle.abort();
        }
    }

    fn ask<F>(&mut self, request: RequestNumber, ask: impl FnOnce(Arc<S::Controller>) -> F)
    where
        F: Future<Output = Event> + Send + 'static,
    {
        let Some(controller) = self.driver.controller.clone() else { return };
        let answers = self.answers.clone();
        let asking = ask(controller);
        let task = tokio::spawn(async move {
            // The turn is over when nobody takes the answer any more.
            let _ = answers.send(Answer::Event(asking.await));
        });
        self.in_flight = Some((request, task.abort_handle()));
    }
}
