//! Variants of a limit: several policies under one name, each for some of the keys.

use rebate_core::{Decision, Item, Limit, Limiter, Receipt, Shortfall};
use rebate_redis::RedisStore;
use rebate_servers::Server;

async fn charged(limiter: &Limiter<RedisStore>, limit: &Limit, key: &str, cost: u64) -> Receipt {
    match limiter.charge_all(&[Item::new(limit, key).cost(cost)]).await {
        Ok(Decision::Allowed(receipt)) => receipt,
        other => panic!("not admitted: {other:?}"),
    }
}

#[tokio::test]
async fn a_change_of_plan_keeps_what_was_used_and_its_receipts() {
    let server = Server::start();
    for (at, (free, pro)) in [
        ("10/year", "20/year"),
        ("10/day from first", "20/day from first"),
        ("10/365d sliding", "20/365d sliding"),
        ("10/day sliding log", "20/day sliding log"),
        ("1/day burst 10", "1/day burst 20"),
        ("10 at once for 1h", "20 at once for 1h"),
    ]
    .into_iter()
    .enumerate()
    {
        let store = RedisStore::builder(server.url()).prefix(&format!("plan{at}")).build().expect("sound settings");
        let limiter = Limiter::new(store);
        let free = Limit::new("plan", free).expect("a limit");
        let pro = free.variant(pro).expect("a policy");
        let _other = charged(&limiter, &pro, "other", 20).await;
        let mut receipt = charged(&limiter, &free, "ada", 10).await;
        let mut up = charged(&limiter, &pro, "ada", 4).await;
        assert_eq!(limiter.peek(&pro, "ada").await.expect("a status").used(), 14, "{pro}");
        let denied = limiter.charge(&free, "ada").await.expect("an answer");
        assert!(denied.denial().is_some(), "{free}");
        assert_eq!(limiter.refund(&mut receipt).await.expect("an answer").given_back(), 10, "{free}");
        assert_eq!(limiter.peek(&free, "ada").await.expect("a status").remaining(), 6, "{free}");
        // The variant that a store met last is no matter, in this process or another.
        let token = limiter.token(&up).expect("a token");
        let settled = limiter.settle(&mut up, 5, Shortfall::Refuse).await.expect("an answer");
        assert_eq!(settled.settled().expect("there is room").parts[0].topped_up, 1, "{pro}");
        let store = RedisStore::builder(server.url()).prefix(&format!("plan{at}")).build().expect("sound settings");
        let elsewhere = Limiter::new(store);
        for limit in [&pro, &free] {
            elsewhere.register(limit).expect("no conflict");
        }
        let mut copy = elsewhere.receipt(&token).expect("a receipt");
        let settled = elsewhere.settle(&mut copy, 15, Shortfall::Refuse).await.expect("an answer");
        assert_eq!(settled.settled().expect("there is room").parts[0].topped_up, 10, "{pro}");
    }
}
