//! Variants of a limit: several policies under one name, each for some of the keys.

use rebate_core::{Decision, Item, Limit, Limiter, ManualClock, Receipt, Shortfall, Timestamp};
use rebate_memory::MemoryStore;

fn limiter() -> Limiter<MemoryStore<ManualClock>> {
    let clock = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    Limiter::new(MemoryStore::builder().clock(clock).build().expect("valid settings"))
}

fn charged(limiter: &Limiter<MemoryStore<ManualClock>>, limit: &Limit, key: &str, cost: u64) -> Receipt {
    match limiter.charge_all_now(&[Item::new(limit, key).cost(cost)]) {
        Ok(Decision::Allowed(receipt)) => receipt,
        other => panic!("not admitted: {other:?}"),
    }
}

#[test]
fn a_change_of_plan_keeps_what_was_used_and_its_receipts() {
    for (free, pro) in [
        ("10/day", "20/day"),
        ("10/month", "20/month"),
        ("10/day from first", "20/day from first"),
        ("10/day sliding", "20/day sliding"),
        ("10/day sliding log", "20/day sliding log"),
        ("1/day burst 10", "1/day burst 20"),
        ("10 at once for 1h", "20 at once for 1h"),
    ] {
        let limiter = limiter();
        let free = limiter.limit("plan", free).expect("a limit");
        let pro = free.variant(pro).expect("a policy");
        let _other = charged(&limiter, &pro, "other", 20);
        let mut receipt = charged(&limiter, &free, "ada", 10);
        let up = charged(&limiter, &pro, "ada", 4);
        assert_eq!(limiter.peek_now(&pro, "ada").expect("a status").used(), 14, "{pro}");
        // Back again: what is used is above the quota, and denied.
        let denied = limiter.charge_now(&free, "ada").expect("an answer");
        assert!(denied.denial().is_some(), "{free}");
        assert_eq!(limiter.refund_now(&mut receipt).expect("an answer").given_back(), 10, "{free}");
        assert_eq!(limiter.peek_now(&free, "ada").expect("a status").remaining(), 6, "{free}");
        drop(up);
    }
}

#[test]
fn a_settlement_tops_up_under_the_plan_that_was_charged() {
    let limiter = limiter();
    let free = Limit::new("plan", "2/day").expect("a limit");
    let pro = free.variant("20/day").expect("a policy");
    let mut receipt = charged(&limiter, &pro, "ada", 1);
    // The variant that the store met last is no matter.
    let _other = charged(&limiter, &free, "other", 1);
    let settled = limiter.settle_now(&mut receipt, 15, Shortfall::Refuse).expect("an answer");
    assert_eq!(settled.settled().expect("there is room").parts[0].topped_up, 14);
    assert_eq!(limiter.peek_now(&pro, "ada").expect("a status").used(), 15);
}

#[test]
fn what_is_charged_or_looked_at_is_not_thereby_the_limit_last_entered() {
    let limiter = limiter();
    let old = limiter.limit("plan", "5/week").expect("a limit");
    let mut receipt = charged(&limiter, &old, "ada", 1);
    let free = Limit::new("plan", "3/day").expect("a limit");
    let pro = free.variant("5/day").expect("a policy");
    limiter.replace(&free);
    for limit in [&pro, &free] {
        limiter.register(limit).expect("no conflict");
    }
    let _used = charged(&limiter, &pro, "ada", 3);
    // Another name comes to stand for something else, so that limits are checked anew.
    limiter.limit("other", "1/day").expect("a limit");
    limiter.replace(&Limit::new("other", "2/day").expect("a limit"));
    let _other = charged(&limiter, &pro, "other", 1);
    limiter.list_now(&pro, None, 10).expect("a page");
    // Its own limit is gone; it is topped up by the one last entered, which is used up.
    let settled = limiter.settle_now(&mut receipt, 2, Shortfall::Refuse).expect("an answer");
    assert!(settled.settled().is_none(), "topped up under another one");
}
