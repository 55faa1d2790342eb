//! The model against worked examples, and its bucket against the history without the refunded units.

use std::time::Duration;

use proptest::prelude::*;
use rebate_core::{CalendarUnit, Policy, Timestamp};

use super::ratio::Ratio;
use super::{Line, Model, bucket, calendar};
use crate::answer::{Answer, ShownStatus};

fn line(policy: &Policy, cost: u64) -> Line {
    Line { name: "limit".into(), policy: policy.clone(), who: (None, b"k".to_vec()), cost }
}

fn model(policy: &Policy) -> Model {
    let mut model = Model::new();
    model.enter("limit", std::slice::from_ref(policy));
    model
}

fn peek(model: &mut Model, policy: &Policy) -> ShownStatus {
    match model.peek(&[line(policy, 1)]) {
        Answer::Peeked(statuses) => statuses[0].clone(),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn calendar_windows_of_days_that_are_not_24_hours() {
    let bounds = |unit, zone: &str, now: &str| {
        let policy = Policy::calendar(1, unit, zone).expect("a known zone");
        let now: jiff::Timestamp = now.parse().expect("a moment");
        let rebate_core::Algorithm::Fixed(fixed) = policy.algorithm() else { panic!("a calendar is fixed") };
        let rebate_core::algorithm::fixed::Layout::Calendar(calendar) = &fixed.layout else { panic!("a calendar") };
        let (start, end) = calendar::window(calendar, now.as_microsecond().into());
        [start, end].map(|moment| Timestamp::from_micros(moment as u64).to_string())
    };
    use CalendarUnit::{Day, Month, Week};
    let berlin = bounds(Day, "Europe/Berlin", "2023-10-29T12:00:00Z");
    assert_eq!(berlin, ["2023-10-28T22:00:00Z", "2023-10-29T23:00:00Z"]);
    let skipped_midnight = bounds(Day, "America/Sao_Paulo", "2018-11-04T12:00:00Z");
    assert_eq!(skipped_midnight, ["2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"]);
    let after_a_skipped_day = bounds(Day, "Pacific/Apia", "2011-12-30T10:00:00Z");
    assert_eq!(after_a_skipped_day, ["2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"]);
    assert_eq!(bounds(Week, "UTC", "1970-01-01T00:00:00Z"), ["1970-01-01T00:00:00Z", "1970-01-05T00:00:00Z"]);
    assert_eq!(bounds(Month, "UTC", "2024-02-29T23:59:59Z"), ["2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"]);
}

#[test]
fn a_sliding_counter_as_published() {
    // 42 in the previous minute and 18 in this one, a quarter gone: 42 · 0.75 + 18 = 49.5.
    let policy = Policy::sliding(50, Duration::from_secs(60)).expect("in bounds");
    let mut model = model(&policy);
    model.charge(&[line(&policy, 42)], None, None);
    model.set_clock(Timestamp::from_secs(60 + 15));
    model.charge(&[line(&policy, 18)], None, None);
    assert_eq!(peek(&mut model, &policy).remaining, 0);
    model.set_clock(Timestamp::from_secs(60 + 30));
    assert_eq!(peek(&mut model, &policy).remaining, 11);
}

/// Whatever is refunded when, the model's bucket is never fuller than one that had never been charged the
/// units which were refunded.
fn never_over(policy: &Policy, steps: &[(u64, u8, u64)]) -> Result<(), TestCaseError> {
    let rebate_core::Algorithm::Bucket(limit) = policy.algorithm() else { panic!("a bucket") };
    let mut model = model(policy);
    let mut now = 0;
    let mut proofs: Vec<(u64, u64, u64, super::Proof)> = Vec::new();
    for &(wait, what, amount) in steps {
        now += wait;
        model.set_clock(Timestamp::from_micros(now));
        if what % 2 == 0 {
            if let (_, Some(proof)) = model.charge(&[line(policy, amount)], None, None) {
                proofs.push((now, amount, 0, proof));
            }
        } else if !proofs.is_empty() {
            let at = usize::from(what / 2) % proofs.len();
            let (_, _, given_back, proof) = &mut proofs[at];
            if let Answer::Refunded(parts) = model.refund(proof, &[amount]) {
                *given_back += parts[0].given_back;
            }
        }
        // From scratch, at the burst an idle bucket holds.
        let mut full_at = Ratio::whole(0);
        for (charged_at, cost, given_back, _) in &proofs {
            if cost > given_back {
                let span = &bucket::unit(limit) * &Ratio::whole(cost - given_back);
                full_at = &full_at.max(Ratio::whole(*charged_at)) + &span;
            }
        }
        let missing = (&full_at.max(Ratio::whole(now)) - &Ratio::whole(now)).divided_by(&bucket::unit(limit));
        let scratch = (&Ratio::whole(policy.quota()) - &missing).floor();
        let remaining = peek(&mut model, policy).remaining;
        prop_assert!(scratch >= remaining.into(), "{remaining} remain, without the refunded units {scratch}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("REBATE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000)
    ))]

    #[test]
    fn a_bucket_is_never_over(steps in prop::collection::vec((0..4000u64, any::<u8>(), 1..=6u64), 1..24)) {
        let micros = Duration::from_micros;
        never_over(&Policy::bucket(7, micros(10_000), 5).expect("in bounds"), &steps)?;
        never_over(&Policy::bucket(1, micros(1000), 12).expect("in bounds"), &steps)?;
    }
}
