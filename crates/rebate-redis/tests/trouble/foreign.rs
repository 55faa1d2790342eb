//! Keys under the store's names that somebody else has put there, of another type.

use rebate_core::{Fallback, Item, Limit, Limiter, Shortfall};
use rebate_redis::RedisStore;
use rebate_servers::Server;

use crate::support::scene::{limiter, limits, patient, used};
use crate::support::steps::charged;

const QUOTA: u64 = 20;

struct Scene {
    server: Server,
    limiter: Limiter<RedisStore>,
    limits: Vec<Limit>,
}

impl Scene {
    fn make() -> Self {
        let server = Server::start();
        let limiter = limiter(patient(server.url()));
        Scene { server, limiter, limits: limits(QUOTA, Fallback::Error) }
    }

    /// Puts something else there.
    fn usurp(&self, name: &str) {
        self.server.command(&["DEL", name]);
        match name.ends_with(":e") || name.ends_with(":p") || name.ends_with(":f") {
            true => self.server.command(&["SET", name, "somebody's", "PX", "600000"]),
            false => self.server.command(&["RPUSH", name, "somebody's"]),
        };
    }

    async fn used_of_others(&self, but: &str) -> Vec<u64> {
        let others: Vec<Limit> = self.limits.iter().filter(|limit| limit.name() != but).cloned().collect();
        used(&self.limiter, &others, "anyone").await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_of_a_foreign_type_is_an_error_and_changes_no_other_limit() {
    let scene = Scene::make();
    let Scene { limiter, limits, .. } = &scene;
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, "anyone")).collect();
    for limit in limits {
        let mut receipt = charged(limiter, &items).await;
        let mut settled = charged(limiter, &items).await;
        let mut topped_up = charged(limiter, &items).await;
        let name = format!("rebate:{{kanyone}}:c:{}", limit.name());
        scene.usurp(&name);
        // Again and again the same, said plainly.
        for _ in 0..2 {
            let error = limiter.charge_all(&items).await.expect_err("a list is no count");
            assert!(error.is_unavailable() && error.to_string().contains("WRONGTYPE"), "{error}");
            let error = limiter.charge(limit, "anyone").await.expect_err("a list is no count");
            assert!(error.to_string().contains("WRONGTYPE"), "{error}");
            let error = limiter.peek(limit, "anyone").await.expect_err("a list is no count");
            assert!(error.to_string().contains("WRONGTYPE"), "{error}");
            let page = limiter.list(limit, None, 10).await.expect("a list of the limit's other keys");
            assert!(page.keys.is_empty(), "{page:?}");
            let error = limiter.settle(&mut topped_up, 2, Shortfall::Refuse).await.expect_err("a list is no count");
            assert!(error.to_string().contains("WRONGTYPE"), "{error}");
        }
        assert_eq!(scene.used_of_others(limit.name()).await, vec![3; limits.len() - 1]);
        // Its count is gone, as if evicted: that part is expired, and the others come back all the same.
        let refund = limiter.refund(&mut receipt).await.expect("an answer");
        assert_eq!(refund.given_back(), limits.len() as u64 - 1, "{refund:?}");
        assert_eq!(refund.parts.iter().filter(|part| part.expired).count(), 1, "{refund:?}");
        let settlement = limiter.settle(&mut settled, 0, Shortfall::Refuse).await.expect("an answer").settled();
        let given_back: u64 = settlement.expect("settled").parts.iter().map(|part| part.given_back).sum();
        assert_eq!(given_back, limits.len() as u64 - 1);
        assert_eq!(scene.used_of_others(limit.name()).await, vec![1; limits.len() - 1]);
        assert_eq!(scene.server.ask(&["TYPE", &name]), "list", "it was left to its owner");
        scene.server.command(&["FLUSHALL"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_beside_a_count_in_a_foreign_type_changes_no_other_limit() {
    let scene = Scene::make();
    let Scene { limiter, limits, .. } = &scene;
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, "anyone").cost(2)).collect();
    for limit in &limits[5..] {
        for helper in [":e", ":p", ":f"] {
            let mut one = charged(limiter, &items).await;
            let mut other = charged(limiter, &items).await;
            limiter.refund_up_to(&mut one, 1).await.expect("refunded");
            scene.usurp(&format!("rebate:{{kanyone}}:c:{}{helper}", limit.name()));
            let before = scene.used_of_others(limit.name()).await;
            match limiter.charge_all(&items).await {
                Ok(decision) => {
                    // It needed not look there.
                    assert_eq!(helper, ":f");
                    let mut receipt = decision.receipt().expect("it fits");
                    // To give it back whole it must be noted there.
                    let error = limiter.refund(&mut receipt).await.expect_err("a string holds no ends");
                    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
                    let status = limiter.peek(limit, "anyone").await.expect("an answer");
                    assert_eq!(status.used(), 5, "half refunded: {status:?}");
                    limiter.reset(limit, "anyone").await.expect("that heals it");
                    let refund = limiter.refund(&mut receipt).await.expect("an answer");
                    assert_eq!(refund.parts.iter().filter(|part| part.expired).count(), 1, "{refund:?}");
                }
                Err(error) => assert!(error.to_string().contains("WRONGTYPE"), "{error}"),
            }
            assert_eq!(scene.used_of_others(limit.name()).await, before);
            // A reset heals it.
            limiter.reset(limit, "anyone").await.expect("an answer");
            let _receipt = charged(limiter, &[Item::new(limit, "anyone")]).await;
            let refund = limiter.refund(&mut other).await.expect("an answer");
            assert_eq!(refund.given_back(), 2 * (limits.len() as u64 - 1), "{refund:?}");
            scene.server.command(&["FLUSHALL"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_keys_note_of_a_foreign_type_bars_its_charge_and_no_refund() {
    let scene = Scene::make();
    let Scene { limiter, limits, .. } = &scene;
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, "anyone")).collect();
    let once = rebate_core::Idempotency::new("request");
    let receipt = limiter.charge_once(&items, once).await.expect("an answer").receipt();
    let mut receipt = receipt.expect("it fits");
    scene.usurp("rebate:{kanyone}:i::request");
    for _ in 0..2 {
        let error = limiter.charge_once(&items, once).await.expect_err("a list is no note");
        assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    }
    assert_eq!(used(limiter, limits, "anyone").await, vec![1; limits.len()]);
    assert_eq!(limiter.refund(&mut receipt).await.expect("an answer").given_back(), limits.len() as u64);
    assert_eq!(used(limiter, limits, "anyone").await, vec![0; limits.len()]);
}
