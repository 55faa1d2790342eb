//! A charge that was settled upwards has parts that top it up: a total is of all of them.

mod common;

use common::{answer_of, layer, left, limiter, remaining, request, rules, user};
use rebate_core::Shortfall;
use rebate_rules::{Rule, Rules};
use rebate_tower::RateLimitLayer;

#[tokio::test]
async fn a_refund_up_to_a_total_counts_what_was_topped_up() {
    // A settlement upwards, a total, what it gives back; and what a larger total gives back beside.
    for (cost, total, given_back, larger, beside) in [
        (1, 1, 1, 1, 0),
        (3, 1, 1, 2, 1),
        (3, 2, 2, 3, 1),
        (5, 2, 2, 2, 0),
        (6, 6, 6, 9, 0),
        (6, 9, 6, 9, 0),
        (6, 0, 0, 5, 5),
    ] {
        let response = answer_of(&layer(rules()), request("/generate"), move |charged| async move {
            charged.settle(cost, Shortfall::Refuse).await.unwrap();
            let refund = charged.refund_up_to(total).await.unwrap().unwrap();
            assert_eq!(refund.given_back(), given_back, "settled at {cost}, up to {total}");
            assert_eq!(charged.statuses()[0].remaining(), 10 - cost + given_back);
            let refund = charged.refund_up_to(larger).await.unwrap().unwrap();
            assert_eq!(refund.given_back(), beside, "settled at {cost}, up to {total}, then {larger}");
            200
        })
        .await;
        assert_eq!(remaining(&response), 10 - cost + given_back + beside, "settled at {cost}");
    }
}

#[tokio::test]
async fn units_given_back_before_a_settlement_count() {
    let (limiter, _) = limiter();
    let layer = RateLimitLayer::builder(limiter.clone(), rules()).user(user).build().unwrap();
    answer_of(&layer, request("/generate"), |charged| async move {
        charged.refund().await.unwrap();
        charged.settle(4, Shortfall::Refuse).await.unwrap();
        assert_eq!(charged.refund_up_to(1).await.unwrap().unwrap().given_back(), 0, "one is back already");
        assert_eq!(charged.refund_up_to(2).await.unwrap().unwrap().given_back(), 1);
        200
    })
    .await;
    assert_eq!(left(&limiter, &rules()).await, 8);
}

#[tokio::test]
async fn each_of_several_limits_is_given_back_its_total() {
    let rules = Rules::builder()
        .shared_limit("a", "10/day")
        .shared_limit("b", "100/hour")
        .rule(Rule::path("/generate").charge("a").charge("b"))
        .build()
        .unwrap();
    let response = answer_of(&layer(rules), request("/generate"), |charged| async move {
        charged.settle(4, Shortfall::Refuse).await.unwrap();
        charged.refund_up_to(2).await.unwrap();
        let remaining: Vec<_> = charged.statuses().iter().map(|status| status.remaining()).collect();
        assert_eq!(remaining, [8, 98]);
        200
    })
    .await;
    assert_eq!(response.headers()["ratelimit"], r#""a";r=8;t=43200, "b";r=98;t=3600"#);
}
