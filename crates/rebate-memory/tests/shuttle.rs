//! The store's own locking code under shuttle, which tries many interleavings of it:
//! `RUSTFLAGS='--cfg shuttle' cargo test -p rebate-memory --test shuttle --release`.
#![cfg(shuttle)]

use std::sync::Arc;

use rebate_core::{Decision, Item, Limiter, ManualClock, Timestamp};
use rebate_memory::MemoryStore;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

/// Enough to have found every planted fault at once, and takes seconds.
const SCHEDULES: usize = 2_000;

fn limiter() -> Limiter<MemoryStore<ManualClock>> {
    let clock = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    Limiter::new(MemoryStore::builder().clock(clock).build().expect("valid settings"))
}

#[test]
fn shuttle_admits_exactly_the_quota() {
    shuttle::check_random(
        || {
            let limiter = limiter();
            let limit = limiter.limit("limit", "3/day").expect("a limit");
            let admitted = Arc::new(AtomicU64::new(0));
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let (limiter, limit, admitted) = (limiter.clone(), limit.clone(), Arc::clone(&admitted));
                    thread::spawn(move || {
                        for _ in 0..2 {
                            if let Decision::Allowed(_) = limiter.charge_now(&limit, "key").expect("no trouble") {
                                admitted.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
            assert_eq!(admitted.load(Ordering::SeqCst), 3);
        },
        SCHEDULES,
    );
}

/// Two charges of the same two keys in opposite orders: neither waits for the other for ever, and both
/// limits are charged alike.
#[test]
fn shuttle_charges_several_shards_without_deadlock() {
    shuttle::check_random(
        || {
            let limiter = limiter();
            let limit = limiter.limit("limit", "3/day").expect("a limit");
            let threads: Vec<_> = [["a", "b"], ["b", "a"], ["c", "a"]]
                .into_iter()
                .map(|keys| {
                    let (limiter, limit) = (limiter.clone(), limit.clone());
                    thread::spawn(move || {
                        let items = keys.map(|key| Item::new(&limit, key));
                        match limiter.charge_all_now(&items).expect("no trouble") {
                            Decision::Allowed(mut receipt) if keys[0] == "c" => {
                                limiter.refund_now(&mut receipt).expect("no trouble");
                            }
                            decision => drop(decision),
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
            for (key, used) in [("a", 2), ("b", 2), ("c", 0)] {
                assert_eq!(limiter.peek_now(&limit, key).expect("no trouble").used(), used);
            }
        },
        SCHEDULES,
    );
}

/// Refunds of one receipt's copies race with each other and with charges: each unit comes back once.
#[test]
fn shuttle_refunds_each_unit_once() {
    shuttle::check_random(
        || {
            let limiter = limiter();
            let limit = limiter.limit("limit", "4/day").expect("a limit");
            let charged = limiter.charge_all_now(&[Item::new(&limit, "key").cost(3)]).expect("no trouble");
            let token = limiter.token(&charged.receipt().expect("admitted")).expect("its own receipt");
            let returned = Arc::new(AtomicU64::new(0));
            let threads: Vec<_> = (1..=3)
                .map(|total| {
                    let (limiter, limit) = (limiter.clone(), limit.clone());
                    let (token, returned) = (token.clone(), Arc::clone(&returned));
                    thread::spawn(move || {
                        let mut receipt = limiter.receipt(&token).expect("its own token");
                        let refund = limiter.refund_up_to_now(&mut receipt, total).expect("no trouble");
                        returned.fetch_add(refund.given_back(), Ordering::SeqCst);
                        drop(limiter.charge_now(&limit, "key").expect("no trouble"));
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
            assert_eq!(returned.load(Ordering::SeqCst), 3);
            assert!(limiter.peek_now(&limit, "key").expect("no trouble").used() <= 3);
        },
        SCHEDULES,
    );
}
