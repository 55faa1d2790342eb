//! Rebate through its Rust API: receipts are made, read and dropped.

use std::sync::{Arc, Mutex};

use rebate_core::{Decision, Item, Limit, Limiter, Receipt};
use rebate_redis::RedisStore;

use super::{Charger, Machine};

/// One or several limits of one key.
#[derive(Clone)]
pub struct Ours {
    limiter: Limiter<RedisStore>,
    limits: Arc<[Limit]>,
    keys: Arc<[String]>,
}

impl Ours {
    /// Limits of these policies, each charged to `keys` keys in turn.
    ///
    /// # Panics
    /// When a policy is none.
    pub fn new(machine: &Machine, tag: &str, policies: &[&str], keys: usize) -> Self {
        let store = RedisStore::new(&machine.server.url()).expect("a good URL");
        let limiter = Limiter::new(store);
        let limit = |(at, policy): (usize, &&str)| limiter.limit(&format!("{tag}{at}"), policy).expect("a policy");
        let limits = policies.iter().enumerate().map(limit).collect();
        Ours { limiter, limits, keys: (0..keys).map(|number| format!("user:{number:06}")).collect() }
    }

    async fn decide(&self, number: usize) -> Decision {
        let key = self.keys[number % self.keys.len()].as_str();
        let decision = match &*self.limits {
            [limit] => self.limiter.charge(limit, key).await,
            [one, two] => self.limiter.charge_all(&[Item::new(one, key), Item::new(two, key)]).await,
            [one, two, three] => {
                let items = [Item::new(one, key), Item::new(two, key), Item::new(three, key)];
                self.limiter.charge_all(&items).await
            }
            _ => panic!("one to three limits"),
        };
        decision.expect("no trouble")
    }
}

impl Charger for Ours {
    async fn charge(&self, number: usize) -> bool {
        match self.decide(number).await {
            Decision::Allowed(receipt) => {
                std::hint::black_box(&receipt);
                true
            }
            Decision::Denied(_) => false,
            Decision::Unchecked(_) => panic!("the server answers"),
        }
    }
}

/// Refunds of receipts at hand.
#[derive(Clone)]
pub struct Refunds {
    of: Ours,
    receipts: Arc<Mutex<Vec<Receipt>>>,
}

impl Refunds {
    /// Nothing to refund as yet.
    pub fn new(of: Ours) -> Self {
        Refunds { of, receipts: Arc::default() }
    }

    /// Charges what is to be refunded.
    ///
    /// # Panics
    /// When a charge is denied.
    pub fn fill(&self, machine: &Machine, charges: usize) {
        let charge = async |number| match self.of.decide(number).await {
            Decision::Allowed(receipt) => receipt,
            _ => panic!("the quota is large"),
        };
        let mut receipts = self.receipts.lock().expect("no panic");
        receipts.clear();
        receipts.extend((0..charges).map(|number| machine.runtime.block_on(charge(number))));
        // The oldest first.
        receipts.reverse();
    }
}

impl Charger for Refunds {
    async fn charge(&self, _number: usize) -> bool {
        let receipt = self.receipts.lock().expect("no panic").pop();
        let mut receipt = receipt.expect("as many receipts as refunds");
        let refund = self.of.limiter.refund(&mut receipt).await.expect("no trouble");
        refund.parts.iter().all(|part| part.given_back == 1)
    }
}
