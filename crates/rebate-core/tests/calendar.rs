//! Calendar windows where clocks are changed, days are skipped and time begins and ends.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use rebate_core::{Calendar, CalendarUnit, Timestamp};

const HOUR: u64 = 3_600_000_000;
const DAY: u64 = 24 * HOUR;

fn moment(text: &str) -> u64 {
    text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{text}: {error}")).as_microsecond() as u64
}

#[track_caller]
fn window(unit: CalendarUnit, zone: &str, now: &str) -> (String, String) {
    let (start, end) = Calendar::new(unit, zone).unwrap().bounds(moment(now));
    (Timestamp::from_micros(start).to_string(), Timestamp::from_micros(end).to_string())
}

#[track_caller]
fn check(unit: CalendarUnit, zone: &str, now: &str, start: &str, end: &str) {
    assert_eq!(window(unit, zone, now), (start.to_owned(), end.to_owned()), "{unit} in {zone} at {now}");
}

#[test]
fn days_of_23_and_25_hours() {
    use CalendarUnit::Day;
    let berlin = "Europe/Berlin";
    check(Day, berlin, "2024-03-31T12:00:00Z", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z");
    check(Day, berlin, "2024-10-27T12:00:00Z", "2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z");
    // The last microsecond of one and the first of the next.
    check(Day, berlin, "2024-03-31T21:59:59.999999Z", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z");
    check(Day, berlin, "2024-03-31T22:00:00Z", "2024-03-31T22:00:00Z", "2024-04-01T22:00:00Z");
}

#[test]
fn days_without_a_midnight_begin_at_their_first_moment() {
    use CalendarUnit::Day;
    // 00:00 became 01:00.
    check(Day, "America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
    check(Day, "America/Sao_Paulo", "2018-11-04T02:59:59Z", "2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z");
    check(Day, "Africa/Cairo", "2024-04-26T12:00:00Z", "2024-04-25T22:00:00Z", "2024-04-26T21:00:00Z");
    check(Day, "Asia/Beirut", "2024-03-31T12:00:00Z", "2024-03-30T22:00:00Z", "2024-03-31T21:00:00Z");
}

#[test]
fn a_day_that_was_skipped_is_no_window() {
    // Samoa went from Thursday 29 December 2011 to Saturday the 31st.
    use CalendarUnit::{Day, Month, Week, Year};
    let apia = "Pacific/Apia";
    check(Day, apia, "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
    check(Day, apia, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
    check(Week, apia, "2011-12-30T12:00:00Z", "2011-12-26T10:00:00Z", "2012-01-01T10:00:00Z");
    check(Month, apia, "2011-12-30T12:00:00Z", "2011-12-01T10:00:00Z", "2011-12-31T10:00:00Z");
    check(Year, apia, "2011-12-30T12:00:00Z", "2011-01-01T10:00:00Z", "2011-12-31T10:00:00Z");
    // So did Kwajalein, Saturday 21 August 1993.
    check(Day, "Pacific/Kwajalein", "1993-08-22T00:00:00Z", "1993-08-21T12:00:00Z", "1993-08-22T12:00:00Z");
}

#[test]
fn clocks_put_back_across_midnight_do_not_reopen_the_day_before() {
    use CalendarUnit::{Day, Month};
    // At 00:01 on 7 November 2010 it became 23:01 on the 6th again.
    let zone = "America/St_Johns";
    let (start, end) = ("2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
    for now in ["2010-11-07T02:30:00Z", "2010-11-07T02:31:00Z", "2010-11-07T03:29:59Z", "2010-11-07T03:30:00Z"] {
        check(Day, zone, now, start, end);
    }
    check(Day, zone, "2010-11-07T02:29:59Z", "2010-11-06T02:30:00Z", start);
    // The month of the same clocks, whose last day is put back a week later.
    check(Month, zone, "2010-10-31T12:00:00Z", "2010-10-01T02:30:00Z", "2010-11-01T02:30:00Z");
}

#[test]
fn weeks_begin_on_monday_and_leap_days_count() {
    use CalendarUnit::{Day, Month, Week, Year};
    check(Week, "UTC", "2024-06-09T23:59:59Z", "2024-06-03T00:00:00Z", "2024-06-10T00:00:00Z");
    check(Week, "UTC", "2024-06-10T00:00:00Z", "2024-06-10T00:00:00Z", "2024-06-17T00:00:00Z");
    check(Day, "UTC", "2024-02-29T12:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z");
    check(Month, "UTC", "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z");
    check(Month, "UTC", "2023-02-28T12:00:00Z", "2023-02-01T00:00:00Z", "2023-03-01T00:00:00Z");
    check(Month, "UTC", "2100-02-28T12:00:00Z", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z");
    check(Month, "Europe/Berlin", "2024-10-31T12:00:00Z", "2024-09-30T22:00:00Z", "2024-10-31T23:00:00Z");
    check(Year, "Asia/Kathmandu", "2024-12-31T12:00:00Z", "2023-12-31T18:15:00Z", "2024-12-31T18:15:00Z");
}

#[test]
fn the_beginning_and_the_end_of_time() {
    use CalendarUnit::{Day, Month, Week, Year};
    for zone in ZONES {
        for unit in [Day, Week, Month, Year] {
            let calendar = Calendar::new(unit, zone).unwrap();
            for now in [0, 1, DAY, Timestamp::MAX.as_micros() - 1, Timestamp::MAX.as_micros()] {
                let (start, end) = calendar.bounds(now);
                assert!(start <= now && now < end, "{unit} in {zone} at {now}: {start} to {end}");
                assert!(end - start <= calendar.longest());
            }
            assert_eq!(calendar.bounds(0).0, 0, "{unit} in {zone}");
            let (start, end) = calendar.bounds(u64::MAX);
            assert!(start <= Timestamp::MAX.as_micros() && end > start);
        }
    }
    assert_eq!(Calendar::new(Day, "UTC").unwrap().bounds(0), (0, DAY));
}

const ZONES: [&str; 16] = [
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Havana",
    "America/Scoresbysund",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Asia/Gaza",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
    "Antarctica/Troll",
];

/// Walks window by window through the years in which `zone` changed its clocks most.
#[test]
fn windows_follow_each_other_without_gap_or_overlap() {
    use CalendarUnit::{Day, Month, Week, Year};
    for zone in ZONES {
        for unit in [Day, Week, Month, Year] {
            let calendar = Calendar::new(unit, zone).unwrap();
            let mut now = 0;
            while now < moment("2040-01-01T00:00:00Z") {
                let (start, end) = calendar.bounds(now);
                assert_eq!(start, now, "{unit} in {zone}: a window begins where the last one ended");
                for within in [end - HOUR, end - 1] {
                    assert_eq!(calendar.bounds(within.max(start)), (start, end), "{unit} in {zone} at {within}");
                }
                assert!(end - start <= calendar.longest(), "{unit} in {zone}");
                first_of_its_unit(unit, zone, end);
                now = end;
            }
        }
    }
}

/// A window begins at the first moment of a date that begins a unit, unless the zone skipped that date.
fn first_of_its_unit(unit: CalendarUnit, zone: &str, start: u64) {
    let zone = TimeZone::get(zone).unwrap();
    let date =
        |micros: u64| -> Date { zone.to_datetime(jiff::Timestamp::from_microsecond(micros as i64).unwrap()).date() };
    let (before, after) = (date(start - 1), date(start));
    assert!(before < after, "{before} to {after}");
    let skipped_one = before.tomorrow().unwrap() < after;
    let first = match unit {
        CalendarUnit::Day => true,
        CalendarUnit::Week => after.weekday() == Weekday::Monday,
        CalendarUnit::Month => after.day() == 1,
        CalendarUnit::Year => after.day_of_year() == 1,
    };
    assert!(first || skipped_one, "{unit} begins on {after}");
}

proptest! {
    #[test]
    fn the_window_holds_now_and_its_neighbours_touch_it(
        now in 0..=Timestamp::MAX.as_micros(),
        zone in prop::sample::select(&ZONES[..]),
        unit in prop::sample::select(vec![CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month, CalendarUnit::Year]),
    ) {
        let calendar = Calendar::new(unit, zone).unwrap();
        let (start, end) = calendar.bounds(now);
        prop_assert!(start <= now && now < end);
        if end <= Timestamp::MAX.as_micros() {
            prop_assert_eq!(calendar.bounds(end).0, end);
        }
        if start > 0 {
            prop_assert_eq!(calendar.bounds(start - 1).1, start);
        }
    }
}
