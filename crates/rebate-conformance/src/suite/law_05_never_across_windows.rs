//! Law 5: a refund whose window instance is gone says `expired`, changes nothing and creates nothing.

use std::time::Duration;

use rebate_core::{Limit, Part, PartRenewal, Receipt};

use super::scene::{Sample, Scene, limit, outcome};
use crate::Harness;

/// The refund says `expired`, and neither the count nor the list of counts changes.
#[track_caller]
fn assert_expired<H: Harness>(scene: &Scene<'_, H>, limit: &Limit, receipt: &mut Receipt) {
    let keys: Vec<Vec<u8>> = receipt.parts().iter().map(|part| part.key().bytes().to_vec()).collect();
    let before = (scene.peek(limit, &keys[0]), scene.listed(limit));
    for total in [1, u64::MAX] {
        let (now, _, expired) = outcome(&scene.refund(receipt, total));
        assert_eq!((now, expired), (0, true));
    }
    assert_eq!((scene.peek(limit, &keys[0]), scene.listed(limit)), before);
}

/// A charge of a window that is over, refunded when another is in use.
pub fn a_later_window_gets_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 5);
    scene.advance(sample.long());
    assert_expired(&scene, &limit, &mut scene.copy(&receipt));
    assert!(scene.listed(&limit).is_empty());
    let _ = scene.take(&limit, "k", 7);
    assert_expired(&scene, &limit, &mut receipt);
    assert_eq!(scene.remaining(&limit, "k"), 3);
    let _ = scene.deny(&limit, "k", 4);
}

/// The window next to the charge's: at its last microsecond it is given back, at its end not.
pub fn a_windows_end_is_the_end<H: Harness>(harness: &H, sample: &Sample) {
    let microsecond = Duration::from_micros(1);
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipts = ["late", "too late"].map(|key| scene.take(&limit, key, 4));
    let end = scene.peek(&limit, "late").reset_after();
    scene.advance(end - microsecond);
    assert_eq!(outcome(&scene.refund(&mut receipts[0], 4)), (4, 4, false));
    scene.advance(microsecond);
    assert_expired(&scene, &limit, &mut receipts[1]);
    let _ = scene.take(&limit, "too late", 3);
    assert_expired(&scene, &limit, &mut receipts[1]);
}

/// After a reset the same window is another instance.
pub fn a_reset_ends_the_instance<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 5);
    let mut copy = scene.copy(&receipt);
    assert!(scene.reset(&limit, "k"));
    assert!(!scene.reset(&limit, "k"), "there is nothing left to forget");
    assert_expired(&scene, &limit, &mut copy);
    assert!(scene.listed(&limit).is_empty());
    let _ = scene.take(&limit, "k", 5);
    assert_expired(&scene, &limit, &mut receipt);
    assert_eq!(scene.remaining(&limit, "k"), 5);
}

/// A store that lost its data knows nothing of the receipt, and makes nothing up.
pub fn a_lost_store_creates_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let receipt = scene.take(&limit, "k", 5);
    let token = scene.limiter.token(&receipt).expect("a token");
    let after = scene.lost();
    // First while the limit is not known there, then when it is.
    let mut copy = after.limiter.receipt(&token).expect("the store has the same name");
    assert_eq!(outcome(&after.refund(&mut copy, 5)), (0, 0, true));
    assert_eq!(after.remaining(&limit, "k"), 10);
    assert_expired(&after, &limit, &mut copy);
    assert!(after.listed(&limit).is_empty());
    let _ = after.take(&limit, "k", 5);
    let mut copy = after.limiter.receipt(&token).expect("the store has the same name");
    assert_expired(&after, &limit, &mut copy);
    let _ = after.deny(&limit, "k", 6);
    let _ = after.take(&limit, "k", 5);
}

/// A receipt whose numbers its count never gave out refunds nothing.
pub fn forged_numbers_refund_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let receipt = scene.take(&limit, "k", 3);
    let _ = scene.take(&limit, "k", 3);
    let changes: [fn(&mut Part); 10] = [
        |part| part.instance = part.instance.wrapping_add(1),
        |part| part.instance = 0,
        |part| part.instance = u64::MAX,
        // Units of a charge yet to come.
        |part| part.last = 7,
        |part| part.last = u64::MAX,
        |part| part.last = 0,
        |part| part.cost = 0,
        // More units than there are up to its last.
        |part| part.cost = 4,
        |part| part.cost = u64::MAX,
        |part| (part.cost, part.last) = (u64::MAX, u64::MAX),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut forged = scene.forge(&receipt, change);
        let (now, _, expired) = outcome(&scene.refund(&mut forged, u64::MAX));
        assert_eq!((now, expired), (0, true), "forgery {at}");
        assert_eq!(scene.remaining(&limit, "k"), 4, "forgery {at}");
    }
    // Of a key that was never charged.
    let mut forged = scene.forge(&receipt, |part| part.key = "nobody".into());
    assert_expired(&scene, &limit, &mut forged);
    assert_eq!(scene.listed(&limit).len(), 1);
}

/// The answer for an expired part still says what was given back of it before.
pub fn expired_tells_what_was_given_back<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 5);
    let _ = scene.take(&limit, "k", 1);
    let _ = scene.refund(&mut receipt, 2);
    scene.advance(sample.long());
    assert_eq!(outcome(&scene.refund(&mut receipt, 5)), (0, 2, true));
    assert_eq!(receipt.refunded(), 2);
    assert_eq!(scene.remaining(&limit, "k"), 10);
}

/// Under another window, layout or algorithm a limit's counts start afresh and its receipts expire.
pub fn another_window_under_the_name_starts_afresh<H: Harness>(harness: &H, sample: &Sample) {
    for policy in ["10/hour", "10/2h from first", "10/h sliding log", "10/3h burst 10", "10 at once for 3h"] {
        let scene = Scene::new(harness);
        let old = sample.limit();
        let mut receipt = scene.take(&old, "k", 6);
        let new = limit(sample.name, policy);
        scene.limiter.replace(&new);
        assert_eq!(scene.remaining(&new, "k"), 10, "{policy}");
        let _ = scene.take(&new, "k", 6);
        assert_expired(&scene, &new, &mut receipt);
        assert_eq!(scene.remaining(&new, "k"), 4, "{policy}");
    }
}

/// A top-up is not lifted across either: settling down after the window gives nothing back.
pub fn a_settlement_reaches_no_later_window<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 5);
    scene.advance(sample.long());
    let _ = scene.take(&limit, "k", 7);
    let part = scene.settled(&mut receipt, 1).parts[0];
    assert_eq!((part.given_back, part.expired), (0, true));
    assert_eq!(scene.remaining(&limit, "k"), 3);
}

/// A from-first window closed by a refund and opened again in the same microsecond is another one.
pub fn a_closed_window_does_not_come_back<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    for policy in ["10/minute from first", "10/minute burst 10"] {
        let limit = limit(policy.split(' ').next_back().unwrap_or_default(), policy);
        let mut receipt = scene.take(&limit, "k", 5);
        let mut copy = scene.copy(&receipt);
        assert_eq!(outcome(&scene.refund(&mut receipt, 5)), (5, 5, false));
        assert_expired(&scene, &limit, &mut copy);
        let _ = scene.take(&limit, "k", 5);
        assert_expired(&scene, &limit, &mut copy);
        assert_eq!(scene.remaining(&limit, "k"), 5);
    }
}

/// A lease that ended, or of a store that was lost, is not renewed, and no other in its stead.
pub fn no_other_lease_is_renewed<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("places", "2 at once for 1m");
    let old = scene.take(&limit, "k", 1);
    let token = scene.limiter.token(&old).expect("a token");
    scene.advance(Duration::from_secs(60));
    let _ = scene.take(&limit, "k", 1);
    assert_eq!(scene.run(scene.limiter.renew(&old)).expect("no trouble").parts[0], PartRenewal::Expired);
    assert_eq!(scene.peek(&limit, "k").reset_after(), Duration::from_secs(60));
    let after = scene.lost();
    let _ = after.take(&limit, "k", 1);
    after.advance(Duration::from_secs(10));
    let copy = after.limiter.receipt(&token).expect("the store has the same name");
    assert_eq!(after.run(after.limiter.renew(&copy)).expect("no trouble").parts[0], PartRenewal::Expired);
    assert_eq!(after.peek(&limit, "k").reset_after(), Duration::from_secs(50));
}

/// A receipt of another store in the same process is an error, and nothing happens.
pub fn another_stores_receipt_is_an_error<H: Harness>(harness: &H) {
    let (scene, other) = (Scene::new(harness), Scene::new(harness));
    let limit = limit("hour", "10/hour");
    let mut receipt = scene.take(&limit, "k", 5);
    let _ = other.take(&limit, "k", 5);
    let error = other.run(other.limiter.refund(&mut receipt)).expect_err("of another store");
    assert!(error.is_other_store() && !error.may_have_happened(), "{error:?}");
    assert_eq!((scene.remaining(&limit, "k"), other.remaining(&limit, "k")), (5, 5));
    // After the error it is as good as before.
    assert_eq!(outcome(&scene.refund(&mut receipt, 5)), (5, 5, false));
}
