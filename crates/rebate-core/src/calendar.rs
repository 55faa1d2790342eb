//! Calendar windows: days, weeks from Monday, months and years in a time zone.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp as Moment, ToSpan};

use crate::error::Error;
use crate::time::Timestamp;

/// A calendar's unit. Weeks begin on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum CalendarUnit {
    /// From midnight to midnight, 23 to 25 hours where clocks are changed.
    Day,
    /// From Monday.
    Week,
    /// From the first of the month.
    Month,
    /// From the first of January.
    Year,
}

/// A unit in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    /// The unit.
    pub unit: CalendarUnit,
    /// The zone whose midnights count.
    zone: TimeZone,
}

impl Calendar {
    /// `unit` in the IANA zone `zone`.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the zone is not known.
    pub fn new(unit: CalendarUnit, zone: &str) -> Result<Self, Error> {
        let utc = zone.eq_ignore_ascii_case("utc") || zone.eq_ignore_ascii_case("etc/utc");
        let zone = if utc {
            TimeZone::UTC
        } else {
            TimeZone::get(zone).map_err(|cause| {
                Error::invalid(format!(
                    "`{zone}` is not a time zone known here; IANA names such as `Europe/Berlin` are"
                ))
                .with_source(cause)
            })?
        };
        Ok(Calendar { unit, zone })
    }

    /// The zone's IANA name.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// Whether the zone is UTC.
    pub fn is_utc(&self) -> bool {
        self.zone == TimeZone::UTC
    }

    /// The longest that a window of this unit lasts, in microseconds: for a day the 25 hours of an
    /// autumn day and then some.
    pub fn longest(&self) -> u64 {
        let days = match self.unit {
            CalendarUnit::Day => 2,
            CalendarUnit::Week => 8,
            CalendarUnit::Month => 32,
            CalendarUnit::Year => 367,
        };
        days * 86_400 * 1_000_000
    }

    /// The window that holds `now`: its start and end, in microseconds since the epoch. The window
    /// that holds the epoch starts there at the earliest.
    pub fn bounds(&self, now: u64) -> (u64, u64) {
        let now = now.min(Timestamp::MAX.as_micros());
        let date = Moment::from_microsecond(now as i64)
            .map(|moment| self.zone.to_datetime(moment).date())
            .unwrap_or(Date::MIN);
        // Each unit begins at the first moment of its first day, and the window is that of the last unit
        // begun. It need not be the one whose date the clock shows: clocks put back across midnight show
        // the day before once more, and a zone that skipped a whole day began it together with the next.
        let begins = |ahead| self.midnight(self.first_day(date, ahead));
        let mut start = begins(0);
        for ahead in 1..=4 {
            let end = begins(ahead);
            if end > now {
                return (start.min(now), end);
            }
            start = end;
        }
        // No zone is so far from its own dates; whatever happens, the window holds `now`.
        (start.min(now), now + 1)
    }

    /// The first day of the unit that holds `date`, or of one `ahead` of it.
    fn first_day(&self, date: Date, ahead: i32) -> Date {
        let (first, span) = match self.unit {
            CalendarUnit::Day => (date, ahead.days()),
            CalendarUnit::Week => {
                let since_monday = i32::from(date.weekday().to_monday_zero_offset());
                (date.saturating_sub(since_monday.days()), ahead.weeks())
            }
            CalendarUnit::Month => (date.first_of_month(), ahead.months()),
            CalendarUnit::Year => (date.first_of_year(), ahead.years()),
        };
        first.saturating_add(span)
    }

    /// The first moment of `date` in the zone.
    fn midnight(&self, date: Date) -> u64 {
        date.to_zoned(self.zone.clone())
            .and_then(|zoned| zoned.start_of_day())
            .map_or(0, |zoned| u64::try_from(zoned.timestamp().as_microsecond()).unwrap_or(0))
    }
}

impl CalendarUnit {
    /// Its name in the text of a limit.
    pub const fn name(self) -> &'static str {
        match self {
            CalendarUnit::Day => "day",
            CalendarUnit::Week => "week",
            CalendarUnit::Month => "month",
            CalendarUnit::Year => "year",
        }
    }
}

impl fmt::Display for CalendarUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
