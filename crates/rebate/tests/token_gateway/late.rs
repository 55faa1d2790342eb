//! Estimates that are not settled, or not in time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use rebate_servers::until;
use serde_json::json;
use tokio::sync::Notify;

use crate::client::{asking_at_length, with};
use crate::gateway::Terms;
use crate::world::{World, terms};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn an_estimate_that_is_not_settled_is_given_back_when_its_time_is_up() {
    let mut world = World::in_memory(&Terms { minute: "1000/hour".into(), day: "5000/day".into(), ..terms() });
    let asked = with(asking_at_length("say=30 hang=7", 40), json!({"max_tokens": 300}));
    let mut stream = world.run(world.client.stream("ada", &asked)).expect("a stream");
    world.run(stream.read_tokens(7));
    world.clock.advance(10 * MINUTE * 5 / 4 - Duration::from_micros(1));
    assert_eq!(world.used("ada"), [310; 2]);
    world.clock.advance(Duration::from_micros(1));
    assert_eq!(world.used("ada"), [0; 2], "as if the gateway had died: nothing came of it");
    // What is settled after that charges nothing; it is told.
    world.stop_upstream();
    assert!(!world.run(stream.whole()).ended);
    assert_eq!((world.gateway.shortfall(), world.used("ada")), (17, [0; 2]));
}

#[test]
fn a_reply_that_takes_too_long_is_broken_off_and_paid_for() {
    let world = World::in_memory(&Terms { within: Duration::from_millis(500), ..terms() });
    let asked =
        |streams: bool| with(asking_at_length("say=30 hang=7", 40), json!({"max_tokens": 300, "stream": streams}));
    // Were it let go on, it would be had for nothing as soon as its reservation is over.
    let whole = world.run(async { world.client.stream("ada", &asked(true)).await.expect("a stream").whole().await });
    assert!(!whole.ended && whole.said() == 7, "{whole:?}");
    world.wait_for("ada", [17; 2]);
    let answer = world.run(world.client.ask("eve", &asked(false)));
    assert_eq!((answer.status, world.used("eve")), (504, [310; 2]), "nobody knows better");
}

#[test]
fn a_client_that_takes_nothing_does_not_put_off_what_it_pays() {
    // More than fits between the two sockets.
    let lines = stream::repeat_with(|| {
        let chunk = format!(r#"{{"choices": [{{"delta": {{"content": "{}"}}}}]}}"#, "four".repeat(1 << 16));
        Ok::<_, std::io::Error>(format!("data: {chunk}\n\n"))
    });
    let upstream = move || async { ([("content-type", "text/event-stream")], Body::from_stream(lines.take(1000))) };
    let terms = Terms {
        minute: "1000000000/1h from first".into(),
        day: "1000000000/24h from first".into(),
        within: Duration::from_millis(500),
        ..terms()
    };
    let world = World::before(Router::new().route("/v1/chat/completions", post(upstream)), &terms);
    let _stalled = world.run(world.client.stream("ada", &asking_at_length("", 40))).expect("a stream");
    until("it is settled", || (world.used("ada")[0] > 1 << 16).then_some(()));
}

#[test]
fn without_a_reservation_the_estimate_stands() {
    let world = World::in_memory(&Terms { settles: false, ..terms() });
    let asked = with(asking_at_length("say=30", 40), json!({"max_tokens": 300}));
    let answer = world.run(world.client.ask("ada", &asked));
    assert_eq!((answer.status, answer.header("x-ratelimit-remaining-tokens")), (200, Some("690")));
    world.clock.advance(30 * MINUTE);
    assert_eq!(world.used("ada"), [310; 2]);
}

#[test]
fn a_stream_from_one_minute_into_the_next_is_settled_in_each_as_far_as_it_can_be() {
    let world = World::in_memory(&Terms { minute: "1000/minute".into(), day: "5000/day".into(), ..terms() });
    let begin = |user: &str, tokens: u64, most| {
        let asked = with(asking_at_length(&format!("say=999 hang={tokens}"), 40), json!({"max_tokens": most}));
        let mut stream = world.run(world.client.stream(user, &asked)).expect("a stream");
        world.run(stream.read_tokens(tokens as usize));
        stream
    };
    let too_high = begin("ada", 7, json!(300));
    let too_low = begin("eve", 250, json!(null));
    assert_eq!([world.used("ada"), world.used("eve")], [[310; 2], [210; 2]]);
    world.clock.advance(MINUTE);
    drop((too_high, too_low));
    // The minute that was charged too much is over; the day is not.
    world.wait_for("ada", [0, 17]);
    // What it took more counts where it ends.
    world.wait_for("eve", [50, 260]);
}

#[test]
fn a_client_that_leaves_before_its_plain_reply_has_come_pays_for_what_it_ordered() {
    let (go_on, waits) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let upstream = {
        let (go_on, waits) = (Arc::clone(&go_on), Arc::clone(&waits));
        let answer = move || async move {
            waits.notify_one();
            go_on.notified().await;
            Json(json!({"usage": {"total_tokens": 40}}))
        };
        Router::new().route("/v1/chat/completions", post(answer))
    };
    let world = World::before(upstream, &terms());
    let (client, asked) = (world.client.clone(), with(asking_at_length("", 40), json!({"max_tokens": 300})));
    let task = world.runtime.spawn(async move { client.ask("ada", &asked).await });
    world.run(waits.notified());
    assert_eq!(world.used("ada"), [310; 2]);
    task.abort();
    assert!(world.run(task).is_err_and(|error| error.is_cancelled()));
    go_on.notify_one();
    world.wait_for("ada", [40; 2]);
}

#[test]
fn a_stream_is_settled_when_its_usage_has_come_though_it_has_not_ended() {
    let answer = || async {
        let told =
            Ok::<_, std::io::Error>(r#"data: {"choices": [], "usage": {"total_tokens": 40}}"#.to_owned() + "\n\n");
        let events = stream::iter([told]).chain(stream::pending());
        ([("content-type", "text/event-stream")], Body::from_stream(events))
    };
    let world = World::before(Router::new().route("/v1/chat/completions", post(answer)), &terms());
    let asked = with(asking_at_length("", 40), json!({"stream_options": {"include_usage": true}}));
    let mut stream = world.run(world.client.stream("ada", &asked)).expect("a stream");
    world.run(stream.next()).expect("the usage").expect("no fault");
    assert_eq!(world.used("ada"), [40; 2]);
}

#[test]
fn of_an_upstream_that_tells_no_usage_the_estimate_stands_and_a_stream_is_counted() {
    let answer = |Json(asked): Json<serde_json::Value>| async move {
        let chunk = r#"{"choices": [{"delta": {"role": "assistant", "content": "four"}}, {"delta": {"tool_calls": ["more"]}}]}"#;
        let events = format!(": a comment\r\n\r\ndata: {chunk}\r\n\r\ndata:{chunk}\n\ndata: [DONE]");
        let is_stream = asked["stream"] == true;
        if is_stream {
            ([("content-type", "text/event-stream")], events)
        } else {
            ([("content-type", "application/json")], "{}".into())
        }
    };
    let world = World::before(Router::new().route("/v1/chat/completions", post(answer)), &terms());
    let asked = with(asking_at_length("", 40), json!({"max_tokens": 300}));
    assert_eq!(world.run(world.client.ask("ada", &asked)).status, 200);
    assert_eq!(world.used("ada"), [310; 2]);
    let bytes = world.run(async { world.client.stream("eve", &asked).await.expect("a stream").bytes().await });
    assert!(bytes.starts_with(": a comment\r\n") && bytes.ends_with("data: [DONE]"), "all of it comes: {bytes}");
    assert_eq!(world.used("eve"), [14; 2]);
}

#[test]
fn a_plain_reply_to_who_asked_for_a_stream_is_settled_as_a_plain_reply() {
    let answer = |Json(asked): Json<serde_json::Value>| async move {
        let message = json!({"choices": [{"message": {"content": "four"}}]});
        let tells = asked["user"] == "tells";
        Json(if tells { with(message, json!({"usage": {"total_tokens": 140}})) } else { message })
    };
    let world = World::before(Router::new().route("/v1/chat/completions", post(answer)), &terms());
    for (user, used) in [("tells", 140), ("is silent", 310)] {
        let asked = with(asking_at_length("", 40), json!({"max_tokens": 300, "user": user, "stream": true}));
        let answer = world.run(world.client.ask(&user[..2], &asked));
        let remaining = (1000 - used).to_string();
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining-tokens")), (200, Some(&*remaining)));
        assert_eq!(
            (&answer.body["choices"][0]["message"]["content"], world.used(&user[..2])),
            (&json!("four"), [used; 2])
        );
    }
}

#[test]
fn a_stream_is_one_however_its_type_is_written() {
    let events = || async {
        let chunk = "data: {\"choices\": [{\"delta\": {\"content\": \"four\"}}]}\n\n";
        ([("content-type", "Text/Event-Stream; charset=utf-8")], chunk)
    };
    let world = World::before(Router::new().route("/v1/chat/completions", post(events)), &terms());
    let asked = with(asking_at_length("", 40), json!({"max_tokens": 300}));
    let bytes = world.run(world.client.stream("ada", &asked)).map(|stream| world.run(stream.bytes()));
    assert!(bytes.is_ok_and(|bytes| bytes.contains("four")));
    assert_eq!(world.used("ada"), [11; 2]);
}

#[test]
fn an_upstream_that_cannot_be_reached_costs_nothing() {
    let mut world = World::in_memory(&terms());
    world.stop_upstream();
    for streams in [false, true] {
        let answer = world.run(world.client.ask("ada", &with(asking_at_length("", 40), json!({"stream": streams}))));
        assert_eq!((answer.status, &answer.body["error"]["type"]), (502, &json!("server_error")));
        assert_eq!(world.used("ada"), [0; 2]);
    }
}
