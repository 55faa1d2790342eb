//! Releasing: the places of a receipt are given back, and nothing else.

mod common;

use std::time::Duration;

use common::{allowed, denied, limiter, run};
use rebate_core::{Item, Retry};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn three_at_once_and_fifty_a_day_are_both_or_neither() {
    let (limiter, _) = limiter();
    let (places, day) =
        (limiter.limit("places", "3 at once for 10m").unwrap(), limiter.limit("day", "50/day").unwrap());
    let both = [Item::new(&places, "k"), Item::new(&day, "k")];
    let used = || (limiter.peek_now(&places, "k").unwrap().used(), limiter.peek_now(&day, "k").unwrap().used());
    let mut held: Vec<_> = (0..3).map(|_| allowed(limiter.charge_all_now(&both))).collect();
    let denial = denied(limiter.charge_all_now(&both));
    assert_eq!(denial.retry(), Retry::AfterMicros(10 * 60_000_000));
    assert_eq!(used(), (3, 3), "a denial takes of neither");
    // One at a time to the day's end: it denies with two places free.
    for _ in 3..50 {
        limiter.release_now(&mut held.remove(0)).unwrap();
        held.push(allowed(limiter.charge_all_now(&both)));
    }
    limiter.release_now(&mut held.remove(0)).unwrap();
    limiter.release_now(&mut held.remove(0)).unwrap();
    assert_eq!(denied(limiter.charge_all_now(&both)).violated().map(|status| status.item()).collect::<Vec<_>>(), [1]);
    assert_eq!(used(), (1, 50), "a denial takes of neither");
}

#[test]
fn a_release_leaves_the_day_and_is_told() {
    let (limiter, _) = limiter();
    let (day, places) =
        (limiter.limit("day", "50/day").unwrap(), limiter.limit("places", "3 at once for 10m").unwrap());
    let items = [Item::new(&day, "k").cost(2), Item::new(&places, "k").cost(2)];
    let mut receipt = allowed(limiter.charge_all_now(&items));
    let released = run(limiter.release(&mut receipt)).unwrap();
    assert_eq!(released.parts.iter().map(|part| part.given_back).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(receipt.refunded(), 2);
    assert_eq!(limiter.peek_now(&day, "k").unwrap().used(), 2);
    assert_eq!(limiter.peek_now(&places, "k").unwrap().used(), 0);
    let again = limiter.release_at_once(&mut receipt).expect("it does not wait").unwrap();
    assert_eq!((again.given_back(), again.parts[1].in_all), (0, 2), "repeated it changes nothing");
    // The parts are refunded apart: the day may still be given back.
    assert_eq!(limiter.refund_now(&mut receipt).unwrap().given_back(), 2);
}

#[test]
fn a_lease_that_has_ended_is_told_and_nothing_is_given_twice() {
    let (limiter, clock) = limiter();
    let places = limiter.limit("places", "1 at once for 10m").unwrap();
    let mut receipt = allowed(limiter.charge_now(&places, "k"));
    clock.advance(10 * MINUTE);
    let other = allowed(limiter.charge_now(&places, "k"));
    assert!(limiter.release_now(&mut receipt).unwrap().any_expired());
    assert_eq!(limiter.peek_now(&places, "k").unwrap().used(), 1, "the other's place is its own");
    drop(other);
}

#[test]
fn a_copy_of_the_token_releases_once() {
    let (limiter, _) = limiter();
    let (places, day) =
        (limiter.limit("places", "2 at once for 10m").unwrap(), limiter.limit("day", "50/day").unwrap());
    let both = [Item::new(&places, "k"), Item::new(&day, "k")];
    let (mut receipt, _other) = (allowed(limiter.charge_all_now(&both)), allowed(limiter.charge_all_now(&both)));
    let mut copy = limiter.receipt(&limiter.token(&receipt).unwrap()).unwrap();
    assert_eq!(limiter.release_now(&mut copy).unwrap().given_back(), 1);
    assert_eq!(limiter.release_now(&mut receipt).unwrap().given_back(), 0);
    assert_eq!(limiter.peek_now(&places, "k").unwrap().used(), 1);
}
