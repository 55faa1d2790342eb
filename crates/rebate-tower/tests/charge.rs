//! What is charged, what is refused, and what each response says.

mod common;

use common::{answer, header, layer, request, rules, told};
use http::StatusCode;

#[tokio::test]
async fn every_response_of_a_charged_path_says_what_is_left() {
    let layer = layer(rules());
    for remaining in (0..10).rev() {
        let response = answer(&layer, request("/generate"), 200).await;
        assert_eq!(told(&response), (remaining, 43_200));
        assert_eq!(header(response.headers(), "ratelimit-policy"), r#""/generate";q=10;w=86400"#);
    }
    let response = answer(&layer, request("/generate"), 200).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(told(&response), (0, 43_200));
    assert_eq!(header(response.headers(), "retry-after"), "43200");
}

#[tokio::test]
async fn a_status_that_refunds_gives_back_before_the_headers_are_written() {
    let layer = layer(rules());
    for _ in 0..20 {
        let response = answer(&layer, request("/generate"), 409).await;
        assert_eq!((response.status(), told(&response)), (StatusCode::CONFLICT, (10, 43_200)));
    }
    let response = answer(&layer, request("/generate"), 404).await;
    assert_eq!(told(&response), (9, 43_200), "another status does not");
}
