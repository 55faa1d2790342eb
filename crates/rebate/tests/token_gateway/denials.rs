//! What is said to whom is turned away.

use std::time::Duration;

use serde_json::json;

use crate::client::{asking, asking_at_length, with};
use crate::gateway::Terms;
use crate::world::{World, terms};

fn by_the_minute() -> World {
    World::in_memory(&Terms { minute: "1000/minute".into(), day: "5000/day".into(), ..terms() })
}

#[test]
fn a_denial_is_one_of_openais_and_its_wait_is_true() {
    let world = by_the_minute();
    // Twenty seconds into the minute.
    world.clock.advance(Duration::from_millis(500));
    let asked = with(asking_at_length("say=590", 40), json!({"max_tokens": 590}));
    assert_eq!(world.run(world.client.ask("ada", &asked)).status, 200);
    let denied = world.run(world.client.ask("ada", &asked));
    assert_eq!(denied.status, 429);
    let told = ["limit", "remaining", "reset"].map(|name| denied.header(&format!("x-ratelimit-{name}-tokens")));
    assert_eq!(told, [Some("1000"), Some("400"), Some("39.5s")]);
    assert_eq!(denied.retry_after(), Some(40), "in whole seconds, rounded up");
    let message =
        "Rate limit reached on tokens-minute: Limit 1000, Used 600, Requested 600. Please try again in 39.5s.";
    let error = json!({"message": message, "type": "tokens", "param": null, "code": "rate_limit_exceeded"});
    assert_eq!(denied.body, json!({"error": error}));
    assert_eq!(world.used("ada"), [600; 2], "a denial costs nothing");

    world.clock.advance(Duration::from_millis(39_499));
    assert_eq!(world.run(world.client.ask("ada", &asked)).status, 429);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.run(world.client.ask("ada", &asked)).status, 200);
    assert_eq!(world.used("ada"), [600, 1200]);
}

#[test]
fn the_day_tells_of_itself_when_it_denies() {
    let world = World::in_memory(&Terms { minute: "1000/minute".into(), day: "1500/day".into(), ..terms() });
    let asked = with(asking_at_length("say=990", 40), json!({"max_tokens": 990}));
    assert_eq!(world.run(world.client.ask("ada", &asked)).status, 200);
    let denied = world.run(world.client.ask("ada", &asked));
    // 22:13:20 it is.
    assert_eq!((denied.status, denied.retry_after()), (429, Some(6400)));
    let told = ["limit", "remaining", "reset"].map(|name| denied.header(&format!("x-ratelimit-{name}-tokens")));
    assert_eq!(told, [Some("1500"), Some("500"), Some("1h46m40s")]);
}

#[test]
fn what_is_no_request_is_told_and_costs_nothing() {
    let world = by_the_minute();
    let wrong = [
        ("{", "The body is no JSON"),
        ("[]", "The body has no `messages`."),
        (r#"{"messages": "say=1"}"#, "The body has no `messages`."),
        (r#"{"messages": [], "max_tokens": 1e9}"#, "`max_tokens` is no whole number: 1000000000.0."),
        (r#"{"messages": [], "max_completion_tokens": -1}"#, "`max_completion_tokens` is no whole number: -1."),
        (r#"{"messages": [], "n": "2"}"#, "`n` is no whole number"),
        (r#"{"messages": [], "stream": 1}"#, "`stream` is neither true nor false."),
        (
            r#"{"messages": [], "stream_options": {"include_usage": "yes"}}"#,
            "`stream_options.include_usage` is neither",
        ),
    ];
    for (body, said) in wrong {
        let answer = world.run(world.client.ask_as_it_is("ada", body));
        let message = answer.body["error"]["message"].as_str().expect("a message");
        assert!(answer.status == 400 && message.starts_with(said), "{body}: {answer:?}");
    }
    assert_eq!(world.run(world.client.ask("", &asking("say=1"))).status, 401);
    assert_eq!(world.used("ada"), [0; 2]);
}

#[test]
fn an_estimate_counts_every_text_and_every_choice() {
    let world = by_the_minute();
    let parts = json!([{"type": "text", "text": "x".repeat(376)}]);
    let asked = json!({
        "messages": [{"role": "system", "content": "be"}, {"role": "user", "content": parts}],
        "tools": [{"function": {"description": "x".repeat(367)}}],
        "functions": [{"name": "f"}],
        "response_format": {"json_schema": {"schema": {}}},
        "max_tokens": 400,
        "n": 3,
    });
    // 392 letters (a part's type counts too), and JSON of 400, 14 and 29 letters make 209 tokens.
    let denied = world.run(world.client.ask("ada", &asked));
    let message = denied.body["error"]["message"].as_str().expect("a message");
    assert!(denied.status == 429 && message.contains("Requested 1409"), "{message}");

    // Of a name given twice the upstream reads the same one as the gateway.
    let twice = r#"{"messages": [{"role": "user", "content": "say=500"}], "max_tokens": 500, "max_tokens": 5}"#;
    let answer = world.run(world.client.ask_as_it_is("ada", twice));
    assert_eq!(answer.body["usage"]["completion_tokens"], json!(5));
    let vast = with(asking("say=1"), json!({"max_tokens": u64::MAX, "n": u64::MAX}));
    assert_eq!(world.run(world.client.ask("ada", &vast)).status, 429);
}
