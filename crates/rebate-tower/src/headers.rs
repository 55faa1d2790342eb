//! What a response says of its limits.

mod policy;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use rebate_core::{Error, Limit};
use smallvec::SmallVec;

use policy::Lines;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Which headers tell a response's limits.
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
}

impl Writer {
    pub(crate) fn new<'a>(headers: Headers, limits: impl Iterator<Item = &'a Limit>) -> Self {
        Writer { headers, lines: limits.map(Lines::of).collect() }
    }

    pub(crate) fn is_none(&self) -> bool {
        !self.headers.draft_11 && self.headers.three.is_none()
    }

    /// Writes over what the service itself wrote under these names.
    pub(crate) fn write(&self, told: &[Told], headers: &mut HeaderMap) {
        if told.is_empty() {
            return;
        }
        if self.headers.draft_11 {
            headers.insert(RATELIMIT_POLICY, self.policies(told));
            headers.insert(RATELIMIT, self.limits(told));
        }
        if let (Some(three), Some(told)) = (&self.headers.three, closest(told)) {
            headers.insert(&three.limit, self.lines[told.limit].quota.clone());
            headers.insert(&three.remaining, number(told.remaining));
            headers.insert(&three.reset, number(told.seconds));
        }
    }

    fn policies(&self, told: &[Told]) -> HeaderValue {
        if let [one] = told {
            return self.lines[one.limit].policy.clone();
        }
        let mut line = Line::new();
        for told in first_of_each(told) {
            line.begin(self.lines[told.limit].policy.as_bytes());
        }
        line.value()
    }

    fn limits(&self, told: &[Told]) -> HeaderValue {
        let denied = told.iter().any(|told| told.denied);
        let mut line = Line::new();
        for told in first_of_each(told).filter(|told| told.denied || !denied) {
            line.begin(&self.lines[told.limit].remaining);
            line.number(told.remaining);
            line.0.extend_from_slice(b";t=");
            line.number(told.seconds);
        }
        line.value()
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

/// A header's value under way.
struct Line(SmallVec<[u8; 192]>);

impl Line {
    fn new() -> Self {
        Line(SmallVec::new())
    }

    fn begin(&mut self, item: &[u8]) {
        if !self.0.is_empty() {
            self.0.extend_from_slice(b", ");
        }
        self.0.extend_from_slice(item);
    }

    fn number(&mut self, number: u64) {
        let number = number.min(policy::MAX_INTEGER);
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn value(&self) -> HeaderValue {
        visible(HeaderValue::from_bytes(&self.0))
    }
}

/// A number as a header's value; a small one, as most are, without allocating.
pub(crate) fn number(number: u64) -> HeaderValue {
    const TEXT: &str = {
        const DIGITS: [u8; 3000] = {
            let mut digits = [0; 3000];
            let mut at = 0;
            while at < 1000 {
                digits[3 * at] = b'0' + (at / 100) as u8;
                digits[3 * at + 1] = b'0' + (at / 10 % 10) as u8;
                digits[3 * at + 2] = b'0' + (at % 10) as u8;
                at += 1;
            }
            digits
        };
        match std::str::from_utf8(&DIGITS) {
            Ok(text) => text,
            Err(_) => unreachable!(),
        }
    };
    let length = match number {
        0..=9 => 1,
        10..=99 => 2,
        100..=999 => 3,
        _ => return visible(HeaderValue::from_str(itoa::Buffer::new().format(number))),
    };
    let end = 3 * number as usize + 3;
    HeaderValue::from_static(&TEXT[end - length..end])
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
