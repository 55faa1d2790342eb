//! Moments, in whole microseconds.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A moment: whole microseconds since the Unix epoch, from 0 to [`Timestamp::MAX`].
///
/// Moments outside that range are drawn to its nearest end, so no clock value can overflow the
/// arithmetic of a limit, here or in a store whose numbers are doubles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "u64", into = "u64"))]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// The last moment, 2^52 microseconds after the epoch (in the year 2112).
    pub const MAX: Timestamp = Timestamp(1 << 52);

    /// The moment `micros` microseconds after the epoch, at most [`Timestamp::MAX`].
    #[inline]
    pub const fn from_micros(micros: u64) -> Self {
        if micros > Self::MAX.0 { Self::MAX } else { Timestamp(micros) }
    }

    /// The moment `seconds` seconds after the epoch, at most [`Timestamp::MAX`].
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    #[inline]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This moment and `span` more (whole microseconds, the rest dropped).
    pub const fn saturating_add(self, span: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros(span)))
    }

    /// This moment less `span` (whole microseconds, the rest dropped).
    pub const fn saturating_sub(self, span: Duration) -> Self {
        Timestamp(self.0.saturating_sub(micros(span)))
    }
}

impl From<u64> for Timestamp {
    fn from(micros: u64) -> Self {
        Self::from_micros(micros)
    }
}

impl From<Timestamp> for u64 {
    fn from(moment: Timestamp) -> Self {
        moment.0
    }
}

impl From<SystemTime> for Timestamp {
    /// A moment before the epoch becomes the epoch.
    fn from(time: SystemTime) -> Self {
        time.duration_since(SystemTime::UNIX_EPOCH).map_or(Self::EPOCH, |since| Self::from_micros(micros(since)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0 as i64) {
            Ok(moment) => moment.fmt(f),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

/// The whole microseconds of `span`, at most `u64::MAX`.
pub(crate) const fn micros(span: Duration) -> u64 {
    let all = span.as_micros();
    if all > u64::MAX as u128 { u64::MAX } else { all as u64 }
}
