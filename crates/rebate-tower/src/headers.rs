//! What a response says of its limits.

mod policy;

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use rebate_core::{Error, Limit};

use policy::Lines;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Which headers tell a response's limits.
///
/// They replace what the inner service wrote under their names, unless its response is itself a denial that says when
/// to come again (429, 503 or a gRPC status with `Retry-After`; 429 with `RateLimit`), such as that of another layer
/// inside: that stays as it is. Their seconds are counted from the charge, or from a later refund or settlement, not from
/// the end of a long handler: never too early.
///
/// ```
/// use rebate_tower::Headers;
///
/// let own = Headers::prefixed("X-AI-Quota")?; // X-AI-Quota-Limit, -Remaining and -Reset
/// let both = Headers::draft_11().and(Headers::x_ratelimit());
/// # Ok::<(), rebate_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Headers {
    draft_11: bool,
    three: Option<Three>,
}

#[derive(Clone, Debug)]
struct Three {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

impl Headers {
    /// `RateLimit-Policy: "day";q=1000;w=86400` and `RateLimit: "day";r=9;t=3600`, as the 11th draft of the IETF's
    /// [RateLimit header fields](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/11/) writes
    /// them. Both list every limit of the request, in a denial `RateLimit` those that denied it, since `Retry-After`
    /// may not be earlier than any `t`. The draft is no standard yet; another one will be another choice here.
    pub fn draft_11() -> Self {
        Headers { draft_11: true, three: None }
    }

    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` (in seconds from now): of several limits
    /// the one that denied for longest, else the one with the least remaining.
    pub fn x_ratelimit() -> Self {
        let [limit, remaining, reset] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
        Headers {
            draft_11: false,
            three: Some(Three {
                limit: HeaderName::from_static(limit),
                remaining: HeaderName::from_static(remaining),
                reset: HeaderName::from_static(reset),
            }),
        }
    }

    /// The same three under a prefix of your own: `X-AI-Quota` makes `X-AI-Quota-Limit` and so on.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when a header's name cannot begin so.
    pub fn prefixed(prefix: &str) -> Result<Self, Error> {
        let name = |end: &str| {
            HeaderName::from_bytes(format!("{prefix}-{end}").as_bytes())
                .map_err(|cause| Error::invalid(format!("no header's name begins with `{prefix}`")).with_source(cause))
        };
        let three = Three { limit: name("limit")?, remaining: name("remaining")?, reset: name("reset")? };
        Ok(Headers { draft_11: false, three: Some(three) })
    }

    /// None of them. A denial still says `Retry-After`.
    pub fn none() -> Self {
        Headers { draft_11: false, three: None }
    }

    /// These and those of `other`; of two triples the other's.
    #[must_use]
    pub fn and(self, other: Headers) -> Self {
        Headers { draft_11: self.draft_11 || other.draft_11, three: other.three.or(self.three) }
    }
}

impl Default for Headers {
    /// [`Headers::draft_11`].
    fn default() -> Self {
        Self::draft_11()
    }
}

/// The headers of an inner service's response, to be written to; `None` where it is a denial that says for itself when to
/// come again: what other limits have left would contradict it, and `Retry-After` may not be earlier than any `t`.
pub(crate) fn open<D>(response: &mut Response<D>) -> Option<&mut HeaderMap> {
    let status = response.status();
    let headers = response.headers_mut();
    // Most responses have few headers: a look at each is quicker than a hash.
    let says_when = match headers.keys_len() {
        0..=6 => headers.keys().any(|name| *name == RETRY_AFTER),
        _ => headers.contains_key(RETRY_AFTER),
    };
    let told = match status {
        StatusCode::TOO_MANY_REQUESTS => says_when || headers.contains_key(RATELIMIT),
        StatusCode::SERVICE_UNAVAILABLE => says_when,
        _ => says_when && headers.contains_key("grpc-status"),
    };
    (!told).then_some(headers)
}

/// What is to be said of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its place among the layer's limits.
    pub(crate) limit: usize,
    pub(crate) remaining: u64,
    /// Whole seconds, rounded up: until a charge that was denied is admitted, else until the whole quota is free.
    pub(crate) seconds: u64,
    pub(crate) denied: bool,
}

/// Writes the headers of a choice, for limits known beforehand.
#[derive(Debug)]
pub(crate) struct Writer {
    headers: Headers,
    lines: Box<[Lines]>,
    /// For each rule with several limits, which they were when it was first told, and what was written.
    policies: Box<[OnceLock<Policies>]>,
}

/// Limits, and what was written of their policies.
type Policies = (Box<[usize]>, HeaderValue);

impl Writer {
    pub(crate) fn new<'a>(headers: Headers, rules: usize, limits: impl Iterator<Item = &'a Limit>) -> Self {
        let policies = (0..rules).map(|_| OnceLock::new()).collect();
        Writer { headers, lines: limits.map(Lines::of).collect(), policies }
    }

    pub(crate) fn is_none(&self) -> bool {
        !self.headers.draft_11 && self.headers.three.is_none()
    }

    /// Writes over what the service itself wrote under these names. `rule` is the place of the rule.
    pub(crate) fn write(&self, rule: usize, told: &[Told], headers: &mut HeaderMap) {
        if told.is_empty() {
            return;
        }
        if self.headers.draft_11 {
            headers.insert(RATELIMIT_POLICY, self.policies(rule, told));
            headers.insert(RATELIMIT, self.limits(told));
        }
        if let (Some(three), Some(told)) = (&self.headers.three, closest(told)) {
            headers.insert(&three.limit, self.lines[told.limit].quota.clone());
            headers.insert(&three.remaining, number(told.remaining));
            headers.insert(&three.reset, number(told.seconds));
        }
    }

    fn policies(&self, rule: usize, told: &[Told]) -> HeaderValue {
        if let [one] = told {
            return self.lines[one.limit].policy.clone();
        }
        let known = &self.policies[rule];
        if let Some((limits, value)) = known.get()
            && limits.iter().eq(told.iter().map(|told| &told.limit))
        {
            return value.clone();
        }
        let mut line = Vec::new();
        for told in first_of_each(told) {
            begin(&mut line, self.lines[told.limit].policy.as_bytes());
        }
        let value = field(line);
        // Under another plan the rule has other limits: those are written anew each time.
        let _ = known.set((told.iter().map(|told| told.limit).collect(), value.clone()));
        value
    }

    fn limits(&self, told: &[Told]) -> HeaderValue {
        let denied = told.iter().any(|told| told.denied);
        let listed = || first_of_each(told).filter(move |told| told.denied || !denied);
        let length = |told: &Told| {
            self.lines[told.limit].remaining.len() + digits(integer(told.remaining)) + digits(integer(told.seconds)) + 5
        };
        // As long as it will be, so that it need not be copied.
        let mut line = Vec::with_capacity((listed().map(length).sum::<usize>()).saturating_sub(2));
        for told in listed() {
            begin(&mut line, &self.lines[told.limit].remaining);
            write_integer(&mut line, told.remaining);
            line.extend_from_slice(b";t=");
            write_integer(&mut line, told.seconds);
        }
        field(line)
    }
}

/// Of two counts of one limit, charged for two keys, that which is closer to exhaustion.
fn first_of_each(told: &[Told]) -> impl Iterator<Item = &Told> {
    told.iter()
        .enumerate()
        .filter(|(at, this)| {
            let mut others = told.iter().enumerate().filter(|(_, other)| other.limit == this.limit);
            others.all(|(other_at, other)| (closeness(this), *at) <= (closeness(other), other_at))
        })
        .map(|(_, told)| told)
}

fn closest(told: &[Told]) -> Option<&Told> {
    told.iter().min_by_key(|told| closeness(told))
}

/// The smaller, the closer to exhaustion.
fn closeness(told: &Told) -> (bool, u64, std::cmp::Reverse<u64>) {
    // Among those that deny it is the wait that counts.
    let remaining = if told.denied { 0 } else { told.remaining };
    (!told.denied, remaining, std::cmp::Reverse(told.seconds))
}

fn begin(line: &mut Vec<u8>, item: &[u8]) {
    if !line.is_empty() {
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(item);
}

fn write_integer(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(integer(number)).as_bytes());
}

/// What a structured field can say of a number.
fn integer(number: u64) -> u64 {
    number.min(policy::MAX_INTEGER)
}

fn field(line: Vec<u8>) -> HeaderValue {
    visible(HeaderValue::from_maybe_shared(Bytes::from(line)))
}

/// A number as a header's value; one of up to four digits, as most are, without allocating.
pub(crate) fn number(number: u64) -> HeaderValue {
    static TEXT: &str = {
        static DIGITS: [u8; 40_000] = {
            let mut digits = [0; 40_000];
            let mut at = 0;
            while at < 10_000 {
                digits[4 * at] = b'0' + (at / 1000) as u8;
                digits[4 * at + 1] = b'0' + (at / 100 % 10) as u8;
                digits[4 * at + 2] = b'0' + (at / 10 % 10) as u8;
                digits[4 * at + 3] = b'0' + (at % 10) as u8;
                at += 1;
            }
            digits
        };
        match std::str::from_utf8(&DIGITS) {
            Ok(text) => text,
            Err(_) => unreachable!(),
        }
    };
    if number >= 10_000 {
        return visible(HeaderValue::from_str(itoa::Buffer::new().format(number)));
    }
    let end = 4 * number as usize + 4;
    HeaderValue::from_static(&TEXT[end - digits(number)..end])
}

/// How many digits a number has.
fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

/// A limit's name is visible ASCII, and so is all that is written around it.
fn visible(value: Result<HeaderValue, http::header::InvalidHeaderValue>) -> HeaderValue {
    match value {
        Ok(value) => value,
        Err(error) => unreachable!("visible ASCII is a header's value: {error}"),
    }
}

#[cfg(test)]
mod tests;
