//! Law 4: what is given back, or topped up, never exceeds what was charged or asked for, however often and
//! from wherever it is said.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rebate_core::{Decision, Item, PartRenewal, REMEMBERED, Receipt, Shortfall};

use super::scene::{Sample, Scene, admitted, limit, outcome};
use crate::Harness;

/// Repeating a refund changes nothing; the answer says what was given back now and in all.
pub fn repeats_change_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 2);
    let mut receipt = scene.take(&limit, "k", 6);
    assert_eq!(outcome(&scene.refund(&mut receipt, 4)), (4, 4, false));
    for _ in 0..3 {
        assert_eq!(outcome(&scene.refund(&mut receipt, 4)), (0, 4, false));
        assert_eq!(scene.remaining(&limit, "k"), 6);
    }
}

/// Totals are absolute: a lower one gives nothing back, a higher one the difference, one too high all.
pub fn totals_are_absolute<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 1);
    let mut receipt = scene.take(&limit, "k", 8);
    for (total, now, in_all) in [(0, 0, 0), (2, 2, 2), (1, 0, 2), (0, 0, 2), (5, 3, 5), (u64::MAX, 3, 8), (8, 0, 8)] {
        assert_eq!(outcome(&scene.refund(&mut receipt, total)), (now, in_all, false), "up to {total}");
        assert_eq!(scene.remaining(&limit, "k"), 1 + in_all);
        assert_eq!(receipt.refunded(), in_all);
    }
}

/// Copies of a token, taken before any refund, give back no more than one of them.
pub fn stale_copies_refund_nothing_more<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 1);
    let receipt = scene.take(&limit, "k", 6);
    let mut copies: Vec<Receipt> = (0..4).map(|_| scene.copy(&receipt)).collect();
    for (copy, (total, now, in_all)) in copies.iter_mut().zip([(4, 4, 4), (4, 0, 4), (6, 2, 6), (6, 0, 6)]) {
        assert_eq!(outcome(&scene.refund(copy, total)), (now, in_all, false));
        assert_eq!(scene.remaining(&limit, "k"), 3 + in_all);
    }
}

/// Other charges, refunded or not, do not make a repeat count again.
pub fn repeats_after_others_change_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.with_quota(30);
    let mut receipts: Vec<Receipt> = (0..10).map(|_| scene.take(&limit, "k", 3)).collect();
    let mut given_back = 0;
    for round in 0..3 {
        for (at, total) in [(4, 1), (3, 3), (5, 3), (4, 2), (9, 2), (4, 3), (0, 1)] {
            let mut copy = scene.copy(&receipts[at]);
            given_back += scene.refund(&mut copy, total).given_back();
            given_back += scene.refund(&mut receipts[at], total).given_back();
        }
        assert_eq!(given_back, 3 + 3 + 3 + 2 + 1, "round {round}");
        assert_eq!(scene.remaining(&limit, "k"), given_back);
    }
}

/// Threads that refund copies of one token give its units back once.
pub fn concurrent_copies_give_back_once<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for round in 0..6 {
        let key = format!("round {round}");
        let _ = scene.take(&limit, &key, 1);
        let receipt = scene.take(&limit, &key, 8);
        let given_back = AtomicU64::new(0);
        std::thread::scope(|threads| {
            for total in [3, 7, 7, 5] {
                let mut copy = scene.copy(&receipt);
                let (scene, given_back) = (&scene, &given_back);
                threads.spawn(move || {
                    for total in 1..=total {
                        given_back.fetch_add(scene.refund(&mut copy, total).given_back(), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(given_back.into_inner(), 7);
        assert_eq!(scene.remaining(&limit, &key), 8);
    }
}

/// A count remembers at least [`REMEMBERED`] separate runs of refunded units; past them the oldest
/// receipts expire first, and nothing is given back twice.
pub fn past_the_bound_the_oldest_expire<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.with_quota(1000);
    let receipts: Vec<Receipt> = (0..2 * (REMEMBERED + 2)).map(|_| scene.take(&limit, "k", 1)).collect();
    let charged = receipts.len() as u64;
    // Every other one, so that no two runs touch.
    let every_other = || receipts.iter().skip(1).step_by(2);
    for (at, receipt) in every_other().enumerate() {
        assert_eq!(outcome(&scene.refund(&mut scene.copy(receipt), 1)), (1, 1, false), "refund {at}");
    }
    let refunded = every_other().count() as u64;
    assert_eq!(scene.remaining(&limit, "k"), 1000 - charged + refunded);
    let again: Vec<_> = every_other().map(|receipt| outcome(&scene.refund(&mut scene.copy(receipt), 1))).collect();
    // Two more than are remembered.
    assert_eq!(again[..2], [(0, 0, true); 2]);
    assert!(again[2..].iter().all(|&answer| answer == (0, 1, false)), "{again:?}");
    // Those beside the oldest may have expired with them; the later ones are refunded as ever.
    let mut last = scene.copy(&receipts[receipts.len() - 2]);
    assert_eq!(outcome(&scene.refund(&mut last, 1)), (1, 1, false));
    assert_eq!(scene.remaining(&limit, "k"), 1000 - charged + refunded + 1);
}

/// An expired part does not block the others.
pub fn an_expired_part_blocks_no_other<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (gone, stays) = (sample.limit(), limit("stays", "10/month"));
    for order in [false, true] {
        let mut items = [Item::new(&gone, "k").cost(3), Item::new(&stays, "k").cost(3)];
        if order {
            items.reverse();
        }
        let mut receipt = admitted(scene.ask(&items));
        assert!(scene.reset(&gone, "k"));
        let back = scene.refund(&mut receipt, 3);
        let answers: Vec<_> = back.parts.iter().map(|part| (part.given_back, part.expired)).collect();
        let wanted = [(0, true), (3, false)];
        assert_eq!(answers, if order { [wanted[1], wanted[0]] } else { wanted });
        assert_eq!((scene.remaining(&gone, "k"), scene.remaining(&stays, "k")), (10, 10));
    }
}

/// Each part of a receipt is given back up to its own total.
pub fn each_part_has_its_own_total<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (one, other) = (sample.limit(), limit("other", "10/month"));
    let mut receipt = admitted(scene.ask(&[Item::new(&one, "k").cost(5), Item::new(&other, "k").cost(5)]));
    for totals in [[0, 2], [3, 2], [3, 2], [3, 5]] {
        let back = scene.run(scene.limiter.refund_parts(&mut receipt, &totals)).expect("no trouble");
        assert_eq!(back.parts.iter().map(|part| part.in_all).collect::<Vec<_>>(), totals);
        assert_eq!([scene.remaining(&one, "k"), scene.remaining(&other, "k")], totals.map(|total| 5 + total));
    }
}

/// Settling makes a receipt hold its true cost, lower or higher, the latest top-up first. Units once given back
/// are not charged again: what is short because of them is told.
pub fn settling_holds_the_true_cost<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 1);
    let mut receipt = scene.take(&limit, "k", 4);
    for (cost, topped_up, given_back, shortfall) in [
        (4, 0, 0, 0),
        (7, 3, 0, 0),
        (7, 0, 0, 0),
        (6, 0, 1, 0),
        (3, 0, 3, 0),
        (3, 0, 0, 0),
        (8, 1, 0, 4),
        (8, 0, 0, 4),
        (0, 0, 4, 0),
    ] {
        let settled = scene.settled(&mut receipt, cost);
        let part = settled.parts[0];
        assert_eq!((part.topped_up, part.given_back, part.shortfall), (topped_up, given_back, shortfall), "to {cost}");
        assert_eq!(scene.remaining(&limit, "k"), 9 - (cost - shortfall));
        assert_eq!(receipt.cost() - receipt.refunded(), cost - shortfall);
    }
}

/// A top-up repeated, from the receipt or from copies made before it, charges nothing more; not even after
/// all was given back.
pub fn a_top_up_repeated_charges_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 2);
    let mut copies = [scene.copy(&receipt), scene.copy(&receipt), scene.copy(&receipt)];
    assert_eq!(scene.settled(&mut receipt, 6).parts[0].topped_up, 4);
    for (copy, (cost, more)) in copies.iter_mut().zip([(6, 0), (7, 1), (7, 0)]) {
        assert_eq!(scene.settled(copy, cost).parts[0].topped_up, more);
        assert_eq!(copy.cost(), cost, "the copy learns of the top-ups made before it");
    }
    assert_eq!(scene.settled(&mut receipt, 7).parts[0].topped_up, 0);
    assert_eq!(scene.remaining(&limit, "k"), 3);
    // All of it, top-ups too, once.
    let mut copy = scene.copy(&copies[2]);
    assert_eq!(scene.refund(&mut copies[2], u64::MAX).given_back(), 7);
    assert_eq!(scene.refund(&mut copy, u64::MAX).given_back(), 0);
    assert_eq!(scene.remaining(&limit, "k"), 10);
    let _ = scene.refund(&mut receipt, 9);
    for copy in &mut copies {
        assert_eq!(scene.settled(copy, 7).parts[0].topped_up, 0);
    }
    assert_eq!(scene.remaining(&limit, "k"), 10);
}

/// Threads that settle copies of a receipt top it up once.
pub fn concurrent_settlements_top_up_once<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for round in 0..4 {
        let key = format!("round {round}");
        let receipt = scene.take(&limit, &key, 2);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                let mut copy = scene.copy(&receipt);
                let scene = &scene;
                threads.spawn(move || scene.settled(&mut copy, 7));
            }
        });
        assert_eq!(scene.remaining(&limit, &key), 3);
    }
}

/// A top-up that does not fit is refused whole, or takes what is there and tells the rest.
pub fn a_top_up_too_high_is_refused_or_cut<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 5);
    let mut receipt = scene.take(&limit, "k", 2);
    let refused = scene.settle(&mut receipt, 6, Shortfall::Refuse);
    assert!(refused.settled().is_none());
    assert_eq!((scene.remaining(&limit, "k"), receipt.cost()), (3, 2));
    let cut = scene.settle(&mut receipt, 6, Shortfall::TakeWhatIsThere).settled().expect("never refused");
    assert_eq!((cut.parts[0].topped_up, cut.parts[0].shortfall), (3, 1));
    assert_eq!((scene.remaining(&limit, "k"), receipt.cost()), (0, 5));
}

/// A settlement of several parts that does not fit one of them tops up none.
pub fn a_settlement_is_all_or_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (one, other) = (sample.limit(), limit("other", "10/month"));
    let mut receipt = admitted(scene.ask(&[Item::new(&one, "k").cost(5), Item::new(&other, "k").cost(5)]));
    for costs in [[8, 11], [11, 8], [1, 11]] {
        let answer = scene.run(scene.limiter.settle_parts(&mut receipt, &costs, Shortfall::Refuse));
        assert!(answer.expect("no trouble").settled().is_none());
        assert_eq!((scene.remaining(&one, "k"), scene.remaining(&other, "k")), (5, 5));
    }
    let answer = scene.run(scene.limiter.settle_parts(&mut receipt, &[2, 9], Shortfall::Refuse));
    assert!(answer.expect("no trouble").settled().is_some());
    assert_eq!((scene.remaining(&one, "k"), scene.remaining(&other, "k")), (8, 1));
}

/// A count remembers [`REMEMBERED`] topped-up receipts; the one charged first is forgotten first, and
/// neither it nor any charged before it is topped up again.
pub fn past_the_bound_top_ups_expire<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("many", "1000/month");
    let mut receipts = Vec::new();
    for _ in 0..=REMEMBERED {
        receipts.push(scene.take(&limit, "k", 1));
        scene.advance(Duration::from_micros(1));
    }
    for receipt in &receipts {
        assert_eq!(scene.settled(&mut scene.copy(receipt), 2).parts[0].topped_up, 1);
    }
    let used = 2 * receipts.len() as u64;
    let mut first = scene.copy(&receipts[0]);
    let part = scene.settled(&mut first, 2).parts[0];
    assert_eq!((part.topped_up, part.shortfall, part.expired), (0, 1, true));
    for receipt in &receipts[1..] {
        let part = scene.settled(&mut scene.copy(receipt), 2).parts[0];
        assert_eq!((part.topped_up, part.shortfall, part.expired), (0, 0, false));
    }
    assert_eq!(scene.remaining(&limit, "k"), 1000 - used);
}

/// A receipt is topped up for 24 hours after its charge, then no more.
pub fn after_a_day_nothing_is_topped_up<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("month", "10/month");
    let receipt = scene.take(&limit, "k", 1);
    let (mut early, mut late) = (scene.copy(&receipt), scene.copy(&receipt));
    scene.advance(Duration::from_secs(86_400) - Duration::from_micros(1));
    assert_eq!(scene.settled(&mut early, 3).parts[0].topped_up, 2);
    scene.advance(Duration::from_micros(1));
    let part = scene.settled(&mut late, 5).parts[0];
    assert_eq!((part.topped_up, part.expired), (0, true));
    assert_eq!(scene.remaining(&limit, "k"), 7);
    // Giving back is not bounded so.
    assert_eq!(scene.refund(&mut early, 9).given_back(), 3);
}

/// A top-up is charged in the window current now; the first charge stays where it was.
pub fn a_top_up_is_charged_now<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("minute", "10/minute");
    let mut receipt = scene.take(&limit, "k", 4);
    scene.advance(Duration::from_secs(60));
    assert_eq!(scene.settled(&mut receipt, 6).parts[0].topped_up, 2);
    assert_eq!(scene.remaining(&limit, "k"), 8);
    let part = scene.settled(&mut receipt, 1).parts[0];
    // The top-up comes back; of the first window's four, nothing can.
    assert_eq!((part.given_back, part.expired), (2, true));
    assert_eq!(scene.remaining(&limit, "k"), 10);
}

/// A lease that was released is not released again, nor renewed.
pub fn a_released_lease_is_gone<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("places", "3 at once for 10m");
    let [mut first, second] = [scene.take(&limit, "k", 1), scene.take(&limit, "k", 1)];
    let mut copy = scene.copy(&first);
    assert_eq!(outcome(&scene.refund(&mut first, 1)), (1, 1, false));
    assert_eq!(outcome(&scene.refund(&mut copy, 1)), (0, 1, false));
    let renewal = |receipt| scene.run(scene.limiter.renew(receipt)).expect("no trouble").parts[0];
    assert_eq!(renewal(&copy), PartRenewal::Expired);
    assert!(matches!(renewal(&second), PartRenewal::Until(_)));
    assert_eq!(scene.remaining(&limit, "k"), 2);
    // Nor once it ran out.
    scene.advance(Duration::from_secs(600));
    assert_eq!(renewal(&second), PartRenewal::Expired);
    let Decision::Allowed(_) = scene.charge(&limit, "k", 3) else { panic!("all places are free") };
}

/// A lease that is told is as good as the receipt of its charge, and both together release it once.
pub fn a_lease_told_is_the_one_charged<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("places", "9 at once for 10m");
    let _ = scene.take(&limit, "k", 1);
    scene.advance(Duration::from_secs(1));
    let mut receipt = scene.take(&limit, "k", 3);
    let mut told = scene.leases(&limit, "k").remove(1).receipt;
    assert_eq!(outcome(&scene.refund(&mut told, 1)), (1, 1, false));
    assert_eq!(outcome(&scene.refund(&mut receipt, 2)), (1, 2, false));
    let again = scene.leases(&limit, "k").remove(1);
    assert_eq!((again.units, again.receipt.refunded()), (1, 2));
    let mut again = scene.copy(&again.receipt);
    assert_eq!(outcome(&scene.refund(&mut again, 3)), (1, 3, false));
    for receipt in [&mut told, &mut receipt] {
        assert_eq!(outcome(&scene.refund(receipt, 3)), (0, 3, false));
    }
    assert_eq!(scene.remaining(&limit, "k"), 8);
    // Nor once it ran out.
    let mut last = scene.leases(&limit, "k").remove(0).receipt;
    scene.advance(Duration::from_secs(599));
    assert_eq!(outcome(&scene.refund(&mut last, 1)), (0, 0, true));
}

/// A settlement tops up under the variant that was charged, from a token too, whichever one the store met last.
pub fn a_top_up_goes_by_the_variant_charged<H: Harness>(harness: &H, sample: &Sample) {
    let (free, pro) = sample.variants();
    let scene = Scene::new(harness);
    let mut receipt = scene.take(&pro, "k", 1);
    let _ = scene.take(&free, "k", 1);
    let mut copy = scene.copy(&receipt);
    assert_eq!(scene.settled(&mut receipt, 15).parts[0].topped_up, 14);
    assert_eq!(scene.settled(&mut copy, 20).parts[0].topped_up, 5);
    assert_eq!(scene.settled(&mut receipt, 20).parts[0].topped_up, 0);
    assert_eq!(scene.remaining(&pro, "k"), 4);

    // And no more than that one has.
    let scene = Scene::new(harness);
    let mut receipt = scene.take(&free, "k", 1);
    let _ = scene.take(&pro, "k", 1);
    let mut copy = scene.copy(&receipt);
    for receipt in [&mut receipt, &mut copy] {
        assert!(scene.settle(receipt, 15, Shortfall::Refuse).settled().is_none());
    }
    let cut = scene.settle(&mut copy, 15, Shortfall::TakeWhatIsThere).settled().expect("never refused");
    assert_eq!((cut.parts[0].topped_up, cut.parts[0].shortfall), (8, 6));
    assert_eq!(scene.peek(&pro, "k").used(), 10);
}
