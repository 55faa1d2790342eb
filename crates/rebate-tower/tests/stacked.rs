//! A layer around other layers, and around services that deny by themselves.

mod common;

use std::convert::Infallible;

use common::{NOON, header, limiter, remaining, request, rules_of, told, user};
use http::{Request, Response};
use rebate_rules::{Rule, Rules};
use rebate_tower::{GrpcStatus, Headers, RateLimitLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

fn outer(rules: Rules) -> RateLimitLayer<common::Store> {
    let headers = Headers::draft_11().and(Headers::x_ratelimit());
    RateLimitLayer::builder(limiter().0, rules).user(user).headers(headers).build().unwrap()
}

fn day() -> Rules {
    rules_of(Rule::path("/generate").name("outer").limit("1000/day").refund(["429"]))
}

type Answer = Response<Vec<u8>>;

fn always(
    build: impl Fn() -> http::response::Builder + Clone,
) -> impl Service<Request<String>, Response = Answer, Error = Infallible, Future: Send> + Clone {
    service_fn(move |_| {
        let response = build().body(Vec::new()).unwrap();
        async { Ok(response) }
    })
}

#[tokio::test]
async fn a_denial_by_a_layer_inside_is_left_as_it_is() {
    assert_eq!(NOON.as_micros() % 86_400_000_000, 43_200_000_000);
    let rules = rules_of(Rule::path("/generate").name("inner").limit("1/second"));
    let settings = || RateLimitLayer::builder(limiter().0, rules.clone()).user(user);
    let service = outer(day()).layer(settings().build().unwrap().layer(always(Response::builder)));
    let passed = service.clone().oneshot(request("/generate")).await.unwrap();
    assert_eq!(header(passed.headers(), "ratelimit"), r#""outer";r=999;t=43200"#, "the outermost tells");
    let denied = service.oneshot(request("/generate")).await.unwrap();
    assert_eq!(header(denied.headers(), "ratelimit"), r#""inner";r=0;t=1"#);
    assert_eq!(header(denied.headers(), "ratelimit-policy"), r#""inner";q=1;w=1"#);
    assert_eq!(header(denied.headers(), "retry-after"), "1", "never earlier than t");
    assert!(!denied.headers().contains_key("x-ratelimit-remaining"));

    let grpc = settings().respond(GrpcStatus).build().unwrap();
    let service = outer(day()).layer(grpc.layer(always(Response::builder)));
    service.clone().oneshot(request("/generate")).await.unwrap();
    let denied = service.oneshot(request("/generate")).await.unwrap();
    assert_eq!(header(denied.headers(), "grpc-status"), "8");
    assert_eq!(header(denied.headers(), "ratelimit"), r#""inner";r=0;t=1"#);
}

#[tokio::test]
async fn what_a_service_says_of_its_own_denial_is_not_contradicted() {
    let builder = |status: u16, names: &'static [(&'static str, &'static str)]| {
        move || {
            names
                .iter()
                .fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value))
        }
    };
    let retry: &[_] = &[("retry-after", "5")];
    for (status, names, tells) in
        [(429, retry, ""), (503, retry, ""), (429, &[("ratelimit", "\"up\";r=0;t=5")], "\"up\";r=0;t=5")]
    {
        let service = outer(day()).layer(always(builder(status, names)));
        let response = service.oneshot(request("/generate")).await.unwrap();
        assert_eq!(header(response.headers(), "ratelimit"), tells, "{status}");
        assert!(!response.headers().contains_key("x-ratelimit-remaining"), "{status}");
    }
    // When the client may ask for a result is another matter; and a denial that says nothing is told of.
    for (status, names, remains) in
        [(202, retry, 999), (429, &[], 1000), (503, &[], 999), (200, &[("ratelimit", "\"up\";r=0;t=5")], 999)]
    {
        let service = outer(day()).layer(always(builder(status, names)));
        let response = service.oneshot(request("/generate")).await.unwrap();
        assert_eq!(remaining(&response), remains, "{status}");
        assert_eq!(told(&response).1, 43_200);
    }
}
