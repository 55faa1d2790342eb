//! The service: what a request is charged before the inner service gets it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Extensions, Request, Response, StatusCode};
use rebate_core::{ChargeRequest, Decision, Denial, Error, Item, Key, KeyRef, Limit, Receipt, Store};
use rebate_rules::{Charge, CheckedRule, Chosen, Items, KeyBuffer, OnTrouble, Uncharged};
use smallvec::SmallVec;
use tower_service::Service;

use crate::charged::{BoxFuture, Charged, Place, Slot, Terms};
use crate::future::{ResponseFuture, Ticket};
use crate::idempotency::{Asked, KeyFault};
use crate::layer::Shared;
use crate::observe::{self, Stopwatch};
use crate::refusal::{Denied, Reason, Refusal};
use crate::request::RequestHead;
use crate::respond::Respond;
use crate::subject::Asker;

/// A service whose requests are charged. Made by a [`RateLimitLayer`](crate::RateLimitLayer).
pub struct RateLimited<C, S: Store, R> {
    inner: C,
    shared: Arc<Shared<S>>,
    respond: R,
}

/// What a store answered a charge that had to be awaited, to whom, and by what it was to be billed once.
pub(crate) type Answer = (Result<Decision, Error>, Key, Option<Box<Asked>>);

impl<C, S: Store, R> RateLimited<C, S, R> {
    pub(crate) fn new(inner: C, shared: Arc<Shared<S>>, respond: R) -> Self {
        RateLimited { inner, shared, respond }
    }
}

impl<C, S, R, B, D> Service<Request<B>> for RateLimited<C, S, R>
where
    C: Service<Request<B>, Response = Response<D>> + Clone,
    S: Store,
    R: Respond<D> + Clone,
{
    type Response = Response<D>;
    type Error = C::Error;
    type Future = ResponseFuture<C, S, R, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let shared = &self.shared;
        let path = shared.settings.path(RequestHead::of(&request));
        let charge = match shared.rules.choose(request.method().as_str(), path) {
            Chosen::Charged(charge) => charge,
            Chosen::Refused => {
                let refusal = Refusal { request: RequestHead::of(&request), rule: "", reason: Reason::Path };
                return ResponseFuture::refused(refuse(shared, &self.respond, &refusal, None));
            }
            Chosen::Off | Chosen::Outside | Chosen::NoRule | Chosen::Exempt(_) => {
                return ResponseFuture::uncharged(self.inner.call(request));
            }
        };
        let mut keys = KeyBuffer::new();
        let head = RequestHead::of(&request);
        let asker = Asker { request: head, settings: &shared.settings };
        let items = match charge.items(&asker, &mut keys) {
            Ok(items) => items,
            Err(Uncharged::Denied(missing)) => {
                let reason = Reason::MissingKey(missing);
                let refusal = Refusal { request: head, rule: charge.rule().name(), reason };
                return ResponseFuture::refused(refuse(shared, &self.respond, &refusal, None));
            }
            Err(Uncharged::Exempt(_) | Uncharged::NoKey | Uncharged::Unlimited) => {
                return ResponseFuture::uncharged(self.inner.call(request));
            }
        };
        let asked = match shared.once.as_ref().map(|once| once.asked(&asker, path, &charge)) {
            None => None,
            Some(Ok(asked)) => asked,
            Some(Err(fault)) => {
                let refusal =
                    Refusal { request: head, rule: charge.rule().name(), reason: Reason::IdempotencyKey(fault) };
                return ResponseFuture::refused(refuse(shared, &self.respond, &refusal, Some(items[0].key)));
            }
        };
        let terms = Terms::new(&charge, &items);
        let watch = Stopwatch::start();
        let Some(answer) = shared.limiter.charge_with_at_once(&once(&items, asked.as_deref())) else {
            let waiting = self.inner.clone();
            let ready = std::mem::replace(&mut self.inner, waiting);
            let answer = charge_later(shared, &items, asked);
            return ResponseFuture::charging(answer, terms, Arc::clone(shared), self.respond.clone(), ready, request);
        };
        shared.numbers.charged(watch, &answer);
        match judge(shared, terms, answer, items[0].key, asked.as_deref()) {
            Verdict::Passes(slot) => {
                tell(request.extensions_mut(), &slot, asked);
                ResponseFuture::charged(Ticket::new(slot), || self.inner.call(request))
            }
            Verdict::Refused(refused) => {
                ResponseFuture::refused(refused.respond(shared, &self.respond, head, items[0].key))
            }
        }
    }
}

/// Charges what has to be awaited. It owns what it charges: the request goes on to other hands.
fn charge_later<S: Store>(shared: &Arc<Shared<S>>, items: &Items<'_>, asked: Option<Box<Asked>>) -> BoxFuture<Answer> {
    let shared = Arc::clone(shared);
    let owned: SmallVec<[(Limit, Key, u64); 3]> =
        items.iter().map(|item| (item.limit.clone(), Key::new(item.key), item.cost)).collect();
    Box::pin(async move {
        let items: SmallVec<[Item<'_>; 3]> =
            owned.iter().map(|(limit, key, cost)| Item::new(limit, key).cost(*cost)).collect();
        let watch = Stopwatch::start();
        let answer = shared.limiter.charge_with(&once(&items, asked.as_deref())).await;
        shared.numbers.charged(watch, &answer);
        (answer, owned[0].1.clone(), asked)
    })
}

/// The charge of these items, billed once where that is asked for.
#[inline]
fn once<'a>(items: &'a [Item<'a>], asked: Option<&'a Asked>) -> ChargeRequest<'a> {
    let request = ChargeRequest::new(items);
    match asked {
        Some(asked) => asked.once(request),
        None => request,
    }
}

/// Tells the service what its request was charged.
pub(crate) fn tell<S: Store>(extensions: &mut Extensions, slot: &Arc<Slot<S>>, asked: Option<Box<Asked>>) {
    if let Some(asked) = asked {
        extensions.insert(asked.told(slot.replay));
    }
    extensions.insert(Charged::new(slot.clone()));
}

/// Whether a request goes on.
pub(crate) enum Verdict<S: Store> {
    /// It does, and this is left to decide of its charge.
    Passes(Arc<Slot<S>>),
    /// It does not.
    Refused(Box<Refused>),
}

/// A request that does not go on.
pub(crate) struct Refused {
    terms: Terms,
    why: Why,
}

enum Why {
    Denied(Denial),
    Trouble(Error),
    /// An idempotency key has billed another charge.
    Reused,
    /// It has billed this charge before, and the layer answers that.
    Replayed(Receipt),
}

/// What a store's answer means by the rules.
#[inline(always)]
pub(crate) fn judge<S: Store>(
    shared: &Arc<Shared<S>>,
    terms: Terms,
    answer: Result<Decision, Error>,
    key: KeyRef<'_>,
    asked: Option<&Asked>,
) -> Verdict<S> {
    let refused = |terms, why| Verdict::Refused(Box::new(Refused { terms, why }));
    if let (Some(_), Err(error)) = (asked, &answer)
        && shared.is_key_reused(&terms, error)
    {
        return refused(terms, Why::Reused);
    }
    let passes = match &answer {
        Ok(decision) => decision.may_proceed(),
        Err(error) => terms.allows(shared, error),
    };
    shared.numbers.decided(&terms, &answer, passes);
    match answer {
        Ok(Decision::Allowed(receipt)) if receipt.is_replay() && asked.is_some_and(|asked| !asked.passes) => {
            refused(terms, Why::Replayed(receipt))
        }
        // Straight into its place: a receipt is large to move.
        Ok(Decision::Allowed(receipt)) => {
            Verdict::Passes(Arc::new(Slot::new(Arc::clone(shared), terms, Place::Here(receipt))))
        }
        Ok(Decision::Denied(denial)) => refused(terms, Why::Denied(denial)),
        Ok(Decision::Unchecked(unchecked)) => unchecked_by(shared, terms, unchecked.error(), key),
        Err(error) if passes => unchecked_by(shared, terms, &error, key),
        Err(error) => refused(terms, Why::Trouble(error)),
    }
}

/// A request passes in spite of this error.
#[cold]
fn unchecked_by<S: Store>(shared: &Arc<Shared<S>>, terms: Terms, error: &Error, key: KeyRef<'_>) -> Verdict<S> {
    observe::unchecked(shared, terms.rule(shared), key, error);
    Verdict::Passes(Arc::new(Slot::new(Arc::clone(shared), terms, Place::Nowhere)))
}

impl Refused {
    /// The response to the request.
    pub(crate) fn respond<S: Store, D>(
        &self,
        shared: &Shared<S>,
        respond: &impl Respond<D>,
        request: RequestHead<'_>,
        key: KeyRef<'_>,
    ) -> Response<D> {
        let Refused { terms, why } = self;
        let (reason, statuses) = match why {
            Why::Denied(denial) => match denial.trouble() {
                Some(error) => (Reason::Trouble(error), None),
                None => {
                    let denied = Denied { denial, limits: shared.rules.limits(), places: &terms.limits };
                    (Reason::Denied(denied), Some(denial.statuses()))
                }
            },
            Why::Trouble(error) => (Reason::Trouble(error), None),
            Why::Reused => (Reason::IdempotencyKey(KeyFault::Reused), None),
            Why::Replayed(receipt) => (Reason::IdempotencyKey(KeyFault::Replayed), Some(receipt.statuses())),
        };
        let refusal = Refusal { request, rule: terms.rule(shared), reason };
        let mut response = refuse(shared, respond, &refusal, Some(key));
        if let Some(statuses) = statuses {
            shared.write(terms, statuses, response.headers_mut());
        }
        response
    }
}

fn refuse<S: Store, D>(
    shared: &Shared<S>,
    respond: &impl Respond<D>,
    refusal: &Refusal<'_>,
    key: Option<KeyRef<'_>>,
) -> Response<D> {
    observe::refused(shared, refusal, key);
    let mut response = respond.respond(refusal);
    let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers: &mut HeaderMap = response.headers_mut();
    if let (true, Some(challenge)) = (unauthorized, &shared.settings.challenge) {
        headers.entry(WWW_AUTHENTICATE).or_insert_with(|| challenge.clone());
    }
    if let Some(seconds) = refusal.retry_after_seconds() {
        headers.entry(RETRY_AFTER).or_insert_with(|| seconds.into());
    }
    response
}

impl Terms {
    #[inline]
    pub(crate) fn new(charge: &Charge<'_>, items: &Items<'_>) -> Self {
        Terms {
            rules: charge.rules().map(|rule| rule.index() as u32).collect(),
            limits: match items.limits() {
                [limit] => SmallVec::from_buf_and_len([limit.index() as u32, 0, 0, 0], 1),
                limits => limits.iter().map(|limit| limit.index() as u32).collect(),
            },
        }
    }

    /// Whether a request passes in spite of this trouble with the store: by the word of every rule.
    #[cold]
    fn allows<S: Store>(&self, shared: &Shared<S>, error: &Error) -> bool {
        let on_trouble = |rule: &CheckedRule| match () {
            () if error.is_unavailable() => rule.on_unavailable(),
            () if error.is_full() => rule.on_full(),
            () => OnTrouble::Deny,
        };
        self.rules.iter().all(|&rule| on_trouble(shared.rule(rule)) == OnTrouble::Allow)
    }

    /// The name of the rule that is told.
    pub(crate) fn rule<'a, S: Store>(&self, shared: &'a Shared<S>) -> &'a str {
        self.rules.first().map_or("", |&rule| shared.rule(rule).name())
    }
}

impl<C: Clone, S: Store, R: Clone> Clone for RateLimited<C, S, R> {
    fn clone(&self) -> Self {
        RateLimited { inner: self.inner.clone(), shared: Arc::clone(&self.shared), respond: self.respond.clone() }
    }
}

impl<C: fmt::Debug, S: Store, R> fmt::Debug for RateLimited<C, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimited").field("inner", &self.inner).finish_non_exhaustive()
    }
}
