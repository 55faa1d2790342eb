//! Callers that go away while the server decides.

use std::time::Duration;

use rebate_core::{Decision, Fallback, Idempotency, Item, Limit, Limiter};
use rebate_redis::RedisStore;
use rebate_servers::{Proxy, Server};

use crate::support::scene::{limiter, limits, patient, used};
use crate::support::steps::{charged, until};

const QUOTA: u64 = 20;

struct Scene {
    server: Server,
    network: Proxy,
    limiter: Limiter<RedisStore>,
    /// Past the network.
    watching: Limiter<RedisStore>,
    limits: Vec<Limit>,
}

impl Scene {
    async fn make() -> Self {
        let server = Server::start();
        let network = Proxy::start(server.address());
        let (limiter, watching) = (limiter(patient(network.url())), limiter(patient(server.url())));
        let limits = limits(QUOTA, Fallback::Error);
        // Connected, functions loaded.
        let _receipt = charged(&limiter, &[Item::new(&limits[0], "warm")]).await;
        Scene { server, network, limiter, watching, limits }
    }

    /// Charges, and drops the future after the server has charged and before it says so.
    async fn abandon(&self, limits: &[Limit], key: &'static str, once: bool) {
        loop {
            self.network.delay_replies(Duration::from_secs(2));
            let (limiter, limits_charged) = (self.limiter.clone(), limits.to_vec());
            let charging = tokio::spawn(async move {
                let items: Vec<Item<'_>> = limits_charged.iter().map(|limit| Item::new(limit, key).cost(3)).collect();
                match once {
                    true => limiter.charge_once(&items, Idempotency::new("request")).await,
                    false => limiter.charge_all(&items).await,
                }
            });
            until("the server has charged", async || used(&self.watching, limits, key).await.contains(&3)).await;
            charging.abort();
            let gone = charging.await;
            self.network.pass();
            // Where these processors were too busy, the answer came before.
            match gone {
                Err(error) if error.is_cancelled() => return,
                answer => drop(answer),
            }
            for limit in limits {
                self.watching.reset(limit, key).await.expect("an answer");
            }
            self.server.command(&["DEL", "rebate:{kidempotent}:i::request"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_whose_caller_has_gone_is_given_back() {
    let scene = Scene::make().await;
    for limit in &scene.limits {
        let limits = std::slice::from_ref(limit);
        scene.abandon(limits, "one", false).await;
        until("it is given back", async || used(&scene.watching, limits, "one").await == [0]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_of_several_limits_whose_caller_has_gone_is_given_back() {
    let scene = Scene::make().await;
    scene.abandon(&scene.limits, "several", false).await;
    let nothing = vec![0; scene.limits.len()];
    until("it is given back", async || used(&scene.watching, &scene.limits, "several").await == nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_with_an_idempotency_key_waits_for_its_retry() {
    let scene = Scene::make().await;
    scene.abandon(&scene.limits, "idempotent", true).await;
    // This connection's answers come in order: behind the late one. Had that been given back, another call would follow it.
    let _receipt = charged(&scene.limiter, &[Item::new(&scene.limits[0], "behind")]).await;
    let _receipt = charged(&scene.limiter, &[Item::new(&scene.limits[0], "behind")]).await;
    let taken = vec![3; scene.limits.len()];
    assert_eq!(used(&scene.watching, &scene.limits, "idempotent").await, taken);
    let items: Vec<Item<'_>> = scene.limits.iter().map(|limit| Item::new(limit, "idempotent").cost(3)).collect();
    match scene.limiter.charge_once(&items, Idempotency::new("request")).await {
        Ok(Decision::Allowed(receipt)) => assert!(receipt.is_replay()),
        other => panic!("not found again: {other:?}"),
    }
    assert_eq!(used(&scene.watching, &scene.limits, "idempotent").await, taken, "billed once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_dropped_in_a_runtime_refunds() {
    let scene = Scene::make().await;
    let items: Vec<Item<'_>> = scene.limits.iter().map(|limit| Item::new(limit, "guarded")).collect();
    drop(scene.limiter.guard(charged(&scene.limiter, &items).await));
    let nothing = vec![0; scene.limits.len()];
    until("the guard has refunded", async || used(&scene.watching, &scene.limits, "guarded").await == nothing).await;
    let kept = scene.limiter.guard(charged(&scene.limiter, &items).await).keep();
    // Of a replay nothing is given back, nor of what is kept.
    drop(kept);
    for _ in 0..2 {
        let decision = scene.limiter.charge_once(&items, Idempotency::new("guarded request")).await.expect("an answer");
        let receipt = decision.receipt().expect("it fits");
        if receipt.is_replay() {
            drop(scene.limiter.guard(receipt));
        }
    }
    let _receipt = charged(&scene.limiter, &[Item::new(&scene.limits[0], "behind")]).await;
    assert_eq!(used(&scene.watching, &scene.limits, "guarded").await, vec![2; scene.limits.len()]);
}
