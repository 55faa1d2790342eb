//! The bounds of calendar windows, found by walking over days and the zone's changes of offset.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};
use rebate_core::{Calendar, CalendarUnit};

/// The window that holds `now`: from the last beginning of a unit that is not later, to the first that
/// is.
pub(super) fn window(calendar: &Calendar, now: i128) -> (i128, i128) {
    let zone = TimeZone::get(calendar.zone()).expect("the policy was built with this zone");
    let moment = Timestamp::from_microsecond(now as i64).expect("moments lie before the year 2113");
    let today = zone.to_datetime(moment).date();
    let begins = |ahead: i32| {
        let day = today.saturating_add(ahead.days());
        begins_unit(calendar.unit, day).then(|| first_moment(&zone, day))
    };
    let start = (-800..=2).rev().filter_map(begins).find(|&start| start <= now);
    let end = (-2..=800).filter_map(begins).find(|&end| end > now).expect("a unit ends within two years");
    (start.map_or(0, |start| start.max(0)), end)
}

fn begins_unit(unit: CalendarUnit, day: Date) -> bool {
    match unit {
        CalendarUnit::Day => true,
        CalendarUnit::Week => day.weekday() == Weekday::Monday,
        CalendarUnit::Month => day.day() == 1,
        CalendarUnit::Year => day.day() == 1 && day.month() == 1,
    }
}

/// The first moment at which the zone's clocks show `day` or a later one.
fn first_moment(zone: &TimeZone, day: Date) -> i128 {
    let midnight = day.to_datetime(Time::midnight());
    let as_utc = Offset::UTC.to_timestamp(midnight).expect("days lie before the year 2113");
    let (from, to) = (as_utc - SignedDuration::from_hours(36), as_utc + SignedDuration::from_hours(36));
    // Between two changes of offset, clocks run evenly.
    let changes = zone.following(from).map(|change| change.timestamp()).take_while(|&change| change < to);
    let stretches: Vec<Timestamp> = std::iter::once(from).chain(changes).collect();
    for (at, &stretch) in stretches.iter().enumerate() {
        let until = stretches.get(at + 1).copied().unwrap_or(to);
        let shown = zone.to_offset(stretch).to_timestamp(midnight).expect("as above").max(stretch);
        if shown < until {
            return i128::from(shown.as_microsecond());
        }
    }
    i128::from(to.as_microsecond())
}
