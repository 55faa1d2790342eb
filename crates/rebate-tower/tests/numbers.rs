//! What is counted. No key is in a label.
#![cfg(feature = "metrics")]

mod common;

use std::collections::BTreeMap;

use common::{answer, answer_of, builder, later, request, rules_of};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use rebate_rules::Rule;

/// What was counted since the last call, by name and labels; of histograms, how many values.
fn counted(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let of = |(key, _, _, value): (metrics_util::CompositeKey, _, _, _)| {
        let labels: Vec<_> = key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let number = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => values.len() as u64,
            DebugValue::Gauge(_) => panic!("no gauges"),
        };
        let name = format!("{}{{{}}}", key.key().name(), labels.join(","));
        assert!(!name.contains("42"), "a key is in {name}");
        (name, number)
    };
    snapshotter.snapshot().into_vec().into_iter().map(of).filter(|(_, number)| *number > 0).collect()
}

fn expected<const N: usize>(numbers: [(&str, u64); N]) -> BTreeMap<String, u64> {
    numbers.into_iter().map(|(name, number)| (name.to_owned(), number)).collect()
}

#[tokio::test]
async fn decisions_refunds_and_the_store_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // Built before anybody records.
    let layer = builder(rules_of(Rule::path("/generate").limit("2/day").refund(["409"]))).build().unwrap();
    let _recording = metrics::set_default_local_recorder(&recorder);
    for status in [409, 200, 200, 200] {
        answer(&layer, request("/generate"), status).await;
    }
    assert_eq!(
        counted(&snapshotter),
        expected([
            ("rebate_decisions_total{limit=/generate,outcome=allowed}", 3),
            ("rebate_decisions_total{limit=/generate,outcome=denied}", 1),
            ("rebate_refunds_total{cause=status,outcome=done}", 1),
            ("rebate_store_duration_seconds{operation=charge}", 4),
            ("rebate_store_duration_seconds{operation=refund}", 1),
        ])
    );
}

#[tokio::test]
async fn replays_are_counted_apart_and_keys_that_are_refused_as_no_decision() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let (limiter, _) = common::limiter();
    let layer = |cost| {
        let rules = rules_of(Rule::path("/generate").limit("9/day").cost(cost));
        let settings = rebate_tower::RateLimitLayer::builder(limiter.clone(), rules).user(common::user);
        settings.idempotency_keys(rebate_tower::IdempotencyKeys::new()).build().unwrap()
    };
    for (cost, key, status) in [(1, "one", 200), (1, "one", 409), (2, "one", 422), (1, "a b", 400)] {
        let mut request = request("/generate");
        request.headers_mut().insert("idempotency-key", http::HeaderValue::from_static(key));
        assert_eq!(answer(&layer(cost), request, 200).await.status(), status);
    }
    assert_eq!(
        counted(&snapshotter),
        expected([
            ("rebate_decisions_total{limit=/generate,outcome=allowed}", 1),
            ("rebate_decisions_total{limit=/generate,outcome=replayed}", 1),
            ("rebate_store_duration_seconds{operation=charge}", 3),
        ])
    );
}

#[tokio::test]
async fn refunds_that_give_nothing_back_and_a_store_in_trouble_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let (settings, limiter) = later(rules_of(Rule::path("/generate").limit("2/day")));
    let layer = settings.build().unwrap();
    let store = limiter.clone();
    answer_of(&layer, request("/generate"), move |charged| {
        let store = store.clone();
        async move {
            charged.refund().await.unwrap();
            charged.refund().await.unwrap();
            store.store().go_away();
            charged.refund().await.unwrap_err();
            drop(charged.take());
            charged.refund().await.unwrap();
            200
        }
    })
    .await;
    answer(&layer, request("/generate"), 200).await;
    assert_eq!(
        counted(&snapshotter),
        expected([
            ("rebate_decisions_total{limit=/generate,outcome=allowed}", 1),
            ("rebate_decisions_total{limit=/generate,outcome=unchecked}", 1),
            ("rebate_refunds_total{cause=handler,outcome=done}", 1),
            ("rebate_refunds_total{cause=handler,outcome=nothing}", 1),
            ("rebate_refunds_total{cause=handler,outcome=failed}", 1),
            ("rebate_refunds_total{cause=handler,outcome=not_charged}", 1),
            ("rebate_store_duration_seconds{operation=charge}", 2),
            ("rebate_store_duration_seconds{operation=refund}", 3),
            ("rebate_store_failures_total{operation=charge,kind=unavailable}", 1),
            ("rebate_store_failures_total{operation=refund,kind=unavailable}", 1),
        ])
    );
}

#[tokio::test]
async fn refusals_without_a_key_and_charges_that_are_wrong_are_no_failures_of_the_store() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let (limiter, _) = common::limiter();
    let rules = rules_of(Rule::path("/generate").limit("2/day"));
    let layer = rebate_tower::RateLimitLayer::builder(limiter.clone(), rules).user(common::user);
    let layer = layer.challenge(http::HeaderValue::from_static("Bearer")).build().unwrap();
    let anonymous = http::Request::post("/generate").body(String::new()).unwrap();
    let response = answer(&layer, anonymous, 200).await;
    assert_eq!((response.status().as_u16(), common::header(response.headers(), "www-authenticate")), (401, "Bearer"));
    limiter.replace(&rebate_core::Limit::new("/generate", "3/day").unwrap());
    let response = answer(&layer, request("/generate"), 200).await;
    assert_eq!((response.status().as_u16(), common::header(response.headers(), "www-authenticate")), (500, ""));
    assert_eq!(
        counted(&snapshotter),
        expected([
            ("rebate_decisions_total{limit=/generate,outcome=unavailable}", 1),
            ("rebate_keys_missing_total{rule=/generate}", 1),
            ("rebate_store_duration_seconds{operation=charge}", 1),
        ])
    );
}
