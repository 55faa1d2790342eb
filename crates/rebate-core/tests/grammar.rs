//! The text form of a policy: what reads, what it prints as, and where an error points.

use std::time::Duration;

use proptest::prelude::*;
use rebate_core::{CalendarUnit, MAX_QUOTA, MAX_SLIDING_QUOTA, Policy};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

#[track_caller]
fn reads(text: &str, policy: Policy, printed: &str) {
    let read = Policy::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(read, policy, "{text}");
    assert_eq!(read.to_string(), printed, "{text}");
    assert_eq!(Policy::parse(printed).expect("what is printed reads back"), policy, "{printed}");
}

#[test]
fn the_texts_of_the_documentation_read_and_print_as_themselves() {
    use CalendarUnit::{Day, Month, Week, Year};
    let calendar = |quota, unit, zone| Policy::calendar(quota, unit, zone).unwrap();
    for (text, policy) in [
        ("10/month", calendar(10, Month, "UTC")),
        ("10/week", calendar(10, Week, "UTC")),
        ("10/year", calendar(10, Year, "UTC")),
        ("60/minute", Policy::fixed(60, MINUTE).unwrap()),
        ("50/hour", Policy::fixed(50, HOUR).unwrap()),
        ("1000/day", Policy::fixed(1000, DAY).unwrap()),
        ("5/30s", Policy::fixed(5, 30 * SECOND).unwrap()),
        ("1000/day in Europe/Berlin", calendar(1000, Day, "Europe/Berlin")),
        ("1000/day in UTC", calendar(1000, Day, "UTC")),
        ("7/week in Asia/Kathmandu", calendar(7, Week, "Asia/Kathmandu")),
        ("100/minute sliding", Policy::sliding(100, MINUTE).unwrap()),
        ("100/minute sliding log", Policy::sliding_log(100, MINUTE).unwrap()),
        ("10/second burst 20", Policy::bucket(10, SECOND, 20).unwrap()),
        ("3 at once for 10m", Policy::concurrency(3, 10 * MINUTE).unwrap()),
    ] {
        reads(text, policy, text);
    }
    reads("30/24h from first", Policy::from_first(30, DAY).unwrap(), "30/day from first");
}

#[test]
fn other_ways_to_write_the_same() {
    let minute = || Policy::fixed(60, MINUTE).unwrap();
    for text in ["60/m", "60/1m", "60 / 60s", " 60/60 seconds ", "6_0/1minute", "60/minutes", "60\t/\nminute"] {
        reads(text, minute(), "60/minute");
    }
    reads("1/1000us", Policy::fixed(1, Duration::from_millis(1)).unwrap(), "1/millisecond");
    reads("1/7d", Policy::fixed(1, 7 * DAY).unwrap(), "1/7d");
    reads("1/week sliding", Policy::sliding(1, 7 * DAY).unwrap(), "1/7d sliding");
    reads("1/1 month", Policy::calendar(1, CalendarUnit::Month, "UTC").unwrap(), "1/month");
    reads("1/day in etc/utc", Policy::calendar(1, CalendarUnit::Day, "UTC").unwrap(), "1/day in UTC");
    reads("1_000/s burst 2_000", Policy::bucket(1000, SECOND, 2000).unwrap(), "1000/second burst 2000");
    reads("2 at once for 1 week", Policy::concurrency(2, 7 * DAY).unwrap(), "2 at once for 7d");
    reads("4503599627370496/day", Policy::fixed(MAX_QUOTA, DAY).unwrap(), "4503599627370496/day");
    reads("1/36525d", Policy::fixed(1, 36_525 * DAY).unwrap(), "1/36525d");
}

#[test]
fn errors_point_at_the_byte_that_is_wrong() {
    for (text, position) in [
        // The quota.
        ("", 0),
        ("   ", 3),
        ("ten/minute", 0),
        ("-1/minute", 0),
        ("+1/minute", 0),
        ("  x", 2),
        ("_1/minute", 0),
        ("1_/minute", 1),
        ("0/minute", 0),
        (" 0/minute", 1),
        ("4503599627370497/day", 0),
        ("99999999999999999999/day", 0),
        ("1.5/minute", 1),
        ("1e3/minute", 1),
        ("٣/minute", 0),
        // The slash and the window.
        ("10", 2),
        ("10 minute", 3),
        ("10\\minute", 2),
        ("10/", 3),
        ("10/ ", 4),
        ("10//minute", 3),
        ("10/fortnight", 3),
        ("10/Minute", 3),
        ("10/5", 4),
        ("10/5 parsecs", 5),
        ("10/minuteé", 3),
        ("10/0s", 3),
        ("10/36526d", 3),
        ("10/18446744073709551615d", 3),
        ("10/18446744073709551616s", 3),
        ("10/-5s", 3),
        ("10/1.5s", 4),
        ("10/2 months", 3),
        ("10/2 weeks", 3),
        ("10/0month", 3),
        // What follows a window.
        ("10/second bust 20", 10),
        ("10/second, burst 20", 9),
        ("10/second 20", 10),
        ("10/second burst", 15),
        ("10/second burst x", 16),
        ("10/second burst 0", 16),
        ("0/second burst 20", 0),
        ("10/second burst 20 30", 19),
        ("10/second burst 99999999999999999", 16),
        ("10/month burst 20", 3),
        ("1/d burst 40000", 10),
        ("100/minute sliding logs", 19),
        ("100/minute sliding log x", 23),
        ("100/minute sliding 5", 19),
        ("100/month sliding", 4),
        ("4294967297/minute sliding", 0),
        ("30/24h from", 11),
        ("30/24h from last", 12),
        ("30/24h from first x", 18),
        ("30/year from first", 3),
        ("1000/day in", 11),
        ("1000/day in Europe/Atlantis", 12),
        ("1000/day in Europe/Berlin sliding", 12),
        ("0/day in Europe/Berlin", 0),
        ("1000/hour in Europe/Berlin", 5),
        ("1000/2d in Europe/Berlin", 5),
        // Concurrency.
        ("3 at", 4),
        ("3 at twice", 5),
        ("3 at once", 9),
        ("3 at once of 10m", 10),
        ("3 at once for", 13),
        ("3 at once for ever", 14),
        ("3 at once for 10m please", 18),
        ("3 at once for 1 month", 14),
        ("3 at once for 0s", 14),
        ("0 at once for 10m", 0),
        ("3 in once for 10m", 2),
    ] {
        let error = Policy::parse(text).expect_err(text);
        assert!(error.is_invalid(), "{text}");
        assert_eq!(error.position(), Some(position), "`{text}`: {error}");
    }
}

#[test]
fn the_message_shows_the_place() {
    let error = Policy::parse("10/second bust 20").unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[1..], ["  10/second bust 20", "            ^"]);
    assert!(lines[0].contains("`bust`") && lines[0].contains("burst"), "{error}");
    // Control characters are not passed on to a terminal.
    assert!(!Policy::parse("10/\u{1b}[31m").unwrap_err().to_string().contains('\u{1b}'));
    // Nor is a text of any length.
    assert!(Policy::parse(&format!("10/{}", "x".repeat(100_000))).unwrap_err().to_string().len() < 1000);
}

#[test]
fn an_unknown_zone_keeps_its_cause() {
    use std::error::Error as _;
    let error = Policy::calendar(1, CalendarUnit::Day, "Europe/Atlantis").unwrap_err();
    assert!(error.source().is_some());
}

#[test]
fn impossible_policies_cannot_be_built() {
    let nanosecond = Duration::from_nanos(1);
    let century = 36_525 * DAY;
    for (quota, window) in [
        (0, SECOND),
        (MAX_QUOTA + 1, SECOND),
        (u64::MAX, SECOND),
        (1, Duration::ZERO),
        (1, nanosecond),
        (1, SECOND + nanosecond),
        (1, century + Duration::from_micros(1)),
        (1, Duration::MAX),
    ] {
        assert!(Policy::fixed(quota, window).is_err(), "{quota} {window:?}");
        assert!(Policy::from_first(quota, window).is_err(), "{quota} {window:?}");
        assert!(Policy::sliding(quota, window).is_err(), "{quota} {window:?}");
        assert!(Policy::sliding_log(quota, window).is_err(), "{quota} {window:?}");
        assert!(Policy::concurrency(quota, window).is_err(), "{quota} {window:?}");
        assert!(Policy::bucket(quota, window, 1).is_err(), "{quota} {window:?}");
    }
    assert!(Policy::sliding(MAX_SLIDING_QUOTA, SECOND).is_ok());
    assert!(Policy::sliding(MAX_SLIDING_QUOTA + 1, SECOND).is_err());
    assert!(Policy::bucket(1, century, 1).is_ok());
    assert!(Policy::bucket(1, century, 2).is_err(), "more than a century to refill");
    assert!(Policy::bucket(1, SECOND, 0).is_err());
    assert!(Policy::bucket(1, SECOND, u64::MAX).is_err());
    assert!(Policy::bucket(MAX_QUOTA - 1, SECOND, MAX_QUOTA).is_err(), "beyond exact arithmetic");
}

fn quota(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![1..=most, 1..=1000u64, Just(1), Just(most)]
}

fn window() -> impl Strategy<Value = Duration> {
    const CENTURY: u64 = 36_525 * 86_400 * 1_000_000;
    let units = prop_oneof![Just(1), Just(1000), Just(1_000_000), Just(60_000_000), Just(3_600_000_000)];
    let counted = (1..=200u64, prop_oneof![units, Just(86_400_000_000u64)]).prop_map(|(n, unit)| n * unit);
    prop_oneof![1..=CENTURY, counted, Just(CENTURY)].prop_map(Duration::from_micros)
}

/// Every policy that each constructor lets be built.
pub fn policy() -> impl Strategy<Value = Policy> {
    let unit = prop_oneof![
        Just(CalendarUnit::Day),
        Just(CalendarUnit::Week),
        Just(CalendarUnit::Month),
        Just(CalendarUnit::Year)
    ];
    let zone = prop_oneof![
        Just("UTC"),
        Just("Europe/Berlin"),
        Just("America/Argentina/Buenos_Aires"),
        Just("Etc/GMT+5"),
        Just("America/Port-au-Prince"),
        Just("GMT")
    ];
    let bucket = (quota(MAX_QUOTA), window(), prop_oneof![1..=1000u64, 1..=MAX_QUOTA])
        .prop_filter_map("beyond exact arithmetic", |(rate, period, burst)| Policy::bucket(rate, period, burst).ok());
    prop_oneof![
        (quota(MAX_QUOTA), window()).prop_map(|(quota, window)| Policy::fixed(quota, window).unwrap()),
        (quota(MAX_QUOTA), window()).prop_map(|(quota, window)| Policy::from_first(quota, window).unwrap()),
        (quota(MAX_SLIDING_QUOTA), window()).prop_map(|(quota, window)| Policy::sliding(quota, window).unwrap()),
        (quota(MAX_QUOTA), window()).prop_map(|(quota, window)| Policy::sliding_log(quota, window).unwrap()),
        (quota(MAX_QUOTA), window()).prop_map(|(places, lease)| Policy::concurrency(places, lease).unwrap()),
        (quota(MAX_QUOTA), unit, zone).prop_map(|(quota, unit, zone)| Policy::calendar(quota, unit, zone).unwrap()),
        bucket,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_policy_prints_as_text_that_reads_back(policy in policy()) {
        let text = policy.to_string();
        let read = Policy::parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&read, &policy);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn no_text_panics_and_every_error_points_into_it(text in any::<String>()) {
        if let Err(error) = Policy::parse(&text) {
            let position = error.position().expect("an error in a text has a position");
            prop_assert!(position <= text.len());
        }
    }

    #[test]
    fn nor_does_one_that_is_almost_right(policy in policy(), at in any::<prop::sample::Index>(), with in ".{0,3}") {
        let mut text = policy.to_string();
        let at = at.index(text.len());
        text.replace_range(at..=at, &with);
        match Policy::parse(&text) {
            Err(error) => prop_assert!(error.position().is_some_and(|position| position <= text.len())),
            Ok(policy) => prop_assert_eq!(Policy::parse(&policy.to_string()).unwrap(), policy),
        }
    }
}
