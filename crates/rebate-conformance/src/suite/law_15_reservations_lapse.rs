//! Law 15: a charge that is reserved for a time is given back whole at its end, as a refund at that moment would,
//! unless it was settled before.
//!
//! Most cases hold a key with reservations against a twin that is charged for good and refunded by hand at their ends.

use std::time::Duration;

use rebate_core::{ChargeRequest, Idempotency, Item, Limit, MAX_WINDOW, Receipt, Shortfall};

use super::scene::{Sample, Scene, Seen, limit};
use crate::Harness;

const MICROSECOND: Duration = Duration::from_micros(1);

/// For how long most cases reserve.
fn within(sample: &Sample) -> Duration {
    2 * eighth(sample)
}

/// An eighth of the window, in whole microseconds as the clock moves.
fn eighth(sample: &Sample) -> Duration {
    Duration::from_micros((sample.window / 8).as_micros() as u64)
}

/// What the store does by itself at a reservation's end: leases end when they do.
fn end_by_hand<H: Harness>(scene: &Scene<'_, H>, sample: &Sample, receipt: &mut Receipt) {
    if !sample.is(&["concurrency"]) {
        let _ = scene.refund(receipt, u64::MAX);
    }
}

/// `cost` units reserved of one key, and charged for good to its twin.
fn twins<H: Harness>(scene: &Scene<'_, H>, sample: &Sample, limit: &Limit, cost: u64) -> [Receipt; 2] {
    [scene.reserve(limit, "k", cost, within(sample)), scene.take(limit, "twin", cost)]
}

#[track_caller]
fn assert_alike<H: Harness>(scene: &Scene<'_, H>, limit: &Limit) {
    let [k, twin] = ["k", "twin"].map(|key| Seen::status(&scene.peek(limit, key)));
    assert_eq!(k, twin);
}

/// It counts like any charge until its end, waits and resets too; at it, it is given back, on a fresh key and on one in
/// use.
pub fn it_counts_until_its_end<H: Harness>(harness: &H, sample: &Sample) {
    for before in [None, Some(3)] {
        let scene = Scene::new(harness);
        let limit = sample.limit();
        for key in ["k", "twin"] {
            let _ = before.map(|cost| scene.take(&limit, key, cost));
        }
        let [reserved, mut twin] = twins(&scene, sample, &limit, 4);
        let statuses = [&reserved, &twin].map(|receipt| Seen::status(&receipt.statuses()[0]));
        assert_eq!(statuses[0], statuses[1]);
        let denials = ["k", "twin"].map(|key| Seen::decision(&scene.charge(&limit, key, 9)));
        assert_eq!(denials[0], denials[1], "told as if it were to stay");
        scene.advance(within(sample) - MICROSECOND);
        assert_alike(&scene, &limit);
        scene.advance(MICROSECOND);
        end_by_hand(&scene, sample, &mut twin);
        assert_alike(&scene, &limit);
        scene.same_future(sample, &limit, "k", "twin");
    }
}

/// Whichever operation looks at the count first, and however late, its answer is as if it had been given back at its end.
pub fn whoever_looks_first_finds_it_given_back<H: Harness>(harness: &H, sample: &Sample) {
    let looks = ["charge", "denied charge", "peek", "list", "refund", "settlement", "replay", "reset"];
    for look in looks {
        let scene = Scene::new(harness);
        let limit = sample.limit();
        let billed = |key| [Item::new(&limit, key).cost(2)];
        let once = Idempotency::new("request").lifetime(MAX_WINDOW);
        // Charged first, so that a bucket refills it first: later than at its end it would give back less.
        let [_, mut twin] = twins(&scene, sample, &limit, 4);
        let mut others = ["k", "twin"].map(|key| (scene.once(&billed(key), once), scene.take(&limit, key, 3)).1);
        scene.advance(within(sample));
        end_by_hand(&scene, sample, &mut twin);
        scene.advance(eighth(sample));
        let [seen, wanted] = ["k", "twin"].map(|key| {
            let other = &mut others[usize::from(key == "twin")];
            let status = match look {
                "charge" => scene.take(&limit, key, 1).statuses()[0],
                "denied charge" => scene.deny(&limit, key, 11).statuses()[0],
                "peek" => scene.peek(&limit, key),
                "list" => {
                    let listed = scene.listed(&limit);
                    listed.iter().find(|(listed, _)| listed.as_ref().bytes() == key.as_bytes()).expect("in use").1
                }
                "refund" => scene.refund(other, 1).parts[0].status.expect("a status"),
                "settlement" => scene.settled(other, 1).parts[0].status.expect("a status"),
                "replay" => super::scene::admitted(scene.once(&billed(key), once)).statuses()[0],
                _ => {
                    assert!(scene.reset(&limit, key), "it was in use");
                    scene.peek(&limit, key)
                }
            };
            Seen::status(&status)
        });
        assert_eq!(seen, wanted, "{look}");
        assert_alike(&scene, &limit);
        scene.same_future(sample, &limit, "k", "twin");
    }
}

/// Several of one count end each in its own time, whatever the order of their charges, and whether or not anybody looks
/// meanwhile.
pub fn each_ends_in_its_own_time<H: Harness>(harness: &H, sample: &Sample) {
    for looks in [false, true] {
        let scene = Scene::new(harness);
        let limit = sample.limit();
        let eighth = eighth(sample);
        let reserved = [(2, 4 * eighth), (3, eighth), (1, 2 * eighth), (2, eighth)];
        let mut by_hand = Vec::new();
        for (cost, within) in reserved {
            let _ = scene.reserve(&limit, "k", cost, within);
            by_hand.push((within, scene.take(&limit, "twin", cost)));
        }
        by_hand.sort_by_key(|(within, _)| *within);
        for eighths in 1..=5 {
            scene.advance(eighth);
            for (within, twin) in &mut by_hand {
                if *within == eighths * eighth {
                    end_by_hand(&scene, sample, twin);
                }
            }
            if looks {
                assert_alike(&scene, &limit);
            }
        }
        assert_alike(&scene, &limit);
        scene.same_future(sample, &limit, "k", "twin");
    }
}

/// What was given back at its end is not given back again: to its receipt, to a copy, or after the clock stepped back.
pub fn it_is_given_back_once<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for key in ["k", "twin"] {
        let _ = scene.take(&limit, key, 5);
    }
    let [mut reserved, mut twin] = twins(&scene, sample, &limit, 4);
    let mut copy = scene.copy(&reserved);
    scene.advance(within(sample));
    if !sample.is(&["concurrency"]) {
        assert_eq!(scene.refund(&mut twin, 4).given_back(), 4);
        for receipt in [&mut copy, &mut reserved] {
            let refund = scene.refund(receipt, 4).parts[0];
            assert_eq!((refund.given_back, refund.in_all, refund.expired), (0, 4, false));
        }
    }
    assert_alike(&scene, &limit);
    scene.step_back(eighth(sample));
    assert_alike(&scene, &limit);
    scene.advance(within(sample));
    scene.same_future(sample, &limit, "k", "twin");
}

/// A refund before the end does not end it: the rest is given back then, and no more than that.
pub fn a_refund_does_not_end_it<H: Harness>(harness: &H, sample: &Sample) {
    for refunded in [0, 1, 3, 4] {
        let scene = Scene::new(harness);
        let limit = sample.limit();
        for key in ["k", "twin"] {
            let _ = scene.take(&limit, key, 6);
        }
        let mut both = twins(&scene, sample, &limit, 4);
        for receipt in &mut both {
            assert_eq!(scene.refund(receipt, refunded).given_back(), refunded);
        }
        scene.advance(within(sample));
        end_by_hand(&scene, sample, &mut both[1]);
        assert_alike(&scene, &limit);
        scene.same_future(sample, &limit, "k", "twin");
    }
}

/// What is settled in time, to the last microsecond, stands: down, up with its top-up, and as it was; by a copy too. It
/// can be refunded as ever.
pub fn what_is_settled_stands<H: Harness>(harness: &H, sample: &Sample) {
    for cost in [0, 2, 4, 7] {
        let scene = Scene::new(harness);
        let limit = sample.limit();
        for key in ["k", "twin"] {
            let _ = scene.take(&limit, key, 2);
        }
        let both = twins(&scene, sample, &limit, 4);
        let mut copies = both.each_ref().map(|receipt| scene.copy(receipt));
        scene.advance(within(sample) - MICROSECOND);
        let settled = copies.each_mut().map(|copy| scene.settled(copy, cost).parts);
        assert_eq!(settled[0], settled[1], "to {cost}");
        scene.advance(MICROSECOND);
        assert_alike(&scene, &limit);
        scene.advance(within(sample));
        assert_alike(&scene, &limit);
        let given_back = copies.each_mut().map(|copy| scene.refund(copy, 1).given_back());
        assert_eq!(given_back[0], given_back[1]);
        scene.same_future(sample, &limit, "k", "twin");
    }
}

/// A settlement that is refused leaves it as it was: it lapses unless another settles it.
pub fn a_refused_settlement_does_not_end_it<H: Harness>(harness: &H, sample: &Sample) {
    for settled_later in [false, true] {
        let scene = Scene::new(harness);
        let limit = sample.limit();
        for key in ["k", "twin"] {
            let _ = scene.take(&limit, key, 5);
        }
        let mut both = twins(&scene, sample, &limit, 4);
        assert!(scene.settle(&mut both[0], 9, Shortfall::Refuse).settled().is_none());
        if settled_later {
            both.iter_mut().for_each(|receipt| assert_eq!(scene.settled(receipt, 3).parts[0].given_back, 1));
        }
        scene.advance(within(sample));
        if !settled_later {
            end_by_hand(&scene, sample, &mut both[1]);
        }
        assert_alike(&scene, &limit);
        scene.same_future(sample, &limit, "k", "twin");
    }
}

/// A settlement at the end or later is one after that refund: what was given back is not charged again, and told as
/// shortfall.
pub fn a_late_settlement_charges_nothing_again<H: Harness>(harness: &H, sample: &Sample) {
    for late in [Duration::ZERO, eighth(sample)] {
        for cost in [0, 3, 4, 6] {
            let scene = Scene::new(harness);
            let limit = sample.limit();
            for key in ["k", "twin"] {
                let _ = scene.take(&limit, key, 5);
            }
            let mut both = twins(&scene, sample, &limit, 4);
            let mut copies = both.each_ref().map(|receipt| scene.copy(receipt));
            scene.advance(within(sample));
            end_by_hand(&scene, sample, &mut both[1]);
            scene.advance(late);
            let settled = copies.each_mut().map(|copy| scene.settle(copy, cost, Shortfall::TakeWhatIsThere));
            let settled = settled.map(|settled| settled.settled().expect("never refused"));
            assert_eq!(settled[0].parts, settled[1].parts, "{cost}");
            if !sample.is(&["concurrency"]) {
                let part = settled[0].parts[0];
                let more = cost.saturating_sub(4);
                assert_eq!((part.topped_up, part.given_back, part.shortfall), (more, 0, cost - more));
            }
            assert_alike(&scene, &limit);
            scene.same_future(sample, &limit, "k", "twin");
        }
    }
}

/// Its own window is over: the one that is there at its end gets nothing, and no count is made where there is none.
pub fn a_later_window_gets_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let long = sample.long();
    for key in ["k", "gone"] {
        let _ = scene.reserve(&limit, key, 5, long + within(sample));
    }
    scene.advance(long);
    for key in ["k", "twin"] {
        let _ = scene.take(&limit, key, 7);
    }
    scene.advance(within(sample));
    assert_eq!(scene.remaining(&limit, "gone"), 10);
    assert_eq!(scene.listed(&limit).len(), 2);
    assert_alike(&scene, &limit);
    scene.same_future(sample, &limit, "k", "twin");
}

/// A reset forgets it with all that was used: what is charged then stays at its end.
pub fn a_reset_forgets_it<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.reserve(&limit, "k", 5, within(sample));
    assert!(scene.reset(&limit, "k"));
    for key in ["k", "twin"] {
        let _ = scene.take(&limit, key, 7);
    }
    scene.advance(within(sample));
    assert_alike(&scene, &limit);
    scene.same_future(sample, &limit, "k", "twin");
}

/// Its idempotency key stands until its end and is free then: the next charge under it is a new one, whatever it is. Once it
/// is settled the key stands for its lifetime.
pub fn its_key_is_free_then<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let items = ["k", "settled", "changed"].map(|key| [Item::new(&limit, key).cost(3)]);
    let requests = items
        .each_ref()
        .map(|items| ChargeRequest::new(items).once(Idempotency::new("request")).reserved(within(sample)));
    let mut receipts = requests.each_ref().map(|request| scene.take_with(request));
    let mut twin = scene.take(&limit, "twin", 3);
    let _ = scene.settled(&mut receipts[1], 3);
    scene.advance(within(sample) - MICROSECOND);
    assert!(scene.take_with(&requests[0]).is_replay());
    scene.advance(MICROSECOND);
    end_by_hand(&scene, sample, &mut twin);
    let other = [Item::new(&limit, "changed").cost(2)];
    let changed = scene.take_with(&ChargeRequest::new(&other).once(Idempotency::new("request")));
    assert!(!changed.is_replay());
    assert!(scene.take_with(&requests[1]).is_replay(), "what is settled stands");
    assert!(!scene.take_with(&requests[0]).is_replay());
    let _ = scene.take(&limit, "twin", 3);
    assert_alike(&scene, &limit);
    // And stands anew for the new one, which ends in its turn.
    assert!(scene.take_with(&requests[0]).is_replay());
    scene.advance(within(sample));
    assert!(!scene.take_with(&requests[0]).is_replay());
}

/// A replay is of the same reservation: whatever time it asks for, it does not move the end; and it settles it.
pub fn a_replay_shares_it<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let once = Idempotency::new("request");
    let [items, settled] = ["k", "settled"].map(|key| [Item::new(&limit, key).cost(4)]);
    for items in [&items, &settled] {
        let _ = scene.take_with(&ChargeRequest::new(items).once(once).reserved(within(sample)));
    }
    let mut twin = scene.take(&limit, "twin", 4);
    scene.advance(eighth(sample));
    let again = ChargeRequest::new(&items).once(once);
    for again in [again, again.reserved(MICROSECOND), again.reserved(within(sample)), again.reserved(sample.window)] {
        assert!(scene.take_with(&again).is_replay());
    }
    let mut replay = scene.take_with(&ChargeRequest::new(&settled).once(once));
    assert_eq!(scene.settled(&mut replay, 3).parts[0].given_back, 1);
    scene.advance(eighth(sample) - MICROSECOND);
    assert_alike(&scene, &limit);
    scene.advance(MICROSECOND);
    end_by_hand(&scene, sample, &mut twin);
    assert_alike(&scene, &limit);
    let at_least = if sample.is_bucket() { 1 } else { 3 };
    assert!(scene.peek(&limit, "settled").used() >= at_least, "what is settled stands");
}

/// Each limit of one charge gives back its own, whichever is looked at first; a settlement lets all of them stand, and a
/// denial reserves nothing.
pub fn each_limit_of_a_charge_lapses<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (one, month) = (sample.limit(), limit("month", "10/month"));
    let items = |key, cost| [Item::new(&one, key).cost(4), Item::new(&month, key).cost(cost)];
    let ask = |key, cost| {
        let items = items(key, cost);
        let request = ChargeRequest::new(&items).reserved(within(sample));
        scene.run(scene.limiter.charge_with(&request)).expect("no trouble")
    };
    for key in ["k", "twin", "denied", "settled"] {
        let _ = scene.take(&month, key, 1);
    }
    let mut settled = super::scene::admitted(ask("settled", 6));
    let answer = scene.run(scene.limiter.settle_parts(&mut settled, &[4, 5], Shortfall::Refuse));
    assert!(answer.expect("no trouble").settled().is_some());
    let _ = super::scene::admitted(ask("k", 6));
    let _ = super::scene::denied(ask("denied", 10));
    let mut twin = super::scene::admitted(scene.ask(&items("twin", 6)));
    scene.advance(within(sample));
    assert_eq!(scene.remaining(&month, "k"), 9);
    assert_eq!(scene.remaining(&month, "denied"), 9);
    assert_eq!(scene.remaining(&month, "settled"), 4);
    let totals = if sample.is(&["concurrency"]) { [0, 6] } else { [4, 6] };
    let _ = scene.run(scene.limiter.refund_parts(&mut twin, &totals)).expect("no trouble");
    assert_alike(&scene, &one);
    assert_alike(&scene, &month);
    scene.same_future(sample, &one, "k", "twin");
}

/// It is given back to a key that has come under another variant since.
pub fn another_variant_gives_it_back<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (free, pro) = sample.variants();
    let [_, mut twin] = twins(&scene, sample, &free, 4);
    for key in ["k", "twin"] {
        let _ = scene.take(&pro, key, 15);
    }
    scene.advance(within(sample));
    end_by_hand(&scene, sample, &mut twin);
    for limit in [&pro, &free] {
        assert_alike(&scene, limit);
    }
    scene.same_future(sample, &free, "k", "twin");
}

/// Leases of a reserved charge end by themselves, neither earlier nor later; its other limits are given back.
pub fn leases_end_by_themselves<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let (places, day) = (limit("places", "3 at once for 10m"), limit("day", "10/day"));
    let items = [Item::new(&places, "k"), Item::new(&day, "k").cost(4)];
    for within in [60, 1200].map(Duration::from_secs) {
        let receipt = scene.take_with(&ChargeRequest::new(&items).reserved(within));
        let left = || (scene.remaining(&places, "k"), scene.remaining(&day, "k"));
        assert_eq!(left(), (2, 6));
        scene.advance(Duration::from_secs(60));
        let day_is_back = within == Duration::from_secs(60);
        assert_eq!(left(), (2, if day_is_back { 10 } else { 6 }));
        // A lease goes on as it would: the charge is not settled by being renewed.
        let _ = scene.run(scene.limiter.renew(&receipt)).expect("no trouble");
        scene.advance(Duration::from_secs(600) - MICROSECOND);
        assert_eq!(left(), (2, if day_is_back { 10 } else { 6 }));
        scene.advance(MICROSECOND);
        assert_eq!(left(), (3, if day_is_back { 10 } else { 6 }));
        scene.advance(Duration::from_secs(540));
        assert_eq!(left(), (3, 10));
    }
}

/// From a microsecond to a century is taken; other times are refused before anything happens.
pub fn its_time_has_bounds<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("day", "10/day");
    let items = [Item::new(&limit, "k").cost(4)];
    for within in [Duration::ZERO, Duration::from_nanos(999), MAX_WINDOW + MICROSECOND, Duration::MAX] {
        let error = scene.run(scene.limiter.reserve(&items, within)).expect_err("out of bounds");
        assert!(error.is_invalid() && !error.may_have_happened(), "{within:?}: {error:?}");
    }
    assert!(scene.listed(&limit).is_empty());
    let _ = scene.reserve(&limit, "k", 4, MAX_WINDOW);
    let _ = scene.reserve(&limit, "k", 5, MICROSECOND);
    assert_eq!(scene.remaining(&limit, "k"), 1);
    scene.advance(MICROSECOND);
    assert_eq!(scene.remaining(&limit, "k"), 6);
}
