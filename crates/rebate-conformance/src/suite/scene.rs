//! What cases are written with: a store, its clock, and short ways to ask.

use std::time::Duration;

use rebate_core::{
    ChargeRequest, Clock, Cursor, Decision, Denial, Idempotency, Item, Key, KeyRef, Lease, Limit, Limiter, ManualClock,
    Part, Policy, Receipt, Refund, Settled, Settlement, Shortfall, Status, Store, Timestamp,
};

use crate::Harness;

/// Noon of 1 January 2026, a Thursday, in UTC: the start of a minute and an hour, not of a day anywhere
/// near Berlin.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_767_268_800);

/// One policy of each kind that the laws are held against, its quota 10.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its place in the names of tests.
    pub name: &'static str,
    /// The policy's text.
    pub policy: &'static str,
    /// The window; a bucket's time to fill.
    pub(crate) window: Duration,
}

const fn sample(name: &'static str, policy: &'static str, window: Duration) -> Sample {
    Sample { name, policy, window }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Every algorithm; each case marked `each` in the list runs on all of them.
pub const SAMPLES: &[Sample] = &[
    sample("aligned", "10/minute", MINUTE),
    sample("calendar", "10/day in Europe/Berlin", Duration::from_secs(86_400)),
    sample("from_first", "10/minute from first", MINUTE),
    sample("sliding", "10/minute sliding", MINUTE),
    sample("sliding_log", "10/minute sliding log", MINUTE),
    sample("bucket", "10/minute burst 10", MINUTE),
    // T is a seventh of a second: no whole number of microseconds.
    sample("bucket_fraction", "7/second burst 10", Duration::from_micros(1_428_572)),
    sample("concurrency", "10 at once for 1m", MINUTE),
];

impl Sample {
    pub(crate) fn limit(&self) -> Limit {
        limit(self.name, self.policy)
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::parse(self.policy).expect("a sample is a good policy")
    }

    /// Its limit with another quota.
    pub(crate) fn with_quota(&self, quota: u64) -> Limit {
        let policy = self.policy().with_quota(quota).expect("a sample has room for another quota");
        Limit::of(self.name, policy).expect("a good name")
    }

    /// Its limit, and a variant of it with a quota of 25.
    pub(crate) fn variants(&self) -> (Limit, Limit) {
        let free = self.limit();
        let policy = self.policy().with_quota(25).expect("a sample has room for another quota");
        let pro = free.variant(&policy.to_string()).expect("only the quota differs");
        (free, pro)
    }

    /// So much later nothing charged now counts any more, in any algorithm.
    pub(crate) fn long(&self) -> Duration {
        3 * self.policy().longest()
    }

    pub(crate) fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name)
    }

    pub(crate) fn is_bucket(&self) -> bool {
        self.is(&["bucket", "bucket_fraction"])
    }
}

pub(crate) fn limit(name: &str, policy: &str) -> Limit {
    Limit::new(name, policy).expect("a good limit")
}

/// A fresh store with its clock.
pub(crate) struct Scene<'h, H: Harness> {
    pub(crate) harness: &'h H,
    pub(crate) clock: ManualClock,
    pub(crate) limiter: Limiter<H::Store>,
}

impl<'h, H: Harness> Scene<'h, H> {
    pub(crate) fn new(harness: &'h H) -> Self {
        Self::at(harness, START)
    }

    pub(crate) fn at(harness: &'h H, now: Timestamp) -> Self {
        let clock = ManualClock::at(now);
        let limiter = Limiter::new(harness.store(&clock));
        Scene { harness, clock, limiter }
    }

    /// With room for about `bytes`.
    pub(crate) fn capped(harness: &'h H, bytes: usize) -> Self {
        let clock = ManualClock::at(START);
        let store = harness.capped_store(&clock, bytes).expect(
            "the store has no cap of memory; say so: suite!(harness, without memory_cap: \"why\"), and in its capabilities",
        );
        Scene { harness, clock, limiter: Limiter::new(store) }
    }

    /// The same store after all it held was lost; the clock goes on.
    pub(crate) fn lost(&self) -> Self {
        let limiter = Limiter::new(self.harness.store(&self.clock));
        Scene { harness: self.harness, clock: self.clock.clone(), limiter }
    }

    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.harness.block_on(future)
    }

    pub(crate) fn clock_micros(&self) -> u64 {
        self.clock.now().as_micros()
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    pub(crate) fn step_back(&self, span: Duration) {
        self.clock.step_back(span);
    }

    pub(crate) fn ask(&self, items: &[Item<'_>]) -> Decision {
        self.run(self.limiter.charge_all(items)).expect("no trouble")
    }

    pub(crate) fn once(&self, items: &[Item<'_>], idempotency: Idempotency<'_>) -> Decision {
        self.run(self.limiter.charge_once(items, idempotency)).expect("no trouble")
    }

    pub(crate) fn charge<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>, cost: u64) -> Decision {
        self.ask(&[Item::new(limit, key).cost(cost)])
    }

    /// Charges, and must be admitted.
    #[track_caller]
    pub(crate) fn take<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>, cost: u64) -> Receipt {
        admitted(self.charge(limit, key, cost))
    }

    /// Charges, and must be denied.
    #[track_caller]
    pub(crate) fn deny<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>, cost: u64) -> Denial {
        denied(self.charge(limit, key, cost))
    }

    /// Charges as the request says, and must be admitted.
    #[track_caller]
    pub(crate) fn take_with(&self, request: &ChargeRequest<'_>) -> Receipt {
        admitted(self.run(self.limiter.charge_with(request)).expect("no trouble"))
    }

    /// Charges for a time, and must be admitted.
    #[track_caller]
    pub(crate) fn reserve<'a>(
        &self,
        limit: &'a Limit,
        key: impl Into<KeyRef<'a>>,
        cost: u64,
        within: Duration,
    ) -> Receipt {
        self.take_with(&ChargeRequest::new(&[Item::new(limit, key).cost(cost)]).reserved(within))
    }

    /// Refunds up to `total` of every part.
    pub(crate) fn refund(&self, receipt: &mut Receipt, total: u64) -> Refund {
        self.run(self.limiter.refund_up_to(receipt, total)).expect("no trouble")
    }

    pub(crate) fn settle(&self, receipt: &mut Receipt, cost: u64, shortfall: Shortfall) -> Settlement {
        self.run(self.limiter.settle(receipt, cost, shortfall)).expect("no trouble")
    }

    /// Settles, and must not be refused.
    #[track_caller]
    pub(crate) fn settled(&self, receipt: &mut Receipt, cost: u64) -> Settled {
        self.settle(receipt, cost, Shortfall::Refuse).settled().expect("it fits")
    }

    pub(crate) fn peek<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Status {
        self.run(self.limiter.peek(limit, key)).expect("no trouble")
    }

    pub(crate) fn remaining<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> u64 {
        self.peek(limit, key).remaining()
    }

    pub(crate) fn reset<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> bool {
        self.run(self.limiter.reset(limit, key)).expect("no trouble")
    }

    pub(crate) fn leases<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Vec<Lease> {
        self.run(self.limiter.leases(limit, key)).expect("no trouble")
    }

    /// A copy of a receipt, as another process would have it: by its token.
    pub(crate) fn copy(&self, receipt: &Receipt) -> Receipt {
        let token = self.limiter.token(receipt).expect("a receipt has a token");
        self.limiter.receipt(&token).expect("a token is read back")
    }

    /// The receipt of one part with something changed in it.
    pub(crate) fn forge(&self, receipt: &Receipt, change: impl Fn(&mut Part)) -> Receipt {
        let mut parts = receipt.parts().to_vec();
        parts.iter_mut().for_each(change);
        let tag = self.limiter.store().identity().tag();
        Receipt::new(tag, receipt.charged_at(), parts.into_iter().collect(), Default::default())
    }

    /// All keys listed under a limit, each once.
    pub(crate) fn listed(&self, limit: &Limit) -> Vec<(Key, Status)> {
        let mut all: Vec<(Key, Status)> = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page = self.run(self.limiter.list(limit, after, 100)).expect("no trouble");
            for (key, status) in page.keys {
                if !all.iter().any(|(known, _)| *known == key) {
                    all.push((key, status));
                }
            }
            match page.next {
                None => return all,
                next => after = next,
            }
        }
    }

    /// Looks until it is so, as often as a store that works in the background may need.
    #[track_caller]
    pub(crate) fn soon(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..20_000 {
            if is_so() {
                return;
            }
            std::thread::yield_now();
        }
        panic!("{what}: still not so after 20,000 looks");
    }

    /// Two keys answer alike now and for two windows to come, whatever is asked. Uses both up.
    #[track_caller]
    pub(crate) fn same_future(&self, sample: &Sample, limit: &Limit, one: &str, other: &str) {
        for cost in [3, 4, 2, 10, 1, 5, 1, 3, 2, 9, 1, 1, 10, 4, 4] {
            let look = |key| Seen::status(&self.peek(limit, key));
            assert_eq!(look(one), look(other), "a peek before a charge of {cost}");
            let charge = |key| Seen::decision(&self.charge(limit, key, cost));
            assert_eq!(charge(one), charge(other), "a charge of {cost}");
            self.advance(sample.window / 7);
        }
    }
}

/// What an answer says, without the identities that only its store knows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) allowed: bool,
    /// Microseconds; `None` for never.
    pub(crate) retry: Option<u128>,
    /// Quota, remaining and reset in microseconds of each limit.
    pub(crate) statuses: Vec<(u64, u64, u128)>,
}

impl Seen {
    pub(crate) fn status(status: &Status) -> (u64, u64, u128) {
        (status.quota(), status.remaining(), status.reset_after().as_micros())
    }

    pub(crate) fn decision(decision: &Decision) -> Self {
        let numbers = |statuses: &[Status]| statuses.iter().map(Self::status).collect();
        match decision {
            Decision::Allowed(receipt) => Seen { allowed: true, retry: Some(0), statuses: numbers(receipt.statuses()) },
            Decision::Denied(denial) => Seen {
                allowed: false,
                retry: denial.retry_after().map(|wait| wait.as_micros()),
                statuses: numbers(denial.statuses()),
            },
            Decision::Unchecked(unchecked) => panic!("the store was in trouble: {:?}", unchecked.error()),
        }
    }
}

#[track_caller]
pub(crate) fn admitted(decision: Decision) -> Receipt {
    match decision {
        Decision::Allowed(receipt) => receipt,
        other => panic!("should have been admitted: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn denied(decision: Decision) -> Denial {
    match decision {
        Decision::Denied(denial) => denial,
        other => panic!("should have been denied: {other:?}"),
    }
}

/// What became of the only part: given back now, given back in all, expired.
#[track_caller]
pub(crate) fn outcome(refund: &Refund) -> (u64, u64, bool) {
    assert_eq!(refund.parts.len(), 1, "one part: {refund:?}");
    (refund.parts[0].given_back, refund.parts[0].in_all, refund.parts[0].expired)
}

/// Numbers that look random and are always the same.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `bound`.
    pub(crate) fn roll(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX generator; its upper bits are good.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
