//! What the tests share: a user, layers over memory and over a store that answers later, and requests through them.
#![allow(dead_code, reason = "each test takes what it needs")]

mod later;

use std::borrow::Cow;
use std::convert::Infallible;

use http::{HeaderMap, Request, Response, StatusCode};
use rebate_core::{Limiter, ManualClock, Timestamp};
use rebate_memory::MemoryStore;
use rebate_rules::{Rule, Rules};
use rebate_tower::{Charged, RateLimitLayer, RateLimitLayerBuilder, RequestHead, Respond};
use tower::{Layer, ServiceExt, service_fn};

pub(crate) use later::Later;

pub(crate) type Store = MemoryStore<ManualClock>;

/// Who is logged in.
#[derive(Clone)]
pub(crate) struct User(pub(crate) &'static str);

pub(crate) fn user(request: RequestHead<'_>) -> Option<Cow<'_, [u8]>> {
    Some(request.extensions.get::<User>()?.0.as_bytes().into())
}

/// 2023-11-14 12:00:00 UTC.
pub(crate) const NOON: Timestamp = Timestamp::from_secs(1_699_963_200);

/// A limiter whose clock stands at noon, and the clock.
pub(crate) fn limiter() -> (Limiter<Store>, ManualClock) {
    let clock = ManualClock::at(NOON);
    (Limiter::new(MemoryStore::builder().clock(clock.clone()).build().unwrap()), clock)
}

/// Ten a day for `/generate`, given back by a 409.
pub(crate) fn rules() -> Rules {
    rules_of(Rule::path("/generate").limit("10/day").refund(["409"]))
}

pub(crate) fn rules_of(rule: Rule) -> Rules {
    Rules::builder().rule(rule).build().unwrap()
}

/// A layer of these rules over memory.
pub(crate) fn builder(rules: Rules) -> RateLimitLayerBuilder<Store> {
    RateLimitLayer::builder(limiter().0, rules).user(user)
}

pub(crate) fn layer(rules: Rules) -> RateLimitLayer<Store> {
    builder(rules).build().unwrap()
}

/// A layer of these rules over a store that answers later.
pub(crate) fn later(rules: Rules) -> (RateLimitLayerBuilder<Later>, Limiter<Later>) {
    let limiter = Limiter::new(Later::new());
    (RateLimitLayer::builder(limiter.clone(), rules).user(user), limiter)
}

pub(crate) fn request(path: &str) -> Request<String> {
    let mut request = Request::post(path).body(String::new()).unwrap();
    request.extensions_mut().insert(User("42"));
    request
}

/// What a service of this layer answers, which itself answers `status`.
pub(crate) async fn answer<S: rebate_core::Store, R: Respond<Vec<u8>> + Clone>(
    layer: &RateLimitLayer<S, R>,
    request: Request<String>,
    status: u16,
) -> Response<Vec<u8>> {
    answer_of(layer, request, move |_| async move { status }).await
}

/// What a service of this layer answers whose handler is given the handle and answers a status.
pub(crate) async fn answer_of<S, R, F>(
    layer: &RateLimitLayer<S, R>,
    request: Request<String>,
    handler: impl Fn(Charged) -> F + Clone,
) -> Response<Vec<u8>>
where
    S: rebate_core::Store,
    R: Respond<Vec<u8>> + Clone,
    F: Future<Output = u16>,
{
    let service = layer.layer(service_fn(move |request: Request<String>| {
        let status = handler(Charged::of(request.extensions()));
        drop(request);
        async move {
            let mut response = Response::new(Vec::new());
            *response.status_mut() = StatusCode::from_u16(status.await).unwrap();
            Ok::<_, Infallible>(response)
        }
    }));
    service.oneshot(request).await.unwrap()
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Of `RateLimit` the numbers of the first limit: remaining and seconds.
pub(crate) fn told<B>(response: &Response<B>) -> (u64, u64) {
    let list: sfv::List = sfv::Parser::new(header(response.headers(), "ratelimit")).parse().expect("a list");
    let sfv::ListEntry::Item(item) = &list[0] else { panic!("{list:?}") };
    let number = |name: &str| item.params[name].as_integer().map(|number| i64::from(number) as u64).expect("a number");
    (number("r"), number("t"))
}

/// What a response says remains of its first limit.
pub(crate) fn remaining<B>(response: &Response<B>) -> u64 {
    told(response).0
}

/// What remains of the only limit of `rules` for the user 42.
pub(crate) async fn left(limiter: &Limiter<impl rebate_core::Store>, rules: &Rules) -> u64 {
    limiter.peek(rules.limits()[0].limit(), "user:42").await.unwrap().remaining()
}
