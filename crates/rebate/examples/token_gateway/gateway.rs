//! The gateway: charges an estimate, asks the upstream, settles at what the reply says it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::response::Response;
use axum::routing::post;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rebate::{AnyStore, Decision, Error, Item, Limit, Limiter, Metered, Settled, Status};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::asked::Asked;
use crate::relay;
use crate::{answers, answers::error};

/// The largest body, asked or answered, that is not a stream.
const LARGEST: usize = 16 << 20;
/// The longest name of a user.
const LONGEST: usize = 64;

/// A charge to be settled; `None`: it is settled, or stands.
pub(crate) type Meter = Option<Metered<AnyStore>>;

/// What users may use, and how that is counted.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Tokens per minute of each user, as a policy's text.
    pub(crate) minute: String,
    /// Tokens per day of each user.
    pub(crate) day: String,
    /// Whether what a reply took is settled. Else estimates stand.
    pub(crate) settles: bool,
    /// How long a reply may take to come and to be taken; then it is broken off. An estimate that is not settled a quarter
    /// of it later is given back by the store itself.
    pub(crate) within: Duration,
    /// Tokens of a reply whose request says not how long it may be.
    pub(crate) assumed: u64,
}

/// What requests share.
pub(crate) struct Gateway {
    limiter: Limiter<AnyStore>,
    minute: Limit,
    day: Limit,
    terms: Terms,
    upstream: Uri,
    client: Client<HttpConnector, Body>,
    shortfall: AtomicU64,
}

impl Gateway {
    /// A gateway before the API at `upstream`, such as `http://127.0.0.1:8000`.
    pub(crate) fn new(
        limiter: Limiter<AnyStore>,
        terms: &Terms,
        upstream: &str,
    ) -> Result<Arc<Self>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Arc::new(Gateway {
            minute: limiter.limit("tokens-minute", &terms.minute)?,
            day: limiter.limit("tokens-day", &terms.day)?,
            limiter,
            terms: terms.clone(),
            upstream: format!("{upstream}/v1/chat/completions").parse()?,
            client: Client::builder(TokioExecutor::new()).build_http(),
            shortfall: AtomicU64::new(0),
        }))
    }

    /// Tokens of the minutes that were used but could not be charged any more.
    pub(crate) fn shortfall(&self) -> u64 {
        self.shortfall.load(Ordering::Relaxed)
    }

    /// Takes both limits or neither.
    async fn charge(&self, user: &str, estimate: u64) -> Result<Decision, Error> {
        let items = [Item::new(&self.minute, user).cost(estimate), Item::new(&self.day, user).cost(estimate)];
        if self.terms.settles {
            // Longer than its reply may take, so that it is settled before it lapses.
            self.limiter.reserve(&items, self.terms.within * 5 / 4).await
        } else {
            self.limiter.charge_all(&items).await
        }
    }

    /// Asks the upstream, and settles; by `end` at the latest.
    async fn ask(self: Arc<Self>, asked: Asked, charged: Option<Status>, mut meter: Meter, end: Instant) -> Response {
        let request = Request::post(self.upstream.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(asked.body.clone()))
            .expect("its parts are right");
        let reply = match timeout_at(end, self.client.request(request)).await {
            Ok(Ok(reply)) => reply.map(Body::new),
            Err(_) => return self.too_late(&asked, meter).await,
            Ok(Err(trouble)) => {
                // It may have worked once it was asked: then the estimate stands.
                let used = if trouble.is_connect() { 0 } else { asked.estimate };
                tracing::error!(%trouble, used, "the upstream does not answer");
                self.settle(&mut meter, used).await;
                return error(StatusCode::BAD_GATEWAY, "server_error", None, "The upstream does not answer.");
            }
        };
        let (head, body) = reply.into_parts();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = head.status;
        if let Some(kind) = head.headers.get(CONTENT_TYPE) {
            response.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        // What is answered otherwise, though a stream was asked for, tells its usage as a plain reply does, if at all.
        if head.status.is_success() && asked.streams && is_stream(&head.headers) {
            *response.body_mut() = relay::body(body, &asked, self, meter, end);
            return told(response, charged);
        }
        let body = match timeout_at(end, to_bytes(body, LARGEST)).await {
            Ok(Ok(body)) => body,
            Err(_) => return self.too_late(&asked, meter).await,
            Ok(Err(trouble)) => {
                tracing::error!(%trouble, "the upstream broke off");
                self.settle(&mut meter, asked.estimate).await;
                return error(StatusCode::BAD_GATEWAY, "server_error", None, "The upstream broke off.");
            }
        };
        let used = if head.status.is_success() { used(&body).unwrap_or(asked.estimate) } else { 0 };
        let settled = self.settle(&mut meter, used).await;
        *response.body_mut() = body.into();
        told(response, settled.or(charged))
    }

    async fn too_late(&self, asked: &Asked, mut meter: Meter) -> Response {
        tracing::error!(used = asked.estimate, "the upstream takes too long");
        self.settle(&mut meter, asked.estimate).await;
        error(StatusCode::GATEWAY_TIMEOUT, "server_error", None, "The upstream takes too long.")
    }

    /// Settles, unless that is off or done; answers where the minute stands then.
    pub(crate) async fn settle(&self, meter: &mut Meter, used: u64) -> Option<Status> {
        let mut meter = meter.take()?;
        meter.used(used);
        match meter.settle().await {
            Ok(settlement) => settlement.settled().and_then(|settled| self.note(used, &settled)),
            Err(trouble) => {
                tracing::error!(%trouble, used, "not settled as yet; else the estimate is given back when its time is up");
                None
            }
        }
    }

    fn note(&self, used: u64, settled: &Settled) -> Option<Status> {
        let minute = settled.parts.first()?;
        tracing::debug!(used, given_back = minute.given_back, topped_up = minute.topped_up, "settled");
        if minute.shortfall > 0 {
            self.shortfall.fetch_add(minute.shortfall, Ordering::Relaxed);
            tracing::warn!(used, shortfall = minute.shortfall, "it took more than was left");
        }
        minute.status
    }
}

/// The routes.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(completions))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(gateway)
}

async fn completions(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(user) = user(&headers) else {
        let message = "Say who you are: `Authorization: Bearer NAME`.";
        return error(StatusCode::UNAUTHORIZED, "invalid_request_error", Some("invalid_api_key"), message);
    };
    let asked = match Asked::read(&body, gateway.terms.assumed) {
        Ok(asked) => asked,
        Err(fault) => return error(StatusCode::BAD_REQUEST, "invalid_request_error", None, &fault),
    };
    let end = Instant::now() + gateway.terms.within;
    let receipt = match gateway.charge(&user, asked.estimate).await {
        Ok(Decision::Allowed(receipt)) => receipt,
        Ok(Decision::Denied(denial)) => {
            let names = [gateway.minute.name(), gateway.day.name()];
            return answers::denied(&denial, names, asked.estimate);
        }
        Ok(Decision::Unchecked(_)) => return answers::unavailable(),
        Err(trouble) => {
            tracing::error!(%trouble, "not charged");
            return answers::unavailable();
        }
    };
    let charged = receipt.statuses().first().copied();
    let meter = match gateway.terms.settles.then(|| Metered::new(&gateway.limiter, receipt)).transpose() {
        Ok(meter) => meter,
        Err(trouble) => {
            tracing::error!(%trouble, "not metered");
            return answers::unavailable();
        }
    };
    // A task of its own: what is ordered is paid for, so that it is also read when the client goes away meanwhile.
    match tokio::spawn(gateway.ask(asked, charged, meter, end)).await {
        Ok(response) => response,
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", None, "This is our fault."),
    }
}

/// Who asks. `Authorization: Bearer ada` stands for authentication: whoever says to be `ada` is.
fn user(headers: &HeaderMap) -> Option<String> {
    let name = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.trim_ascii();
    let is_name = (1..=LONGEST).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| format!("user:{name}"))
}

/// Whether a reply is a stream of events.
fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// What a reply says that it took.
fn used(body: &[u8]) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body["usage"]["total_tokens"].as_u64()
}

fn told(mut response: Response, minute: Option<Status>) -> Response {
    if let Some(status) = minute {
        answers::tell(response.headers_mut(), &status);
    }
    response
}
