//! Groups in the differential test: stores that take keys of different groups for one another are caught,
//! and stores that cannot charge across groups can pass, the suite too.

use std::future::Future;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rebate_conformance::broken::{BrokenHarness, BrokenStore, Fault};
use rebate_conformance::{Capabilities, Harness, Operation, run_sequence, sequences};
use rebate_core::{
    ChargeRequest, Decision, Error, Identity, Item, KeyRef, Lease, Limit, ListRequest, ManualClock, Page, Receipt,
    Refund, RefundRequest, Renewal, SettleReply, SettleRequest, Statuses, Store,
};

/// How a store fails to charge across groups.
#[derive(Clone, Copy, PartialEq)]
enum Across {
    /// It says so.
    Refuses,
    /// It takes the first item before it says so.
    TakesFirst,
    /// It says so of one group as well.
    RefusesMore,
}

/// A store that charges one group at a time, as a cluster does.
struct OneGroup {
    across: Across,
    store: BrokenStore,
}

/// A key of no group is a group of its own.
fn group(key: KeyRef<'_>) -> (bool, &[u8]) {
    (key.group().is_some(), key.group().unwrap_or(key.bytes()))
}

impl OneGroup {
    fn check(&self, items: &[Item<'_>]) -> Result<(), Error> {
        let refused = match self.across {
            Across::RefusesMore => items.iter().any(|item| item.key != items[0].key),
            _ => items.iter().any(|item| group(item.key) != group(items[0].key)),
        };
        if refused { Err(Error::cross_group("keys of several groups; charge them apart")) } else { Ok(()) }
    }
}

impl Store for OneGroup {
    fn identity(&self) -> &Identity {
        self.store.identity()
    }

    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        let checked = self.check(request.items);
        if checked.is_err() && self.across == Across::TakesFirst {
            let _ = self.store.charge(&ChargeRequest::new(&request.items[..1])).await;
        }
        checked?;
        self.store.charge(request).await
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        self.store.refund(request).await
    }

    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        self.store.settle(request).await
    }

    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        self.store.renew(receipt).await
    }

    async fn peek(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        self.check(items)?;
        self.store.peek(items).await
    }

    async fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        self.store.reset(limit, key).await
    }

    async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        self.store.list(request).await
    }

    async fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        self.store.leases(limit, key).await
    }

    fn hand_back(&self, receipt: Receipt) {
        self.store.hand_back(receipt);
    }
}

struct Clustered(Across);

impl Harness for Clustered {
    type Store = OneGroup;

    fn store(&self, clock: &ManualClock) -> OneGroup {
        OneGroup { across: self.0, store: BrokenHarness(None).store(clock) }
    }

    fn capped_store(&self, clock: &ManualClock, bytes: usize) -> Option<OneGroup> {
        BrokenHarness(None).capped_store(clock, bytes).map(|store| OneGroup { across: self.0, store })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        BrokenHarness(None).block_on(future)
    }

    fn forgets_expired(&self) -> bool {
        true
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { across_groups: false, memory_cap: false }
    }
}

/// A broken store under a clock that never steps back.
struct Steady(Option<Fault>);

impl Harness for Steady {
    type Store = BrokenStore;

    fn store(&self, clock: &ManualClock) -> BrokenStore {
        BrokenHarness(self.0).store(clock)
    }

    fn capped_store(&self, clock: &ManualClock, bytes: usize) -> Option<BrokenStore> {
        BrokenHarness(self.0).capped_store(clock, bytes)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        BrokenHarness(self.0).block_on(future)
    }

    fn forgets_expired(&self) -> bool {
        true
    }
}

/// The number of the first of 300 sequences, always the same ones, that finds a difference.
fn caught_at(harness: &impl Harness) -> Option<usize> {
    let mut runner = TestRunner::deterministic();
    let sequences = sequences(60);
    (0..300).find(|_| {
        let operations: Vec<Operation> = sequences.new_tree(&mut runner).expect("any bytes are a sequence").current();
        run_sequence(harness, &operations).is_err()
    })
}

#[test]
fn a_store_that_mixes_groups_is_caught() {
    assert_eq!(caught_at(&Steady(None)), None);
    for fault in [Fault::IgnoresGroups, Fault::JoinsGroups] {
        assert!(caught_at(&Steady(Some(fault))).is_some(), "{fault:?}");
    }
}

#[test]
fn a_store_of_one_group_may_refuse_others_and_no_more() {
    assert_eq!(caught_at(&Clustered(Across::Refuses)), None);
    for across in [Across::TakesFirst, Across::RefusesMore] {
        assert!(caught_at(&Clustered(across)).is_some());
    }
}

mod suite {
    use super::{Across, Clustered};

    rebate_conformance::suite!(
        Clustered(Across::Refuses),
        without across_groups: "one group at a time",
        without memory_cap: "the store within is held against these elsewhere",
    );
}
