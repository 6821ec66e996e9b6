//! What can go wrong with a request, and which requests it befalls.

use std::time::Duration;

use super::log::RequestInfo;
use super::request::Operation;

/// What goes wrong. "Before" and "after" speak of the moment in which the request is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Carried out at once, answered so much later.
    Slow(Duration),
    /// Not carried out, never answered.
    HangBefore,
    /// Carried out, never answered.
    HangAfter,
    /// Not carried out, the connection is reset.
    ResetBefore,
    /// Carried out, the connection is reset.
    ResetAfter,
    /// Not carried out, the connection is closed without a byte.
    CloseBefore,
    /// Carried out, the connection is closed without a byte.
    CloseAfter,
    /// Carried out; the second half of the answer's body is missing although its length promises it.
    Truncated,
    /// Carried out; the second half of the answer's body never comes.
    HangMidway,
    /// Not carried out: 200 with a page where JSON was asked for, and no sign of the controller.
    Html,
    /// Not carried out: 200 with a JSON body that begins well and never ends.
    Endless,
    /// Not carried out: this status with a page. A 401 comes with its challenge.
    Status(u16),
    /// Not carried out: this status with a page, and this in `Retry-After`.
    Throttled(u16, String),
    /// Not carried out: a redirect with this status to this location.
    Redirect(u16, String),
    /// The connection is reset at once; carried out so much later.
    Delayed(Duration),
    /// The connection is reset at once; carried out at [`Simulated::release`](super::Simulated::release).
    Held,
    /// Carried out and answered at [`Simulated::release`](super::Simulated::release), whether the client still waits
    /// or has given up.
    HeldOpen,
}

/// Which requests a fault befalls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct On {
    operations: Vec<Operation>,
    method: Option<String>,
    path: Option<String>,
    node: Option<String>,
    first: usize,
    count: Option<usize>,
}

impl On {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests for this.
    #[must_use]
    pub fn operation(operation: Operation) -> Self {
        Self { operations: vec![operation], ..Self::default() }
    }

    /// Requests that write.
    #[must_use]
    pub fn writes() -> Self {
        let operations = vec![Operation::Toggle, Operation::ChangeCause, Operation::Disconnect, Operation::CliDownload];
        Self { operations, ..Self::default() }
    }

    /// Only those with this method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// Only those whose path contains this.
    #[must_use]
    pub fn path(self, part: &str) -> Self {
        Self { path: Some(part.to_owned()), ..self }
    }

    /// Only those about this node.
    #[must_use]
    pub fn node(self, name: &str) -> Self {
        Self { node: Some(name.to_owned()), ..self }
    }

    /// Only the nth match, counted from 1 and from now on. Without this or the next two: always.
    #[must_use]
    pub fn nth(self, nth: usize) -> Self {
        Self { first: nth.saturating_sub(1), count: Some(1), ..self }
    }

    /// Only the first so many matches.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self { first: 0, count: Some(count), ..self }
    }

    /// All matches from the nth on, counted from 1.
    #[must_use]
    pub fn from_nth(self, nth: usize) -> Self {
        Self { first: nth.saturating_sub(1), count: None, ..self }
    }

    fn matches(&self, request: &RequestInfo) -> bool {
        (self.operations.is_empty() || self.operations.contains(&request.operation))
            && self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.path.as_ref().is_none_or(|part| request.path.contains(part.as_str()))
            && self.node.as_ref().is_none_or(|node| request.node.as_ref() == Some(node))
    }
}

/// All faults that are waiting for their request.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<(On, Fault, usize)>,
}

impl Faults {
    pub(crate) fn add(&mut self, on: On, fault: Fault) {
        self.rules.push((on, fault, 0));
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault for this request: the oldest rule whose turn it is. Every rule that matches counts it.
    pub(crate) fn strike(&mut self, request: &RequestInfo) -> Option<Fault> {
        let mut struck = None;
        for (on, fault, seen) in &mut self.rules {
            if on.matches(request) {
                let turn = *seen >= on.first && on.count.is_none_or(|count| *seen < on.first + count);
                *seen += 1;
                if turn && struck.is_none() {
                    struck = Some(fault.clone());
                }
            }
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: Operation, path: &str) -> RequestInfo {
        RequestInfo {
            number: 1,
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: String::new(),
            operation,
            node: None,
            user: None,
            headers: Vec::new(),
            body: String::new(),
            command: Vec::new(),
            status: None,
            carried_out: false,
        }
    }

    #[test]
    fn a_rule_strikes_in_its_turn() {
        let mut faults = Faults::default();
        faults.add(On::operation(Operation::ReadNode).nth(2), Fault::ResetBefore);
        faults.add(On::operation(Operation::ReadNode).times(1), Fault::Html);
        faults.add(On::any().path("login").from_nth(2), Fault::Status(503));
        let read = request(Operation::ReadNode, "computer/n/api/json");
        let struck: Vec<_> = (0..3).map(|_| faults.strike(&read)).collect();
        assert_eq!(struck, [Some(Fault::Html), Some(Fault::ResetBefore), None]);
        let login = request(Operation::Login, "login");
        let struck: Vec<_> = (0..3).map(|_| faults.strike(&login)).collect();
        assert_eq!(struck, [None, Some(Fault::Status(503)), Some(Fault::Status(503))]);
    }
}
