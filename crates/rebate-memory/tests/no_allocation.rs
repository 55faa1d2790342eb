//! A charge of a key that was seen before allocates nothing, nor does its refund. A receipt of several limits
//! is one piece on the heap: in place it would make every decision larger to move.
//!
//! An entry holds one run of refunded units; a second one, apart from the first, moves the count to where
//! it can have more, which does allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rebate_core::{Decision, Item, Limit, Limiter, Receipt};
use rebate_memory::MemoryStore;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator as it came; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `act` allocates.
fn allocations<T>(act: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.get();
    let outcome = act();
    (ALLOCATIONS.get() - before, outcome)
}

fn admitted(decision: Decision) -> Receipt {
    decision.receipt().expect("admitted")
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| Box::new(1)).0, 1);
}

#[test]
fn charges_and_refunds_of_known_keys_allocate_nothing() {
    let policies = [
        "3/day",
        "3/week",
        "3/day from first",
        "3/day sliding",
        "3/day burst 3",
        // T is no whole number of microseconds.
        "7/day burst 3",
    ];
    for policy in policies {
        for key in ["", "user:42", "user:42-of-23-bytes-in."] {
            let limiter = Limiter::new(MemoryStore::new());
            let limit = limiter.limit("limit", policy).expect("a limit");
            drop(admitted(limiter.charge_now(&limit, key).expect("no trouble")));

            for _ in 0..2 {
                let (count, decision) = allocations(|| limiter.charge_now(&limit, key).expect("no trouble"));
                assert_eq!(count, 0, "{policy}: an admitted charge of {} bytes", key.len());
                let (count, denied) = allocations(|| {
                    drop(limiter.charge_now(&limit, key).expect("no trouble"));
                    limiter.charge_now(&limit, key).expect("no trouble").denial().is_some()
                });
                assert!(denied, "{policy}");
                assert_eq!(count, 0, "{policy}: a denied charge");
                let mut receipt = admitted(decision);
                let (count, refund) = allocations(|| limiter.refund_now(&mut receipt).expect("no trouble"));
                assert_eq!(refund.given_back(), 1, "{policy}");
                assert_eq!(count, 0, "{policy}: a refund");
                let (count, _) = allocations(|| drop(limiter.refund_now(&mut receipt).expect("no trouble")));
                assert_eq!(count, 0, "{policy}: a refund repeated");
                limiter.reset_now(&limit, key).expect("no trouble");
                drop(admitted(limiter.charge_now(&limit, key).expect("no trouble")));
            }
        }
    }
}

#[test]
fn denials_by_two_or_three_limits_allocate_nothing_and_receipts_of_theirs_once() {
    for policies in
        [&["3/day", "4/week"][..], &["4/day sliding", "9/day burst 3"], &["9/day burst 4", "3/day", "4/week"]]
    {
        for key in ["user:42", "user:42-of-23-bytes-in."] {
            let limiter = Limiter::new(MemoryStore::new());
            let limit = |(at, policy): (usize, &&str)| limiter.limit(&format!("limit-{at}"), policy).expect("a limit");
            let limits: Vec<Limit> = policies.iter().enumerate().map(limit).collect();
            let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, key)).collect();
            drop(admitted(limiter.charge_all_now(&items).expect("no trouble")));

            for _ in 0..2 {
                let (count, decision) = allocations(|| limiter.charge_all_now(&items).expect("no trouble"));
                assert_eq!(count, 1, "{policies:?}: an admitted charge of {} bytes", key.len());
                assert_eq!(admitted(decision).parts().len(), policies.len());
            }
            // One denies, the others would admit it.
            let (count, decision) = allocations(|| limiter.charge_all_now(&items).expect("no trouble"));
            assert_eq!(count, 0, "{policies:?}: a denied charge of {} bytes", key.len());
            let denial = decision.denial().expect("denied");
            assert_eq!((denial.statuses().len(), denial.violated().count()), (policies.len(), 1));
        }
    }
}

#[test]
fn a_future_of_the_store_allocates_nothing_either() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let limiter = Limiter::new(MemoryStore::new());
    let limit = limiter.limit("limit", "3/day").expect("a limit");
    drop(limiter.charge_now(&limit, "user:42").expect("no trouble"));
    let (count, decision) = allocations(|| {
        let future = pin!(limiter.charge(&limit, "user:42"));
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decision) => decision.expect("no trouble"),
            Poll::Pending => panic!("memory does not wait"),
        }
    });
    assert_eq!(count, 0);
    assert!(decision.receipt().is_some());
}
