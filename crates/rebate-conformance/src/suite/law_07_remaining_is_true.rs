//! Law 7: with remaining r, a charge of r + 1 is denied, and for r ≥ 1 one of r is admitted.

use rebate_core::{Item, Status};

use super::scene::{Sample, Scene, Seen, admitted, denied, limit};
use crate::Harness;

/// What is charged to `k` before it is looked at: tenths of a window to wait, then a cost.
type History = &'static [(u32, u64)];

const HISTORIES: &[History] = &[
    &[],
    &[(0, 1)],
    &[(0, 10)],
    &[(0, 4), (3, 0)],
    &[(0, 9), (11, 0)],
    &[(1, 3), (2, 3), (4, 2), (1, 0)],
    &[(2, 5), (3, 4), (4, 1), (3, 3), (2, 2)],
    &[(0, 10), (17, 4), (1, 2), (0, 0)],
];

/// After any history, and with a part of it refunded.
pub fn remaining_is_what_fits<H: Harness>(harness: &H, sample: &Sample) {
    for history in HISTORIES {
        for refund in [0, 2] {
            let scene = Scene::new(harness);
            let limit = sample.limit();
            let mut last = None;
            for &(tenths, cost) in *history {
                scene.advance(sample.window * tenths / 10);
                if cost > 0 {
                    last = scene.charge(&limit, "k", cost).receipt().or(last);
                }
            }
            if let Some(receipt) = &mut last {
                let _ = scene.refund(receipt, refund);
            }
            let remaining = scene.remaining(&limit, "k");
            assert!(remaining <= 10);
            let denial = scene.deny(&limit, "k", remaining + 1);
            assert_eq!(denial.statuses()[0].remaining(), remaining);
            if remaining > 0 {
                let receipt = scene.take(&limit, "k", remaining);
                assert_eq!(receipt.statuses()[0].remaining(), 0, "{history:?}");
            }
            let _ = scene.deny(&limit, "k", 1);
        }
    }
}

/// The statuses of admissions, denials, refunds and settlements are those of a look right after.
pub fn every_answer_tells_the_same<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let check = |answered: Option<Status>, what: &str| {
        let answered = answered.as_ref().map(Seen::status);
        assert_eq!(answered, Some(Seen::status(&scene.peek(&limit, "k"))), "{what}");
    };
    let _ = scene.take(&limit, "k", 1);
    for round in 0..4 {
        let mut receipt = scene.take(&limit, "k", 4);
        check(receipt.statuses().first().copied(), "an admission");
        let denial = scene.deny(&limit, "k", 10);
        check(denial.statuses().first().copied(), "a denial");
        scene.advance(sample.window / 40);
        check(scene.refund(&mut receipt, 1).parts[0].status, "a refund");
        check(scene.refund(&mut receipt, 1).parts[0].status, "a refund repeated");
        check(scene.settled(&mut receipt, 3).parts[0].status, "a settlement of nothing");
        check(scene.settled(&mut receipt, 5).parts[0].status, "a top-up");
        check(scene.settled(&mut receipt, 0).parts[0].status, "a settlement down");
        scene.advance(sample.window / 3 * round);
    }
}

/// Each status of a charge of several limits is its own limit's.
pub fn each_limit_tells_its_own<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limits = [limit("hour", "50/hour"), sample.limit(), limit("month", "1000/month")];
    let items = limits.each_ref().map(|limit| Item::new(limit, "k").cost(2));
    let receipt = admitted(scene.ask(&items));
    let numbers = |statuses: &[Status]| -> Vec<_> {
        statuses.iter().map(|status| (status.item(), status.quota(), status.remaining(), status.used())).collect()
    };
    let wanted = [(0, 50, 48, 2), (1, 10, 8, 2), (2, 1000, 998, 2)];
    assert_eq!(numbers(receipt.statuses()), wanted);
    let looked = scene.run(scene.limiter.peek_all(&items)).expect("no trouble");
    assert_eq!(numbers(&looked), wanted);
    let denial = denied(scene.ask(&items.map(|item| item.cost(9))));
    assert_eq!(numbers(denial.statuses()), wanted);
    assert_eq!(denial.violated().map(Status::item).collect::<Vec<_>>(), [1]);
}

/// A list tells the same of each key as a look at it.
pub fn a_list_tells_the_same<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for cost in 1..=10 {
        let _ = scene.take(&limit, &format!("key {cost}"), cost);
        scene.advance(sample.window / 50);
    }
    // Of another limit: not listed here.
    let other = super::scene::limit("other", "10/hour");
    let _ = scene.take(&other, "key 11", 1);
    let listed = scene.listed(&limit);
    assert!(listed.len() >= 8, "{} keys", listed.len());
    for (key, status) in &listed {
        assert_eq!(Seen::status(status), Seen::status(&scene.peek(&limit, key)));
    }
    // Two buckets may have filled again meanwhile; nobody else is missing.
    for cost in 3..=10 {
        let key = format!("key {cost}");
        assert!(listed.iter().any(|(listed, _)| listed.as_ref().bytes() == key.as_bytes()), "{key}");
    }
}

/// The remainder that a quota of 2^52 leaves is exact.
pub fn the_largest_quota_is_exact<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let most = 1 << 52;
    for policy in ["4503599627370496/hour", "4503599627370496/hour from first", "4503599627370496/hour sliding log"] {
        let limit = limit(policy.rsplit(' ').next().unwrap_or("hour"), policy);
        let mut receipt = scene.take(&limit, "k", most - 1);
        assert_eq!(scene.remaining(&limit, "k"), 1);
        let _ = scene.deny(&limit, "k", 2);
        let _ = scene.take(&limit, "k", 1);
        assert_eq!(scene.refund(&mut receipt, most - 2).given_back(), most - 2);
        assert_eq!(scene.remaining(&limit, "k"), most - 2);
    }
    let limit = limit("sliding", "4294967296/hour sliding");
    let _ = scene.take(&limit, "k", (1 << 32) - 1);
    let _ = scene.deny(&limit, "k", 2);
    assert_eq!(scene.remaining(&limit, "k"), 1);
}

/// Peeks, lists, admissions and denials tell quota and remaining of the variant that they are asked under.
pub fn each_variant_tells_its_own<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (free, pro) = sample.variants();
    let told = |status: &Status| (status.quota(), status.remaining());
    let check = |free_has: u64, pro_has: u64| {
        for (limit, wanted) in [(&free, (10, free_has)), (&pro, (25, pro_has))] {
            assert_eq!(told(&scene.peek(limit, "k")), wanted);
            let listed = scene.listed(limit);
            assert_eq!(listed.iter().map(|(_, status)| told(status)).collect::<Vec<_>>(), [wanted]);
            let denial = scene.deny(limit, "k", wanted.1 + 1);
            assert_eq!(told(&denial.statuses()[0]), wanted);
        }
    };
    let mut receipt = scene.take(&pro, "k", 14);
    assert_eq!(told(&receipt.statuses()[0]), (25, 11));
    check(0, 11);
    let _ = scene.refund(&mut receipt, 8);
    check(4, 19);
    assert_eq!(told(&scene.take(&free, "k", 3).statuses()[0]), (10, 1));
    check(1, 16);
    assert_eq!(told(&scene.take(&pro, "k", 16).statuses()[0]), (25, 0));
    check(0, 0);
}
