//! Servers at their `maxmemory`, with the policy `noeviction`: what needs memory is refused before it happens; refunds are not.

use rebate_core::{Fallback, Item, Shortfall};
use rebate_servers::Server;

use crate::data::Data;
use crate::support::scene::{every_key_expires, limiter, limits, patient, used};
use crate::support::steps::charged;

const QUOTA: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_charges_nothing_and_still_takes_refunds() {
    let server = Server::start();
    let limiter = limiter(patient(server.url()));
    let limits = limits(QUOTA, Fallback::Error);
    let data = Data::make(&limiter, &limits, "anyone").await;
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, "anyone")).collect();
    let lease = charged(&limiter, &[Item::new(&limits[6], "renewed")]).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);

    for limit in &limits {
        for key in ["anyone", "somebody new"] {
            let error = limiter.charge(limit, key).await.expect_err("it is full");
            assert!(error.is_full() && !error.may_have_happened(), "{error}");
        }
    }
    let error = limiter.charge_all(&items).await.expect_err("it is full");
    assert!(error.is_full() && !error.may_have_happened(), "{error}");
    assert_eq!(used(&limiter, &limits, "anyone").await, vec![Data::USED; limits.len()]);
    assert!(limiter.renew(&lease).await.expect("it needs no memory to speak of").all_renewed());
    assert!(limiter.reset(&limits[6], "renewed").await.expect("that frees some"));
    data.assert_kept(&limiter, &server).await;

    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    let mut receipt = charged(&limiter, &items).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = limiter.settle(&mut receipt, 2, Shortfall::Refuse).await.expect_err("it is full");
    assert!(error.is_full() && !error.may_have_happened(), "{error}");
    assert_eq!(used(&limiter, &limits, "anyone").await, vec![1; limits.len()]);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(limiter.settle(&mut receipt, 2, Shortfall::Refuse).await.expect("settled").settled().is_some());
    assert_eq!(used(&limiter, &limits, "anyone").await, vec![2; limits.len()]);
}

/// The fallback decides, and says that nothing happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_leaves_the_decision_to_the_fallback() {
    let server = Server::start();
    let limiter = limiter(patient(server.url()));
    limiter.store().ping().await.expect("it answers");
    let lets_pass = &limits(QUOTA, Fallback::Allow)[0];
    let _receipt = charged(&limiter, &[Item::new(lets_pass, "anyone")]).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    match limiter.charge(lets_pass, "anyone").await {
        Ok(rebate_core::Decision::Unchecked(unchecked)) => assert!(unchecked.error().is_full()),
        other => panic!("{other:?}"),
    }
    let denies = &limits(QUOTA, Fallback::Deny)[1];
    let denial = limiter.charge(denies, "anyone").await.expect("an answer").denial().expect("denied");
    assert!(denial.trouble().is_some_and(|error| error.is_full() && !error.may_have_happened()));
}

/// Memory that runs out by charging, not all at once: each charge of several limits has happened or has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_that_runs_out_leaves_no_charge_half_made() {
    let server = Server::start();
    let limiter = limiter(patient(server.url()));
    let limits = limits(QUOTA, Fallback::Error);
    let warm: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, "warm")).collect();
    let _receipt = charged(&limiter, &warm).await;
    let in_use: u64 = server.information("used_memory").and_then(|text| text.parse().ok()).expect("a number");
    server.command(&["CONFIG", "SET", "maxmemory", &(in_use + 400_000).to_string()]);
    let (mut charges, mut refused) = (Vec::new(), 0);
    // Where memory is freed in between, some are admitted again: the edge is met more than once.
    while refused < 50 {
        let key = format!("{}-{}", charges.len(), "x".repeat(60));
        let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, key.as_str())).collect();
        let admitted = match limiter.charge_all(&items).await {
            Ok(decision) => decision.receipt().is_some(),
            Err(error) => {
                assert!(error.is_full() && !error.may_have_happened(), "{error}");
                refused += 1;
                false
            }
        };
        charges.push((key, admitted));
        assert!(charges.len() < 20_000, "memory does not run out");
    }
    for (key, admitted) in &charges {
        assert_eq!(used(&limiter, &limits, key).await, vec![u64::from(*admitted); limits.len()], "{key}");
    }
    every_key_expires(&server);
}

/// Nothing can be done then, and that is said, with the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_without_functions_says_that_it_is_full() {
    let server = Server::start();
    let limiter = limiter(patient(server.url()));
    let limits = limits(QUOTA, Fallback::Error);
    let mut receipt = charged(&limiter, &[Item::new(&limits[0], "anyone")]).await;
    server.command(&["FUNCTION", "FLUSH"]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..3 {
        let error = limiter.charge(&limits[0], "anyone").await.expect_err("it is full");
        assert!(error.is_full() && !error.may_have_happened(), "{error}");
        let error = limiter.refund(&mut receipt).await.expect_err("no function to do it");
        assert!(error.is_full() && !error.may_have_happened(), "{error}");
    }
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(limiter.refund(&mut receipt).await.expect("refunded").given_back(), 1);
}
