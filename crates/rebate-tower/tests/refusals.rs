//! Requests that are not let through: what they are answered, and why.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{answer, builder, header, later, layer, left, limiter, request, rules, rules_of, told, user};
use http::{Request, Response, StatusCode};
use rebate_core::{Limit, Limiter};
use rebate_rules::{Rule, Rules};
use rebate_tower::{GrpcStatus, Headers, RateLimitLayer, Refusal};
use serde_json::{Value, json};

fn problem(response: &Response<Vec<u8>>) -> Value {
    assert_eq!(header(response.headers(), "content-type"), "application/problem+json");
    serde_json::from_slice(response.body()).expect("JSON")
}

#[tokio::test]
async fn a_denial_names_rule_limit_and_code_and_says_when_to_come_again() {
    let (limiter, clock) = limiter();
    let rules = Rules::builder()
        .base("/api")
        .shared_limit_with_code("daily", "1/day", "DAILY_QUOTA_EXCEEDED")
        .rule(Rule::path("/concepts/generate").limit("2/day").charge("daily"))
        .build()
        .unwrap();
    let layer = RateLimitLayer::builder(limiter, rules).user(user).build().unwrap();
    assert_eq!(answer(&layer, request("/api/concepts/generate"), 200).await.status(), StatusCode::OK);
    clock.advance(Duration::from_micros(43_200_000_000 - 30_100_000));
    let response = answer(&layer, request("/api/concepts/generate"), 200).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(response.headers(), "retry-after"), "31", "30.1 s");
    assert_eq!(header(response.headers(), "ratelimit"), r#""daily";r=0;t=31"#);
    assert_eq!(
        header(response.headers(), "ratelimit-policy"),
        r#""/concepts/generate";q=2;w=86400, "daily";q=1;w=86400"#
    );
    assert_eq!(
        problem(&response),
        json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Quota Exceeded",
            "status": 429,
            "detail": "Rate limit exceeded for daily (1/day). Try again in 31 seconds.",
            "violated-policies": ["daily"],
            "rule": "/concepts/generate",
            "limit": "daily",
            "code": "DAILY_QUOTA_EXCEEDED",
            "retry_after": 31,
        })
    );
}

#[tokio::test]
async fn a_denial_by_one_limit_leaves_the_other_untouched() {
    let (limiter, _) = limiter();
    let rules = Rules::builder()
        .rule(Rule::path("/generate").limit("10/month"))
        .rule(Rule::path("/store").limit("1/month"))
        .rule(Rule::path("/both").limits_of(["/generate", "/store"]))
        .build()
        .unwrap();
    let layer = RateLimitLayer::builder(limiter.clone(), rules.clone()).user(user).build().unwrap();
    assert_eq!(answer(&layer, request("/both"), 200).await.status(), StatusCode::OK);
    for _ in 0..3 {
        let response = answer(&layer, request("/both"), 200).await;
        let detail = problem(&response)["detail"].to_string();
        assert!(detail.contains("exceeded for /store (1/month)."), "{detail}");
    }
    assert_eq!(left(&limiter, &rules).await, 9);
}

#[tokio::test]
async fn waits_are_rounded_up_and_never_earlier_than_any_t() {
    for (policy, advance_millis, retry_after) in [
        // A unit comes every 200 ms.
        ("5/second burst 1", 0, "1"),
        ("1/second", 800, "1"),
        ("1/100s", 0, "100"),
        ("1/100s", 1, "100"),
    ] {
        let (limiter, clock) = limiter();
        let layer = RateLimitLayer::builder(limiter, rules_of(Rule::path("/generate").limit(policy)));
        let layer = layer.user(user).headers(Headers::draft_11().and(Headers::x_ratelimit())).build().unwrap();
        assert_eq!(answer(&layer, request("/generate"), 200).await.status(), StatusCode::OK);
        clock.advance(Duration::from_millis(advance_millis));
        let response = answer(&layer, request("/generate"), 200).await;
        assert_eq!(header(response.headers(), "retry-after"), retry_after, "{policy}");
        assert_eq!(told(&response).1.to_string(), retry_after, "{policy}");
        assert_eq!(header(response.headers(), "x-ratelimit-reset"), retry_after, "{policy}");
    }
}

#[tokio::test]
async fn a_bucket_that_denies_tells_the_wait_and_not_when_it_is_full() {
    let layer = layer(rules_of(Rule::path("/generate").limit("1/10s burst 3").cost(2)));
    assert_eq!(told(&answer(&layer, request("/generate"), 200).await), (1, 20), "full in 20 s");
    let response = answer(&layer, request("/generate"), 200).await;
    assert_eq!((told(&response), header(response.headers(), "retry-after")), ((1, 10), "10"));
}

#[tokio::test]
async fn the_longest_wait_of_several_limits_is_told() {
    let (limiter, _) = limiter();
    let rules = Rules::builder()
        .shared_limit("second", "1/second")
        .shared_limit("hour", "1/hour")
        .rule(Rule::path("/generate").charge("second").charge("hour"))
        .build()
        .unwrap();
    let layer = RateLimitLayer::builder(limiter, rules).user(user).build().unwrap();
    answer(&layer, request("/generate"), 200).await;
    let response = answer(&layer, request("/generate"), 200).await;
    assert_eq!(header(response.headers(), "retry-after"), "3600");
    assert_eq!(header(response.headers(), "ratelimit"), r#""second";r=0;t=1, "hour";r=0;t=3600"#);
    assert_eq!(problem(&response)["limit"], "hour");
    assert_eq!(problem(&response)["violated-policies"], json!(["second", "hour"]));
}

#[tokio::test]
async fn what_costs_more_than_the_quota_says_no_time() {
    let layer = layer(rules_of(Rule::path("/generate").limit("2/day").cost(2)));
    answer(&layer, request("/generate"), 200).await;
    let response = answer(&layer, request("/generate"), 200).await;
    assert_eq!(header(response.headers(), "retry-after"), "43200");
    let (limiter, _) = limiter();
    let rules = rules_of(Rule::path("/generate").limit("3/day").cost(3));
    let layer = RateLimitLayer::builder(limiter.clone(), rules.clone()).user(user).build().unwrap();
    // An operator lowers the quota below the cost while the service runs.
    limiter.replace(&Limit::new("/generate", "2/day").unwrap());
    let response = answer(&layer, request("/generate"), 200).await;
    // The rules' limit is not the limiter's any more: the service's own mistake, and nobody's quota.
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(problem(&response)["code"], "LIMITER_MISUSED");
}

#[tokio::test]
async fn while_the_store_is_away_or_full_the_rule_decides() {
    for (full, rule, passes) in [
        (false, Rule::path("/generate").limit("10/day"), true),
        (false, Rule::path("/generate").limit("10/day").on_unavailable("deny"), false),
        (false, Rule::path("/generate").limit("10/day").on_full("deny"), true),
        (true, Rule::path("/generate").limit("10/day").on_full("deny"), false),
        (true, Rule::path("/generate").limit("10/day").on_full("allow").on_unavailable("deny"), true),
    ] {
        let (settings, limiter) = later(rules_of(rule.refund(["409"])));
        let layer = settings.build().unwrap();
        let trouble = if full { &limiter.store().full } else { &limiter.store().away };
        trouble.store(true, Ordering::SeqCst);
        // A status that refunds finds nothing to refund.
        let response = answer(&layer, request("/generate"), 409).await;
        assert!(response.headers().get("ratelimit").is_none(), "nobody knows what is left");
        assert!(response.headers().get("retry-after").is_none(), "nor for how long");
        if passes {
            assert_eq!(response.status(), StatusCode::CONFLICT);
        } else {
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let problem = problem(&response);
            assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
            assert_eq!((&problem["code"], &problem["status"]), (&json!("LIMITER_UNAVAILABLE"), &json!(503)));
        }
        trouble.store(false, Ordering::SeqCst);
        assert_eq!(answer(&layer, request("/generate"), 200).await.status(), StatusCode::OK, "it is back");
    }
}

#[tokio::test]
async fn a_missing_key_gets_the_rules_answer_and_never_a_shared_count() {
    let anonymous = || Request::post("/generate").body(String::new()).unwrap();
    for (rule, code, status) in [
        (Rule::path("/generate").limit("10/day"), Some("USER_MISSING"), 401),
        (Rule::path("/generate").limit("10/day").key("header:x-tenant"), Some("KEY_MISSING"), 400),
        (Rule::path("/generate").limit("10/day").key("ip"), Some("KEY_MISSING"), 400),
        (Rule::path("/generate").limit("10/day").on_missing_key("ip"), Some("USER_MISSING"), 401),
        (Rule::path("/generate").limit("10/day").on_missing_key("skip"), None, 200),
    ] {
        let layer = layer(rules_of(rule));
        let response = answer(&layer, anonymous(), 200).await;
        assert_eq!(response.status().as_u16(), status);
        assert!(response.headers().get("ratelimit").is_none());
        if let Some(code) = code {
            assert_eq!(problem(&response)["code"], code);
        }
    }
}

#[tokio::test]
async fn a_key_that_is_too_long_is_the_clients_fault() {
    let layer = layer(rules_of(Rule::path("/generate").limit("10/day").key("header:x-tenant")));
    let with = |length: usize| {
        let mut request = request("/generate");
        request.headers_mut().insert("x-tenant", "t".repeat(length).parse().unwrap());
        request
    };
    let response = answer(&layer, with(65 * 1024), 200).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(problem(&response)["code"], "KEY_TOO_LONG");
    assert_eq!(answer(&layer, with(60 * 1024), 200).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_callers_own_response_replaces_the_problem() {
    fn own(refusal: &Refusal<'_>) -> Response<Vec<u8>> {
        let limit = refusal.limit().expect("a limit denied it");
        let words = [refusal.request().uri.path(), refusal.rule(), limit.name(), limit.policy(), limit.code()];
        let text = format!("{} {:?} {}", words.join(" "), limit.retry_after(), limit.status().remaining());
        Response::builder().status(420).header("retry-after", "7").body(text.into_bytes()).unwrap()
    }
    let layer = builder(rules_of(Rule::path("/generate").limit("1/day").code("CALM"))).respond(own).build().unwrap();
    answer(&layer, request("/generate"), 200).await;
    let response = answer(&layer, request("/generate"), 200).await;
    assert_eq!(response.status().as_u16(), 420);
    assert_eq!(response.body(), b"/generate /generate /generate 1/day CALM Some(43200s) 0");
    assert_eq!(header(response.headers(), "retry-after"), "7", "as it was said");
    assert_eq!(told(&response), (0, 43_200), "the headers are still the layer's");
}

#[tokio::test]
async fn grpc_services_answer_in_grpc() {
    let layer = builder(rules_of(Rule::path("/generate").limit("1/day"))).respond(GrpcStatus).build().unwrap();
    answer(&layer, request("/generate"), 200).await;
    let response = answer(&layer, request("/generate"), 200).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(response.headers(), "grpc-status"), "8");
    assert_eq!(
        header(response.headers(), "grpc-message"),
        "Rate limit exceeded for /generate (1/day). Try again in 43200 seconds."
    );
    assert_eq!(header(response.headers(), "content-type"), "application/grpc");
    let anonymous = Request::post("/generate").body(String::new()).unwrap();
    assert_eq!(header(answer(&layer, anonymous, 200).await.headers(), "grpc-status"), "16");
}

#[test]
fn a_layer_that_cannot_answer_its_rules_is_not_built() {
    let build = |rule: Rule| RateLimitLayer::builder(limiter().0, rules_of(rule)).build();
    for rule in [
        Rule::path("/generate").limit("10/day"),
        Rule::path("/generate").limit("10/day").key("ip").group("user"),
        Rule::path("/generate").limit("10/day").key("ip").on_missing_key("user"),
        Rule::path("/generate").limit("10/day").key("function:tenant"),
        // Whose places nobody would give back.
        Rule::path("/generate").limit("2 at once for 10m").key("ip"),
    ] {
        let error = build(rule).unwrap_err();
        assert!(error.is_invalid(), "{error}");
    }
    assert!(build(Rule::path("/generate").limit("10/day").key("ip")).is_ok());
    let (limiter, _): (Limiter<_>, _) = limiter();
    limiter.limit("/generate", "20/day").unwrap();
    assert!(RateLimitLayer::builder(limiter, rules()).user(user).build().unwrap_err().is_conflict());
}

#[tokio::test]
async fn a_path_that_can_be_read_in_too_many_ways_is_refused() {
    let layer = layer(rules());
    let path = format!("/elsewhere/%{}2e", "25".repeat(200));
    let response = answer(&layer, request(&path), 200).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let problem = problem(&response);
    assert_eq!((&problem["code"], &problem["rule"]), (&json!("PATH_UNCLEAR"), &Value::Null));
    // Where it leads to a rule all the same it is charged by that.
    let path = format!("/generate;%{}2e", "25".repeat(200));
    assert_eq!(answer(&layer, request(&path), 200).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn no_key_is_in_debug() {
    let seen = |refusal: &Refusal<'_>| Response::new(format!("{refusal:?} {:?}", refusal.request()).into_bytes());
    let rule = Rule::path("/generate").limit("1/day").key("header:x-tenant");
    let rules = Rules::builder().rule(rule).exempt_key("header:x-tenant:Exempt42").build().unwrap();
    let layer = builder(rules.clone()).respond(seen).build().unwrap();
    let from = || {
        let mut request = request("/generate?tenant=Secret42");
        request.headers_mut().insert("x-tenant", "Secret42".parse().unwrap());
        request
    };
    answer(&layer, from(), 200).await;
    let denied = answer(&layer, from(), 200).await;
    let mut text = String::from_utf8(denied.into_body()).unwrap();
    assert!(text.contains("x-tenant"), "{text}");
    let rebate_rules::Chosen::Charged(charge) = rules.choose("GET", "/generate") else { panic!("charged") };
    struct Tenant;
    impl rebate_rules::Subject for Tenant {
        fn header(&self, _: &str) -> Option<std::borrow::Cow<'_, [u8]>> {
            Some(b"Secret42"[..].into())
        }
    }
    let mut keys = rebate_rules::KeyBuffer::new();
    text += &format!("{:?}", charge.items(&Tenant, &mut keys));
    text += &format!("{keys:?} {charge:?} {rules:?} {layer:?}");
    assert!(!text.contains("42\"") && !text.contains("Secret") && !text.contains("Exempt42"), "{text}");
    assert!(text.contains("KeyBuffer(24 bytes)"), "{text}");
}
