//! A receipt's token: no panic; what reads is written the same, and refunds or settles nothing in a store
//! that issued none. A signed one that no one signed is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rebate_core::{Limiter, ManualClock, Shortfall, Timestamp};
use rebate_memory::MemoryStore;

fuzz_target!(|text: &str| {
    let store = || {
        let clock = ManualClock::at(Timestamp::from_secs(1_700_000_000));
        MemoryStore::builder().name("fuzz").clock(clock).build().expect("a good name")
    };
    let limiter = Limiter::new(store());
    let limit = limiter.limit("a", "9/day").expect("a good limit");
    let signed = Limiter::signed(store(), b"a secret of sixteen bytes").expect("long enough");
    // A text alone seldom has the head that leads further.
    for token in [text.to_owned(), format!("r1{text}"), format!("s1{text}")] {
        match limiter.receipt(&token) {
            Err(error) => assert!(error.is_bad_token()),
            Ok(mut receipt) => {
                assert_eq!(limiter.token(&receipt).expect("of this store"), token);
                let refund = limiter.refund_now(&mut receipt).expect("no trouble");
                assert_eq!(refund.given_back(), 0);
                let _ = limiter.renew_now(&receipt).expect("no trouble");
                let _ = limiter.settle_now(&mut receipt, 0, Shortfall::Refuse);
                let _ = format!("{receipt:?}");
                assert_eq!(limiter.peek_now(&limit, "k").expect("no trouble").used(), 0);
            }
        }
        assert!(signed.receipt(&token).is_err_and(|error| error.is_bad_token()));
    }
});
