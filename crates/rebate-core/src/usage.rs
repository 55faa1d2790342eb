//! What a key has used, of what, until when: for a page or an endpoint that shows it.

use std::fmt;
use std::time::Duration;

use crate::decision::Status;
use crate::error::Error;
use crate::key::KeyRef;
use crate::limit::Limit;
use crate::limiter::Limiter;
use crate::store::{Item, Statuses, Store, SyncStore};
use crate::time::Timestamp;

/// How much of a limit a key has used, at one moment. Asking changes nothing.
///
/// As text it is `49/50`. In a serde format (feature `serde`) it has the fields `limit`, `used`, `quota`, `remaining` and
/// `reset_micros`, which stay what they are.
///
/// ```
/// # use rebate_core::{Limiter, Error, Store};
/// # async fn example(limiter: &Limiter<impl Store>) -> Result<(), Error> {
/// let daily = limiter.limit("daily", "50/day")?;
/// let usage = limiter.usage(&daily, "user:42").await?;
/// println!("{usage} used today, {} left", usage.remaining);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Usage {
    /// The limit's name.
    pub limit: Box<str>,
    /// Units in use; at most the quota.
    pub used: u64,
    /// Units the limit allows.
    pub quota: u64,
    /// Units left: a charge of so many is admitted, of one more denied.
    pub remaining: u64,
    /// How long until, without other traffic, the whole quota is free again; for a fixed window, until its end. Whole
    /// microseconds. A span, for only the store knows its clock.
    #[cfg_attr(feature = "serde", serde(rename = "reset_micros", with = "micros"))]
    pub reset_after: Duration,
}

impl Usage {
    /// What a status says of `limit`: one that a charge, a refund or a page of [keys](crate::Page::keys) has told.
    ///
    /// ```
    /// # use rebate_core::{Limiter, Error, Store, Usage};
    /// # async fn example(limiter: &Limiter<impl Store>) -> Result<(), Error> {
    /// let daily = limiter.limit("daily", "50/day")?;
    /// for (key, status) in limiter.list(&daily, None, 100).await?.keys {
    ///     println!("{}: {}", String::from_utf8_lossy(key.as_ref().bytes()), Usage::of(&daily, &status));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn of(limit: &Limit, status: &Status) -> Self {
        Usage {
            limit: limit.name().into(),
            used: status.used(),
            quota: status.quota(),
            remaining: status.remaining(),
            reset_after: status.reset_after(),
        }
    }

    /// The moment of the reset for whoever asked at `now`, by a clock of their own.
    pub fn resets_at(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.reset_after)
    }
}

impl<S: Store> Limiter<S> {
    /// What `key` has used of `limit`, of what, until when; changes nothing.
    ///
    /// # Errors
    /// As [`Limiter::peek`].
    pub async fn usage<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<Usage, Error> {
        Ok(Usage::of(limit, &self.peek(limit, key).await?))
    }

    /// The same for each item, in one call of the store; looks at no cost.
    ///
    /// # Errors
    /// As [`Limiter::peek_all`].
    pub async fn usage_all(&self, items: &[Item<'_>]) -> Result<Vec<Usage>, Error> {
        Ok(of_items(items, &self.peek_all(items).await?))
    }
}

/// Each method is the one of the same name less `_now`, without a future.
impl<S: SyncStore> Limiter<S> {
    /// [`Limiter::usage`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn usage_now<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Result<Usage, Error> {
        Ok(Usage::of(limit, &self.peek_now(limit, key)?))
    }

    /// [`Limiter::usage_all`] without a future.
    ///
    /// # Errors
    /// As there.
    pub fn usage_all_now(&self, items: &[Item<'_>]) -> Result<Vec<Usage>, Error> {
        Ok(of_items(items, &self.peek_all_now(items)?))
    }
}

impl fmt::Display for Usage {
    /// `49/50`: used, of what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.used, self.quota))
    }
}

fn of_items(items: &[Item<'_>], statuses: &Statuses) -> Vec<Usage> {
    items.iter().zip(statuses).map(|(item, status)| Usage::of(item.limit, status)).collect()
}

/// A span as all answers have it.
#[cfg(feature = "serde")]
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(crate::time::micros(*span))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}
