//! Redis away, and requests that are wrong in themselves.

use std::net::SocketAddr;

use rebate_servers::until;
use serde_json::json;

use crate::scene::{Scene, send};

#[test]
fn with_redis_away_nothing_is_saved_uncounted_and_the_same_again_is_billed_once() {
    let scene = Scene::over_redis();
    let server = scene.server.as_ref().expect("a server");
    assert_eq!(scene.save("ada", "request-1").status, 202);
    server.kill();
    for _ in 0..5 {
        let answer = scene.save("ada", "request-2");
        assert_eq!((answer.status, answer.text("code")), (503, "LIMITER_UNAVAILABLE"), "{answer:?}");
    }
    assert_eq!(scene.number("SELECT COUNT(*) FROM items"), 1);
    let again = scene.get("ada", "/api/items/1");
    assert_eq!((again.status, again.text("state")), (200, "waiting"));
    server.restart();
    until("requests are charged", || (scene.save("ada", "request-2").status == 202).then_some(()));
    assert_eq!(scene.used("ada"), ("2/50".into(), 2));
}

#[test]
fn what_is_wrong_is_said_and_not_charged() {
    let scene = Scene::in_memory();
    let url = Some(json!({"url": "https://example.org/"}));
    let long = "k".repeat(256);
    let address: SocketAddr = scene.address();
    for (user, key, body, status, code) in [
        ("", "k", url.clone(), 401, "USER_MISSING"),
        ("ada", "", url.clone(), 400, "KEY_MISSING"),
        ("ada", &*long, url.clone(), 400, "KEY_MISSING"),
        ("ada", "k", Some(json!({"uri": "https://example.org/"})), 422, "BODY_WRONG"),
        ("ada", "k", Some(json!({"url": ""})), 422, "URL_WRONG"),
        ("ada", "k", None, 415, "BODY_WRONG"),
    ] {
        let answer = send(address, "POST", "/api/items", user, key, body);
        assert_eq!((answer.status, answer.text("code")), (status, code), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(scene.used("ada"), ("0/50".into(), 0));
}
