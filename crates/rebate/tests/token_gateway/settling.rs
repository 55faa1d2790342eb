//! What replies are settled at, over each store.

use axum::http::HeaderMap;
use serde_json::json;

use crate::client::{asking, asking_at_length, with};
use crate::world::{World, terms};

/// One test of each, over each store.
macro_rules! over_each_store {
    ($($case:ident)*) => {
        mod memory {
            $(#[test] fn $case() { super::$case(&super::World::in_memory(&super::terms())); })*
        }
        mod redis {
            $(#[test] fn $case() { super::$case(&super::World::on_redis(&super::terms())); })*
        }
    };
}

over_each_store! {
    a_plain_reply_is_settled_at_its_usage
    a_stream_is_settled_at_its_usage
    a_usage_that_nobody_asked_for_is_not_passed_on
    a_stream_that_breaks_is_settled_at_what_came
    a_stream_whose_client_leaves_is_settled_at_what_came
    an_upstream_that_fails_costs_nothing
    a_plain_reply_that_breaks_costs_its_estimate
    more_than_was_estimated_is_charged_in_addition
    what_is_not_there_any_more_is_told_as_shortfall
    the_day_denies_too
}

fn remaining(headers: &HeaderMap) -> u64 {
    headers["x-ratelimit-remaining-tokens"].to_str().unwrap().parse().unwrap()
}

fn a_plain_reply_is_settled_at_its_usage(world: &World) {
    // Ten tokens are asked, thirty said; estimated are 310.
    let asked = with(asking_at_length("say=30", 40), json!({"max_tokens": 300}));
    for used in [40, 80, 120] {
        let answer = world.run(world.client.ask("ada", &asked));
        assert_eq!((answer.status, &answer.body["usage"]["total_tokens"]), (200, &json!(40)), "{answer:?}");
        assert_eq!(remaining(&answer.headers), 1000 - used, "as it is after settling");
        assert_eq!(world.used("ada"), [used; 2]);
    }
    assert_eq!(world.used("eve"), [0; 2]);
}

fn a_stream_is_settled_at_its_usage(world: &World) {
    let usage = json!({"max_completion_tokens": 300, "stream_options": {"include_usage": true}});
    let asked = with(asking_at_length("say=30 prompt=20", 40), usage);
    let stream = world.run(world.client.stream("ada", &asked)).expect("a stream");
    assert_eq!(remaining(&stream.headers), 690, "as it is at first");
    let whole = world.run(stream.whole());
    assert_eq!((whole.ended, whole.said(), whole.usage()), (true, 30, Some(50)), "{whole:?}");
    assert_eq!(whole.events.last(), Some(&json!("[DONE]")));
    assert_eq!(world.used("ada"), [50; 2], "by the time that its client knows that it has ended");
}

fn a_usage_that_nobody_asked_for_is_not_passed_on(world: &World) {
    for options in [json!({}), json!({"stream_options": null}), json!({"stream_options": {"include_usage": false}})] {
        let asked = with(with(asking_at_length("say=30 prompt=20", 40), json!({"max_tokens": 300})), options);
        let whole = world.run(async { world.client.stream("ada", &asked).await.expect("a stream").whole().await });
        assert_eq!((whole.ended, whole.said(), whole.usage()), (true, 30, None));
        assert!(whole.events.iter().all(|event| event["choices"] != json!([])), "{whole:?}");
    }
    assert_eq!(world.used("ada"), [150; 2], "by usage all the same, which the estimate could not know");
}

fn a_stream_that_breaks_is_settled_at_what_came(world: &World) {
    let asked = with(asking_at_length("say=30 break=7", 40), json!({"max_tokens": 300}));
    let whole = world.run(async { world.client.stream("ada", &asked).await.expect("a stream").whole().await });
    assert!(!whole.ended && whole.said() <= 7, "{whole:?}");
    world.wait_for("ada", [17; 2]);
}

fn a_stream_whose_client_leaves_is_settled_at_what_came(world: &World) {
    let asked = with(asking_at_length("say=30 hang=7", 40), json!({"max_tokens": 300}));
    let mut stream = world.run(world.client.stream("ada", &asked)).expect("a stream");
    world.run(stream.read_tokens(7));
    assert_eq!(world.used("ada"), [310; 2]);
    drop(stream);
    world.wait_for("ada", [17; 2]);
}

fn an_upstream_that_fails_costs_nothing(world: &World) {
    for streams in [false, true] {
        let asked = with(asking("fail"), json!({"stream": streams}));
        let answer = world.run(world.client.ask("ada", &asked));
        assert_eq!((answer.status, &answer.body["error"]["message"]), (500, &json!("The model has a headache.")));
        assert_eq!(remaining(&answer.headers), 1000);
        assert_eq!(world.used("ada"), [0; 2]);
    }
}

fn a_plain_reply_that_breaks_costs_its_estimate(world: &World) {
    let asked = with(asking_at_length("break=7", 40), json!({"max_tokens": 300}));
    let answer = world.run(world.client.ask("ada", &asked));
    assert_eq!((answer.status, world.used("ada")), (502, [310; 2]), "nobody knows better");
}

fn more_than_was_estimated_is_charged_in_addition(world: &World) {
    // 210 are assumed.
    let answer = world.run(world.client.ask("ada", &asking_at_length("say=390", 40)));
    assert_eq!((answer.status, remaining(&answer.headers)), (200, 600), "{answer:?}");
    assert_eq!((world.used("ada"), world.gateway.shortfall()), ([400; 2], 0));
}

fn what_is_not_there_any_more_is_told_as_shortfall(world: &World) {
    let answer = world.run(world.client.ask("ada", &asking_at_length("say=1190", 40)));
    assert_eq!((answer.status, remaining(&answer.headers)), (200, 0), "{answer:?}");
    assert_eq!((world.used("ada"), world.gateway.shortfall()), ([1000, 1200], 200));
    assert_eq!(world.run(world.client.ask("ada", &asking("say=1"))).status, 429);
}

fn the_day_denies_too(world: &World) {
    let asked = with(asking_at_length("say=1", 40), json!({"max_tokens": 4991}));
    let answer = world.run(world.client.ask("ada", &asked));
    assert_eq!((answer.status, answer.retry_after()), (429, None));
    let message = answer.body["error"]["message"].as_str().expect("a message");
    assert_eq!(message, "Request too large for tokens-day: Limit 5000, Used 0, Requested 5001. No wait will admit it.");
    assert_eq!(world.used("ada"), [0; 2]);
}
