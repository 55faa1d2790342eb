//! The future of a response: who decides about the charge, and when.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use rebate_core::Store;
use tower_service::Service;

use crate::charged::{BoxFuture, Slot, Statuses, Terms};
use crate::headers;
use crate::layer::Shared;
use crate::observe::Cause;
use crate::request::{RequestHead, ResponseHead};
use crate::respond::Respond;
use crate::service::{Answer, Verdict, judge, tell};

pin_project! {
    /// The future of a [`RateLimited`](crate::RateLimited) service.
    pub struct ResponseFuture<C, S, R, B>
    where
        C: Service<Request<B>>,
        S: Store,
    {
        #[pin]
        stage: Stage<C, S, R, B>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<C, S, R, B>
    where
        C: Service<Request<B>>,
        S: Store,
    {
        // The store has not answered yet.
        Charging { waiting: Option<Box<Waiting<C, S, R, B>>> },
        // The inner service has the request. It is dropped before the ticket: what it holds of the charge goes first.
        Running { #[pin] inner: C::Future, ticket: Option<Ticket<S>> },
        // The response is there, and a refund under way.
        Concluding { refund: BoxFuture<Statuses>, result: Option<Result<C::Response, C::Error>>, ticket: Option<Ticket<S>> },
        Refused { response: Option<C::Response> },
    }
}

/// A request whose charge is awaited.
struct Waiting<C, S: Store, R, B> {
    answer: BoxFuture<Answer>,
    terms: Terms,
    shared: Arc<Shared<S>>,
    respond: R,
    inner: C,
    request: Request<B>,
}

impl<C, S, R, B> ResponseFuture<C, S, R, B>
where
    C: Service<Request<B>>,
    S: Store,
{
    pub(crate) fn uncharged(inner: C::Future) -> Self {
        ResponseFuture { stage: Stage::Running { inner, ticket: None } }
    }

    /// `call` is the inner service's, which may panic.
    #[inline(always)]
    pub(crate) fn charged(mut ticket: Ticket<S>, call: impl FnOnce() -> C::Future) -> Self {
        // Made where it stays: a future holds the whole request, and is large to move.
        ResponseFuture { stage: Stage::Running { inner: ticket.inside(call), ticket: Some(ticket) } }
    }

    pub(crate) fn refused(response: C::Response) -> Self {
        ResponseFuture { stage: Stage::Refused { response: Some(response) } }
    }

    pub(crate) fn charging(
        answer: BoxFuture<Answer>,
        terms: Terms,
        shared: Arc<Shared<S>>,
        respond: R,
        inner: C,
        request: Request<B>,
    ) -> Self {
        let waiting = Box::new(Waiting { answer, terms, shared, respond, inner, request });
        ResponseFuture { stage: Stage::Charging { waiting: Some(waiting) } }
    }
}

impl<C, S, R, B, D> Future for ResponseFuture<C, S, R, B>
where
    C: Service<Request<B>, Response = Response<D>>,
    S: Store,
    R: Respond<D>,
{
    type Output = Result<Response<D>, C::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            let next = match stage.as_mut().project() {
                StageProjection::Running { inner, ticket } => {
                    let Some(held) = ticket else { return inner.poll(context) };
                    let mut result = ready!(held.inside(|| inner.poll(context)));
                    let Some(refund) = held.conclude(&mut result) else {
                        disarm(ticket);
                        return Poll::Ready(result);
                    };
                    Stage::Concluding { refund, result: Some(result), ticket: ticket.take() }
                }
                StageProjection::Concluding { refund, result, ticket } => {
                    let statuses = ready!(refund.as_mut().poll(context));
                    let mut result = result.take().expect(POLLED_AGAIN);
                    if let (Ok(response), Some(ticket)) = (&mut result, &ticket)
                        && let Some(headers) = headers::open(response)
                    {
                        ticket.slot.write(&statuses, headers);
                    }
                    disarm(ticket);
                    return Poll::Ready(result);
                }
                StageProjection::Charging { waiting } => {
                    let (answer, key, asked) =
                        ready!(waiting.as_mut().expect(POLLED_AGAIN).answer.as_mut().poll(context));
                    let waiting = waiting.take().expect(POLLED_AGAIN);
                    let Waiting { terms, shared, respond, mut inner, mut request, .. } = *waiting;
                    match judge(&shared, terms, answer, key.as_ref(), asked.as_deref()) {
                        Verdict::Passes(slot) => {
                            tell(request.extensions_mut(), &slot, asked);
                            ResponseFuture::<C, S, R, B>::charged(Ticket::new(slot), || inner.call(request)).stage
                        }
                        Verdict::Refused(refused) => {
                            let head = RequestHead::of(&request);
                            return Poll::Ready(Ok(refused.respond(&shared, &respond, head, key.as_ref())));
                        }
                    }
                }
                StageProjection::Refused { response } => {
                    return Poll::Ready(Ok(response.take().expect(POLLED_AGAIN)));
                }
            };
            stage.set(next);
        }
    }
}

const POLLED_AGAIN: &str = "a future is not polled after it is done";

/// The layer's hold on a charge while the inner service has the request: dropped before there is a response, it does
/// what the settings say.
pub(crate) struct Ticket<S: Store> {
    slot: Arc<Slot<S>>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Between polls: dropped here, the client has gone.
    Outside,
    /// The inner service runs, or the service's predicate: dropped here, it has panicked.
    Inside,
    /// There is a response, which gives the charge back if there is a cause.
    Concluding(Option<Cause>),
    Done,
}

impl<S: Store> Ticket<S> {
    pub(crate) fn new(slot: Arc<Slot<S>>) -> Self {
        Ticket { slot, state: State::Outside }
    }

    #[inline(always)]
    pub(crate) fn inside<T>(&mut self, act: impl FnOnce() -> T) -> T {
        self.state = State::Inside;
        let outcome = act();
        self.state = State::Outside;
        outcome
    }

    /// Refunds if the result says so, and writes a response's headers; or answers what to await before writing them.
    fn conclude<D, E>(&mut self, result: &mut Result<Response<D>, E>) -> Option<BoxFuture<Statuses>> {
        let shared = &self.slot.shared;
        // The service's own predicate may panic: dropped then, nobody has gone away.
        self.state = State::Inside;
        let cause = match &result {
            Ok(response) => shared.refund_by_response(&self.slot.terms.rules, ResponseHead::of(response)),
            Err(_) => shared.refund_by_end(Cause::Error),
        };
        self.state = State::Concluding(cause);
        self.slot.conclude(cause, result.as_mut().ok().and_then(headers::open))
    }
}

/// The charge is decided about.
fn disarm<S: Store>(ticket: &mut Option<Ticket<S>>) {
    if let Some(mut ticket) = ticket.take() {
        ticket.state = State::Done;
    }
}

impl<S: Store> Drop for Ticket<S> {
    fn drop(&mut self) {
        let cause = match self.state {
            State::Outside => self.slot.shared.refund_by_end(Cause::Disconnect),
            State::Inside => self.slot.shared.refund_by_end(Cause::Panic),
            State::Concluding(cause) => cause,
            State::Done => return,
        };
        self.slot.give_up(cause);
    }
}

impl<C, S, R, B> fmt::Debug for ResponseFuture<C, S, R, B>
where
    C: Service<Request<B>>,
    S: Store,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
