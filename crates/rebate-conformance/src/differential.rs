//! The differential test: random sequences, every answer of a store against the model's.

use std::fmt;
use std::time::Duration;

use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use rebate_core::{
    ChargeRequest, Clock, Decision, Error, Idempotency, Item, KeyRef, Limit, Limiter, ManualClock, Policy, Receipt,
    Retry, Shortfall, Store, Timestamp,
};

use crate::Harness;
use crate::answer::{self, Answer, Failure, ShownStatus, Who};
use crate::model::{Line, Model, Once, Proof};
use crate::operations::{Bearing, Billed, Move, Operation, key, limits, sequences};

/// Sequences are this long at most.
const LONGEST: usize = 60;

/// Runs `cases` random sequences, or as many as the environment variable `REBATE_CASES` says, each
/// against a fresh store and the model.
///
/// A failing sequence is made as short as can be; its seed is kept in
/// `proptest-regressions/differential.txt` of the crate under test and tried first the next time.
///
/// # Panics
/// With the sequence and the first answer that differs.
pub fn differential<H: Harness>(harness: &H, cases: u32) {
    let cases = std::env::var("REBATE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/differential.txt"))),
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let run = |operations: Vec<Operation>| {
        run_sequence(harness, &operations).map_err(|difference| TestCaseError::fail(difference.to_string()))
    };
    match TestRunner::new(config).run(&sequences(LONGEST), run) {
        Ok(()) => {}
        Err(TestError::Fail(difference, operations)) => {
            let listed: Vec<String> =
                operations.iter().enumerate().map(|(at, operation)| format!("{at:4}  {operation:?}")).collect();
            panic!("store and model differ\n{difference}\nafter\n{}", listed.join("\n"));
        }
        Err(TestError::Abort(why)) => panic!("the differential test gave up: {why}"),
    }
}

/// The first answer in which a store and the model differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The operation's place in the sequence.
    pub at: usize,
    /// The operation.
    pub operation: Operation,
    /// What the clock showed.
    pub clock: Timestamp,
    /// What the store answered.
    pub store: Answer,
    /// What the model answered.
    pub model: Answer,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { at, operation, clock, store, model } = self;
        let micros = clock.as_micros();
        write!(f, "operation {at} at {micros}: {operation:?}\n  store: {store:?}\n  model: {model:?}")
    }
}

impl std::error::Error for Difference {}

/// Does the operations to a fresh store and to the model.
///
/// # Errors
/// The first difference.
pub fn run_sequence<H: Harness>(harness: &H, operations: &[Operation]) -> Result<(), Box<Difference>> {
    let mut run = Run::new(harness);
    for (at, operation) in operations.iter().enumerate() {
        run.step(operation).map_err(|pair| {
            let (store, model) = *pair;
            Box::new(Difference { at, operation: operation.clone(), clock: run.clock.now(), store, model })
        })?;
    }
    Ok(())
}

/// What a limit's name stands for, and stood for before: a limit, and its variants behind it.
struct Named {
    policies: Vec<Policy>,
    current: Vec<Limit>,
    before: Vec<Limit>,
}

struct Run<'a, H: Harness> {
    harness: &'a H,
    clock: ManualClock,
    limiter: Limiter<H::Store>,
    model: Model,
    limits: Vec<Named>,
    receipts: Vec<(Receipt, Proof)>,
    /// When the last wait or reset that was told is over.
    told: u64,
}

/// Two answers, the store's first.
type Pair = Box<(Answer, Answer)>;

impl<'a, H: Harness> Run<'a, H> {
    fn new(harness: &'a H) -> Self {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let limiter = Limiter::new(harness.store(&clock));
        let named = |(name, policies): (&str, Vec<Policy>)| {
            let current = family(name, &policies, 0);
            Named { policies, before: current.clone(), current }
        };
        let limits = limits().into_iter().map(named).collect();
        let mut run = Run { harness, clock, limiter, model: Model::new(), limits, receipts: Vec::new(), told: 0 };
        (0..run.limits.len()).for_each(|at| run.enter(at));
        run
    }

    /// # Errors
    /// Two answers that differ.
    fn step(&mut self, operation: &Operation) -> Result<(), Pair> {
        self.model.set_clock(self.clock.now());
        match operation {
            Operation::Charge { items, once, reserved } => self.charge(items, once.as_ref(), *reserved),
            Operation::Refund { receipt, totals } => self.refund(self.receipt(*receipt), totals),
            Operation::Settle { receipt, costs, take } => self.settle(self.receipt(*receipt), costs, *take),
            Operation::Renew { receipt } => self.renew(self.receipt(*receipt)),
            Operation::Copy { receipt, replaces } => self.copy(self.receipt(*receipt), *replaces),
            Operation::Peek { items } => self.peek(items),
            Operation::Reset { limit, key } => self.reset(*limit, *key),
            Operation::List { limit } => self.list(*limit),
            Operation::Leases { limit, key, keep } => self.leases(*limit, *key, *keep),
            Operation::Replace { limit, policy } => self.replace(*limit, *policy),
            Operation::Clock(to) => self.move_clock(*to),
            Operation::RefundMany { limit, key, times, cost } => self.refund_many(*limit, *key, *times, *cost),
            Operation::SettleMany { limit, key, times } => self.settle_many(*limit, *key, *times),
        }
    }

    fn charge(&mut self, billed: &[Billed], bearing: Option<&Bearing>, reserved: Option<u64>) -> Result<(), Pair> {
        let lines: Vec<Line> = billed.iter().map(|billed| self.line(billed)).collect();
        let once = bearing.map(|bearing| Once {
            key: if bearing.key == 255 { Vec::new() } else { vec![bearing.key] },
            scope: usize::from(bearing.scope),
            lifetime: bearing.lifetime,
        });
        self.meet_again(billed);
        let decision = self.ask(billed, once.as_ref(), reserved);
        if decision.as_ref().is_err_and(|error| self.may_refuse(billed, error)) {
            return self.charge(&of_one_group(billed), bearing, reserved);
        }
        // A limiter takes no handle of a limit that was replaced by another; nothing reaches the store.
        let (model, proof) = if self.any_replaced(billed) {
            (Answer::Failed(Failure::Conflict), None)
        } else {
            self.model.charge(&lines, once.as_ref(), reserved)
        };
        let store = match &decision {
            Ok(decision) => answer::decision(self.limiter.store().identity(), decision),
            Err(error) => answer::failed(error),
        };
        self.check(store, model)?;
        if let (Some(receipt), Some(proof)) = (decision.ok().and_then(Decision::receipt), proof) {
            self.receipts.push((receipt, proof));
        }
        Ok(())
    }

    fn ask(&self, billed: &[Billed], once: Option<&Once>, reserved: Option<u64>) -> Result<Decision, Error> {
        let items: Vec<Item<'_>> = billed.iter().map(|billed| self.item(billed)).collect();
        let idempotency = once.map(|once| {
            let idempotency = Idempotency::new(&once.key).scope(once.scope);
            idempotency.lifetime(Duration::from_micros(once.lifetime))
        });
        let reserved = reserved.map(Duration::from_micros);
        let request = ChargeRequest { idempotency, reserved, ..ChargeRequest::new(&items) };
        self.harness.block_on(self.limiter.charge_with(&request))
    }

    /// Whether this is law 2's error of a store that cannot take several groups together. Nothing has
    /// happened then: later answers show if something has.
    fn may_refuse(&self, billed: &[Billed], error: &Error) -> bool {
        let across = billed.iter().any(|one| group(one.key) != group(billed[0].key));
        across && !self.harness.capabilities().across_groups && error.is_cross_group() && !error.may_have_happened()
    }

    fn refund(&mut self, at: Option<usize>, totals: &[u64]) -> Result<(), Pair> {
        let Some(at) = at else { return Ok(()) };
        let (receipt, proof) = &mut self.receipts[at];
        let totals: Vec<u64> = totals.iter().cycle().take(proof.parts()).copied().collect();
        let model = self.model.refund(proof, &totals);
        let store = match self.harness.block_on(self.limiter.refund_parts(receipt, &totals)) {
            Ok(refund) => answer::refund(&refund),
            Err(error) => answer::failed(&error),
        };
        self.check(store, model)
    }

    fn settle(&mut self, at: Option<usize>, costs: &[u64], take: bool) -> Result<(), Pair> {
        let Some(at) = at else { return Ok(()) };
        let shortfall = if take { Shortfall::TakeWhatIsThere } else { Shortfall::Refuse };
        let (receipt, proof) = &mut self.receipts[at];
        let costs: Vec<u64> = costs.iter().cycle().take(proof.first_parts()).copied().collect();
        let model = self.model.settle(proof, &costs, shortfall);
        let store = match self.harness.block_on(self.limiter.settle_parts(receipt, &costs, shortfall)) {
            Ok(settlement) => answer::settlement(self.limiter.store().identity(), &settlement, receipt),
            Err(error) => answer::failed(&error),
        };
        self.check(store, model)
    }

    fn renew(&mut self, at: Option<usize>) -> Result<(), Pair> {
        let Some(at) = at else { return Ok(()) };
        let (receipt, proof) = &self.receipts[at];
        let model = self.model.renew(proof);
        let store = match self.harness.block_on(self.limiter.renew(receipt)) {
            Ok(renewal) => answer::renewal(&renewal),
            Err(error) => answer::failed(&error),
        };
        self.check(store, model)
    }

    fn copy(&mut self, at: Option<usize>, replaces: bool) -> Result<(), Pair> {
        let Some(at) = at else { return Ok(()) };
        let (receipt, proof) = &self.receipts[at];
        let copy = self.limiter.token(receipt).and_then(|token| self.limiter.receipt(&token));
        match copy {
            Ok(receipt) => {
                let copy = (receipt, self.model.copy(proof));
                if replaces {
                    self.receipts[at] = copy
                } else {
                    self.receipts.push(copy)
                }
                Ok(())
            }
            Err(error) => self.check(answer::failed(&error), Answer::Nothing),
        }
    }

    fn peek(&mut self, billed: &[Billed]) -> Result<(), Pair> {
        let lines: Vec<Line> = billed.iter().map(|billed| self.line(billed)).collect();
        self.meet_again(billed);
        let model = if self.any_replaced(billed) { Answer::Failed(Failure::Conflict) } else { self.model.peek(&lines) };
        let items: Vec<Item<'_>> = billed.iter().map(|billed| self.item(billed)).collect();
        let store = match self.harness.block_on(self.limiter.peek_all(&items)) {
            Ok(statuses) => Answer::Peeked(answer::statuses(&statuses)),
            Err(error) if self.may_refuse(billed, &error) => return self.peek(&of_one_group(billed)),
            Err(error) => answer::failed(&error),
        };
        self.check(store, model)
    }

    fn reset(&mut self, limit: u8, key: u8) -> Result<(), Pair> {
        let limit = self.named(limit).current[0].clone();
        let model = self.model.reset(limit.name(), &who(key));
        let store = match self.harness.block_on(self.limiter.reset(&limit, key_of(key))) {
            Ok(was_there) => Answer::Reset(was_there),
            Err(error) => answer::failed(&error),
        };
        self.check(store, model)
    }

    fn list(&mut self, limit: u8) -> Result<(), Pair> {
        let limit = self.named(limit).current[0].clone();
        let model = self.model.list(limit.name(), limit.policy());
        let store = self.harness.block_on(async {
            let (mut keys, mut after): (Vec<(Who, ShownStatus)>, _) = (Vec::new(), None);
            loop {
                match self.limiter.list(&limit, after, 2).await {
                    Err(error) => return answer::failed(&error),
                    Ok(page) => {
                        keys.extend(page.keys.iter().map(|(key, status)| (answer::who(key), answer::status(status))));
                        after = page.next;
                    }
                }
                if after.is_none() {
                    break;
                }
            }
            keys.sort_by(|one, other| one.0.cmp(&other.0));
            // A page may repeat what an earlier one said.
            keys.dedup();
            Answer::Listed(keys)
        });
        self.check(store, model)
    }

    fn leases(&mut self, limit: u8, key: u8, keep: bool) -> Result<(), Pair> {
        let limit = self.named(limit).current[0].clone();
        let (model, proofs) = self.model.leases(limit.name(), limit.policy(), &who(key));
        let leases = self.harness.block_on(self.limiter.leases(&limit, key_of(key)));
        let store = match &leases {
            Ok(leases) => answer::leases(self.limiter.store().identity(), leases),
            Err(error) => answer::failed(error),
        };
        self.check(store, model)?;
        if keep {
            let receipts = leases.into_iter().flatten().map(|lease| lease.receipt);
            self.receipts.extend(receipts.zip(proofs));
        }
        Ok(())
    }

    fn replace(&mut self, limit: u8, policy: u8) -> Result<(), Pair> {
        let at = usize::from(limit) % self.limits.len();
        let named = &mut self.limits[at];
        let new = family(named.current[0].name(), &named.policies, usize::from(policy) % named.policies.len());
        named.before = std::mem::replace(&mut named.current, new);
        self.enter(at);
        Ok(())
    }

    /// Lets a name stand for its current limit and the variants of that.
    fn enter(&mut self, at: usize) {
        let current = &self.limits[at].current;
        self.limiter.replace(&current[0]);
        // The limit itself is the one last entered.
        for limit in current.iter().skip(1).chain(&current[..1]) {
            self.limiter.register(limit).expect("variants are no conflict");
        }
        let policies: Vec<Policy> = current.iter().map(|limit| limit.policy().clone()).collect();
        self.model.enter(current[0].name(), &policies);
    }

    /// A limit that was replaced by one of the same policy is that one, and its variants are those: that the store
    /// meets it again changes nothing.
    fn meet_again(&self, billed: &[Billed]) {
        for billed in billed.iter().filter(|billed| billed.stale && !self.is_replaced(billed)) {
            for limit in [self.limit(billed), &self.named(billed.limit).current[0]] {
                self.limiter.register(limit).expect("the same limit is no conflict");
            }
        }
    }

    fn move_clock(&mut self, to: Move) -> Result<(), Pair> {
        let before = self.clock.now();
        match to {
            Move::Forward(micros) => self.clock.advance(Duration::from_micros(micros)),
            Move::Back(micros) => self.clock.step_back(Duration::from_micros(micros)),
            Move::To(micros) => self.clock.set(Timestamp::from_micros(micros)),
            Move::ToLast(further) => {
                let moment = self.told.saturating_add_signed(i64::from(further));
                self.clock.set(Timestamp::from_micros(moment.max(self.clock.now().as_micros())));
            }
        }
        if self.harness.forgets_expired() && self.clock.now() < before {
            self.clock.set(before);
        }
        Ok(())
    }

    fn refund_many(&mut self, limit: u8, key: u8, times: u16, cost: u8) -> Result<(), Pair> {
        for time in 0..times {
            let before = self.receipts.len();
            self.charge(&[Billed { limit, variant: 0, stale: false, key, cost: cost.into() }], None, None)?;
            if self.receipts.len() > before && time % 2 == 0 {
                self.refund(Some(before), &[u64::from(cost).saturating_sub(1).max(1)])?;
            }
        }
        Ok(())
    }

    fn settle_many(&mut self, limit: u8, key: u8, times: u16) -> Result<(), Pair> {
        for _ in 0..times {
            let before = self.receipts.len();
            self.charge(&[Billed { limit, variant: 0, stale: false, key, cost: 1 }], None, None)?;
            if self.receipts.len() > before {
                self.settle(Some(before), &[2], false)?;
            }
            self.move_clock(Move::Forward(1))?;
            self.model.set_clock(self.clock.now());
        }
        Ok(())
    }

    /// # Errors
    /// The two answers, if they differ.
    fn check(&mut self, store: Answer, model: Answer) -> Result<(), Pair> {
        if store != model {
            return Err(Box::new((store, model)));
        }
        if let Some(wait) = told(&model) {
            self.told = self.clock.now().as_micros().saturating_add(wait);
        }
        Ok(())
    }

    /// The latest comes first: it is the least likely to have expired.
    fn receipt(&self, number: u8) -> Option<usize> {
        let count = self.receipts.len();
        let spread = if count > 256 { usize::from(number) * count / 256 } else { usize::from(number) };
        (count > 0).then(|| count - 1 - spread % count)
    }

    fn named(&self, limit: u8) -> &Named {
        &self.limits[usize::from(limit) % self.limits.len()]
    }

    /// Whether an item's handle is of a limit that was replaced by another: a limiter takes none, and
    /// nothing reaches the store.
    fn any_replaced(&self, billed: &[Billed]) -> bool {
        billed.iter().any(|billed| self.is_replaced(billed))
    }

    fn is_replaced(&self, billed: &Billed) -> bool {
        billed.stale && !self.named(billed.limit).current.contains(self.limit(billed))
    }

    fn limit(&self, billed: &Billed) -> &Limit {
        let named = self.named(billed.limit);
        let family = if billed.stale { &named.before } else { &named.current };
        &family[usize::from(billed.variant) % family.len()]
    }

    fn line(&self, billed: &Billed) -> Line {
        let limit = self.limit(billed);
        Line { name: limit.name().to_owned(), policy: limit.policy().clone(), who: who(billed.key), cost: billed.cost }
    }

    fn item(&self, billed: &Billed) -> Item<'_> {
        Item::new(self.limit(billed), key_of(billed.key)).cost(billed.cost)
    }
}

/// The limit of the policy at `first`, and its variants: every other policy that a count goes on under.
fn family(name: &str, policies: &[Policy], first: usize) -> Vec<Limit> {
    let limit = Limit::of(name, policies[first].clone()).expect("a good name");
    let others = policies.iter().filter(|policy| **policy != policies[first]);
    let variants: Vec<Limit> = others.filter_map(|policy| limit.variant(&policy.to_string()).ok()).collect();
    std::iter::once(limit).chain(variants).collect()
}

fn who(number: u8) -> Who {
    let (group, key) = key(number);
    (group.map(<[u8]>::to_vec), key.to_vec())
}

fn key_of(number: u8) -> KeyRef<'static> {
    let (group, key) = key(number);
    group.map_or(KeyRef::new(key), |group| KeyRef::in_group(group, key))
}

/// What is charged together on every store: a group, or a key that belongs to none.
fn group(number: u8) -> (bool, &'static [u8]) {
    match key(number) {
        (Some(group), _) => (true, group),
        (None, key) => (false, key),
    }
}

/// The same with the first item's key where a key is of another group.
fn of_one_group(billed: &[Billed]) -> Vec<Billed> {
    let first = billed[0].key;
    let key = |one: &Billed| if group(one.key) == group(first) { one.key } else { first };
    billed.iter().map(|one| Billed { key: key(one), ..*one }).collect()
}

/// A wait that an answer tells: the retry, or the first limit's reset.
fn told(answer: &Answer) -> Option<u64> {
    let reset = |statuses: &[ShownStatus]| statuses.first().map(|status| status.reset);
    match answer {
        Answer::Denied { retry: Retry::AfterMicros(micros), .. } => Some(*micros),
        Answer::Denied { statuses, .. } | Answer::Peeked(statuses) => reset(statuses),
        Answer::Allowed(receipt) => reset(&receipt.statuses),
        _ => None,
    }
}
