//! Answers: decisions, statuses, and what became of refunds and settlements.

use std::fmt;
use std::time::Duration;

use smallvec::SmallVec;

use crate::error::Error;
use crate::few::Few;
use crate::receipt::Receipt;
use crate::time::Timestamp;

/// The answer to a charge.
#[derive(Debug)]
#[must_use = "a decision says whether the request may go on"]
pub enum Decision {
    /// It was charged. The receipt gives it back.
    Allowed(Receipt),
    /// Nothing was charged.
    Denied(Denial),
    /// The store did not answer and the limits' [`Fallback`](crate::Fallback) lets such requests
    /// pass: nothing to refund.
    Unchecked(Unchecked),
}

impl Decision {
    /// Whether the request may go on: allowed or unchecked.
    pub fn may_proceed(&self) -> bool {
        !matches!(self, Decision::Denied(_))
    }

    /// The receipt, if the charge was admitted.
    pub fn receipt(self) -> Option<Receipt> {
        match self {
            Decision::Allowed(receipt) => Some(receipt),
            _ => None,
        }
    }

    /// The denial, if it was denied.
    pub fn denial(self) -> Option<Denial> {
        match self {
            Decision::Denied(denial) => Some(denial),
            _ => None,
        }
    }
}

/// Why a request passes without having been counted.
#[derive(Debug)]
pub struct Unchecked {
    error: Error,
}

impl Unchecked {
    pub(crate) fn new(error: Error) -> Self {
        Unchecked { error }
    }

    /// What kept the store from answering.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

/// The status does not deny.
const ADMITS: u64 = u64::MAX;
/// The status denies for ever.
const NEVER: u64 = u64::MAX - 1;

/// Quota, remaining and reset of one limit for one key, at one moment.
#[derive(Clone, Copy)]
pub struct Status {
    item: u32,
    /// Microseconds until it would be admitted, or one of the two below: a charge is this much quicker.
    retry: u64,
    quota: u64,
    /// What is free, in parts of which `unit` make one unit: so that a charge need not divide.
    free: u64,
    unit: u64,
    reset: u64,
}

impl Status {
    /// For those who write algorithms: `remaining` units free, all of them in `reset` microseconds.
    #[inline(always)]
    pub fn new(quota: u64, remaining: u64, reset: u64) -> Self {
        Self::in_parts(quota, remaining, 1, reset)
    }

    /// The same with what is free given in parts, `unit` of them to a unit.
    #[inline(always)]
    pub fn in_parts(quota: u64, free: u64, unit: u64, reset: u64) -> Self {
        Status { item: 0, retry: ADMITS, quota, free, unit, reset }
    }

    /// What [`in_parts`](Status::in_parts) was given: quota, free, unit and reset.
    #[inline(always)]
    pub fn to_parts(&self) -> [u64; 4] {
        [self.quota, self.free, self.unit, self.reset]
    }

    /// The status of the request's item `item`, which denies when `retry` is given.
    #[inline(always)]
    #[must_use]
    pub fn of_item(mut self, item: usize, retry: Option<Retry>) -> Self {
        self.item = item as u32;
        self.retry = match retry {
            None => ADMITS,
            Some(Retry::Never) => NEVER,
            Some(Retry::AfterMicros(micros)) => micros.min(NEVER - 1),
        };
        self
    }

    /// Which item of the request this is of: its place in the slice that was charged or peeked at
    /// (of items with the same limit and key, the first), or the receipt's part.
    pub fn item(&self) -> usize {
        self.item as usize
    }

    /// Units the limit allows.
    pub fn quota(&self) -> u64 {
        self.quota
    }

    /// Units left: a charge of so many is admitted, of one more denied.
    #[inline]
    pub fn remaining(&self) -> u64 {
        if self.unit == 1 { self.free } else { self.free / self.unit }
    }

    /// Units in use: the quota less what remains.
    pub fn used(&self) -> u64 {
        self.quota.saturating_sub(self.remaining())
    }

    /// How long until, without other traffic, the whole quota is free again; for a fixed window,
    /// until its end. Whole microseconds.
    pub fn reset_after(&self) -> Duration {
        Duration::from_micros(self.reset)
    }

    /// In a denial, when this limit would admit the charge; `None` when it did not deny it.
    #[inline]
    pub fn denied(&self) -> Option<Retry> {
        match self.retry {
            ADMITS => None,
            NEVER => Some(Retry::Never),
            micros => Some(Retry::AfterMicros(micros)),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("item", &self.item)
            .field("quota", &self.quota)
            .field("remaining", &self.remaining())
            .field("reset_after", &self.reset_after())
            .field("denied", &self.denied())
            .finish()
    }
}

impl PartialEq for Status {
    /// Whether they say the same, in whatever parts.
    fn eq(&self, other: &Self) -> bool {
        let said = |status: &Self| (status.item, status.retry, status.quota, status.remaining(), status.reset);
        said(self) == said(other)
    }
}

impl Eq for Status {}

/// What a status says, as it is written for programs.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename = "Status")]
struct StatusText {
    #[serde(default)]
    item: u32,
    quota: u64,
    remaining: u64,
    reset_micros: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    denied: Option<Retry>,
}

#[cfg(feature = "serde")]
impl serde::Serialize for Status {
    /// As `item`, `quota`, `remaining`, `reset_micros` and, where it denies, `denied`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StatusText {
            item: self.item,
            quota: self.quota,
            remaining: self.remaining(),
            reset_micros: self.reset,
            denied: self.denied(),
        }
        .serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Status {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = StatusText::deserialize(deserializer)?;
        Ok(Status::new(text.quota, text.remaining, text.reset_micros).of_item(text.item as usize, text.denied))
    }
}

/// When a denied charge would be admitted, absent other traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Retry {
    /// After this many microseconds: denied until then, admitted at it.
    AfterMicros(u64),
    /// Never: it costs more than the quota.
    Never,
}

impl Retry {
    #[inline]
    pub(crate) fn after_micros(micros: u64) -> Self {
        Retry::AfterMicros(micros)
    }

    /// The wait, unless it is for ever.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Retry::AfterMicros(micros) => Some(Duration::from_micros(micros)),
            Retry::Never => None,
        }
    }
}

/// A charge that was denied. Nothing was taken from any of its limits.
#[derive(Clone, Debug)]
pub struct Denial {
    statuses: Few<Status>,
    cause: Option<std::sync::Arc<Error>>,
}

impl Denial {
    /// For those who write stores: a denial by the statuses that say [`denied`](Status::denied).
    pub fn new(statuses: SmallVec<[Status; 1]>) -> Self {
        Denial { statuses: statuses.into(), cause: None }
    }

    /// The same for the only status, on a store's fastest path.
    #[inline(always)]
    pub fn of_one(status: Status) -> Self {
        Denial { statuses: Few::one(status), cause: None }
    }

    /// The same for `count` statuses, told by their places: up to three without the heap.
    #[inline(always)]
    pub fn of_more(count: usize, status: impl FnMut(usize) -> Status) -> Self {
        Denial { statuses: Few::of(count, status), cause: None }
    }

    #[cold]
    pub(crate) fn by_fallback(error: Error) -> Self {
        Denial { statuses: Few::none(), cause: Some(std::sync::Arc::new(error)) }
    }

    /// When the same charge would be admitted, absent other traffic. [`Retry::Never`] too when the store's
    /// [trouble](Denial::trouble) denied it: nobody knows how long that will last.
    pub fn retry(&self) -> Retry {
        self.statuses.iter().filter_map(Status::denied).max().unwrap_or(Retry::Never)
    }

    /// The wait until the same charge would be admitted, absent other traffic; `None` when it never will be,
    /// because it costs more than a quota, or when nobody knows, because the store's
    /// [trouble](Denial::trouble) denied it.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry().duration()
    }

    /// The status of each limit charged, those that denied it and those that would have admitted it.
    /// Empty when the store did not answer.
    pub fn statuses(&self) -> &[Status] {
        &self.statuses
    }

    /// The statuses of the limits that denied it.
    pub fn violated(&self) -> impl Iterator<Item = &Status> {
        self.statuses.iter().filter(|status| status.denied().is_some())
    }

    /// When it was the store's trouble and a limit's [`Fallback`](crate::Fallback) that denied it,
    /// that trouble.
    pub fn trouble(&self) -> Option<&Error> {
        self.cause.as_deref()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Denial {
    /// Its statuses, and the wait: null when it is for ever or nobody knows it.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Denial", 2)?;
        fields.serialize_field("statuses", self.statuses())?;
        let wait = self.retry_after().map(|wait| wait.as_micros() as u64);
        fields.serialize_field("retry_after_micros", &wait)?;
        fields.end()
    }
}

/// What became of a refund.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Refund {
    /// One for each part of the receipt, in its order.
    pub parts: SmallVec<[PartRefund; 1]>,
}

impl Refund {
    /// Units given back by this call, over all parts.
    pub fn given_back(&self) -> u64 {
        self.parts.iter().map(|part| part.given_back).sum()
    }

    /// Whether any part had expired.
    pub fn any_expired(&self) -> bool {
        self.parts.iter().any(|part| part.expired)
    }
}

/// What became of the refund of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PartRefund {
    /// Units given back by this call.
    pub given_back: u64,
    /// Units given back in all, by this call and earlier ones, as far as store and receipt know.
    pub in_all: u64,
    /// Whether the window it was charged to is gone, so that nothing can be given back.
    pub expired: bool,
    /// Quota, remaining and reset after the refund; `None` when the store does not know the limit.
    pub status: Option<Status>,
}

/// What a settlement does when the true cost is higher and does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Shortfall {
    /// Changes nothing and answers with the denial.
    #[default]
    Refuse,
    /// Takes what is there and reports what is missing.
    TakeWhatIsThere,
}

/// The answer to a settlement.
#[derive(Clone, Debug)]
#[must_use = "a settlement may have been refused"]
pub enum Settlement {
    /// The receipt holds the true cost now, but for the shortfalls told.
    Settled(Settled),
    /// A higher cost did not fit; nothing was changed.
    Refused(Denial),
}

impl Settlement {
    /// What was settled, unless it was refused.
    pub fn settled(self) -> Option<Settled> {
        match self {
            Settlement::Settled(settled) => Some(settled),
            Settlement::Refused(_) => None,
        }
    }
}

/// What a settlement did.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Settled {
    /// One for each part that was charged at first, in the receipt's order.
    pub parts: SmallVec<[PartSettled; 1]>,
}

/// What a settlement did to one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PartSettled {
    /// Units charged in addition by this call.
    pub topped_up: u64,
    /// Units given back by this call.
    pub given_back: u64,
    /// Units of the true cost that the receipt does not hold: they did not fit, came too late, or were given
    /// back before.
    pub shortfall: u64,
    /// Whether some of it could not be done because the receipt is too old: units to give back whose
    /// window is gone, or a top-up after a settlement's time.
    pub expired: bool,
    /// Quota, remaining and reset now; `None` when the store does not know the limit.
    pub status: Option<Status>,
}

/// What became of a renewal.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Renewal {
    /// One for each part of the receipt, in its order.
    pub parts: SmallVec<[PartRenewal; 1]>,
}

impl Renewal {
    /// Whether every lease of the receipt was renewed.
    pub fn all_renewed(&self) -> bool {
        self.parts.iter().all(|part| *part != PartRenewal::Expired)
    }
}

/// What became of the renewal of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum PartRenewal {
    /// The lease ends at this moment now.
    Until(Timestamp),
    /// The lease had ended or was released: the place is lost.
    Expired,
    /// The part is not of a concurrency limit.
    NotALease,
}

/// A place of a concurrency limit that somebody holds.
#[derive(Debug)]
pub struct Lease {
    /// What releases it (by a refund) or renews it: as good as the receipt of its charge, of this part alone. It bears no
    /// idempotency key.
    pub receipt: Receipt,
    /// The places it holds.
    pub units: u64,
    /// When it ends by itself, by the store's clock.
    pub until: Timestamp,
}
