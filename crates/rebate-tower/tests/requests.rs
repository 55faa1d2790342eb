//! Requests of every kind, bad ones too: who is charged, and that none escapes its rule.

mod common;

use std::net::SocketAddr;

use common::{User, answer, builder, layer, remaining, request, rules_of};
use http::{Method, Request, StatusCode, Version};
use rebate_rules::{Rule, Rules};
use rebate_tower::{ClientAddress, Headers};

fn with_method(method: Method, path: &str) -> Request<String> {
    let mut request = request(path);
    *request.method_mut() = method;
    request
}

#[tokio::test]
async fn head_is_charged_as_get_and_options_when_it_is_not_exempt() {
    let layer = layer(
        Rules::builder()
            .exempt_method("OPTIONS")
            .rule(Rule::path("/generate").methods(["GET"]).limit("10/day"))
            .build()
            .unwrap(),
    );
    assert_eq!(remaining(&answer(&layer, with_method(Method::GET, "/generate"), 200).await), 9);
    assert_eq!(remaining(&answer(&layer, with_method(Method::HEAD, "/generate"), 200).await), 8);
    for method in [Method::OPTIONS, Method::POST, Method::from_bytes(b"PROPFIND").unwrap()] {
        assert!(answer(&layer, with_method(method, "/generate"), 200).await.headers().is_empty());
    }
}

#[tokio::test]
async fn http_1_0_without_a_host_and_other_targets_do_not_panic() {
    let layer = layer(rules_of(Rule::path("/generate").limit("10/day")));
    let mut old = request("/generate");
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(remaining(&answer(&layer, old, 200).await), 9);
    assert_eq!(remaining(&answer(&layer, request("http://host.invalid/generate?a=b"), 200).await), 8);
    for target in ["*", "/", "host.invalid:443"] {
        let mut request = request(target);
        *request.method_mut() = if target.contains(':') { Method::CONNECT } else { Method::OPTIONS };
        assert_eq!(answer(&layer, request, 200).await.status(), StatusCode::OK, "{target}");
    }
}

#[tokio::test]
async fn paths_do_not_slip_past_a_rule_nor_into_an_exemption() {
    let layer = layer(
        Rules::builder().exempt_prefix("/health").rule(Rule::path("/generate").limit("1000/day")).build().unwrap(),
    );
    let odd = [
        "/generate/",
        "//generate",
        "/./generate",
        "/gener%61te",
        "/health/../generate",
        "/health/%2e%2e/generate",
        "/generate?/health",
    ];
    for (expected, path) in (0..1000).rev().zip(odd) {
        assert_eq!(remaining(&answer(&layer, request(path), 200).await), expected, "{path}");
    }
    let long = format!("/{}", "x".repeat(64 * 1024 - 3));
    assert!(answer(&layer, request(&long), 200).await.headers().is_empty());
    for path in ["/%", "/%zz", "/%ff%fe/generate", "/generate%00", "/%2e%2e/%2e%2e/.."] {
        assert_eq!(answer(&layer, request(path), 200).await.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn an_odd_path_that_two_rules_catch_is_charged_by_both_and_refunded_by_both_only() {
    let layer = builder(
        Rules::builder()
            .rule(Rule::path("/generate").limit("10/day").refund(["409", "404"]))
            .rule(Rule::prefix("/health").limit("20/day").refund(["409"]))
            .build()
            .unwrap(),
    )
    .build()
    .unwrap();
    let limits = |response: &http::Response<Vec<u8>>| common::header(response.headers(), "ratelimit").to_owned();
    let response = answer(&layer, request("/health/../generate"), 409).await;
    assert!(limits(&response).contains(r#""/generate";r=10"#) && limits(&response).contains(r#""/health";r=20"#));
    let response = answer(&layer, request("/health/../generate"), 404).await;
    assert!(limits(&response).contains(r#""/generate";r=9"#) && limits(&response).contains(r#""/health";r=19"#));
}

fn from(address: &str, forwarded: &[&[u8]]) -> Request<String> {
    let mut request = request("/generate");
    request.extensions_mut().insert(address.parse::<SocketAddr>().unwrap());
    for line in forwarded {
        let value = http::HeaderValue::from_bytes(line).unwrap();
        request.headers_mut().append("x-forwarded-for", value);
    }
    request
}

#[tokio::test]
async fn a_forged_address_charges_nobody_else() {
    let rules = rules_of(Rule::path("/generate").limit("100/day").key("ip"));
    let client = ClientAddress::x_forwarded_for(["10.0.0.0/8"]).unwrap();
    let layer = builder(rules).client_address(client).build().unwrap();
    let forged = vec!["198.51.100.9"; 10_000].join(", ");
    let forged = format!("{forged}, 203.0.113.5");
    let requests: [(&str, &[&[u8]]); 5] = [
        ("203.0.113.5:1", &[]),
        ("203.0.113.5:2", &[b"198.51.100.9"]),
        ("10.0.0.1:3", &[b"198.51.100.9, 203.0.113.5"]),
        ("10.0.0.1:4", &[forged.as_bytes()]),
        ("[::ffff:203.0.113.5]:5", &[b"\xff"]),
    ];
    for (expected, (address, forwarded)) in (0..100).rev().zip(requests) {
        assert_eq!(remaining(&answer(&layer, from(address, forwarded), 200).await), expected, "{address}");
    }
    assert_eq!(remaining(&answer(&layer, from("198.51.100.9:6", &[]), 200).await), 99, "nothing was charged to them");
    let unknown = answer(&layer, from("10.0.0.1:7", &[b"unknown"]), 200).await;
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST, "no count for all who are unknown");
}

#[tokio::test]
async fn addresses_of_one_ipv6_network_are_one_client() {
    let layer = layer(rules_of(Rule::path("/generate").limit("100/day").key("ip")));
    assert_eq!(remaining(&answer(&layer, from("[2001:db8::1]:1", &[]), 200).await), 99);
    assert_eq!(remaining(&answer(&layer, from("[2001:db8::ffff:2]:1", &[]), 200).await), 98);
    assert_eq!(remaining(&answer(&layer, from("[2001:db8:0:1::1]:1", &[]), 200).await), 99);
}

#[tokio::test]
async fn plans_functions_groups_and_repeated_headers() {
    let rules = Rules::builder()
        .shared_limit("daily", "10/day")
        .plans_by("function:plan", "free")
        .plan("free", "daily", "10/day")
        .plan("pro", "daily", "1000/day")
        .plan("staff", "daily", "unlimited")
        .rule(Rule::path("/generate").charge("daily").key("header:x-tenant").group("function:region"))
        .build()
        .unwrap();
    let layer = builder(rules)
        .function("plan", |request| Some(request.headers.get("x-plan")?.as_bytes().into()))
        .function("region", |_| Some(b"eu"[..].into()))
        .headers(Headers::x_ratelimit())
        .build()
        .unwrap();
    let asks = |plan: &'static str, tenants: &[&'static str]| {
        let mut request = request("/generate");
        request.headers_mut().insert("x-plan", plan.parse().unwrap());
        for tenant in tenants {
            request.headers_mut().append("x-tenant", tenant.parse().unwrap());
        }
        request
    };
    let said = |response: http::Response<Vec<u8>>| {
        let number = |name| common::header(response.headers(), name).to_owned();
        format!("{}/{}", number("x-ratelimit-remaining"), number("x-ratelimit-limit"))
    };
    assert_eq!(said(answer(&layer, asks("free", &["acme"]), 200).await), "9/10");
    assert_eq!(said(answer(&layer, asks("pro", &["acme"]), 200).await), "998/1000", "what was used stays used");
    assert_eq!(said(answer(&layer, asks("staff", &["acme"]), 200).await), "/", "unlimited");
    assert_eq!(said(answer(&layer, asks("free", &["acme", "other"]), 200).await), "9/10", "all values make the key");
    assert_eq!(said(answer(&layer, asks("free", &["acme, other"]), 200).await), "8/10");
}

#[tokio::test]
async fn users_are_told_apart() {
    let layer = layer(rules_of(Rule::path("/generate").limit("10/day")));
    assert_eq!(remaining(&answer(&layer, request("/generate"), 200).await), 9);
    let mut other = request("/generate");
    other.extensions_mut().insert(User("43"));
    assert_eq!(remaining(&answer(&layer, other, 200).await), 9);
}
