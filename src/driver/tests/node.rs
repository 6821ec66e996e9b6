//! The controller as the driver meets it: answers that are late, lost, refused or there at once.

use std::future::{Future, poll_fn};
use std::time::Duration;

use agent_wrap_supervisor::{
    Failure, FailureKind, LiftMethod, MarkMethod, NodeView, RequestNumber, Span, WriteOutcome,
};
use tokio::sync::oneshot;

use super::controller::{Reply, Wish};
use super::settings::replace_credentials;
use super::world::{Shared, World};
use crate::controller::{CredentialError, CredentialSource};
use crate::driver::NodeClient;

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Carried out after the first span, answered after the second.
    Answered(Span, Span),
    /// Carried out after this span (or never), and no answer comes.
    Lost(Option<Span>),
    /// Carried out after the first span (or never); the connection breaks after the second.
    Broken(Option<Span>, Span),
    /// Refused in this way, not carried out.
    Fails(FailureKind),
}

/// A request that the controller has got. It may be carried out although nobody waits for the answer any more.
pub struct Open {
    wish: Wish,
    number: RequestNumber,
    /// What has come of it, and how often the mark had changed then.
    reply: Option<(Reply, u64)>,
    answer: Option<oneshot::Sender<Reply>>,
}

pub struct Node(pub Shared);

impl NodeClient for Node {
    fn version(&self) -> Option<String> {
        self.0.lock().version.clone()
    }

    fn read_node(&self, within: Duration) -> impl Future<Output = Result<NodeView, Failure>> + Send {
        let shared = self.0.clone();
        async move {
            let reply = ask(&shared, Wish::Read, RequestNumber(0), within).await;
            match reply {
                Ok(Reply::View(view)) => Ok(view),
                Ok(Reply::Refused(kind)) => Err(Failure::new(kind, "refused")),
                Ok(Reply::Done | Reply::Unsupported) => unreachable!("no answers to a read"),
                Err(words) => Err(unavailable(words)),
            }
        }
    }

    fn lift_mark(
        &self,
        request: RequestNumber,
        method: LiftMethod,
        within: Duration,
    ) -> impl Future<Output = WriteOutcome> + Send {
        write(self.0.clone(), Wish::Lift(method), request, within)
    }

    fn mark_offline(
        &self,
        request: RequestNumber,
        method: MarkMethod,
        reason: &str,
        within: Duration,
    ) -> impl Future<Output = WriteOutcome> + Send {
        self.0.lock().reasons.push(reason.to_owned());
        write(self.0.clone(), Wish::Mark(method), request, within)
    }

    fn disconnect(&self, request: RequestNumber, within: Duration) -> impl Future<Output = WriteOutcome> + Send {
        write(self.0.clone(), Wish::Disconnect, request, within)
    }

    fn replace_credentials(
        &self,
        source: Option<CredentialSource>,
    ) -> impl Future<Output = Result<(), CredentialError>> + Send {
        let shared = self.0.clone();
        async move { replace_credentials(&shared, source).await }
    }

    fn set_online_match(&self, pattern: Option<regex_lite::Regex>) {
        let number = pattern.and_then(|pattern| pattern.as_str().parse().ok());
        self.0.lock().take_settings(number.unwrap_or_default());
    }
}

async fn write(shared: Shared, wish: Wish, number: RequestNumber, within: Duration) -> WriteOutcome {
    match ask(&shared, wish, number, within).await {
        Ok(Reply::Done) => WriteOutcome::Accepted,
        Ok(Reply::Unsupported) => WriteOutcome::Unsupported { words: "no such way".to_owned() },
        Ok(Reply::Refused(kind)) => WriteOutcome::Failed(Failure::new(kind, "refused")),
        Ok(Reply::View(_)) => unreachable!("no answer to a write"),
        Err(words) => WriteOutcome::Unknown(unavailable(words)),
    }
}

/// The driver's end of one request.
struct Asking {
    shared: Shared,
    id: u64,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut world = self.shared.lock();
        world.request_over(self.id);
        if let Some(open) = world.open.get_mut(&self.id) {
            open.answer = None;
        }
    }
}

async fn ask(shared: &Shared, wish: Wish, number: RequestNumber, within: Duration) -> Result<Reply, &'static str> {
    let (asking, mut told) = begin(shared, wish, number, within);
    let told = poll_fn(|cx| {
        shared.lock().point(format_args!("request {} is polled", asking.id));
        std::pin::Pin::new(&mut told).poll(cx)
    });
    let answer = match tokio::time::timeout(within, told).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(_)) => Err("the connection broke"),
        Err(_) => Err("no answer in time"),
    };
    let mut world = shared.lock();
    world.answered(asking.id, &answer);
    world.point(format_args!("request {} has its answer", asking.id));
    // A last time: from now on it is on its way, whatever becomes of this task.
    let now = world.now();
    world.books.answers.push(now);
    drop(world);
    answer
}

fn begin(shared: &Shared, wish: Wish, number: RequestNumber, within: Duration) -> (Asking, oneshot::Receiver<Reply>) {
    let mut world = shared.lock();
    world.requests += 1;
    let id = world.requests;
    world.point(format_args!("request {id}: {wish:?} {}", number.0));
    world.check_request(id, &wish);
    // Nobody asks before the answer to the request before has been heard.
    let over: Vec<RequestNumber> =
        world.open.values().map(|open| open.number).filter(|over| *over != RequestNumber(0)).collect();
    world.over = over;
    let fate = world.next_fate(within);
    let (tell, told) = oneshot::channel();
    world.open.insert(id, Open { wish, number, reply: None, answer: Some(tell) });
    match fate {
        Fate::Answered(carried, answered) => world.soon(carried, move |world| {
            world.carry_out(id);
            world.soon(answered, move |world| world.answer(id));
        }),
        Fate::Lost(carried) => {
            if let Some(carried) = carried {
                world.soon(carried, move |world| world.carry_out(id));
            }
        }
        Fate::Broken(carried, broken) => {
            if let Some(carried) = carried {
                world.soon(carried, move |world| world.carry_out(id));
            }
            world.soon(broken, move |world| {
                if let Some(open) = world.open.get_mut(&id) {
                    open.answer = None;
                }
            });
        }
        Fate::Fails(kind) => world.soon(Span(20), move |world| {
            let touches = world.books.touches;
            if let Some(open) = world.open.get_mut(&id) {
                open.reply.get_or_insert((Reply::Refused(kind), touches));
            }
            world.answer(id);
        }),
    }
    (Asking { shared: shared.clone(), id }, told)
}

impl World {
    /// The controller does what the request asks for, once.
    pub fn carry_out(&mut self, id: u64) {
        let Some(open) = self.open.get_mut(&id).filter(|open| open.reply.is_none()) else { return };
        if !matches!(open.wish, Wish::Read) {
            self.books.touches += 1;
        }
        let wish = open.wish.clone();
        let waited = open.answer.is_some();
        let reply = self.controller.carry_out(open.number, &wish);
        open.reply = Some((reply, self.books.touches));
        self.note(&format!("  ... request {id} is carried out: {wish:?}"));
        if waited {
            self.check_carried_out(&wish);
        }
    }

    /// Sends the answer on its way, if anybody waits for it.
    pub fn answer(&mut self, id: u64) {
        let Some(open) = self.open.get_mut(&id) else { return };
        if let (Some((reply, _)), Some(answer)) = (&open.reply, open.answer.take()) {
            let _ = answer.send(reply.clone());
        }
    }

    /// The answer has come to the one who asked.
    fn answered(&mut self, id: u64, answer: &Result<Reply, &'static str>) {
        let carried = self.open.get(&id).and_then(|open| open.reply.as_ref()).map(|(_, touches)| *touches);
        self.books.fresh = matches!(answer, Ok(Reply::View(_)));
        if answer.is_ok() {
            self.lift_answered(id);
        }
        let now = self.now();
        match answer {
            Ok(Reply::View(view)) => self.books.channel_seen(now, view.connected),
            Ok(Reply::Done | Reply::Unsupported) => {}
            Ok(Reply::Refused(_)) | Err(_) => self.books.channel_seen(now, None),
        }
        match answer {
            Ok(Reply::View(view)) => self.books.read(id, view.mark.clone(), carried.unwrap_or_default()),
            Ok(Reply::Refused(kind)) => self.books.refused = *kind != FailureKind::Unavailable,
            Ok(Reply::Done | Reply::Unsupported) | Err(_) => {}
        }
        self.note(&format!("  <- request {id}: {answer:?}"));
    }

    fn next_fate(&mut self, within: Duration) -> Fate {
        if let Some(fate) = self.fates.pop_front() {
            return fate;
        }
        let well = Fate::Answered(Span(10), Span(10));
        let Some(chaos) = &mut self.chaos else { return well };
        let random = &mut chaos.random;
        if !random.percent(chaos.bad_requests) {
            return if random.percent(30) { Fate::Answered(Span::ZERO, Span::ZERO) } else { well };
        }
        let within = Span(u64::try_from(within.as_millis()).unwrap());
        let carried = random.span(within.plus(Span::seconds(5)));
        let maybe = random.percent(50).then_some(carried);
        match random.below(6) {
            0 | 1 => Fate::Answered(carried, random.span(within)),
            2 => Fate::Lost(maybe),
            3 | 4 => Fate::Broken(maybe, random.span(within)),
            _ => Fate::Fails(random.pick(&[
                FailureKind::Unavailable,
                FailureKind::Unauthenticated,
                FailureKind::Forbidden,
                FailureKind::NoSuchNode,
            ])),
        }
    }
}

pub fn unavailable(words: &str) -> Failure {
    Failure::new(FailureKind::Unavailable, words.to_owned())
}
