//! What the tasks do all the while.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rebate_core::{Decision, Error, Idempotency, Limiter, PartRefund, Settlement, Shortfall};
use rebate_redis::RedisStore;
use tokio::task::yield_now;

use crate::OPERATIONS;
use crate::support::random::Random;
use crate::world::{Charge, ChargeState, KEYS, Kind, Outcome, World, items};

struct Task {
    world: Arc<World>,
    limiter: Limiter<RedisStore>,
    random: Random,
    /// Numbers its charges, apart from other tasks'.
    next: usize,
    /// Whether the last operation failed.
    in_trouble: bool,
}

pub(crate) async fn run(world: Arc<World>, task: usize, random: Random) {
    let limiter = world.limiters[task % 2].clone();
    let mut task = Task { world, limiter, random, next: task * 1_000_000, in_trouble: false };
    for _ in 0..OPERATIONS {
        match task.random.below(10) {
            0 | 1 => task.charge(false, false, false).await,
            2 | 3 => task.charge(true, false, false).await,
            4 => task.charge(true, true, false).await,
            5 => {
                let is_traced = task.random.below(2) == 0;
                task.charge(is_traced, false, true).await;
            }
            6 => task.settle().await,
            _ => task.give_back().await,
        }
        task.world.operations.fetch_add(1, Ordering::SeqCst);
        // Mostly only what gets through counts as load; some of it hammers on.
        if std::mem::take(&mut task.in_trouble) && task.random.below(4) > 0 {
            while task.limiter.store().ping().await.is_err() {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    }
}

impl Task {
    /// Charges one limit, or several with a trace; `once` with an idempotency key and retries; or goes away meanwhile.
    async fn charge(&mut self, is_traced: bool, once: bool, leaves: bool) {
        let limits = self.world.limits(0).len();
        let mut numbers: Vec<usize> = (0..limits).collect();
        let count = if is_traced { 1 + self.random.below(3) } else { 1 };
        let charged: Vec<(usize, u64)> = (0..count)
            .map(|_| (numbers.swap_remove(self.random.below(numbers.len())), 1 + self.random.below(3) as u64))
            .collect();
        let (key, fallback, number) = (self.random.below(KEYS), self.random.below(3), self.next);
        self.next += 1;
        let keys = [World::key_name(is_traced, key), Charge::trace_key(number)];
        let text = format!("once-{number}");
        let began = self.world.era();
        let answer = {
            let items = items(&self.world, fallback, &charged, is_traced, &keys);
            if once {
                let mut answer = self.limiter.charge_once(&items, Idempotency::new(&text)).await;
                for _ in 0..3 {
                    if trouble(&answer).is_none() {
                        break;
                    }
                    answer = self.limiter.charge_once(&items, Idempotency::new(&text)).await;
                }
                Some(answer)
            } else if leaves {
                let patience = self.random.below(300);
                let mut charging = pin!(self.limiter.charge_all(&items));
                tokio::select! {
                    biased;
                    answer = &mut charging => Some(answer),
                    () = async { for _ in 0..patience { yield_now().await } } => None,
                }
            } else {
                Some(self.limiter.charge_all(&items).await)
            }
        };
        let ended = self.world.era();
        let outcome = match &answer {
            None => Outcome::Gone,
            Some(answer) => match (answer, trouble(answer)) {
                (Ok(Decision::Allowed(_)), _) => Outcome::Admitted,
                (_, None) => Outcome::Denied,
                (_, Some(error)) => {
                    assert!(error.is_unavailable(), "{error}");
                    self.in_trouble = true;
                    // An earlier sending of the same key may have happened even so.
                    match error.may_have_happened() || once {
                        true => Outcome::MayHaveHappened,
                        false => Outcome::DidNotHappen,
                    }
                }
            },
        };
        let receipt = answer.and_then(Result::ok).and_then(Decision::receipt);
        let token = receipt.map(|receipt| {
            for &(limit, cost) in &charged {
                self.world.hold(self.world.count(is_traced, limit, key), cost as i64);
            }
            self.limiter.token(&receipt).expect("every receipt has a token")
        });
        let (given_back, announced) = (vec![0; charged.len() + 1], vec![0; charged.len() + 1]);
        let state = ChargeState { outcome, token, announced, given_back, unsettled: None, is_settled: false };
        let state = Mutex::new(state);
        let eras = (began, ended);
        let charge = Charge { number, items: charged, key, is_traced, is_once: once, eras, state };
        self.world.charges().push(Arc::new(charge));
    }

    /// A charge that was admitted, of any task.
    fn some_admitted(&mut self) -> Option<(Arc<Charge>, String)> {
        let charges = self.world.charges();
        for _ in 0..20 {
            if charges.is_empty() {
                return None;
            }
            let charge = self.random.of(&charges);
            let state = charge.state();
            if let (Some(token), None) = (&state.token, &state.unsettled) {
                let token = token.clone();
                drop(state);
                return Some((Arc::clone(charge), token));
            }
        }
        None
    }

    /// Refunds two copies of a token at once.
    async fn give_back(&mut self) {
        let Some((charge, token)) = self.some_admitted() else { return };
        let (one, other) = (1 + self.random.below(3) as u64, 1 + self.random.below(4) as u64);
        let (one, other) = tokio::join!(self.refund(&charge, &token, one), self.refund(&charge, &token, other));
        self.in_trouble = one || other;
    }

    /// Answers whether there was trouble.
    async fn refund(&self, charge: &Charge, token: &str, total: u64) -> bool {
        let mut receipt = self.limiter.receipt(token).expect("a token of this store");
        for (number, part) in receipt.parts().iter().enumerate() {
            let Some(count) = charge.count_of(&self.world, &receipt, number) else { continue };
            let (announced, total) = (&mut charge.state().announced[number], part.cost.min(total));
            if total > *announced {
                self.world.hold(count, -((total - *announced) as i64));
                *announced = total;
            }
        }
        let began = self.world.era();
        let answer = self.limiter.refund_up_to(&mut receipt, total).await;
        let ended = self.world.era();
        match answer {
            Ok(refund) => {
                for (part, told) in refund.parts.iter().enumerate() {
                    assert_of_its_time(&self.world, charge, began, told);
                    // What a failover undoes is said once more.
                    let is_sound = World::is_sound((began, ended)) && began == charge.eras.0;
                    if is_sound || self.world.kind != Kind::LosesSome {
                        charge.state().given_back[part] += told.given_back;
                    }
                }
                false
            }
            Err(error) => {
                assert!(error.is_unavailable(), "{error}");
                true
            }
        }
    }

    /// Says what a charge really cost: less or more of each limit.
    async fn settle(&mut self) {
        let Some((charge, token)) = self.some_admitted() else { return };
        let mut receipt = self.limiter.receipt(&token).expect("a token of this store");
        if receipt.parts().iter().any(|part| part.tops_up.is_some()) {
            return;
        }
        let mut costs: Vec<u64> = charge.items.iter().map(|_| self.random.below(5) as u64).collect();
        if charge.is_traced {
            costs.push(1);
        }
        // Nobody else settles it meanwhile, nor finds a token without what this may top up.
        {
            let mut state = charge.state();
            if state.unsettled.is_some() || state.token.as_deref() != Some(token.as_str()) {
                return;
            }
            state.unsettled = Some(costs.clone());
        }
        for (part, &(limit, cost)) in charge.items.iter().enumerate() {
            let (announced, less) = (&mut charge.state().announced[part], cost.saturating_sub(costs[part]));
            if less > *announced {
                self.world.hold(self.world.count(charge.is_traced, limit, charge.key), -((less - *announced) as i64));
                *announced = less;
            }
        }
        for _ in 0..3 {
            let began = self.world.era();
            match self.limiter.settle_parts(&mut receipt, &costs, Shortfall::TakeWhatIsThere).await {
                Ok(Settlement::Settled(settled)) => {
                    let eras = (began, self.world.era());
                    for (&(limit, _), part) in charge.items.iter().zip(&settled.parts) {
                        let count = self.world.count(charge.is_traced, limit, charge.key);
                        self.world.top_up(count, part.topped_up as i64, eras);
                    }
                    let mut state = charge.state();
                    let parts = receipt.parts().len().max(state.given_back.len());
                    state.given_back.resize(parts, 0);
                    state.announced.resize(parts, 0);
                    state.token = Some(self.limiter.token(&receipt).expect("every receipt has a token"));
                    (state.unsettled, state.is_settled) = (None, true);
                    return;
                }
                Ok(Settlement::Refused(denial)) => panic!("it takes what is there: {denial:?}"),
                Err(error) => {
                    assert!(error.is_unavailable(), "{error}");
                    self.in_trouble = true;
                }
            }
        }
    }
}

/// What kept the store from deciding.
fn trouble(answer: &Result<Decision, Error>) -> Option<&Error> {
    match answer {
        Ok(Decision::Allowed(_)) => None,
        Ok(Decision::Denied(denial)) => denial.trouble(),
        Ok(Decision::Unchecked(unchecked)) => Some(unchecked.error()),
        Err(error) => Some(error),
    }
}

/// A receipt of what was lost gives nothing back from what came after.
fn assert_of_its_time(world: &World, charge: &Charge, refunding_since: u64, told: &PartRefund) {
    let is_known = charge.eras.1 & 1 == 0 && refunding_since & 1 == 0;
    if world.kind == Kind::LosesAll && is_known && charge.eras.1 < refunding_since && !charge.is_topped_up() {
        assert!(told.given_back == 0 && told.expired, "of a window that was lost: {told:?}");
    }
}
