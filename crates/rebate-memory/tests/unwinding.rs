//! A guard is there to survive panics: it, its limiter and receipts go through `catch_unwind` as they are.

use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};

use rebate_core::{Clock, Guard, Limit, Limiter, ManualClock, Receipt, Timestamp};
use rebate_memory::MemoryStore;

const fn unwinds<T: UnwindSafe + RefUnwindSafe>() {}

const _: () = {
    unwinds::<Limit>();
    unwinds::<Receipt>();
    unwinds::<Limiter<MemoryStore>>();
    unwinds::<Guard<MemoryStore>>();
};

/// A clock of the caller's that panics when it shows a certain second.
struct Brittle(ManualClock);

const BAD: Timestamp = Timestamp::from_secs(1_700_000_013);

impl Clock for Brittle {
    fn now(&self) -> Timestamp {
        let now = self.0.now();
        assert_ne!(now, BAD, "the clock broke");
        now
    }
}

/// The clock is all of the caller's code that runs under a lock: nothing is changed by then.
#[test]
fn a_clock_that_panics_leaves_the_store_as_it_was() {
    let clock = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let store = MemoryStore::builder().clock(Brittle(clock.clone())).build().expect("valid settings");
    let limiter = Limiter::new(store);
    let kinds = ["10/day", "10/day sliding log", "10 at once for 1d"];
    let limits = kinds.map(|policy| limiter.limit(policy, policy).expect("a limit"));
    let receipts = limits.each_ref().map(|limit| limiter.charge_now(limit, "a").expect("fits").receipt());
    clock.set(BAD);
    for (limit, receipt) in limits.iter().zip(receipts) {
        let mut receipt = receipt.expect("admitted");
        assert!(catch_unwind(|| limiter.charge_now(limit, "a")).is_err());
        assert!(catch_unwind(|| limiter.charge_now(limit, "new")).is_err());
        let token = limiter.token(&receipt).expect("a receipt has a token");
        let refund = || limiter.refund_now(&mut limiter.receipt(&token).expect("its own token"));
        assert!(catch_unwind(refund).is_err());
        clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(limiter.peek_now(limit, "a").expect("no trouble").used(), 1);
        assert_eq!(limiter.refund_now(&mut receipt).expect("no trouble").given_back(), 1);
        assert_eq!(limiter.peek_now(limit, "new").expect("no trouble").used(), 0);
        clock.set(BAD);
    }
}
