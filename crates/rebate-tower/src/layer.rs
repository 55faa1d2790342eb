//! The layer and its settings.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use rebate_core::{Error, Limiter, Status, Store};
use rebate_rules::{CheckedRule, OnMissingKey, Rules, Source};
use tower_layer::Layer;

use crate::charged::Terms;
use crate::client::ClientAddress;
use crate::grpc;
use crate::headers::{Headers, Told, Writer};
use crate::idempotency::{IdempotencyKeys, Once};
use crate::mask::Masks;
use crate::observe::{Cause, Numbers};
use crate::refusal::seconds;
use crate::request::{RequestHead, ResponseHead};
use crate::respond::ProblemJson;
use crate::service::RateLimited;
use crate::subject::{socket_address, target_path};

/// Charges requests by rules, and gives back by their responses. Cheap to clone; clones, and the services they are laid
/// around, share rules and counts.
///
/// ```
/// use rebate_core::Limiter;
/// use rebate_memory::MemoryStore;
/// use rebate_rules::{Rule, Rules};
/// use rebate_tower::RateLimitLayer;
///
/// #[derive(Clone)]
/// struct User(String);
///
/// let rules = Rules::builder().rule(Rule::path("/generate").limit("10/month").key("user").refund(["409"])).build()?;
/// let layer = RateLimitLayer::builder(Limiter::new(MemoryStore::new()), rules)
///     .user(|request| Some(request.extensions.get::<User>()?.0.as_bytes().into()))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RateLimitLayer<S: Store, R = ProblemJson> {
    shared: Arc<Shared<S>>,
    respond: R,
}

/// Settings of a [`RateLimitLayer`].
#[must_use = "settings take hold when the layer is built"]
pub struct RateLimitLayerBuilder<S: Store, R = ProblemJson> {
    limiter: Limiter<S>,
    rules: Rules,
    settings: Settings,
    headers: Headers,
    idempotency: Option<IdempotencyKeys>,
    respond: R,
}

type Extract = Box<dyn for<'a> Fn(RequestHead<'a>) -> Option<Cow<'a, [u8]>> + Send + Sync>;
type Address = Box<dyn Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync>;
type Path = Box<dyn for<'a> Fn(RequestHead<'a>) -> &'a str + Send + Sync>;
type Predicate = Box<dyn Fn(ResponseHead<'_>) -> bool + Send + Sync>;

pub(crate) struct Settings {
    pub(crate) user: Option<Extract>,
    pub(crate) functions: Vec<(Box<str>, Extract)>,
    pub(crate) socket: Address,
    path: Option<Path>,
    pub(crate) challenge: Option<HeaderValue>,
    pub(crate) client: ClientAddress,
    refund_when: Option<Predicate>,
    refund_on_5xx: bool,
    refund_on_error: bool,
    refund_on_panic: bool,
    refund_on_disconnect: bool,
    masks: Masks,
}

/// What all clones of a layer and all their requests share.
pub(crate) struct Shared<S: Store> {
    pub(crate) limiter: Limiter<S>,
    pub(crate) rules: Rules,
    pub(crate) settings: Settings,
    pub(crate) writer: Writer,
    pub(crate) numbers: Numbers,
    /// By what requests are billed once, if they are.
    pub(crate) once: Option<Once>,
    /// Whether any rule refunds by a gRPC status.
    refunds_grpc: bool,
}

impl<S: Store> RateLimitLayer<S> {
    /// Settings to change before building: a layer that charges what `rules` say with `limiter`.
    pub fn builder(limiter: Limiter<S>, rules: Rules) -> RateLimitLayerBuilder<S> {
        let settings = Settings {
            user: None,
            functions: Vec::new(),
            socket: Box::new(socket_address),
            path: None,
            challenge: None,
            client: ClientAddress::socket(),
            refund_when: None,
            refund_on_5xx: false,
            refund_on_error: false,
            refund_on_panic: false,
            refund_on_disconnect: false,
            masks: Masks::of_this_process(),
        };
        let (headers, respond) = (Headers::default(), ProblemJson);
        RateLimitLayerBuilder { limiter, rules, settings, headers, idempotency: None, respond }
    }
}

impl<S: Store, R> RateLimitLayerBuilder<S, R> {
    /// How the rules' key `user` is found: who is asking, as an earlier layer noted it. `None` where nobody is known.
    pub fn user(
        mut self,
        user: impl for<'a> Fn(RequestHead<'a>) -> Option<Cow<'a, [u8]>> + Send + Sync + 'static,
    ) -> Self {
        self.settings.user = Some(Box::new(user));
        self
    }

    /// The function that rules call `function:NAME`.
    pub fn function(
        mut self,
        name: &str,
        function: impl for<'a> Fn(RequestHead<'a>) -> Option<Cow<'a, [u8]>> + Send + Sync + 'static,
    ) -> Self {
        self.settings.functions.push((name.into(), Box::new(function)));
        self
    }

    /// Where the client's address is read from; the socket unless said.
    pub fn client_address(mut self, client: ClientAddress) -> Self {
        self.settings.client = client;
        self
    }

    /// How the address at the other end of the socket is found. Unless said it is a [`SocketAddr`](std::net::SocketAddr)
    /// among the request's extensions, or, with the feature `axum`, axum's `ConnectInfo` of one (have the router made by
    /// `into_make_service_with_connect_info`). tonic notes a `TcpConnectInfo` there, whose `remote_addr` it is.
    pub fn socket_address(
        mut self,
        address: impl Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.settings.socket = Box::new(address);
        self
    }

    /// The path that rules see. Unless said it is that of the request's target as the layer gets it; with the feature
    /// `axum`, as the outermost router got it (axum's `OriginalUri`). Other routers that strip a prefix before a layer
    /// inside them need this, or rules without the prefix: what no rule matches is not limited.
    pub fn path(mut self, path: impl for<'a> Fn(RequestHead<'a>) -> &'a str + Send + Sync + 'static) -> Self {
        self.settings.path = Some(Box::new(path));
        self
    }

    /// What a 401 says in `WWW-Authenticate`, `Bearer` for one: how a user who is missing may make themselves known.
    /// RFC 9110 asks for it, but only the service knows; nothing unless said.
    pub fn challenge(mut self, challenge: HeaderValue) -> Self {
        self.settings.challenge = Some(challenge);
        self
    }

    /// Which headers tell a response's limits; those of [draft 11](Headers::draft_11) unless said.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Bills requests once that bear an `Idempotency-Key`, however often they are sent; not unless said: the header is not
    /// looked at then.
    pub fn idempotency_keys(mut self, keys: IdempotencyKeys) -> Self {
        self.idempotency = Some(keys);
        self
    }

    /// Gives back what was charged for requests whose response this function says so of, beside those whose status a
    /// rule names.
    pub fn refund_when(mut self, predicate: impl Fn(ResponseHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.settings.refund_when = Some(Box::new(predicate));
        self
    }

    /// Whether a response of status 500 to 599 gives back what was charged; not unless said.
    pub fn refund_on_5xx(mut self, refund: bool) -> Self {
        self.settings.refund_on_5xx = refund;
        self
    }

    /// Whether an error of the inner service, instead of a response, gives back what was charged; not unless said.
    pub fn refund_on_error(mut self, refund: bool) -> Self {
        self.settings.refund_on_error = refund;
        self
    }

    /// Whether a panic of the inner service gives back what was charged; not unless said. A layer inside this one that
    /// catches panics answers them with a response: see [`refund_on_5xx`](Self::refund_on_5xx).
    pub fn refund_on_panic(mut self, refund: bool) -> Self {
        self.settings.refund_on_panic = refund;
        self
    }

    /// Whether a client that goes away before its response gets back what was charged; not unless said. Where the
    /// work is done by then, or goes on, it would be had for nothing.
    pub fn refund_on_disconnect(mut self, refund: bool) -> Self {
        self.settings.refund_on_disconnect = refund;
        self
    }

    /// The secret by which keys are masked in logs. Processes that share it write the same mask for the same key;
    /// unless said it is random, and a key's mask is the same as long as the process runs.
    pub fn mask_secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.settings.masks = Masks::with_secret(secret.as_ref());
        self
    }

    /// What refused requests are answered; [`ProblemJson`] unless said.
    pub fn respond<T>(self, respond: T) -> RateLimitLayerBuilder<S, T> {
        let RateLimitLayerBuilder { limiter, rules, settings, headers, idempotency, respond: _ } = self;
        RateLimitLayerBuilder { limiter, rules, settings, headers, idempotency, respond }
    }

    /// The layer. Registers every limit of the rules with the limiter.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when rules ask for the user or a function that no setting gives, or lease places (`3 at once
    /// for 10m`): these are charged by hand; also when a setting names a rule that there is none of, or the lifetime of
    /// idempotency keys is none of those taken;
    /// [`Error::is_conflict`] when a limit's name stands for another policy in the limiter.
    pub fn build(self) -> Result<RateLimitLayer<S, R>, Error> {
        let RateLimitLayerBuilder { limiter, rules, settings, headers, idempotency, respond } = self;
        check(&rules, &settings)?;
        if let Some(lease) = rules.limits().iter().find(|limit| limit.limit().policy().is_concurrency()) {
            return Err(Error::invalid(format!(
                "the limit `{}` ({}) leases places, which a layer does not give back when the response is there; charge it by hand with `Limiter::charge`, and refund the receipt when the work is done",
                lease.limit().name(),
                lease.policy(),
            )));
        }
        let once = idempotency.map(|keys| Once::new(keys, &rules)).transpose()?;
        for limit in rules.limits() {
            limiter.register(limit.limit())?;
        }
        let writer = Writer::new(headers, rules.rules().len(), rules.limits().iter().map(|limit| limit.limit()));
        let refunds_grpc = rules.rules().iter().any(|rule| (0..=16).any(|status| rule.refunds().contains_grpc(status)));
        let numbers = Numbers::new(rules.limits());
        let shared = Shared { limiter, rules, settings, writer, numbers, once, refunds_grpc };
        Ok(RateLimitLayer { shared: Arc::new(shared), respond })
    }
}

impl Settings {
    /// The path that rules see.
    #[inline]
    pub(crate) fn path<'a>(&self, request: RequestHead<'a>) -> &'a str {
        match &self.path {
            Some(path) => path(request),
            None => target_path(request),
        }
    }
}

fn check(rules: &Rules, settings: &Settings) -> Result<(), Error> {
    let given = |name: &str| settings.functions.iter().any(|(given, _)| **given == *name);
    if let Some(name) = rules.functions().find(|name| !given(name)) {
        return Err(Error::invalid(format!(
            "rules ask for `function:{name}`; give it with `.function(\"{name}\", …)`"
        )));
    }
    let asks = |rule: &&CheckedRule| {
        let taken = match rule.on_missing_key() {
            OnMissingKey::Take(source) => Some(source),
            _ => None,
        };
        [Some(rule.key()), rule.group(), taken].into_iter().flatten().any(Source::is_user)
    };
    match rules.rules().iter().find(asks) {
        Some(rule) if settings.user.is_none() => Err(Error::invalid(format!(
            "the rule `{}` asks for the user; say who that is with `.user(…)`, or give the rule another key",
            rule.name()
        ))),
        _ => Ok(()),
    }
}

impl<S: Store> Shared<S> {
    pub(crate) fn mask(&self, key: rebate_core::KeyRef<'_>) -> crate::mask::Mask {
        self.settings.masks.mask(key)
    }

    /// Whether an error is that the request's idempotency key has billed another charge: the same word is said of a limit
    /// whose name stands for another one.
    #[cold]
    pub(crate) fn is_key_reused(&self, terms: &Terms, error: &Error) -> bool {
        let limits = self.rules.limits();
        error.is_conflict()
            && terms.limits.iter().all(|&limit| self.limiter.register(limits[limit as usize].limit()).is_ok())
    }

    /// Why a response gives the charge back by itself, if it does: by the word of every rule that charged it, or of
    /// the settings.
    pub(crate) fn refund_by_response(&self, rules: &[u32], response: ResponseHead<'_>) -> Option<Cause> {
        let every = |by: &dyn Fn(&CheckedRule) -> bool| rules.iter().all(|&rule| by(self.rule(rule)));
        let status = response.status.as_u16();
        if every(&|rule| rule.refunds().contains(status)) {
            return Some(Cause::Status(status));
        }
        if self.refunds_grpc
            && let Some(cause) = grpc::status(response.headers).and_then(|status| self.refund_by_grpc(rules, status))
        {
            return Some(cause);
        }
        if self.settings.refund_on_5xx && response.status.is_server_error() {
            return Some(Cause::Status(status));
        }
        self.settings.refund_when.as_ref().is_some_and(|when| when(response)).then_some(Cause::Response)
    }

    pub(crate) fn refund_by_grpc(&self, rules: &[u32], status: u32) -> Option<Cause> {
        let every = rules.iter().all(|&rule| self.rule(rule).refunds().contains_grpc(status));
        every.then_some(Cause::GrpcStatus(status))
    }

    /// Whether a request that ends so, without a response, gives the charge back.
    pub(crate) fn refund_by_end(&self, cause: Cause) -> Option<Cause> {
        let Settings { refund_on_error, refund_on_panic, refund_on_disconnect, .. } = self.settings;
        let refunds = match cause {
            Cause::Error => refund_on_error,
            Cause::Panic => refund_on_panic,
            Cause::Disconnect => refund_on_disconnect,
            Cause::Handler | Cause::Status(_) | Cause::GrpcStatus(_) | Cause::Response => true,
        };
        refunds.then_some(cause)
    }

    pub(crate) fn rule(&self, place: u32) -> &CheckedRule {
        &self.rules.rules()[place as usize]
    }

    /// Writes what statuses say.
    pub(crate) fn write(&self, terms: &Terms, statuses: &[Status], headers: &mut HeaderMap) {
        if self.writer.is_none() {
            return;
        }
        let rule = terms.rules.first().map_or(0, |&rule| rule as usize);
        let mut told = statuses.iter().filter_map(|status| Some(told(*terms.limits.get(status.item())?, status)));
        match statuses.len() {
            1 => self.writer.write(rule, told.next().as_slice(), headers),
            _ => self.writer.write(rule, &told.collect::<smallvec::SmallVec<[Told; 3]>>(), headers),
        }
    }
}

fn told(limit: u32, status: &Status) -> Told {
    let denied = status.denied();
    let wait = denied.and_then(rebate_core::Retry::duration).map(|wait| wait.as_micros() as u64);
    let [_, _, _, reset] = status.to_parts();
    Told {
        limit: limit as usize,
        remaining: status.remaining(),
        seconds: seconds(wait.unwrap_or(reset)),
        denied: denied.is_some(),
    }
}

impl<S: Store, R: Clone, C> Layer<C> for RateLimitLayer<S, R> {
    type Service = RateLimited<C, S, R>;

    fn layer(&self, inner: C) -> Self::Service {
        RateLimited::new(inner, Arc::clone(&self.shared), self.respond.clone())
    }
}

impl<S: Store, R: Clone> Clone for RateLimitLayer<S, R> {
    fn clone(&self) -> Self {
        RateLimitLayer { shared: Arc::clone(&self.shared), respond: self.respond.clone() }
    }
}

impl<S: Store, R> fmt::Debug for RateLimitLayer<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("limiter", &self.shared.limiter).finish_non_exhaustive()
    }
}

impl<S: Store, R> fmt::Debug for RateLimitLayerBuilder<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayerBuilder").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}
