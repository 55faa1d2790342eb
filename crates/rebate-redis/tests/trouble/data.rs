//! Data of every form that the server keeps: to be lost, evicted, or kept.

use rebate_core::{Decision, Idempotency, Item, Limit, Limiter, Shortfall};
use rebate_redis::RedisStore;
use rebate_servers::Server;

use crate::support::away::once_answered;
use crate::support::scene::{every_key_expires, keys, used};
use crate::support::steps::charged;

const IDEMPOTENCY: &str = "request-1";

/// Receipts of charges to one key, and to another that is too long for a name: refunded in part, refunded whole, of several
/// limits under an idempotency key, topped up.
pub(crate) struct Data {
    pub(crate) limits: Vec<Limit>,
    pub(crate) key: &'static str,
    long_key: String,
    tokens: Vec<String>,
}

impl Data {
    /// Of each limit are then in use, of the key.
    pub(crate) const USED: u64 = 6;

    pub(crate) async fn make(limiter: &Limiter<RedisStore>, limits: &[Limit], key: &'static str) -> Self {
        let long_key = key.repeat(200);
        let mut tokens = Vec::new();
        let mut keep = |receipt| tokens.push(limiter.token(&receipt).expect("every receipt has a token"));
        for limit in limits {
            let mut partly = charged(limiter, &[Item::new(limit, key).cost(3)]).await;
            limiter.refund_up_to(&mut partly, 1).await.expect("refunded");
            let mut wholly = charged(limiter, &[Item::new(limit, key).cost(2)]).await;
            limiter.refund(&mut wholly).await.expect("refunded");
            let mut topped_up = charged(limiter, &[Item::new(limit, key)]).await;
            let settled = limiter.settle(&mut topped_up, 3, Shortfall::Refuse).await.expect("settled").settled();
            assert_eq!(settled.map(|settled| settled.parts[0].topped_up), Some(2));
            let long = charged(limiter, &[Item::new(limit, long_key.as_str())]).await;
            [partly, wholly, topped_up, long].into_iter().for_each(&mut keep);
        }
        let several: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, key)).collect();
        match limiter.charge_once(&several, Idempotency::new(IDEMPOTENCY)).await.expect("an answer") {
            Decision::Allowed(receipt) => {
                assert!(!receipt.is_replay());
                keep(receipt);
            }
            other => panic!("not admitted: {other:?}"),
        }
        let data = Data { limits: limits.to_vec(), key, long_key, tokens };
        assert_eq!(used(limiter, limits, key).await, vec![Self::USED; limits.len()]);
        data
    }

    /// Of all that was made nothing is left: asserts that nothing of it comes back either.
    pub(crate) async fn assert_lost(&self, limiter: &Limiter<RedisStore>, server: &Server) {
        let limits = &self.limits;
        let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, self.key)).collect();
        let statuses = once_answered(async || limiter.peek_all(&items).await).await;
        assert!(statuses.iter().all(|status| status.used() == 0), "{statuses:?}");
        let before = keys(server);
        self.assert_expired(limiter).await;
        // A settlement may note again what a receipt knows to have been topped up.
        let counts = |keys: Vec<String>| keys.into_iter().filter(|key| !key.contains(":t:")).collect::<Vec<_>>();
        assert_eq!(counts(keys(server)), before, "receipts of what was lost created keys");

        // The same again, among it the idempotency key: it bills anew.
        let new = Data::make(limiter, limits, self.key).await;
        every_key_expires(server);
        self.assert_expired(limiter).await;
        assert_eq!(used(limiter, limits, self.key).await, vec![Self::USED; limits.len()], "old receipts, new counts");
        new.assert_kept(limiter, server).await;
    }

    /// All that was made is there: gives it back, and asserts that each unit comes back once.
    pub(crate) async fn assert_kept(&self, limiter: &Limiter<RedisStore>, server: &Server) {
        let long = used(limiter, &self.limits, &self.long_key).await;
        assert_eq!(long, vec![1; self.limits.len()]);
        let mut given_back = 0;
        for token in self.tokens.iter().chain(&self.tokens) {
            let mut receipt = limiter.receipt(token).expect("a token of this store");
            let refund = once_answered(async || limiter.refund(&mut receipt).await).await;
            given_back += refund.given_back();
        }
        assert_eq!(given_back, self.limits.len() as u64 * (Self::USED + 1));
        assert_eq!(used(limiter, &self.limits, self.key).await, vec![0; self.limits.len()]);
        every_key_expires(server);
    }

    /// That no receipt gives anything back.
    async fn assert_expired(&self, limiter: &Limiter<RedisStore>) {
        for token in self.tokens.iter().chain(&self.tokens) {
            let mut receipt = limiter.receipt(token).expect("a token of this store");
            let refund = limiter.refund(&mut receipt).await.expect("an answer");
            assert!(refund.parts.iter().all(|part| part.expired && part.given_back == 0), "{refund:?}");
            let settled = limiter.settle(&mut receipt, 0, Shortfall::Refuse).await.expect("an answer").settled();
            let parts = settled.expect("to settle for less is not refused").parts;
            assert!(parts.iter().all(|part| part.given_back == 0 && part.topped_up == 0), "{parts:?}");
        }
    }
}
