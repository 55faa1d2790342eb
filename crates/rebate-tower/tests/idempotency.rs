//! Requests that are billed once, over a store that answers at once and over one that does not: who is charged, who is
//! answered what, and that nothing gives a replay back.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{User, answer, answer_of, header, later, left, limiter, remaining, request, rules, rules_of, user};
use http::{HeaderValue, Method, Request, Response};
use rebate_core::{ChargeRequest, Decision, Idempotency, Item, Limiter, Store};
use rebate_rules::{Rule, Rules};
use rebate_tower::{Charged, GrpcStatus, IdempotencyKey, IdempotencyKeys, RateLimitLayer, RateLimitLayerBuilder};
use serde_json::Value;
use tower::{Layer, ServiceExt, service_fn};

/// A test of a layer with these settings, over both kinds of store.
macro_rules! both {
    ($name:ident, $rules:expr, |$settings:ident| $set:expr, |$layer:ident, $limiter:ident| $body:block) => {
        #[tokio::test]
        async fn $name() {
            async fn check<S: Store>($layer: RateLimitLayer<S>, $limiter: Limiter<S>) $body
            fn set<S: Store>($settings: RateLimitLayerBuilder<S>) -> RateLimitLayerBuilder<S> { $set }
            let (at_once, _) = limiter();
            let settings = RateLimitLayer::builder(at_once.clone(), $rules).user(user);
            check(set(settings).build().unwrap(), at_once).await;
            let (settings, limiter) = later($rules);
            check(set(settings).build().unwrap(), limiter).await;
        }
    };
}

fn keyed(path: &str, key: &str) -> Request<String> {
    let mut request = request(path);
    request.headers_mut().insert("idempotency-key", HeaderValue::from_str(key).unwrap());
    request
}

/// Of a problem the status and code.
fn problem(response: &Response<Vec<u8>>) -> (u16, String) {
    assert_eq!(header(response.headers(), "content-type"), "application/problem+json");
    let problem: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(problem["status"], response.status().as_u16());
    assert!(!problem["detail"].as_str().unwrap().is_empty());
    (response.status().as_u16(), problem["code"].as_str().unwrap().to_owned())
}

fn replayed() -> (u16, String) {
    (409, "IDEMPOTENCY_KEY_REPLAYED".to_owned())
}

/// What each request that reached the service learnt of its key: `first` or `replay`, by the key and by the handle.
async fn learns<S: Store>(
    layer: &RateLimitLayer<S>,
    request: Request<String>,
    status: u16,
) -> (Response<Vec<u8>>, String) {
    let learnt: Arc<Mutex<String>> = Arc::default();
    let learns = Arc::clone(&learnt);
    let service = layer.layer(service_fn(move |request: Request<String>| {
        let said = match IdempotencyKey::of(request.extensions()) {
            Some(key) => {
                assert_eq!(key.is_replay(), Charged::of(request.extensions()).is_replay());
                format!("{} {}", key.key(), if key.is_replay() { "replay" } else { "first" })
            }
            None => "no key".to_owned(),
        };
        *learns.lock().unwrap() = said;
        async move { Ok::<_, &str>(Response::builder().status(status).body(Vec::new()).unwrap()) }
    }));
    let response = service.oneshot(request).await.unwrap();
    let learnt = learnt.lock().unwrap().clone();
    (response, learnt)
}

both!(
    a_key_is_billed_once_and_its_replay_is_answered,
    rules(),
    |s| s.idempotency_keys(IdempotencyKeys::new()),
    |layer, limiter| {
        let (first, learnt) = learns(&layer, keyed("/generate", "one"), 200).await;
        assert_eq!((first.status().as_u16(), remaining(&first), &*learnt), (200, 9, "one first"));
        // Quoted it is the same key.
        for key in ["one", "\"one\""] {
            let (replay, learnt) = learns(&layer, keyed("/generate", key), 200).await;
            assert_eq!(
                (problem(&replay), remaining(&replay), &*learnt),
                (replayed(), 9, ""),
                "the service is not called"
            );
        }
        let (_, learnt) = learns(&layer, keyed("/generate", "two"), 200).await;
        assert_eq!(learnt, "two first");
        let (_, learnt) = learns(&layer, request("/generate"), 200).await;
        assert_eq!(learnt, "no key");
        assert_eq!(left(&limiter, &rules()).await, 7);
    }
);

both!(without_the_setting_the_header_is_not_looked_at, rules(), |s| s, |layer, limiter| {
    for key in ["one", "one", "a, b"] {
        let (response, learnt) = learns(&layer, keyed("/generate", key), 200).await;
        assert_eq!((response.status().as_u16(), &*learnt), (200, "no key"));
    }
    assert_eq!(left(&limiter, &rules()).await, 7);
});

both!(
    two_at_once_are_billed_once_and_both_learn_it,
    rules(),
    |s| s.idempotency_keys(IdempotencyKeys::new()),
    |layer, limiter| {
        let racing = [(); 8].map(|()| learns(&layer, keyed("/generate", "one"), 200));
        let answers = join(racing).await;
        let first: Vec<_> = answers.iter().filter(|(response, _)| response.status() == 200).collect();
        assert_eq!((first.len(), &*first[0].1), (1, "one first"));
        assert_eq!(
            answers.iter().filter(|(response, _)| response.status() == 409 && problem(response) == replayed()).count(),
            7
        );
        assert_eq!(left(&limiter, &rules()).await, 9);
    }
);

/// All of these, polled in turn.
async fn join<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        let mut all = true;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(ready) => *output = Some(ready),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if !all {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(futures.iter_mut().filter_map(|(_, output)| output.take()).collect())
    })
    .await
}

fn passing<S: Store>(settings: RateLimitLayerBuilder<S>) -> RateLimitLayerBuilder<S> {
    settings.idempotency_keys(IdempotencyKeys::new().pass_replays(["/generate"]))
}

both!(replays_that_pass_tell_the_service, rules(), |s| passing(s), |layer, limiter| {
    assert_eq!(learns(&layer, keyed("/generate", "one"), 200).await.1, "one first");
    let (replay, learnt) = learns(&layer, keyed("/generate", "one"), 202).await;
    assert_eq!((replay.status().as_u16(), remaining(&replay), &*learnt), (202, 9, "one replay"));
    assert_eq!(left(&limiter, &rules()).await, 9);
});

both!(
    nothing_by_itself_gives_a_replay_back,
    rules(),
    |s| passing(s)
        .refund_on_5xx(true)
        .refund_on_error(true)
        .refund_on_panic(true)
        .refund_on_disconnect(true)
        .refund_when(|_| true),
    |layer, limiter| {
        // Not all that it took, or the response gave it back.
        answer_of(&layer, keyed("/generate", "one"), |charged| async move {
            charged.keep();
            200
        })
        .await;
        for status in [409, 500, 200] {
            let response = answer(&layer, keyed("/generate", "one"), status).await;
            assert_eq!((response.status().as_u16(), remaining(&response)), (status, 9));
        }
        let fails = layer.layer(service_fn(|_: Request<String>| async { Err::<Response<Vec<u8>>, _>("broken") }));
        fails.oneshot(keyed("/generate", "one")).await.unwrap_err();
        let panics = layer.layer(service_fn(|_: Request<String>| async { panic!("broken") }));
        let panics: tokio::task::JoinHandle<Result<Response<Vec<u8>>, &str>> =
            tokio::spawn(async { panics_with(panics).await });
        assert!(panics.await.unwrap_err().is_panic());
        {
            let mut gone = Box::pin(answer_of(&layer, keyed("/generate", "one"), |_| std::future::pending()));
            for _ in 0..10 {
                tokio::select! { biased; _ = &mut gone => panic!("no answer was expected"), () = tokio::task::yield_now() => {} }
            }
        }
        assert_eq!(left(&limiter, &rules()).await, 9);
        assert_eq!(learns(&layer, keyed("/generate", "one"), 200).await.1, "one replay", "nor was the key freed");
    }
);

async fn panics_with<T: tower::Service<Request<String>>>(service: T) -> Result<T::Response, T::Error> {
    service.oneshot(keyed("/generate", "one")).await
}

both!(
    the_layers_own_409_gives_nothing_back,
    rules(),
    |s| s.idempotency_keys(IdempotencyKeys::new()),
    |layer, limiter| {
        // The rule gives back on a 409, and the first request may yet be given back by its own.
        let answers = Mutex::new(Vec::new());
        let response = answer_of(&layer, keyed("/generate", "one"), |_| async {
            let replay = answer(&layer, keyed("/generate", "one"), 200).await;
            let left = left(&limiter, &rules()).await;
            answers.lock().unwrap().push((problem(&replay), remaining(&replay), left));
            200
        });
        assert_eq!(remaining(&response.await), 9);
        assert_eq!(*answers.lock().unwrap(), [(replayed(), 9, 9)]);
    }
);

both!(what_a_passed_replay_does_is_given_back_with_the_first, rules(), |s| passing(s), |layer, limiter| {
    // Why a service that lets replays pass must know of a first request that is under way.
    let learnt = Mutex::new(String::new());
    let response = answer_of(&layer, keyed("/generate", "one"), |_| async {
        *learnt.lock().unwrap() = learns(&layer, keyed("/generate", "one"), 200).await.1;
        409
    });
    assert_eq!(remaining(&response.await), 10);
    assert_eq!(*learnt.lock().unwrap(), "one replay");
    assert_eq!(left(&limiter, &rules()).await, 10);
});

both!(
    given_back_whole_the_key_is_charged_anew,
    rules(),
    |s| s.idempotency_keys(IdempotencyKeys::new()),
    |layer, limiter| {
        // By the response, and by hand.
        assert_eq!(remaining(&answer(&layer, keyed("/generate", "one"), 409).await), 10);
        let response = answer_of(&layer, keyed("/generate", "one"), |charged| async move {
            assert!(!charged.is_replay(), "anew");
            charged.refund().await.unwrap();
            200
        });
        assert_eq!(remaining(&response.await), 10);
        let (response, learnt) = learns(&layer, keyed("/generate", "one"), 200).await;
        assert_eq!((remaining(&response), &*learnt), (9, "one first"));
        assert_eq!(problem(&answer(&layer, keyed("/generate", "one"), 200).await), replayed());
        assert_eq!(left(&limiter, &rules()).await, 9);
    }
);

both!(
    an_exhausted_limit_still_answers_a_replay,
    rules_of(Rule::path("/generate").limit("2/day")),
    |s| s.idempotency_keys(IdempotencyKeys::new()),
    |layer, _limiter| {
        answer(&layer, keyed("/generate", "one"), 200).await;
        answer(&layer, keyed("/generate", "two"), 200).await;
        let denied = answer(&layer, keyed("/generate", "three"), 200).await;
        assert_eq!(problem(&denied).0, 429);
        let replay = answer(&layer, keyed("/generate", "one"), 200).await;
        assert_eq!((problem(&replay), remaining(&replay)), (replayed(), 0));
        assert!(!replay.headers().contains_key("retry-after"));
        // A denial is not remembered.
        assert_eq!(problem(&answer(&layer, keyed("/generate", "three"), 200).await).0, 429);
    }
);

#[tokio::test]
async fn all_places_taken_still_answer_a_replay() {
    let (limiter, _) = limiter();
    let settings = RateLimitLayer::builder(limiter.clone(), rules()).user(user);
    let layer = passing(settings).build().unwrap();
    let places = limiter.limit("places", "1 at once for 10m").unwrap();
    // The handler leases a place by hand, under the request's own key.
    let lease = async |key: &'static str| {
        let (limiter, places) = (limiter.clone(), places.clone());
        let service = layer.layer(service_fn(move |request: Request<String>| {
            let (limiter, places) = (limiter.clone(), places.clone());
            async move {
                let key = IdempotencyKey::of(request.extensions()).unwrap();
                let items = [Item::new(&places, "user:42")];
                let once = ChargeRequest::new(&items).once(Idempotency::new(key.key()));
                let status = match limiter.charge_with(&once).await.unwrap() {
                    Decision::Allowed(receipt) => {
                        assert_eq!(receipt.is_replay(), key.is_replay());
                        if receipt.is_replay() { 202 } else { 200 }
                    }
                    _ => 429,
                };
                Ok::<_, &str>(Response::builder().status(status).body(Vec::new()).unwrap())
            }
        }));
        service.oneshot(keyed("/generate", key)).await.unwrap().status().as_u16()
    };
    assert_eq!(lease("one").await, 200);
    assert_eq!(lease("two").await, 429, "all places are taken");
    assert_eq!(lease("one").await, 202);
    assert_eq!(limiter.leases(&places, "user:42").await.unwrap().len(), 1);
}

both!(
    a_key_is_of_one_client_rule_method_path_and_query,
    two_paths(),
    |s| s.idempotency_keys(IdempotencyKeys::new()),
    |layer, limiter| {
        let mut asked = 0;
        let mut other = keyed("/generate", "one");
        other.extensions_mut().insert(User("43"));
        let mut patch = keyed("/generate", "one");
        *patch.method_mut() = Method::PATCH;
        for request in [
            keyed("/generate", "one"),
            keyed("/tasks/7", "one"),
            keyed("/tasks/8", "one"),
            keyed("/tasks/8?a", "one"),
            patch,
        ] {
            let (response, learnt) = learns(&layer, request, 200).await;
            asked += 1;
            assert_eq!((remaining(&response), &*learnt), (100 - asked, "one first"));
        }
        assert_eq!(learns(&layer, other, 200).await.1, "one first");
        assert_eq!(problem(&answer(&layer, keyed("/tasks/8", "one"), 200).await), replayed());
        assert_eq!(left(&limiter, &two_paths()).await, 95);
    }
);

both!(
    users_who_share_what_is_charged_do_not_know_each_others_keys,
    rules_of(Rule::path("/generate").limit("10/day").key("fixed:all")),
    |s| passing(s),
    |layer, limiter| {
        for (user, left) in [("42", 9), ("43", 8)] {
            let mut request = keyed("/generate", "one");
            request.extensions_mut().insert(User(user));
            let (response, learnt) = learns(&layer, request, 200).await;
            assert_eq!((remaining(&response), &*learnt), (left, "one first"), "nobody works for nothing");
        }
        assert_eq!(learns(&layer, keyed("/generate", "one"), 200).await.1, "one replay");
        drop(limiter);
    }
);

fn two_paths() -> Rules {
    let rule = |path| Rule::path(path).charge("day");
    Rules::builder().shared_limit("day", "100/day").rule(rule("/generate")).rule(rule("/tasks/{id}")).build().unwrap()
}

both!(
    what_is_no_key_is_refused_and_charged_nothing,
    rules(),
    |s| s.idempotency_keys(IdempotencyKeys::new()),
    |layer, limiter| {
        let long = "k".repeat(256);
        for key in ["a, b", "\"a", "\"\"", &long] {
            let (response, learnt) = learns(&layer, keyed("/generate", key), 200).await;
            assert_eq!((problem(&response), &*learnt), ((400, "IDEMPOTENCY_KEY_MALFORMED".to_owned()), ""));
        }
        let mut twice = keyed("/generate", "one");
        twice.headers_mut().append("idempotency-key", HeaderValue::from_static("one"));
        assert_eq!(problem(&answer(&layer, twice, 200).await).1, "IDEMPOTENCY_KEY_MALFORMED");
        // Of methods whose repetition does no more, and of requests that no rule charges, it is nobody's business.
        let mut get = keyed("/generate", "a, b");
        *get.method_mut() = Method::GET;
        assert_eq!(answer(&layer, get, 200).await.status(), 200);
        assert_eq!(answer(&layer, keyed("/elsewhere", "a, b"), 200).await.status(), 200);
        assert_eq!(left(&limiter, &rules()).await, 9);
    }
);

both!(
    a_rule_may_require_it,
    two_paths(),
    |s| s.idempotency_keys(IdempotencyKeys::new().require(["/generate"]).methods([Method::POST])),
    |layer, limiter| {
        let missing = answer(&layer, request("/generate"), 200).await;
        assert_eq!(problem(&missing), (400, "IDEMPOTENCY_KEY_MISSING".to_owned()));
        assert!(String::from_utf8_lossy(missing.body()).contains("needs an Idempotency-Key"));
        assert_eq!(left(&limiter, &two_paths()).await, 100);
        let mut put = request("/generate");
        *put.method_mut() = Method::PUT;
        for request in [keyed("/generate", "one"), request("/tasks/7"), put] {
            assert_eq!(answer(&layer, request, 200).await.status(), 200);
        }
    }
);

#[tokio::test]
async fn another_charge_under_the_key_is_a_conflict_and_a_limit_replaced_is_not() {
    let rules = |cost| rules_of(Rule::path("/generate").limit("10/day").cost(cost));
    let (limiter, _) = limiter();
    let layer = |cost| {
        let settings = RateLimitLayer::builder(limiter.clone(), rules(cost)).user(user);
        settings.idempotency_keys(IdempotencyKeys::new()).build().unwrap()
    };
    let (cheap, dear) = (layer(1), layer(3));
    answer(&cheap, keyed("/generate", "one"), 200).await;
    let (response, learnt) = learns(&dear, keyed("/generate", "one"), 200).await;
    assert_eq!((problem(&response), &*learnt), ((422, "IDEMPOTENCY_KEY_REUSED".to_owned()), ""));
    assert_eq!(left(&limiter, &rules(1)).await, 9);
    limiter.replace(&rebate_core::Limit::new("/generate", "3/day").unwrap());
    assert_eq!(problem(&answer(&cheap, keyed("/generate", "two"), 200).await), (500, "LIMITER_MISUSED".to_owned()));
}

#[tokio::test]
async fn a_key_is_remembered_for_its_lifetime() {
    let (limiter, clock) = limiter();
    let settings = RateLimitLayer::builder(limiter.clone(), rules()).user(user);
    let keys = IdempotencyKeys::new().lifetime(Duration::from_secs(60));
    let layer = settings.idempotency_keys(keys).build().unwrap();
    answer(&layer, keyed("/generate", "one"), 200).await;
    clock.advance(Duration::from_secs(60) - Duration::from_micros(1));
    assert_eq!(problem(&answer(&layer, keyed("/generate", "one"), 200).await), replayed());
    clock.advance(Duration::from_micros(1));
    assert_eq!(learns(&layer, keyed("/generate", "one"), 200).await.1, "one first");
}

#[tokio::test]
async fn while_the_store_is_away_a_request_passes_and_nobody_knows() {
    let (settings, limiter) = later(rules());
    let layer = settings.idempotency_keys(IdempotencyKeys::new()).build().unwrap();
    answer(&layer, keyed("/generate", "one"), 200).await;
    limiter.store().go_away();
    let (response, learnt) = learns(&layer, keyed("/generate", "one"), 200).await;
    assert_eq!((response.status().as_u16(), &*learnt), (200, "one first"));
}

#[tokio::test]
async fn a_client_gone_while_the_store_was_asked_finds_its_charge_again() {
    let (settings, limiter) = later(rules());
    let layer = passing(settings).build().unwrap();
    let called = AtomicUsize::new(0);
    {
        let mut gone = Box::pin(answer_of(&layer, keyed("/generate", "one"), |_| async {
            called.fetch_add(1, Ordering::SeqCst);
            200
        }));
        tokio::select! { biased; _ = &mut gone => panic!("no answer was expected"), () = std::future::ready(()) => {} }
    }
    assert_eq!(called.load(Ordering::SeqCst), 0);
    answer(&layer, keyed("/generate", "one"), 200).await;
    assert_eq!(learns(&layer, keyed("/generate", "one"), 200).await.1, "one replay");
    assert_eq!(left(&limiter, &rules()).await, 9);
}

#[tokio::test]
async fn grpc_clients_are_told_by_a_status() {
    let (limiter, _) = limiter();
    let settings = RateLimitLayer::builder(limiter, rules()).user(user);
    let layer = settings.idempotency_keys(IdempotencyKeys::new()).respond(GrpcStatus).build().unwrap();
    answer(&layer, keyed("/generate", "one"), 200).await;
    assert_eq!(header(answer(&layer, keyed("/generate", "one"), 200).await.headers(), "grpc-status"), "6");
    assert_eq!(header(answer(&layer, keyed("/generate", "a b"), 200).await.headers(), "grpc-status"), "3");
}

#[test]
fn settings_that_cannot_hold_are_said_when_the_layer_is_built() {
    let build = |keys| common::builder(rules()).idempotency_keys(keys).build().map(drop).unwrap_err().to_string();
    let keys = IdempotencyKeys::new;
    assert!(build(keys().require(["/generat"])).contains("name a rule `/generat`"));
    assert!(build(keys().pass_replays(["/generate", "generate"])).contains("name a rule `generate`"));
    assert!(build(keys().lifetime(Duration::ZERO)).contains("century"));
}

#[tokio::test]
async fn of_two_layers_over_one_store_that_look_at_the_key_the_inner_one_refuses_it() {
    let (limiter, _) = limiter();
    let rules = |limit: &str| {
        let rule = Rule::path("/generate").charge(limit);
        Rules::builder().shared_limit(limit, "10/day").rule(rule).build().unwrap()
    };
    let layer = |limit| {
        let settings = RateLimitLayer::builder(limiter.clone(), rules(limit)).user(user);
        settings.idempotency_keys(IdempotencyKeys::new()).build().unwrap()
    };
    let inner = service_fn(|_: Request<String>| async { Ok::<_, &str>(Response::new(Vec::new())) });
    let service = layer("outer").layer(layer("inner").layer(inner));
    let response = service.oneshot(keyed("/generate", "one")).await.unwrap();
    assert_eq!(problem(&response), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()), "why only one may");
}
