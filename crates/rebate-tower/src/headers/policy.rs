//! What can be written of a limit before any request comes.

use http::HeaderValue;
use rebate_core::algorithm::fixed::Layout;
use rebate_core::{Algorithm, Limit, Policy};
use sfv::{Integer, ItemSerializer, KeyRef, StringRef, key_ref, string_ref};

const AVAILABLE: &KeyRef = key_ref("r");
const QUOTA: &KeyRef = key_ref("q");
const UNIT: &KeyRef = key_ref("qu");
const WINDOW: &KeyRef = key_ref("w");
const CONCURRENT_REQUESTS: &StringRef = string_ref("concurrent-requests");

/// The largest integer of a structured field. Quotas can be larger.
pub(super) const MAX_INTEGER: u64 = 999_999_999_999_999;

/// One limit's words in the headers.
#[derive(Debug)]
pub(super) struct Lines {
    /// `"day";q=1000;w=86400`.
    pub(super) policy: HeaderValue,
    /// `"day";r=`, to be followed by a number.
    pub(super) remaining: Box<[u8]>,
    /// `1000`.
    pub(super) quota: HeaderValue,
}

impl Lines {
    pub(super) fn of(limit: &Limit) -> Self {
        let Ok(name) = StringRef::from_str(limit.name()) else {
            unreachable!("a limit's name is visible ASCII: {}", limit.name())
        };
        let policy = limit.policy();
        let mut item = ItemSerializer::new().bare_item(name).parameter(QUOTA, integer(policy.quota()));
        if policy.is_concurrency() {
            item = item.parameter(UNIT, CONCURRENT_REQUESTS);
        }
        if let Some(seconds) = window(policy) {
            item = item.parameter(WINDOW, integer(seconds));
        }
        let zero = ItemSerializer::new().bare_item(name).parameter(AVAILABLE, Integer::ZERO).finish();
        Lines {
            policy: super::visible(HeaderValue::try_from(item.finish())),
            remaining: zero.strip_suffix('0').unwrap_or(&zero).as_bytes().into(),
            quota: super::number(policy.quota()),
        }
    }
}

fn integer(number: u64) -> Integer {
    number.try_into().unwrap_or(Integer::MAX)
}

/// The whole seconds, rounded up, in which the quota may be used: a bucket's are those in which an empty one fills.
/// Calendar windows differ in length, and leases have none.
fn window(policy: &Policy) -> Option<u64> {
    let micros = match policy.algorithm() {
        Algorithm::Fixed(fixed) => match fixed.layout {
            Layout::Aligned(span) | Layout::FromFirst(span) => span,
            Layout::Calendar(_) => return None,
        },
        Algorithm::Sliding(sliding) => sliding.window,
        Algorithm::Log(entries) => entries.span,
        Algorithm::Bucket(bucket) => bucket.span.micros,
        Algorithm::Concurrency(_) => return None,
    };
    Some(micros.div_ceil(1_000_000).max(1))
}
