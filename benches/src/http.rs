//! One axum service, bare and behind each rate limiting layer.
//!
//! Every layer keys by the same header, admits every request, and writes the headers that its name says. Of several
//! limits Rebate charges all or none; a peer asks one after the other.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response};
use axum::routing::post;
use axum_governor::extractor::Header;
use axum_governor::{GovernorConfigBuilder, GovernorLayer, Quota};
use rebate_core::Limiter;
use rebate_memory::MemoryStore;
use rebate_rules::{Rule, Rules};
use rebate_tower::{Headers, RateLimitLayer};
use tower::Service;
use tower_governor::errors::GovernorError;
use tower_governor::governor::GovernorConfigBuilder as TowerGovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;

use crate::workload;

static USER: HeaderName = HeaderName::from_static("x-user");

/// Units of each limit, and the seconds in which one of them refills: the headers tell numbers as a service's do.
const QUOTA: u32 = 1000;
const SECONDS: u64 = 86;
/// Users who ask in turn.
const USERS: usize = 1000;
const PATH: &str = "/concepts/generate";

/// A router that answers requests.
pub struct Side {
    /// Its name in the tables.
    pub name: &'static str,
    /// Which headers a response bears.
    pub headers: Said,
    /// Whether it is Rebate's.
    pub ours: bool,
    make: Box<dyn Fn() -> Router>,
    router: Router,
    /// Requests that may still be answered before anybody's quota is used up.
    left: usize,
    users: Vec<HeaderValue>,
    /// Whose turn it is.
    next: usize,
}

/// The headers that a side writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// None: there is no layer.
    Nothing,
    /// `X-RateLimit-Limit` and `-Remaining`; Rebate adds `-Reset`.
    Three,
    /// Those and `RateLimit` and `RateLimit-Policy`.
    Five,
}

impl Said {
    /// As many as a response must have at least.
    fn least(self) -> usize {
        match self {
            Said::Nothing => 0,
            Said::Three => 2,
            Said::Five => 5,
        }
    }
}

/// The bare service and those with `limits` limits in each layer.
pub fn sides(limits: usize) -> Vec<Side> {
    let users: Vec<_> =
        (0..USERS).map(|number| HeaderValue::try_from(workload::key(number)).expect("visible ASCII")).collect();
    let side = |name, headers, ours, make: Box<dyn Fn() -> Router>| {
        let mut side =
            Side { name, headers, ours, make, router: Router::new(), left: 0, users: users.clone(), next: 0 };
        side.prepare(1);
        side
    };
    vec![
        side("bare axum", Said::Nothing, false, Box::new(service)),
        side("rebate, X-RateLimit", Said::Three, true, Box::new(move || rebate(limits, Headers::x_ratelimit()))),
        side("tower_governor", Said::Three, false, Box::new(move || tower_governor(limits))),
        side(
            "rebate, all headers",
            Said::Five,
            true,
            Box::new(move || rebate(limits, Headers::draft_11().and(Headers::x_ratelimit()))),
        ),
        side("axum-governor", Said::Five, false, Box::new(move || axum_governor(limits))),
    ]
}

fn service() -> Router {
    Router::new().route(PATH, post(async || "done"))
}

fn rebate(limits: usize, headers: Headers) -> Router {
    let mut rules = Rules::builder();
    let mut rule = Rule::path(PATH).refund(["409"]);
    for number in 0..limits {
        let name = format!("limit-{number}");
        rules = rules.shared_limit(&name, format!("1/{SECONDS}s burst {QUOTA}"));
        rule = rule.charge(name);
    }
    let rules = rules.rule(rule).build().expect("good rules");
    let layer = RateLimitLayer::builder(Limiter::new(MemoryStore::new()), rules)
        .user(|request| Some(request.headers.get(&USER)?.as_bytes().into()))
        .headers(headers);
    service().layer(layer.build().expect("a layer"))
}

/// The key that all take. governor's are owned.
#[derive(Clone, Debug)]
struct ByUser;

impl KeyExtractor for ByUser {
    type Key = String;

    fn extract<T>(&self, request: &Request<T>) -> Result<String, GovernorError> {
        let user = request.headers().get(&USER).and_then(|user| user.to_str().ok());
        user.map(str::to_owned).ok_or(GovernorError::UnableToExtractKey)
    }
}

fn tower_governor(limits: usize) -> Router {
    let mut router = service();
    for _ in 0..limits {
        let config = TowerGovernorConfigBuilder::default()
            .period(Duration::from_secs(SECONDS))
            .burst_size(QUOTA)
            .key_extractor(ByUser)
            .use_headers()
            .finish()
            .expect("a configuration");
        router = router.layer(tower_governor::GovernorLayer::new(config));
    }
    router
}

fn axum_governor(limits: usize) -> Router {
    let [seconds, burst] = [SECONDS as u32, QUOTA].map(|number| NonZeroU32::new(number).expect("not zero"));
    let quota = Quota::seconds_per_request(seconds).burst(burst);
    let mut config = GovernorConfigBuilder::default().with_extractor(Header(&USER)).quota_default(quota).gc_disable();
    for name in ["second", "third"].into_iter().take(limits - 1) {
        config = config.stack(name, Header(&USER), quota);
    }
    service().layer(GovernorLayer::new(config.finish().expect("a configuration")))
}

impl Side {
    /// Answers `requests` requests, one after the other, of users in turn, and says how long it took.
    ///
    /// # Panics
    /// When a response is not what the side is to answer.
    pub fn answer(&mut self, requests: usize) -> Duration {
        let mut elapsed = Duration::ZERO;
        let mut unanswered = requests;
        while unanswered > 0 {
            let most = unanswered.min(USERS * QUOTA as usize / 2);
            self.prepare(most);
            let start = Instant::now();
            for _ in 0..most {
                let response = one(&mut self.router, &self.users[self.next]);
                self.next = (self.next + 1) % USERS;
                assert!(response.status().is_success(), "{}: {}", self.name, response.status());
            }
            elapsed += start.elapsed();
            unanswered -= most;
        }
        elapsed
    }

    /// Sees to it that so many requests can be answered: with fresh counts, each in use, where there are too few left.
    fn prepare(&mut self, requests: usize) {
        if self.left < requests {
            // With its state, as a server is given it: else axum makes a service anew for every request.
            self.router = (self.make)().with_state(());
            self.users.iter().for_each(|user| drop(one(&mut self.router, user)));
            self.left = USERS * (QUOTA as usize - 3);
        }
        self.left -= requests;
    }

    /// Checks that a response bears the headers.
    ///
    /// # Panics
    /// When it does not.
    pub fn check(&mut self) {
        self.prepare(1);
        let response = one(&mut self.router, &self.users[self.next]);
        let limits = response.headers().keys().filter(|name| name.as_str().contains("ratelimit")).count();
        assert!(limits >= self.headers.least(), "{}: {:?}", self.name, response.headers());
    }
}

fn one(router: &mut Router, user: &HeaderValue) -> Response<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = axum::http::Uri::from_static(PATH);
    request.headers_mut().insert(&USER, user.clone());
    // As a server notes it whose limiters can tell clients by their addresses.
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    let future = pin!(Service::<Request<Body>>::call(router, request));
    let answer: Poll<Result<_, Infallible>> = future.poll(&mut Context::from_waker(Waker::noop()));
    match answer {
        Poll::Ready(Ok(response)) => response,
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => panic!("no side waits"),
    }
}
