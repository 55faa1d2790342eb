//! Who decides about a charge, in each order of handler, layer, drop and panic: a test for each row of the table in the
//! crate's documentation, over a store that answers at once and over one that does not.

mod common;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use common::{Later, answer, answer_of, later, layer, left, limiter, remaining, request, rules, user};
use http::{Request, Response};
use rebate_core::{Limiter, Receipt, Shortfall, Store};
use rebate_rules::{Rule, Rules};
use rebate_tower::{Charged, RateLimitLayer, RateLimitLayerBuilder};
use tower::{Layer, Service, ServiceExt, service_fn};

type Settings<S> = RateLimitLayerBuilder<S>;

/// A row, run over both kinds of store.
macro_rules! row {
    ($name:ident, |$layer:ident, $limiter:ident| $body:block) => {
        row!($name, |settings| settings, |$layer, $limiter| $body);
    };
    ($name:ident, |$settings:ident| $set:expr, |$layer:ident, $limiter:ident| $body:block) => {
        #[tokio::test]
        async fn $name() {
            async fn check<S: Store>($layer: RateLimitLayer<S>, $limiter: Limiter<S>) $body
            fn set<S: Store>($settings: Settings<S>) -> Settings<S> { $set }
            let (at_once, _) = limiter();
            check(set(RateLimitLayer::builder(at_once.clone(), rules()).user(user)).build().unwrap(), at_once).await;
            let (settings, limiter) = later(rules());
            check(set(settings).build().unwrap(), limiter).await;
        }
    };
}

row!(left_alone_a_status_that_refunds_gives_back, |layer, limiter| {
    assert_eq!(remaining(&answer(&layer, request("/generate"), 409).await), 10);
    assert_eq!(left(&limiter, &rules()).await, 10);
});

row!(left_alone_another_status_does_not, |layer, limiter| {
    assert_eq!(remaining(&answer(&layer, request("/generate"), 500).await), 9);
    assert_eq!(left(&limiter, &rules()).await, 9);
});

row!(refunded_by_hand_whatever_the_response, |layer, limiter| {
    for status in [200, 409] {
        let response = answer_of(&layer, request("/generate"), move |charged| async move {
            assert!(charged.is_charged());
            assert_eq!(charged.refund().await.unwrap().unwrap().given_back(), 1);
            assert!(!charged.is_charged(), "nothing is left to decide about");
            assert_eq!(charged.refund().await.unwrap().unwrap().given_back(), 0, "once");
            status
        });
        assert_eq!(remaining(&response.await), 10, "the headers say so at once");
        assert_eq!(left(&limiter, &rules()).await, 10);
    }
});

row!(taken_the_receipt_is_the_handlers, |layer, limiter| {
    let taken: Arc<Mutex<Option<Receipt>>> = Arc::default();
    let keeps = Arc::clone(&taken);
    let response = answer_of(&layer, request("/generate"), move |charged| {
        *keeps.lock().unwrap() = charged.take();
        assert!(charged.take().is_none() && !charged.is_charged());
        async { 409 }
    });
    assert_eq!(remaining(&response.await), 9, "not refunded behind its back");
    let mut receipt = taken.lock().unwrap().take().expect("taken");
    assert_eq!(limiter.refund(&mut receipt).await.unwrap().given_back(), 1, "and still good");
});

row!(kept_only_the_handle_decides, |layer, limiter| {
    let kept: Arc<Mutex<Option<Charged>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    let response = answer_of(&layer, request("/generate"), move |charged| {
        charged.keep();
        *keeps.lock().unwrap() = Some(charged);
        async { 409 }
    });
    assert_eq!(remaining(&response.await), 9);
    let charged = kept.lock().unwrap().take().unwrap();
    assert_eq!(charged.refund().await.unwrap().unwrap().given_back(), 1, "later, by hand");
    assert_eq!(left(&limiter, &rules()).await, 10);
});

row!(settled_up_a_refund_gives_back_all, |layer, limiter| {
    let response = answer_of(&layer, request("/generate"), |charged| async move {
        let settled = charged.settle(4, Shortfall::Refuse).await.unwrap().unwrap().settled().unwrap();
        assert_eq!(settled.parts[0].topped_up, 3);
        assert_eq!(charged.statuses()[0].remaining(), 6);
        409
    });
    assert_eq!(remaining(&response.await), 10);
    assert_eq!(left(&limiter, &rules()).await, 10);
});

row!(settled_the_headers_say_what_it_cost, |layer, limiter| {
    let response = answer_of(&layer, request("/generate"), |charged| async move {
        let _settled = charged.settle(4, Shortfall::Refuse).await.unwrap().unwrap();
        200
    });
    assert_eq!(remaining(&response.await), 6);
    // One that does not fit changes nothing, and is answered.
    let response = answer_of(&layer, request("/generate"), |charged| async move {
        assert!(charged.settle(100, Shortfall::Refuse).await.unwrap().unwrap().settled().is_none());
        200
    });
    assert_eq!(remaining(&response.await), 5);
    assert_eq!(left(&limiter, &rules()).await, 5);
});

#[tokio::test]
async fn each_of_several_limits_is_told_as_it_is_after_a_settlement_and_a_refund() {
    let layer = layer(rules_of_two());
    let told = async |status, cost| {
        let response = answer_of(&layer, request("/generate"), move |charged| async move {
            let _answer = charged.settle(cost, Shortfall::Refuse).await.unwrap().unwrap();
            status
        });
        common::header(response.await.headers(), "ratelimit").to_owned()
    };
    assert_eq!(told(200, 2).await, r#""bucket";r=1;t=2, "day";r=8;t=43200"#, "one of the bucket's topped up");
    assert_eq!(told(200, 4).await, r#""bucket";r=0;t=3, "day";r=6;t=43200"#, "refused: as it was charged");
    let layer = common::layer(rules_of_two());
    let response = answer(&layer, request("/generate"), 409).await;
    assert_eq!(common::header(response.headers(), "ratelimit"), r#""bucket";r=3;t=0, "day";r=10;t=43200"#);
}

fn rules_of_two() -> Rules {
    Rules::builder()
        .shared_limit("bucket", "1/second burst 3")
        .shared_limit("day", "10/day")
        .rule(Rule::path("/generate").charge("bucket").charge_cost("day", 2).refund(["409"]))
        .build()
        .unwrap()
}

row!(a_task_that_outlives_the_request_refunds_once_more_at_most, |layer, limiter| {
    for (status, given_back) in [(200, 1), (409, 0)] {
        let kept: Arc<Mutex<Option<Charged>>> = Arc::default();
        let keeps = Arc::clone(&kept);
        answer_of(&layer, request("/generate"), move |charged| {
            *keeps.lock().unwrap() = Some(charged);
            async move { status }
        })
        .await;
        let charged = kept.lock().unwrap().take().unwrap();
        assert_eq!(charged.refund().await.unwrap().unwrap().given_back(), given_back, "after a {status}");
        assert_eq!(left(&limiter, &rules()).await, 10);
    }
});

row!(a_token_stored_with_a_task_is_refunded_by_whoever_reads_it, |layer, limiter| {
    let stored: Arc<Mutex<Option<String>>> = Arc::default();
    let keeps = Arc::clone(&stored);
    answer_of(&layer, request("/generate"), move |charged| {
        *keeps.lock().unwrap() = charged.token().unwrap();
        async { 202 }
    })
    .await;
    let token = stored.lock().unwrap().take().expect("a token");
    let mut receipt = limiter.receipt(&token).unwrap();
    assert_eq!(limiter.refund(&mut receipt).await.unwrap().given_back(), 1);
});

/// A service that ends without a response.
async fn ends<S: Store>(layer: &RateLimitLayer<S>, handler: impl Fn(Charged) + Clone) {
    let service = layer.layer(service_fn(move |request: Request<String>| {
        handler(Charged::of(request.extensions()));
        async { Err::<Response<Vec<u8>>, _>("broken") }
    }));
    assert_eq!(service.oneshot(request("/generate")).await.unwrap_err(), "broken", "the error goes on");
}

row!(an_error_of_the_service_keeps_the_charge, |layer, limiter| {
    ends(&layer, |_| {}).await;
    assert_eq!(left(&limiter, &rules()).await, 9);
});

row!(an_error_of_the_service_gives_back_when_set, |settings| settings.refund_on_error(true), |layer, limiter| {
    ends(&layer, |_| {}).await;
    assert_eq!(left(&limiter, &rules()).await, 10);
    ends(&layer, |charged| drop(charged.take())).await;
    assert_eq!(left(&limiter, &rules()).await, 9, "unless it was taken");
    ends(&layer, |charged| charged.keep()).await;
    assert_eq!(left(&limiter, &rules()).await, 8, "or kept");
});

row!(a_5xx_gives_back_when_set, |settings| settings.refund_on_5xx(true), |layer, limiter| {
    assert_eq!(remaining(&answer(&layer, request("/generate"), 503).await), 10);
    assert_eq!(remaining(&answer(&layer, request("/generate"), 404).await), 9);
    assert_eq!(left(&limiter, &rules()).await, 9);
});

row!(
    a_predicate_on_the_response_gives_back,
    |settings| settings.refund_when(|response| response.status.as_u16() == 404),
    |layer, limiter| {
        assert_eq!(remaining(&answer(&layer, request("/generate"), 404).await), 10);
        assert_eq!(remaining(&answer(&layer, request("/generate"), 200).await), 9);
        assert_eq!(left(&limiter, &rules()).await, 9);
    }
);

/// A service that panics when it is called, or when its future is polled.
async fn panics<S: Store>(layer: &RateLimitLayer<S>, at_once: bool, handler: impl Fn(Charged) + Clone) {
    let service = layer.layer(service_fn(move |request: Request<String>| {
        handler(Charged::of(request.extensions()));
        if at_once {
            std::panic::panic_any("called");
        }
        async { std::panic::panic_any("polled") as Result<Response<Vec<u8>>, &str> }
    }));
    // Dropped by whoever catches it, as a server's task is.
    let mut future = Box::pin(service.oneshot(request("/generate")));
    let mut caught = None;
    let whole = std::future::poll_fn(|context| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(_)) => panic!("no response was expected"),
            Err(panic) => {
                caught = panic.downcast_ref::<&str>().copied();
                Poll::Ready(())
            }
        }
    });
    whole.await;
    assert_eq!(caught, Some(if at_once { "called" } else { "polled" }));
    drop(future);
}

row!(a_panic_keeps_the_charge, |layer, limiter| {
    panics(&layer, true, |_| {}).await;
    panics(&layer, false, |_| {}).await;
    assert_eq!(left(&limiter, &rules()).await, 8);
});

row!(a_panic_gives_back_when_set, |settings| settings.refund_on_panic(true), |layer, limiter| {
    panics(&layer, true, |_| {}).await;
    panics(&layer, false, |_| {}).await;
    assert_eq!(left(&limiter, &rules()).await, 10);
    panics(&layer, false, |charged| drop(charged.take())).await;
    assert_eq!(left(&limiter, &rules()).await, 9, "unless it was taken");
    panics(&layer, false, |charged| charged.keep()).await;
    assert_eq!(left(&limiter, &rules()).await, 8, "or kept");
});

row!(
    no_other_setting_gives_back_for_a_panic,
    |settings| settings.refund_on_disconnect(true).refund_on_error(true).refund_on_5xx(true),
    |layer, limiter| {
        panics(&layer, false, |_| {}).await;
        assert_eq!(left(&limiter, &rules()).await, 9);
    }
);

/// A layer inside that answers a panic with a 500.
async fn catches<S: Store>(layer: &RateLimitLayer<S>) -> Response<Vec<u8>> {
    let service = layer.layer(service_fn(|_: Request<String>| async {
        let panics = async { std::panic::panic_any("caught") as Response<Vec<u8>> };
        let mut panics = pin!(panics);
        let poll = |context: &mut Context<'_>| match std::panic::catch_unwind(AssertUnwindSafe(|| {
            panics.as_mut().poll(context)
        })) {
            Ok(poll) => poll,
            Err(_) => Poll::Ready(Response::builder().status(500).body(Vec::new()).unwrap()),
        };
        Ok::<_, &str>(std::future::poll_fn(poll).await)
    }));
    service.oneshot(request("/generate")).await.unwrap()
}

row!(a_panic_caught_inside_is_the_response_it_makes, |settings| settings.refund_on_panic(true), |layer, limiter| {
    assert_eq!(remaining(&catches(&layer).await), 9, "no panic reached this layer");
    assert_eq!(left(&limiter, &rules()).await, 9);
});

row!(a_panic_caught_inside_gives_back_as_a_5xx, |settings| settings.refund_on_5xx(true), |layer, limiter| {
    assert_eq!(remaining(&catches(&layer).await), 10);
    assert_eq!(left(&limiter, &rules()).await, 10);
});

/// A request whose response the predicate panics over.
async fn predicate_panics<S: Store>(layer: &RateLimitLayer<S>) {
    let mut future = Box::pin(answer(layer, request("/generate"), 200));
    let whole = std::future::poll_fn(|context| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(_)) => panic!("no response was expected"),
            Err(_) => Poll::Ready(()),
        }
    });
    whole.await;
}

row!(
    a_predicate_that_panics_is_a_panic,
    |settings| settings.refund_on_panic(true).refund_when(|_| std::panic::panic_any("predicate")),
    |layer, limiter| {
        predicate_panics(&layer).await;
        assert_eq!(left(&limiter, &rules()).await, 10);
    }
);

row!(
    a_predicate_that_panics_is_no_client_gone,
    |settings| settings.refund_on_disconnect(true).refund_when(|_| std::panic::panic_any("predicate")),
    |layer, limiter| {
        predicate_panics(&layer).await;
        assert_eq!(left(&limiter, &rules()).await, 9);
    }
);

/// A client that goes away while the handler works.
async fn goes_away<S: Store>(layer: &RateLimitLayer<S>, handler: impl Fn(Charged) + Clone) {
    let service = layer.layer(service_fn(move |request: Request<String>| {
        handler(Charged::of(request.extensions()));
        std::future::pending::<Result<Response<Vec<u8>>, &str>>()
    }));
    let mut future = Box::pin(service.oneshot(request("/generate")));
    for _ in 0..10 {
        tokio::task::yield_now().await;
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
}

row!(a_client_that_goes_away_is_charged, |layer, limiter| {
    goes_away(&layer, |_| {}).await;
    assert_eq!(left(&limiter, &rules()).await, 9);
});

row!(a_client_that_goes_away_gets_back_when_set, |settings| settings.refund_on_disconnect(true), |layer, limiter| {
    goes_away(&layer, |_| {}).await;
    assert_eq!(left(&limiter, &rules()).await, 10);
    goes_away(&layer, |charged| drop(charged.take())).await;
    assert_eq!(left(&limiter, &rules()).await, 9, "unless it was taken");
    goes_away(&layer, |charged| charged.keep()).await;
    assert_eq!(left(&limiter, &rules()).await, 8, "or kept");
});

row!(a_task_that_is_aborted_is_a_client_gone, |settings| settings.refund_on_disconnect(true), |layer, limiter| {
    let begun = Arc::new(tokio::sync::Notify::new());
    let begins = Arc::clone(&begun);
    let task = tokio::spawn(async move {
        let handler = |_| {
            begins.notify_one();
            std::future::pending()
        };
        answer_of(&layer, request("/generate"), handler).await
    });
    begun.notified().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(left(&limiter, &rules()).await, 10, "as a timeout outside this layer would be");
});

row!(
    no_other_setting_gives_back_for_a_client_that_goes_away,
    |settings| settings.refund_on_panic(true).refund_on_error(true).refund_on_5xx(true),
    |layer, limiter| {
        goes_away(&layer, |_| {}).await;
        assert_eq!(left(&limiter, &rules()).await, 9);
    }
);

row!(
    a_client_that_goes_away_after_the_response_is_charged,
    |settings| settings.refund_on_disconnect(true),
    |layer, limiter| {
        drop(answer(&layer, request("/generate"), 200).await);
        assert_eq!(left(&limiter, &rules()).await, 9);
    }
);

#[tokio::test]
async fn a_client_that_goes_away_while_the_charge_is_awaited_never_reaches_the_service() {
    let limiter = Limiter::new(Later::with_answers(0));
    let layer = RateLimitLayer::builder(limiter.clone(), rules()).user(user).build().unwrap();
    let mut service = layer.layer(service_fn(|_: Request<String>| async {
        std::panic::panic_any("not charged") as Result<Response<Vec<u8>>, &str>
    }));
    let mut future = Box::pin(service.call(request("/generate")));
    for _ in 0..3 {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(future);
    assert_eq!(limiter.store().asked.load(Ordering::SeqCst), 1);
    limiter.store().answers.add_permits(10);
    assert_eq!(left(&limiter, &rules()).await, 10, "the charge was dropped with it: the rest is the store's");
}

#[tokio::test]
async fn a_client_that_goes_away_while_the_layer_refunds_does_not_stop_it() {
    let limiter = Limiter::new(Later::with_answers(1));
    let layer = RateLimitLayer::builder(limiter.clone(), rules()).user(user).build().unwrap();
    {
        let mut future = pin!(answer(&layer, request("/generate"), 409));
        for _ in 0..10 {
            assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(limiter.store().asked.load(Ordering::SeqCst), 2, "the refund is under way");
    }
    assert_eq!(limiter.store().handed_back.load(Ordering::SeqCst), 1);
    assert_eq!(left(&limiter, &rules()).await, 10);
}

#[tokio::test]
async fn a_refund_that_fails_changes_nothing_in_the_response() {
    let (settings, limiter) = later(rules());
    let layer = settings.build().unwrap();
    let store = limiter.clone();
    let response = answer_of(&layer, request("/generate"), move |_| {
        store.store().go_away();
        async { 409 }
    });
    let response = response.await;
    assert_eq!((response.status().as_u16(), remaining(&response)), (409, 9), "what was known last");
}

#[tokio::test]
async fn a_request_that_passed_unchecked_has_nothing_to_give_back() {
    let (settings, limiter) = later(rules());
    let layer = settings.refund_on_disconnect(true).build().unwrap();
    limiter.store().go_away();
    let response = answer_of(&layer, request("/generate"), |charged| async move {
        assert!(!charged.is_charged() && charged.statuses().is_empty() && charged.take().is_none());
        assert!(charged.refund().await.unwrap().is_none());
        409
    });
    let response = response.await;
    assert_eq!(response.status(), 409);
    assert!(response.headers().is_empty(), "nothing is known");
    goes_away(&layer, |_| {}).await;
    assert_eq!(limiter.store().asked.load(Ordering::SeqCst), 2, "no refund was asked for");
    assert_eq!(limiter.store().handed_back.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_second_attempt_inside_finds_the_charge_given_back() {
    let (limiter, _) = limiter();
    let layer = RateLimitLayer::builder(limiter.clone(), rules()).user(user).build().unwrap();
    let response = answer_of(&layer, request("/generate"), |charged| async move {
        // The first attempt finds no room; a layer that retries calls the handler again, with the same handle.
        charged.refund().await.unwrap();
        assert!(!charged.is_charged(), "by which the second knows");
        200
    });
    assert_eq!(remaining(&response.await), 10, "it is not charged again");
}

#[tokio::test]
async fn a_replay_is_never_refunded_by_itself() {
    let (settings, limiter) = later(rules());
    let layer = settings.refund_on_error(true).refund_on_panic(true).refund_on_disconnect(true).build().unwrap();
    limiter.store().replays.store(true, Ordering::SeqCst);
    assert_eq!(remaining(&answer(&layer, request("/generate"), 409).await), 9);
    ends(&layer, |_| {}).await;
    panics(&layer, false, |_| {}).await;
    goes_away(&layer, |_| {}).await;
    assert_eq!(left(&limiter, &rules()).await, 6);
    assert_eq!(limiter.store().handed_back.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn of_two_layers_the_handle_is_the_inner_ones() {
    let (outer, inner) = (layer(rules()), layer(rules()));
    let service = outer.layer(inner.layer(service_fn(|request: Request<String>| async move {
        let charged = Charged::of(request.extensions());
        assert_eq!(charged.refund().await.unwrap().unwrap().given_back(), 1);
        Ok::<_, &str>(Response::new(Vec::new()))
    })));
    let response = service.oneshot(request("/generate")).await.unwrap();
    assert_eq!(remaining(&response), 9, "the outer one's charge stands, and its headers are the last written");
}

#[tokio::test]
async fn a_request_that_was_not_charged_has_a_handle_of_nothing() {
    let layer = layer(rules());
    let response = answer_of(&layer, request("/elsewhere"), |charged| async move {
        assert!(!charged.is_charged() && charged.statuses().is_empty());
        assert!(charged.take().is_none() && charged.token().unwrap().is_none());
        assert!(charged.refund().await.unwrap().is_none());
        assert!(charged.settle(3, Shortfall::Refuse).await.unwrap().is_none());
        charged.keep();
        200
    });
    assert!(response.await.headers().is_empty());
}
