//! A receipt that is out for a refund or settlement while something else happens: rows of the table in the crate's
//! documentation, and what the slot's lock must not lose.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use common::{Later, answer_of, left, limiter, remaining, request, rules, rules_of, user};
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use rebate_core::{Limiter, Shortfall};
use rebate_rules::{Rule, Rules};
use rebate_tower::{Charged, GrpcStatus, GrpcTrailersLayer, Headers, RateLimitLayer, RateLimitLayerBuilder};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

type Kept = Arc<Mutex<Option<Charged>>>;

/// A store that answers so often before it is let.
fn slow(answers: usize, rules: Rules) -> (RateLimitLayerBuilder<Later>, Limiter<Later>) {
    let limiter = Limiter::new(Later::with_answers(answers));
    (RateLimitLayer::builder(limiter.clone(), rules).user(user), limiter)
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets all tasks run as far as they come.
async fn settle_down() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn handed_back(limiter: &Limiter<Later>) -> usize {
    limiter.store().handed_back.load(Ordering::SeqCst)
}

fn three_each() -> Rules {
    rules_of(Rule::path("/generate").limit("10/day").cost(3).refund(["409"]))
}

#[test]
fn readers_do_not_stop_a_refund_and_are_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (limiter, _) = limiter();
    let rules = rules_of(Rule::path("/generate").limit("1000000/day"));
    let layer =
        RateLimitLayer::builder(limiter.clone(), rules.clone()).user(user).refund_on_disconnect(true).build().unwrap();
    let (current, ended) = (Kept::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    let Some(charged) = current.lock().unwrap().clone() else { continue };
                    for _ in 0..20 {
                        assert!(charged.token().unwrap().is_some(), "nobody refunds while the store answers at once");
                        assert_eq!(charged.statuses().len(), 1);
                    }
                }
            });
        }
        runtime.block_on(async {
            for _ in 0..2000 {
                let keeps = Arc::clone(&current);
                let mut future = Box::pin(answer_of(&layer, request("/generate"), move |charged| {
                    *keeps.lock().unwrap() = Some(charged);
                    std::future::pending()
                }));
                assert!(poll(&mut future).is_pending());
                // Gives the readers a moment with this one.
                thread::yield_now();
            }
        });
        ended.store(true, Ordering::SeqCst);
    });
    assert_eq!(runtime.block_on(left(&limiter, &rules)), 1_000_000, "every client that went away got its unit back");
}

#[test]
fn a_task_takes_the_receipt_also_while_the_headers_are_written() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let layer = common::layer(rules_of(Rule::path("/generate").limit("1000000/day")));
    let (send, receive) = std::sync::mpsc::channel::<Charged>();
    let takes = thread::spawn(move || receive.into_iter().filter(|charged| charged.take().is_none()).count());
    runtime.block_on(async {
        for _ in 0..10_000 {
            let send = send.clone();
            answer_of(&layer, request("/generate"), move |charged| {
                send.send(charged).unwrap();
                async { 200 }
            })
            .await;
        }
    });
    drop(send);
    assert_eq!(takes.join().unwrap(), 0);
}

#[tokio::test]
async fn a_response_that_refunds_leaves_its_decision_to_a_task_that_has_the_receipt_out() {
    for settles in [true, false] {
        let (settings, limiter) = slow(1, three_each());
        let layer = settings.build().unwrap();
        let response = answer_of(&layer, request("/generate"), move |charged| async move {
            tokio::spawn(async move {
                if settles {
                    let _settled = charged.settle(2, Shortfall::Refuse).await.unwrap().expect("charged");
                } else {
                    assert_eq!(charged.refund_up_to(1).await.unwrap().expect("charged").given_back(), 1);
                }
                assert_eq!(charged.statuses()[0].remaining(), 10);
            });
            settle_down().await;
            409
        });
        assert_eq!(remaining(&response.await), 7, "what was heard last");
        limiter.store().answers.add_permits(100);
        settle_down().await;
        assert_eq!(left(&limiter, &three_each()).await, 10, "what was decided is carried out");
        assert_eq!(handed_back(&limiter), 0, "by the task, which has the time");
    }
}

#[tokio::test]
async fn a_task_that_has_the_receipt_out_gives_it_back_also_when_it_is_dropped() {
    for whole in [true, false] {
        let (settings, limiter) = slow(1, three_each());
        let layer = settings.build().unwrap();
        let task: Arc<Mutex<Option<tokio::task::JoinHandle<()>>>> = Arc::default();
        let keeps = Arc::clone(&task);
        let response = answer_of(&layer, request("/generate"), move |charged| {
            let keeps = Arc::clone(&keeps);
            async move {
                let task = tokio::spawn(async move {
                    let _told = charged.refund_up_to(if whole { 3 } else { 1 }).await;
                });
                *keeps.lock().unwrap() = Some(task);
                settle_down().await;
                409
            }
        });
        assert_eq!(remaining(&response.await), 7);
        let task = task.lock().unwrap().take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((handed_back(&limiter), left(&limiter, &three_each()).await), (1, 10));
    }
}

#[tokio::test]
async fn a_refund_on_disconnect_reaches_a_task_that_has_the_receipt_out() {
    let (settings, limiter) = slow(1, three_each());
    let layer = settings.refund_on_disconnect(true).build().unwrap();
    {
        let mut future = Box::pin(answer_of(&layer, request("/generate"), |charged| async move {
            tokio::spawn(async move { charged.refund_up_to(1).await });
            std::future::pending().await
        }));
        for _ in 0..20 {
            tokio::task::yield_now().await;
            assert!(poll(&mut future).is_pending());
        }
    }
    limiter.store().answers.add_permits(100);
    settle_down().await;
    assert_eq!(left(&limiter, &three_each()).await, 10);
}

#[tokio::test]
async fn a_refund_by_hand_that_is_dropped_half_way_is_carried_out_with_the_response() {
    for status in [200, 409] {
        let (settings, limiter) = slow(1, rules());
        let layer = settings.build().unwrap();
        let store = limiter.clone();
        let response = answer_of(&layer, request("/generate"), move |charged| {
            let store = store.clone();
            async move {
                {
                    let mut refund = pin!(charged.refund());
                    assert!(refund.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                    assert!(charged.take().is_none() && charged.token().unwrap().is_none(), "somebody is at it");
                    assert!(charged.is_charged() && charged.statuses().len() == 1, "what was heard last is known");
                }
                assert!(charged.is_charged() && charged.token().unwrap().is_some(), "the receipt is there again");
                store.store().answers.add_permits(10);
                status
            }
        });
        assert_eq!(remaining(&response.await), 10);
    }
}

#[tokio::test]
async fn a_refund_by_hand_is_carried_out_when_the_client_goes_away() {
    let (settings, limiter) = slow(1, rules());
    let layer = settings.build().unwrap();
    {
        let mut future = Box::pin(answer_of(&layer, request("/generate"), |charged| async move {
            charged.refund().await.unwrap();
            200
        }));
        for _ in 0..10 {
            assert!(poll(&mut future).is_pending());
        }
    }
    assert_eq!((handed_back(&limiter), left(&limiter, &rules()).await), (1, 10));
}

#[tokio::test]
async fn part_of_a_charge_whose_refund_by_hand_is_dropped_stands_and_a_receipt_may_be_taken_then() {
    let (settings, limiter) = slow(1, three_each());
    let layer = settings.build().unwrap();
    let response = answer_of(&layer, request("/generate"), |charged| async move {
        for total in [1, 3] {
            assert!(poll(&mut Box::pin(charged.refund_up_to(total))).is_pending());
        }
        assert!(charged.take().is_some(), "from here on it is the handler's");
        200
    });
    assert_eq!(remaining(&response.await), 7);
    assert_eq!((handed_back(&limiter), left(&limiter, &three_each()).await), (0, 7));
    limiter.store().answers.add_permits(1);
    let response = answer_of(&layer, request("/generate"), |charged| async move {
        assert!(poll(&mut Box::pin(charged.refund_up_to(1))).is_pending());
        200
    });
    assert_eq!(remaining(&response.await), 4);
    assert_eq!(limiter.store().asked.load(Ordering::SeqCst), 2 + 3, "nothing was asked for by itself");
}

#[tokio::test]
async fn a_settlement_that_is_dropped_half_way_is_settled_again() {
    let (settings, limiter) = slow(1, rules());
    let layer = settings.build().unwrap();
    let store = limiter.clone();
    let response = answer_of(&layer, request("/generate"), move |charged| {
        let store = store.clone();
        async move {
            assert!(poll(&mut Box::pin(charged.settle(4, Shortfall::Refuse))).is_pending());
            store.store().answers.add_permits(10);
            let _settled = charged.settle(4, Shortfall::Refuse).await.unwrap().expect("the receipt is there again");
            409
        }
    });
    assert_eq!(remaining(&response.await), 10);
}

#[tokio::test]
async fn trailers_that_give_back_do_so_also_when_the_client_goes_away() {
    let rules = rules_of(Rule::path("/generate").limit("10/day").refund_grpc(["ABORTED"]));
    let (settings, limiter) = slow(1, rules.clone());
    let layer = settings.respond(GrpcStatus).build().unwrap();
    let service =
        ServiceBuilder::new().layer(layer).layer(GrpcTrailersLayer).service(service_fn(|_: Request<String>| async {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", 10.into());
            let body = Full::new(bytes::Bytes::from_static(b"data")).with_trailers(async { Some(Ok(trailers)) });
            Ok::<_, &str>(Response::new(tonic::body::Body::new(body.map_err(|never| match never {}))))
        }));
    let mut body = Box::pin(service.oneshot(request("/generate")).await.unwrap().into_body());
    assert!(body.frame().await.unwrap().unwrap().is_data());
    for _ in 0..5 {
        assert!(body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(limiter.store().asked.load(Ordering::SeqCst), 2, "the refund is under way");
    drop(body);
    assert_eq!((handed_back(&limiter), left(&limiter, &rules).await), (1, 10));
}

#[tokio::test]
async fn a_response_waits_for_nobody_else() {
    // A handler parks a refund by hand that nobody polls again; a task settles in a store that does not answer.
    for (parks, fails) in [(true, false), (false, false), (true, true), (false, true)] {
        let (settings, limiter) = slow(1, rules());
        let layer = settings.headers(Headers::draft_11()).build().unwrap();
        let parked: Arc<Mutex<Vec<_>>> = Arc::default();
        let keeps = Arc::clone(&parked);
        let service = layer.layer(service_fn(move |request: Request<String>| {
            let (charged, keeps) = (Charged::of(request.extensions()), Arc::clone(&keeps));
            async move {
                let mut refund = Box::pin(async move {
                    if parks {
                        drop(charged.refund().await);
                    } else {
                        drop(charged.settle(2, Shortfall::Refuse).await);
                    }
                });
                assert!(poll(&mut refund).is_pending());
                keeps.lock().unwrap().push(refund);
                if fails { Err("broken") } else { Ok(Response::new(Vec::<u8>::new())) }
            }
        }));
        let mut future = Box::pin(service.oneshot(request("/generate")));
        let mut answered = None;
        for _ in 0..20 {
            tokio::task::yield_now().await;
            if let Poll::Ready(answer) = poll(&mut future) {
                answered = Some(answer);
                break;
            }
        }
        match answered.expect("the response does not wait") {
            Ok(response) => assert_eq!(remaining(&response), 9, "what was heard last"),
            Err(error) => assert_eq!(error, "broken"),
        }
        drop(parked.lock().unwrap().pop());
        // The handler asked for the refund; a settlement is not the layer's to make.
        assert_eq!(left(&limiter, &rules()).await, if parks { 10 } else { 9 });
    }
}

#[tokio::test]
async fn two_clones_that_refund_at_once_wait_for_one_another() {
    let (settings, limiter) = slow(1, rules());
    let layer = settings.build().unwrap();
    let store = limiter.clone();
    let response = answer_of(&layer, request("/generate"), move |charged| {
        let store = store.clone();
        async move {
            let refunds: Vec<_> = (0..3)
                .map(|_| {
                    let charged = charged.clone();
                    tokio::spawn(async move { charged.refund().await.unwrap().expect("charged").given_back() })
                })
                .collect();
            settle_down().await;
            assert_eq!(store.store().asked.load(Ordering::SeqCst), 2, "one at a time");
            store.store().answers.add_permits(10);
            let mut given_back = 0;
            for refund in refunds {
                given_back += refund.await.unwrap();
            }
            assert_eq!(given_back, 1, "once");
            200
        }
    });
    assert_eq!(remaining(&response.await), 10);
}
