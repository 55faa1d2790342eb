//! Law 9: every store answers as the model does. Vectors, published or worked out by hand; the
//! differential test does the rest.

use std::time::Duration;

use rebate_core::{Limit, PartRenewal, Timestamp};

use super::scene::{START, Sample, Scene, limit};
use crate::Harness;

const MICROSECOND: Duration = Duration::from_micros(1);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A charge at `at`, both in seconds since the epoch, counts until `end` and not at it.
#[track_caller]
fn assert_window<H: Harness>(harness: &H, limit: &Limit, at: u64, end: u64) {
    let scene = Scene::at(harness, Timestamp::from_secs(at));
    // Absent, a fixed window is as long as it would be.
    assert_eq!(scene.peek(limit, "k").reset_after(), seconds(end - at));
    let _ = scene.take(limit, "k", 10);
    assert_eq!(scene.deny(limit, "k", 1).retry_after(), Some(seconds(end - at)));
    scene.advance(seconds(end - at) - MICROSECOND);
    let _ = scene.deny(limit, "k", 1);
    scene.advance(MICROSECOND);
    let _ = scene.take(limit, "k", 10);
}

/// Fixed windows are aligned to the epoch.
pub fn windows_are_aligned_to_the_epoch<H: Harness>(harness: &H) {
    let now = START.as_micros() / 1_000_000;
    assert_window(harness, &limit("minute", "10/minute"), now + 59, now + 60);
    // 1,767,268,800 is 7 · 252,466,971 + 3.
    assert_window(harness, &limit("odd", "10/7s"), now, now + 4);
    // Noon: twelve hours to the UTC day's end.
    assert_window(harness, &limit("day", "10/day"), now, now + 43_200);
}

/// Calendar units in UTC: weeks from Monday, months and years of their own lengths.
pub fn calendar_units_are_the_calendars<H: Harness>(harness: &H) {
    // 2026-01-01 12:00, a Thursday: Monday is 2026-01-05 00:00.
    assert_window(harness, &limit("week", "10/week"), 1_767_268_800, 1_767_571_200);
    // 2026-01-05 00:00 itself, to 2026-01-12.
    assert_window(harness, &limit("week", "10/week"), 1_767_571_200, 1_768_176_000);
    // 2026-01-31 23:59:59 to 2026-02-01, and from then 28 days to 2026-03-01.
    assert_window(harness, &limit("month", "10/month"), 1_769_903_999, 1_769_904_000);
    assert_window(harness, &limit("month", "10/month"), 1_769_904_000, 1_772_323_200);
    // 2028-02-29 12:00, a leap day, to 2028-03-01.
    assert_window(harness, &limit("month", "10/month"), 1_835_438_400, 1_835_481_600);
    // 2028-01-01 to 2029-01-01: 366 days.
    assert_window(harness, &limit("year", "10/year"), 1_830_297_600, 1_861_920_000);
}

/// Berlin's days are 23 hours long when summer time begins and 25 when it ends.
pub fn days_follow_summer_time<H: Harness>(harness: &H) {
    let day = limit("day", "10/day in Europe/Berlin");
    // 2026-03-29 00:00 +01:00 is 2026-03-28 23:00 UTC; the next midnight is 2026-03-29 22:00 UTC.
    assert_window(harness, &day, 1_774_738_800, 1_774_738_800 + 23 * 3600);
    // Half an hour after the clocks went forward (02:00 became 03:00 at 01:00 UTC).
    assert_window(harness, &day, 1_774_747_800, 1_774_738_800 + 23 * 3600);
    // 2026-10-25 00:00 +02:00 is 2026-10-24 22:00 UTC; the next midnight is 2026-10-25 23:00 UTC.
    assert_window(harness, &day, 1_792_879_200, 1_792_879_200 + 25 * 3600);
    // The second 02:30 of that night, at 01:30 UTC.
    assert_window(harness, &day, 1_792_891_800, 1_792_879_200 + 25 * 3600);
    // The months around: March is an hour short, October an hour long.
    let month = limit("month", "10/month in Europe/Berlin");
    // 2026-02-28 23:00 UTC to 2026-03-31 22:00 UTC.
    assert_window(harness, &month, 1_772_319_600, 1_772_319_600 + 31 * 86_400 - 3600);
}

/// The window of `30/24h from first` begins with its first charge, whenever that is.
pub fn a_from_first_window_begins_with_its_charge<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("attempts", "30/24h from first");
    scene.advance(seconds(1234));
    assert_eq!(scene.peek(&limit, "k").reset_after(), Duration::ZERO);
    let _ = scene.take(&limit, "k", 1);
    scene.advance(seconds(80_000));
    let _ = scene.take(&limit, "k", 29);
    assert_eq!(scene.deny(&limit, "k", 1).retry_after(), Some(seconds(6_400)));
    scene.advance(seconds(6_400));
    let _ = scene.take(&limit, "k", 30);
    assert_eq!(scene.peek(&limit, "k").reset_after(), seconds(86_400));
}

/// Cloudflare's example (blog.cloudflare.com, "How we built rate limiting capable of scaling to millions
/// of domains"): 50 a minute, 42 in the previous minute, 18 in the current one, 15 seconds in.
pub fn the_sliding_counter_is_cloudflares<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("cloudflare", "50/minute sliding");
    let _ = scene.take(&limit, "k", 42);
    scene.advance(seconds(75));
    // 42 · (60 − 15) / 60 = 31.5: 18 more make 49.5, and a nineteenth would be 50.5.
    assert_eq!(scene.remaining(&limit, "k"), 18);
    let _ = scene.take(&limit, "k", 18);
    assert_eq!(scene.remaining(&limit, "k"), 0);
    // 42 · (60 − x) / 60 + 19 ≤ 50 first at x = 60 · 11/42 = 15.7142857 s. A minute has 10^6 ticks of
    // 60 µs (its largest divisor up to 2^20): tick 261,905, at 15.714300 s.
    let wait = scene.deny(&limit, "k", 1).retry_after();
    assert_eq!(wait, Some(Duration::from_micros(714_300)));
    // Nothing counts when the current minute and the next are over.
    assert_eq!(scene.peek(&limit, "k").reset_after(), seconds(105));
}

/// A token bucket of 10 a second and a burst of 20, second by second.
pub fn a_bucket_fills_by_its_rate<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("bucket", "10/second burst 20");
    let _ = scene.take(&limit, "k", 20);
    // T = 100 ms.
    assert_eq!(scene.deny(&limit, "k", 1).retry_after(), Some(Duration::from_millis(100)));
    assert_eq!(scene.deny(&limit, "k", 20).retry_after(), Some(seconds(2)));
    assert_eq!(scene.peek(&limit, "k").reset_after(), seconds(2));
    scene.advance(Duration::from_millis(550));
    assert_eq!(scene.remaining(&limit, "k"), 5);
    // The half unit is kept: the sixth is there 50 ms later.
    let _ = scene.take(&limit, "k", 5);
    assert_eq!(scene.deny(&limit, "k", 1).retry_after(), Some(Duration::from_millis(50)));
    scene.advance(seconds(3600));
    assert_eq!(scene.remaining(&limit, "k"), 20);
}

/// GCRA by its published definition (ITU-T I.371, "virtual scheduling"): T = 10 s, a tolerance of 20 s,
/// which is a burst of 3; arrivals and answers worked out by that definition.
pub fn gcra_conforms_to_virtual_scheduling<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("cells", "6/minute burst 3");
    // Arrival, conforming, TAT after it (tolerance: a cell conforms when it arrives at TAT − 20 or later).
    let cells = [
        (0, true, 10),   // idle: TAT = 0 + 10
        (1, true, 20),   // 10 − 20 ≤ 1
        (2, true, 30),   // 20 − 20 ≤ 2
        (3, false, 30),  // 30 − 20 > 3
        (9, false, 30),  // 10 > 9
        (10, true, 40),  // 10 ≤ 10
        (15, false, 40), // 20 > 15
        (21, true, 50),  // 20 ≤ 21
        (29, false, 50), // 30 > 29
        (60, true, 70),  // idle again: TAT = 60 + 10
        (60, true, 80),
        (60, true, 90),
        (60, false, 90),
    ];
    for (at, conforms, tat) in cells {
        scene.clock.set(START.saturating_add(seconds(at)));
        assert_eq!(scene.charge(&limit, "k", 1).may_proceed(), conforms, "at {at} s");
        assert_eq!(scene.peek(&limit, "k").reset_after(), seconds(tat - at), "at {at} s");
    }
}

/// A sliding log forgets each charge when it is one window old.
pub fn a_log_forgets_each_charge_in_turn<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("log", "10/minute sliding log");
    for cost in [4, 3, 3] {
        let _ = scene.take(&limit, "k", cost);
        scene.advance(seconds(10));
    }
    // At 30 s: 4 leave at 60 s, 3 at 70 s, 3 at 80 s.
    let waits = [(1, 30), (4, 30), (5, 40), (7, 40), (8, 50), (10, 50)];
    for (cost, wait) in waits {
        assert_eq!(scene.deny(&limit, "k", cost).retry_after(), Some(seconds(wait)), "{cost}");
    }
    assert_eq!(scene.peek(&limit, "k").reset_after(), seconds(50));
    scene.advance(seconds(40));
    assert_eq!(scene.remaining(&limit, "k"), 7);
}

/// Leases end by themselves, at release, or a whole lease after they were renewed.
pub fn leases_end_when_they_say<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("places", "2 at once for 10m");
    let [first, mut second] = [(), ()].map(|()| scene.take(&limit, "k", 1));
    scene.advance(seconds(400));
    let renewal = scene.run(scene.limiter.renew(&first)).expect("no trouble");
    assert_eq!(renewal.parts[0], PartRenewal::Until(START.saturating_add(seconds(1000))));
    // The second ends at 600 s, the first at 1000 s now.
    assert_eq!(scene.deny(&limit, "k", 1).retry_after(), Some(seconds(200)));
    assert_eq!(scene.deny(&limit, "k", 2).retry_after(), Some(seconds(600)));
    let _ = scene.refund(&mut second, 1);
    assert_eq!(scene.remaining(&limit, "k"), 1);
    assert_eq!(scene.peek(&limit, "k").reset_after(), seconds(600));
    scene.advance(seconds(600));
    assert_eq!(scene.remaining(&limit, "k"), 2);
    // A part of another limit is no lease.
    let hour = super::scene::limit("hour", "10/hour");
    let receipt = scene.take(&hour, "k", 1);
    let renewal = scene.run(scene.limiter.renew(&receipt)).expect("no trouble");
    assert_eq!(renewal.parts[0], PartRenewal::NotALease);
}

/// The header draft's example: `"day";r=100;t=36000` under `"day";q=5000;w=86400`.
pub fn the_day_of_the_header_draft<H: Harness>(harness: &H) {
    let scene = Scene::at(harness, START.saturating_add(seconds(7200)));
    let limit = limit("day", "5000/day");
    let receipt = scene.take(&limit, "k", 4900);
    let status = receipt.statuses()[0];
    assert_eq!((status.quota(), status.remaining(), status.reset_after()), (5000, 100, seconds(36_000)));
}

/// A limit whose quota changes under its name keeps what was used, in units, and its receipts.
pub fn another_quota_keeps_what_was_used<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let mut receipt = scene.take(&sample.limit(), "k", 6);
    let _ = scene.take(&sample.limit(), "k", 1);
    let wider = sample.with_quota(25);
    scene.limiter.replace(&wider);
    assert_eq!(scene.remaining(&wider, "k"), 18);
    assert_eq!(scene.refund(&mut receipt, 4).given_back(), 4);
    assert_eq!(scene.remaining(&wider, "k"), 22);
}

/// A bucket whose rate changes keeps its missing tokens, and its receipts expire.
pub fn another_rate_keeps_missing_tokens<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let mut receipt = scene.take(&limit("bucket", "10/minute burst 10"), "k", 8);
    scene.advance(seconds(12));
    // 8 less 2 refilled are missing. The new rate holds from the first charge under it.
    let faster = limit("bucket", "20/minute burst 10");
    scene.limiter.replace(&faster);
    assert_eq!(scene.remaining(&faster, "k"), 4);
    let charged = scene.take(&faster, "k", 1).statuses()[0];
    // 7 are missing, 3 s each.
    assert_eq!((charged.remaining(), charged.reset_after()), (3, seconds(21)));
    let back = scene.refund(&mut receipt, 8);
    assert_eq!((back.given_back(), back.any_expired()), (0, true));
    assert_eq!(scene.remaining(&faster, "k"), 3);
}

/// A key that comes under another variant keeps what it has used, in units: up, down below that, and up again.
pub fn a_variant_keeps_what_was_used<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (free, pro) = sample.variants();
    let _ = scene.take(&free, "k", 8);
    assert_eq!(scene.remaining(&pro, "k"), 17);
    let mut receipt = scene.take(&pro, "k", 9);
    assert_eq!(scene.remaining(&free, "k"), 0);
    let _ = scene.deny(&free, "k", 1);
    assert_eq!(scene.remaining(&pro, "k"), 8);
    // Once it is below the smaller quota again it goes on under that one.
    let _ = scene.refund(&mut receipt, 9);
    let _ = scene.take(&free, "k", 2);
    let _ = scene.deny(&free, "k", 1);
    let _ = scene.take(&pro, "k", 15);
    let _ = scene.deny(&pro, "k", 1);
    // Other keys are under either, in turn.
    let _ = scene.take(&free, "other", 10);
    let _ = scene.take(&pro, "third", 25);
    scene.advance(sample.long());
    let _ = scene.take(&free, "k", 10);
    let _ = scene.deny(&free, "k", 1);
}

/// A bucket that comes under a variant of another rate keeps its missing tokens with the first charge under it; until
/// then, however it is looked at, it fills as it did.
pub fn a_variants_rate_keeps_missing_tokens<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let free = limit("bucket", "10/minute burst 10");
    let pro = free.variant("20/minute burst 20").expect("only rate and burst differ");
    let mut receipt = scene.take(&free, "k", 8);
    scene.advance(seconds(12));
    // 8 less 2 refilled are missing, 6 s each.
    let looked = scene.peek(&pro, "k");
    assert_eq!((looked.quota(), looked.remaining(), looked.reset_after()), (20, 14, seconds(36)));
    let _ = scene.deny(&pro, "k", 15);
    scene.advance(seconds(6));
    assert_eq!((scene.remaining(&free, "k"), scene.remaining(&pro, "k")), (5, 15));
    let charged = scene.take(&pro, "k", 1).statuses()[0];
    // 6 are missing, 3 s each.
    assert_eq!((charged.remaining(), charged.reset_after()), (14, seconds(18)));
    scene.advance(seconds(6));
    let charged = scene.take(&free, "k", 1).statuses()[0];
    // 6 less 2 refilled and 1 more are missing, 6 s each again.
    assert_eq!((charged.remaining(), charged.reset_after()), (5, seconds(30)));
    let back = scene.refund(&mut receipt, 8);
    assert_eq!((back.given_back(), back.any_expired()), (0, true));
}

/// Who holds places is told in the order of their ends (of those that end together, of their charges): how many, and until
/// when. A renewal moves the end; what was released or has ended is not told.
pub fn leases_are_told_as_they_are<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("places", "9 at once for 10m");
    let told = || {
        let leases = scene.leases(&limit, "k");
        leases
            .iter()
            .map(|lease| {
                let part = &lease.receipt.parts()[0];
                assert_eq!((part.key().bytes(), part.cost - part.refunded), (&b"k"[..], lease.units));
                assert!(!lease.receipt.is_idempotent() && !lease.receipt.is_replay());
                (lease.units, (lease.until.as_micros() - START.as_micros()) / 1_000_000)
            })
            .collect::<Vec<_>>()
    };
    assert!(told().is_empty());
    let first = scene.take(&limit, "k", 1);
    scene.advance(seconds(100));
    let [mut second, mut third] = [3, 2].map(|cost| scene.take(&limit, "k", cost));
    let _ = scene.take(&limit, "other", 4);
    assert_eq!(told(), [(1, 600), (3, 700), (2, 700)]);
    scene.advance(seconds(100));
    // By what was told of it as well as by its own receipt.
    for receipt in [&first, &scene.leases(&limit, "k")[0].receipt] {
        let renewal = scene.run(scene.limiter.renew(receipt)).expect("no trouble");
        assert_eq!(renewal.parts[0], PartRenewal::Until(START.saturating_add(seconds(800))));
        assert_eq!(told(), [(3, 700), (2, 700), (1, 800)]);
    }
    let _ = scene.refund(&mut second, 1);
    assert_eq!(told(), [(2, 700), (2, 700), (1, 800)]);
    let _ = scene.refund(&mut third, 2);
    assert_eq!(told(), [(2, 700), (1, 800)]);
    scene.advance(seconds(500) - MICROSECOND);
    assert_eq!(told(), [(2, 700), (1, 800)]);
    scene.advance(MICROSECOND);
    assert_eq!(told(), [(1, 800)]);
    assert!(scene.reset(&limit, "k"));
    assert!(told().is_empty());
}

/// Limits of other kinds have no leases: to ask for them is a mistake, and is said to be one.
pub fn only_concurrency_limits_have_leases<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let receipt = scene.take(&limit, "k", 4);
    match scene.run(scene.limiter.leases(&limit, "k")) {
        Ok(leases) => {
            assert!(sample.is(&["concurrency"]), "{leases:?}");
            let [lease] = &leases[..] else { panic!("one lease: {leases:?}") };
            assert_eq!((lease.units, lease.until), (4, receipt.charged_at().saturating_add(sample.window)));
        }
        Err(error) => {
            assert!(!sample.is(&["concurrency"]), "{error:?}");
            assert!(error.is_invalid() && !error.may_have_happened() && !error.is_retryable(), "{error:?}");
        }
    }
    assert_eq!(scene.remaining(&limit, "k"), 6);
}
