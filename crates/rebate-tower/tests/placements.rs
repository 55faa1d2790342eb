//! Where in an axum router the layer is: rules see the path that the client asked for.
#![cfg(feature = "axum")]

mod common;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::{MethodRouter, post};
use common::{Store, limiter, rules_of};
use rebate_rules::Rule;
use rebate_tower::{RateLimitLayer, RateLimitLayerBuilder};
use tower::{Layer, ServiceExt};

fn builder() -> RateLimitLayerBuilder<Store> {
    RateLimitLayer::builder(limiter().0, rules_of(Rule::path("/api/v1/generate").limit("1/day").key("fixed:all")))
}

fn layer() -> RateLimitLayer<Store> {
    builder().build().unwrap()
}

fn handler() -> MethodRouter {
    post(|| async { "done" })
}

/// What two requests are answered, and whether headers told of the first's limit.
async fn twice(router: Router) -> (StatusCode, bool, StatusCode) {
    let request = || Request::post("/api/v1/generate").body(Body::empty()).unwrap();
    let first = router.clone().oneshot(request()).await.unwrap();
    let second = router.oneshot(request()).await.unwrap();
    (first.status(), first.headers().contains_key("ratelimit"), second.status())
}

#[tokio::test]
async fn a_rule_holds_wherever_in_the_router_the_layer_is() {
    let v1 = |router: Router| Router::new().nest("/v1", router);
    let api = |router: Router| Router::new().nest("/api", router);
    let route = || Router::new().route("/generate", handler());
    let service = |service: Router| Router::new().nest_service("/api", service);
    for (placement, router) in [
        ("outside", api(v1(route())).layer(layer())),
        ("between", api(v1(route()).layer(layer()))),
        ("inside", api(v1(route().layer(layer())))),
        ("inside, of routes", api(v1(route().route_layer(layer())))),
        ("of a method", api(v1(Router::new().route("/generate", handler().layer(layer()))))),
        ("around a nested service", Router::new().nest_service("/api", layer().layer(v1(route())))),
        ("inside a nested service", service(v1(route()).layer(layer()))),
        ("around all", Router::new().fallback_service(layer().layer(api(v1(route()))))),
    ] {
        assert_eq!(twice(router).await, (StatusCode::OK, true, StatusCode::TOO_MANY_REQUESTS), "{placement}");
    }
}

#[tokio::test]
async fn a_setting_says_which_path_it_is() {
    let layer = builder().path(|request| request.uri.path()).build().unwrap();
    let inside = Router::new().nest("/api/v1", Router::new().route("/generate", handler()).layer(layer));
    assert_eq!(twice(inside).await, (StatusCode::OK, false, StatusCode::OK), "as the layer gets it: not limited");
}
