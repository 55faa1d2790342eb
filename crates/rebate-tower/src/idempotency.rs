//! Requests that are billed once: those that bear an `Idempotency-Key`.

mod header;

use std::fmt;
use std::time::Duration;

use http::{Extensions, HeaderMap, Method, StatusCode};
use rebate_core::{ChargeRequest, Error, Idempotency, Item, engine};
use rebate_rules::{Charge, Rules, Subject};
use sha2::{Digest, Sha256};

use crate::subject::Asker;

/// Settings by which a layer bills a request once, however often it is sent under one `Idempotency-Key` (the header of
/// [draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/):
/// a string of 1 to 255 bytes, in double quotes as structured fields write them, or bare as most clients do).
///
/// A key is known for one charged key, [user](crate::RateLimitLayerBuilder::user), rule, method, path and query: on another of
/// them it is another request's, charged anew. It is not compared with the body. [What is answered when](crate#requests-that-are-billed-once) is a table.
///
/// Of several layers around a service that charge one store, let one look at keys: the next would find that a key has billed
/// another charge, and refuse it (422).
///
/// ```
/// use rebate_core::Limiter;
/// use rebate_memory::MemoryStore;
/// use rebate_rules::{Rule, Rules};
/// use rebate_tower::{IdempotencyKeys, RateLimitLayer};
///
/// let rules = Rules::builder().rule(Rule::path("/generate").limit("10/month").key("ip")).build()?;
/// let layer = RateLimitLayer::builder(Limiter::new(MemoryStore::new()), rules)
///     .idempotency_keys(IdempotencyKeys::new().require(["/generate"]))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings take hold when a layer is built with them"]
pub struct IdempotencyKeys {
    methods: Vec<Method>,
    required: Vec<Box<str>>,
    passed: Vec<Box<str>>,
    lifetime: Duration,
}

impl IdempotencyKeys {
    /// Looks at the header of POST and PATCH, requires it nowhere, answers replays itself, and remembers keys for 24 hours.
    pub fn new() -> Self {
        IdempotencyKeys {
            methods: vec![Method::POST, Method::PATCH],
            required: Vec::new(),
            passed: Vec::new(),
            lifetime: Duration::from_secs(86_400),
        }
    }

    /// Of which methods the header is looked at: of those of which a repetition does more than the first one did.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// The rules, by their names, whose requests need the header: without it they are answered 400, where its method is
    /// looked at.
    pub fn require<N: AsRef<str>>(mut self, rules: impl IntoIterator<Item = N>) -> Self {
        self.required = rules.into_iter().map(|rule| rule.as_ref().into()).collect();
        self
    }

    /// The rules, by their names, whose replays go on to the service: it answers them from its own record of the key, which
    /// the handler has by [`IdempotencyKey`]. A service that keeps none would do the work again for nothing.
    /// So would one that records a key only when its work is done: the first request may be under way yet, and be given
    /// back at its end.
    pub fn pass_replays<N: AsRef<str>>(mut self, rules: impl IntoIterator<Item = N>) -> Self {
        self.passed = rules.into_iter().map(|rule| rule.as_ref().into()).collect();
        self
    }

    /// For how long a key is remembered, from the charge on: from a microsecond to a century.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }
}

impl Default for IdempotencyKeys {
    /// [`IdempotencyKeys::new`].
    fn default() -> Self {
        Self::new()
    }
}

/// The `Idempotency-Key` of a request, and whether the request was billed before: in the extensions of requests that
/// were charged with one, and with the feature `axum` an extractor.
///
/// Extracted as `Option<IdempotencyKey>` it may be missing; else a request without it is answered 400, as is a malformed
/// one in either case.
///
/// ```
/// use rebate_tower::IdempotencyKey;
///
/// async fn generate<B>(request: http::Request<B>) -> &'static str {
///     match IdempotencyKey::of(request.extensions()) {
///         Some(key) if key.is_replay() => "what was made under this key, or that it is being made",
///         _ => "made",
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    key: Box<str>,
    replay: bool,
}

impl IdempotencyKey {
    /// That of the request with these extensions. `None` where it bears none, or no layer charged it by one.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<IdempotencyKey>().cloned()
    }

    /// The key, without the quotes it may have come in: 1 to 255 bytes of visible ASCII and spaces. It is unique among the
    /// requests of one client to one method and path, if at all.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the request was billed before, and not now. Of a request that is charged nothing, or passed because the
    /// store was away, nobody knows: it is false then.
    pub fn is_replay(&self) -> bool {
        self.replay
    }

    /// What the header says; `None` where there is none.
    pub(crate) fn in_header(headers: &HeaderMap) -> Result<Option<Self>, KeyFault> {
        let key = header::key(headers)?;
        Ok(key.map(|key| IdempotencyKey { key, replay: false }))
    }
}

impl fmt::Debug for IdempotencyKey {
    /// Its length only: it may be what a service knows a payment by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKey").field("bytes", &self.key.len()).field("replay", &self.replay).finish()
    }
}

/// Why a request is not let through for its key's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    Missing,
    Repeated,
    Empty,
    TooLong,
    Malformed,
    /// It has billed another charge.
    Reused,
    /// It has billed this charge.
    Replayed,
}

impl KeyFault {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            KeyFault::Replayed => StatusCode::CONFLICT,
            KeyFault::Reused => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub(crate) fn code(self) -> &'static str {
        match self {
            KeyFault::Missing => "IDEMPOTENCY_KEY_MISSING",
            KeyFault::Reused => "IDEMPOTENCY_KEY_REUSED",
            KeyFault::Replayed => "IDEMPOTENCY_KEY_REPLAYED",
            KeyFault::Repeated | KeyFault::Empty | KeyFault::TooLong | KeyFault::Malformed => {
                "IDEMPOTENCY_KEY_MALFORMED"
            }
        }
    }

    pub(crate) fn detail(self) -> &'static str {
        match self {
            KeyFault::Missing => "This request needs an Idempotency-Key, such as a random UUID of its own.",
            KeyFault::Repeated => "There is more than one Idempotency-Key; send one.",
            KeyFault::Empty => "The Idempotency-Key is empty; it has 1 to 255 bytes.",
            KeyFault::TooLong => "The Idempotency-Key is too long; it has 1 to 255 bytes.",
            KeyFault::Malformed => {
                "The Idempotency-Key is no string; write it in double quotes, or bare without spaces, quotes, commas, \
                 semicolons and backslashes."
            }
            KeyFault::Reused => "The Idempotency-Key was used for a charge of other limits or costs; use a new one.",
            KeyFault::Replayed => {
                "The request was charged before under this Idempotency-Key. It is charged nothing now, and not carried \
                 out again."
            }
        }
    }
}

/// A layer's settings, for its rules.
pub(crate) struct Once {
    methods: Vec<Method>,
    /// By the rules' places.
    rules: Box<[OfRule]>,
    lifetime: Duration,
}

#[derive(Clone, Copy)]
struct OfRule {
    required: bool,
    passes: bool,
}

impl Once {
    pub(crate) fn new(settings: IdempotencyKeys, rules: &Rules) -> Result<Self, Error> {
        let IdempotencyKeys { methods, required, passed, lifetime } = settings;
        let known = |name: &str| rules.rules().iter().any(|rule| rule.name() == name);
        if let Some(name) = required.iter().chain(&passed).find(|name| !known(name)) {
            return Err(Error::invalid(format!(
                "the settings for idempotency keys name a rule `{name}` that there is none of"
            )));
        }
        if let Some(limit) = rules.limits().first() {
            engine::check_idempotency(&Idempotency::new("key").lifetime(lifetime), &[Item::new(limit.limit(), "")])?;
        }
        let named = |names: &[Box<str>], rule: &str| names.iter().any(|name| **name == *rule);
        let of_rule = |name: &str| OfRule { required: named(&required, name), passes: named(&passed, name) };
        let rules = rules.rules().iter().map(|rule| of_rule(rule.name())).collect();
        Ok(Once { methods, rules, lifetime })
    }

    /// By what a request is to be billed once, if it is.
    pub(crate) fn asked(
        &self,
        asker: &Asker<'_>,
        path: &str,
        charge: &Charge<'_>,
    ) -> Result<Option<Box<Asked>>, KeyFault> {
        let request = asker.request;
        if !self.methods.contains(request.method) {
            return Ok(None);
        }
        let of_rules = || charge.rules().map(|rule| self.rules[rule.index()]);
        let Some(key) = IdempotencyKey::in_header(request.headers)? else {
            return if of_rules().any(|rule| rule.required) { Err(KeyFault::Missing) } else { Ok(None) };
        };
        let query = request.uri.query().unwrap_or_default();
        // Whatever key is charged: users who share one (an address, a tenant) do not know of each other's.
        let user = asker.user().unwrap_or_default();
        let [rule, method] = [charge.rule().name(), request.method.as_str()];
        let name = name([rule, method, path, query, key.key()].map(str::as_bytes), &user);
        let passes = of_rules().all(|rule| rule.passes);
        Ok(Some(Box::new(Asked { key, name, lifetime: self.lifetime, passes })))
    }
}

/// A request that is to be billed once.
pub(crate) struct Asked {
    key: IdempotencyKey,
    name: [u8; 32],
    lifetime: Duration,
    /// Whether the service answers its replays.
    pub(crate) passes: bool,
}

impl Asked {
    /// The same charge, billed once.
    pub(crate) fn once<'a>(&'a self, request: ChargeRequest<'a>) -> ChargeRequest<'a> {
        request.once(Idempotency::new(&self.name).lifetime(self.lifetime))
    }

    /// What the service is told.
    pub(crate) fn told(self, replay: bool) -> IdempotencyKey {
        IdempotencyKey { replay, ..self.key }
    }
}

/// What the store knows the key by: one of a client's two requests never answers for the other.
fn name(parts: [&[u8]; 5], user: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts.into_iter().chain([user]) {
        // Where each part ends is part of what is hashed.
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
